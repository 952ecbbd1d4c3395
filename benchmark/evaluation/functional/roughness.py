"""Roughness of edges from their power spectral density (PSD), freed from the noise of edge detection.

Noise in the edge positions is white: it is the plateau of the PSD at high frequencies, and the unbiased
variance is the measured one minus that plateau (Villarrubia and Bunday, Proc. SPIE 5752, 2005; Mack,
J. Micro/Nanolith. MEMS MOEMS 12, 033016, 2013). Works on edges, not on images: numpy on a CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PLATEAU = 0.4
"""Cycles per pixel from which on the PSD counts as noise; the Nyquist frequency is 0.5."""


@dataclass(frozen=True, eq=False)
class Roughness:
    """Roughness of a set of edges (or of widths).

    Attributes:
        frequencies: ``(F,)`` cycles per pixel, 0 to 0.5.
        psd: ``(F,)`` two-sided PSD in square pixels times pixels, mean over the edges; its mean over all
            frequencies, negative ones included, is the variance.
        biased: standard deviation about the best-fit line in pixels, noise included.
        noise: variance of the noise of edge detection in square pixels: the plateau of the PSD.
    """

    frequencies: Floats
    psd: Floats
    biased: float
    noise: float

    @property
    def sigma(self) -> float:
        """Standard deviation without the noise, in pixels; 0 where noise explains all."""
        return math.sqrt(max(self.biased**2 - self.noise, 0.0))


def roughness(edges: Floats) -> Roughness:
    """Roughness of edges about their best-fit lines.

    Args:
        edges: ``(E, rows)`` positions in pixels, one a row, at least 16 rows.
    """
    residual = detrended(edges)
    rows = residual.shape[1]
    psd: Floats = (np.abs(np.fft.rfft(residual, axis=1)) ** 2).mean(0) / rows
    frequencies = np.fft.rfftfreq(rows).astype(np.float64)
    return Roughness(
        frequencies,
        psd,
        float(np.sqrt((residual * residual).mean())),
        float(psd[frequencies >= PLATEAU].mean()),
    )


def detrended(edges: Floats) -> Floats:
    """``(E, rows)`` edges minus their best-fit straight lines."""
    rows = np.arange(edges.shape[1]) - (edges.shape[1] - 1) / 2.0
    slopes = edges @ rows / (rows @ rows)
    return np.asarray(edges - edges.mean(1, keepdims=True) - slopes[:, None] * rows, dtype=np.float64)
