"""Image files to pixels, exactly and safely: nothing is rescaled, and what cannot be used is refused.

PNG, TIFF (of several pages the first), JPEG and BMP are read; damaged and truncated files are refused, and
files whose header claims more than ``max_pixels``. Pixels are taken as they are stored: an embedded colour
profile (ICC) and the orientation that a camera notes (EXIF) are ignored, transparency is dropped. Images with
a side under ``min_side`` pixels, or with one value throughout, are refused: there is nothing to measure.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srbench.utils.errors import DatasetError
from srbench.utils.image import Pixels

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

MAX_PIXELS = 1 << 28
MIN_SIDE = 48
SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"})

AnyArray = NDArray[Any]

_KINDS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II\x2a\x00": "TIFF",
    b"MM\x00\x2a": "TIFF",
    b"II\x2b\x00": "TIFF",
    b"MM\x00\x2b": "TIFF",
}
_TIFF_MOST_PAGES = 10_000
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
# Offsets and byte counts of the strips, and of the tiles.
_TIFF_PARTS = ((273, 279), (324, 325))


class BadImage(DatasetError):
    """An image file that cannot be used; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class ImageHeader:
    """Kind of file (``PNG``, ``TIFF``, ``JPEG``, ``BMP``), size in pixels, pages of a TIFF."""

    kind: str
    width: int
    height: int
    pages: int = 1


def read_header(data: bytes) -> ImageHeader:
    """Read the header of a whole file and check that the file is complete (a TIFF: its first page).

    Decoders differ in how they treat damaged files (a JPEG cut short decodes, its rest grey) and trust any
    size that a header claims, so both are checked before one sees the file.

    Raises:
        BadImage: not one of the four kinds, damaged, or cut short.
    """
    kind = _kind(data)
    with _damage_is_bad_image():
        if kind != "TIFF":
            return _read_single(data, kind)
        directories = _tiff_directories(data)
        first = _tiff_header(data, next(directories))
        return replace(first, pages=1 + sum(1 for _ in directories))


def read_pages(data: bytes) -> tuple[ImageHeader, ...]:
    """The header of every page of a whole file (one, unless it is a TIFF), each checked to be complete.

    Raises:
        BadImage: as :func:`read_header`, or a page is cut short.
    """
    kind = _kind(data)
    with _damage_is_bad_image():
        if kind != "TIFF":
            return (_read_single(data, kind),)
        pages = [_tiff_header(data, directory) for directory in _tiff_directories(data)]
        return tuple(replace(page, pages=len(pages)) for page in pages)


def _kind(data: bytes) -> str:
    for magic, kind in _KINDS.items():
        if data.startswith(magic):
            return kind
    content = "an empty file" if not data else f"a file that starts with {data[:8]!r}"
    raise BadImage(f"not an image srbench reads (PNG, TIFF, JPEG, BMP): found {content}")


@contextmanager
def _damage_is_bad_image() -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a TIFF directory that points outside of its file.
            warnings.simplefilter("error")
            yield
    except BadImage:
        raise
    except Exception as error:  # Pillow raises whatever its parsers stumble over
        raise BadImage(f"the file is damaged or cut short: {error}") from error


def _read_single(data: bytes, kind: str) -> ImageHeader:
    """Header of a PNG, JPEG or BMP.

    The classes are Pillow's own readers: ``Image.open`` would apply a size limit other than ours.
    """
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin

    stream = io.BytesIO(data)
    needed = len(data)
    if kind == "PNG":
        image: Any = PngImagePlugin.PngImageFile(stream)
        width, height = image.size
        image.verify()  # the checksum of every chunk up to IEND, whose own comes last
        needed = stream.tell() + 4
    elif kind == "JPEG":
        width, height = JpegImagePlugin.JpegImageFile(stream).size
        # Within a scan 0xFF is always stuffed, so an end marker behind its start is the real one.
        if data.find(b"\xff\xd9", stream.tell()) < 0:
            raise BadImage(f"the file is cut short: {len(data)} bytes without the JPEG end marker")
    else:
        if int.from_bytes(data[14:18], "little") < 40:
            raise BadImage("BMP of the OS/2 kind; save it as PNG or TIFF")
        image = BmpImagePlugin.BmpImageFile(stream)
        width, height = image.size
        decoder, _, start, arguments = image.tile[0]
        # Run-length coded rows have no fixed length; such a file states its own.
        needed = start + arguments[1] * height if decoder == "raw" else int.from_bytes(data[2:6], "little")
    if needed > len(data):
        raise BadImage(f"the file is cut short: {len(data)} of {needed} bytes")
    return ImageHeader(kind, width, height)


def _tiff_directories(data: bytes) -> Iterator[ImageFileDirectory_v2]:
    """The tags of each page; a chain that runs in circles ends where it comes back."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    # Pillow recognises BigTIFF (64-bit offsets) by a little-endian start only; the byte order goes as prefix.
    start = b"II\x2b\x00" + data[4:16] if 43 in data[2:4] else b"II\x2a\x00" + data[4:8]
    directory = ImageFileDirectory_v2(start, prefix=data[:2])
    stream = io.BytesIO(data)
    position = directory.next
    seen: set[int] = set()
    while not seen or (position and position not in seen and len(seen) < _TIFF_MOST_PAGES):
        seen.add(position)
        stream.seek(position)
        directory.load(stream)
        yield directory
        position = directory.next


def _tiff_header(data: bytes, directory: ImageFileDirectory_v2) -> ImageHeader:
    """Size of a page, none of whose strips or tiles ends behind the file."""
    for offsets, counts in _TIFF_PARTS:
        parts = zip(directory.get(offsets, ()), directory.get(counts, ()), strict=False)
        needed = max((offset + count for offset, count in parts), default=0)
        if needed > len(data):
            raise BadImage(f"the file is cut short: {len(data)} of at least {needed} bytes")
    return ImageHeader("TIFF", int(directory[_TIFF_WIDTH]), int(directory[_TIFF_HEIGHT]))


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
    check_size(header.width, header.height, max_pixels, min_side)
    pixels, notes = (to_colour if colour else to_grey)(decode_array(data))
    if header.pages > 1:
        notes = (f"first of {header.pages} pages", *notes)
    refuse_blank(pixels)
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
    check_size(header.width, header.height, max_pixels, 1)
    array = decode_array(data)
    if array.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"{array.dtype} values; expected labels of 8 or 16 bits")
    labels, notes = _luma(array)
    if notes:
        raise BadImage("a coloured picture of labels; expected one channel with a number for each label")
    return labels


def check_size(width: int, height: int, max_pixels: int, min_side: int) -> None:
    """Refuse an image that is too large or too small.

    Raises:
        BadImage: says which.
    """
    if width * height > max_pixels:
        raise BadImage(
            f"{width}x{height} px is more than the limit of {max_pixels:,} pixels; cut it into fields"
        )
    if min(width, height) < min_side:
        raise BadImage(f"{width}x{height} px is too small: both sides need {min_side} px")


def refuse_blank(pixels: Pixels) -> None:
    """Refuse an image with one value throughout.

    Raises:
        BadImage: names the value.
    """
    if pixels.min() == pixels.max():
        raise BadImage(f"every pixel has the value {int(pixels.flat[0])}: there is nothing to measure")


def to_grey(array: AnyArray) -> tuple[Pixels, tuple[str, ...]]:
    """``(H, W)`` or ``(H, W, 1|3|4)`` in OpenCV's blue-green-red order to grey uint8 or uint16, with notes.

    Colour becomes the BT.601 luma ``(299 R + 587 G + 114 B + 500) // 1000``, the same value where they are
    equal. 32-bit and floating-point files are taken when they hold whole numbers from 0 to 65535: other
    ranges would need a rescaling that only their owner can choose.

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
    """16-bit pixels as uint8 where all are multiples of 256 or of 257; others as they are. With notes."""
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
        values = f"{array.dtype} values from {low:g} to {high:g}"
        raise BadImage(f"{values} are no grey levels; save the image with 8 or 16 bits")
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
