"""The command ``srbench`` for the tests of its commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.command_line import Srbench, command_line
from helpers.homes import with_scenes


@pytest.fixture
def srbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Srbench:
    """In this process, in and with an empty home."""
    monkeypatch.setenv("SRBENCH_HOME", str(with_scenes(tmp_path)))
    monkeypatch.chdir(tmp_path)
    return command_line(monkeypatch, capsys)
