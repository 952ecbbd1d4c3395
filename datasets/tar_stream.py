"""Tar archives read once from front to back, plain or compressed (gzip, bzip2, xz), with bounded memory.

The standard library's reader takes a damaged or missing header for the end of the archive and believes any
size an extended header claims. Here the end is the mark that POSIX asks for (a block of zeros), everything
else is an error with its byte position, and an extended header may not be longer than a name needs.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from srbench.datasets.archive_entry import ArchiveError, Entry, Kind, Limits

_BLOCK = 512
_CHUNK = 1 << 20
# Names of files and remarks of their writers; GNU tar itself stops at far less.
_LONGEST_HEADER = 1 << 20
# xz -9 needs 65 MiB to unpack; a header may ask for 4 GiB.
_XZ_MEMORY = 1 << 27

_KINDS: Mapping[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "device",
}
_EXTENDED = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.XGLTYPE,
)
# Link, device and folder headers may carry a size, but no data follows them.
_WITHOUT_DATA = (
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
)
_DAMAGE = (EOFError, OSError, zlib.error, lzma.LZMAError)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def tar_entries(path: Path, limits: Limits) -> Iterator[Entry]:
    """Every member of the archive in its order; ``Entry.read`` works until the next one is asked for.

    Raises:
        ArchiveError: cut short, damaged, or a compressed one that unpacks to absurdly much; all entries
            before that place have been given.
    """
    with path.open("rb") as file, ExitStack() as stack:
        packed = file.read(6)
        file.seek(0)
        unpacked = _unpacked(file, packed, stack)
        whole = None if unpacked is not file else path.stat().st_size
        most = None if whole is not None else limits.most_unpacked(path.stat().st_size)
        source = _Source(path, unpacked, file, whole, most)
        extended = _Extended()
        while (block := source.header()) is not None:
            yield from _next_entry(source, block, extended)
        source.drain()


def _unpacked(file: IO[bytes], start: bytes, stack: ExitStack) -> _Readable:
    if start.startswith(b"\x1f\x8b"):
        return stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))
    if start.startswith(b"BZh"):
        return stack.enter_context(bz2.BZ2File(file))
    return _Xz(file) if start.startswith(b"\xfd7zXZ\x00") else file


class _Source:
    """The unpacked bytes of a tar: counted, bounded, and never fewer than asked for."""

    def __init__(
        self, path: Path, stream: _Readable, file: IO[bytes], whole: int | None, most: int | None
    ) -> None:
        self.path = path
        self.position = 0
        self._stream = stream
        self._file = file
        self._whole = whole  # size of a plain tar, in which skipping is seeking
        self._most = most

    def header(self) -> bytes | None:
        """The next header block, None at the end mark: two blocks of zeros, or one at the very end."""
        block = self.take(_BLOCK, "the next header or the mark of its end")
        if block.strip(b"\0"):
            return block
        if self._read(_BLOCK).strip(b"\0"):
            raise self.damaged("a block of zeros with more behind it", -_BLOCK)
        return None

    def take(self, size: int, what: str) -> bytes:
        """The next ``size`` bytes."""
        self._check(self.position + size, what)
        parts, missing = [], size
        while missing:
            part = self._read(min(missing, _CHUNK))
            if not part:
                raise self.damaged(f"the archive is cut short within {what}", size - missing)
            parts.append(part)
            missing -= len(part)
        self.position += size
        return b"".join(parts)

    def skip(self, size: int, what: str) -> None:
        """Pass over ``size`` bytes."""
        if self._whole is not None:
            self._check(self.position + size, what)
            self.position += size
            self._file.seek(self.position)
            return
        while size > 0:
            part = min(size, _CHUNK)
            self.take(part, what)
            size -= part

    def drain(self) -> None:
        """Read a compressed archive to its end, where the check sums stand."""
        while self._whole is None and (part := self._read(_CHUNK)):
            self.position += len(part)
            self._check(self.position, "what follows the last member")

    def damaged(self, why: str, further: int = 0) -> ArchiveError:
        """An error that names this place."""
        where = f"byte {self.position + further:,}"
        if self._whole is None:
            where += f" of its unpacked content (about byte {self._file.tell():,} of the file)"
        return ArchiveError(f"{self.path} is damaged at {where}: {why}. Obtain it again.", self.position)

    def _check(self, end: int, what: str) -> None:
        if self._whole is not None and end > self._whole:
            raise self.damaged(
                f"the archive is cut short within {what}, which ends at byte {end:,}",
                max(self._whole - self.position, 0),
            )
        if self._most is not None and end > self._most:
            raise self.damaged(
                f"it unpacks to more than {self._most:,} bytes, far beyond what images compress to"
            )

    def _read(self, size: int) -> bytes:
        try:
            return self._stream.read(size)
        except _DAMAGE as error:
            raise self.damaged(f"cannot be unpacked ({error})") from error


@dataclass
class _Extended:
    """What extended headers said of the member that follows them, and of all that follow."""

    following: dict[str, str] = field(default_factory=dict)
    all: dict[str, str] = field(default_factory=dict)

    def take(self) -> Mapping[str, str]:
        said = {**self.all, **self.following}
        self.following.clear()
        return said


def _next_entry(source: _Source, block: bytes, extended: _Extended) -> Iterator[Entry]:
    start = source.position - _BLOCK
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        source.position = start
        raise source.damaged(f"no tar header where one should be ({error})") from error
    if info.type in _EXTENDED:
        _read_extended(source, info, extended)
        return
    said = extended.take()
    name, size = said.get("path", info.name), _size(source, info, said)
    kind = "other" if _is_sparse(said) else _KINDS.get(info.type, "other")
    data = 0 if info.type in _WITHOUT_DATA else size
    end = source.position + data + -data % _BLOCK
    begin = source.position

    def read() -> bytes:
        if source.position != begin:
            raise ValueError(f"{name} was read already, or the archive has moved on")
        return source.take(data, name)

    yield Entry(name, kind, data, start, read)
    source.skip(end - source.position, name)


def _size(source: _Source, info: tarfile.TarInfo, said: Mapping[str, str]) -> int:
    text = said.get("size")
    size = info.size if text is None else int(text) if text.isdecimal() else -1
    if size < 0:
        raise source.damaged(f"{info.name!r} claims to have {text or size} bytes")
    return size


def _is_sparse(said: Mapping[str, str]) -> bool:
    return any(key.startswith("GNU.sparse.") for key in said)


def _read_extended(source: _Source, info: tarfile.TarInfo, extended: _Extended) -> None:
    if not 0 <= info.size <= _LONGEST_HEADER:
        raise source.damaged(f"an extended header of {info.size:,} bytes")
    data = source.take(info.size, "an extended header")
    source.skip(-info.size % _BLOCK, "an extended header")
    if info.type == tarfile.GNUTYPE_LONGNAME:
        extended.following["path"] = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
    elif info.type == tarfile.XGLTYPE:
        extended.all.update(_pax_records(source, data))
    elif info.type != tarfile.GNUTYPE_LONGLINK:
        extended.following.update(_pax_records(source, data))


def _pax_records(source: _Source, data: bytes) -> Mapping[str, str]:
    """``<length> <key>=<value>`` and a newline, again and again (POSIX pax)."""
    records, position = {}, 0
    while position < len(data) and data[position]:
        digits, _, _ = data[position : position + 20].partition(b" ")
        length = int(digits) if digits.isdigit() else 0
        end = position + length
        if length <= len(digits) + 1 or end > len(data):
            raise source.damaged("an extended header whose records do not fit together")
        key, _, value = data[position + len(digits) + 1 : end - 1].partition(b"=")
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        position = end
    return records


class _Xz:
    """An xz file unpacked piece by piece, with a bound on the memory that its header may ask for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decompressor = self._fresh()
        self._left = b""

    def read(self, size: int, /) -> bytes:
        """Some of the next bytes, at most ``size``; none at the end."""
        while True:
            if self._decompressor.eof:
                self._left = (self._decompressor.unused_data or self._file.read(_CHUNK)).lstrip(b"\0")
                if not self._left:
                    return b""
                self._decompressor = self._fresh()
            elif self._decompressor.needs_input and not self._left:
                self._left = self._file.read(_CHUNK)
                if not self._left:
                    raise EOFError("the xz stream is cut short")
            data, self._left = self._decompressor.decompress(self._left, max_length=size), b""
            if data:
                return data

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
