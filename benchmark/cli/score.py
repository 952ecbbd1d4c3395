"""``srbench score``: score the images that another program made."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from srbench.cli.console import say
from srbench.cli.options import degradation_option, reading_options, results_option
from srbench.utils.progress import progress_reporter

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
@click.pass_context
def score(context: click.Context, /, sr: Path, hr: Path, results: Path | None, **options: Any) -> None:
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
    say(summary.text())
    where = ["--results", str(results)] if results else []
    say(f"Next: {shlex.join(['srbench', 'report', *where])}")
    context.exit(1 if summary.failed or summary.caught else 0)
