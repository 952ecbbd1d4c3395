"""Image files that promise or ask for absurd amounts are refused at once; each was found by trying."""

from __future__ import annotations

import io
import os
import resource
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from srbench.datasets.images.decode import BadImage, decode, decode_labels, read_raw_bytes
from srbench.datasets.images.instrument import read_instrument
from srbench.datasets.images.write import read_description
from srbench.utils.errors import DatasetError

SECONDS = 2.0


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Two seconds and 200 MB more than before."""
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.process_time() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, bits: int, colour: int, pixels: bytes, *more: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tiff(tags: dict[int, int], more: list[tuple[int, int, int, int]], body: bytes) -> bytes:
    entries = sorted([*((code, 4, 1, value) for code, value in tags.items()), *more])
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + packed + bytes(4) + body


PLAIN = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 64, 279: 4096}
BODY = bytes(range(256)) * 32


def with_tag(code: int, kind: int, content: bytes) -> bytes:
    at = 8 + 2 + 12 * (len(PLAIN) + 1) + 4
    return tiff(PLAIN, [(code, kind, len(content), at)], content + BODY)


def mrc(sections: int = 1, extended: int = 0) -> bytes:
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, 80, 64, sections, 6)
    struct.pack_into("<3f3i", header, 52, 90.0, 90.0, 90.0, 1, 2, 3)
    struct.pack_into("<i", header, 92, extended)
    header[208:214] = b"MAP \x44\x44"
    return bytes(header) + bytes(80 * 64 * 2)


ABSURD = {
    "a PNG of a few bytes that would become 2 GB": png(16384, 16384, 16, 6, zlib.compress(b"")),
    "a PNG of 2**62 pixels": png((1 << 31) - 1, (1 << 31) - 1, 8, 0, zlib.compress(b"")),
    "2,000 tags": tiff(PLAIN, [(40000 + n, 2, 4, 0) for n in range(2000)], BODY),
    "directories that overlap": struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", 400) * 60_000,
    "a strip of 2**32 rows": tiff({**PLAIN, 257: (1 << 32) - 1, 259: 8}, [], BODY),
    "a deflated image of few bytes": tiff({**PLAIN, 256: 16384, 257: 16384, 259: 8, 278: 16384}, [], BODY),
    "tiles of a pixel": tiff({**PLAIN, 322: 1, 323: 1, 324: 8, 325: 1}, [], BODY),
    "an MRC of 10 GB": mrc(sections=1 << 20),
    "an MRC with 2 GB before its pixels": mrc(extended=(1 << 31) - 1),
    "a BMP of a few bytes": b"BM"
    + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 16384, 16384, 1, 8, 1, 0, 0, 0, 0, 0)
    + bytes(46),
}


@pytest.mark.parametrize("data", ABSURD.values(), ids=ABSURD.keys())
def test_absurd_images_are_refused_before_they_are_decoded(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(data)
    with pytest.raises(BadImage):
        decode(path)
    read_instrument(path)
    read_description(path)


LAUGHS = b"<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>%s]><a>&j;</a>" % b"".join(
    b"<!ENTITY %c '%s'>" % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9)
)
TEXTS = {
    "Zeiss, lines without names": (34118, 2, b"\r\n" * (1 << 18)),
    "TESCAN, one word": (50431, 1, b"a" * (1 << 20)),
    "TESCAN, spaces": (50431, 1, b" " * (1 << 20) + b"="),
    "XML, nested": (34683, 2, b"<a>" * 100_000),
    "XML, entities": (34683, 2, LAUGHS),
    "OME, nested": (270, 2, b'<?xml version="1.0"?><OME>' + b"<a>" * 100_000 + b"</OME>"),
}


@pytest.mark.parametrize("tag", TEXTS.values(), ids=TEXTS.keys())
def test_texts_of_instruments_take_no_time_and_no_entities(
    tag: tuple[int, int, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "image.tif"
    path.write_bytes(with_tag(*tag))
    assert read_instrument(path).pixel_size_nm is None


def test_compressed_texts_of_a_png_are_not_unpacked(tmp_path: Path) -> None:
    text = zlib.compress(bytes(20 << 20), 9)
    chunks = [chunk(b"zTXt", b"Comment\0\0" + text), chunk(b"iCCP", b"x\0\0" + text)] * 20
    scale = chunk(b"pHYs", struct.pack(">IIB", 10**9, 10**9, 1))
    path = tmp_path / "image.png"
    rows = b"".join(b"\0" + bytes(range(n, n + 64)) for n in range(64))
    path.write_bytes(png(64, 64, 8, 0, zlib.compress(rows), *chunks, scale))
    assert decode(path).pixels[1, 0] == 1
    assert read_instrument(path).pixel_size_nm == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["text beside it", "name of the image in it"])
def test_a_text_beside_an_image_may_say_anything(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image.bmp"
    path.write_bytes(ABSURD["a BMP of a few bytes"])
    named = "x" * 5000 if name.startswith("name") else "/"
    (tmp_path / "image.txt").write_text(
        f"PixelSize={'9' * 5000}\nImageName={named}\nDataSize={'9' * 5000}x1\n"
    )
    assert read_instrument(path).pixel_size_nm is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
def test_fifos_and_devices_are_no_images_masks_or_results(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name in ("fifo.png", "zero.png"):
        for read in (decode, decode_labels):
            with pytest.raises(BadImage):
                read(tmp_path / name)
        assert read_description(tmp_path / name) == ""
        assert read_instrument(tmp_path / name).pixel_size_nm is None


@pytest.mark.slow
def test_the_user_may_raise_and_lower_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((8192, 10_000), np.uint8), compression="zlib", rowsperstrip=8192)
    with pytest.raises(BadImage):
        read_raw_bytes(file.getvalue())
    monkeypatch.setenv("SRBENCH_MAX_PIXELS", str(8192 * 10_000))
    assert read_raw_bytes(file.getvalue())[0].array.shape == (8192, 10_000)
    monkeypatch.setenv("SRBENCH_MAX_PIXELS", str(8192 * 10_000 - 1))
    with pytest.raises(BadImage):
        read_raw_bytes(file.getvalue())
    monkeypatch.setenv("SRBENCH_MAX_PIXELS", "many")
    with pytest.raises(DatasetError):
        read_raw_bytes(file.getvalue())
