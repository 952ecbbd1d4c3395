"""What commands print: tables, JSON, errors. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NoReturn

import click

from srbench.utils.progress import is_hidden

_PROSE = 24  # columns that folded text needs at least to be read with ease
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
    """Print a remark (stderr), but for ``--quiet``."""
    if not is_hidden():
        warn(message)


def warn(message: str) -> None:
    """Print what the user must know (stderr): what could not be done, what failed, terms of data."""
    click.echo(clean(message), err=True)


class NotedRecords(logging.Handler):
    """Prints records of a log as remarks, each with its time."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one."""
        note(f"{datetime.fromtimestamp(record.created):%H:%M:%S} {record.getMessage()}")


@contextmanager
def log_shown() -> Iterator[None]:
    """Inside, what srbench logs of its work is printed: files read and written, weights, processes."""
    logger, handler = logging.getLogger("srbench"), NotedRecords()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def say(text: str = "") -> None:
    """Print a result (stdout)."""
    click.echo(clean(text))


def clean(text: str) -> str:
    """``text`` without control characters, which names of files may hold, but for the ends of its lines."""
    from srbench.utils.text import printable_lines

    return printable_lines(text)


def print_json(content: Any) -> None:
    """Print JSON for other programs (stdout)."""
    from srbench.utils.text import json_values

    click.echo(json.dumps(json_values(content), indent=2, sort_keys=True, default=str))


def note_outcome(remarks: Sequence[str], skipped: Mapping[str, str]) -> None:
    """Print what was done to the input, and which of it was left out for which reason (stderr)."""
    for remark in remarks:
        note(remark)
    for name, reason in skipped.items():
        warn(f"skipped {name}: {reason}")


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    folding: Sequence[str] = (),
    droppable: Sequence[str] = (),
) -> None:
    """Print a table (stdout): whole lines, or what fits the width of a terminal or of ``COLUMNS``.

    Args:
        columns: their names.
        rows: one text a column.
        folding: columns of prose, which go on in the next line where the terminal is narrow.
        droppable: columns that are left out, one after the other from the first, where that is not enough;
            a note names them.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    cells = [[clean(text) for text in row] for row in rows]
    widths = {
        name: max(cell_len(line) for row in [columns, *cells] for line in row[column].splitlines() or [""])
        for column, name in enumerate(columns)
    }
    # a space before the first column, three between two and one after the last
    natural = sum(widths.values()) + 3 * len(columns)
    limited = sys.stdout.isatty() or "COLUMNS" in os.environ
    width = shutil.get_terminal_size().columns if limited else natural
    least = {name: min(wide, _PROSE) if name in folding else wide for name, wide in widths.items()}
    dropped: list[str] = []
    while sum(least.values()) + 3 * len(least) > width and len(dropped) < len(droppable):
        dropped.append(droppable[len(dropped)])
        del least[dropped[-1]]
    fits = sum(least.values()) + 3 * len(least) <= width

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in least:
        table.add_column(name, no_wrap=fits and name not in folding, overflow="fold")
    for row in cells:
        table.add_row(*(text for name, text in zip(columns, row, strict=True) if name in least))
    Console(width=max(width, 1), highlight=False, markup=False).print(table)
    if dropped:
        note(
            f"Not shown in {width} columns: {', '.join(dropped)} (a wider terminal, a pipe or --json has all)"
        )


def print_fields(fields: Mapping[str, str]) -> None:
    """Print ``name  value`` lines (stdout)."""
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        say(f"{name.ljust(width)}  {value}")
