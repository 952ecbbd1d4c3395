"""What is handed to a model's process: a pack of LR images, weights, the scale, and nothing else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.evaluation.isolation import Confinement, for_job
from srbench.evaluation.jobs import Job
from srbench.evaluation.launch import Message, WorkerFailed, run_worker
from srbench.evaluation.lr_cache import LrCache

Layout = tuple[int, int, int, int]
TilePlan = tuple[int, int, bool]
Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Errand:
    """Images for one worker.

    Attributes:
        lr: pack of 8-bit LR images.
        layouts: offset, height, width and channels of each in the pack, in the order they are run.
        plans: tile, halo and exactness of each, to repeat an earlier run bit for bit; by memory when empty.
        hr: pack of the HR images in the order of the LR pack, for a variant that is meant to see them.
    """

    lr: Path
    layouts: tuple[Layout, ...]
    plans: tuple[TilePlan, ...] = ()
    hr: Path | None = None

    @staticmethod
    def of(lr: LrCache, hr: Path | None = None) -> Errand:
        """All images of an evaluation."""
        return Errand(lr.file, tuple(entry.layout for entry in lr.entries), hr=hr)


@dataclass(frozen=True)
class Made:
    """What a run gave, and how, so that it can be repeated bit for bit.

    Attributes:
        outputs: image id to the hash of its pixels.
        plans: tile, halo and exactness of each image, in the order of the LR pack.
        device: what it ran on.
    """

    outputs: Mapping[str, str]
    plans: tuple[TilePlan, ...]
    device: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Workers:
    """Starts workers under the limits of one evaluation.

    Attributes:
        scale: magnification.
        limits: device, tile and memory.
        timeout: seconds for one image after which a model counts as hung.
        hidden: what no model may read, in whatever way.
    """

    scale: int
    limits: Mapping[str, Any]
    timeout: float
    hidden: tuple[Path, ...]

    def run(self, job: Job, errand: Errand, scratch: Path) -> Iterator[Message]:
        """The messages of a worker that runs this errand; those of images have their ``pixels``.

        What runs beside the model's code may be forged by it: nothing but numbers is believed, files are
        looked for where they must lie, and images come once and in their order.

        Raises:
            WorkerFailed: it raised, crashed, was killed, was silent for too long, or answered out of turn.
        """
        order, confinement = self._order(job, errand, scratch), self._confinement(job, errand, scratch)
        answered = 0
        for message in run_worker(order, scratch, self.timeout, confinement):
            if message["event"] == "image":
                if message.get("index") != answered or answered >= len(errand.layouts):
                    raise WorkerFailed(f"it answered out of turn: image {message.get('index')}")
                yield {**_numbers(message), "pixels": _output(scratch, answered)}
                answered += 1
            elif message["event"] == "finished" and answered < len(errand.layouts):
                raise WorkerFailed(f"it ended after {answered} of {len(errand.layouts)} images")
            else:
                yield message

    def _confinement(self, job: Job, errand: Errand, scratch: Path) -> Confinement:
        file = job.source_file()
        return for_job(
            lr=errand.lr,
            weights=job.weights,
            module_file=Path(file) if file else None,
            scratch=scratch,
            hidden=self.hidden,
        )

    def _order(self, job: Job, errand: Errand, scratch: Path) -> dict[str, Any]:
        """All that a worker is told."""
        return {
            "model": job.model,
            "module": job.card.module if job.card else "",
            "module_file": job.source_file(),
            "scale": self.scale,
            "channels": job.channels,
            "variant": job.variant,
            "weights": str(job.weights.resolve()) if job.weights else None,
            "rgb_to_grey": job.rgb_to_grey,
            "foreign": job.foreign,
            "lr": str(errand.lr.resolve()),
            "images": [list(layout) for layout in errand.layouts],
            "plans": [list(plan) for plan in errand.plans],
            "out": str(scratch),
            **({"hr": str(errand.hr)} if errand.hr else {}),
            **self.limits,
        }


def _numbers(message: Message) -> Message:
    """Time and tiling of an image, as numbers."""
    try:
        tiling = message["tiling"]
        counts = {name: int(tiling[name]) for name in ("tiles", "tile", "halo", "retries")}
        told = {**counts, "exact": bool(tiling["exact"])}
        return {**message, "seconds": float(message["seconds"]), "tiling": told}
    except (KeyError, TypeError, ValueError) as error:
        raise WorkerFailed(f"it did not say how image {message.get('index')} was run: {error}") from error


def _output(scratch: Path, index: int) -> NDArray[Any]:
    """What the worker wrote for an image, taken away.

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


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for one worker, gone when it is left."""
    return tempfile.TemporaryDirectory(prefix="srbench-eval-", ignore_cleanup_errors=True)


def write_pack(file: Path, images: Iterable[Grey]) -> tuple[Layout, ...]:
    """Write 8-bit images ``(H, W)`` or ``(H, W, 3)`` one after the other; where each of them lies."""
    layouts: list[Layout] = []
    with file.open("wb") as out:
        for image in images:
            channels = image.shape[2] if image.ndim == 3 else 1
            layouts.append((out.tell(), image.shape[0], image.shape[1], channels))
            out.write(np.ascontiguousarray(image).tobytes())
    return tuple(layouts)


def reordered(errand: Errand, order: Sequence[int]) -> Errand:
    """The same images in another order."""
    plans = tuple(errand.plans[index] for index in order) if errand.plans else ()
    return Errand(errand.lr, tuple(errand.layouts[index] for index in order), plans, errand.hr)


def plan_of(tiling: Mapping[str, Any]) -> TilePlan:
    """How an image was run, from its worker's message."""
    return tiling["tile"], tiling["halo"], tiling["exact"]
