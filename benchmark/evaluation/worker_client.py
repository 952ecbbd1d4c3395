"""The client of a model's process: hands it LR images and weights, and believes little of what it answers.

What runs beside the model's code may be forged by it: only typed messages are taken, files are looked for
where they must lie, and images come once and in their order.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

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
    NetworkCost,
    PackLayout,
    Ready,
    TileSettings,
    Warm,
    WorkerJob,
    decode,
)
from srbench.sandbox import SandboxPolicy, apply, policy_for_job
from srbench.sandbox.process import Misbehaved, UntrustedProcess
from srbench.utils.errors import SrbenchError
from srbench.utils.files import temporary_folder
from srbench.utils.text import printable

_LOG = logging.getLogger(__name__)

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

_GRACE = 5.0
_OTHER_MESSAGES = 5
"""Most messages of a worker but those of images."""

_FOLLOW: Mapping[type[Message], tuple[type[Message], ...]] = {
    Isolated: (Ready,),
    Ready: (Warm,),
    Warm: (ImageDone, Finished),
    ImageDone: (ImageDone, Finished),
    Finished: (),
}
"""What may be said after what; that it failed, at any time."""

_CAREFULLY = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))


class WorkerFailed(SrbenchError):
    """The worker did not finish; the message says why.

    Attributes:
        attempts: hidden files it had asked for, as far as it could still say.
        bad_output: whether it ended because its output was no image of the right size with finite values.
    """

    def __init__(self, reason: str, attempts: Sequence[str] = (), bad_output: bool = False) -> None:
        # What a process wrote last is among it; nothing of that moves the cursor of a terminal.
        super().__init__("\n".join(map(printable, reason.splitlines())))
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

    def run(self, job: Job, request: InferenceRequest, scratch: Path) -> RunningWorker:
        """Start a worker that runs these images, one whenever its next message is asked for.

        The messages of images have their ``pixels``.

        Raises:
            WorkerFailed: while it is iterated: it raised, crashed, was killed, was silent for too long, or
            answered out of turn or with what is no image of the size.
        """
        module_file = job.source_file()
        source = Path(module_file) if module_file else None
        policy = policy_for_job(
            lr=request.lr, weights=job.weights, module_file=source, scratch=scratch, hidden=self.hidden
        )
        network = (job.model, job.variant, self.scale, job.channels)
        sizes = {(height, width) for _, height, width, _ in request.layouts}
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
            report_cost=not job.is_ours,
            needs=_needs(*network, tuple(sorted(sizes))) if job.is_ours else (),
            device=self.config.device,
            backend=self.config.backend,
            tile=self.config.tile,
            max_bytes=self.config.max_bytes,
        )
        with contextlib.ExitStack() as stack:
            folder: int | Path = scratch
            if os.open in os.supports_dir_fd:
                # Opened before anything runs there: what is put in its place later is another folder.
                folder = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | _CAREFULLY)
                stack.callback(os.close, folder)
            messages = run_worker(worker_job, scratch, self.config.timeout, policy)
            stack.callback(getattr(messages, "close", lambda: None))
            return RunningWorker(self._checked(messages, job, request, folder), stack.pop_all())

    def _checked(
        self, messages: Iterator[Message], job: Job, request: InferenceRequest, folder: int | Path
    ) -> Iterator[Message]:
        """With pixels and cost; refused where they are out of turn or not of the size."""
        total, answered = len(request.layouts), 0
        for message in messages:
            if isinstance(message, ImageDone):
                if message.index != answered or answered >= total:
                    raise WorkerFailed(f"it answered out of turn: image {message.index}")
                pixels = _read_output(folder, answered, request.layouts[answered], self.scale)
                message = replace(message, pixels=pixels)
                answered += 1
            elif isinstance(message, Finished) and answered < total:
                raise WorkerFailed(f"it ended after {answered} of {total} images")
            elif isinstance(message, Ready):
                if job.is_ours:
                    cost = cost_of(job.model, job.variant, self.scale, job.channels)
                    message = replace(message, cost=cost)
                elif message.cost is None:
                    raise WorkerFailed("it did not say what the network costs")
            yield message


class RunningWorker:
    """A worker that has been started: iterating gives its messages, closing ends it with all it started.

    Args:
        messages: what it says.
        resources: closed after its last message, however that came.
    """

    def __init__(self, messages: Iterator[Message], resources: contextlib.ExitStack) -> None:
        self._messages = messages
        self._resources = resources

    def __iter__(self) -> RunningWorker:
        return self

    def __next__(self) -> Message:
        try:
            return next(self._messages)
        except BaseException:  # the end of the iteration too
            self.close()
            raise

    def close(self) -> None:
        """End it."""
        self._resources.close()

    def __del__(self) -> None:
        self.close()


@functools.lru_cache(maxsize=256)
def _needs(
    model: str, variant: str, scale: int, channels: int, sizes: tuple[tuple[int, int], ...]
) -> tuple[tuple[int, int, int], ...]:
    """Counted here once, or else by the process of every model, each after a second of imports."""
    from srbench.inference.device import activation_bytes
    from srbench.models.registry import create_on_meta

    try:
        built = create_on_meta(model, scale=scale, channels=channels, variant=variant)
        return tuple((*size, activation_bytes(built, *size)) for size in sizes)
    except Exception:  # a network that cannot run without numbers: its process tries it with them
        return ()


@functools.lru_cache(maxsize=256)
def cost_of(model: str, variant: str, scale: int, channels: int) -> NetworkCost:
    """What a network of srbench costs, counted here."""
    from srbench.inference.profiling import network_cost
    from srbench.models.registry import create, create_on_meta

    try:
        built = create_on_meta(model, scale=scale, channels=channels, variant=variant)
        return NetworkCost(**network_cost(built))
    except Exception:  # a network that cannot run without numbers
        built = create(model, scale=scale, channels=channels, variant=variant)
        return NetworkCost(**network_cost(built))


def run_worker(
    job: WorkerJob, scratch: Path, timeout: float, policy: SandboxPolicy | None = None
) -> RunningWorker:
    """Start a worker. It imports and loads at once and waits before each image until that is asked for.

    Args:
        job: what the worker is told.
        scratch: an empty folder; the worker's current folder, srbench home, and all it can write to.
        timeout: seconds for an image, after which the worker is ended.
        policy: what it may read; everything when None.

    Raises:
        WorkerFailed: it raised, crashed, was killed, was silent for too long, or misbehaved.
        SrbenchError: the environment asks for an isolation that does not exist.
    """
    job_file = scratch / "job.json"
    job_file.write_text(job.to_json(), encoding="utf-8")
    with contextlib.ExitStack() as stack:
        stack.enter_context(apply.policy_file(scratch, policy))
        environment = {
            **_KEEP_MEMORY,
            **os.environ,
            **apply.worker_environment(scratch),
            "PYTHONUNBUFFERED": "1",
        }
        command = [sys.executable, "-c", _START, str(job_file)]
        process = UntrustedProcess(command, scratch, environment, len(job.images) + _OTHER_MESSAGES)
        stack.callback(process.end)
        _LOG.info("Process of %s %s: %d images", job.model, job.variant, len(job.images))
        messages = _with_isolation(_messages(process, len(job.images), timeout))
        return RunningWorker(messages, stack.pop_all())


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


def _messages(process: UntrustedProcess, images: int, timeout: float) -> Iterator[Message]:
    """The messages in the one order there is, each within its time."""
    seconds = max(timeout, _START_UP)
    start, on_gpu = time.monotonic(), False
    follow: tuple[type[Message], ...] = (Isolated,)
    while True:
        try:
            arrival, line = process.line(start + seconds)
        except TimeoutError as error:
            raise WorkerFailed(f"no sign of life for {seconds:g} s; ended") from error
        except Misbehaved as error:
            raise WorkerFailed(str(error)) from error
        except EOFError as error:
            raise WorkerFailed(process.death()) from error
        message = _parsed(line)
        peak = process.peak_resident_bytes()
        if isinstance(message, Failed):
            raise WorkerFailed(message.reason, message.attempts, message.bad_output)
        if not isinstance(message, follow):
            expected = " or ".join(kind.__name__ for kind in follow)
            raise WorkerFailed(f"it said {type(message).__name__} where {expected} was due")
        follow = _FOLLOW[type(message)]
        if isinstance(message, Ready):
            on_gpu = message.device["type"] == "cuda"
        elif isinstance(message, ImageDone):
            message = replace(message, seconds=arrival - start)
        elif isinstance(message, Finished):
            process.end(patience=_GRACE)
            yield message if on_gpu else replace(message, peak_bytes=float(peak))
            return
        yield message
        images -= isinstance(message, ImageDone)
        if isinstance(message, (Warm, ImageDone)) and images > 0:
            if not process.is_silent:
                raise WorkerFailed("it went on before it was told to")
            seconds, start = timeout, time.monotonic()
            # In turns: scoring while the network runs would take its processors and spoil its times.
            process.send_line()


def _parsed(line: bytes) -> Message:
    try:
        return decode(line)
    except (TypeError, ValueError) as error:
        raise WorkerFailed(f"it sent what is no message ({printable(str(error))}): {line[:80]!r}") from error


def _read_output(folder: int | Path, index: int, layout: PackLayout, scale: int) -> NDArray[np.uint8]:
    """The SR image that the worker wrote for the LR image at ``layout``, removed from its folder.

    The bytes are copied before anything is made of them, from a regular file of the size that such an image
    has, in the folder itself: a link could lead to a file that the worker cannot read, a pipe or a device
    never ends.

    Args:
        folder: descriptor of the worker's folder; its path where the system has no such descriptors.
        index: of the image.
        layout: of the LR image.
        scale: magnification.
    """
    _, height, width, channels = layout
    sides = (height * scale, width * scale)
    # A grey network answers a colour image with its luma.
    shapes = {math.prod(shape): shape for shape in ((*sides, channels), sides)}
    name = f"{index}.raw"
    where = {"dir_fd": folder} if isinstance(folder, int) else {}
    path = name if isinstance(folder, int) else str(folder / name)
    try:
        descriptor = os.open(path, os.O_RDONLY | _CAREFULLY, **where)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise WorkerFailed(f"image {index} cannot be read: it is no ordinary file")
            if status.st_size not in shapes:
                expected = " or ".join(map(str, shapes))
                words = f"image {index}: {status.st_size} bytes of pixels, expected {expected}"
                raise WorkerFailed(words, bad_output=True)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content = file.read(status.st_size)
        finally:
            os.close(descriptor)
        os.unlink(path, **where)
    except OSError as error:
        raise WorkerFailed(f"image {index} cannot be read: {error}") from error
    if len(content) != status.st_size:
        raise WorkerFailed(f"image {index} cannot be read: it became shorter meanwhile")
    return np.frombuffer(content, np.uint8).reshape(shapes[len(content)])


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
