"""What is printed arrives on every terminal and pipe, and nothing in it steers the terminal."""

from __future__ import annotations

import io
import sys

import click
import pytest

from srbench.cli.console import clean, note, prepare_streams, print_table
from srbench.utils.progress import PlainReporter, ProgressEvent, RichReporter

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
