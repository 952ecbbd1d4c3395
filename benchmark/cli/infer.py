"""``srbench infer``: super-resolve image files."""

from __future__ import annotations

from pathlib import Path

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
    context: click.Context,
    model: str | None,
    images: tuple[Path, ...],
    out: Path,
    weights: Path | None,
    rgb_to_grey: bool,
    scale: int | None,
    variant: str | None,
    device: str,
) -> None:
    """Super-resolve IMAGES (files or folders) with MODEL; lossless PNGs go into --out.

    With --weights FILE the model may be left out: it is read from the file. An image that cannot be read is
    named and skipped, the others are done; the exit code is then 1.
    """
    from srbench.inference.predict import infer as run_inference
    from srbench.models import model_names

    if weights is not None and model is not None and model not in model_names() and Path(model).exists():
        images, model = (Path(model), *images), None
    if model is None and weights is None:
        raise click.UsageError("Name the model, or give --weights FILE.")
    if not images:
        raise click.UsageError("Name the images: files, or folders of files.")
    outcome = run_inference(
        model,
        images,
        out=out,
        weights=weights,
        scale=scale,
        variant=variant,
        device=device,
        rgb_to_grey=rgb_to_grey,
        tell=note,
    )
    for file, reason in outcome.skipped.items():
        note(f"skipped {reason}" if reason.startswith(str(file)) else f"skipped {file}: {reason}")
    click.echo(f"{len(outcome.written)} images in {out}, {len(outcome.skipped)} skipped")
    context.exit(1 if outcome.skipped else 0)
