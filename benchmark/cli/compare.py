"""``srbench compare``: two models, image by image."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from srbench.cli.console import print_json
from srbench.cli.options import results_option


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--dataset", help="Where several were scored.")
@click.option("--split", help="train, val, test or all, where several were scored.")
@click.option("--scale", type=click.IntRange(1, 8), help="Magnification, where several were scored.")
@click.option("--degradation", help="How LR was made, where there are several.")
@click.option("--protocol", help="What a number means, where there are several.")
@click.option("--metric", "metrics", multiple=True, help="Only these metrics, with all details. Repeatable.")
@click.option(
    "--margin",
    "margins",
    multiple=True,
    metavar="METRIC=VALUE",
    help="Smallest difference that matters, in place of the default, as psnr=0.3. Repeatable.",
)
@results_option
@click.option("--json", "as_json", is_flag=True, help="Every number, for other programs.")
def compare(
    first: str,
    second: str,
    dataset: str | None,
    split: str | None,
    scale: int | None,
    degradation: str | None,
    protocol: str | None,
    metrics: tuple[str, ...],
    margins: tuple[str, ...],
    results: Path | None,
    as_json: bool,
) -> None:
    """Compare two scored models on the same images: which is better, by how much, where, and how surely.

    A and B are MODEL, MODEL:VARIANT, or the first six or more digits of a weights hash. All training seeds of
    a model are taken together.
    """
    from srbench.cli.comparison_text import as_data, lines
    from srbench.evaluation.comparison import compare as compare_models
    from srbench.evaluation.selection import Asked
    from srbench.home import results_folder
    from srbench.store import ScoreStore

    found = compare_models(
        ScoreStore(results.resolve() if results else results_folder()),
        first,
        second,
        asked=Asked(dataset, split, degradation, scale, protocol),
        metrics=metrics,
        margins=_margins(margins),
    )
    if as_json:
        print_json(as_data(found))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    for line in lines(found, min(max(width, 80), 120), details=metrics):
        click.echo(line)


def _margins(texts: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise click.BadParameter(
                f"Expected METRIC=VALUE as psnr=0.3, found {text!r}.", param_hint="--margin"
            ) from None
    return found
