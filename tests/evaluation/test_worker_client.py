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
IMAGE = {"event": "image", "tiling": TILING}
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
    path.write_bytes(pixels.tobytes())
    return pixels


def test_images_are_taken_from_where_they_must_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = [save(tmp_path / "0.raw"), save(tmp_path / "1.raw")]
    lines = [{**IMAGE, "index": index} for index in (0, 1)]
    images = answers([*lines, FINISHED], tmp_path, monkeypatch)[:2]
    assert all(np.array_equal(image.pixels, expected) for image, expected in zip(images, pixels, strict=True))
    assert not (tmp_path / "0.raw").exists()


@pytest.mark.parametrize(
    "extra", [{"file": "hr.raw"}, {"pixels": [[0]]}, {"isolation": {"level": "kernel"}}], ids=str
)
def test_a_message_says_nothing_that_is_not_its_own(
    extra: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "0.raw")
    with pytest.raises(WorkerFailed, match=f"unknown {next(iter(extra))}"):
        answers([{**IMAGE, "index": 0, **extra}], tmp_path, monkeypatch)


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="this system cannot refuse links")
def test_no_link_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "hr.raw"
    save(secret)
    (tmp_path / "0.raw").symlink_to(secret)
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
        ([{**IMAGE, "index": 0, "seconds": 0.1}], "no message"),
        ([{**IMAGE, "index": -1}], "no message"),
        ([{**IMAGE, "index": 0, "tiling": []}], "no message"),
        ([{**IMAGE, "index": 0, "tiling": {**TILING, "tiles": True}}], "no message"),
        ([{**IMAGE, "index": 0.0}], "no message"),
    ],
)
def test_images_come_once_and_in_order(
    lines: Lines, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(3):
        save(tmp_path / f"{index}.raw")
    with pytest.raises(WorkerFailed, match=words):
        answers(lines, tmp_path, monkeypatch)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_only_a_regular_file_of_the_size_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "0.raw"
    save(tmp_path / "other")
    for make, bad_output in (
        (lambda: os.mkfifo(file), False),
        (file.mkdir, False),
        (lambda: file.symlink_to("/dev/zero"), False),
        (lambda: file.write_bytes(b""), True),
        (lambda: file.write_bytes(bytes(257)), True),
        (lambda: file.open("wb").truncate(1 << 40), True),
    ):
        make()
        with pytest.raises(WorkerFailed) as failure:
            answers([{**IMAGE, "index": 0}], tmp_path, monkeypatch)
        assert failure.value.bad_output == bad_output
        file.rmdir() if file.is_dir() else file.unlink()


def test_a_folder_put_in_the_place_of_the_worker_s_is_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, hidden = tmp_path / "scratch", tmp_path / "hidden_too"
    for folder in (scratch, hidden):
        folder.mkdir()
    save(hidden / "0.raw")

    def worker(*_: Any) -> Iterator[Any]:
        scratch.rename(tmp_path / "away")
        scratch.symlink_to(hidden)
        yield decode(json.dumps({**IMAGE, "index": 0}))

    monkeypatch.setattr(worker_client, "run_worker", worker)
    client = WorkerClient(4, EvaluationConfig(timeout=1.0), ())
    with pytest.raises(WorkerFailed):
        list(client.run(Job("bicubic", "matlab"), TWO, scratch))


HOSTILE = (
    '{"event": "finished", "peak_bytes": NaN}',
    '{"event": "finished", "peak_bytes": 1e999}',
    '{"event": "finished", "peak_bytes": -1}',
    '{"event": "finished", "peak_bytes": 1, "peak_bytes": 2}',
    '{"event": "finished", "peak_bytes": %s}' % ("1" * 5000),
    '{"event": "finished", "peak_bytes": 1, "attempts": ["%s"]}' % ("a" * 10_000),
    '{"event": "finished", "peak_bytes": 1, "attempts": %s}' % ("[" * 100_000 + "]" * 100_000),
    '{"event": "finished", "peak_bytes": %s}' % ("[" * 20 + "]" * 20),
    '{"event": "ready", "device": {"type": "cpu"}, "notes": []}',
    '{"event": "confined", "isolation": {"level": "kernel", "mechanism": "", "words": "", "more": 1}}',
    '{"event": "error", "reason": "%s"}' % ("x" * (1 << 21)),
)


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_a_message_without_bounds_is_none(line: str) -> None:
    with pytest.raises(WorkerFailed):
        worker_client._parsed(line.encode())


def test_what_a_message_says_can_be_printed_anywhere() -> None:
    line = json.dumps({"event": "error", "reason": "a\ud800\x1b[2J\nb\u202e"})
    failed: Any = worker_client._parsed(line.encode())
    assert failed.reason.isprintable() and failed.reason.encode() and "\n" not in failed.reason


def test_a_folder_goes_whatever_was_made_in_it() -> None:
    depth = 1200
    with worker_client.scratch_folder() as folder:
        here = os.open(folder, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        Path(folder, "closed").mkdir()
        Path(folder, "closed", "file").touch()
        Path(folder, "closed").chmod(0)
        Path(folder, "link").symlink_to("/")
    assert not Path(folder).exists() and Path("/usr").exists()


@pytest.mark.parametrize("line", [b"hello\n", b"[]\n", b"{}\n", b"\xff\n", b"3\n"])
def test_a_line_that_is_no_message_ends_the_run(line: bytes) -> None:
    with pytest.raises(WorkerFailed, match="no message"):
        worker_client._parsed(line)


def test_messages_and_jobs_come_back_as_they_were_sent() -> None:
    job = WorkerJob("m", "v", 4, 1, "lr", ((0, 4, 4, 1),), "out", tilings=((4, 1, True),), hr="hr")
    assert WorkerJob.from_json(job.to_json()) == job
    for line in ({**IMAGE, "index": 0}, FINISHED, {"event": "warm", "channel_spread": None}):
        assert json.loads(encode(decode(json.dumps(line)))) == line
