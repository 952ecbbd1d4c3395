"""What is printed arrives on every terminal and pipe, and nothing in it steers the terminal."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner
from rich.cells import cell_len

from srbench.cli.app import cli
from srbench.cli.console import clean, note, prepare_streams, print_json, print_table
from srbench.utils.errors import StorageError
from srbench.utils.progress import PlainReporter, ProgressEvent, RichReporter


class Pair(NamedTuple):
    value: float
    name: str


LINE = "A − B ↑ 3.0 … prob\udce9.png µ 猫"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", r"A - B ^ 3.0 ... prob\xe9.png \xb5 \u732b"),
        ("latin-1", r"A - B ^ 3.0 ... prob\xe9.png µ \u732b"),
        ("cp1252", r"A - B ^ 3.0 … prob\xe9.png µ \u732b"),
        ("utf-8", r"A − B ↑ 3.0 … prob\xe9.png µ 猫"),
    ],
)
def test_every_encoding_takes_every_text(
    monkeypatch: pytest.MonkeyPatch, encoding: str, expected: str
) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    prepare_streams()
    click.echo(LINE)
    note(LINE)
    print_table(("name", "µ"), [(LINE, "1")])
    PlainReporter()(LINE)
    with RichReporter() as bars:
        bars(ProgressEvent(LINE, 1, 2, "images"))
        bars(LINE)
    counts = []
    for stream in (out, err):
        assert isinstance(stream.buffer, io.BytesIO)
        counts.append(stream.buffer.getvalue().decode(encoding, "replace").count(expected))
    # click itself writes UTF-8 to a stream that claims to be ASCII.
    assert counts[0] >= 1 and counts[1] >= 2


def test_names_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "red\x1b[31m\x9b2J\rover\u202egnp.png"
    note(f"{name}\nsecond line")
    print_table(("file",), [(name,)])
    said = capsys.readouterr()
    assert said.err.splitlines() == [clean(name), "second line"]
    assert clean(name) in said.out
    assert not {"\x1b", "\x9b", "\r", "\u202e"} & set(said.err + said.out)


COLUMNS = ("name", "state", "use", "file")
ROWS = [("a_long_name_猫", "ready", "prose that may go on in the next line", "file-" + 30 * "x")]


@pytest.mark.parametrize(("width", "dropped"), [(200, ()), (79, ("file",)), (51, ("file", "state"))])
def test_a_narrow_terminal_drops_columns_and_breaks_no_name(
    width: int, dropped: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, ROWS, folding=("use",), droppable=("file", "state"))
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    head = next(line for line in lines if "name" in line).split()
    assert head == [name for name in COLUMNS if name not in dropped]
    assert max(cell_len(line.rstrip()) for line in lines) <= width
    assert ROWS[0][0] in printed.out
    assert all(name in printed.err for name in dropped) and bool(printed.err) == bool(dropped)


def test_a_pipe_gets_whole_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(COLUMNS, [(*ROWS[0][:3], 300 * "y")], folding=("use",), droppable=("file",))
    printed = capsys.readouterr()
    assert any(all(text in line for text in (*ROWS[0][:3], 300 * "y")) for line in printed.out.splitlines())
    assert not printed.err


@pytest.mark.parametrize("command", ["doctor", "weights check", "weights list vdsr"])
def test_commands_that_report_do_so_in_json_too(command: str) -> None:
    outcome = CliRunner().invoke(cli, [*command.split(), "--json"])
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout) or command == "weights check"


def test_json_has_no_numbers_and_no_texts_that_readers_refuse(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a\x1b": [math.nan, -math.inf, 1.5], "b": Pair(math.nan, "\ud800")})
    printed = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert printed == {"a\\x1b": [None, None, 1.5], "b": {"value": None, "name": "\\ud800"}}


def with_out(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command that takes ``--out``, below ``command``."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from with_out(inner, (*path, name))
    elif any("--out" in option.opts for option in command.params):
        yield path


@pytest.mark.parametrize("command", list(with_out(cli)), ids=" ".join)
def test_where_nothing_can_be_written_nothing_is_begun(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    outcome = CliRunner().invoke(cli, [*command, "--out", str(tmp_path / "file" / "folder" / "out")])
    assert isinstance(outcome.exception, StorageError)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
