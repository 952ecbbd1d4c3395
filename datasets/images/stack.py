"""Several scans of one field, from the pages of a TIFF or from files: decoded together, on one grey scale.

Every page is decoded by the rules of ``decode``, but the rule that turns numbers into stored grey levels is
chosen once for all pages, so that they stay comparable. Pages are never moved against each other:
:func:`shift_between` measures how far they are apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.images.decode import (
    MAX_PIXELS,
    MIN_SIDE,
    BadImage,
    decode_array,
    read_pages,
    significant_bits,
    to_grey,
)
from srbench.utils.image import Pixels

_FULL_SCALES = ((1.0, 65535.0), (255.0, 257.0), (65535.0, 1.0))


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
    headers = [header for data in files for header in read_pages(data)]
    sizes = sorted({(header.width, header.height) for header in headers})
    if len(sizes) != 1:
        listed = ", ".join(f"{width}x{height}" for width, height in sizes)
        raise BadImage(f"its pages differ in size: {listed}")
    (width, height) = sizes[0]
    if width * height * len(headers) > max_pixels:
        raise BadImage(
            f"{len(headers)} pages of {width}x{height} px are more than the limit of {max_pixels:,} pixels"
        )
    if min(width, height) < min_side:
        raise BadImage(f"{width}x{height} px is too small: both sides need {min_side} px")
    arrays = [page for data in files for page in _decode_pages(data)]
    if len(arrays) != len(headers):
        raise BadImage(f"{len(arrays)} of {len(headers)} pages could be decoded: the file is damaged")
    return _on_one_scale(arrays)


def _decode_pages(data: bytes) -> list[NDArray[Any]]:
    import cv2

    if len(read_pages(data)) == 1:
        return [decode_array(data)]
    try:
        done, arrays = cv2.imdecodemulti(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadImage(f"a page is damaged or of a kind OpenCV cannot read ({error.err})") from error
    return [np.asarray(array) for array in arrays] if done else []


def _on_one_scale(arrays: Sequence[NDArray[Any]]) -> Stack:
    """The pages with one rule for all.

    * Whole numbers from 0 to 255 become 8 bits, up to 65535 16 bits; 16 bits of which only 8 are significant
      in every page become 8.
    * Numbers with fractions, which averaging several scans leaves, become 16 bits by a factor: 65535 where
      the largest is at most 1, 257 where it is at most 255, 1 above that. Rounding costs at most 1/257 of a
      grey level of an 8-bit scan.
    """
    planes = [_plane(array) for array in arrays]
    low, high = min(plane.min() for plane in planes), max(plane.max() for plane in planes)
    if not all(np.isfinite(plane).all() for plane in planes) or low < 0 or high > 65535:
        raise BadImage(f"values from {low:g} to {high:g} are no grey levels; expected 0 to 65535 at most")
    if any((plane != np.floor(plane)).any() for plane in planes):
        factor = next(factor for most, factor in _FULL_SCALES if high <= most)
        scaled = (np.rint(plane.astype(np.float64) * factor).astype(np.uint16) for plane in planes)
        scaling = f"numbers with fractions up to {high:g}, times {factor:g}, rounded to 16 bits"
        return Stack(tuple(scaled), scaling)
    if high < 256:
        return Stack(tuple(plane.astype(np.uint8) for plane in planes), "8 bits, as they are")
    together, notes = significant_bits(np.stack([plane.astype(np.uint16) for plane in planes]))
    return Stack(tuple(together), notes[0] if notes else "16 bits, as they are")


def _plane(array: NDArray[Any]) -> NDArray[Any]:
    """One channel of a page, in its own numbers."""
    if array.dtype.kind == "f":
        return array if array.ndim == 2 else np.ascontiguousarray(array[..., 0])
    return to_grey(array)[0] if array.ndim == 3 else array


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
    from scipy.ndimage import convolve

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], dtype=np.float64)
    left = convolve(pixels.astype(np.float64), kernel)[1:-1, 1:-1]
    # The kernel's norm is 6; 0.6745 is the median of the absolute values of a normal variable.
    return float(np.median(np.abs(left)) / (0.6745 * 6))
