"""What a worker says is believed no further than it must be: its process also runs the model's code."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srbench.config import EvaluationConfig
from srbench.evaluation import worker_client
from srbench.evaluation.jobs import Job
from srbench.evaluation.messages import WorkerJob, decode, encode
from srbench.evaluation.worker_client import InferenceRequest, WorkerClient, WorkerFailed

TWO = InferenceRequest(Path("lr.bin"), ((0, 4, 4, 1), (16, 4, 4, 1)))
TILING = {"tiles": 1, "tile": 4, "halo": 0, "exact": True, "retries": 0}
IMAGE = {"event": "image", "seconds": 0.1, "tiling": TILING}
FINISHED = {"event": "finished", "peak_bytes": 1, "attempts": []}
Lines = list[Mapping[str, Any]]


def answers(lines: Lines, scratch: Path, patch: pytest.MonkeyPatch) -> list[Any]:
    def worker(*_: Any) -> Iterator[Any]:
        for line in lines:
            yield worker_client._parsed(json.dumps(line).encode())

    patch.setattr(worker_client, "run_worker", worker)
    client = WorkerClient(4, EvaluationConfig(timeout=1.0), (scratch / "hidden",))
    return list(client.run(Job("bicubic", "matlab"), TWO, scratch))


def save(path: Path) -> np.ndarray:
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (16, 16), dtype=np.uint8)
    np.save(path, pixels)
    return pixels


def test_images_are_taken_from_where_they_must_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = [save(tmp_path / "0.npy"), save(tmp_path / "1.npy")]
    lines = [{**IMAGE, "index": index} for index in (0, 1)]
    images = answers([*lines, FINISHED], tmp_path, monkeypatch)[:2]
    assert all(np.array_equal(image.pixels, expected) for image, expected in zip(images, pixels, strict=True))
    assert not (tmp_path / "0.npy").exists()


@pytest.mark.parametrize(
    "extra", [{"file": "hr.npy"}, {"pixels": [[0]]}, {"isolation": {"level": "kernel"}}], ids=str
)
def test_a_message_says_nothing_that_is_not_its_own(
    extra: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "0.npy")
    with pytest.raises(WorkerFailed, match=f"unknown {next(iter(extra))}"):
        answers([{**IMAGE, "index": 0, **extra}], tmp_path, monkeypatch)


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system cannot refuse links")
def test_no_link_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "hr.npy"
    save(secret)
    (tmp_path / "0.npy").symlink_to(secret)
    with pytest.raises(WorkerFailed, match="image 0 cannot be read"):
        answers([{**IMAGE, "index": 0}], tmp_path, monkeypatch)
    assert secret.exists()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{**IMAGE, "index": 1}], "out of turn: image 1"),
        ([{**IMAGE, "index": 0}] * 2, "out of turn: image 0"),
        ([{**IMAGE, "index": 0}, {**IMAGE, "index": 1}, {**IMAGE, "index": 2}], "out of turn: image 2"),
        ([IMAGE], "no message"),
        ([{**IMAGE, "index": 0}, FINISHED], "ended after 1 of 2 images"),
        ([{**IMAGE, "index": 0, "seconds": "soon"}], "no message"),
        ([{**IMAGE, "index": 0, "tiling": []}], "no message"),
        ([{**IMAGE, "index": 0, "tiling": {**TILING, "tiles": True}}], "no message"),
        ([{**IMAGE, "index": 0.0}], "no message"),
    ],
)
def test_images_come_once_and_in_order(
    lines: Lines, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        save(tmp_path / f"{index}.npy")
    with pytest.raises(WorkerFailed, match=words):
        answers(lines, tmp_path, monkeypatch)


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
        worker_client._parsed(line)


def test_messages_and_jobs_come_back_as_they_were_sent() -> None:
    job = WorkerJob("m", "v", 4, 1, "lr", ((0, 4, 4, 1),), "out", tilings=((4, 1, True),), hr="hr")
    assert WorkerJob.from_json(job.to_json()) == job
    for line in ({**IMAGE, "index": 0}, FINISHED, {"event": "warm", "channel_spread": None}):
        assert json.loads(encode(decode(json.dumps(line)))) == line
