"""``srbench train``: train one model."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from srbench.cli.options import degradation_option, device_option, scale_option


@click.command()
@click.argument("model")
@click.option("--dataset", required=True, help="Dataset name, or a folder of images.")
@scale_option
@click.option("--variant", help="Variant of the model [default: its first].")
@click.option(
    "--channels",
    type=click.Choice(("1", "3")),
    help="Of the network: 1 grey, 3 colour [default: those of the dataset].",
)
@click.option(
    "--budget",
    type=click.Choice(("smoke", "short", "paper")),
    default="short",
    show_default=True,
    help="smoke: a minute or two on a CPU. short: up to an hour on a GPU. paper: as published.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the run [default: one below $SRBENCH_HOME/runs].",
)
@click.option("--resume", is_flag=True, help="Go on with an interrupted run, bit for bit.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@degradation_option
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Run configuration (YAML), as written in every run's config.yaml.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="A.B=C",
    help="Override one value of the configuration, e.g. --set train.batch=8. Repeatable.",
)
@device_option
def train(
    model: str,
    dataset: str,
    scale: int,
    variant: str | None,
    channels: str | None,
    budget: str,
    out: Path | None,
    resume: bool,
    seed: int,
    degradation: str,
    config: Path | None,
    overrides: tuple[str, ...],
    device: str,
) -> None:
    """Train MODEL on a dataset; weights, log and manifest go into the run's folder."""
    from srbench.training import train as run_training

    outcome = run_training(
        model,
        dataset=dataset,
        scale=scale,
        variant=variant,
        channels=int(channels) if channels else None,
        budget=budget,  # type: ignore[arg-type]
        out=out.resolve() if out else None,
        resume=resume,
        seed=seed,
        device=device,
        degradation=degradation,
        config=config,
        overrides=overrides,
    )
    if outcome is None:
        return
    scores = ", ".join(f"{name} {value:.3f}" for name, value in outcome.best.items())
    best = f" Best on validation: {scores}" if scores else " The dataset has no validation images."
    click.echo(f"{outcome.iterations} iterations in {outcome.seconds:.0f} s.{best}")
    click.echo(f"Weights: {outcome.weights}")
    made = [] if degradation == "bicubic" else ["--degradation", degradation]
    command = ["srbench", "eval", model, "bicubic", "--dataset", dataset, "--scale", str(scale), *made]
    click.echo(f"Next: {shlex.join(command)}")
