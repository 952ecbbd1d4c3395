"""``srbench measure``: sizes on images with their intervals, or why there are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from srbench.cli.console import note_outcome, print_json, print_table, say, warn
from srbench.cli.options import (
    bits_option,
    device_option,
    json_option,
    pixel_size_option,
    variant_option,
    weights_option,
    weights_scale_option,
    what_option,
    writable,
)


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@what_option
@click.option("--model", help="Super-resolve with it first [default: measure the images as they are].")
@weights_option
@weights_scale_option
@variant_option
@click.option(
    "--bank",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Errors of this measurement, from srbench calibrate.",
)
@click.option(
    "--reference",
    metavar="DIR",
    help="Fields of this session recorded twice: as these images, and slowly (folders lr and hr, or fast and "
    "slow).",
)
@bits_option
@pixel_size_option
@click.option(
    "--pixel-size-percent",
    type=click.FloatRange(0, 100),
    help="How far the pixel size may be off, for the budget.",
)
@click.option(
    "--level", type=click.FloatRange(0.5, 0.99), default=0.9, show_default=True, help="Of the intervals."
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    callback=writable,
    help="Folder for measurement.html, measurement.json and objects.csv.",
)
@device_option
@json_option
@click.pass_context
def measure(
    context: click.Context,
    /,
    images: tuple[Path, ...],
    what: str,
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure IMAGES (files or folders, from the instrument or from srbench infer).

    An interval needs a --bank made for this model, pixel size and kind of image, and --reference fields of
    the same session: errors of one session do not hold in another. Without them the sizes are printed as
    measured, and why they have no interval.
    """
    from srbench.measuring import words
    from srbench.measuring.measure import measure as run
    from srbench.measuring.page import write
    from srbench.reporting.text import number
    from srbench.utils.progress import progress_reporter

    with progress_reporter() as progress:
        result = run(images, what, progress=progress, **options)
    files = write(result, out)
    note_outcome(result.remarks, result.skipped)
    if as_json:
        print_json(words.as_json(result))
        context.exit(1 if result.skipped else 0)
    for estimate in result.estimates:
        say(words.sentence(estimate, result.level))
        if estimate.why_not and not result.why_not:
            warn(f"{estimate.name} has no interval: {estimate.why_not}")
    for statement in words.statements(result):
        say(statement)
    heads = (
        "value",
        "measured",
        "corrected",
        "super-resolution",
        "sampling",
        "threshold",
        "pixel size",
        "together",
    )
    rows = [[words.title(estimate), *words.parts(estimate)] for estimate in result.estimates]
    print_table(heads, rows, folding=("value",))
    blur = ", ".join(f"{name} {number(value, 2)}" for name, value in result.sharpness.items())
    say(f"sharpness (blur, standard deviation in {result.unit}): {blur}")
    for file in files:
        say(f"Written: {file}")
    context.exit(1 if result.skipped else 0)
