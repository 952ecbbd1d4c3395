"""What commands print: tables, JSON, errors. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

_PLAIN = {"−": "-", "–": "-", "…": "...", "↑": "^", "↓": "v", "×": "x"}


def prepare_streams() -> None:
    """Let stdout and stderr take every text, whatever their encoding: what it lacks is written in ASCII."""
    codecs.register_error("srbench", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="srbench")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    from srbench.utils.text import printable

    assert isinstance(error, UnicodeEncodeError)
    text = printable(error.object[error.start : error.end])  # lone surrogates: names that are not UTF-8
    plain = "".join(_PLAIN.get(character, character) for character in text)
    return plain.encode("ascii", "backslashreplace").decode(), error.end


def fail(message: str, code: int) -> NoReturn:
    """Print an error and leave."""
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {clean(message)}", err=True)
    sys.exit(code)


def note(message: str) -> None:
    """Print a remark (stderr)."""
    click.echo(clean(message), err=True)


def say(text: str = "") -> None:
    """Print a result (stdout)."""
    click.echo(clean(text))


def clean(text: str) -> str:
    """``text`` without control characters, which names of files may hold, but for the ends of its lines."""
    from srbench.utils.text import printable_lines

    return printable_lines(text)


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
        table.add_row(*map(clean, row))
    width = None if sys.stdout.isatty() else 160
    Console(width=width, highlight=False, markup=False).print(table)


def print_fields(fields: Mapping[str, str]) -> None:
    """Print ``name  value`` lines (stdout)."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        say(f"{name.ljust(width)}  {value}")
