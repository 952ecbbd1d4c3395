"""Image files to pixels, exactly and safely, by one set of rules for PNG, TIFF, JPEG, BMP and MRC.

Rows are taken as they are stored (orientation tags are ignored), photometric interpretation and palettes are
respected, alpha is dropped and never multiplied, thumbnails are skipped, and every decoder's error or warning
makes the file unusable: damaged, truncated and oversized files are refused with the reason. What was done is
said in the notes. ``Depth`` makes grey levels of the stored numbers.
"""

from __future__ import annotations

import io
import logging
import struct
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from srbench.datasets.images.depth import Depth, common_depth
from srbench.datasets.images.instrument import read_instrument
from srbench.datasets.images.jpeg import decode_jpeg, jpeg_size
from srbench.datasets.images.png import PNG, decode_png, decode_png_labels, png_pixel_bytes, png_size
from srbench.datasets.images.raw import (
    MAX_PIXELS,
    MIN_SIDE,
    PIXELS_VARIABLE,
    AnyArray,
    BadImage,
    RawImage,
    ValueRange,
    check_expansion,
    check_size,
    pixel_limit,
)
from srbench.datasets.images.tiff import Pages, full_pages, read_labels, read_tiff
from srbench.utils.files import open_regular
from srbench.utils.image import Pixels

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE",
    "SUFFIXES",
    "AnyArray",
    "BadImage",
    "Decoded",
    "ImageHeader",
    "Pages",
    "RawImage",
    "ValueRange",
    "check_size",
    "decode",
    "decode_bytes",
    "decode_labels",
    "read_header",
    "read_raw",
    "read_raw_bytes",
    "refuse_blank",
]

SUFFIXES = frozenset({".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".mrc", ".dm3", ".dm4"})

_LOG = logging.getLogger(__name__)

_KINDS = {
    PNG: "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
    b"II\x2a\x00": "TIFF",
    b"MM\x00\x2a": "TIFF",
    b"II\x2b\x00": "TIFF",
    b"MM\x00\x2b": "TIFF",
    b"\x00\x00\x00\x03": "DM3",
    b"\x00\x00\x00\x04": "DM4",
}
# Red, green, blue and alpha of 16 bits; texts, profiles and previews.
_MOST_PIXEL_BYTES, _MOST_METADATA_BYTES = 8, 1 << 26
_MRC_HEADER = 1024
_MRC_BITS = {0: 8, 1: 16, 2: 32, 3: 32, 4: 64, 6: 16, 12: 16, 101: 4}
_BMP_PLAIN_BITS = (1, 4, 8, 24, 32)


@dataclass(frozen=True)
class ImageHeader:
    """Kind of file (``PNG``, ``TIFF``, ``JPEG``, ``BMP``, ``MRC``), size in pixels, full-resolution pages."""

    kind: str
    width: int
    height: int
    pages: int = 1


@dataclass(frozen=True)
class Decoded:
    """Grey ``(H, W)`` or RGB ``(H, W, 3)``, uint8 or uint16 on full scale, and what was done to get them."""

    pixels: Pixels
    notes: tuple[str, ...] = ()


def read_header(data: bytes) -> ImageHeader:
    """Kind, size and number of pages of a whole file; nothing is decoded.

    Raises:
        BadImage: not a kind that is read, or its header is damaged.
    """
    kind = _kind(data)
    if kind == "TIFF":
        pages, _ = full_pages(io.BytesIO(data))
        return ImageHeader(kind, pages[0].width, pages[0].height, len(pages))
    if kind == "MRC":
        width, height, sections = struct.unpack_from("<3i" if data[212:213] != b"\x11" else ">3i", data)
        return ImageHeader(kind, width, height, sections)
    width, height = _bmp(data).size if kind == "BMP" else (png_size if kind == "PNG" else jpeg_size)(data)
    return ImageHeader(kind, width, height)


def read_raw(
    path: Path, *, pages: Pages = "first", max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE
) -> list[RawImage]:
    """The first or all full-resolution pages of an image file, as they are stored.

    Args:
        path: of the file.
        pages: ``first`` or ``all``.
        max_pixels: of all pages that are read, checked before anything is decoded.
        min_side: the smallest side of a page.

    Raises:
        BadImage: the file cannot be used; the message names the file and the reason.
    """
    try:
        with open_regular(path) as stream:
            images = _read_stream(stream, pages, max_pixels, min_side)
    except OSError as error:
        raise BadImage(f"{path}: cannot be read: {error.strerror or error}") from error
    except BadImage as error:
        raise BadImage(f"{path}: {error}") from error
    _LOG.info("Read: %s", path)
    # Of any kind of file: instruments also put a text beside a BMP or JPEG.
    facts = read_instrument(path)
    return [
        replace(
            image,
            declared_bits=image.declared_bits or (facts.bits if image.array.dtype.itemsize > 1 else None),
            rows_above_databar=facts.image_rows,
        )
        for image in images
    ]


def read_raw_bytes(
    data: bytes, *, pages: Pages = "first", max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE
) -> list[RawImage]:
    """As :func:`read_raw`, from the bytes of a file.

    Raises:
        BadImage: the file cannot be used; the message is the reason.
    """
    return _read_stream(io.BytesIO(data), pages, max_pixels, min_side)


def _read_stream(stream: IO[bytes], pages: Pages, max_pixels: int, min_side: int) -> list[RawImage]:
    kind = _kind(stream.read(512))
    if kind == "TIFF":
        return read_tiff(stream, pages=pages, max_pixels=max_pixels, min_side=min_side)
    data = _whole(stream, max_pixels)
    header = read_header(data)
    check_size(header.width, header.height, max_pixels, min_side)
    if kind == "MRC":
        return _read_mrc(data, header, pages, max_pixels)
    check_expansion(len(data), header.width * header.height * (png_pixel_bytes(data) if kind == "PNG" else 3))
    if kind == "PNG":
        array = decode_png(data)
    elif kind == "JPEG":
        array = decode_jpeg(data)
    else:
        image = _loaded(_bmp(data))
        array = np.asarray(image.convert({"P": "RGB", "1": "L"}.get(image.mode, image.mode)))
    notes = _exif_note(data)
    if array.ndim == 3 and array.shape[2] in (2, 4):
        array, notes = array[..., : array.shape[2] - 1], (*notes, "alpha dropped")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    return [RawImage(np.ascontiguousarray(array), notes=notes)]


def _whole(stream: IO[bytes], max_pixels: int) -> bytes:
    """All bytes of a file that is not absurdly large.

    Raises:
        BadImage: it is.
    """
    stream.seek(0)
    most = _MOST_PIXEL_BYTES * pixel_limit(max_pixels) + _MOST_METADATA_BYTES
    data = stream.read(most + 1)
    if len(data) > most:
        raise BadImage(
            f"more than {most:,} bytes, which an image of {pixel_limit(max_pixels):,} pixels does not need; "
            f"cut it into fields, or set {PIXELS_VARIABLE} to more"
        )
    return data


def decode(
    path: Path,
    *,
    colour: bool = False,
    depth: Depth | None = None,
    max_pixels: int = MAX_PIXELS,
    min_side: int = MIN_SIDE,
) -> Decoded:
    """Read the first page of one image file: grey pixels, or RGB where ``colour`` is asked for.

    Args:
        path: of the file.
        colour: RGB instead of grey.
        depth: of the folder it lies in; that of this file alone when None.
        max_pixels: the largest image.
        min_side: the smallest side.

    Raises:
        BadImage: the file cannot be used, or has one value throughout: there is nothing to measure. The
            message names the file and the reason.
    """
    (raw,) = read_raw(path, max_pixels=max_pixels, min_side=min_side)
    try:
        return _decoded(raw, colour, depth)
    except BadImage as error:
        raise BadImage(f"{path}: {error}") from error


def decode_bytes(
    data: bytes,
    *,
    colour: bool = False,
    depth: Depth | None = None,
    max_pixels: int = MAX_PIXELS,
    min_side: int = MIN_SIDE,
) -> Decoded:
    """As :func:`decode`, from the bytes of a file.

    Raises:
        BadImage: the file cannot be used; the message is the reason.
    """
    (raw,) = read_raw_bytes(data, max_pixels=max_pixels, min_side=min_side)
    return _decoded(raw, colour, depth)


def _decoded(raw: RawImage, colour: bool, depth: Depth | None) -> Decoded:
    depth = depth or common_depth([raw])
    pixels, notes = depth.colour(raw) if colour else depth.grey(raw)
    refuse_blank(pixels)
    return Decoded(pixels, notes)


def decode_labels(path: Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read a label image: ``(H, W)`` uint8 or uint16 with its numbers as they are in the file.

    Labels are names, not grey levels: nothing is converted, scaled or inverted, a palette image gives its
    indices, and a file with three unequal channels (a picture of the labels) is refused.

    Raises:
        BadImage: not a label image; the message is the reason, without the file's name.
    """
    try:
        with open_regular(path) as stream:
            kind = _kind(stream.read(512))
            if kind == "TIFF":
                array = read_labels(stream, max_pixels=max_pixels)
            else:
                array = _read_labels(_whole(stream, max_pixels), kind, max_pixels)
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror or error}") from error
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"{array.dtype} values; expected labels of 8 or 16 bits")
    if array.ndim == 3:
        if array.shape[2] > 2 and not (array[..., :3] == array[..., :1]).all():
            raise BadImage("a coloured picture of labels; expected one channel with a number for each label")
        array = array[..., 0]
    return np.ascontiguousarray(array)


def _read_labels(data: bytes, kind: str, max_pixels: int) -> AnyArray:
    if kind == "JPEG":
        raise BadImage("JPEG changes labels; save it as PNG or TIFF")
    header = read_header(data)
    check_size(header.width, header.height, max_pixels, 1)
    if kind == "MRC":
        return _read_mrc(data, header, "first", max_pixels)[0].array
    pixel_bytes = png_pixel_bytes(data) if kind == "PNG" else 3
    check_expansion(len(data), header.width * header.height * pixel_bytes, labels=True)
    return np.asarray(_loaded(_bmp(data))) if kind == "BMP" else decode_png_labels(data)


def refuse_blank(pixels: Pixels) -> None:
    """Refuse an image with one value throughout.

    Raises:
        BadImage: names the value.
    """
    if pixels.min() == pixels.max():
        raise BadImage(f"every pixel has the value {int(pixels.flat[0])}: there is nothing to measure")


def _kind(data: bytes) -> str:
    for magic, kind in _KINDS.items():
        if data.startswith(magic):
            if kind in ("DM3", "DM4"):
                raise BadImage(
                    f"DigitalMicrograph files ({kind}) are not read: there is no reader under a permissive "
                    "licence; save it as TIFF in DigitalMicrograph, or with HyperSpy"
                )
            return kind
    if data[208:211] == b"MAP":
        return "MRC"
    content = "an empty file" if not data else f"a file that starts with {data[:8]!r}"
    raise BadImage(f"not an image srbench reads (PNG, TIFF, JPEG, BMP, MRC): found {content}")


def _bmp(data: bytes) -> Any:
    """A BMP before its pixels are read.

    The class is Pillow's own reader: ``Image.open`` would apply a size limit other than ours.
    """
    from PIL import BmpImagePlugin

    if len(data) >= 18 and int.from_bytes(data[14:18], "little") < 40:
        raise BadImage("BMP of the OS/2 kind; save it as PNG or TIFF")
    bits, compression = int.from_bytes(data[28:30], "little"), int.from_bytes(data[30:34], "little")
    if len(data) > 34 and (bits not in _BMP_PLAIN_BITS or compression > 2):
        raise BadImage(
            f"BMP with bit fields ({bits} bits, compression {compression}) is not read; save it as PNG"
        )
    try:
        image: Any = BmpImagePlugin.BmpImageFile(io.BytesIO(data))
        decoder, _, start, arguments = image.tile[0]
    except Exception as error:  # Pillow raises whatever its parsers stumble over
        raise BadImage(f"the file is damaged or cut short: BMP, {error}") from error
    # Run-length coded rows have no fixed length; such a file states its own.
    needed = start + arguments[1] * image.size[1] if decoder == "raw" else int.from_bytes(data[2:6], "little")
    if needed > len(data):
        raise BadImage(f"the file is cut short: {len(data)} of {needed} bytes")
    return image


def _loaded(image: Any) -> Any:
    """The same image of Pillow, its pixels read."""
    try:
        image.load()
    except Exception as error:
        raise BadImage(f"the file is damaged or cut short: {error}") from error
    return image


def _exif_note(data: bytes) -> tuple[str, ...]:
    """Whether a camera noted an orientation, which is not obeyed."""
    start = data[: 1 << 16].find(b"Exif\x00\x00")
    if start < 0:
        return ()
    from PIL.Image import Exif

    exif = Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif.load(data[start : start + (1 << 16)])
            orientation = int(exif.get(274, 1))
    except Exception:  # what a camera wrote there need not be readable
        return ()
    return () if orientation in (0, 1) else (f"orientation tag ignored: {orientation}",)


def _read_mrc(data: bytes, header: ImageHeader, pages: Pages, max_pixels: int) -> list[RawImage]:
    """Sections of an MRC file, rows as they are stored."""
    try:
        from mrcfile.mrcinterpreter import MrcInterpreter
    except ImportError as error:
        raise BadImage('MRC files need mrcfile: pip install "srbench[mrc]", or save it as TIFF') from error
    # mrcfile makes room for all that the header claims before it reads any of it.
    order = "<" if data[212:213] != b"\x11" else ">"
    (mode,), (extended,) = (struct.unpack_from(f"{order}i", data, at) for at in (12, 92))
    pixel_bits = _MRC_BITS.get(mode)
    if pixel_bits is None:
        raise BadImage(f"MRC of mode {mode} is not read; save it as TIFF")
    claimed = _MRC_HEADER + extended + header.pages * header.height * (header.width * pixel_bits // 8)
    if header.pages < 1 or extended < 0 or claimed > len(data):
        raise BadImage(
            f"the file is damaged or cut short: MRC of {header.pages} sections of {header.width}x"
            f"{header.height} px in {len(data):,} bytes"
        )
    check_size(header.width, header.height, max_pixels, 1, header.pages if pages == "all" else 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            volume = np.asarray(MrcInterpreter(io.BytesIO(data)).data)
    except Exception as error:
        raise BadImage(f"the file is damaged or cut short: MRC, {error}") from error
    if volume.ndim == 2:
        volume = volume[None]
    if volume.ndim != 3 or volume.dtype.kind not in "iuf":
        raise BadImage(f"MRC with {volume.dtype} values of shape {volume.shape} is not read; save it as TIFF")
    images = [
        RawImage(np.array(section, dtype=section.dtype.newbyteorder("=")), page=index, pages=len(volume))
        for index, section in enumerate(volume)
    ]
    if pages == "all" or len(images) == 1:
        return images
    return [replace(images[0], notes=(f"first of several pages: 1 of {len(images)}",))]
