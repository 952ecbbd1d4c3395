"""The command line in the test's own process: what it prints where, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from srbench.cli import main


@dataclass(frozen=True)
class Result:
    returncode: int
    stdout: str
    stderr: str


Srbench = Callable[..., Result]


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Srbench:
    """Takes the words after ``srbench``."""

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["srbench", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return Result(int(left.value.code or 0), said.out, said.err)

    return run
