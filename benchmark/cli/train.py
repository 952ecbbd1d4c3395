"""``srbench train``: train one model."""

from __future__ import annotations

from pathlib import Path

import click

from srbench.cli.options import device_option, scale_option


@click.command()
@click.argument("model")
@click.option("--dataset", required=True, help="Dataset name, or a folder of images.")
@scale_option
@click.option("--variant", help="Variant of the model [default: its first].")
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
@click.option(
    "--degradation",
    default="bicubic",
    show_default=True,
    help="How LR is made from HR.",
)
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
    click.echo(f"Next: srbench eval {model} bicubic --dataset {dataset} --scale {scale}")
