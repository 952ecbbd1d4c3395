"""What a worker says is believed no further than it must be: its process also runs the model's code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srbench.evaluation import errands, launch
from srbench.evaluation.errands import Errand, Workers
from srbench.evaluation.jobs import Job
from srbench.evaluation.launch import WorkerFailed

TWO = Errand(Path("lr.bin"), ((0, 4, 4, 1), (16, 4, 4, 1)))
TILING = {"tiles": 1, "tile": 4, "halo": 0, "exact": True, "retries": 0}
IMAGE = {"event": "image", "seconds": 0.1, "tiling": TILING}
Told = list[Mapping[str, Any]]


def answers(told: Told, scratch: Path, patch: pytest.MonkeyPatch) -> Told:
    def worker(*_: Any) -> Iterator[Mapping[str, Any]]:
        yield from told

    patch.setattr(errands, "run_worker", worker)
    workers = Workers(4, {}, 1.0, (scratch / "hidden",))
    return list(workers.run(Job("bicubic", "matlab"), TWO, scratch))


def save(path: Path) -> np.ndarray:
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (16, 16), dtype=np.uint8)
    np.save(path, pixels)
    return pixels


def test_images_are_taken_from_where_they_must_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = [save(tmp_path / "0.npy"), save(tmp_path / "1.npy")]
    elsewhere = tmp_path / "hr.npy"
    save(elsewhere)
    told = [{**IMAGE, "index": index, "file": str(elsewhere)} for index in (0, 1)]
    got = answers([*told, {"event": "finished"}], tmp_path, monkeypatch)
    assert all(np.array_equal(one["pixels"], own) for one, own in zip(got, pixels, strict=False))
    assert elsewhere.exists() and not (tmp_path / "0.npy").exists()


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system cannot refuse links")
def test_no_link_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "hr.npy"
    save(secret)
    (tmp_path / "0.npy").symlink_to(secret)
    with pytest.raises(WorkerFailed, match="image 0 cannot be read"):
        answers([{**IMAGE, "index": 0}], tmp_path, monkeypatch)
    assert secret.exists()


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ([{**IMAGE, "index": 1}], "out of turn: image 1"),
        ([{**IMAGE, "index": 0}] * 2, "out of turn: image 0"),
        ([{**IMAGE, "index": 0}, {**IMAGE, "index": 1}, {**IMAGE, "index": 2}], "out of turn: image 2"),
        ([IMAGE], "out of turn: image None"),
        ([{**IMAGE, "index": 0}, {"event": "finished"}], "ended after 1 of 2 images"),
        ([{**IMAGE, "index": 0, "seconds": "soon"}], "did not say how image 0 was run"),
        ([{**IMAGE, "index": 0, "tiling": []}], "did not say how image 0 was run"),
    ],
)
def test_images_come_once_and_in_order(
    told: Told, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        save(tmp_path / f"{index}.npy")
    with pytest.raises(WorkerFailed, match=words):
        answers(told, tmp_path, monkeypatch)


def test_what_is_no_array_or_holds_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"", b"no array", None):
        if content is None:
            np.save(tmp_path / "0.npy", np.array([print], dtype=object))
        else:
            (tmp_path / "0.npy").write_bytes(content)
        with pytest.raises(WorkerFailed, match="image 0 cannot be read"):
            answers([{**IMAGE, "index": 0}], tmp_path, monkeypatch)


@pytest.mark.parametrize("line", [b"hello\n", b"[]\n", b"{}\n", b"\xff\n", b"3\n"])
def test_a_line_that_is_no_message_ends_the_run(line: bytes) -> None:
    with pytest.raises(WorkerFailed, match="no message"):
        launch._parsed(line)
