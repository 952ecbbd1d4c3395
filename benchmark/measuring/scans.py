"""Two scans of one field, recorded or taken out of one image, and what their Fourier rings have in common.

Neither scan is ever resampled, which would make their noise alike: they are cut to what both show, and the
part of a pixel that is left is taken out in Fourier space.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.images.raw import BadImage
from srbench.datasets.images.registration import on_one_grid, register
from srbench.measuring.fields import FieldFiles
from srbench.metrics.spectrum import (
    SMALLEST,
    RingSums,
    cut_off,
    ring_correlation,
    ring_sums,
    smooth,
    windowed_spectrum,
)
from srbench.utils.image import Pixels, Plane

Split = Literal["diagonal", "rows"]
SEVENTH = 1.0 / 7.0
"""Threshold between two equally noisy recordings: the choice of most papers that give a resolution by FRC."""
MOST_LEFT_PX = 1.0
"""What registration may leave, in pixels."""
LEAST_OVERLAP = 0.6
"""Share of the first scan that the second must show too."""


@dataclass(frozen=True, eq=False)
class ScanPair:
    """Two scans of one field, of one size.

    Attributes:
        a: ``(H, W)``, uint8 or uint16.
        b: the same.
        shift: what lies at (0, 0) of ``b`` lies at this row and column of ``a``; less than a pixel.
    """

    a: Pixels
    b: Pixels
    shift: tuple[float, float]


def stem_of(name: str) -> str:
    """What the names of two scans of one field have in common: all but the ending."""
    return str(PurePosixPath(name).with_suffix(""))


def by_stem(files: FieldFiles) -> dict[str, tuple[Path, str, Path]]:
    """Files by :func:`stem_of`; a name that two of them share is left out."""
    named = [(stem_of(name), (path, name, folder)) for path, name, folder in files.files]
    counts = Counter(stem for stem, _ in named)
    return {stem: file for stem, file in named if counts[stem] == 1}


def registered(a: Pixels, b: Pixels) -> ScanPair:
    """Two recorded scans, cut to the whole pixels that both show.

    Raises:
        BadImage: of different size, the same recording, another field, or further apart than a shift.
    """
    if a.shape != b.shape:
        sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in (a, b))
        raise BadImage(f"the scans have different sizes, {sizes} pixels: record both with the same settings")
    if np.array_equal(a, b):
        raise BadImage("both are the same recording: a second scan has noise of its own")
    registration = register(a, b, 1)
    pair = on_one_grid(a, b, 1, registration)
    if pair.alignment.overlap < LEAST_OVERLAP or pair.alignment.residual_px > MOST_LEFT_PX:
        raise BadImage(
            f"a shift does not bring the scans together: {pair.alignment.overlap:.0%} of the first is in the "
            f"second too ({LEAST_OVERLAP:.0%} are needed), and {pair.alignment.residual_px:.2g} px are left "
            f"({MOST_LEFT_PX:g} px may be)"
        )
    top, bottom, left, right = pair.window
    first, middle = (
        registration.positions(np.array([float(row)]), np.array([float(column)]))[:, 0]
        for row, column in ((top, left), ((top + bottom - 1) / 2.0, (left + right - 1) / 2.0))
    )
    # Where the cut of B begins, and how far its middle is from that of A.
    start = np.round(np.maximum(first, 0.0))
    inside = np.array([(bottom - top - 1) / 2.0, (right - left - 1) / 2.0])
    down, right_ward = (inside - (middle - start)).tolist()
    return ScanPair(pair.lr, pair.as_recorded, (down, right_ward))


def halves(image: Pixels, split: Split) -> Iterator[ScanPair]:
    """Pairs of scans with noise of their own out of one image; their pixels are twice as large.

    ``diagonal``: every second pixel of the even lines and of the odd ones, in both ways, as recorded.
    ``rows``: even and odd lines, pairs of neighbours along them averaged, so that pixels are square.
    """
    height, width = (side - side % 2 for side in image.shape)
    image = image[:height, :width]
    if split == "diagonal":
        for first, second, shift in ((0, 1, (0.5, 0.5)), (1, 0, (0.5, -0.5))):
            yield ScanPair(image[::2, first::2].copy(), image[1::2, second::2].copy(), shift)
        return
    means = image.reshape(height, width // 2, 2).mean(axis=2)
    lines = np.floor(means + 0.5).astype(image.dtype)
    yield ScanPair(lines[::2], lines[1::2], (0.5, 0.0))


def rings_between(a: Plane, b: Plane, shift: tuple[float, float] = (0.0, 0.0)) -> RingSums:
    """Powers and cross power of two planes of one size, the shift between them taken out.

    Args:
        a: ``(H, W)``.
        b: the same.
        shift: as in :class:`ScanPair`, in pixels of these planes.

    Raises:
        BadImage: the planes are too small for rings.
    """
    height, width = a.shape
    if min(a.shape) < SMALLEST:
        raise BadImage(
            f"{SMALLEST} x {SMALLEST} pixels are needed for Fourier rings, found {height} x {width}"
        )
    phase = np.fft.fftfreq(height)[:, None] * shift[0] + np.fft.rfftfreq(width) * shift[1]
    return ring_sums(windowed_spectrum(a), windowed_spectrum(b) * np.exp(-2j * np.pi * phase), width)


@dataclass(frozen=True, eq=False)
class Resolution:
    """Fourier ring correlation of two scans, and the detail size at which it falls below 1/7.

    Attributes:
        frequency: ``(K,)`` cycles per pixel.
        correlation: ``(K,)``, smoothed.
        px: period at the threshold, in pixels.
        limited: whether it never falls below: the scans resolve this or better.
    """

    frequency: NDArray[np.float64]
    correlation: NDArray[np.float64]
    px: float
    limited: bool


def resolution(pairs: list[RingSums], pixel: int = 1) -> Resolution:
    """Of two scans; of the pairs out of one image their mean.

    Args:
        pairs: rings of pairs of one size.
        pixel: side of their pixels in pixels of the image: 2 for :func:`halves`.
    """
    frequency = pairs[0].layout.frequency
    curve = smooth(np.mean([ring_correlation(sums) for sums in pairs], axis=0))
    at = cut_off(frequency, curve, SEVENTH)
    return Resolution(frequency / pixel, curve, pixel / at, bool(at >= frequency[-1]))
