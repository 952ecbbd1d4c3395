"""``srbench infer``: super-resolve image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from srbench.cli.console import note, say, warn
from srbench.cli.options import (
    backend_option,
    bits_option,
    device_option,
    pixel_size_option,
    rgb_to_grey_option,
    variant_option,
    weights_option,
    weights_scale_option,
    writable,
)


@click.command()
@click.argument("model", required=False)
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    callback=writable,
    help="Folder for the results.",
)
@weights_option
@rgb_to_grey_option
@weights_scale_option
@variant_option
@click.option(
    "--format",
    "file_format",
    type=click.Choice(("tiff", "png")),
    help="Format of the results [default: TIFF for a TIFF, PNG for others].",
)
@click.option(
    "--databar",
    type=click.Choice(("cut", "keep")),
    default="cut",
    show_default=True,
    help="Cut it off, or lay it below the result, enlarged without the model.",
)
@bits_option
@pixel_size_option
@click.option("--force", is_flag=True, help="Do again what is there already.")
@device_option
@backend_option
@click.pass_context
def infer(
    context: click.Context, /, model: str | None, images: tuple[Path, ...], out: Path, **options: Any
) -> None:
    """Super-resolve IMAGES (files or folders) with MODEL; results go into --out.

    Without MODEL the network that srbench recommends at --scale is taken, with the weights that come with
    srbench. Of a model the best weights trained here are taken, else those that come with srbench. A line
    says which, on what they were trained and how they did; another names what was passed over.

    A TIFF becomes a TIFF (all its pages), another image a PNG, of the same bit depth and with the pixel size
    divided by the scale. Results that are there already are kept; masks, hidden files and earlier results in
    a folder are left out. With --weights FILE the model is read from the file. An image that cannot be done
    is named and skipped, the others are done; the exit code is then 1.
    """
    from srbench.datasets.images.decode import SUFFIXES
    from srbench.inference.predict import infer as run_inference
    from srbench.models import model_names
    from srbench.utils.progress import count_of, progress_reporter

    # The first word is an image where it is no model and there is such a file, or none could be called so.
    if model is not None and model not in model_names():
        path = Path(model)
        if path.exists() or path.suffix.lower() in SUFFIXES or path.name != model:
            images, model = (path, *images), None
    if not images:
        raise click.UsageError("Name the images: files, or folders of files.")
    with progress_reporter() as progress:
        outcome = run_inference(model, images, out=out, tell=progress, on_progress=progress, **options)
    for remark in outcome.remarks:
        note(remark)
    for file, reason in outcome.skipped.items():
        warn(f"skipped {reason}" if reason.startswith(str(file)) else f"skipped {file}: {reason}")
    there = f"{len(outcome.existing)} already there (--force does them again), " if outcome.existing else ""
    written = count_of(len(outcome.written), "image")
    say(f"{written} in {out}, {there}{len(outcome.skipped)} skipped")
    context.exit(1 if outcome.skipped else 0)
