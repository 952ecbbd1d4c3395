"""Random numbers, fields and rough edges that are the same on every machine and for every version of numpy.

numpy freezes the raw integers of its bit generators but not the distributions made from them (NEP 19), so the
few distributions needed here are made from the raw integers. Fields are rounded after the Fourier transform:
FFT libraries differ in the last bits, and a threshold or an 8-bit rounding further on must not see that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]
Item = TypeVar("Item")
DECIMALS = 4
"""Geometry is rounded to this many decimals of an HR pixel when sampled: the truth is what is rendered."""


Spread = float | tuple[float, float] | Callable[["RandomStream"], float]
"""How a number is sampled: always the same, uniform between two bounds, or by a function of the stream."""


class RandomStream:
    """A stream of random numbers.

    Args:
        key: non-negative integers; equal keys give equal streams, unequal ones independent streams.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def uniforms(self, *shape: int) -> Array:
        """Float64 in (0, 1), never 0 or 1: the centres of 2^53 equal cells, of ``shape``."""
        raw = self._bits.random_raw(shape) >> np.uint64(11)
        values: Array = np.minimum((raw + 0.5) * 2.0**-53, 1 - 2.0**-53)
        return values

    def normals(self, *shape: int) -> Array:
        """Standard normal float64 of ``shape``, by inversion of the distribution function."""
        values: Array = np.round(ndtri(self.uniforms(*shape)), 12)
        return values

    def uniform(self, low: float, high: float) -> float:
        """One number between ``low`` and ``high``, rounded to ``DECIMALS``."""
        return round(low + (high - low) * float(self.uniforms(1)[0]), DECIMALS)

    def share(self, whole: float, low: float, high: float) -> float:
        """``whole`` times a number between ``low`` and ``high``, rounded to ``DECIMALS``."""
        return round(whole * self.uniform(low, high), DECIMALS)

    def table(self, spreads: Mapping[str, Spread]) -> dict[str, float]:
        """A number for each name, sampled in the order of the table."""
        return {name: self._number(spread) for name, spread in spreads.items()}

    def _number(self, spread: Spread) -> float:
        if isinstance(spread, tuple):
            return self.uniform(*spread)
        return spread(self) if callable(spread) else spread

    def log_normal(self, median: float, gsd: float, low: float, high: float) -> float:
        """One log-normal number with geometric standard deviation ``gsd``, again until in [low, high]."""
        for _ in range(1000):
            value = round(median * math.exp(math.log(gsd) * float(self.normals(1)[0])), DECIMALS)
            if low <= value <= high:
                return value
        raise ValueError(
            f"A log-normal of median {median} and GSD {gsd} hardly ever lies in [{low}, {high}]."
        )

    def integer(self, low: int, high: int) -> int:
        """One integer from ``low`` to ``high``, both included."""
        return min(high, low + int((high - low + 1) * float(self.uniforms(1)[0])))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return float(self.uniforms(1)[0]) < probability

    def choice(self, items: Sequence[Item]) -> Item:
        """One of the items, all equally likely."""
        return items[self.integer(0, len(items) - 1)]


FIELD_DECIMALS = 9
Spectrum = Callable[[Array], Array]
"""Spatial frequency in cycles per HR pixel to spectral amplitude (up to a factor)."""


def smooth_spectrum(length: float) -> Spectrum:
    """Gaussian spectrum: a field of autocorrelation exp(-r^2 / (2 length^2)), ``length`` in HR pixels."""
    return lambda f: np.exp(-((math.pi * length * f) ** 2))


def banded_spectrum(wavelength: float, width: float) -> Spectrum:
    """A ring around 1/``wavelength`` with relative ``width``: spinodal, sponge-like fields."""
    return lambda f: np.exp(-0.5 * ((f * wavelength - 1) / width) ** 2)


def gaussian_field(stream: RandomStream, side: int, step: float, spectrum: Spectrum) -> Array:
    """A periodic Gaussian field of zero mean and unit variance, band-limited to half a cycle per HR pixel.

    Args:
        stream: random numbers, one for each HR pixel.
        side: points to a side; ``side * step`` is an even number of HR pixels.
        step: distance of points in HR pixels.
        spectrum: amplitude by frequency.

    Returns:
        ``(side, side)``, rounded to ``FIELD_DECIMALS``.
    """
    pixels = round(side * step)
    rows, columns = scipy.fft.fftfreq(pixels)[:, None], scipy.fft.rfftfreq(pixels)[None, :]
    amplitude = spectrum(np.sqrt(rows * rows + columns * columns))
    amplitude[0, 0] = 0.0
    coarse = scipy.fft.rfft2(stream.normals(pixels, pixels)) * amplitude
    half = pixels // 2
    fine = np.zeros((side, side // 2 + 1), dtype=np.complex128)
    fine[:half, :half] = coarse[:half, :half]
    fine[-half + 1 :, :half] = coarse[-half + 1 :, :half]
    return standardise(scipy.fft.irfft2(fine, s=(side, side)))


def standardise(field: Array) -> Array:
    """Zero mean, unit variance, rounded to ``FIELD_DECIMALS``."""
    centred = field - field.mean()
    result: Array = np.round(centred / math.sqrt(float((centred * centred).mean())), FIELD_DECIMALS)
    return result


def edge_psd(frequency: Array, sigma: float, xi: float, hurst: float) -> Array:
    """Two-sided power spectral density of a rough line edge, px^3 for lengths in px.

    The Palasantzas form used for line-edge roughness (Mack 2011, doi 10.1117/1.3663567), normalised
    so that its integral over all frequencies is ``sigma`` squared.

    Args:
        frequency: cycles per HR pixel.
        sigma: standard deviation of the edge in HR pixels.
        xi: correlation length in HR pixels.
        hurst: roughness (Hurst) exponent, 0 to 1.
    """
    ratio = math.gamma(hurst + 0.5) / math.gamma(hurst)
    plateau = 2 * sigma**2 * xi * math.sqrt(math.pi) * ratio
    shape: Array = (1 + (2 * math.pi * frequency * xi) ** 2) ** (hurst + 0.5)
    return plateau / shape


def rough_edge(stream: RandomStream, count: int, step: float, sigma: float, xi: float, hurst: float) -> Array:
    """Displacements of an edge from its mean position, by inverse FFT of random phases and amplitudes.

    A window of a period several times as long, so that the two ends of the edge are not tied together.

    Args:
        stream: random numbers.
        count: points along the edge.
        step: their distance in HR pixels.
        sigma: standard deviation over the ensemble in HR pixels.
        xi: correlation length in HR pixels.
        hurst: roughness exponent.

    Returns:
        ``(count,)`` in HR pixels, rounded to ``DECIMALS``.
    """
    period = scipy.fft.next_fast_len(max(2 * count, math.ceil(count + 12 * xi / step)), real=True)
    power = edge_psd(scipy.fft.rfftfreq(period, step), sigma, xi, hurst)
    # What lies beyond the Nyquist frequency of the points goes to what they can carry: sigma stays as asked.
    weight = np.full(power.shape, 2.0)
    weight[0] = 1.0
    if period % 2 == 0:
        weight[-1] = 1.0
    power *= sigma**2 / float((power * weight).sum())
    spectrum = scipy.fft.rfft(stream.normals(period)) * np.sqrt(power * period)
    result: Array = np.round(scipy.fft.irfft(spectrum, n=period)[:count], DECIMALS)
    return result
