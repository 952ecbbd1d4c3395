"""``srbench train``: train one model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from srbench.cli.console import print_json, say
from srbench.cli.options import device_option, json_option, reading_options, writable

if TYPE_CHECKING:
    from srbench.datasets import ReadingOptions


@click.command()
@click.argument("model")
@click.option("--dataset", required=True, help="Dataset name, or a folder of images.")
@click.option(
    "--scale", type=click.IntRange(1, 8), help="Magnification [default: 4, or that of recorded pairs]."
)
@click.option("--variant", help="Variant of the model [default: its first].")
@click.option(
    "--channels",
    type=click.Choice(("1", "3")),
    help="Of the network: 1 grey, 3 colour [default: those of the dataset].",
)
@click.option(
    "--budget",
    type=click.Choice(("smoke", "laptop", "short", "paper")),
    help="smoke: a minute or two on a CPU. laptop: the same computation for every network, about 15 "
    "minutes on two cores. short: up to an hour on a GPU. paper: as published. "
    "[default: short]",
)
@click.option("--seed", type=click.IntRange(0), help="[default: 0]")
@click.option(
    "--degradation",
    metavar="NAME[:SETTING=VALUE,...]",
    help="How LR is made from HR, as bicubic or sem_pixel:dose=60. [default: bicubic; the recorded LR of "
    "a dataset of pairs]",
)
@click.option(
    "--from",
    "start",
    metavar="WEIGHTS",
    help="Fine-tune these: a file, the folder of a run or its name, or a name of 'srbench weights list'. "
    "Variant, scale and channels default to theirs; what is trained is the last stage of the recipe, at a "
    "tenth of its rates.",
)
@reading_options
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    callback=writable,
    help="Folder of the run [default: one below $SRBENCH_HOME/runs].",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, bit for bit.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Run configuration (YAML), as written in every run's config.yaml; the options above go first.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="A.B=C",
    help="Override one value of the configuration, e.g. --set train.batch=8. Repeatable.",
)
@device_option
@json_option
def train(
    model: str,
    channels: str | None,
    out: Path | None,
    reading: ReadingOptions,
    as_json: bool,
    **options: Any,
) -> None:
    """Train MODEL on a dataset; weights, log and manifest go into the run's folder.

    On CPUs with bfloat16 units, --set train.amp=bf16 --set train.channels_last=true is faster.
    """
    from srbench.datasets import ReadingOptions, default_degradation, full_name
    from srbench.training import train as run_training
    from srbench.utils.paths import runs_folder
    from srbench.utils.text import name_to_id

    result = run_training(
        model,
        channels=int(channels) if channels else None,
        out=out.resolve() if out else None,
        reading=None if reading == ReadingOptions() else reading,
        **options,
    )
    if result is None:
        return
    if as_json:
        print_json({**vars(result), "config": result.config.model_dump(mode="json")})
        return
    scores = ", ".join(f"{name} {value:.3f}" for name, value in result.best.items())
    best = f" Best on validation: {scores}" if scores else " The dataset has no validation images."
    say(f"{result.iterations} iterations in {result.seconds:.0f} s.{best}")
    say(f"Weights: {result.weights}")
    config = result.config
    dataset = full_name(config.dataset)
    command = ["srbench", "eval", model, "bicubic", "--dataset", dataset, "--scale", str(config.scale)]
    if result.folder.parent != runs_folder():  # where eval does not look
        command += ["--weights", name_to_id(str(result.weights))]
    if config.degradation != default_degradation(dataset):
        command += ["--degradation", config.degradation]
    command += config.reading.arguments
    say(f"Next: {shlex.join(command)}")
