"""One page of an image file as it is stored, what its numbers span, and the error of an unusable file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.utils.errors import DatasetError

MAX_PIXELS = 1 << 28
MIN_SIDE = 48
PIXELS_VARIABLE = "SRBENCH_MAX_PIXELS"
"""The environment variable that replaces ``MAX_PIXELS``, and allows images that compress beyond belief."""

_MOST_EXPANSION = 200
_FREE_BYTES, _FREE_LABEL_BYTES = 1 << 26, 1 << 29

AnyArray = NDArray[Any]


class BadImage(DatasetError):
    """An image file that cannot be used; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class ValueRange:
    """What the numbers of one image span: enough to choose the depth of a folder, without its pixels.

    Attributes:
        dtype: of the stored numbers.
        low: the smallest.
        high: the largest.
        whole: no number has a fraction.
        finite: no number is NaN or infinite; otherwise ``low`` and ``high`` mean nothing.
        multiples: those of 256 and 257 of which every number is a multiple.
        declared_bits: significant bits where a tag says so.
    """

    dtype: str
    low: float
    high: float
    whole: bool = True
    finite: bool = True
    multiples: tuple[int, ...] = ()
    declared_bits: int | None = None


@dataclass(frozen=True)
class RawImage:
    """One full-resolution page as it is stored; ``Depth`` makes grey levels of it.

    Attributes:
        array: ``(H, W)`` or ``(H, W, 3)`` in the order red, green, blue; integers or floating point; stored
            rows. Alpha and further samples are dropped. Fewer than 8 bits are brought to 0..255.
        inverted: the smallest value is white (photometric interpretation 0).
        declared_bits: significant bits where a tag says so.
        notes: what was done to the pixels: ``kind`` or ``kind: detail``.
        page: from 0, among the full-resolution pages.
        pages: full-resolution pages of the file.
        rows_above_databar: rows of the image without its databar, where tags say it.
    """

    array: AnyArray
    inverted: bool = False
    declared_bits: int | None = None
    notes: tuple[str, ...] = ()
    page: int = 0
    pages: int = 1
    rows_above_databar: int | None = None

    @cached_property
    def range(self) -> ValueRange:
        """What the stored numbers span."""
        array, dtype = self.array, str(self.array.dtype)
        if not array.size or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            return ValueRange(dtype, 0.0, 0.0, finite=False, declared_bits=self.declared_bits)
        low, high = float(array.min()), float(array.max())
        whole = array.dtype.kind != "f" or bool((array == np.floor(array)).all())
        multiples: tuple[int, ...] = ()
        if array.dtype.kind in "iu" and array.dtype.itemsize > 1 and low >= 0:
            # One row settles nearly every file.
            multiples = tuple(
                step for step in (256, 257) if not (array[0] % step).any() and not (array % step).any()
            )
        return ValueRange(dtype, low, high, whole, True, multiples, self.declared_bits)


def pixel_limit(max_pixels: int) -> int:
    """The most pixels of an image: ``max_pixels``, unless it is the default and the user set another.

    Raises:
        DatasetError: what the user set is no number of pixels.
    """
    text = os.environ.get(PIXELS_VARIABLE, "")
    if not text or max_pixels != MAX_PIXELS:
        return max_pixels
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 16):
        raise DatasetError(
            f"{PIXELS_VARIABLE} is {text!r}; expected a number of pixels such as {MAX_PIXELS}."
        )
    return int(text)


def check_size(width: int, height: int, max_pixels: int, min_side: int, pages: int = 1) -> None:
    """Refuse an image that is too large or too small, before anything of it is decoded.

    Raises:
        BadImage: says which, and what raises the limit.
    """
    limit = pixel_limit(max_pixels)
    if width * height * pages > limit:
        size = f"{width}x{height} px" if pages == 1 else f"{pages} pages of {width}x{height} px"
        raise BadImage(
            f"{size} is more than the limit of {limit:,} pixels; cut it into fields, or set "
            f"{PIXELS_VARIABLE} to more"
        )
    if min(width, height) < max(min_side, 1):
        raise BadImage(f"{width}x{height} px is too small: both sides need {max(min_side, 1)} px")


def check_expansion(packed: int, unpacked: int, *, labels: bool = False) -> None:
    """Refuse an image that a few bytes would make huge, before anything of it is decoded.

    Noise keeps a micrograph from compressing to less than a tenth; label images have none, so that more is
    let pass of them.

    Args:
        packed: bytes of the pixels in the file.
        unpacked: bytes that they decode to.
        labels: whether it is a label image.

    Raises:
        BadImage: says how much, and what allows it.
    """
    most = max(packed * _MOST_EXPANSION, _FREE_LABEL_BYTES if labels else _FREE_BYTES)
    if unpacked > most and not os.environ.get(PIXELS_VARIABLE):
        raise BadImage(
            f"{packed:,} bytes that would become {unpacked:,}; no micrograph compresses like that, and at "
            f"most {most:,} are taken. Save it without compression, or set {PIXELS_VARIABLE} to the number "
            "of its pixels"
        )
