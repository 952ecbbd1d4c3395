"""One super-resolved image against its reference: every metric's value, or the reason why there is none."""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets import degrade
from srbench.datasets.base import Micrograph, MicrographSet
from srbench.datasets.degrade import Degradation
from srbench.datasets.lr_images import cut_to_scale, position_of
from srbench.metrics import registry
from srbench.metrics.consistency import ROUNDING_VARIANCE
from srbench.metrics.protocol import Protocol
from srbench.metrics.registry import Case, Metric, MetricUnavailable
from srbench.metrics.spectrum import REFERENCE_NOISE, reference_of
from srbench.store import Score
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Pixels, Plane

if TYPE_CHECKING:
    from torch import Tensor

UNAVAILABLE = "unavailable: "
"""Starts the reason of a score that another machine, or a file more, would give."""


@dataclass(frozen=True, eq=False)
class ImageInputs:
    """All that the metrics of one super-resolved image need of its dataset, read from it.

    Attributes:
        image: which one.
        sr: the result, ``(H, W)`` or ``(H, W, 3)``.
        hr: the reference, cut to a multiple of the scale.
        lr: what the model was given.
        refused: why the image is not scored; empty where it is.
        material: further arguments of ``Protocol.case``.
    """

    image: Micrograph
    sr: Pixels
    hr: Pixels
    lr: NDArray[np.uint8]
    refused: str = ""
    material: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ScoringConditions:
    """What numbers mean, in names that another process understands.

    Attributes:
        protocol: of the planes.
        degradation: id of what made the LR images.
        scale: magnification.
        metrics: the module that registers each, and its id.
    """

    protocol: Protocol
    degradation: str
    scale: int
    metrics: tuple[tuple[str, str], ...]

    def check_elsewhere(self) -> None:
        """Refuse what other processes cannot have.

        Raises:
            SrbenchError: a metric is registered in the script (or notebook) that was started.
        """
        here = [name for module, name in self.metrics if module == "__main__"]
        if here:
            raise SrbenchError(
                f"{', '.join(here)} is registered in the script itself, which other processes do not import; "
                "a module that it imports would do."
            )

    def scorer(self) -> ImageScorer:
        """A scorer in this process.

        Raises:
            SrbenchError: a metric is unknown here.
            ImportError: a module of one cannot be imported here.
        """
        for module, _ in self.metrics:
            importlib.import_module(module)
        metrics = tuple(registry.get(name) for _, name in self.metrics)
        return ImageScorer(self.protocol, metrics, degrade.get(self.degradation), self.scale)


class ImageScorer:
    """Scores images whose inputs have been read.

    Args:
        protocol: what the numbers mean.
        metrics: which numbers.
        degradation: how the LR images were made.
        scale: magnification.
    """

    def __init__(
        self, protocol: Protocol, metrics: Sequence[Metric], degradation: Degradation, scale: int
    ) -> None:
        self.protocol = protocol
        self.metrics = tuple(metrics)
        self.degradation = degradation
        self.scale = scale
        self._needs = {metric.name: metric.needs() for metric in self.metrics}

    @property
    def conditions(self) -> ScoringConditions:
        """What makes an equal one in another process."""
        metrics = tuple((metric.compute.__module__, metric.id) for metric in self.metrics)
        return ScoringConditions(self.protocol, self.degradation.id, self.scale, metrics)

    def of_inputs(self, inputs: ImageInputs) -> tuple[list[Score], str]:
        """One score a metric, and what a reader must know of them."""
        image, lr = inputs.image, inputs.lr
        if inputs.refused:
            return self.without_value(image, inputs.refused), ""
        material = inputs.material or {}
        case = self.protocol.case(
            inputs.sr,
            inputs.hr,
            lr,
            self.scale,
            degrade=functools.partial(self._degrade, image.id),
            lr_variance=functools.partial(self._lr_variance, image.id) if lr.ndim == 2 else None,
            pixel_size_nm=image.pixel_size_nm,
            category=image.category,
            lr_recorded=self.degradation.recorded,
            **material,
        )
        note = ""
        if not case.clean and any(metric.family == "spectrum" for metric in self.metrics):
            with contextlib.suppress(MetricUnavailable):
                note = REFERENCE_NOISE[reference_of(case)[1]]
        return [self._score(metric, case, image) for metric in self.metrics], note

    def without_value(self, image: Micrograph, reason: str) -> list[Score]:
        """One missing score a metric, all for the same reason."""
        return [_score(metric, math.nan, reason, image) for metric in self.metrics]

    def _score(self, metric: Metric, case: Case, image: Micrograph) -> Score:
        if self._needs[metric.name]:
            return _score(metric, math.nan, UNAVAILABLE + self._needs[metric.name], image)
        value, reason = measure(metric, case)
        return _score(metric, value, reason, image)

    def _degrade(self, image_id: str, plane: Plane) -> Plane:
        """The expected LR plane of this image: against a noisy one, noise of its own would count twice."""
        if self.degradation.recorded:
            raise MetricUnavailable(
                "the LR image was recorded, not made from HR: as what another image would have been recorded "
                "is not known"
            )
        return _on_tensor(lambda hr: self.degradation.expected(hr, self.scale, position_of(image_id)), plane)

    def _lr_variance(self, image_id: str, expected: Plane) -> Plane:
        """Mean square of LR pixels around an expected plane in [0, 1]: noise, clipped, and rounding."""
        noise = self.degradation.noise
        if noise is None:
            return np.full_like(expected, ROUNDING_VARIANCE)
        position = position_of(image_id)
        clipped = np.clip(expected, 0.0, 1.0)
        return _on_tensor(lambda plane: noise.spread(plane, position), clipped) + ROUNDING_VARIANCE


class Scorer(ImageScorer):
    """Scores images of one dataset under one protocol.

    Args:
        micrographs: where the references are.
        protocol: what the numbers mean.
        metrics: which numbers.
        degradation: how the LR images were made.
        scale: magnification.

    Attributes:
        notes: what a reader must know of the scores so far, each once.
    """

    def __init__(
        self,
        micrographs: MicrographSet,
        protocol: Protocol,
        metrics: Sequence[Metric],
        degradation: Degradation,
        scale: int,
    ) -> None:
        super().__init__(protocol, metrics, degradation, scale)
        self.micrographs = micrographs
        self._databars: dict[str, bool] = {}
        self.notes: dict[str, None] = {}

    def with_metrics(self, metrics: Sequence[Metric]) -> Scorer:
        """The same with other metrics."""
        return Scorer(self.micrographs, self.protocol, metrics, self.degradation, self.scale)

    def inputs(self, image: Micrograph, sr: Pixels, hr: Pixels, lr: NDArray[np.uint8]) -> ImageInputs:
        """An image and what the dataset holds of it; the arguments are those of :meth:`scores`."""
        if self._has_databar(image.id, hr):
            words = "the reference shows a databar; cut it off: a score of drawn text says nothing"
            return ImageInputs(image, sr, hr, lr, words)
        mask = self.micrographs.objects(image) if image.has_mask else None
        clean = self.micrographs.card.kind == "synthetic"
        second = None if clean else self.micrographs.second(image.id)
        as_recorded = self.degradation.recorded and second is None
        material = {
            "truth": self.micrographs.truth(image.id) if image.has_truth else None,
            "measure": image.measure if image.measure or self.micrographs.card.kind == "user" else None,
            "clean": clean,
            "second": None if second is None else cut_to_scale(second, self.scale),
            "mask": None if mask is None else cut_to_scale(mask, self.scale),
            "as_recorded": self.micrographs.as_recorded(image.id) if as_recorded else None,
        }
        return ImageInputs(image, sr, hr, lr, material=material)

    def scores(self, image: Micrograph, sr: Pixels, hr: Pixels, lr: NDArray[np.uint8]) -> list[Score]:
        """One score a metric.

        Args:
            image: which one.
            sr: the result, ``(H, W)`` or ``(H, W, 3)``.
            hr: the reference, cut to a multiple of the scale.
            lr: what the model was given.
        """
        scores, note = self.of_inputs(self.inputs(image, sr, hr, lr))
        if note:
            self.notes[note] = None
        return scores

    def _has_databar(self, image_id: str, hr: Pixels) -> bool:
        from srbench.datasets.images.databar import has_databar

        # Drawn scenes and photographs have none, but rows as smooth as a bar's: a noise-free background.
        if hr.ndim == 3 or self.micrographs.card.kind in ("photographs", "synthetic"):
            return False
        if image_id not in self._databars:
            self._databars[image_id] = has_databar(hr)
        return self._databars[image_id]


def _on_tensor(function: Callable[[Tensor], Tensor], plane: Plane) -> Plane:
    """A function of ``(1, 1, H, W)`` applied to ``(H, W)``."""
    import torch

    result: Plane = function(torch.from_numpy(np.ascontiguousarray(plane))[None, None])[0, 0].numpy()
    return result


def measure(metric: Metric, case: Case) -> tuple[float, str]:
    """Value and empty reason, or NaN and the reason why this metric has no value for this image."""
    try:
        value = float(metric.compute(case))
    except MetricUnavailable as error:
        return math.nan, str(error) or "not defined for this image"
    except Exception as error:  # a broken metric must not take the others with it
        return math.nan, f"{metric.name} failed: {type(error).__name__}: {error}"
    if not math.isfinite(value):
        return math.nan, f"{metric.name} gave {value}"
    return value, ""


def choose_metrics(names: Sequence[str] | None) -> list[Metric]:
    """The named metrics, or the default ones.

    Raises:
        SrbenchError: an unknown name.
    """
    if names is None:
        return [metric for metric in registry.list_metrics() if metric.default and metric.per_image]
    return [registry.get(name) for name in dict.fromkeys(names)]


def _score(metric: Metric, value: float, reason: str, image: Micrograph) -> Score:
    size = math.nan if image.pixel_size_nm is None else image.pixel_size_nm
    return Score(metric.id, value, image.id, image.group, image.category, reason, size)
