"""Edges after Canny: where the smoothed grey level changes fastest, kept where it changes fast enough.

Canny, "A computational approach to edge detection", IEEE TPAMI 8(6), 1986.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from srbench.evaluation.functional.filters import gaussian, mirrored

SIGMA = 1.2
"""Smoothing in HR pixels."""

QUANTILE = 0.93
"""Share of the pixels of the reference whose gradient lies below the upper threshold."""

LOWER = 0.5
"""Lower threshold as a share of the upper one."""

FLOOR = 0.5 / 255.0
"""Least upper threshold in grey ranges per pixel: ten times what rounding to 8 bits causes there."""


@dataclass(frozen=True)
class Gradient:
    """Gradient of the smoothed images, in grey ranges per pixel, ``(N, H, W)`` each.

    Attributes:
        y: along the rows' axis, downwards.
        x: along the columns' axis, to the right.
        magnitude: its length.
    """

    y: Tensor
    x: Tensor
    magnitude: Tensor


def gradient(images: Tensor, sigma: float = SIGMA) -> Gradient:
    """Sobel gradient of Gaussian-smoothed ``(N, H, W)`` floating-point images."""
    padded = mirrored(mirrored(gaussian(images, sigma), 1, 1), 1, 2)
    rows = padded[:, :, :-2] + 2.0 * padded[:, :, 1:-1] + padded[:, :, 2:]
    columns = padded[:, :-2] + 2.0 * padded[:, 1:-1] + padded[:, 2:]
    y = (rows[:, 2:] - rows[:, :-2]) / 8.0
    x = (columns[:, :, 2:] - columns[:, :, :-2]) / 8.0
    return Gradient(y, x, torch.sqrt(y * y + x * x))


def thresholds(reference: Gradient, data_range: float = 1.0) -> tuple[Tensor, Tensor]:
    """Lower and upper threshold ``(N,)`` of each reference, to be used for it and for what imitates it.

    The upper one is the 93 % quantile of the gradient, but never below half a grey level of 8 bits a pixel.
    """
    flat = reference.magnitude.flatten(1)
    rank = max(1, round(QUANTILE * flat.shape[1]))
    upper = flat.kthvalue(rank, dim=1).values.clamp(min=FLOOR * data_range)
    return LOWER * upper, upper


def canny(of: Gradient, lower: Tensor, upper: Tensor) -> Tensor:
    """Edge pixels ``(N, H, W)``, bool, on the gradient's device.

    A pixel is an edge where the gradient is at least ``lower`` and nowhere larger on either side along its
    direction, and where a chain of such pixels leads to one of at least ``upper``. The outermost pixels never
    are. Chains are followed on the CPU (scipy).

    Args:
        of: gradient of N images.
        lower: ``(N,)``.
        upper: ``(N,)``.
    """
    ridge = _ridges(of, lower)
    strong = ridge & (of.magnitude >= upper[:, None, None])
    chains = [_connected(w, s) for w, s in zip(ridge.cpu().numpy(), strong.cpu().numpy(), strict=True)]
    return torch.from_numpy(np.stack(chains)).to(ridge.device)


def _ridges(of: Gradient, lower: Tensor) -> Tensor:
    """Pixels of at least ``lower`` that no neighbour across the edge exceeds."""
    magnitude = of.magnitude
    width = magnitude.shape[2]
    ridge = torch.zeros_like(magnitude, dtype=torch.bool)
    ridge[:, 1:-1, 1:-1] = (magnitude >= lower[:, None, None])[:, 1:-1, 1:-1]
    at = ridge.flatten().nonzero()[:, 0]
    flat = magnitude.flatten()
    y, x = of.y.flatten()[at], of.x.flatten()[at]
    steep = y.abs() >= x.abs()
    step_y, step_x = torch.where(y < 0, -width, width), torch.where(x < 0, -1, 1)
    straight, diagonal = torch.where(steep, step_y, step_x), step_y + step_x
    share = torch.minimum(y.abs(), x.abs()) / torch.maximum(y.abs(), x.abs())
    here = flat[at]
    ahead = torch.lerp(flat[at + straight], flat[at + diagonal], share)
    behind = torch.lerp(flat[at - straight], flat[at - diagonal], share)
    ridge.view(-1)[at] = (ahead <= here) & (behind <= here)
    return ridge


def _connected(weak: np.ndarray, strong: np.ndarray) -> np.ndarray:
    """The chains of ``weak`` pixels (8 neighbours) that hold a ``strong`` one."""
    from scipy import ndimage

    labels, count = ndimage.label(weak, np.ones((3, 3)))
    kept = np.zeros(count + 1, dtype=bool)
    kept[labels[strong]] = True
    kept[0] = False
    return kept[labels]
