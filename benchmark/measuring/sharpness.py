"""Sharpness of one image as the standard deviation of a Gaussian blur, estimated in three ways.

In the form of ISO/TS 24597, which evaluates SEM images by a derivative, a Fourier transform and a
contrast-to-gradient method; the estimators are srbench's own, so the numbers are not those of the standard.
All three take the image for sharp-edged shapes of two grey levels, blurred by a Gaussian; where edges are
bright or shaded they say less, and where the three disagree none is to be believed alone.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from srbench.metrics.segmentation import LEVELS, otsu, smoothed
from srbench.utils.image import Plane

Floats = NDArray[np.float64]

METHODS = ("derivative", "Fourier", "contrast-to-gradient")

REACH = 8.0
"""Pixels on either side of an edge that are looked at."""
_STEP = 0.25
_MOST_POINTS = 4000
_FEWEST_POINTS = 100
_PREFILTER = 1.5
_NOISE_FROM = 0.42
_ABOVE_NOISE = 4.0
_LOWEST = 0.02
_RANGE = 1e-4
_FEWEST_RINGS = 6


def sharpness(image: Plane) -> dict[str, float]:
    """Standard deviation of the blur in pixels by each of ``METHODS``; NaN where a method has nothing to fit.

    * derivative: an error function fitted to the mean profile across the edges of the two phases;
    * Fourier: sharp edges have a power that falls as 1/f^3 (Porod's law in two dimensions), a Gaussian blur
      multiplies it by exp(-4 pi^2 sigma^2 f^2); fitted where the power stands out of the noise;
    * contrast-to-gradient: an edge of contrast C has the largest gradient C / (sigma sqrt(2 pi)).

    Args:
        image: ``(H, W)`` in [0, 1].
    """
    profiles, gradients = _across_edges(image)
    derivative = gradient = math.nan
    if len(profiles) >= _FEWEST_POINTS:
        low, high, derivative = _fitted_edge(profiles.mean(0))
        # The image was smoothed to find a gradient in noise: that much blur is not its own.
        whole = (high - low) / (float(gradients.mean()) * math.sqrt(2.0 * math.pi))
        gradient = math.sqrt(max(whole**2 - _PREFILTER**2, 0.0))
    return dict(zip(METHODS, (derivative, _fourier(image), gradient), strict=True))


def _across_edges(image: Plane) -> tuple[Floats, Floats]:
    """Profiles ``(E, P)`` from dark to bright across edge points, and the gradients there ``(E,)``."""
    from scipy import ndimage
    from skimage.measure import find_contours

    smooth = smoothed(image, _PREFILTER)
    curves = [curve for curve in find_contours(smooth, otsu(smooth, LEVELS)[0]) if len(curve) > 20]
    if not curves:
        return np.zeros((0, 0)), np.zeros(0)
    points = np.concatenate(curves)
    margin = REACH + 2.0
    inside = ((points >= margin) & (points <= np.array(image.shape) - 1.0 - margin)).all(1)
    points = points[inside]
    points = points[:: max(len(points) // _MOST_POINTS, 1)]
    slopes = [ndimage.gaussian_filter(image, _PREFILTER, order=order) for order in ((1, 0), (0, 1))]
    slope = np.stack([ndimage.map_coordinates(part, points.T, order=1) for part in slopes])
    steepness = np.hypot(*slope)
    points, slope, steepness = points[steepness > 0], slope[:, steepness > 0], steepness[steepness > 0]
    offsets = np.arange(-REACH, REACH + _STEP / 2, _STEP)
    normal = slope / steepness
    y, x = (points[:, axis, None] + normal[axis][:, None] * offsets for axis in (0, 1))
    return ndimage.map_coordinates(image, [y, x], order=1), steepness


def _fitted_edge(profile: Floats) -> tuple[float, float, float]:
    """Dark level, bright level and blur of the error function nearest to a profile; NaN where none is."""
    from scipy.optimize import OptimizeWarning, curve_fit
    from scipy.special import erf

    offsets = np.arange(len(profile)) * _STEP - REACH

    def edge(x: Floats, low: float, high: float, centre: float, sigma: float) -> Floats:
        step: Floats = low + (high - low) * 0.5 * (1.0 + erf((x - centre) / (abs(sigma) * math.sqrt(2.0))))
        return step

    start = (float(profile.min()), float(profile.max()), 0.0, 1.5)
    try:
        with warnings.catch_warnings():
            # That a fit has no covariance; none is used.
            warnings.simplefilter("ignore", OptimizeWarning)
            fitted, _ = curve_fit(edge, offsets, profile, start, maxfev=2000)
    except RuntimeError:
        return start[0], start[1], math.nan
    return float(fitted[0]), float(fitted[1]), abs(float(fitted[3]))


def _fourier(image: Plane) -> float:
    side = min(image.shape)
    top, left = ((length - side) // 2 for length in image.shape)
    square = image[top : top + side, left : left + side]
    window = np.hanning(side)
    power = np.abs(np.fft.rfft2((square - square.mean()) * window[:, None] * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    rings = np.round(frequency * side).astype(np.int64).ravel()
    last = side // 2
    counts = np.bincount(rings, minlength=last + 1)[: last + 1]
    mean = np.bincount(rings, power.ravel(), minlength=last + 1)[: last + 1] / counts
    f = np.arange(last + 1) / side
    noise = float(np.median(mean[f >= _NOISE_FROM]))
    clear = (f >= _LOWEST) & (mean > (1.0 + _ABOVE_NOISE) * noise)
    # Below, what the window lets through is more than what the blur leaves.
    clear &= mean * f**3 > _RANGE * (mean * f**3)[f >= _LOWEST].max()
    # From the first ring that drowns on, what stands out again is no edge.
    drowned = np.flatnonzero((f >= _LOWEST) & ~clear)
    clear &= f < (f[drowned[0]] if len(drowned) else 1.0)
    if clear.sum() < _FEWEST_RINGS:
        return math.nan
    logarithm = np.log((mean[clear] - noise) * f[clear] ** 3)
    slope = np.polyfit(f[clear] ** 2, logarithm, 1, w=np.sqrt(counts[clear]))[0]
    return math.sqrt(max(-float(slope), 0.0)) / (2.0 * math.pi)
