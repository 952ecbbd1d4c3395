"""Damaged archives: zip of four compressions, tar of four, and headers that lie."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chaos.bounded import run_bounded
from chaos.mutation import Random, damaged
from chaos.part import Part


def run(random: Random, seconds: float, folder: Path) -> Part:
    """Read the members of damaged archives, and list their names."""
    part = Part("archives")
    run_bounded(part, check, inputs(random, folder), seconds)
    return part


def check(path: Path) -> str:
    """Everything that srbench reads of a stranger's archive."""
    from srbench.datasets.images.archives import ArchiveError, image_names, members, read_images

    refused: dict[str, str] = {}
    try:
        total = sum(len(member.data) for member in members(path, refused))
        if total > 1 << 30:
            return f"{total:,} bytes given"
        names = image_names(path, {})
        list(read_images(path, names))
    except ArchiveError as error:
        if str(path) not in str(error):
            return "no name"
    if any(not name.isprintable() for name in refused):
        return "a name that is not fit for a terminal"
    return ""


def inputs(random: Random, folder: Path, *, bombs: bool = True) -> Iterator[tuple[str, Path]]:
    """What is tried, and its file: what was thought of, unless ``bombs`` is off, then damage for ever."""
    files = list(_files(random))
    for number, (name, data) in enumerate((*files, *(_bombs() if bombs else ()))):
        path = folder / f"{number}.archive"
        path.write_bytes(data)
        yield name, path
    number = 0
    while True:
        name, data = files[int(random.integers(len(files)))]
        number += 1
        path = folder / f"{number}.damaged"
        mutant = bytearray(data)
        if random.random() < 0.5 and name.startswith("zip"):
            # The directory at the end says what is read.
            at = max(len(data) - 400, 0)
            mutant[at:] = damaged(random, bytes(mutant[at:]))
        elif random.random() < 0.6 and name == "tar":
            header = 512 * int(random.integers(len(data) // 512))
            mutant[header : header + 512] = damaged(random, bytes(mutant[header : header + 512]))[:512].ljust(
                512, b"\0"
            )
            _tar_sum(mutant, header)
        else:
            mutant = bytearray(damaged(random, data))
        path.write_bytes(mutant)
        yield f"{name}, damaged", path


def _tar_sum(data: bytearray, header: int) -> None:
    data[header + 148 : header + 156] = b" " * 8
    data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])


def _files(random: Random) -> Iterator[tuple[str, bytes]]:
    pixels = [bytes(random.integers(0, 256, 3000, dtype=np.uint8)) for _ in range(3)]
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for number, data in enumerate(pixels):
                archive.writestr(f"folder/{number}.png", data)
        yield f"zip {method}", file.getvalue()
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=form) as tar:
            for number, data in enumerate(pixels):
                info = tarfile.TarInfo(f"folder/{'long' * 40 if form < 2 and number else ''}/{number}.png")
                info.size = len(data)
                if form == tarfile.PAX_FORMAT:
                    info.pax_headers = {"comment": "x", "size": str(len(data))}
                try:
                    tar.addfile(info, io.BytesIO(data))
                except ValueError:  # a name too long for this format
                    continue
        plain = file.getvalue()
        yield "tar", plain
    for name, compress in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        yield f"tar.{name}", compress(plain)


def _pax(records: bytes, body: bytes = b"x" * 512) -> bytes:
    data = bytearray()
    for name, kind, content in ((b"header", b"x", records), (b"a.png", b"0", body)):
        header = bytearray(512)
        header[: len(name)] = name
        header[100:108], header[108:116], header[116:124] = b"0000644\0", b"0000000\0", b"0000000\0"
        header[124:136], header[136:148] = b"%011o\0" % len(content), b"00000000000\0"
        header[156:157], header[257:265] = kind, b"ustar\x0000"
        _tar_sum(header, 0)
        data += header + content + bytes(-len(content) % 512)
    return bytes(data) + bytes(1024)


def _record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while len(str(length)) + len(key) + len(value) + 3 != length:
        length = len(str(length)) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def _bombs() -> Iterator[tuple[str, bytes]]:
    for digits in (20, 400, 5000):
        yield f"pax size of {digits} digits", _pax(_record(b"size", b"9" * digits))
    for value in (b"-1", b"1e9", b"nan", b"", "\u0665".encode(), b"0x10", b"1_000"):
        yield f"pax size {value!r}", _pax(_record(b"size", value))
    yield "pax mtime", _pax(_record(b"mtime", b"9" * 5000) + _record(b"uid", b"9" * 5000))
    yield "pax path", _pax(_record(b"path", b"\x1b[2J" + b"x" * 100000))
    yield "pax length", _pax(b"9" * 5000 + b" size=1\n")
    yield "pax length 0", _pax(b"0 size=1\n")
    for sparse in (
        _record(b"GNU.sparse.major", b"1")
        + _record(b"GNU.sparse.minor", b"0")
        + _record(b"GNU.sparse.name", b"a.png"),
        _record(b"GNU.sparse.map", b"0," * 50000),
        _record(b"GNU.sparse.map", b"9" * 5000 + b",1"),
        _record(b"GNU.sparse.size", b"9" * 5000),
        _record(b"GNU.sparse.numblocks", b"9" * 5000),
    ):
        yield "pax sparse", _pax(sparse, b"100000000000000\n" + b"1\n" * 100000)
    header = _pax(_record(b"comment", b"x"))[:1024]
    yield "pax chain", header * 3000
    zeros = bytes(1 << 24)
    for name, compress in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)):
        yield f"zeros in {name}", compress(zeros)
    big = io.BytesIO()
    with tarfile.open(fileobj=big, mode="w") as tar:
        info = tarfile.TarInfo("a.png")
        info.size = 1 << 28
        tar.addfile(info, io.BytesIO(bytes(1 << 28)))
    yield "image of zeros in gz", gzip.compress(big.getvalue())
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for number in range(4):
                archive.writestr(f"{number}.png", zeros)
        data = bytearray(file.getvalue())
        yield f"zip of zeros {method}", bytes(data)
        # The directory claims little.
        at = data.find(b"PK\x01\x02")
        while at >= 0:
            struct.pack_into("<I", data, at + 24, 100_000)
            at = data.find(b"PK\x01\x02", at + 4)
        yield f"zip of zeros that claims little {method}", bytes(data)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(30_000):
            archive.writestr(zipfile.ZipInfo(f"{number}.png"), b"")
    yield "zip of 30,000 members", file.getvalue()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", b"x" * 1000)
    data = bytearray(file.getvalue())
    start = 30 + len("a.png")
    struct.pack_into("<BI", data, start + 4, 0x5D, 0xFFFFFFFF)
    yield "zip of LZMA that wants 4 GB", bytes(data)
    for properties in (0xFF, 0xE0, 0x00):
        data[start + 4] = properties
        yield "zip of LZMA with bad properties", bytes(data)
    struct.pack_into("<H", data, start + 2, 0xFFFF)
    yield "zip of LZMA with a bad length", bytes(data)
    for number in (0xFFFF, 0xFFFFFFFF):
        end = data.rfind(b"PK\x05\x06")
        struct.pack_into("<HHII", data, end + 8, number & 0xFFFF, number & 0xFFFF, number, number)
        yield "zip whose directory lies", bytes(data)
    xz = bytearray(lzma.compress(bytes(1000), check=lzma.CHECK_CRC32, preset=9))
    yield "xz cut", bytes(xz[:20])
