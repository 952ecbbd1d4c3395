"""Small round features of known position: whether they are still there, and whether others were invented.

A feature is seen as a difference of two Gaussians (DoG) at the scale that fits its size: its brightness
against its surroundings, positive for a bump, negative for a hole. It counts as present where this contrast
is at least ``PRESENT`` of that of the reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

RATIO = 1.6
"""Ratio of the two Gaussians of a DoG, and of neighbouring scales (Marr and Hildreth 1980)."""
SCALES = tuple(0.8 * RATIO**step for step in range(3))
"""Standard deviations of the narrow Gaussian; each fits blobs of 2 sqrt(2) of it across: 2.3, 3.6, 5.8 px."""
PRESENT = 0.5
"""Share of the reference's contrast from which on a feature is present."""
VISIBLE = 0.02
"""Contrast below which a feature is not seen in the reference itself: five of 255 grey levels."""
STANDS_OUT = 2.5
"""Ratio of a feature's contrast to that of its surroundings below which it is lost in the texture."""
RING = (2.0, 10.0)
"""Surroundings begin and end at these distances from the outline, in pixels."""
SLACK = 1
"""Pixels by which the place of a feature may be off."""
NOISE = 6.0
"""Local standard deviations of the difference from the reference above which a blob is no noise."""
CLIP = 4.0
"""Standard deviations at which differences are clipped before their local spread is taken."""
NEIGHBOURHOOD = 25
"""Side in pixels of the square over which it is taken."""
MARGIN = 12
"""Pixels at the border in which no blob is looked for."""
ROUND = 4.0
"""Largest ratio of the two curvatures of a blob; ridges have larger ones."""


@dataclass(frozen=True)
class Feature:
    """One small feature; lengths in pixels, centres of pixels at whole numbers."""

    y: float
    x: float
    size: float
    bright: bool

    @property
    def scale(self) -> int:
        """Index of the DoG that fits it."""
        fitting = [abs(math.log(2.0 * math.sqrt(2.0) * sigma / max(self.size, 0.1))) for sigma in SCALES]
        return int(np.argmin(fitting))


def contrast_maps(image: Floats) -> Floats:
    """Local contrast at the three scales, ``(3, H, W)``.

    Args:
        image: ``(H, W)``.
    """
    import cv2

    plane = image.astype(np.float32)
    sigmas = [*SCALES, SCALES[-1] * RATIO]
    blurred = [cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101) for sigma in sigmas]
    return np.stack([fine - coarse for fine, coarse in pairwise(blurred)]).astype(np.float64)


def contrasts(maps: Floats, features: Sequence[Feature]) -> Floats:
    """Contrast of each feature in its own direction, ``(K,)``: the largest within ``SLACK`` of its place."""
    values = []
    for feature in features:
        plane = maps[feature.scale][_span(feature.y, SLACK), _span(feature.x, SLACK)]
        values.append((plane if feature.bright else -plane).max(initial=-np.inf))
    return np.array(values)


def visible(maps: Floats, features: Sequence[Feature]) -> NDArray[np.bool_]:
    """Which features stand out of the reference itself, so that their absence would be noticed, ``(K,)``.

    Args:
        maps: of the reference.
        features: what may be seen.
    """
    around = np.array([_surroundings(maps[feature.scale], feature) for feature in features])
    return np.asarray(contrasts(maps, features) >= np.maximum(VISIBLE, STANDS_OUT * around), dtype=bool)


def present(maps: Floats, reference: Floats, features: Sequence[Feature]) -> NDArray[np.bool_]:
    """Which features have at least ``PRESENT`` of their contrast in the reference, ``(K,)``.

    Args:
        maps: of the image to be judged.
        reference: maps of the reference.
        features: visible in the reference.
    """
    enough: NDArray[np.bool_] = contrasts(maps, features) >= PRESENT * contrasts(reference, features)
    return enough


def invented(maps: Floats, reference: Floats, features: Sequence[Feature]) -> Floats:
    """Places (y, x) of blobs as clear as the true features that the reference has not, ``(M, 2)``.

    A blob counts from ``PRESENT`` of the median contrast of the visible features of its kind (bright or dark)
    on, where the reference has less than ``PRESENT`` of the blob's contrast within two pixels at any of the
    scales. Ridges do not count, nor does what lies closer to the border than the widest Gaussian reaches.

    Args:
        maps: of the image to be judged.
        reference: maps of the reference.
        features: the visible ones.
    """
    blobs = [np.zeros((0, 2))]
    for bright in (True, False):
        alike = [feature for feature in features if feature.bright is bright]
        if alike:
            least = PRESENT * float(np.median(contrasts(reference, alike)))
            blobs.append(_blobs_without_reference(maps, reference, bright, least))
    positions = np.concatenate(blobs)
    if not len(positions):
        return positions
    centres = np.array([(feature.y, feature.x) for feature in features])
    limits = np.array([feature.size / 2.0 + 2.0 for feature in features])
    distance = np.linalg.norm(positions[:, None] - centres[None], axis=2)
    return np.asarray(positions[(distance > limits).all(1)], dtype=np.float64)


def _blobs_without_reference(maps: Floats, reference: Floats, bright: bool, least: float) -> Floats:
    """Round local maxima over space and scale that are clear of noise and of what the reference shows."""
    signed = maps if bright else -maps
    explained = _dilated((reference if bright else -reference).max(0), 5)
    y, x = _peaks(signed.max(0), np.maximum(least, explained / PRESENT))
    scale = signed[:, y, x].argmax(0)
    clear = signed[scale, y, x] > NOISE * _noise(maps, reference)[scale, y, x]
    blob = clear & _is_round(signed, scale, y, x)
    return np.stack([y[blob], x[blob]], axis=1).astype(np.float64)


def _noise(maps: Floats, reference: Floats) -> Floats:
    """Local standard deviation of the difference of the images at each scale, ``(3, H, W)``.

    Local, as there is more noise where there are more electrons; with large differences clipped, as an
    invented blob is no noise.
    """
    import cv2

    difference = np.abs(maps - reference)
    clip = CLIP * 1.4826 * np.median(difference[:, ::2, ::2], axis=(1, 2))
    squared = np.minimum(difference, clip[:, None, None]) ** 2
    side = (NEIGHBOURHOOD, NEIGHBOURHOOD)
    return np.sqrt([cv2.blur(plane, side, borderType=cv2.BORDER_REFLECT_101) for plane in squared])


def _peaks(strongest: Floats, least: Floats) -> tuple[Indices, Indices]:
    """Rows and columns of the local maxima above ``least``, away from the border."""
    peaks = (strongest >= _dilated(strongest, 3)) & (strongest > least)
    y, x = np.nonzero(np.pad(peaks[MARGIN:-MARGIN, MARGIN:-MARGIN], MARGIN))
    return y, x


def _is_round(signed: Floats, scale: Indices, y: Indices, x: Indices) -> NDArray[np.bool_]:
    """Whether both curvatures of the peaks are alike, tr(H)^2 / det(H) < (r + 1)^2 / r (Lowe 2004, eq. 5)."""

    def at(down: int, right: int) -> Floats:
        return np.asarray(signed[scale, y + down, x + right], dtype=np.float64)

    middle = at(0, 0)
    rows, columns = at(1, 0) + at(-1, 0) - 2 * middle, at(0, 1) + at(0, -1) - 2 * middle
    mixed = (at(1, 1) + at(-1, -1) - at(1, -1) - at(-1, 1)) / 4.0
    determinant = rows * columns - mixed * mixed
    return (determinant > 0) & ((rows + columns) ** 2 * ROUND < (ROUND + 1) ** 2 * determinant)


def _dilated(plane: Floats, side: int) -> Floats:
    """Largest value in the square around each pixel."""
    import cv2

    return np.asarray(cv2.dilate(plane, np.ones((side, side), dtype=np.uint8)), dtype=np.float64)


def _span(middle: float, reach: float) -> slice:
    return slice(max(round(middle - reach), 0), max(round(middle + reach) + 1, 0))


def _surroundings(contrast: Floats, feature: Feature) -> float:
    """Root mean square of the contrast in a ring around a feature."""
    inner, outer = (feature.size / 2.0 + distance for distance in RING)
    rows, columns = _span(feature.y, outer), _span(feature.x, outer)
    part = contrast[rows, columns]
    y = np.arange(rows.start, rows.start + part.shape[0])[:, None] - feature.y
    x = np.arange(columns.start, columns.start + part.shape[1])[None] - feature.x
    distance = np.hypot(y, x)
    ring = part[(distance > inner) & (distance <= outer)]
    return float(np.sqrt((ring * ring).mean())) if ring.size else float("inf")
