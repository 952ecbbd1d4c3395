"""Noisy acquisitions of a noise-free micrograph: counted electrons plus the noise of the electronics.

Each call with another index is another scan of the same place; nothing is shared but the signal.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from srbench.datasets.synthetic.draws import Array, Draws

DOSE = 150.0
"""Electrons counted in a pixel of full signal: an ordinary slow scan."""
PEDESTAL = 0.15
"""Share of the full signal that the brightness setting shows as black: dark places are noisy too."""
READ_NOISE = 0.01
"""Standard deviation of the electronics, of the full grey scale."""


def acquire(truth: NDArray[np.uint8], draws: Draws, dose: float = DOSE) -> NDArray[np.uint8]:
    """One acquisition of ``truth``.

    The signal of grey level g (0 to 1) is s = p + (1 - p) g with the pedestal p; N ~ Poisson(dose s)
    electrons are counted, shown as (N / dose - p) / (1 - p), and the electronics add Gaussian noise.

    Args:
        truth: noise-free ``(H, W)``.
        draws: random numbers.
        dose: electrons in a pixel of full signal.

    Returns:
        ``(H, W)``, clipped at black and white as a digitiser does.
    """
    counts = poisson_of_levels(truth, dose, draws.uniforms(*truth.shape))
    shown = (counts / dose - PEDESTAL) / (1 - PEDESTAL) + READ_NOISE * draws.normals(*truth.shape)
    return np.floor(np.clip(np.round(shown, 9), 0, 1) * 255 + 0.5).astype(np.uint8)


def noise_variance(grey: Array, dose: float = DOSE) -> Array:
    """Variance of ``acquire`` before clipping and rounding, by noise-free grey level in [0, 1]."""
    signal = PEDESTAL + (1 - PEDESTAL) * grey
    result: Array = signal / (dose * (1 - PEDESTAL) ** 2) + READ_NOISE**2
    return result


def poisson_of_levels(levels: NDArray[np.uint8], dose: float, uniforms: Array) -> Array:
    """Poisson counts for each of 256 grey levels, by inversion of the distribution function.

    Args:
        levels: ``(H, W)`` grey levels.
        dose: expected counts at level 255 (level 0 expects ``PEDESTAL * dose``).
        uniforms: ``(H, W)`` in (0, 1).
    """
    counts = np.zeros(levels.shape)
    for level in np.unique(levels):
        here = levels == level
        mean = dose * (PEDESTAL + (1 - PEDESTAL) * int(level) / 255)
        counts[here] = np.searchsorted(poisson_distribution(mean), uniforms[here], side="left")
    return counts


def poisson_distribution(mean: float) -> Array:
    """P(N <= k) for k = 0, 1, ... up to where the rest is below 1e-15."""
    k = np.arange(math.ceil(mean + 12 * math.sqrt(mean) + 20))
    cumulative: Array = np.cumsum(np.exp(k * math.log(mean) - mean - gammaln(k + 1)))
    return cumulative
