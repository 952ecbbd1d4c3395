"""TIFF pages as they are stored, every strip and tile checked, through tifffile and imagecodecs.

What is not supported is refused by its name before anything is decoded. A strip that its codec rejects, that
is all zeros though compressed, or that holds more or fewer bytes than its rows need, makes the file unusable.
LZW, PackBits, ZSTD and JPEG 2000 have no checksum: a flipped byte that still gives the right length cannot be
found in them; in deflate and LZMA it is.
"""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal

import numpy as np

from srbench.datasets.images.jpeg import check_jpeg
from srbench.datasets.images.raw import (
    PIXELS_VARIABLE,
    AnyArray,
    BadImage,
    RawImage,
    check_expansion,
    check_size,
    pixel_limit,
)

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

Pages = Literal["first", "all"]

_MOST_PAGES = 10_000
# Files of instruments have 20 to 60.
_MOST_TAGS = 512
_MOST_TAGS_IN_ALL = 1 << 18
# Tables and headers of a strip, beside its pixels.
_LONGEST_OVERHEAD = 1 << 14
_SMALLEST_TILE = 16
_COMPRESSIONS = {
    1: "uncompressed",
    2: "CCITT RLE",
    3: "CCITT Group 3",
    4: "CCITT Group 4",
    5: "LZW",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",
    34712: "JPEG 2000",
    34925: "LZMA",
    50000: "ZSTD",
}
_CCITT, _JPEG, _JPEG_2000 = (2, 3, 4), 7, 34712
_BITS = {"u": (1, 2, 4, 8, 10, 12, 14, 16, 32, 64), "i": (8, 16, 32, 64), "f": (16, 32, 64)}
# Samples of each photometric interpretation that is read, without alpha.
_PHOTOMETRIC = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}
_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _INTERPRETATION, _SUB_DIRECTORIES = 254, 255, 256, 257, 262, 330


@dataclass(frozen=True)
class Directory:
    """Where a page's tags are, and those that are needed to choose among pages."""

    offset: int
    width: int
    height: int
    reduced: bool
    mask: bool
    sub_directories: int


def full_pages(stream: IO[bytes]) -> tuple[list[Directory], tuple[str, ...]]:
    """The full-resolution pages, without thumbnails and masks, and a note on what was left out.

    A file of nothing but reduced pages gives the largest of them.

    Raises:
        BadImage: damaged, cut short, or no page in it.
    """
    directories = list(_directories(stream))
    pages = [page for page in directories if not page.reduced and not page.mask]
    if not pages:
        pages = [max(directories, key=lambda page: page.width * page.height)]
    skipped = len(directories) - len(pages) + sum(page.sub_directories for page in directories)
    return pages, (f"thumbnail skipped: {skipped} reduced or mask pages",) if skipped else ()


def _directories(stream: IO[bytes]) -> Iterator[Directory]:
    """The pages in the chain; it ends where it comes back to itself, and after 10,000.

    tifffile trusts every count that a file states; a directory whose values could not all be in the file is
    refused here, before it reads any of them.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(16)
    try:
        order = {b"II": "<", b"MM": ">"}[head[:2]]
        big = struct.unpack_from(order + "H", head, 2)[0] == 43
        count_format, entry_format, offset_format = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
        entry_bytes, inline = (20, 8) if big else (12, 4)
        (position,) = struct.unpack_from(order + offset_format, head, 8 if big else 4)
        seen: set[int] = set()
        tags = 0
        while position and position not in seen and len(seen) < _MOST_PAGES:
            seen.add(position)
            stream.seek(position)
            (count,) = struct.unpack(order + count_format, stream.read(struct.calcsize(count_format)))
            if not 0 < count <= _MOST_TAGS:
                raise BadImage(
                    f"the file is damaged: a page with {count} tags, at most {_MOST_TAGS} are read"
                )
            tags += count
            if tags > _MOST_TAGS_IN_ALL:
                raise BadImage(f"the file is damaged: its pages have more than {_MOST_TAGS_IN_ALL:,} tags")
            entries = stream.read(entry_bytes * count)
            following = stream.read(inline)
            values: dict[int, int] = {_SUBFILE: 0, _OLD_SUBFILE: 0, _INTERPRETATION: -1, _SUB_DIRECTORIES: 0}
            claimed = 0
            for tag, kind, number, value in struct.iter_unpack(order + entry_format, entries):
                length = _TYPE_BYTES.get(kind, 1) * number
                claimed += length if length > inline else 0
                if tag in (_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _INTERPRETATION):
                    number_format = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}[kind]
                    values[tag] = struct.unpack_from(order + number_format, value)[0]
                elif tag == _SUB_DIRECTORIES:
                    values[tag] = number
            if claimed > size:
                raise BadImage(
                    f"the file is damaged or cut short: its tags claim {claimed:,} of {size:,} bytes"
                )
            yield Directory(
                position,
                values[_WIDTH],
                values[_HEIGHT],
                bool(values[_SUBFILE] & 1) or values[_OLD_SUBFILE] == 2,
                bool(values[_SUBFILE] & 4) or values[_INTERPRETATION] == 4,
                values[_SUB_DIRECTORIES],
            )
            (position,) = struct.unpack(order + offset_format, following)
    except (KeyError, struct.error, OverflowError, ValueError) as error:
        raise BadImage(f"the file is damaged or cut short: {error!r}") from error
    if not seen:
        raise BadImage("the file is damaged or cut short: a TIFF without pages")


@contextmanager
def open_tiff(stream: IO[bytes]) -> Iterator[TiffFile]:
    """The file in tifffile, whose log is kept off the terminal; what it stumbles over is a damaged file.

    Raises:
        BadImage: damaged.
    """
    import tifffile

    log = logging.getLogger("tifffile")
    was_disabled, log.disabled = log.disabled, True
    try:
        stream.seek(0)
        # Formats with rules of their own, by which a few bytes would become millions of pages.
        with tifffile.TiffFile(stream, is_lsm=False, is_ndpi=False, is_scanimage=False) as tiff:
            yield tiff
    except (BadImage, OSError, MemoryError):
        raise
    except Exception as error:  # parsers of damaged files raise whatever they stumble over
        raise BadImage(f"the file is damaged or cut short: {error}") from error
    finally:
        log.disabled = was_disabled


def read_tiff(stream: IO[bytes], *, pages: Pages, max_pixels: int, min_side: int) -> list[RawImage]:
    """The first or all full-resolution pages of a TIFF.

    Args:
        stream: the file; seekable.
        pages: which.
        max_pixels: of all pages that are read, checked before anything is decoded.
        min_side: the smallest side of a page.

    Raises:
        BadImage: damaged, or not supported: says what, and where.
    """
    chosen, skipped = full_pages(stream)
    count = len(chosen)
    chosen = chosen[:1] if pages == "first" else chosen
    for directory in chosen:
        check_size(directory.width, directory.height, max_pixels, min_side)
    total = sum(directory.width * directory.height for directory in chosen)
    if total > pixel_limit(max_pixels):
        raise BadImage(
            f"{len(chosen)} pages of {total:,} pixels are more than the limit of {pixel_limit(max_pixels):,} "
            f"pixels; set {PIXELS_VARIABLE} to more"
        )
    several = (f"first of several pages: 1 of {count}",) if count > 1 and pages == "first" else ()
    images = []
    with open_tiff(stream) as tiff:
        declared = _declared_bits(tiff)
        for number, directory in enumerate(chosen):
            page = _page(tiff, directory, max_pixels)
            array, notes = _pixels(page, _samples(page, labels=False))
            orientation = int(page.tags.valueof(274, 1))
            if orientation > 1:
                notes = (f"orientation tag ignored: {orientation}", *notes)
            if 8 < page.bitspersample < 16:
                declared = page.bitspersample
            images.append(
                RawImage(
                    array,
                    inverted=page.photometric == 0 and 262 in page.tags,
                    declared_bits=declared if array.dtype.itemsize > 1 else None,
                    notes=(*several, *skipped, *notes),
                    page=number,
                    pages=count,
                )
            )
    return images


def read_labels(stream: IO[bytes], *, max_pixels: int) -> AnyArray:
    """The numbers of the first full-resolution page as they are: ``(H, W)`` or ``(H, W, samples)``.

    Palette images give their indices, and nothing is inverted.

    Raises:
        BadImage: as :func:`read_tiff`.
    """
    directory = full_pages(stream)[0][0]
    check_size(directory.width, directory.height, max_pixels, 1)
    with open_tiff(stream) as tiff:
        page = _page(tiff, directory, max_pixels)
        if page.compression == _JPEG:
            raise BadImage("JPEG changes labels; save it as PNG or TIFF")
        samples = _samples(page, labels=True)
    return samples[..., 0] if samples.shape[2] == 1 or page.photometric in (0, 1, 3) else samples[..., :3]


def _page(tiff: TiffFile, directory: Directory, max_pixels: int) -> TiffPage:
    """One page's tags, which can be read: everything that is not supported is refused here.

    Raises:
        BadImage: damaged, or not supported: says what.
    """
    import tifffile

    tiff.filehandle.seek(directory.offset)
    page = tifffile.TiffPage(tiff, 0)
    compression = int(page.compression)
    if compression not in _COMPRESSIONS or (
        compression > 1 and compression not in tifffile.TIFF.DECOMPRESSORS
    ):
        name = getattr(page.compression, "name", "unknown").replace("_", " ")
        raise BadImage(f"TIFF compression {compression} ({name}) is not read; save it with LZW or deflate")
    kind = "" if page.dtype is None else page.dtype.kind.replace("b", "u")
    if not isinstance(page.bitspersample, int) or page.bitspersample not in _BITS.get(kind, ()):
        form = getattr(page.sampleformat, "name", page.sampleformat)
        raise BadImage(
            f"TIFF samples of {page.bitspersample} bits (sample format {form}) are not read; "
            "save it with 8 or 16 bits"
        )
    if 262 not in page.tags:
        page.photometric = tifffile.PHOTOMETRIC(2 if page.samplesperpixel > 2 else 1)
    photometric = int(page.photometric)
    name = getattr(page.photometric, "name", "unknown").replace("_", " ")
    if photometric not in _PHOTOMETRIC:
        raise BadImage(
            f"TIFF photometric interpretation {photometric} ({name}) is not read; save it as grey or RGB"
        )
    if not _PHOTOMETRIC[photometric] <= page.samplesperpixel <= max(4, _PHOTOMETRIC[photometric] + 1):
        raise BadImage(f"{page.samplesperpixel} channels; expected grey, RGB or RGBA")
    if photometric == 3 and (page.colormap is None or page.colormap.shape[1] < 1 << page.bitspersample):
        raise BadImage("the file is damaged: a palette image without its palette")
    if photometric == 5 and page.tags.valueof(332, 1) != 1:
        raise BadImage("TIFF inks other than CMYK are not read; save it as grey or RGB")
    if photometric == 6 and page.is_subsampled and compression != _JPEG:
        raise BadImage("TIFF with subsampled chroma is not read; save it as grey or RGB")
    if photometric in (5, 6) and kind != "u":
        raise BadImage(f"TIFF {name} of {page.dtype} values is not read; save it as grey or RGB")
    if compression == _JPEG and page.bitspersample != 8:
        raise BadImage(f"TIFF of JPEG strips with {page.bitspersample} bits is not read; save it with LZW")
    if page.imagedepth != 1 or page.tiledepth != 1:
        raise BadImage("TIFF volumes are not read; save one image a page")
    if (page.imagewidth, page.imagelength) != (directory.width, directory.height):
        raise BadImage("the file is damaged: two sizes of one page")
    if page.is_tiled and page.tilewidth * page.tilelength > max(pixel_limit(max_pixels), 1 << 20):
        raise BadImage(f"tiles of {page.tilewidth}x{page.tilelength} px are more than the limit")
    if page.is_tiled and min(page.tilewidth, page.tilelength) < _SMALLEST_TILE:
        raise BadImage(
            f"tiles of {page.tilewidth}x{page.tilelength} px; TIFF has none of less than {_SMALLEST_TILE} px"
        )
    return page


def _samples(page: TiffPage, *, labels: bool) -> AnyArray:
    """All samples ``(H, W, samples)`` in native byte order, planes side by side or apart alike.

    Raises:
        BadImage: a strip or tile is missing, beyond the end of the file, or cannot be decoded.
    """
    what = "tile" if page.is_tiled else "strip"
    name = _COMPRESSIONS[int(page.compression)]
    planes, samples = (page.samplesperpixel, 1) if page.planarconfig == 2 else (1, page.samplesperpixel)
    height, width = page.imagelength, page.imagewidth
    # Of one strip many writers give 2**32 - 1 rows.
    strip_rows = min(int(page.rowsperstrip), height)
    rows, columns = (page.tilelength, page.tilewidth) if page.is_tiled else (strip_rows, width)
    if min(rows, columns) < 1:
        raise BadImage(f"the file is damaged: a {what} of {columns}x{rows} px")
    across, down = -(-width // columns), -(-height // rows)
    count = planes * across * down
    offsets, lengths = page.dataoffsets, page.databytecounts
    if min(len(offsets), len(lengths)) < count:
        raise BadImage(f"the file is damaged: it lists {len(offsets)} of {count} {what}s")
    if page.is_contiguous and planes == page.predictor == page.fillorder == 1:
        # Instruments write a strip for each row: plain ones without gaps are read as one.
        offsets, lengths, rows, down, count = offsets[:1], (sum(lengths),), height, 1, 1
    check_expansion(
        sum(map(int, lengths[:count])),
        planes * height * width * samples * np.dtype(page.dtype).itemsize,
        labels=labels,
    )
    # A codec adds little to what it cannot compress; a strip that is longer was not written by one.
    longest = 2 * rows * columns * samples * np.dtype(page.dtype).itemsize + _LONGEST_OVERHEAD
    stream = page.parent.filehandle
    decode = _strip_decoder(page, rows, columns, samples)
    result = np.empty((planes, height, width, samples), np.dtype(page.dtype).newbyteorder("="))
    for index in range(count):
        plane, position = divmod(index, across * down)
        top, left = position // across * rows, position % across * columns
        offset, length = int(offsets[index]), int(lengths[index])
        here = f"{what} {index + 1} of {count} ({name})"
        if not length or not offset:
            raise BadImage(f"{here} is missing: the file was not written to its end; export it again")
        if offset + length > stream.size:
            raise BadImage(
                f"the file is cut short: {here} ends at byte {offset + length:,} of {stream.size:,}; "
                "copy it again"
            )
        if page.compression != 1 and length > longest:
            raise BadImage(
                f"the file is damaged: {here} has {length:,} bytes, at most {longest:,} make sense"
            )
        stream.seek(offset)
        data = stream.read(min(length, longest))
        try:
            if page.compression != 1 and not any(data):
                raise ValueError("nothing but zeros")
            block = decode(data, index, min(rows, height - top))
            if block.dtype != result.dtype and result.dtype != bool:
                raise ValueError(f"{block.dtype} values instead of {result.dtype}")
        except (MemoryError, OSError):
            raise
        except Exception as error:  # each codec has its own
            raise BadImage(
                f"{here} cannot be decoded: {error}. The file is damaged: copy it again, or export it anew"
            ) from error
        result[plane, top : top + rows, left : left + columns] = block[: height - top, : width - left]
    return result[0] if planes == 1 else np.ascontiguousarray(result[..., 0].transpose(1, 2, 0))


def _strip_decoder(
    page: TiffPage, rows: int, columns: int, samples: int
) -> Callable[[bytes, int, int], AnyArray]:
    """A function of a strip's or tile's bytes, index and rows that gives ``(rows, columns, samples)``.

    It raises any error for bytes that are not exactly what these rows need. A last strip may be filled up to
    the rows of the others.
    """
    import imagecodecs
    import tifffile

    compression, bits = int(page.compression), int(page.bitspersample)
    if compression in (*_CCITT, _JPEG, _JPEG_2000):

        def image(data: bytes, index: int, needed: int) -> AnyArray:
            if compression == _JPEG:
                check_jpeg(data, page.jpegtables, columns, rows)
            if compression == _JPEG_2000:
                _check_jpeg_2000(data, columns, rows)
            decoded = page.decode(data, index, jpegtables=page.jpegtables, _fullsize=page.is_tiled)[0]
            block: AnyArray = np.asarray(decoded)
            return block.reshape(block.shape[1:])

        return image

    decompress = None if compression == 1 else tifffile.TIFF.DECOMPRESSORS[compression]
    dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    predictor = int(page.predictor)
    if predictor not in (1, 2, 3) or (predictor == 3) > (dtype.kind == "f") or (predictor > 1 and bits < 8):
        raise BadImage(f"TIFF predictor {predictor} with {page.dtype} is not read; save it without")
    row_bytes = (columns * samples * bits + 7) // 8

    def strip(encoded: bytes, index: int, needed: int) -> AnyArray:
        if page.is_tiled:
            needed = rows
        data: bytes | bytearray = encoded
        if page.fillorder == 2:
            data = imagecodecs.bitorder_decode(data)
        if decompress is not None:
            # One byte more than fits shows a strip that holds too much.
            data = decompress(data, out=rows * row_bytes + 1)
        expected = needed * row_bytes
        if decompress is None and len(data) >= expected:
            data = data[:expected]  # writers round the length of plain strips up
        if len(data) not in (expected, rows * row_bytes):
            raise ValueError(f"{len(data):,} bytes instead of {expected:,}")
        data = data[:expected]
        if bits % 8:
            unpacked = imagecodecs.packints_decode(
                data, dtype.newbyteorder("="), bits, runlen=columns * samples
            )
            return np.asarray(unpacked).reshape(needed, columns, samples)
        if predictor == 3:
            raw = np.frombuffer(data, dtype.newbyteorder("=")).reshape(needed, columns, samples)
            return np.asarray(imagecodecs.floatpred_decode(raw, axis=-2))
        block = np.frombuffer(data, dtype).reshape(needed, columns, samples)
        block = block.astype(dtype.newbyteorder("="), copy=False)
        return np.asarray(imagecodecs.delta_decode(block, axis=-2)) if predictor == 2 else block

    return strip


def _check_jpeg_2000(data: bytes, columns: int, rows: int) -> None:
    """The size that the codestream states (Xsiz, Ysiz behind its SIZ marker) before it is believed."""
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 16:
        raise ValueError("no JPEG 2000 codestream")
    width, height = struct.unpack_from(">II", data, start + 8)
    if width > columns or height > rows:
        raise ValueError(f"{width}x{height} px instead of {columns}x{rows}")


def _pixels(page: TiffPage, samples: AnyArray) -> tuple[AnyArray, tuple[str, ...]]:
    """``(H, W)`` or RGB ``(H, W, 3)`` of what the samples mean; min-is-white is left to ``Depth``."""
    photometric, bits = int(page.photometric), int(page.bitspersample)
    used = _PHOTOMETRIC[photometric]
    extra = samples.shape[2] - used
    kinds = np.atleast_1d(page.tags.valueof(338, 0))
    alpha = extra > 0 and int(kinds[0]) in (1, 2)
    notes: tuple[str, ...] = ("alpha dropped",) if alpha else ()
    if extra > alpha:
        notes = (*notes, f"further samples dropped: {extra - alpha}")
    if photometric == 3:
        colours = page.colormap[:, : 1 << bits]
        # Some writers fill the palette's 16 bits with 8.
        table = (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)
        rgb = table[:, samples[..., 0]].transpose(1, 2, 0)
        equal = (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all()
        return np.ascontiguousarray(rgb[..., 0] if equal else rgb), notes
    if samples.dtype.kind == "b" or bits < 8:
        samples = samples.astype(np.uint8) * np.uint8(255 // ((1 << bits) - 1))
    if photometric == 5:
        white = np.float64((1 << bits) - 1)
        inks = white - samples[..., :4]
        rgb = np.floor(inks[..., :3] * inks[..., 3:] / white).astype(samples.dtype)
        return rgb, (*notes, "CMYK, converted to RGB")
    if photometric == 6 and page.compression != _JPEG:
        return _rgb_of_ycbcr(page, samples[..., :3]), notes
    return np.ascontiguousarray(samples[..., 0] if used == 1 else samples[..., :3]), notes


def _rgb_of_ycbcr(page: TiffPage, samples: AnyArray) -> AnyArray:
    """TIFF 6.0, section 21: coefficients of tag 529, footroom and headroom of tag 532."""
    top = (1 << int(page.bitspersample)) - 1
    weights = page.tags.valueof(529)
    red, green, blue = (weights[i] / weights[i + 1] for i in (0, 2, 4)) if weights else (0.299, 0.587, 0.114)
    reference = page.tags.valueof(532)
    middle = top // 2 + 1
    levels = np.array(reference or (0, 1, top, 1, middle, 1, top, 1, middle, 1, top, 1), dtype=np.float64)
    black, white = (levels[0::2] / levels[1::2]).reshape(3, 2).T
    luminance, cb, cr = (
        (samples[..., i] - black[i]) * (top if i == 0 else top // 2) / (white[i] - black[i]) for i in range(3)
    )
    r = luminance + cr * (2 - 2 * red)
    b = luminance + cb * (2 - 2 * blue)
    g = (luminance - blue * b - red * r) / green
    return np.clip(np.floor(np.dstack([r, g, b]) + 0.5), 0, top).astype(samples.dtype)


def _declared_bits(tiff: TiffFile) -> int | None:
    """Significant bits of 16 by OME metadata or MaxSampleValue, where they say it."""
    tags = tiff.pages[0].tags
    description = tags.valueof(270, "")
    stated = (
        re.search(r'\bSignificantBits="(\d{1,2})"', description) if isinstance(description, str) else None
    )
    if stated and 8 <= int(stated[1]) <= 16:
        return int(stated[1])
    highest = int(np.max(tags.valueof(281, 0)))
    # Some writers put the image's largest value there, which declares nothing.
    return highest.bit_length() if highest in (1023, 4095, 16383, 65535) else None
