"""Edges of lines row by row, their widths (critical dimension, CD) and their roughness.

An edge lies where the grey level crosses half way between the darkest place beside it and the brightest one
in the line near it (Hitachi S-3400N manual, eq. 6.4.5, threshold 50 %). Both levels come from the mean over
the rows, aligned to the edge, so that they do not follow the noise of a row. Lines run down the image;
transpose it for lines that run across.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

THRESHOLD = 0.5
"""Share of the way from dark to bright."""
SMOOTHING = 1.0
"""Standard deviation in pixels of the smoothing across an edge. Never along it: noise in the edge positions
must stay white to be told from roughness."""
FARTHEST = 12
"""Pixels on either side of an edge among which its dark and its bright level are looked for."""
FOUND_SHARE = 0.9
"""Share of the rows in which an edge must be found."""
STRIPED = 0.5
"""Share of an image's variance that its mean row must hold for the image to show a grating."""
PERIODIC = 0.5
"""Autocorrelation that the mean row of a grating has at its pitch."""
SHORTEST_PITCH = 8
"""Pixels; with less there is no room for two edges and the levels beside them."""
PLATEAU = 0.4
"""Cycles per pixel from which on the PSD counts as noise; the Nyquist frequency is 0.5."""


@dataclass(frozen=True)
class Line:
    """Where a line is expected, in pixels (centres at whole numbers).

    Attributes:
        left: column of its left edge.
        right: column of its right edge.
        top: first row to be measured.
        bottom: row after the last one.
        inside: pixels from an edge into the line that belong to this edge alone.
        outside: the same away from the line.
    """

    left: float
    right: float
    top: int
    bottom: int
    inside: float
    outside: float

    def moved(self, by: int) -> Line:
        """The same line in an image whose outer ``by`` pixels were cut off."""
        return replace(
            self,
            left=self.left - by,
            right=self.right - by,
            top=max(self.top - by, 0),
            bottom=self.bottom - by,
        )


@dataclass(frozen=True, eq=False)
class Edges:
    """Both edges of one line, ``(rows,)`` columns in pixels."""

    left: Floats
    right: Floats

    @property
    def width(self) -> Floats:
        """Width in every row."""
        return np.asarray(self.right - self.left, dtype=np.float64)


def measure_line(
    image: Floats, line: Line, bright: bool = True, threshold: float = THRESHOLD
) -> Edges | None:
    """Find both edges of a line in every row.

    Args:
        image: ``(H, W)``.
        line: where to look.
        bright: whether the line is brighter than what is beside it.
        threshold: share of the way from dark to bright.

    Returns:
        The edges; None where a window leaves the image or an edge is not found in enough rows.
    """
    left = measure_edge(image, line, line.left, rising=bright, threshold=threshold)
    right = measure_edge(image, line, line.right, rising=not bright, threshold=threshold)
    return None if left is None or right is None else Edges(left, right)


def measure_edge(
    image: Floats, line: Line, expected: float, rising: bool, threshold: float = THRESHOLD
) -> Floats | None:
    """Columns at which the rows of a line cross an edge, ``(rows,)``.

    Args:
        image: ``(H, W)``.
        line: gives the rows and how far to look.
        expected: column near which the edge lies: the line's left or right edge.
        rising: whether the grey level rises from left to right.
        threshold: share of the way from dark to bright.
    """
    into, away = (int(min(reach, FARTHEST)) for reach in (line.inside, line.outside))
    before, after = (away, into) if expected == line.left else (into, away)
    first, last = round(expected) - before, round(expected) + after + 1
    rows = image[line.top : min(line.bottom, image.shape[0])]
    if first < 0 or last > image.shape[1] or min(into, away) < 2 or len(rows) < 8:
        return None
    window = _smooth_rows(rows, first, last)
    if not rising:
        window = window[:, ::-1]
    crossings = _crossings(window, before if rising else after, threshold)
    if crossings is None:
        return None
    return np.asarray(first + crossings if rising else last - 1 - crossings, dtype=np.float64)


def _smooth_rows(rows: Floats, first: int, last: int) -> Floats:
    from scipy.ndimage import gaussian_filter1d

    margin = int(4 * SMOOTHING)
    low, high = max(first - margin, 0), min(last + margin, rows.shape[1])
    smooth = gaussian_filter1d(rows[:, low:high], SMOOTHING, axis=1, mode="nearest")
    return np.asarray(smooth[:, first - low : last - low], dtype=np.float64)


def _crossings(window: Floats, middle: int, threshold: float) -> Floats | None:
    """Where each row rises through the threshold; the levels are found again once the rows are aligned."""
    profile = window.mean(0)
    start = _nearest_crossing(profile[None], _level(profile, middle, threshold), float(middle))[0]
    if np.isnan(start):
        return None
    crossings = _nearest_crossing(window, _level(profile, round(start), threshold), float(start))
    for _ in range(2):
        if np.isnan(crossings).mean() > 1.0 - FOUND_SHARE:
            return None
        profile = _aligned(window, crossings - np.nanmedian(crossings))
        median = float(np.nanmedian(crossings))
        crossings = _nearest_crossing(window, _level(profile, round(median), threshold), median)
    return _filled(crossings) if np.isnan(crossings).mean() <= 1.0 - FOUND_SHARE else None


def _level(profile: Floats, middle: int, threshold: float) -> float:
    """Grey level between the darkest position before an edge and the brightest one after it."""
    dark, light = float(profile[: middle + 1].min()), float(profile[middle:].max())
    return dark + threshold * (light - dark)


def _nearest_crossing(window: Floats, level: float, expected: float) -> Floats:
    """In every row the upward crossing of ``level`` nearest to ``expected``; NaN where there is none."""
    before, after = window[:, :-1], window[:, 1:]
    crosses = (before < level) & (after >= level)
    with np.errstate(divide="ignore", invalid="ignore"):
        position = np.arange(before.shape[1]) + (level - before) / (after - before)
    distance = np.where(crosses, np.abs(position - expected), np.inf)
    best = distance.argmin(1)
    rows = np.arange(len(window))
    return np.where(np.isfinite(distance[rows, best]), position[rows, best], np.nan)


def _aligned(window: Floats, shifts: Floats) -> Floats:
    """Mean row after moving each row by its shift; the ends are held, rows without a shift left out."""
    finite = np.isfinite(shifts)
    window, shifts = window[finite], shifts[finite]
    columns = np.arange(window.shape[1])
    position = np.clip(columns[None] + shifts[:, None], 0, len(columns) - 1.001)
    low = position.astype(np.int64)
    rows = np.arange(len(window))[:, None]
    share = position - low
    moved = (1 - share) * window[rows, low] + share * window[rows, low + 1]
    return np.asarray(moved.mean(0), dtype=np.float64)


def _filled(crossings: Floats) -> Floats:
    """Missing rows by linear interpolation."""
    missing = np.isnan(crossings)
    if not missing.any():
        return crossings
    rows = np.arange(len(crossings))
    return np.asarray(np.interp(rows, rows[~missing], crossings[~missing]), dtype=np.float64)


def find_lines(image: Floats) -> list[Line]:
    """The complete lines of a grating that runs straight down a whole image; empty where there is none.

    The bright phase counts as lines. An image shows a grating where its mean row holds the share ``STRIPED``
    of its variance and repeats itself with an autocorrelation of ``PERIODIC``.

    Args:
        image: ``(H, W)``.
    """
    from scipy.ndimage import gaussian_filter1d

    profile = image.mean(0)
    if not image.var() or profile.var() < STRIPED * image.var():
        return []
    pitch = _pitch(profile)
    if pitch is None:
        return []
    # Bright edges make two stripes of each line; smoothed over a part of the pitch they are one.
    smooth = gaussian_filter1d(profile, pitch / 6.0)
    rises, falls = _changes(smooth, float(smooth.mean()))
    return _complete_lines(rises, falls, image.shape)


def _pitch(profile: Floats) -> int | None:
    """Period of a profile in pixels; None where it has none."""
    from scipy.signal import correlate

    deviation = profile - profile.mean()
    count = len(profile)
    overlaps = count - np.arange(count)
    correlation = correlate(deviation, deviation, "full")[count - 1 :] / overlaps / deviation.var()
    lags = np.arange(SHORTEST_PITCH, count // 2)
    here = correlation[lags]
    peaks = (here >= correlation[lags - 1]) & (here > correlation[lags + 1])
    if not peaks.any() or here[peaks].max() < PERIODIC:
        return None
    # Every multiple of the pitch is a peak of about the same height.
    return int(lags[peaks & (here >= 0.85 * here[peaks].max())][0])


def _changes(profile: Floats, level: float) -> tuple[Floats, Floats]:
    """Sub-pixel columns of the upward and downward crossings."""
    above = profile >= level
    at = np.flatnonzero(above[1:] != above[:-1])
    position = at + (level - profile[at]) / (profile[at + 1] - profile[at])
    return position[~above[at]], position[above[at]]


def _complete_lines(rises: Floats, falls: Floats, shape: tuple[int, ...]) -> list[Line]:
    """Lines with both edges in the image; half the distance to the next edge belongs to each edge."""
    edges = np.sort(np.concatenate([rises, falls]))
    lines = []
    for left in rises:
        at = int(np.searchsorted(edges, left))
        if at + 1 < len(edges):
            right = float(edges[at + 1])
            before = left - edges[at - 1] if at else 2 * left
            after = edges[at + 2] - right if at + 2 < len(edges) else 2 * (shape[1] - 1 - right)
            space = float(min(before, after)) / 2.0
            lines.append(Line(float(left), right, 0, shape[0], float(right - left) / 2.0, space))
    return lines


@dataclass(frozen=True, eq=False)
class Roughness:
    """Roughness of a set of edges (or of widths), from their power spectral density (PSD).

    Noise in the edge positions is white: the plateau of the PSD at high frequencies. The unbiased variance is
    the measured one minus that plateau (Villarrubia and Bunday, Proc. SPIE 5752, 2005; Mack, J.
    Micro/Nanolith. MEMS MOEMS 12, 033016, 2013).

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
