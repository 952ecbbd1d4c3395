"""What commands print: tables, JSON, progress, errors. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from srbench.datasets.interface import ProgressEvent, ProgressSink


def fail(message: str, code: int) -> NoReturn:
    """Print an error and leave."""
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {message}", err=True)
    sys.exit(code)


def note(message: str) -> None:
    """Print a remark (stderr)."""
    click.echo(message, err=True)


def print_json(content: Any) -> None:
    """Print JSON for other programs (stdout)."""
    click.echo(json.dumps(content, indent=2, sort_keys=True, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table (stdout), folded to the terminal's width; whole lines where stdout is not a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False, markup=False).print(table)


def print_fields(fields: Mapping[str, str]) -> None:
    """Print ``name  value`` lines (stdout)."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        click.echo(f"{name.ljust(width)}  {value}")


@contextmanager
def progress_bar() -> Iterator[ProgressSink]:
    """A sink of progress events shown as bars with rate and time left (stderr)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: dict[str, Any] = {}

        def show(event: ProgressEvent) -> None:
            if event.label not in tasks:
                tasks[event.label] = progress.add_task(event.label, total=event.total, state="")
            task = tasks[event.label]
            speed = next((entry.speed for entry in progress.tasks if entry.id == task), None)
            progress.update(task, completed=event.done, total=event.total, state=_state(event, speed))

        yield show


def human_bytes(count: float) -> str:
    """``1.5 GB`` and the like (decimal units)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _state(event: ProgressEvent, speed: float | None) -> str:
    """``done/total unit, rate``."""
    if event.unit == "B":
        amount = human_bytes(event.done) + (f" of {human_bytes(event.total)}" if event.total else "")
        return f"{amount}, {human_bytes(speed)}/s" if speed else amount
    amount = f"{event.done}/{event.total} {event.unit}" if event.total else f"{event.done} {event.unit}"
    return f"{amount}, {speed:.1f}/s" if speed else amount
