"""Nothing that a stranger wrote reaches a terminal as it is: all commands print through one file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from srbench.cli import console
from srbench.utils.progress import PlainReporter, ProgressEvent

FOLDER = Path(console.__file__).parent


def test_commands_print_through_the_console_only() -> None:
    direct = [
        f"{path.name}:{node.lineno}"
        for path in FOLDER.glob("*.py")
        if path.name != "console.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "click.echo", "click.secho")
    ]
    assert direct == []


def test_escape_sequences_and_surrogates_are_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    for show in (console.say, console.note, lambda text: console.print_fields({"a": text})):
        show("\x1b]0;title\x07\ud800\u202ebad")
        shown = "".join(capsys.readouterr())
        assert "\\x1b]0;title\\x07\\ud800\\u202ebad" in shown and "\x1b" not in shown


def test_progress_is_cleaned_too() -> None:
    lines: list[str] = []
    reporter = PlainReporter(write=lines.append)
    reporter("text\x1b[2J")
    reporter(ProgressEvent("label\x1b[2J", 1, 1, "images", "detail\x07"))
    assert lines[0] == "text\\x1b[2J"
    assert not any(character in line for line in lines for character in "\x1b\x07")
