"""``srbench eval`` and ``srbench score``: models, or images of another program, scored under one protocol."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from srbench.cli.console import print_json, print_table, say
from srbench.cli.options import (
    backend_option,
    degradation_option,
    device_option,
    json_option,
    reading_options,
    results_option,
    rgb_to_grey_option,
    weights_option,
    weights_scale_option,
)
from srbench.utils.progress import progress_reporter

if TYPE_CHECKING:
    from srbench.evaluation.evaluate import EvaluationSummary
    from srbench.reporting.summary import Summary


@click.command("eval")
@click.argument("models", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every registered model that offers the scale.")
@click.option(
    "--dataset",
    help="Dataset name, or a folder of images [default with --all: every SEM dataset on disk, else "
    "sem_synthetic].",
)
@weights_scale_option
@click.option(
    "--split",
    type=click.Choice(("train", "val", "test", "all")),
    help="[default: test; all of a folder of yours without split folders that no model was trained on]",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Score this many images, spread over groups: for a first look."
)
@reading_options
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
@backend_option
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes that compute metrics while no model runs.  [default: one a core]",
)
@json_option
@click.pass_context
def evaluate(
    context: click.Context,
    /,
    models: tuple[str, ...],
    every: bool,
    dataset: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Score MODELS (or --all) on a dataset; each model runs in a process of its own and sees LR only.

    With --weights FILE the model may be left out: it is read from the file. A model that fails is recorded
    and the others go on; the exit code is then 1, as it is where a guard finds fault with a model.
    """
    if (bool(models) or (options["weights"] is not None and not every)) == every:
        raise click.UsageError("Name the models to score, or give --all (not both), or --weights FILE.")
    if dataset is None and not every:
        raise click.UsageError("Name the dataset: --dataset NAME. Only --all runs without one.")
    from srbench.evaluation.evaluate import evaluate as run_evaluation

    options["metrics"] = options["metrics"] or None
    with progress_reporter() as progress:
        summary = run_evaluation("all" if every else models, dataset=dataset, progress=progress, **options)
    blocks = blocks_of(summary)
    if as_json:
        print_json(_as_data(summary, blocks))
    else:
        say(summary.text())
        print_blocks(blocks)
        if blocks:
            given = ["--results", str(options["results"])] if options["results"] else []
            say(f"\nNext: {shlex.join(['srbench', 'report', *given])}")
    context.exit(1 if summary.failed or summary.caught else 0)


def blocks_of(summary: EvaluationSummary) -> list[Summary]:
    """The blocks of the store that were scored into, with what was scored there before."""
    from srbench.reporting.summary import summaries
    from srbench.store import ScoreStore

    return summaries(ScoreStore(summary.results), {outcome.run_id for outcome in summary.outcomes})


def print_blocks(blocks: Sequence[Summary]) -> None:
    """Print their tables and what these say."""
    for block in blocks:
        if len(blocks) > 1:
            say(f"\n{block.title}")
        print_table(block.columns, block.rows)
        for line in (*block.notes, *block.words):
            say(line)


def _as_data(summary: EvaluationSummary, blocks: Sequence[Summary]) -> dict[str, Any]:
    """What became of every model, and the numbers of the blocks that were scored into."""
    return {
        "results": summary.results,
        "conditions": [part.conditions for part in summary.parts or (summary,)],
        "outcomes": [asdict(outcome) for outcome in summary.outcomes],
        "blocks": [{"title": block.title, "rows": block.numbers, "words": block.words} for block in blocks],
    }


_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command()
@click.argument("sr", metavar="SR_DIR", type=_FOLDER)
@click.argument("hr", metavar="HR_DIR", type=_FOLDER)
@click.option(
    "--scale",
    type=click.IntRange(1, 8),
    help="Magnification [default: the one in the names of the SR files, as _x2, else 4].",
)
@click.option("--name", help="What the row is called [default: the name of the folder SR_DIR].")
@degradation_option
@click.option("--protocol", help="What a number means [default: sem-grey].")
@click.option("--metric", "metrics", multiple=True, help="Only these metrics. Repeatable.")
@click.option(
    "--previews", type=click.IntRange(0), default=6, show_default=True, help="Images kept for the report."
)
@reading_options
@results_option
@click.option("--force", is_flag=True, help="Score again what is already scored.")
@json_option
@click.pass_context
def score(
    context: click.Context, /, sr: Path, hr: Path, results: Path | None, as_json: bool, **options: Any
) -> None:
    """Score the images in SR_DIR, made by any other program, against the true ones in HR_DIR.

    An SR image belongs to the HR image whose name it has, alone or with an ending as _SR, _x4 or _edsr_x4,
    and has its size. The row stands in the report beside bicubic and nearest interpolation, which are scored
    with it; it is marked as unguarded and is not ranked, since srbench did not see what the program was
    given. An HR image without an SR image is recorded with the reason.
    """
    from srbench.evaluation.external import score as score_folder

    options["metrics"] = options["metrics"] or None
    with progress_reporter() as progress:
        summary = score_folder(sr, hr, results=results, progress=progress, **options)
    if as_json:
        print_json(_as_data(summary, blocks_of(summary)))
    else:
        say(summary.text())
        where = ["--results", str(results)] if results else []
        say(f"Next: {shlex.join(['srbench', 'report', *where])}")
    context.exit(1 if summary.failed or summary.caught else 0)
