"""Options that several commands share, declared once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def scale_option(command: Command) -> Command:
    """``--scale N``."""
    option = click.option(
        "--scale", type=click.IntRange(1, 8), default=4, show_default=True, help="Magnification."
    )
    return option(command)


def weights_scale_option(command: Command) -> Command:
    """``--scale N`` of commands that may take it from a weights file."""
    option = click.option(
        "--scale", type=click.IntRange(1, 8), help="Magnification [default: that of the weights, else 4]."
    )
    return option(command)


def degradation_option(command: Command) -> Command:
    """``--degradation NAME[:SETTING=VALUE,...]``."""
    return click.option(
        "--degradation",
        default="bicubic",
        show_default=True,
        metavar="NAME[:SETTING=VALUE,...]",
        help="How LR is made from HR, as bicubic or sem_pixel:dose=60.",
    )(command)


def rgb_to_grey_option(command: Command) -> Command:
    """``--rgb-to-grey``."""
    return click.option(
        "--rgb-to-grey",
        is_flag=True,
        help="Convert colour --weights for the grey network [default: run them as they are on grey images].",
    )(command)


def device_option(command: Command) -> Command:
    """``--device``."""
    return click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")(
        command
    )


def weights_option(command: Command) -> Command:
    """``--weights FILE``."""
    return click.option(
        "--weights",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_located,
        help="Weights file, or the name of one fetched; by default the best trained here.",
    )(command)


def _located(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    """The file of that name in the weights folder where there is none here."""
    if path is None:
        return None
    from srbench.weights.finding import locate

    return locate(path).resolve()


def results_option(command: Command) -> Command:
    """``--results DIR``."""
    return click.option(
        "--results",
        type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
        help="Folder of the score store [default: $SRBENCH_HOME/results].",
    )(command)
