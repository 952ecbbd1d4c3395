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
        "--scale", type=click.IntRange(2, 8), default=4, show_default=True, help="Magnification."
    )
    return option(command)


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
        help="Weights file; by default the newest trained here.",
    )(command)


def results_option(command: Command) -> Command:
    """``--results DIR``."""
    return click.option(
        "--results",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the score store [default: $SRBENCH_HOME/results].",
    )(command)
