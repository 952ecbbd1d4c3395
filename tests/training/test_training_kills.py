"""Folders of runs that were killed at any moment, and folders that two processes want."""

from __future__ import annotations

import importlib
import json
import random
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from srbench.training.checkpoint import save_checkpoint
from srbench.training.run_folder import RunFolder
from srbench.utils.errors import SrbenchError

EVERY = ("train.log_every=1", "train.checkpoint_every=3", "train.validate_every=4")
_watched: list[tuple[Path, Path]] = []


def _copy(event: str, arguments: tuple[object, ...]) -> None:
    """What a SIGKILL before this call would leave of the folder."""
    if not _watched or event not in ("open", "os.rename", "os.remove", "os.link", "os.mkdir"):
        return
    folder, copies = _watched[0]
    if str(arguments[0]).startswith(str(folder)):
        _watched.clear()  # copying opens files too
        if folder.exists():
            shutil.copytree(folder, copies / str(len(list(copies.iterdir()))))
        _watched.append((folder, copies))


@contextmanager
def copied_at_every_change(folder: Path, copies: Path) -> Iterator[None]:
    copies.mkdir()
    sys.addaudithook(_copy)
    _watched.append((folder, copies))
    try:
        yield
    finally:
        _watched.clear()


@pytest.mark.slow
def test_killed_at_any_moment_a_run_can_be_resumed_or_begun_again(train, tmp_path):
    """Every state of the folder while a run goes on: all are accepted, some are run to their end."""
    with copied_at_every_change(tmp_path / "run", tmp_path / "copies"):
        straight = train("tiny_sr", *EVERY, out=tmp_path / "run")
    weights = straight.weights.read_bytes()
    copies = sorted((tmp_path / "copies").iterdir(), key=lambda path: int(path.name))
    assert len(copies) > 40
    early = 0
    for copy in copies:
        folder = RunFolder(copy)
        assert folder.check(resume=True) in ("new", "unfinished", "complete")
        if not (copy / "checkpoint.pt").exists():
            early += 1
            assert folder.check(resume=False) == "new"
    assert early > 8
    chosen = {*range(0, early, 6), early, *random.Random(13).sample(range(early, len(copies)), 3)}
    for number in sorted(chosen):
        result = train("tiny_sr", *EVERY, out=copies[number], resume=number % 8 != 0 or number >= early)
        assert result.weights.read_bytes() == weights, f"copied before change {number}"
        assert {path.name for path in copies[number].iterdir() if path.suffix == ".tmp"} == set()
        assert not (copies[number] / "checkpoint.previous.pt").exists()


def test_two_names_of_one_checkpoint_leave_no_third(tmp_path):
    """The kill came between naming the checkpoint the previous one and replacing it."""
    save_checkpoint(tmp_path, {"step": 1})
    (tmp_path / "checkpoint.previous.pt").hardlink_to(tmp_path / "checkpoint.pt")
    save_checkpoint(tmp_path, {"step": 2})
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.pt", "checkpoint.previous.pt"}


def test_a_finished_run_is_tidied_when_it_is_asked_for_again(train, tmp_path):
    result = train("tiny_sr", out=tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    for name in (".lock-holder", ".weights.safetensors.0-1-2-3.tmp"):
        (tmp_path / name).touch()
    assert train("tiny_sr", out=tmp_path, resume=True).weights == result.weights
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_folder_of_a_version_that_logged_first_is_begun_again(tmp_path):
    (tmp_path / "log.jsonl").touch()
    (tmp_path / "config.yaml").write_text("model: edsr")
    assert RunFolder(tmp_path).check(resume=False) == RunFolder(tmp_path).check(resume=True) == "new"
    (tmp_path / "best.safetensors").touch()
    with pytest.raises(SrbenchError, match="not a run"):
        RunFolder(tmp_path).check(resume=True)


@pytest.mark.parametrize("resume", [True, False])
def test_a_run_that_another_process_finishes_meanwhile_is_not_trained_over(
    train, tmp_path, monkeypatch, resume
):
    """Both found the folder empty; the other one was faster."""
    training = importlib.import_module("srbench.training.train")  # the package has a function of this name
    prepare, folder = training.prepare, tmp_path / "run"

    def slowly(*arguments):
        monkeypatch.setattr(training, "prepare", prepare)
        train("tiny_sr", out=folder)
        return prepare(*arguments)

    monkeypatch.setattr(training, "prepare", slowly)
    if resume:
        assert train("tiny_sr", out=folder, resume=True).iterations == 8
    else:
        with pytest.raises(SrbenchError, match="holds a finished run"):
            train("tiny_sr", out=folder)
    assert len(json.loads((folder / "manifest.json").read_text())["sessions"]) == 1
