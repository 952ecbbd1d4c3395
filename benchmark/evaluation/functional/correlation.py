"""Two-point correlation of a phase: how its regions are sized and spaced.

``S2(r)`` is the probability that two points at distance r both lie in the phase: the phase fraction at r = 0,
its square far away. Torquato, "Random Heterogeneous Materials" (2002), section 2.2.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

REACH = 64
"""Largest distance in HR pixels; in a small image a quarter of its shorter side."""


def two_point_correlation(masks: Tensor, reach: int = REACH) -> Tensor:
    """``S2(r)`` for r = 0 .. ``reach``, radially averaged.

    Every displacement (dy, dx) is averaged over the pairs of pixels that both lie in the image (no periodic
    border), then the displacements with the same rounded length are averaged.

    Args:
        masks: ``(N, H, W)`` bool, both sides larger than ``reach``.
        reach: largest distance in pixels.

    Returns:
        ``(N, reach + 1)`` float64 in [0, 1].
    """
    height, width = masks.shape[1:]
    # Zeros of the width of the reach keep the far side from coming round.
    size = (_fast(height + reach), _fast(width + reach))
    spectrum = torch.fft.rfft2(masks.to(torch.float64), s=size)
    pairs = torch.fft.irfft2(spectrum.real.square() + spectrum.imag.square(), s=size)
    dy = torch.arange(0, reach + 1, device=masks.device)
    dx = torch.arange(-reach, reach + 1, device=masks.device)
    possible = (height - dy)[:, None] * (width - dx.abs())[None]
    lags = pairs[:, dy][:, :, dx] / possible
    rings, counts = _rings(reach, str(masks.device))
    sums = torch.zeros(masks.shape[0], reach + 2, dtype=torch.float64, device=masks.device)
    sums.index_add_(1, rings, lags.flatten(1))
    return sums[:, : reach + 1] / counts


def correlation_error(masks: Tensor, reference: Tensor, reach: int = REACH) -> Tensor:
    """``e_S2 = mean_{r <= reach} |S2(r) - S2_ref(r)| / (phi_ref - phi_ref^2)``, ``(N,)``.

    The divisor is the range over which the reference's S2 falls. NaN where the reference has one phase.

    Args:
        masks: ``(N, H, W)`` bool.
        reference: the same shape.
        reach: largest distance in pixels.
    """
    found, wanted = two_point_correlation(torch.cat([masks, reference]), reach).chunk(2)
    fraction = wanted[:, 0]
    return (found - wanted).abs().mean(1) / (fraction - fraction.square())


@functools.lru_cache(maxsize=8)
def _rings(reach: int, device: str) -> tuple[Tensor, Tensor]:
    """Ring of every displacement (those too long in ring ``reach + 1``) and displacements a ring.

    Rows begin at 0: (-dy, -dx) is the same displacement as (dy, dx).
    """
    dy, dx = torch.arange(0, reach + 1)[:, None], torch.arange(-reach, reach + 1)[None]
    rings = (
        (dy * dy + dx * dx).to(torch.float64).sqrt().round().to(torch.int64).clamp_max(reach + 1).flatten()
    )
    counts = torch.bincount(rings, minlength=reach + 2)[: reach + 1].to(torch.float64)
    return rings.to(device), counts.to(device)


def _fast(length: int) -> int:
    """The next length whose Fourier transform is quick."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1
