"""The client of a model's process: hands it LR images and weights, and believes little of what it answers.

What runs beside the model's code may be forged by it: only typed messages are taken, files are looked for
where they must lie, and images come once and in their order.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from srbench.config import EvaluationConfig
from srbench.datasets.lr_images import LrCache
from srbench.evaluation.jobs import Job
from srbench.evaluation.messages import (
    Failed,
    Finished,
    ImageDone,
    Isolated,
    Message,
    PackLayout,
    Ready,
    TileSettings,
    Warm,
    WorkerJob,
    decode,
)
from srbench.sandbox import SandboxPolicy, apply, policy_for_job
from srbench.utils.errors import SrbenchError
from srbench.utils.files import temporary_folder

# No entry of the path may be the current folder: models/ and datasets/ of a checkout would shadow packages.
_START = (
    "import sys; sys.path = [entry for entry in sys.path if entry]; "
    "from srbench.evaluation.worker import main; main(sys.argv[1])"
)
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
"""Tells glibc to keep freed memory for the next tensor: on a CPU, fetching it anew from the system for every
layer of every image took nearly half of the time (other systems ignore this)."""

_START_UP = 900.0
"""Seconds allowed for imports, loading and the first run, whatever the time allowed for an image."""

_TAIL = 2_000
_GRACE = 5.0


class WorkerFailed(SrbenchError):
    """The worker did not finish; the message says why.

    Attributes:
        attempts: hidden files it had asked for, as far as it could still say.
        bad_output: whether it ended because its output was no image of the right size with finite values.
    """

    def __init__(self, reason: str, attempts: Sequence[str] = (), bad_output: bool = False) -> None:
        super().__init__(reason)
        self.attempts = tuple(attempts)
        self.bad_output = bad_output


class BadOutput(SrbenchError):
    """A model's output is not an image of the size it must have."""


@dataclass(frozen=True)
class InferenceRequest:
    """Images for one worker.

    Attributes:
        lr: pack of 8-bit LR images.
        layouts: where each lies in the pack, in the order they are run.
        tilings: how each is tiled, to repeat an earlier run bit for bit; by memory when empty.
        hr: pack of the HR images in the order of the LR pack, for a variant that is meant to see them.
    """

    lr: Path
    layouts: tuple[PackLayout, ...]
    tilings: tuple[TileSettings, ...] = ()
    hr: Path | None = None

    @staticmethod
    def of(lr: LrCache, hr: Path | None = None) -> InferenceRequest:
        """All images of an evaluation."""
        return InferenceRequest(lr.file, tuple(entry.layout for entry in lr.entries), hr=hr)

    def reordered(self, order: Sequence[int]) -> InferenceRequest:
        """The same images in another order."""
        tilings = tuple(self.tilings[index] for index in order) if self.tilings else ()
        return replace(self, layouts=tuple(self.layouts[index] for index in order), tilings=tilings)


@dataclass(frozen=True)
class RunOutputs:
    """What a run gave, and how, so that it can be repeated bit for bit.

    Attributes:
        hashes: image id to the hash of its pixels.
        tilings: how each image was tiled, in the order of the LR pack.
        device: what it ran on.
    """

    hashes: Mapping[str, str]
    tilings: tuple[TileSettings, ...]
    device: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerClient:
    """Starts workers under the limits of one evaluation.

    Attributes:
        scale: magnification.
        config: its device, tile, memory and timeout.
        hidden: what no model may read, in whatever way.
    """

    scale: int
    config: EvaluationConfig
    hidden: tuple[Path, ...]

    def run(self, job: Job, request: InferenceRequest, scratch: Path) -> Iterator[Message]:
        """The messages of a worker that runs these images; those of images have their ``pixels``.

        Raises:
            WorkerFailed: it raised, crashed, was killed, was silent for too long, or answered out of turn.
        """
        module_file = job.source_file()
        source = Path(module_file) if module_file else None
        policy = policy_for_job(
            lr=request.lr, weights=job.weights, module_file=source, scratch=scratch, hidden=self.hidden
        )
        worker_job = WorkerJob(
            model=job.model,
            variant=job.variant,
            scale=self.scale,
            channels=job.channels,
            lr=str(request.lr.resolve()),
            images=request.layouts,
            out=str(scratch),
            module=job.card.module if job.card else "",
            module_file=module_file,
            weights=str(job.weights.resolve()) if job.weights else None,
            hr=str(request.hr) if request.hr else None,
            rgb_to_grey=job.rgb_to_grey,
            foreign=job.foreign,
            tilings=request.tilings,
            device=self.config.device,
            tile=self.config.tile,
            max_bytes=self.config.max_bytes,
        )
        total, answered = len(request.layouts), 0
        for message in run_worker(worker_job, scratch, self.config.timeout, policy):
            if isinstance(message, ImageDone):
                if message.index != answered or answered >= total:
                    raise WorkerFailed(f"it answered out of turn: image {message.index}")
                message = replace(message, pixels=_read_output(scratch, answered))
                answered += 1
            elif isinstance(message, Finished) and answered < total:
                raise WorkerFailed(f"it ended after {answered} of {total} images")
            yield message


def run_worker(
    job: WorkerJob, scratch: Path, timeout: float, policy: SandboxPolicy | None = None
) -> Iterator[Message]:
    """Start a worker and yield its messages; it is ended when the iteration is left.

    Args:
        job: what the worker is told.
        scratch: an empty folder; the worker's current folder, srbench home, and all it can write to.
        timeout: seconds without any message, once it is warm, after which the worker is ended.
        policy: what it may read; everything when None.

    Raises:
        WorkerFailed: it raised, crashed, was killed, or was silent for too long.
        SrbenchError: the environment asks for an isolation that does not exist.
    """
    job_file = scratch / "job.json"
    job_file.write_text(job.to_json(), encoding="utf-8")
    with apply.policy_file(scratch, policy):
        log = scratch / "stderr.txt"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", _START, str(job_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=scratch,
                env={
                    **_KEEP_MEMORY,
                    **os.environ,
                    **apply.worker_environment(scratch),
                    "PYTHONUNBUFFERED": "1",
                },
            )
        try:
            yield from _with_isolation(_messages(process, log, timeout))
        finally:
            _end(process)


def _with_isolation(messages: Iterator[Message]) -> Iterator[Message]:
    """Add to what follows the isolation that the worker named first, when nothing of the model had run yet.

    A second such message may come from the model and does not count.
    """
    isolation: Mapping[str, Any] | None = None
    for message in messages:
        if isinstance(message, Isolated):
            isolation = isolation or message.isolation
        elif isinstance(message, Ready) and isolation is not None:
            yield replace(message, isolation=isolation)
        else:
            yield message


def _messages(process: subprocess.Popen[bytes], log: Path, timeout: float) -> Iterator[Message]:
    lines: queue.Queue[bytes | None] = queue.Queue()
    assert process.stdout is not None and process.stdin is not None
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    _allow_image(process.stdin)
    limit = max(timeout, _START_UP)
    while True:
        try:
            line = lines.get(timeout=limit)
        except queue.Empty as error:
            raise WorkerFailed(f"no sign of life for {limit:g} s; ended") from error
        if line is None:
            raise WorkerFailed(_death(process, log))
        message = _parsed(line)
        if isinstance(message, Failed):
            raise WorkerFailed(message.reason, message.attempts, message.bad_output)
        yield message
        if isinstance(message, Finished):
            return
        if isinstance(message, Warm):
            limit = timeout
        if isinstance(message, ImageDone):
            # In turns: scoring while the network runs would take its processors and spoil its times.
            _allow_image(process.stdin)


def _parsed(line: bytes) -> Message:
    try:
        return decode(line)
    except (TypeError, ValueError) as error:
        raise WorkerFailed(f"it sent what is no message ({error}): {line[:80]!r}") from error


def _read(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _allow_image(stream: IO[bytes]) -> None:
    """Let the worker do one image more; a dead one is noticed when its output ends."""
    with contextlib.suppress(OSError):
        stream.write(b"\n")
        stream.flush()


def _death(process: subprocess.Popen[bytes], log: Path) -> str:
    code = process.wait()
    tail = log.read_bytes()[-_TAIL:].decode("utf-8", errors="replace").strip()
    last = f"; last output: {tail}" if tail else ""
    if code >= 0:
        return f"ended with exit code {code} before it was done{last}"
    name = signal.Signals(-code).name
    hint = " (the system may have run out of memory)" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}{last}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """A waiting worker leaves when its input ends; any other is killed."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def _read_output(scratch: Path, index: int) -> NDArray[Any]:
    """What the worker wrote for an image, removed from its folder.

    A link is not followed: it could lead to a file that the worker itself cannot read.
    """
    path = scratch / f"{index}.npy"
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb") as file:
            pixels: NDArray[Any] = np.load(file, allow_pickle=False)
        path.unlink()
    except (OSError, ValueError, EOFError) as error:
        raise WorkerFailed(f"image {index} cannot be read: {error}") from error
    return pixels


def scratch_folder(needed: int = 0) -> AbstractContextManager[Path]:
    """A folder for one worker, in which it may write so many bytes; gone when it is left."""
    return temporary_folder("eval", needed)


def write_pack(file: Path, images: Iterable[NDArray[np.uint8]]) -> tuple[PackLayout, ...]:
    """Write 8-bit images ``(H, W)`` or ``(H, W, 3)`` one after the other; where each of them lies."""
    layouts: list[PackLayout] = []
    with file.open("wb") as out:
        for image in images:
            channels = image.shape[2] if image.ndim == 3 else 1
            layouts.append((out.tell(), image.shape[0], image.shape[1], channels))
            out.write(np.ascontiguousarray(image).tobytes())
    return tuple(layouts)
