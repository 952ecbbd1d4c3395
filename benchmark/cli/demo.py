"""``srbench demo``: what the package holds answers the question of the benchmark, in a minute on a CPU."""

from __future__ import annotations

import time
from pathlib import Path

import click

from srbench.cli.console import say
from srbench.cli.options import writable
from srbench.utils.progress import progress_reporter

DATASET = "sem_synthetic:demo"
SCALE = 4
NETWORKS = ("edsr", "swinir", "srgan", "csm_sr")
"""Those of which weights are shipped are shown."""
INTERPOLATIONS = ("bicubic", "lanczos")
SECONDS = 60
"""55 s with eight rows on two idle cores."""
TRAINED, TRAINED_ON = "vdsr", "sem_synthetic:small"
"""What ``--train`` trains, for a minute."""


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    callback=writable,
    help="Folder for runs, scores and report [default: $SRBENCH_HOME/demo].",
)
@click.option("--train", "with_training", is_flag=True, help="Show a training too: a minute more.")
def demo(out: Path | None, with_training: bool) -> None:
    """Measure on results of the shipped networks and of interpolation: which measurements can be trusted?

    On synthetic SEM scenes whose geometry is known. Needs no data, no GPU and no network. A second call goes
    on where the first stopped.
    """
    say(f"This takes about {SECONDS * (1 + with_training)} s on two cores.")
    from srbench.cli.evaluate import blocks_of, print_blocks
    from srbench.evaluation.evaluate import evaluate
    from srbench.reporting import report
    from srbench.reporting.text import OVERVIEW
    from srbench.statistics.tolerance import TOLERANCES
    from srbench.training import run_folder_name, train
    from srbench.utils.files import HOME_SETTING, check_writable
    from srbench.utils.paths import home
    from srbench.weights.find import shipped

    folder = (out or home() / "demo").resolve()
    check_writable(folder, HOME_SETTING)
    start = time.monotonic()
    runs = folder / "runs"
    offered = {entry.model for entry in shipped() if entry.scale == SCALE}
    networks = [name for name in NETWORKS if name in offered]
    if with_training:
        run = runs / run_folder_name(TRAINED, "tiny", TRAINED_ON, SCALE, "smoke", 0)
        train(TRAINED, dataset=TRAINED_ON, scale=SCALE, variant="tiny", budget="smoke", out=run, resume=True)
        networks.append(TRAINED)
    measured = [name for measurement in TOLERANCES for name in (measurement, f"{measurement}_hr")]
    with progress_reporter() as progress:
        summary = evaluate(
            [*INTERPOLATIONS, *networks],
            dataset=DATASET,
            scale=SCALE,
            metrics=[*OVERVIEW, *measured],
            runs=runs,
            results=folder / "results",
            progress=progress,
        )
    say(summary.text())
    print_blocks(blocks_of(summary))
    outcome = report(folder / "results", folder)
    say(f"\nDone in {time.monotonic() - start:.0f} s. Open {outcome.page}")
    say("Next: srbench infer YOUR_IMAGES --out enlarged")
