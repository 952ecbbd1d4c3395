"""``srbench run``: a benchmark that one file describes, here or on a cluster."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from srbench.cli.console import print_json, print_table, say, warn
from srbench.cli.options import device_option, json_option, writable
from srbench.utils.progress import count_of, progress_reporter

if TYPE_CHECKING:
    from srbench.orchestration.estimate import WorkEstimate
    from srbench.orchestration.tasks import BenchmarkTask, TaskOutcome

_KINDS = {
    "train": "training",
    "baselines": "scoring of what needs no training",
    "evaluate": "evaluation",
    "part": "scoring part",
    "report": "report",
}


@click.command()
@click.argument("file", metavar="PLAN.yaml", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--dry-run", is_flag=True, help="Print the tasks, their computation and their time; run nothing."
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Tasks at a time on this machine [default: its GPUs, else 1].",
)
@click.option("--scheduler", metavar="ADDRESS", help="Run on the Dask cluster of this scheduler.")
@click.option(
    "--slurm",
    "jobs",
    type=click.IntRange(1),
    metavar="JOBS",
    help="Run on a Dask cluster of so many Slurm jobs; what a job is, is said in Dask's jobqueue.yaml.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    callback=writable,
    help="Folder for runs/ and results/ [default: $SRBENCH_HOME].",
)
@device_option
@json_option
@click.pass_context
def run(
    context: click.Context,
    file: Path,
    dry_run: bool,
    workers: int | None,
    scheduler: str | None,
    jobs: int | None,
    out: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Train, score and report all that PLAN.yaml names: models, variants, seeds, budgets, data, scales.

    What has been done is not done again, what was interrupted goes on, what fails is recorded and the others
    go on; the exit code is then 1, as it is where a guard finds fault with a model. docs/scale.md describes
    the file and clusters.
    """
    if sum(option is not None for option in (workers, scheduler, jobs)) > 1:
        raise click.UsageError("Give one of --workers, --scheduler and --slurm.")
    import hashlib

    from srbench.orchestration.benchmark_plan import read_plan
    from srbench.orchestration.estimate import estimate
    from srbench.orchestration.run import run_into
    from srbench.orchestration.tasks import Destination, expand
    from srbench.utils.paths import home

    benchmark, text = read_plan(file)
    base = out.resolve() if out else home()
    destination = Destination(base / "runs", base / "results", device, hashlib.sha256(text).hexdigest())
    with progress_reporter() as progress:
        expanded = expand(benchmark, destination)
        expected = estimate(expanded, destination, progress)
        at_a_time = workers or jobs or _gpus()
        if not dry_run:
            outcomes = run_into(
                expanded, expected, destination, text, file.name, at_a_time, scheduler, jobs, progress
            )
    if dry_run:
        _print_tasks(expanded.tasks, expected, at_a_time, as_json)
        return
    if as_json:
        print_json([vars(outcome) for outcome in outcomes])
    else:
        _print_outcomes(outcomes)
    failed = any(outcome.status in ("failed", "not run") or outcome.guards for outcome in outcomes)
    context.exit(1 if failed else 0)


def _gpus() -> int:
    import torch

    return max(torch.cuda.device_count(), 1)


def _print_tasks(tasks: tuple[BenchmarkTask, ...], work: WorkEstimate, workers: int, as_json: bool) -> None:
    if as_json:
        described = [
            {
                "task": task.name,
                "after": task.after,
                "multiply_adds": work.multiply_adds.get(task.name),
                "seconds": work.seconds[task.name],
            }
            for task in tasks
        ]
        print_json({"tasks": described, "seconds": work.makespan(tasks, workers), "basis": work.basis})
        return
    rows = [
        (
            task.name,
            f"{count:.1e}" if (count := work.multiply_adds.get(task.name)) else "",
            _duration(work.seconds[task.name]) if work.seconds[task.name] else "trained",
        )
        for task in tasks
    ]
    print_table(("task", "multiply-adds", "time"), rows, folding=("task",))
    kinds = Counter(task.kind for task in tasks)
    counts = ", ".join(count_of(number, _KINDS[kind]) for kind, number in kinds.items())
    say(f"{counts}; {sum(work.multiply_adds.values()):.2e} multiply-adds of training.")
    say(f"About {_duration(work.makespan(tasks, workers))}, {workers} at a time. It rests on")
    for line in work.basis:
        say(f"  {line}")


def _print_outcomes(outcomes: list[TaskOutcome]) -> None:
    rows = [
        (outcome.name, outcome.status, _duration(outcome.seconds) if outcome.seconds else "", outcome.detail)
        for outcome in outcomes
    ]
    print_table(("task", "status", "time", "detail"), rows, folding=("detail", "task"))
    for outcome in outcomes:
        for guard in outcome.guards:
            warn(f"Guard FAILED: {guard}")
    counts = Counter(outcome.status for outcome in outcomes)
    say(", ".join(f"{number} {status}" for status, number in counts.items()))


def _duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h`` or ``4.2 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
