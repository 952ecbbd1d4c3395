"""What commands print: tables, JSON, errors. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from srbench.cli.progress import human_bytes, progress_bar

__all__ = ["fail", "human_bytes", "note", "print_fields", "print_json", "print_table", "progress_bar"]


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


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, folding: Sequence[str] | None = None
) -> None:
    """Print a table (stdout), folded to the terminal's width; whole lines where stdout is not a terminal.

    Args:
        columns: their names.
        rows: one text a column.
        folding: columns that give way where the terminal is narrow; all when None.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=folding is not None and column not in folding, overflow="fold")
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False, markup=False).print(table)


def print_fields(fields: Mapping[str, str]) -> None:
    """Print ``name  value`` lines (stdout)."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        click.echo(f"{name.ljust(width)}  {value}")
