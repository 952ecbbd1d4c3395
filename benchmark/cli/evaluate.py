"""``srbench eval``: score models under one protocol."""

from __future__ import annotations

from pathlib import Path

import click

from srbench.cli.options import (
    degradation_option,
    device_option,
    results_option,
    rgb_to_grey_option,
    weights_option,
    weights_scale_option,
)
from srbench.cli.progress import progress_reporter


@click.command("eval")
@click.argument("models", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every registered model that offers the scale.")
@click.option("--dataset", required=True, help="Dataset name, or a folder of images.")
@weights_scale_option
@click.option(
    "--split", type=click.Choice(("train", "val", "test", "all")), default="test", show_default=True
)
@click.option("--variant", help="Only this variant [default: every variant with trained weights].")
@weights_option
@rgb_to_grey_option
@results_option
@degradation_option
@click.option("--protocol", help="What a number means [default: matlab-y for photographs, else sem-grey].")
@click.option("--metric", "metrics", multiple=True, help="Only these metrics. Repeatable.")
@click.option(
    "--previews", type=click.IntRange(0), default=6, show_default=True, help="Images kept for the report."
)
@click.option("--force", is_flag=True, help="Score again what is already scored.")
@click.option(
    "--oracle", is_flag=True, help="Run variants that look at the HR image too; they are never ranked."
)
@click.option(
    "--audit",
    is_flag=True,
    help="Run every model again, HR replaced by noise, images in another order, mirrored and noisy.",
)
@device_option
@click.pass_context
def evaluate(
    context: click.Context,
    models: tuple[str, ...],
    every: bool,
    dataset: str,
    scale: int | None,
    split: str,
    variant: str | None,
    weights: Path | None,
    rgb_to_grey: bool,
    results: Path | None,
    degradation: str,
    protocol: str | None,
    metrics: tuple[str, ...],
    previews: int,
    force: bool,
    oracle: bool,
    audit: bool,
    device: str,
) -> None:
    """Score MODELS (or --all) on a dataset; each model runs in a process of its own and sees LR only.

    With --weights FILE the model may be left out: it is told from the file. A model that fails is recorded
    and the others go on; the exit code is then 1, as it is where a guard finds fault with a model.
    """
    if (bool(models) or (weights is not None and not every)) == every:
        raise click.UsageError("Name the models to score, or give --all (not both), or --weights FILE.")
    from srbench.evaluation import evaluate as run_evaluation

    with progress_reporter() as progress:
        summary = run_evaluation(
            "all" if every else models,
            dataset=dataset,
            scale=scale,
            split=split,
            variant=variant,
            weights=weights,
            rgb_to_grey=rgb_to_grey,
            results=results.resolve() if results else None,
            degradation=degradation,
            protocol=protocol,
            metrics=metrics or None,
            device=device,
            force=force,
            previews=previews,
            oracle=oracle,
            audit=audit,
            progress=progress,
        )
    click.echo(summary.text())
    context.exit(1 if summary.failed or summary.caught else 0)
