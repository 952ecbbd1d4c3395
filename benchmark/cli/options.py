"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path

import click


def _located(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """The file of that name in the weights folder where there is none here."""
    if path is None:
        return None
    from srbench.weights.find import locate

    return locate(path).resolve()


scale_option = click.option(
    "--scale", type=click.IntRange(1, 8), default=4, show_default=True, help="Magnification."
)
weights_scale_option = click.option(
    "--scale", type=click.IntRange(1, 8), help="Magnification [default: that of the weights, else 4]."
)
degradation_option = click.option(
    "--degradation",
    default="bicubic",
    show_default=True,
    metavar="NAME[:SETTING=VALUE,...]",
    help="How LR is made from HR, as bicubic or sem_pixel:dose=60.",
)
rgb_to_grey_option = click.option(
    "--rgb-to-grey",
    is_flag=True,
    help="Convert colour --weights for the grey network [default: run them as they are on grey images].",
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
weights_option = click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_located,
    help="Weights file, or the name of one fetched; by default the best trained here.",
)
results_option = click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    help="Folder of the score store [default: $SRBENCH_HOME/results].",
)
