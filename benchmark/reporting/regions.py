"""Which parts of an image are worth showing: chosen by rule from the pixels, never by hand.

A full SEM frame hides the differences between models and embedding every model's frame would make the page
huge, so the report shows a few square regions at full resolution. The rules are deterministic and printed
with each region, so a reader knows that no region was picked to flatter a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Field = NDArray[np.float64]

SIDE = 256
_STEP = 8
_MAX_SHARED_AREA = 0.25


@dataclass(frozen=True)
class Region:
    """A square of HR pixels and the rule that chose it."""

    rule: str
    top: int
    left: int
    side: int

    def cut(self, pixels: Grey) -> Grey:
        """This part of an HR-sized image."""
        return pixels[self.top : self.top + self.side, self.left : self.left + self.side]

    def cut_lr(self, pixels: Grey, scale: int) -> Grey:
        """The same part of the LR image; top, left and side are multiples of the scale."""
        part = slice(self.top // scale, (self.top + self.side) // scale)
        return pixels[part, self.left // scale : (self.left + self.side) // scale]

    def shared_area(self, other: Region) -> float:
        """Share of the area that lies in both, 0 to 1."""
        height = min(self.top, other.top) + self.side - max(self.top, other.top)
        width = min(self.left, other.left) + self.side - max(self.left, other.left)
        return max(height, 0) * max(width, 0) / self.side**2


def choose(hr: Grey, outputs: Mapping[str, Grey], scale: int, side: int = SIDE) -> list[Region]:
    """Up to three regions that overlap little: most disagreement, finest detail, a typical one.

    Args:
        hr: ``(H, W)`` ground truth.
        outputs: model to its ``(H, W)`` output.
        scale: magnification; regions start and end on whole LR pixels.
        side: HR pixels, made smaller when the image is.
    """
    step = scale * max(_STEP // scale, 1)
    side = min(side, *hr.shape) // scale * scale
    disagreement = _window_means(_disagreement(list(outputs.values()), hr), side, step)
    detail = _window_means(_detail(hr), side, step)
    typical = -np.abs(disagreement - np.median(disagreement))
    rules = {"models differ most": disagreement, "finest detail": detail, "typical": typical}
    chosen: list[Region] = []
    for rule, merit in rules.items():
        region = _best_free(rule, merit, side, step, chosen)
        if region is not None:
            chosen.append(region)
    return chosen


def _disagreement(outputs: Sequence[Grey], hr: Grey) -> Field:
    """Standard deviation over the models at each pixel; with one model, its absolute error."""
    if len(outputs) < 2:
        reference = outputs[0] if outputs else hr
        return np.abs(reference.astype(np.float64) - hr.astype(np.float64))
    mean = sum(image.astype(np.float64) for image in outputs) / len(outputs)
    squares = sum((image.astype(np.float64) - mean) ** 2 for image in outputs)
    return np.asarray(np.sqrt(squares / len(outputs)))


def _detail(hr: Grey) -> Field:
    """Gradient magnitude after a 2x2 mean, which keeps single-pixel noise from passing for structure."""
    image = hr.astype(np.float64)
    smooth = (image[:-1, :-1] + image[1:, :-1] + image[:-1, 1:] + image[1:, 1:]) / 4
    rows, columns = np.gradient(smooth) if min(smooth.shape) > 1 else (smooth * 0, smooth * 0)
    return np.asarray(np.pad(np.hypot(rows, columns), ((0, 1), (0, 1)), mode="edge"))


def _window_means(field: Field, side: int, step: int) -> Field:
    """Mean of every ``side`` x ``side`` window whose corner lies on a grid of ``step``, by a summed table."""
    table = np.pad(field.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tops = np.arange(0, field.shape[0] - side + 1, step)[:, None]
    lefts = np.arange(0, field.shape[1] - side + 1, step)[None, :]
    total = table[tops + side, lefts + side] - table[tops, lefts + side]
    total = total - table[tops + side, lefts] + table[tops, lefts]
    return np.asarray(total / side**2)


def _best_free(rule: str, merit: Field, side: int, step: int, taken: Sequence[Region]) -> Region | None:
    """The window of highest merit that shares little with those taken; the first one among equals."""
    for index in np.argsort(-merit, axis=None, kind="stable"):
        row, column = divmod(int(index), merit.shape[1])
        region = Region(rule, row * step, column * step, side)
        if all(region.shared_area(other) <= _MAX_SHARED_AREA for other in taken):
            return region
    return None
