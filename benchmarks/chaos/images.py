"""Damaged images: PNG, TIFF, JPEG, BMP and MRC of every kind that is read, and their metadata."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chaos.bounded import run_bounded
from chaos.mutation import TEXTS, Random, damaged
from chaos.part import Part


def run(random: Random, seconds: float, folder: Path) -> Part:
    """Read damaged images as micrographs, labels, metadata and descriptions."""
    part = Part("images")
    run_bounded(part, check, inputs(random, folder), seconds)
    return part


def check(path: Path) -> str:
    """Everything that srbench reads of a stranger's image."""
    from srbench.datasets.images.databar import decode_micrograph
    from srbench.datasets.images.decode import BadImage, decode_labels, read_raw
    from srbench.datasets.images.instrument import read_instrument
    from srbench.datasets.images.write import read_description

    read_instrument(path)
    read_description(path)
    for read in (decode_micrograph, decode_labels, lambda path: read_raw(path, pages="all")):
        try:
            read(path)
        except BadImage as error:
            if not str(error):
                return "no reason"
    return ""


def inputs(random: Random, folder: Path, *, bombs: bool = True) -> Iterator[tuple[str, Path]]:
    """What is tried, and its file: what was thought of, unless ``bombs`` is off, then damage for ever."""
    seeds = list(_seeds(random))
    number = 0
    for name, data in (*seeds, *(_bombs(random) if bombs else ())):
        path = folder / f"{number}.{name.partition(' ')[0]}"
        path.write_bytes(data)
        number += 1
        yield name, path
    while True:
        name, data = seeds[int(random.integers(len(seeds)))]
        path = folder / f"{number}.{name.partition(' ')[0]}"
        mutant = damaged(random, data)
        if name.startswith("png") and random.random() < 0.7:
            mutant = _png_sums(mutant)
        path.write_bytes(mutant)
        number += 1
        yield f"{name}, damaged", path


def _seeds(random: Random) -> Iterator[tuple[str, bytes]]:
    import tifffile
    from PIL import Image

    grey = random.integers(0, 256, (64, 80), dtype=np.uint8)
    deep = random.integers(0, 4096, (64, 80), dtype=np.uint16)
    rgb = random.integers(0, 256, (64, 80, 3), dtype=np.uint8)
    for form, options in (("png", {}), ("bmp", {}), ("jpg", {}), ("jpg", {"progressive": True})):
        for pixels in (grey, rgb):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, format={"jpg": "JPEG"}.get(form, form), **options)
            yield f"{form} {pixels.shape} {options}", file.getvalue()
    file = io.BytesIO()
    Image.fromarray(deep).save(file, format="png", dpi=(25400, 25400))
    yield "png deep", file.getvalue()
    palette = Image.fromarray(grey // 16).convert("P")
    file = io.BytesIO()
    palette.save(file, format="png")
    yield "png palette", file.getvalue()
    for compression in (None, "lzw", "zlib", "packbits", "jpeg", "lzma", "zstd", "jpeg2000"):
        for pixels in (grey, deep, rgb):
            if compression == "jpeg" and pixels is deep:
                continue
            for tile in (None, (16, 16)):
                if tile and compression is None:
                    continue
                file = io.BytesIO()
                tifffile.imwrite(
                    file, pixels, compression=compression, tile=tile, rowsperstrip=None if tile else 16
                )
                yield f"tif {compression} {pixels.dtype}{pixels.shape} {tile}", file.getvalue()
    file = io.BytesIO()
    tifffile.imwrite(file, deep.astype(np.float32), predictor=3, compression="zlib")
    yield "tif predictor", file.getvalue()
    file = io.BytesIO()
    tifffile.imwrite(
        file, np.stack([grey, grey]), imagej=True, resolution=(100, 100), metadata={"unit": "nm"}
    )
    yield "tif imagej", file.getvalue()
    file = io.BytesIO()
    ome = {"PhysicalSizeX": 3.0, "PhysicalSizeXUnit": "nm", "SignificantBits": 12}
    tifffile.imwrite(file, deep, ome=True, metadata=ome)
    yield "tif ome", file.getvalue()
    fei = b"[Scan]\r\nPixelWidth=1e-9\r\nPixelHeight=1e-9\r\n[Image]\r\nResolutionX=80\r\nBitDepth=8\r\n"
    zeiss = b"\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 2.5 nm\r\n"
    xml = b'<Metadata><BinaryResult><PixelSize><X unit="m">1e-9</X></PixelSize></BinaryResult></Metadata>'
    for code, content in (
        (34682, fei),
        (34118, zeiss),
        (34683, xml),
        (50431, b"PixelSizeX=1e-9\nImageStripSize=4\n"),
    ):
        file = io.BytesIO()
        tags = [(code, "s" if code != 50431 else "B", len(content), content, True)]
        tifffile.imwrite(file, grey, extratags=tags)
        yield f"tif tag {code}", file.getvalue()
    yield "mrc", _mrc(deep)


def _mrc(pixels: np.ndarray) -> bytes:
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, pixels.shape[1], pixels.shape[0], 1, 6)
    struct.pack_into("<3i3f", header, 28, pixels.shape[1], pixels.shape[0], 1, 800.0, 640.0, 10.0)
    struct.pack_into("<3f3i", header, 52, 90.0, 90.0, 90.0, 1, 2, 3)
    struct.pack_into("<3f", header, 76, 0.0, 4096.0, 2048.0)
    header[208:212], header[212:214] = b"MAP ", b"\x44\x44"
    return bytes(header) + pixels.tobytes()


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png_sums(data: bytes) -> bytes:
    """A damaged PNG whose check sums are right, so that what is behind them is tried."""
    out, position = data[:8], 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        out += _chunk(data[position + 4 : position + 8], data[position + 8 : end])
        position = end + 4
    return out + data[position:]


def _png(width: int, height: int, bits: int, colour: int, pixels: bytes, *more: bytes) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def tiff(tags: list[tuple[int, int, int, bytes]], body: bytes, following: int = 0) -> bytes:
    """A little-endian TIFF with one directory of these tags (code, type, count, four bytes of value)."""
    entries = b"".join(struct.pack("<HHI4s", *tag) for tag in tags)
    return (
        struct.pack("<2sHI", b"II", 42, 8)
        + struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", following)
        + body
    )


def _plain_tags(
    width: int, height: int, compression: int, offset: int, length: int
) -> list[tuple[int, int, int, bytes]]:
    values = {
        256: width,
        257: height,
        258: 8,
        259: compression,
        262: 1,
        273: offset,
        277: 1,
        278: height,
        279: length,
    }
    return [(code, 4, 1, struct.pack("<I", value)) for code, value in values.items()]


def _bombs(random: Random) -> Iterator[tuple[str, bytes]]:
    zeros = zlib.compressobj(9)
    row = bytes(3 * 16384 + 1)
    packed = b"".join(zeros.compress(row) for _ in range(16384)) + zeros.flush()
    yield "png bomb of 805 MB", _png(16384, 16384, 8, 2, packed)
    yield "png claims 2**31", _png((1 << 31) - 1, (1 << 31) - 1, 16, 6, zlib.compress(b""))
    yield "png claims 16384", _png(16384, 16384, 16, 6, zlib.compress(b""))
    text = zlib.compress(bytes(200 << 20), 9)
    small = zlib.compress(bytes(65 * 64))
    yield "png zTXt", _png(64, 64, 8, 0, small, *[_chunk(b"zTXt", b"Comment\0\0" + text)] * 20)
    yield "png iCCP", _png(64, 64, 8, 0, small, _chunk(b"iCCP", b"x\0\0" + text))
    yield "png iTXt", _png(64, 64, 8, 0, small, _chunk(b"iTXt", b"Description\0\1\0\0\0" + text))
    tags = _plain_tags(64, 64, 1, 8, 4096)
    for count in (500, 2000, 60000):
        many = [(40000 + n % 20000, 2, 1 << 16, struct.pack("<I", 8)) for n in range(count)]
        yield f"tif of {count} tags", tiff(sorted(tags + many), bytes(1 << 20))
    many = [(270, 2, 4000, struct.pack("<I", 8))] * 400
    yield "tif of one tag often", tiff(sorted(tags + many), bytes(1 << 21))
    chain = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    # Directories that overlap, each of 400 tags.
    chain += struct.pack("<H", 400) * 60000
    yield "tif overlapping directories", bytes(chain)
    pages = b""
    for n in range(10000):
        at = 8 + n * 114
        pages += tiff(_plain_tags(64, 64, 1, 8, 4096), b"", at + 114)[8:]
    yield "tif of 10,000 pages", struct.pack("<2sHI", b"II", 42, 8) + pages + bytes(4096)
    strip = zlib.compress(bytes(1 << 28), 9)
    offset = 8 + 2 + 9 * 12 + 4
    yield "tif strip too long", tiff(_plain_tags(64, 64, 8, offset, len(strip)), strip)
    yield "tif of 16384", tiff(_plain_tags(16384, 16384, 8, offset, len(strip)), strip)
    yield "tif of 2**32 rows", tiff(_plain_tags(64, (1 << 32) - 1, 8, offset, len(strip)), strip)
    for code, content in (
        (50431, b"a" * (1 << 20)),
        (50431, b" " * (1 << 20) + b"="),
        (270, b"<?xml" + b"<a>" * 300000),
        (34683, b"<a>" * 300000),
        (
            34683,
            b"<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>"
            + b"".join(b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
            + b"]><a>&j;</a>",
        ),
        (34682, b"[" * (1 << 20)),
        (34118, b"\r\n" * (1 << 19)),
        (270, b"ImageJ=1\n" + b"a=b\n" * 200000),
        (270, b"state.x=" * 100000),
    ):
        tags = _plain_tags(64, 64, 1, offset, 4096)
        at = 8 + 2 + 10 * 12 + 4
        kind = 1 if code == 50431 else 2
        yield (
            f"tif tag {code} bomb",
            tiff(sorted([*tags, (code, kind, len(content), struct.pack("<I", at))]), content),
        )
    yield (
        "bmp claims 16384",
        b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 16384, 16384, 1, 8, 1, 0, 0, 0, 0, 0)
        + bytes(46),
    )
    yield (
        "bmp claims 2**31",
        b"BM"
        + struct.pack(
            "<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, (1 << 31) - 1, -(1 << 31), 1, 24, 0, 0, 0, 0, 0, 0
        )
        + bytes(46),
    )
    mrc = bytearray(_mrc(np.zeros((64, 80), np.uint16)))
    for at, number in ((0, 16384), (8, 1 << 30), (92, 1 << 30), (92, -1), (12, 7), (8, -1)):
        changed = bytearray(mrc)
        struct.pack_into("<i", changed, at, number)
        yield f"mrc {at} {number}", bytes(changed)
    for text in TEXTS:
        raw = text.encode("utf-8", "surrogatepass")
        if raw:
            tags = _plain_tags(64, 64, 1, offset, 4096)
            at = 8 + 2 + 10 * 12 + 4
            body = raw + b"\0" * 4200
            yield "tif text", tiff(sorted([*tags, (270, 2, len(raw), struct.pack("<I", at))]), body)
