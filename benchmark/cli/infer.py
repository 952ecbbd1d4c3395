"""``srbench infer``: super-resolve image files."""

from __future__ import annotations

from pathlib import Path

import click

from srbench.cli.console import note
from srbench.cli.options import device_option, weights_option


@click.command()
@click.argument("model")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the results."
)
@weights_option
@click.option(
    "--scale", type=click.IntRange(2, 8), help="Magnification [default: that of the weights, else 4]."
)
@click.option("--variant", help="Variant of the model [default: that of the weights, else its first].")
@device_option
@click.pass_context
def infer(
    context: click.Context,
    model: str,
    images: tuple[Path, ...],
    out: Path,
    weights: Path | None,
    scale: int | None,
    variant: str | None,
    device: str,
) -> None:
    """Super-resolve IMAGES (files or folders) with MODEL; lossless PNGs go into --out.

    A file that cannot be read is named and skipped, the others are done; the exit code is then 1.
    """
    from srbench.inference import infer_files

    outcome = infer_files(
        model,
        images,
        out=out.resolve(),
        weights=weights,
        scale=scale,
        variant=variant,
        device=device,
        tell=note,
    )
    for file, reason in outcome.skipped.items():
        note(f"skipped {reason}" if reason.startswith(str(file)) else f"skipped {file}: {reason}")
    click.echo(f"{len(outcome.written)} images in {out.resolve()}, {len(outcome.skipped)} skipped")
    context.exit(1 if outcome.skipped else 0)
