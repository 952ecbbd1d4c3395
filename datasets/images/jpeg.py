"""JPEG data, whole or refused: what is missing libjpeg fills with grey and a warning, an error here."""

from __future__ import annotations

import io
import itertools
import re

from srbench.datasets.images.raw import AnyArray, BadImage

# Markers other than stuffed bytes, fill bytes and restarts: start of frame (any kind), and of a scan.
_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd8])", re.DOTALL)
_SCANS = re.compile(rb"\xff\xda")
_FRAMES = frozenset(bytes([code]) for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC))
_SCAN = b"\xda"
_BLOCK = 16
# Scripts for progressive JPEG have about ten; a decoder goes through the whole image for each.
_MOST_SCANS = 100


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height.

    Raises:
        BadImage: damaged, or of a kind that is not read.
    """
    from PIL import JpegImagePlugin

    try:
        # Pillow's own reader: Image.open would apply a size limit other than ours.
        width, height = JpegImagePlugin.JpegImageFile(io.BytesIO(data)).size
    except Exception as error:  # Pillow raises whatever its parsers stumble over
        raise BadImage(f"the file is damaged or cut short: {error}") from error
    return width, height


def decode_jpeg(data: bytes) -> AnyArray:
    """Grey ``(H, W)`` or RGB ``(H, W, 3)`` uint8, rows as they are stored.

    Raises:
        BadImage: libjpeg errs or warns: a scan that ends early, bad codes, or bytes left over.
    """
    import simplejpeg

    _check_scans(data)
    try:
        kind = simplejpeg.decode_jpeg_header(data)[2]
        array: AnyArray = simplejpeg.decode_jpeg(data, colorspace="GRAY" if kind == "Gray" else "RGB")
    except ValueError as error:
        if "subsampling" in str(error):
            raise BadImage(
                "a JPEG that is damaged or of an unusual chroma subsampling; save it as PNG or TIFF"
            ) from error
        raise BadImage(
            f"the file is damaged or cut short: {error}; copy it again, or export it anew"
        ) from error
    return array[..., 0] if array.shape[2] == 1 else array


def _check_scans(data: bytes) -> None:
    """Refuse a file that ends between two scans, of which libjpeg does not even warn.

    Every coefficient of every component must come to its last bit (ITU-T T.81, G.1.1.1).
    """
    if len(list(itertools.islice(_SCANS.finditer(data), _MOST_SCANS + 1))) > _MOST_SCANS:
        raise BadImage(f"a JPEG of more than {_MOST_SCANS} scans; save it anew")
    missing: dict[int, set[int]] = {}
    position = 2
    try:
        while not missing or any(missing.values()):
            marker = _MARKER.search(data, position)
            if marker is None or marker[1] == b"\xd9":
                raise BadImage(
                    "the file is damaged or cut short: scans of the JPEG are missing; copy it again"
                )
            start = marker.end()
            if marker[1] in _FRAMES:
                missing = {data[start + 8 + 3 * index]: set(range(64)) for index in range(data[start + 7])}
            elif marker[1] == _SCAN:
                end = start + 3 + 2 * data[start + 2]
                first, last, bits = data[end : end + 3]
                if not bits & 15:
                    for component in data[start + 3 : end : 2]:
                        missing[component].difference_update(range(first, last + 1))
            position = start + int.from_bytes(data[start : start + 2], "big")
    except (IndexError, KeyError, ValueError) as error:
        raise BadImage(f"the file is damaged or cut short: JPEG, {error!r}") from error


def check_jpeg(data: bytes, tables: bytes | None, columns: int, rows: int) -> None:
    """Raise ValueError where a JPEG stream of a TIFF strip, with its shared tables, is not whole."""
    import simplejpeg

    if tables:
        data = tables[:-2] + data[2:]
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    # Some writers fill a strip up to whole blocks of 16 px.
    if width >= columns + _BLOCK or height >= rows + _BLOCK:
        raise ValueError(f"{width}x{height} px instead of {columns}x{rows}")
    simplejpeg.decode_jpeg(data, colorspace="GRAY")
