"""Sampling with a beam spot along displaced scan lines: the sibling of ``resize`` for scanned images.

LR pixel (r, c) is what a spot of Gaussian profile collects at its centre, moved by the displacement of line
r. Where no line is displaced and the spot is round this is ``resize`` with :func:`beam_spot`. Sums run over
the same taps in the same order wherever a pixel lies, so a crop with its surroundings gives the same bits as
the whole image.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from srbench.datasets.resize import Floats, Kernel

SIGMAS = 5.0
"""The spot is cut at so many standard deviations, where the profile is 4e-6 of its peak."""
_SHARPEST = 0.2


@dataclass(frozen=True)
class Spot:
    """A beam spot.

    Attributes:
        sigma: standard deviation along its short axis, in LR pixels.
        ratio: long axis over short axis, at least 1.
    """

    sigma: float
    ratio: float = 1.0

    @property
    def support(self) -> float:
        """LR pixels from the centre at which it is cut; wide enough to always hold an HR pixel."""
        return SIGMAS * max(self.sigma * self.ratio, _SHARPEST)


@functools.lru_cache(maxsize=64)
def beam_spot(spot: Spot) -> Kernel:
    """A round spot as a kernel for ``resize``, which evaluates it at the HR pixels' distances."""
    return Kernel(functools.partial(_profile, sigma=spot.sigma, support=spot.support), 2.0 * spot.support)


def sample_lines(
    image: Tensor, scale: int, spot: Spot, shift: Tensor, angle: Tensor | None = None, lead: int = 0
) -> Tensor:
    """Sample ``(N, C, H, W)`` with a spot along displaced lines; the border is mirrored, edge repeated.

    Args:
        image: float64.
        scale: HR pixels between two LR pixels; H and W are multiples.
        spot: in LR pixels; an elliptical one needs ``angle``.
        shift: ``(N, H/scale, 2)`` displacement of every line in LR pixels: down and to the right.
        angle: ``(N,)`` direction of the long axis in radians, from columns towards rows.
        lead: LR columns wanted to the left of the image as well.

    Returns:
        ``(N, C, H/scale, W/scale + lead)``.
    """
    down = _Taps.of(shift[..., 0], scale, spot)
    right = _Taps.of(shift[..., 1], scale, spot)
    lines = _Lines(image, scale, down.first, right.first, lead)
    if angle is None or spot.ratio == 1.0:
        return _separable(lines, down, right, spot, scale)
    return _elliptical(lines, down, right, spot, scale, angle)


@dataclass(frozen=True)
class _Taps:
    """The HR pixels around an LR pixel of each line, along one axis.

    ``first (N, R)``: the first one's index, relative to the LR pixel's own first HR pixel.
    ``distance (N, R, taps)``: from the displaced centre, in HR pixels.
    """

    first: Tensor
    distance: Tensor

    @classmethod
    def of(cls, shift: Tensor, scale: int, spot: Spot) -> _Taps:
        half = spot.support * scale
        # Relative to the line, never to the image: the fraction must not depend on where a crop begins.
        centre = shift * float(scale) + (scale - 1) / 2.0
        first = torch.ceil(centre - half)
        steps = torch.arange(math.floor(2.0 * half) + 1, device=shift.device)
        return cls(first.to(torch.int64), first[..., None] + steps - centre[..., None])


@dataclass(frozen=True)
class _Lines:
    """An image from which each line's own HR rows are read, moved by the line's own whole pixels."""

    image: Tensor
    scale: int
    first_row: Tensor
    first_column: Tensor
    lead: int

    def rows(self, tap: int) -> Tensor:
        """``(N, C, R, W)``: tap ``tap`` of every LR line."""
        height, width = self.image.shape[-2:]
        lines = torch.arange(self.first_row.shape[1], device=self.image.device)
        index = _mirror(lines * self.scale + self.first_row + tap, height)
        return self.image.gather(-2, index[:, None, :, None].expand(-1, self.image.shape[1], -1, width))

    def columns(self, rows: Tensor, weights: Tensor) -> Tensor:
        """``(N, C, R, W/scale + lead)`` from ``(N, C, R, W)``: its taps along the line by ``weights``."""
        width, taps = rows.shape[-1], weights.shape[-1]
        count = width // self.scale + self.lead
        reached = torch.arange((count - 1) * self.scale + taps, device=rows.device) - self.lead * self.scale
        index = _mirror(self.first_column[..., None] + reached, width)
        aligned = rows.gather(-1, index[:, None].expand(-1, rows.shape[1], -1, -1))
        result = torch.zeros_like(aligned[..., : (count - 1) * self.scale + 1 : self.scale])
        for tap in range(taps):
            seen = aligned[..., tap : tap + (count - 1) * self.scale + 1 : self.scale]
            result = torch.addcmul(result, seen, weights[:, None, :, None, tap])
        return result


def _separable(lines: _Lines, down: _Taps, right: _Taps, spot: Spot, scale: int) -> Tensor:
    vertical, horizontal = (_normalised(taps.distance / scale, spot) for taps in (down, right))
    rows = torch.zeros_like(lines.rows(0))
    for tap in range(vertical.shape[-1]):
        rows = torch.addcmul(rows, lines.rows(tap), vertical[:, None, :, None, tap])
    return lines.columns(rows, horizontal)


def _elliptical(lines: _Lines, down: _Taps, right: _Taps, spot: Spot, scale: int, angle: Tensor) -> Tensor:
    """No product of two profiles: every tap across the lines has weights of its own along them."""
    x = right.distance / scale
    total = torch.zeros_like(x[..., 0])
    result: Tensor | None = None
    for tap in range(down.distance.shape[-1]):
        weights = _ellipse(x, down.distance[..., tap, None] / scale, spot, angle[:, None, None])
        total = total + weights.sum(-1)
        seen = lines.columns(lines.rows(tap), weights)
        result = seen if result is None else result + seen
    assert result is not None  # a spot has taps
    return result / total[:, None, :, None]


def _normalised(distance: Tensor, spot: Spot) -> Tensor:
    weights = torch.exp(distance.square() * (-0.5 / spot.sigma**2)) * (distance.abs() <= spot.support)
    return weights / weights.sum(-1, keepdim=True)


def _ellipse(x: Tensor, y: Tensor, spot: Spot, angle: Tensor) -> Tensor:
    along = x * torch.cos(angle) + y * torch.sin(angle)
    across = y * torch.cos(angle) - x * torch.sin(angle)
    exponent = (along / (spot.ratio * spot.sigma)).square() + (across / spot.sigma).square()
    return torch.exp(exponent * -0.5) * ((x.abs() <= spot.support) & (y.abs() <= spot.support))


def _profile(x: Floats, sigma: float, support: float) -> Floats:
    profile: Floats = np.exp(-0.5 * (x / sigma) ** 2) * (np.abs(x) <= support)
    return profile


def _mirror(index: Tensor, length: int) -> Tensor:
    """``crops.mirror`` on a device."""
    folded = index.remainder(2 * length)
    return torch.where(folded < length, folded, 2 * length - 1 - folded)
