"""How far recordings lie from what was expected of them, black and white cutting the noise off.

A pixel whose expected value is black shows half of its noise: the other half would be darker than black.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

NODES = 513
"""Grey levels of the table between which the spread, a smooth function, is interpolated linearly."""

MANY = 2000.0
"""Electrons above which counting noise is taken as Gaussian: its skewness is below 0.023."""


def clipped_spread(expected: Tensor, dose: float, read: float, pedestal: float) -> Tensor:
    """``E (clip(X, 0, 1) - expected)^2`` of recordings X by ``srbench.datasets.degrade.noise.DoseNoise``.

    Away from black and white this is the variance of X.

    Args:
        expected: expected grey levels, any shape; below 0 and above 1 they count as 0 and 1.
        dose: electrons counted in a pixel of full signal.
        read: standard deviation of the electronics, of the full grey scale.
        pedestal: share of the full signal that is shown as black.

    Returns:
        The same shape, in units of the squared grey range, in the dtype and on the device of ``expected``.
    """
    grey = expected.to(torch.float64).clamp(0.0, 1.0)
    if dose > MANY:
        signal = grey * (1.0 - pedestal) + pedestal
        sigma = (signal / (dose * (1.0 - pedestal) ** 2) + read**2).sqrt()
        return _around(grey, *_clipped_moments(grey, sigma)).to(expected.dtype)
    table = _counted(dose, read, pedestal).to(expected.device)
    place = grey * (NODES - 1)
    below = place.floor().clamp(max=NODES - 2).long()
    return torch.lerp(table[below], table[below + 1], place - below).to(expected.dtype)


@functools.lru_cache(maxsize=16)
def _counted(dose: float, read: float, pedestal: float) -> Tensor:
    """The spread at ``NODES`` grey levels from black to white, ``(NODES,)``: the sum over all counts."""
    grey = torch.linspace(0.0, 1.0, NODES, dtype=torch.float64)
    counts = torch.arange(math.ceil(dose + 10.0 * math.sqrt(dose) + 20.0), dtype=torch.float64)
    shown = (counts / dose - pedestal) / (1.0 - pedestal)
    chances = _poisson((grey * (1.0 - pedestal) + pedestal) * dose, counts)
    moments = _clipped_moments(shown, torch.full_like(shown, read))
    return _around(grey, *(chances @ moment for moment in moments))


def _around(grey: Tensor, mean: Tensor, square: Tensor) -> Tensor:
    """Mean square distance from ``grey`` by mean and mean square."""
    return square - 2.0 * grey * mean + grey.square()


def _poisson(expected: Tensor, counts: Tensor) -> Tensor:
    """Probability of each count at each expected number, ``(len(expected), len(counts))``."""
    rate = expected[:, None]
    return torch.exp(torch.special.xlogy(counts, rate) - rate - torch.lgamma(counts + 1.0))


def _clipped_moments(mean: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square of ``clip(X, 0, 1)`` for Gaussian X, of sigma 0 too."""
    black, white = _standardised(-mean, sigma), _standardised(1.0 - mean, sigma)
    inside = torch.special.ndtr(white) - torch.special.ndtr(black)
    above = torch.special.ndtr(-white)
    density_black, density_white = _density(black), _density(white)
    first = mean * inside + sigma * (density_black - density_white) + above
    second = (
        (mean.square() + sigma.square()) * inside
        + sigma * (mean * density_black - (1.0 + mean) * density_white)
        + above
    )
    return first, second


def _standardised(distance: Tensor, sigma: Tensor) -> Tensor:
    """Distance in standard deviations; forty of them stand for infinity."""
    return (distance / sigma.clamp(min=1e-12)).clamp(-40.0, 40.0)


def _density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z.square()) / math.sqrt(2.0 * math.pi)
