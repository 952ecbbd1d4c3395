"""Dose, read noise, contrast and brightness of a fast scan, from how it scatters about its reference.

Pixels are binned by their expected grey level. In each bin mean and variance of LR are compared with those of
recordings by ``DoseNoise`` that are clipped at black and white as LR is: no pixel is left out for being
clipped itself, which would bias the rest. A line of variance over grey level has two numbers, the noise model
three (dose, read noise, pedestal): the pedestal is held, unless the line asks for a smaller one.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.degrade.noise import GAUSSIAN_DOSE, clipped_moments, recorded_moments
from srbench.statistics.bootstrap import Floats

BINS = 48
MOST_CLIPPED = 0.25
"""Share of black and white pixels above which a bin says more of the clipping than of the noise."""
LARGEST_DOSE = 1e5
"""What ``sem_pixel`` takes; more is as good as free of noise."""
LOWEST_PEDESTAL = -1.0
_FEWEST = 50
# A bin of more pixels counts as so many: no model is as true as millions of pixels are precise.
_COUNTED = 5000.0
# Standard errors by which the line must fall short of what the pedestal alone gives.
_SHORT = 3.0
_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class NoiseSums:
    """Sums over the pixels of each bin of expected grey levels, ``(BINS,)`` each, of the grey scale.

    Attributes:
        pixels: how many.
        clipped: how many of them are black or white in LR.
        x: expected grey level, HR as the spot sees it, before contrast and brightness.
        xx: its square.
        y: grey level of LR.
        yy: its square.
        xy: product of both.
        noise: variance that the noise of the reference has in ``x``.
    """

    pixels: Floats
    clipped: Floats
    x: Floats
    xx: Floats
    y: Floats
    yy: Floats
    xy: Floats
    noise: Floats

    @staticmethod
    def of(expected: Floats, lr: Floats, by: Floats, noise: Floats, mask: NDArray[np.bool_]) -> NoiseSums:
        """Bin the pixels of a pair; all arrays ``(H, W)``.

        Args:
            expected: HR as the spot sees it.
            lr: as recorded.
            by: grey levels to bin by, in which the noise of ``expected`` is mostly averaged out.
            noise: variance of the noise in ``expected``.
            mask: pixels to take.
        """
        x, y = expected[mask], lr[mask]
        bins = np.clip((by[mask] * BINS).astype(np.int64), 0, BINS - 1)
        clipped = ((y <= 0.0) | (y >= 1.0)).astype(np.float64)
        parts = (np.ones_like(y), clipped, x, x * x, y, y * y, x * y, noise[mask])
        sums = (np.bincount(bins, weights=part, minlength=BINS).astype(np.float64) for part in parts)
        return NoiseSums(*sums)

    def stacked(self) -> Floats:
        """``(8, BINS)``, what is added up and resampled."""
        return np.stack(astuple(self))


@dataclass(frozen=True, eq=False)
class NoiseLine:
    """Contrast, brightness and the line of variance over grey level, ``intercept + slope * grey``.

    Attributes:
        values: ``(4,)`` intercept, slope, gain, offset.
        covariance: ``(4, 4)`` of these by the scatter of pixels alone, rather too large than too small.
        replicates: ``(S, 4)`` the same of resampled sums.
        grey: ``(B,)`` mean grey level of LR in each bin that was used.
        pixels: ``(B,)`` in it.
        variance: ``(B,)`` of LR there, clipped as it is, without the noise of the reference and of rounding.
        fitted: ``(B,)`` the same by the line.
    """

    values: Floats
    covariance: Floats
    replicates: Floats
    grey: Floats
    pixels: Floats
    variance: Floats
    fitted: Floats


def fit_line(sums: Floats, weights: Floats, pedestal: float, rounding: float) -> NoiseLine | None:
    """Fit the line to the sums of all units, and to each resample of them.

    Args:
        sums: ``(U, 8, BINS)`` of the units that are resampled, :meth:`NoiseSums.stacked`.
        weights: ``(S, U)`` how often each resample holds each unit.
        pedestal: share of the full signal that is shown as black.
        rounding: variance by rounding of LR.

    Returns:
        None where fewer than three bins can be used.
    """
    from scipy.optimize import least_squares

    total = sums.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        used = (total[0] >= _FEWEST) & (total[1] <= MOST_CLIPPED * total[0])
    if used.sum() < 3:
        return None
    total, units = total[:, used], sums[:, :, used]
    mean, variance = _moments(total, 1.0, rounding)
    at = total[2] / total[0]
    gain, offset = np.polyfit(at, mean, 1, w=np.sqrt(_counted(total[0])))
    _, variance = _moments(total, gain, rounding)
    level = max(float(np.average(variance, weights=_counted(total[0]))), rounding, 1e-9)
    values = np.array([0.1 * level, 0.9 * level / max(float(np.mean(mean)), 0.02), gain, offset])
    scatter = np.full_like(mean, level)
    for _ in range(_ROUNDS):
        weighting = _weighting(total[0], scatter)

        def weighted(theta: Floats, weighting: Floats = weighting) -> Floats:
            return np.asarray(_misfit(theta, total, pedestal, rounding) * weighting)

        scale = np.maximum(np.abs(values), [level, level, 0.1, 0.1])
        solved = least_squares(weighted, values, x_scale=scale, method="lm")
        values, jacobian = (np.asarray(part, dtype=np.float64) for part in (solved.x, solved.jac))
        scatter = np.maximum(recorded(values, at, pedestal)[1], 0.05 * level)
    slopes = jacobian / weighting[:, None]
    covariance = np.asarray(np.linalg.pinv(jacobian.T @ jacobian, hermitian=True), dtype=np.float64)
    replicates = np.empty((len(weights), len(values)))
    for number, counts in enumerate(weights):
        again = np.tensordot(counts, units, 1)
        # One step from the solution: resamples differ from it by little.
        there = np.tile(again[0] > 0.0, 2)
        weighting = _weighting(again[0], scatter)[there]
        misfit = _misfit(values, np.where(again[0] > 0.0, again, total), pedestal, rounding)[there]
        step = np.linalg.lstsq(slopes[there] * weighting[:, None], -misfit * weighting, rcond=None)[0]
        replicates[number] = values + step
    fitted = recorded(values, at, pedestal)[1]
    _, variance = _moments(total, values[2], rounding)
    return NoiseLine(values, covariance, replicates, mean, total[0], variance, fitted)


def recorded(values: Floats, at: Floats, pedestal: float) -> tuple[Floats, Floats]:
    """Mean and variance of clipped recordings of grey levels ``at (B,)`` of HR, by a line's ``values``."""
    import torch

    grey = torch.from_numpy(values[2] * at + values[3])
    if values[1] * GAUSSIAN_DOSE > 1.0:
        ((dose, read_variance, pedestal),) = settings_of(values[None], pedestal)
        mean, square = recorded_moments(grey, dose, math.sqrt(max(read_variance, 0.0)), pedestal)
    else:
        mean, square = clipped_moments(grey, (values[0] + values[1] * grey).clamp(min=0.0).sqrt())
    return mean.numpy(), (square - mean * mean).numpy()


def settings_of(lines: Floats, pedestal: float, *, held: bool = False) -> Floats:
    """``(S, 3)`` dose, variance of the read noise and pedestal of ``(S, 4)`` lines.

    Args:
        lines: intercept, slope, gain and offset each.
        pedestal: share of the full signal that is shown as black.
        held: keep it where it alone gives more than the intercept; the variance is then negative.
    """
    slope = np.maximum(lines[:, 1], 1.0 / LARGEST_DOSE)
    ratio = lines[:, 0] / slope
    share = np.full_like(slope, pedestal)
    if not held:
        # The pedestal that gives the intercept without read noise.
        lowest = LOWEST_PEDESTAL / (1.0 - LOWEST_PEDESTAL)
        share = np.minimum(share, 1.0 - 1.0 / (1.0 + np.maximum(ratio, lowest)))
    read_variance = lines[:, 0] - slope * share / (1.0 - share)
    return np.stack([1.0 / (slope * (1.0 - share)), read_variance, share], axis=1)


def asks_for_a_smaller_pedestal(line: NoiseLine, pedestal: float) -> bool:
    """Whether the noise of dark pixels is below what the pedestal gives, by more than chance."""
    read_variance = settings_of(line.values[None], pedestal, held=True)[0, 1]
    spread = settings_of(line.replicates, pedestal, held=True)[:, 1].std() if len(line.replicates) else 0.0
    towards = _towards_read_variance(pedestal)
    alone = math.sqrt(towards @ line.covariance @ towards)
    return bool(read_variance < -_SHORT * max(float(spread), alone))


def without_negative_noise(lines: Floats, line: NoiseLine, pedestal: float) -> Floats:
    """``(S, 4)`` lines, those with a negative variance of the read noise moved to the likeliest with none."""
    towards = _towards_read_variance(pedestal)
    way = line.covariance @ towards
    below = np.minimum(lines @ towards, 0.0)
    moved: Floats = lines - below[:, None] * way / (towards @ way)
    return moved


def _towards_read_variance(pedestal: float) -> Floats:
    """``(4,)`` whose product with a line is the variance of the read noise at this pedestal."""
    return np.array([1.0, -pedestal / (1.0 - pedestal), 0.0, 0.0])


def _moments(sums: Floats, gain: float, rounding: float) -> tuple[Floats, Floats]:
    """Mean of LR in each bin, and its variance about HR at this gain less what other noise gives."""
    pixels, _, x, xx, y, yy, xy, noise = sums
    mean, at = y / pixels, x / pixels
    about = (yy - 2.0 * gain * xy + gain**2 * xx) / pixels - (mean - gain * at) ** 2
    unbiased = pixels / np.maximum(pixels - 1.0, 1.0)
    return mean, about * unbiased - gain**2 * noise / pixels - rounding


def _misfit(values: Floats, sums: Floats, pedestal: float, rounding: float) -> Floats:
    """``(2 B,)`` measured means and variances less those by the line."""
    mean, variance = _moments(sums, float(values[2]), rounding)
    expected_mean, expected_variance = recorded(values, sums[2] / sums[0], pedestal)
    return np.concatenate([mean - expected_mean, variance - expected_variance])


def _weighting(pixels: Floats, variance: Floats) -> Floats:
    """``(2 B,)`` one over the standard errors of means and variances."""
    root = np.sqrt(_counted(pixels))
    return np.concatenate([root / np.sqrt(variance), root / (variance * math.sqrt(2.0))])


def _counted(pixels: Floats) -> Floats:
    return pixels / (1.0 + pixels / _COUNTED)
