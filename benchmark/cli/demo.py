"""``srbench demo``: the whole benchmark in a few minutes on a CPU, with embedded data."""

from __future__ import annotations

import time
from pathlib import Path

import click

from srbench.cli.console import say
from srbench.utils.progress import progress_reporter

DATASET = "sem_synthetic:small"
SCALE = 4
TRAINED = ("vdsr", "edsr", "srgan", "csm_sr")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "back_projection")


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for runs, scores and report [default: $SRBENCH_HOME/demo].",
)
def demo(out: Path | None) -> None:
    """Train the tiny variants on synthetic SEM scenes, evaluate them beside interpolation, write the report.

    Needs no data, no GPU and no network. A second call goes on where the first stopped.
    """
    from srbench.evaluation.evaluate import evaluate
    from srbench.reporting import report
    from srbench.utils.files import writing_to
    from srbench.utils.paths import home

    folder = (out or home() / "demo").resolve()
    with writing_to(folder):
        pass  # before anything is drawn or trained
    start = time.monotonic()
    for model in TRAINED:
        _train_tiny(model, folder / "runs")
    with progress_reporter() as progress:
        summary = evaluate(
            [*INTERPOLATIONS, *TRAINED],
            dataset=DATASET,
            scale=SCALE,
            variant="tiny",
            runs=folder / "runs",
            results=folder / "results",
            progress=progress,
        )
    say(summary.text())
    outcome = report(folder / "results", folder)
    say(f"\nDone in {time.monotonic() - start:.0f} s. Open {outcome.page}")
    say(
        "These are tiny networks trained for seconds on synthetic scenes: they show how srbench works, "
        "not how good the methods are."
    )


def _train_tiny(model: str, runs: Path) -> None:
    from srbench.training import run_folder_name, train

    folder = runs / run_folder_name(model, "tiny", DATASET, SCALE, "smoke", 0)
    if (folder / "weights.safetensors").is_file():
        say(f"{model}: already trained")
        return
    train(
        model,
        dataset=DATASET,
        scale=SCALE,
        variant="tiny",
        budget="smoke",
        out=folder,
        resume=(folder / "checkpoint.pt").is_file(),
    )
