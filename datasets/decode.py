"""Image files to pixels, exactly and safely: nothing is rescaled, and what cannot be taken is refused.

Rules, in this order:

* PNG, TIFF, JPEG and BMP are read (of a TIFF with several pages the first); anything else is refused, and so
  are damaged and truncated files and files whose header claims more than ``max_pixels``.
* Pixels are taken as they are stored: an embedded colour profile (ICC) and the orientation that a camera
  notes (EXIF) are both ignored. SEM software writes neither, and the usual benchmark photographs have none;
  a camera's picture would have to be turned before it is given.
* Transparency is dropped. Where red, green and blue are equal the channel is taken; colour becomes the BT.601
  luma ``(299 R + 587 G + 114 B + 500) // 1000``, which is the same value where they are equal. For a colour
  data set (``colour=True``) red, green and blue are kept, and a grey file gives three equal channels.
* 16 bits stay 16 bits, unless every value is a multiple of 256 or every one of 257: such files hold 8
  significant bits, which are taken exactly. 32-bit and floating-point files are taken when they hold whole
  numbers from 0 to 65535; other ranges would need a rescaling that only their owner can choose.
* Images with a side under ``min_side`` pixels, or with one value throughout, hold nothing to measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.imagefile import BadImage, read_header
from srbench.datasets.interface import Pixels

MAX_PIXELS = 1 << 28
MIN_SIDE = 48
SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"})

AnyArray = NDArray[Any]


@dataclass(frozen=True)
class Decoded:
    """Grey ``(H, W)`` or RGB ``(H, W, 3)``, uint8 or uint16, and what a user may want to know of the file."""

    pixels: Pixels
    notes: tuple[str, ...] = ()


def decode(
    path: Path, *, colour: bool = False, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE
) -> Decoded:
    """Read one image file: grey pixels, or RGB where ``colour`` is asked for.

    Raises:
        BadImage: the file cannot be used; the message names the file and the reason.
    """
    try:
        return decode_bytes(path.read_bytes(), colour=colour, max_pixels=max_pixels, min_side=min_side)
    except OSError as error:
        raise BadImage(f"{path}: cannot be read: {error.strerror or error}") from error
    except BadImage as error:
        raise BadImage(f"{path}: {error}") from error


def decode_bytes(
    data: bytes, *, colour: bool = False, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE
) -> Decoded:
    """Decode the bytes of one image file; see the module's rules.

    Raises:
        BadImage: the file cannot be used; the message is the reason.
    """
    header = read_header(data)
    _check_size(header.width, header.height, max_pixels, min_side)
    pixels, notes = (to_colour if colour else to_grey)(decode_array(data))
    if header.pages > 1:
        notes = (f"first of {header.pages} pages", *notes)
    if pixels.min() == pixels.max():
        raise BadImage(f"every pixel has the value {int(pixels.flat[0])}: there is nothing to measure")
    return Decoded(pixels, notes)


def decode_labels(path: Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read a label image: ``(H, W)`` uint8 or uint16 with its values as they are in the file.

    Labels are names, not grey levels: nothing is converted, and a file with three unequal channels (a picture
    of the labels) is refused.

    Raises:
        BadImage: not a label image; the message is the reason, without the file's name.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or error}") from error
    header = read_header(data)
    if header.kind == "JPEG":
        raise BadImage("JPEG changes labels; save it as PNG or TIFF")
    _check_size(header.width, header.height, max_pixels, 1)
    array = decode_array(data)
    if array.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"{array.dtype} values; expected labels of 8 or 16 bits")
    labels, notes = _luma(array)
    if notes:
        raise BadImage("a coloured picture of labels; expected one channel with a number for each label")
    return labels


def _check_size(width: int, height: int, max_pixels: int, min_side: int) -> None:
    if width * height > max_pixels:
        raise BadImage(
            f"{width}x{height} px is more than the limit of {max_pixels:,} pixels; cut it into fields"
        )
    if min(width, height) < min_side:
        raise BadImage(f"{width}x{height} px is too small: both sides need {min_side} px")


def to_grey(array: AnyArray) -> tuple[Pixels, tuple[str, ...]]:
    """``(H, W)`` or ``(H, W, 1|3|4)`` in OpenCV's blue-green-red order to grey uint8 or uint16, with notes.

    Raises:
        BadImage: values that are no grey levels (NaN, fractions, negative, above 65535), or other shapes.
    """
    whole, notes = _whole_numbers(array)
    grey, colour_notes = _luma(whole)
    taken, depth_notes = significant_bits(grey)
    return taken, (*notes, *colour_notes, *depth_notes)


def to_colour(array: AnyArray) -> tuple[Pixels, tuple[str, ...]]:
    """``(H, W)`` or ``(H, W, 1|3|4)`` in OpenCV's order to ``(H, W, 3)`` RGB uint8 or uint16, with notes.

    Raises:
        BadImage: as :func:`to_grey`.
    """
    whole, notes = _whole_numbers(array)
    if whole.ndim == 2 or whole.shape[2] in (1, 2):
        plane = whole if whole.ndim == 2 else whole[..., 0]
        rgb, notes = np.repeat(plane[..., None], 3, axis=2), (*notes, "grey, as three equal channels")
    else:
        _check_channels(whole)
        rgb = whole[..., 2::-1]
    taken, depth_notes = significant_bits(np.ascontiguousarray(rgb))
    return taken, (*notes, *depth_notes)


def significant_bits(pixels: AnyArray) -> tuple[Pixels, tuple[str, ...]]:
    """16-bit pixels that hold 8 significant bits as uint8; others as they are. With notes."""
    if pixels.dtype == np.uint16:
        for step in (256, 257):
            if not (pixels % step).any():
                return (pixels // step).astype(np.uint8), ("8 significant bits of 16",)
    return pixels, ()


def decode_array(data: bytes) -> AnyArray:
    """The array in the file as OpenCV gives it, unconverted; check ``read_header`` first.

    Raises:
        BadImage: it cannot be decoded.
    """
    import cv2

    try:
        array = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadImage(f"the file is damaged or of a kind OpenCV cannot read ({error.err})") from error
    if array is None:
        raise BadImage("the file is damaged or of a kind OpenCV cannot read")
    return np.asarray(array)


def _whole_numbers(array: AnyArray) -> tuple[AnyArray, tuple[str, ...]]:
    """The same values as uint8 or uint16."""
    if array.dtype in (np.uint8, np.uint16):
        return array, ()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise BadImage("pixels that are not numbers (NaN or infinity); fill them in before giving the image")
    low, high = array.min(), array.max()
    if low < 0 or high > 65535 or (array.dtype.kind == "f" and (array != np.floor(array)).any()):
        found = f"{array.dtype} values from {low:g} to {high:g}"
        raise BadImage(f"{found} are no grey levels; save the image with 8 or 16 bits")
    return array.astype(np.uint8 if high < 256 else np.uint16), (f"{array.dtype} file with whole numbers",)


def _luma(array: AnyArray) -> tuple[AnyArray, tuple[str, ...]]:
    if array.ndim == 2:
        return array, ()
    if array.shape[2] in (1, 2):
        return np.ascontiguousarray(array[..., 0]), ()
    _check_channels(array)
    blue, green, red = (array[..., channel] for channel in range(3))
    if np.array_equal(blue, green) and np.array_equal(green, red):
        return np.ascontiguousarray(green), ()
    weighted = red.astype(np.uint32) * 299 + green.astype(np.uint32) * 587 + blue.astype(np.uint32) * 114
    return ((weighted + 500) // 1000).astype(array.dtype), ("colour, converted to BT.601 luma",)


def _check_channels(array: AnyArray) -> None:
    if array.shape[2] not in (3, 4):
        raise BadImage(f"{array.shape[2]} channels; expected grey, RGB or RGBA")
