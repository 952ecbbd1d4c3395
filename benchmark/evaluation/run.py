"""One model's images as they come from its worker: scored, previewed, and added up to its cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import Micrograph, ProgressCallback, ProgressEvent
from srbench.datasets.storage import pixel_hash
from srbench.errors import SrbenchError
from srbench.evaluation.errands import Made, plan_of
from srbench.evaluation.launch import WorkerFailed
from srbench.evaluation.lr_cache import Entry, LrCache
from srbench.evaluation.protocol import to_uint8
from srbench.evaluation.scoring import Scorer
from srbench.store import Score

if TYPE_CHECKING:
    from srbench.evaluation.guarding import RunWatch

Pixels8 = NDArray[np.uint8]
_PROPERTIES = ("params", "gmacs_per_mpx", "peak_mb_per_mpx")
"""What the worker counts before the first image."""


class BadOutput(SrbenchError):
    """A model's output is not an image of the size it must have."""


class ModelRun:
    """Collects what one model gives.

    Args:
        scorer: scores an image.
        images: the micrographs by id.
        lr: what the model is given.
        previewed: ids of the images whose SR is kept.
        label: for progress.
        progress: told of every image.
        watch: the guards of a model's run; None for what no model made.
    """

    def __init__(
        self,
        scorer: Scorer,
        images: Mapping[str, Micrograph],
        lr: LrCache,
        previewed: frozenset[str],
        label: str,
        progress: ProgressCallback,
        watch: RunWatch | None = None,
    ) -> None:
        self.scorer = scorer
        self.images = images
        self.lr = lr
        self.previewed = previewed
        self.label = label
        self.progress = progress
        self.watch = watch
        self.done = 0
        self.outputs: dict[str, str] = {}
        self.scores: list[Score] = [
            score
            for name, reason in lr.unusable.items()
            for score in scorer.without_value(images[name], reason)
        ]
        self.previews: dict[str, Pixels8] = {}
        self.device: Mapping[str, Any] = {}
        self._size: dict[str, float] = {}
        self._seconds = self._megapixels = self._peak = 0.0
        self._tilings: list[Mapping[str, Any]] = []
        self._loading: list[str] = []

    def take(self, message: Mapping[str, Any]) -> None:
        """Handle one message of the worker.

        Raises:
            BadOutput: the image it wrote has another size or type than it must have.
            WorkerFailed: it says what makes no sense.
        """
        if self.watch is not None:
            self.watch.hear(message)
        if message["event"] == "image":
            self._take_image(message)
            return
        try:
            self._take_facts(message)
        except (KeyError, TypeError, ValueError) as error:
            raise WorkerFailed(f"it sent facts that cannot be used: {error}") from error

    def _take_facts(self, message: Mapping[str, Any]) -> None:
        if message["event"] == "ready":
            self.device = dict(message["device"])
            self._size = {name: float(message[name]) for name in _PROPERTIES}
            self._loading = list(message["notes"])
        elif message["event"] == "finished":
            self._peak = message["peak_bytes"] / 1e6

    def score(self, entry: Entry, sr: Pixels8) -> None:
        """Score one image: ``(H, W)``, or ``(H, W, 3)`` of a colour image. Previews show the luma scored."""
        image, lr = self.images[entry.image], self.lr.pixels(entry)
        self.outputs[entry.image] = pixel_hash(sr)
        if self.watch is not None:
            self.watch.look(entry, sr, self.scorer.reference(image), lr)
        self.scores += self.scorer.scores(image, sr, lr)
        if entry.image in self.previewed:
            self.previews[entry.image] = to_uint8(sr)
        self._advance()

    def without(self, entry: Entry, reason: str) -> None:
        """Record that there is nothing to score for an image."""
        self.scores += self.scorer.without_value(self.images[entry.image], reason)
        self._advance()

    def cost_scores(self) -> list[Score]:
        """The rows without an image; none for what is not a model."""
        if not self._size:
            return []
        measured = {"seconds_per_mpx": _ratio(self._seconds, self._megapixels)}
        return [
            Score(name, value, reason="" if math.isfinite(value) else "no image was run")
            for name, value in {**self._size, **measured}.items()
        ]

    def cost(self, wall_seconds: float) -> dict[str, Any]:
        """For the manifest."""
        return {
            "wall_seconds": round(wall_seconds, 3),
            "inference_seconds": round(self._seconds, 3),
            "peak_mb": round(self._peak, 1),
            "tiling": self._tiling(),
        }

    def made(self) -> Made:
        """What came out and how, for an audit that repeats it."""
        return Made(self.outputs, tuple(map(plan_of, self._tilings)), self.device)

    def notes(self) -> list[str]:
        """What a reader must know."""
        inexact = sum(not tiling["exact"] for tiling in self._tilings)
        if not inexact:
            return self._loading
        return [
            *self._loading,
            f"{inexact} of {len(self._tilings)} images were run in tiles smaller than what the network looks "
            "at: their pixels are an approximation of the whole-image result.",
        ]

    def _take_image(self, message: Mapping[str, Any]) -> None:
        entry = self.lr.entries[message["index"]]
        sr = message["pixels"]
        _check(sr, entry, self.scorer.scale)
        megapixels = sr.shape[0] * sr.shape[1] / 1e6
        self._seconds += message["seconds"]
        self._megapixels += megapixels
        self._tilings.append(message["tiling"])
        self.score(entry, sr)

    def _tiling(self) -> dict[str, Any]:
        if not self._tilings:
            return {}
        return {
            "most_tiles": max(one["tiles"] for one in self._tilings),
            "smallest_tile": min(one["tile"] for one in self._tilings),
            "halo": max(one["halo"] for one in self._tilings),
            "exact": all(one["exact"] for one in self._tilings),
            "retries": sum(one["retries"] for one in self._tilings),
        }

    def _advance(self) -> None:
        self.done += 1
        self.progress(ProgressEvent(self.label, self.done, len(self.lr.entries), "images"))


def _check(sr: NDArray[Any], entry: Entry, scale: int) -> None:
    """A grey network answers a colour image with its luma."""
    expected = (entry.height * scale, entry.width * scale)
    if sr.shape not in (expected, (*expected, entry.channels)) or sr.dtype != np.uint8:
        raise BadOutput(f"gave {sr.dtype} {sr.shape} for an image that must be uint8 {expected}")


def _ratio(amount: float, megapixels: float) -> float:
    return amount / megapixels if megapixels else math.nan
