"""PNG: its chunks, of which a decoder gets those it needs, and what an instrument wrote into the others."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import IO

import numpy as np

from srbench.datasets.images.raw import AnyArray, BadImage

PNG = b"\x89PNG\r\n\x1a\n"
# What a decoder needs; colour profiles, gamma, texts, orientation and animation would only distract it.
_NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_PALETTE = 3
_SAMPLES = {0: 1, 2: 3, _PALETTE: 1, 4: 2, 6: 4}
_LARGEST_METADATA = 1 << 20
_MOST_CHUNKS = 1000


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height.

    Raises:
        BadImage: no header.
    """
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise BadImage(f"the file is damaged or cut short: {len(data)} bytes without a PNG header")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def png_pixel_bytes(data: bytes) -> int:
    """Bytes of a decoded pixel by the header, whose kind of colour and bits may make no sense."""
    return _SAMPLES.get(data[25], 4) * (2 if data[24] > 8 else 1)


def decode_png(data: bytes) -> AnyArray:
    """``(H, W)`` or ``(H, W, samples)``, palettes as colours, rows as they are stored.

    Raises:
        BadImage: damaged or cut short.
    """
    import imagecodecs

    needed = _needed_chunks(data)
    try:
        return np.asarray(imagecodecs.png_decode(needed))
    except Exception as error:
        raise BadImage(f"the file is damaged: {error}; copy it again, or export it anew") from error


def decode_png_labels(data: bytes) -> AnyArray:
    """As :func:`decode_png`, but the numbers of a palette image are its indices, those of few bits as stored.

    Raises:
        BadImage: damaged or cut short.
    """
    bits, colour_type = data[24], data[25]
    if colour_type != _PALETTE:
        return decode_png(data) // (255 // ((1 << bits) - 1) if 0 < bits < 8 else 1)
    from PIL import PngImagePlugin

    needed = _needed_chunks(data)
    try:
        # Pillow's own reader: Image.open would apply a size limit other than ours.
        return np.asarray(PngImagePlugin.PngImageFile(io.BytesIO(needed)))
    except Exception as error:
        raise BadImage(f"the file is damaged or cut short: {error}") from error


def _needed_chunks(data: bytes) -> bytes:
    return b"".join((PNG, *(chunk for name, chunk in _chunks(data) if name in _NEEDED)))


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and whole bytes of every chunk up to IEND, its checksum compared.

    Raises:
        BadImage: a checksum differs, or the file is cut short.
    """
    view, position = memoryview(data), len(PNG)
    while True:
        if position + 12 > len(data):
            raise BadImage(f"the file is damaged or cut short: {len(data)} bytes without the end of a PNG")
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            raise BadImage(f"the file is damaged or cut short: {len(data)} of at least {end} bytes")
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise BadImage(f"the file is damaged: wrong checksum of PNG chunk {name!r}; copy it again")
        yield name, view[position:end]
        if name == b"IEND":
            return
        position = end


def png_metadata(stream: IO[bytes]) -> list[tuple[bytes, bytes]]:
    """Name and content of the chunks before the pixels, those of more than 1 MiB left out."""
    chunks: list[tuple[bytes, bytes]] = []
    stream.seek(len(PNG))
    while len(chunks) < _MOST_CHUNKS and len(head := stream.read(8)) == 8 and head[4:] != b"IDAT":
        (length,) = struct.unpack_from(">I", head)
        if length <= _LARGEST_METADATA:
            chunks.append((head[4:], stream.read(length)))
            stream.seek(4, io.SEEK_CUR)
        else:
            stream.seek(length + 4, io.SEEK_CUR)
    return chunks


def png_text(stream: IO[bytes], keyword: str) -> str:
    """The uncompressed international text of a PNG under a keyword; empty where there is none."""
    start = keyword.encode("latin-1") + b"\0\0\0"
    for name, content in png_metadata(stream):
        if name == b"iTXt" and content.startswith(start):
            # Behind the keyword: no compression, then language and translated keyword.
            return content[len(start) :].split(b"\0", 2)[-1].decode("utf-8", "replace")
    return ""
