"""Two phases of a micrograph by Otsu's threshold, and how well two such masks agree.

Every image is smoothed by a Gaussian of ``SMOOTHING`` pixels first: single noisy pixels would otherwise be
objects and holes. It takes 0.6 sigma^2 / r from the diameter of a disc of radius r, 0.05 px at 10 px.

Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9(1), 1979.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SMOOTHING = 0.8
"""Standard deviation in HR pixels: it leaves 0.35 of the standard deviation of white noise."""
LEVELS = 512
"""Bins of the histogram over [0, 1]."""


def smoothed(images: Tensor, sigma: float = SMOOTHING) -> Tensor:
    """Gaussian mean with reflected borders.

    Args:
        images: ``(N, H, W)`` floating point, both sides larger than ``4 sigma``.
        sigma: standard deviation in pixels; 0 leaves the images as they are.
    """
    if sigma <= 0:
        return images
    radius = math.ceil(4 * sigma)
    offsets = range(-radius, radius + 1)
    weights = [math.exp(-0.5 * (offset / sigma) ** 2) for offset in offsets]
    total = sum(weights)
    padded = torch.nn.functional.pad(images, (radius,) * 4, mode="reflect")
    for axis, length in ((1, images.shape[1]), (2, images.shape[2])):
        summed = torch.zeros_like(padded.narrow(axis, 0, length))
        # Shifted sums: torch has no fast convolution in double precision.
        for start, weight in enumerate(weights):
            summed.add_(padded.narrow(axis, start, length), alpha=weight / total)
        padded = summed
    return padded


def otsu(images: Tensor, levels: int = LEVELS) -> tuple[Tensor, Tensor]:
    """Otsu's threshold and how well it separates two phases.

    Where several thresholds separate equally well (no pixel lies between them) their mean is taken.

    Args:
        images: ``(N, H, W)`` floating point in [0, 1].
        levels: bins of the histogram.

    Returns:
        ``(N,)`` thresholds in (0, 1), and ``(N,)`` shares of the variance that lies between the phases, eta
        of Otsu's eq. 19: 0 for a constant image, 0.64 for Gaussian grey levels, 1 for two levels.
    """
    counts = _histograms(images, levels)
    centres = (torch.arange(levels, dtype=counts.dtype, device=counts.device) + 0.5) / levels
    share, moment = counts.cumsum(1)[:, :-1], (counts * centres).cumsum(1)[:, :-1]
    mean = (counts * centres).sum(1, keepdim=True)
    variance = (counts * (centres - mean) ** 2).sum(1, keepdim=True)
    between = (mean * share - moment) ** 2 / (share * (1 - share)).clamp_min(1e-12)
    best = between >= between.amax(1, keepdim=True) * (1 - 1e-9)
    edges = torch.arange(1, levels, dtype=counts.dtype, device=counts.device) / levels
    threshold = (best * edges).sum(1) / best.sum(1)
    separation = between.amax(1) / variance[:, 0].clamp_min(1e-12)
    return threshold.to(images.dtype), separation.clamp(0, 1).to(images.dtype)


def _histograms(images: Tensor, levels: int) -> Tensor:
    """``(N, levels)`` shares of the pixels."""
    number = images.shape[0]
    bins = (images.detach() * levels).clamp(0, levels - 1).to(torch.int64).flatten(1)
    bins += levels * torch.arange(number, device=images.device)[:, None]
    counts = torch.bincount(bins.flatten(), minlength=number * levels).view(number, levels)
    return counts.to(torch.float64) / bins.shape[1]


def phase_contrast(images: Tensor, masks: Tensor) -> Tensor:
    """Mean grey level inside the masks minus that outside, ``(N,)``; NaN where a phase is empty."""
    inside = masks.to(images.dtype)
    count, pixels = inside.sum((1, 2)), images[0].numel()
    sums = (images * inside).sum((1, 2))
    return sums / count - (images.sum((1, 2)) - sums) / (pixels - count)


def dice(one: Tensor, other: Tensor) -> Tensor:
    """``2 |A and B| / (|A| + |B|)`` of masks ``(N, H, W)``, ``(N,)`` in [0, 1]; 1 where both are empty."""
    both, total = (one & other).sum((1, 2)), one.sum((1, 2)) + other.sum((1, 2))
    return torch.where(total > 0, 2.0 * both / total.clamp_min(1), 1.0).to(torch.float64)


def iou(one: Tensor, other: Tensor) -> Tensor:
    """``|A and B| / |A or B|`` of masks ``(N, H, W)``, ``(N,)`` in [0, 1]; 1 where both are empty."""
    both, either = (one & other).sum((1, 2)), (one | other).sum((1, 2))
    return torch.where(either > 0, both / either.clamp_min(1), 1.0).to(torch.float64)


def phase_fraction(masks: Tensor) -> Tensor:
    """Share of the pixels that the masks cover, ``(N,)`` float64 in [0, 1]."""
    return masks.to(torch.float64).mean((1, 2))
