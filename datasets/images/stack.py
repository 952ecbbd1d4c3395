"""Several scans of one field, from the pages of a TIFF or from files: decoded together, on one grey scale.

Every page is read by the rules of ``decode``, and one depth is chosen for all pages, so that they stay
comparable. Pages are never moved against each other:
:func:`shift_between` measures how far they are apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.images.decode import (
    MAX_PIXELS,
    MIN_SIDE,
    BadImage,
    check_size,
    read_header,
    read_raw_bytes,
)
from srbench.datasets.images.depth import common_depth
from srbench.datasets.images.raw import PIXELS_VARIABLE, pixel_limit
from srbench.utils.image import Pixels


@dataclass(frozen=True)
class Stack:
    """Scans ``(H, W)`` of one field, all uint8 or all uint16, and how their numbers became grey levels."""

    pages: tuple[Pixels, ...]
    scaling: str


def decode_stack(files: Sequence[bytes], *, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> Stack:
    """Decode every page of every file, in their order.

    Args:
        files: the bytes of image files: one TIFF with several pages, or several files with one each.
        max_pixels: of all pages together; checked before anything is decoded.
        min_side: the smallest side of a page.

    Raises:
        BadImage: a file cannot be used, the pages differ in size, or they hold no grey levels.
    """
    headers = [read_header(data) for data in files]
    for header in headers:
        check_size(header.width, header.height, max_pixels, min_side)
    total = sum(header.width * header.height * header.pages for header in headers)
    count = sum(header.pages for header in headers)
    if total > pixel_limit(max_pixels):
        raise BadImage(
            f"{count} pages of {total:,} pixels are more than the limit of {pixel_limit(max_pixels):,} "
            f"pixels; set {PIXELS_VARIABLE} to more"
        )
    pages = [
        page
        for data in files
        for page in read_raw_bytes(data, pages="all", max_pixels=max_pixels, min_side=min_side)
    ]
    sizes = sorted({page.array.shape[1::-1] for page in pages})
    if len(sizes) != 1:
        listed = ", ".join(f"{width}x{height}" for width, height in sizes)
        raise BadImage(f"its pages differ in size: {listed}")
    depth = common_depth(pages)
    scans = tuple(depth.grey(page)[0] for page in pages)
    return Stack(scans, depth.note or f"{scans[0].dtype.itemsize * 8} bits, as they are")


@dataclass(frozen=True)
class Shift:
    """How far a scan's content lies from that of another.

    Attributes:
        rows: pixels, positive when the content lies further down.
        columns: pixels, positive when the content lies further right.
        response: weight of the correlation's peak: 1 for one clean peak, near 0 where noise hides the answer.
    """

    rows: float
    columns: float
    response: float


def shift_between(reference: Pixels, scan: Pixels) -> Shift:
    """The global shift of ``scan`` against ``reference``, by phase correlation under a Hann window.

    Kuglin and Hines (1975); the peak is refined by the centroid of 5x5 correlation values (OpenCV), which is
    good to about 0.1 px. Nothing is resampled.
    """
    import cv2

    window = cv2.createHanningWindow(reference.shape[::-1], cv2.CV_64F)
    first, second = (image - image.mean(dtype=np.float64) for image in (reference, scan))
    (columns, rows), response = cv2.phaseCorrelate(first, second, window)
    # OpenCV sums noise around the peak too, which can carry it beyond 1.
    return Shift(rows, columns, min(response, 1.0))


def noise_level(pixels: Pixels) -> float:
    """Standard deviation of the noise in grey levels, from what a plane through each 3x3 pixels leaves.

    Immerkaer, Computer Vision and Image Understanding 64 (1996) 300, eq. 4, with the median in the place of
    the mean, which edges pull up less.
    """
    # 0.6745 is the median of the absolute values of a normal variable.
    return float(np.median(np.abs(noise_residual(pixels))) / 0.6745)


def noise_residual(pixels: Pixels) -> NDArray[np.float64]:
    """What a plane through each 3x3 pixels leaves, ``(H - 2, W - 2)``, in units of independent noise."""
    from scipy.ndimage import convolve

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float64)
    left: NDArray[np.float64] = convolve(pixels.astype(np.float64), kernel)[1:-1, 1:-1] / 6.0
    return left
