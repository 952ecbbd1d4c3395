"""Random fields and rough edges with a stated spectrum.

Every field is rounded after the Fourier transform: FFT libraries differ in the last bits, and a threshold or
an 8-bit rounding further on must not see that.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from srbench.datasets.synthetic.draws import DECIMALS, Draws

Array = NDArray[np.float64]
FIELD_DECIMALS = 9
Spectrum = Callable[[Array], Array]
"""Spatial frequency in cycles per HR pixel to spectral amplitude (up to a factor)."""


def smooth_spectrum(length: float) -> Spectrum:
    """Gaussian spectrum: a field of autocorrelation exp(-r^2 / (2 length^2)), ``length`` in HR pixels."""
    return lambda f: np.exp(-((math.pi * length * f) ** 2))


def banded_spectrum(wavelength: float, width: float) -> Spectrum:
    """A ring around 1/``wavelength`` with relative ``width``: spinodal, sponge-like fields."""
    return lambda f: np.exp(-0.5 * ((f * wavelength - 1) / width) ** 2)


def gaussian_field(draws: Draws, side: int, step: float, spectrum: Spectrum) -> Array:
    """A periodic Gaussian field of zero mean and unit variance, band-limited to half a cycle per HR pixel.

    Args:
        draws: random numbers, one for each HR pixel.
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
    coarse = scipy.fft.rfft2(draws.normals(pixels, pixels)) * amplitude
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


def rough_edge(draws: Draws, count: int, step: float, sigma: float, xi: float, hurst: float) -> Array:
    """Displacements of an edge from its mean position, by inverse FFT of random phases and amplitudes.

    A window of a period several times as long, so that the two ends of the edge are not tied together.

    Args:
        draws: random numbers.
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
    spectrum = scipy.fft.rfft(draws.normals(period)) * np.sqrt(power * period)
    result: Array = np.round(scipy.fft.irfft(spectrum, n=period)[:count], DECIMALS)
    return result
