"""``srbench verify``: whether results are what they say, as they lie there or with the weights run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from srbench.cli.console import note, print_json, print_table, say
from srbench.cli.options import device_option
from srbench.utils.progress import progress_reporter

if TYPE_CHECKING:
    from srbench.verification.rerun import RerunResult
    from srbench.verification.results import ResultsCheck

files_option = click.option(
    "--weights",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, resolve_path=True),
    help="File or folder of weights to look among, beside those shipped, trained and downloaded here; by "
    "their sha256. Repeatable.",
)


@click.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--rerun", "again", is_flag=True, help="Run the weights again; compare outputs and scores.")
@files_option
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
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
    columns = ["run", "rows", "images", "hashes and images", *(["run again"] if again else [])]
    rows = []
    for run in check.runs:
        key = run.manifest.key
        row = [f"{key.model} {key.variant} {key.dataset} x{key.scale}", str(run.rows), str(run.images)]
        intact = "as written" if run.hashed else "no hash stored"
        row.append(f"{len(run.problems)} wrong" if run.problems else intact)
        rows.append([*row, *([by_run[key.run_id].outcome] if again else [])])
    print_table(columns, rows, folding=("run",))
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
        note(f"{manifest.key.run_id}: {manifest.status}, no scores: {manifest.reason}")
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
