"""``srbench verify`` and ``srbench submit``: results held against what they say, and made to be checked."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from srbench.cli.console import note, print_json, print_table, say, warn
from srbench.cli.options import device_option, json_option, results_option, scale_option, writable
from srbench.utils.progress import progress_reporter

if TYPE_CHECKING:
    from srbench.verification.rerun import RerunResult
    from srbench.verification.results import ResultsCheck

_files_option = click.option(
    "--weights",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, resolve_path=True),
    help="File or folder of weights to look among, beside those shipped, trained and downloaded here; by "
    "their sha256. Repeatable.",
)


@click.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--rerun", "again", is_flag=True, help="Run the weights again; compare outputs and scores.")
@_files_option
@device_option
@json_option
@click.pass_context
def verify(
    context: click.Context, results: Path, again: bool, weights: tuple[Path, ...], device: str, as_json: bool
) -> None:
    """Verify the folder RESULTS: rows against hashes, images and baselines all there, tables from the rows.

    Exit code 1 where something is wrong, or, with --rerun, where a run cannot be run again.
    """
    from srbench.verification.results import FORGERY, check_results

    reruns: list[RerunResult] = []
    with progress_reporter() as progress:
        check = check_results(results, progress)
        if again:
            from srbench.utils.files import temporary_folder
            from srbench.verification.rerun import rerun

            manifests = [run.manifest for run in check.runs]
            with temporary_folder("verify") as scratch:
                reruns = rerun(results, manifests, scratch, weights=weights, device=device, progress=progress)
    by_run = {result.stored.key.run_id: result for result in reruns}
    bad = [r for r in reruns if r.outcome in ("differs", "not run") and not r.stored.external]
    passed = check.passed and not bad
    if as_json:
        print_json(_as_data(check, by_run, passed))
        context.exit(0 if passed else 1)
    for line in check.absent:
        say(f"Absent: {line}")
    columns = ["run", "data", "rows", "images", "hashes and images", *(["run again"] if again else [])]
    rows = []
    for run in check.runs:
        key = run.manifest.key
        intact = "as written" if run.hashed else "no hash stored"
        seen = f"{len(run.problems)} wrong" if run.problems else intact
        row = [
            f"{key.model} {key.variant}",
            f"{key.dataset} x{key.scale}",
            str(run.rows),
            str(run.images),
            seen,
        ]
        rows.append([*row, *([by_run[key.run_id].outcome] if again else [])])
    print_table(columns, rows, folding=("run", "data"), droppable=("rows", "images"))
    for run in check.runs:
        for problem in run.problems:
            say(f"Wrong: {run.manifest.key.run_id}: {problem}")
    for problem in check.problems:
        say(f"Wrong: {problem}")
    for result in reruns:
        word = "Wrong" if result in bad else "Run again"
        say(f"{word}: {result.stored.key.run_id}: {result.detail}")
    for run in check.runs:
        for remark in run.remarks:
            note(f"{run.manifest.key.run_id}: {remark}")
    for manifest in check.incomplete:
        warn(f"{manifest.key.run_id}: {manifest.status}, no scores: {manifest.reason}")
    say(f"digest {check.digest}")
    wrong = sum(len(run.problems) for run in check.runs) + len(check.problems) + len(bad)
    say(f"{len(check.runs)} runs, {wrong} wrong")
    if not again:
        say(FORGERY)
        say("Run them: add --rerun.")
    context.exit(0 if passed else 1)


def _as_data(check: ResultsCheck, reruns: dict[str, RerunResult], passed: bool) -> dict[str, object]:
    runs = []
    for run in check.runs:
        run_id = run.manifest.key.run_id
        entry = {"run": run_id, "rows": run.rows, "images": run.images, "problems": run.problems}
        if run_id in reruns:
            entry |= {"rerun": reruns[run_id].outcome, "detail": reruns[run_id].detail}
        runs.append({**entry, "remarks": run.remarks})
    return {
        "digest": check.digest,
        "passed": passed,
        "absent": check.absent,
        "problems": check.problems,
        "runs": runs,
        "incomplete": [manifest.key.run_id for manifest in check.incomplete],
    }


_folder = click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
_folders = click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))


@click.group()
def submit() -> None:
    """Submit results: a plan before the run, claims that follow from rows, weights that others run again."""


@submit.command("plan")
@click.argument("method")
@click.option("--group", required=True, help="Who submits, in a word.")
@click.option(
    "--dataset", "data", multiple=True, required=True, help="What it will be scored on. Repeatable."
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    required=True,
    help="What will be claimed; the first decides. Repeatable.",
)
@click.option("--variant", help="Of the method [default: its first].")
@scale_option
@click.option("--degradation", help="How LR is made [default: bicubic; the recorded LR of pairs].")
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How many times something will be scored on these data before one is chosen.",
)
@click.option("--expectation", default="", help="What you expect, and why.")
@click.option(
    "--out",
    "submissions",
    type=click.Path(path_type=Path, file_okay=False),
    callback=writable,
    default=Path("submissions"),
    show_default=True,
    help="Folder of submissions.",
)
def plan_command(
    method: str, group: str, data: tuple[str, ...], metrics: tuple[str, ...], **options: Any
) -> None:
    """Write plan.yaml for METHOD, before anything is scored: what will be claimed, on which data."""
    from srbench.checks.integrity import BASELINES, REQUIRED_BASELINE
    from srbench.verification.prepare import write_plan

    folder = write_plan(method, group, data, metrics, **options)
    baselines = BASELINES if options["scale"] > 1 else (REQUIRED_BASELINE,)
    scored = ["srbench", "eval", method, *(name for name in baselines if name != method)]
    scored += ["--dataset", data[0], "--scale", str(options["scale"])]
    scored += [
        word for name in ("variant", "degradation") if options[name] for word in (f"--{name}", options[name])
    ]
    say(f"Written: {folder / 'plan.yaml'}. Commit it before you score anything.")
    say(f"Next: {shlex.join([*scored, '--audit'])}")
    say(f"Then: srbench submit prepare {shlex.quote(str(folder))}")


@submit.command("prepare")
@_folder
@results_option
def prepare_command(folder: Path, results: Path | None) -> None:
    """Fill in FOLDER, which holds a plan, from a results folder: runs, weights, training data, claims."""
    from srbench.utils.paths import results_folder
    from srbench.verification.prepare import prepare

    prepared = prepare(folder, results or results_folder())
    for manifest in (*prepared.runs, *prepared.baselines):
        say(f"Taken: {manifest.key.run_id}")
    for line in prepared.missing:
        warn(f"Planned and not scored: {line}")
    if prepared.left:
        say(f"Write yourself, in {folder / 'submission.yaml'}: {', '.join(prepared.left)}")
    say(f"Next: srbench submit validate {shlex.quote(str(folder))}")


@submit.command("validate")
@_folders
@json_option
@click.pass_context
def validate_command(context: click.Context, folders: tuple[Path, ...], as_json: bool) -> None:
    """Look at submissions without running anything: files, hashes, checks, images, claims against rows.

    Safe on files of strangers: no weights are loaded, no code is imported. Exit code 1 where something is
    wrong.
    """
    from srbench.checks.submissions import MEANINGS
    from srbench.verification.results import FORGERY
    from srbench.verification.submission import validate

    with progress_reporter() as progress:
        checks = [validate(folder, progress) for folder in folders]
    bad = [check for check in checks if check.problems]
    if as_json:
        print_json(
            [
                {
                    "folder": check.folder,
                    "status": check.submitted.status if check.submitted and not check.problems else "",
                    "problems": check.problems,
                    "remarks": check.remarks,
                    "digest": check.results.digest if check.results else "",
                }
                for check in checks
            ]
        )
        context.exit(1 if bad else 0)
    for check in checks:
        status = f"  {check.submitted.status_in_words}" if check.submitted and not check.problems else ""
        say(f"{'wrong' if check.problems else 'valid'}  {check.folder}{status}")
        for problem in check.problems:
            say(f"    {problem}".replace("\n", "\n    "))
        for remark in check.remarks:
            note(f"    {remark}")
    say(
        f"{len(checks)} submissions, {len(bad)} wrong"
        if len(checks) != 1
        else f"1 submission, {len(bad)} wrong"
    )
    for status in sorted(
        {check.submitted.status for check in checks if check.submitted and not check.problems}
    ):
        say(f"{status}: {MEANINGS[status]}")
    say(FORGERY)
    context.exit(1 if bad else 0)


@submit.command("verify")
@_folder
@click.option("--by", required=True, help="Who verifies; said on every page that shows the submission.")
@_files_option
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    help="Of the scenes drawn now [default: a random one]. Whoever submitted must not have known it.",
)
@device_option
@click.pass_context
def verify_command(
    context: click.Context, folder: Path, by: str, weights: tuple[Path, ...], seed: int | None, device: str
) -> None:
    """Run the weights of FOLDER again, without network and audited, on its data and on scenes drawn now.

    Writes verification.yaml: reproduced, audited or failed. Exit code 1 where it failed.
    """
    from srbench.checks.submissions import MEANINGS, VERIFICATION_FILE
    from srbench.verification.reproduce import reproduce

    with progress_reporter() as progress:
        outcome = reproduce(folder, by, weights=weights, seed=seed, device=device, progress=progress)
    verification = outcome.verification
    if verification is None:
        for problem in outcome.check.problems:
            say(f"Wrong: {problem}")
        say("Nothing was run: srbench submit validate must find nothing wrong first.")
        context.exit(1)
    for run_id, result in (verification.runs | verification.baselines).items():
        say(f"{run_id}: {result}")
    if verification.scores:
        say(f"Gain over bicubic interpolation, published scenes and {verification.suite}:")
        rows = [
            (
                s.metric,
                f"{s.published:.4g}",
                f"{s.fresh:.4g}",
                f"{s.low:.3g} to {s.high:.3g}",
                "yes" if s.agrees else "no",
            )
            for s in verification.scores
        ]
        print_table(("metric", "published", "fresh", "difference [95 %]", "agrees"), rows)
    for problem in verification.problems:
        say(f"Wrong: {problem}")
    for remark in outcome.remarks:
        note(remark)
    say(f"{verification.outcome}: {MEANINGS[verification.outcome]}. Written: {folder / VERIFICATION_FILE}")
    context.exit(1 if verification.outcome == "failed" else 0)


@submit.command("collect")
@_folders
@results_option
@click.pass_context
def collect_command(context: click.Context, folders: tuple[Path, ...], results: Path | None) -> None:
    """Put submissions together in one results folder, for srbench report and srbench compare.

    Those that validate finds fault with are left out; the exit code is then 1.
    """
    from srbench.utils.paths import results_folder
    from srbench.verification.prepare import collect

    target = results or results_folder()
    outcome = collect(folders, target)
    for name in outcome.taken:
        say(f"Taken: {name}")
    for name, why in outcome.refused.items():
        warn(f"Left out: {name}: {why}")
    say(f"Next: {shlex.join(['srbench', 'report', '--results', str(target)])}")
    context.exit(1 if outcome.refused else 0)
