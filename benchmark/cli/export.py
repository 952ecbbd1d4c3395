"""``srbench export``: trained networks for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from srbench.cli.console import note, say
from srbench.cli.options import (
    rgb_to_grey_option,
    variant_option,
    weights_option,
    weights_scale_option,
    writable,
)


@click.command()
@click.argument("model", required=False)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(("onnx", "torchscript", "bioimageio", "spandrel")),
    default="onnx",
    show_default=True,
    help="A graph, a package of the bioimage.io model zoo with both, or tensors for spandrel and chaiNNer.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, resolve_path=True),
    callback=writable,
    help="The file.",
)
@weights_option
@rgb_to_grey_option
@weights_scale_option
@variant_option
@click.option(
    "--licence",
    metavar="SPDX",
    help="Of the weights, as CC-BY-4.0 [default: what is recorded of shipped and published ones].",
)
@click.option(
    "--author", "authors", multiple=True, help="Of a bioimageio package, for weights of yours. Repeatable."
)
@click.option(
    "--bits",
    type=click.IntRange(8, 16),
    default=8,
    show_default=True,
    help="Of the images that a bioimageio package takes.",
)
@click.option("--force", is_flag=True, help="Replace the file where it is there already.")
def export(model: str | None, **options: Any) -> None:
    """Write MODEL with its weights as a file that other programs run.

    Weights are chosen as infer chooses them; without MODEL those that srbench recommends at --scale. The
    graphs take images of any size with values from 0 to 1, and pad, crop and clamp as infer does. What comes
    out is compared with PyTorch on three sizes of images and kept where it differs by 0.00001 at most.
    """
    from srbench.inference.export import export as run_export

    written = run_export(model, tell=note, **options)
    for name, text in written.metadata.items():
        note(f"  {name}: {text}")
    sizes = ", ".join(
        f"{difference:.1e} on {height} x {width}"
        for (height, width), difference in written.differences.items()
    )
    say(f"{written.path} (sha256 {written.sha256[:12]}); largest difference from PyTorch: {sizes}")
