"""What an image file says of itself, read without decoding it: kind, size, and whether all of it is there.

Decoders differ in how they treat damaged files (a JPEG cut short decodes, its rest grey) and believe any size
a header claims. Both are settled here, before a decoder sees the file.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from srbench.datasets.interface import DatasetError


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
    """Read the header of a whole file and check that the file is complete.

    Raises:
        BadImage: not one of the four kinds, damaged, or cut short.
    """
    reader = next((reader for magic, reader in _READERS.items() if data.startswith(magic)), None)
    if reader is None:
        found = "an empty file" if not data else f"a file that starts with {data[:8]!r}"
        raise BadImage(f"not an image srbench reads (PNG, TIFF, JPEG, BMP): found {found}")
    try:
        return reader(data)
    except (struct.error, IndexError, OverflowError) as error:
        raise BadImage("the file is damaged or cut short: its header points outside of it") from error


def read_pages(data: bytes) -> tuple[ImageHeader, ...]:
    """The header of every page of a whole file (one, unless it is a TIFF), each checked to be complete.

    Raises:
        BadImage: as :func:`read_header`, or a page is cut short.
    """
    header = read_header(data)
    if header.kind != "TIFF":
        return (header,)
    try:
        return tuple(_tiff_page(data, tags, header.pages) for tags in _tiff_directories(data))
    except (struct.error, IndexError, OverflowError) as error:
        raise BadImage("the file is damaged or cut short: a page points outside of it") from error


def _png(data: bytes) -> ImageHeader:
    position, size = 8, (0, 0)
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise BadImage(f"the file is cut short: {len(data)} bytes, its PNG chunk {kind!r} ends at {end}")
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(memoryview(data)[position + 4 : end - 4]) != checksum:
            raise BadImage(f"the file is damaged: checksum of its PNG chunk {kind!r} at byte {position}")
        if kind == b"IHDR":
            size = struct.unpack_from(">II", data, position + 8)
        if kind == b"IEND":
            return ImageHeader("PNG", *size)
        position = end


_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_START_OF_SCAN = 0xDA
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})


def _jpeg(data: bytes) -> ImageHeader:
    position, size = 2, None
    while True:
        if data[position] != 0xFF:
            raise BadImage(f"the file is damaged: no JPEG marker at byte {position}")
        marker = data[position + 1]
        if marker == 0xFF or marker in _JPEG_ALONE:
            position += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            size = (width, height)
        if marker == _JPEG_START_OF_SCAN:
            break
        position += 2 + length
    # Within a scan 0xFF is always stuffed, so an end marker behind its start is the real one.
    if data.find(b"\xff\xd9", position) < 0:
        raise BadImage(f"the file is cut short: {len(data)} bytes without the JPEG end marker")
    if size is None:
        raise BadImage("the file is damaged: JPEG without a frame header")
    return ImageHeader("JPEG", *size)


def _bmp(data: bytes) -> ImageHeader:
    size, _, start, header, width, height, _, bits, compression = struct.unpack_from("<IIIIiiHHI", data, 2)
    if header < 40:
        raise BadImage("BMP of the OS/2 kind; save it as PNG or TIFF")
    stride = (width * bits + 31) // 32 * 4
    needed = start + stride * abs(height) if compression in (0, 3) else size
    if needed > len(data):
        raise BadImage(f"the file is cut short: {len(data)} of {needed} bytes")
    return ImageHeader("BMP", width, abs(height))


@dataclass(frozen=True)
class _TiffLayout:
    """Byte order and the two forms of TIFF: classic (32-bit offsets) and big (64-bit)."""

    order: str
    big: bool

    def unpack(self, form: str, data: bytes, position: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + form, data, position)

    @property
    def offset(self) -> str:
        return "Q" if self.big else "I"

    @property
    def offset_bytes(self) -> int:
        return 8 if self.big else 4


_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_MOST_PAGES = 10_000
_WIDTH, _HEIGHT = 256, 257
_PARTS = ((273, 279), (324, 325))


def _tiff(data: bytes) -> ImageHeader:
    directories = _tiff_directories(data)
    first = next(directories)
    return _tiff_page(data, first, 1 + sum(1 for _ in directories))


def _tiff_directories(data: bytes) -> Iterator[Mapping[int, tuple[int, ...]]]:
    """The tags of each page; a chain that runs in circles ends where it comes back."""
    order = "<" if data[:2] == b"II" else ">"
    layout = _TiffLayout(order, data[2:4] in (b"\x2b\x00", b"\x00\x2b"))
    (following,) = layout.unpack(layout.offset, data, 8 if layout.big else 4)
    seen: set[int] = set()
    while not seen or (following and following not in seen and len(seen) < _TIFF_MOST_PAGES):
        seen.add(following)
        tags, following = _tiff_directory(data, layout, following)
        yield tags


def _tiff_page(data: bytes, tags: Mapping[int, tuple[int, ...]], pages: int) -> ImageHeader:
    _tiff_check_parts(data, tags)
    width, height = (tags.get(tag, (0,))[0] for tag in (_WIDTH, _HEIGHT))
    return ImageHeader("TIFF", width, height, pages)


def _tiff_directory(
    data: bytes, layout: _TiffLayout, position: int
) -> tuple[Mapping[int, tuple[int, ...]], int]:
    """The whole-number tags of one directory and the offset of the next (0 = none)."""
    count_form, entry_bytes = ("Q", 20) if layout.big else ("H", 12)
    (count,) = layout.unpack(count_form, data, position)
    start = position + struct.calcsize(layout.order + count_form)
    tags = {}
    for entry in range(start, start + min(count, 4096) * entry_bytes, entry_bytes):
        tag, kind, values = layout.unpack("HH" + layout.offset, data, entry)
        if kind in _TIFF_TYPES and values <= len(data):
            tags[tag] = _tiff_values(data, layout, entry, _TIFF_TYPES[kind], values)
    (following,) = layout.unpack(layout.offset, data, start + count * entry_bytes)
    return tags, following


def _tiff_values(data: bytes, layout: _TiffLayout, entry: int, form: str, count: int) -> tuple[int, ...]:
    position = entry + 4 + layout.offset_bytes
    if struct.calcsize("=" + form) * count > layout.offset_bytes:
        (position,) = layout.unpack(layout.offset, data, position)
    return layout.unpack(f"{count}{form}", data, position)


def _tiff_check_parts(data: bytes, tags: Mapping[int, tuple[int, ...]]) -> None:
    """Refuse a file that ends before one of its strips or tiles does."""
    for offsets, counts in _PARTS:
        parts = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        needed = max((offset + count for offset, count in parts), default=0)
        if needed > len(data):
            raise BadImage(f"the file is cut short: {len(data)} of at least {needed} bytes")


_READERS: Mapping[bytes, Callable[[bytes], ImageHeader]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8\xff": _jpeg,
    b"BM": _bmp,
    b"II\x2a\x00": _tiff,
    b"MM\x00\x2a": _tiff,
    b"II\x2b\x00": _tiff,
    b"MM\x00\x2b": _tiff,
}
