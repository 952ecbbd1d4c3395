"""``srbench infer``: super-resolve image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from srbench.cli.console import note
from srbench.cli.options import device_option, rgb_to_grey_option, weights_option, weights_scale_option


@click.command()
@click.argument("model", required=False)
@click.argument("images", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    help="Folder for the results.",
)
@weights_option
@rgb_to_grey_option
@weights_scale_option
@click.option("--variant", help="Variant of the model [default: that of the weights, else its first].")
@device_option
@click.pass_context
def infer(
    context: click.Context, /, model: str | None, images: tuple[Path, ...], out: Path, **options: Any
) -> None:
    """Super-resolve IMAGES (files or folders) with MODEL; lossless PNGs go into --out.

    With --weights FILE the model may be left out: it is read from the file. An image that cannot be read is
    named and skipped, the others are done; the exit code is then 1.
    """
    from srbench.inference.predict import infer as run_inference
    from srbench.models import model_names

    given = options["weights"] is not None
    if given and model is not None and model not in model_names() and Path(model).exists():
        images, model = (Path(model), *images), None
    if model is None and not given:
        raise click.UsageError("Name the model, or give --weights FILE.")
    if not images:
        raise click.UsageError("Name the images: files, or folders of files.")
    outcome = run_inference(model, images, out=out, tell=note, **options)
    for file, reason in outcome.skipped.items():
        note(f"skipped {reason}" if reason.startswith(str(file)) else f"skipped {file}: {reason}")
    click.echo(f"{len(outcome.written)} images in {out}, {len(outcome.skipped)} skipped")
    context.exit(1 if outcome.skipped else 0)
