"""Two processes and killed ones in one results folder."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from srbench.store import Manifest, RunKey, Score, ScoreStore
from srbench.utils import leftovers
from srbench.utils.errors import SrbenchError
from srbench.utils.leftovers import temporary_name
from srbench.utils.processes import ProcessId, this_host

KEY = RunKey("edsr", "tiny", "", 0, "sem", "abc", "test", "bicubic@1", 4, "p")
SCORES = [Score("psnr", 30.0, "i")]


@pytest.fixture
def of_the_dead(monkeypatch: pytest.MonkeyPatch):
    """Names inside the block are those that an ended process would have given."""
    with monkeypatch.context() as patch:
        patch.setattr(leftovers, "this_process", lambda: ProcessId(this_host(), 2**22 + 1, 7))
        yield


def test_a_run_that_was_about_to_be_replaced_is_there_again(tmp_path: Path, of_the_dead: None) -> None:
    """The kill came when the old run was out of its place and the new one not yet in it."""
    store = ScoreStore(tmp_path)
    folder = store.write_run(Manifest(KEY, "complete"), SCORES)
    folder.rename(folder.with_name(temporary_name("outdated")))
    (folder.parent / temporary_name("partial")).mkdir()
    assert not store.is_complete(KEY)
    store.remove_leftovers()
    assert store.is_complete(KEY) and [path.name for path in folder.parent.iterdir()] == [KEY.run_id]


def test_a_run_that_was_replaced_stays_replaced(tmp_path: Path, of_the_dead: None) -> None:
    store = ScoreStore(tmp_path)
    folder = store.write_run(Manifest(KEY, "complete", notes=["old"]), SCORES)
    folder.rename(folder.with_name(temporary_name("outdated")))
    store.write_run(Manifest(KEY, "complete", notes=["new"]), SCORES)
    store.remove_leftovers()
    (stored,) = store.manifests()
    assert list(stored.notes) == ["new"] and len(list(folder.parent.iterdir())) == 1


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    writing = [runs / temporary_name(name) for name in ("partial", "outdated")]
    for folder in writing:
        folder.mkdir(parents=True)
    ScoreStore(tmp_path).remove_leftovers()
    assert set(runs.iterdir()) == set(writing)
    ScoreStore(tmp_path / "absent").remove_leftovers()
    assert not (tmp_path / "absent").exists()


def test_an_audit_does_not_change_a_run_that_was_scored_again_meanwhile(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    first, second = (Manifest(KEY, "complete", scores_sha256=digest) for digest in ("1", "2"))
    store.write_run(first, SCORES)
    store.rewrite(replace(first, notes=["audited"]))
    store.write_run(second, SCORES)
    with pytest.raises(SrbenchError, match=KEY.run_id):
        store.rewrite(replace(first, notes=["audited"]))
    stored = store.manifest(KEY)
    assert stored is not None and stored.scores_sha256 == "2" and not stored.notes


def _store_often(root: str) -> None:
    previews = {str(number): np.full((8, 8), number, np.uint8) for number in range(3)}
    for number in range(15):
        ScoreStore(root).write_run(Manifest(KEY, "complete", notes=[str(os.getpid())]), SCORES, previews)
        ScoreStore(root).rewrite(Manifest(KEY, "complete", notes=[str(number)], previews=sorted(previews)))


@pytest.mark.slow
def test_two_processes_replace_one_run_again_and_again(tmp_path: Path) -> None:
    """Neither fails, and what is there at the end is whole."""
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_store_often, args=(str(tmp_path),)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    store = ScoreStore(tmp_path)
    assert store.is_complete(KEY) and len(store.scores()) == 1 and not store.problems
    assert all(store.preview(KEY, image) for image in "012")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [KEY.run_id]
