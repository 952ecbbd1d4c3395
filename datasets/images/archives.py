"""Images out of tar and zip archives, one after another, without unpacking anything to the disk.

A member that could do harm, or is no image by its name, is passed over and its reason kept; the others are
never lost to it. Tars are read once from front to back by :mod:`tarfile`, which takes a damaged or missing
header for the end of the archive and believes the length of an extended header: both are errors here.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

from srbench.datasets.images.decode import SUFFIXES
from srbench.utils.errors import DatasetError
from srbench.utils.files import open_regular, read_regular

_Kind = Literal["file", "folder", "link", "device", "encrypted", "other"]

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_REFUSED_KINDS: Mapping[_Kind, str] = {
    "link": "a link, not a file; links are not followed",
    "device": "a device or pipe, not a file",
    "encrypted": "encrypted",
    "other": "of a kind that is no plain file",
}
_TAR_KINDS: Mapping[bytes, _Kind] = {
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
_EXTENDED_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.XGLTYPE,
)
# Names of files and remarks of their writers; GNU tar itself stops at far less.
_LONGEST_HEADER = 1 << 20
_LARGEST_SIZE = 1 << 62
_CHUNK = 1 << 16
_SMALL_CHUNK = 1 << 12
# xz -9 needs 65 MiB to unpack; a header may ask for 4 GiB.
_XZ_MEMORY = 1 << 27


class ArchiveError(DatasetError):
    """An archive that is damaged, cut short, no archive, or a bomb.

    Attributes:
        position: byte (of the unpacked tar, or of the zip) up to which everything was good.
    """

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True)
class Limits:
    """What is taken for absurd in an archive of images.

    Attributes:
        member_bytes: a larger member is refused, unread.
        ratio: unpacked to packed bytes, of a member of a zip or of a whole compressed tar; images hardly
            compress, bombs do by 1000 and more.
        free_bytes: unpacking to this many bytes is harmless whatever the ratio.
        total_bytes: a compressed archive that unpacks to more is not read further.
    """

    member_bytes: int = 1 << 29
    ratio: int = 100
    free_bytes: int = 1 << 24
    total_bytes: int = 1 << 38

    def most_unpacked(self, packed: int) -> int:
        """The bytes that ``packed`` compressed bytes may unpack to."""
        return min(max(packed * self.ratio, self.free_bytes), self.total_bytes)


_DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Member:
    """One image file of an archive.

    Attributes:
        name: path within the archive, with forward slashes, relative, without ``.`` and ``..``.
        data: the bytes of the file.
        position: byte where it starts: of a tar's (unpacked) content, or of the zip. Grows from one to the
            next, so ``position`` of the archive's size tells the progress in a plain tar or a zip.
    """

    name: str
    data: bytes
    position: int


def members(
    path: Path,
    refused: MutableMapping[str, str] | None = None,
    *,
    suffixes: Collection[str] = SUFFIXES,
    select: Callable[[str], bool] | None = None,
    limits: Limits = _DEFAULT_LIMITS,
) -> Iterator[Member]:
    """The image files of a tar (plain, gzip, bzip2, xz) or zip archive, in the order of their bytes.

    The kind of archive is told by its content, not by its name. Refused, each with its reason in
    ``refused``: absolute paths and ones with ``..``, links, devices and pipes, encrypted and sparse members,
    members larger than the limits or compressed beyond belief, the ``._`` files of macOS, names that are no
    image's, names with control characters, a second member of one name, and (zip) damaged members. Folders
    are passed over. Memory holds one member's bytes and the names.

    Args:
        path: the archive.
        refused: gains the name and the reason of every member that is not given. It is complete when the
            iteration ends, by its end or by an ArchiveError.
        suffixes: lower-case endings of the names to take; empty: all names.
        select: called with every acceptable name; where it says False the member is passed over (in a plain
            tar or a zip without reading it) and not counted as refused.
        limits: sizes taken for absurd.

    Raises:
        ArchiveError: no archive, cut short, damaged, or a bomb; the message names the file and the byte. All
            members before that place have been given. (A zip has its directory at its end: one cut short
            gives nothing.)
        OSError: the file cannot be read.
    """
    refused = {} if refused is None else refused
    seen: set[str] = set()

    def refuse(name: str, reason: str) -> None:
        refused[name if name.isprintable() else ascii(name)] = reason  # fit for a terminal

    with open_regular(path) as file:
        start = file.read(4)
    if not start:
        raise ArchiveError(f"{path} is empty. Obtain it again.")
    for entry in (_zip_entries if start in _ZIP_STARTS else _tar_entries)(path, limits):
        if entry.kind == "folder":
            continue
        parts = entry.name.replace("\\", "/").split("/")
        name = "/".join(part for part in parts if part not in ("", "."))
        if reason := _unsafe_name(entry.name, parts):
            refuse(entry.name, reason)
        elif reason := _unfit(name, entry, suffixes, limits):
            refuse(name, reason)
        elif name in seen:
            refuse(f"{name} (again, at byte {entry.position:,})", "a member of this name came before")
        else:
            seen.add(name)
            if select is None or select(name):
                try:
                    data = entry.read()
                except _DamagedMember as error:
                    refuse(name, str(error))
                    continue
                yield Member(name, data, entry.position)


def image_names(
    container: Path, refused: MutableMapping[str, str], suffixes: Collection[str] = SUFFIXES
) -> list[str]:
    """The names of the image files: relative, with forward slashes, sorted; hidden ones are left out.

    Args:
        container: a folder, or a tar or zip archive.
        refused: gains what an archive holds that could do harm, with the reason.
        suffixes: lower-case endings of image files.

    Raises:
        ArchiveError: the archive is damaged.
        OSError: the container cannot be read.
    """
    names: list[str] = []
    if container.is_dir():
        for folder, folders, files in os.walk(container):
            folders[:] = [name for name in folders if not name.startswith(".")]
            names += [
                (Path(folder) / file).relative_to(container).as_posix()
                for file in files
                if not file.startswith(".") and Path(file).suffix.lower() in suffixes
            ]
        return sorted(names)

    def collect(name: str) -> bool:
        if not name.rpartition("/")[2].startswith("."):
            names.append(name)
        return False

    for _ in members(container, refused, suffixes=suffixes, select=collect):
        raise AssertionError("no member was selected")
    return sorted(names)


def read_images(
    container: Path, names: Collection[str], suffixes: Collection[str] = SUFFIXES
) -> Iterator[tuple[str, bytes | Exception]]:
    """Name and bytes of the named files, or why a file cannot be read; an archive in its own order.

    Raises:
        ArchiveError: the archive is damaged; what lies before the damage has been given.
    """
    if not container.is_dir():
        damaged: dict[str, str] = {}
        for member in members(container, damaged, suffixes=suffixes, select=frozenset(names).__contains__):
            yield member.name, member.data
        yield from ((name, ValueError(reason)) for name, reason in damaged.items() if name in names)
        return
    for name in sorted(names):
        try:
            yield name, read_regular(container / name, _DEFAULT_LIMITS.member_bytes)
        except OSError as error:
            yield name, ValueError(f"cannot be read: {error.strerror or error}")


@dataclass(frozen=True)
class _ArchiveEntry:
    """One member as its archive describes it.

    Attributes:
        name: as written in the archive, unchecked.
        kind: only a ``file`` has content.
        size: bytes of its content.
        position: byte of its header (in the unpacked tar, or in the zip).
        read: its content; works until the next entry is requested.
        packed: compressed bytes, where members are compressed one by one.
    """

    name: str
    kind: _Kind
    size: int
    position: int
    read: Callable[[], bytes]
    packed: int | None = None


def _unsafe_name(name: str, parts: list[str]) -> str:
    """Why a member's path could do harm; empty where it could not."""
    if not name or not any(part not in ("", ".") for part in parts):
        return "a member without a name"
    if parts[0] == "" or parts[0][1:2] == ":":
        return "an absolute path"
    if ".." in parts:
        return "a path that leads out of its folder (..)"
    # Lone surrogates stand for bytes that are no UTF-8: odd, but harmless.
    if any(not letter.isprintable() and not "\udc80" <= letter <= "\udcff" for letter in name):
        return "a name with control characters"
    return ""


def _unfit(name: str, entry: _ArchiveEntry, suffixes: Collection[str], limits: Limits) -> str:
    """Why a member is not taken for an image; empty where it is."""
    last = name.rpartition("/")[2]
    if entry.kind != "file":
        return _REFUSED_KINDS[entry.kind]
    if last.startswith("._"):
        return "metadata that macOS adds, not an image"
    if suffixes and Path(last).suffix.lower() not in suffixes:
        return "not an image file by its name"
    if entry.size > limits.member_bytes:
        return f"{entry.size:,} bytes; at most {limits.member_bytes:,} are taken"
    if entry.packed is not None and entry.size > limits.most_unpacked(entry.packed):
        return f"unpacks from {entry.packed:,} to {entry.size:,} bytes: no image compresses like that"
    return ""


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}" if str(error) else type(error).__name__


class _DamagedMember(Exception):
    """One member of a zip cannot be unpacked; the others can."""


def _zip_entries(path: Path, limits: Limits) -> Iterator[_ArchiveEntry]:
    size = path.stat().st_size
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # what zipfile makes of a directory that contradicts itself
        raise ArchiveError(
            f"{path} is damaged at byte {size:,}: a zip without its directory, which stands at the end "
            f"({_said(error)}). Obtain it again.",
            size,
        ) from error
    with archive:
        unpacked = 0
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            # One member that claims too much is refused alone; this is for many that claim a little less.
            if info.file_size <= limits.most_unpacked(info.compress_size):
                unpacked += info.file_size
            if unpacked > limits.most_unpacked(size):
                raise ArchiveError(
                    f"{path} unpacks to more than {limits.most_unpacked(size):,} bytes, far beyond what "
                    f"images compress to; stopped at byte {info.header_offset:,}.",
                    info.header_offset,
                )
            yield _zip_entry(archive, info)


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _ArchiveEntry:
    def read() -> bytes:
        # Of bzip2 and LZMA zipfile unpacks all that it reads, whatever it was asked for: 64 KiB of them can
        # become a gigabyte.
        bounded = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        piece = _CHUNK if bounded else _SMALL_CHUNK
        data = bytearray()
        try:
            with archive.open(info) as member:
                while len(data) < info.file_size and (
                    more := member.read(min(piece, info.file_size - len(data)))
                ):
                    data += more
                if member.read(1):
                    raise ValueError("it holds more than its directory says")
        except Exception as error:  # what zipfile and its codecs make of damage
            raise _DamagedMember(
                f"damaged at byte {info.header_offset:,} of the archive ({_said(error)})"
            ) from error
        if len(data) != info.file_size:
            raise _DamagedMember(f"cut short: {len(data):,} of {info.file_size:,} bytes")
        return bytes(data)

    return _ArchiveEntry(
        info.filename, _zip_kind(info), info.file_size, info.header_offset, read, info.compress_size
    )


def _zip_kind(info: zipfile.ZipInfo) -> _Kind:
    mode = info.external_attr >> 16
    if info.filename.endswith("/"):
        return "folder"
    if info.flag_bits & 1:
        return "encrypted"
    if stat.S_ISLNK(mode):
        return "link"
    return "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "device"


class _DamagedHeader(Exception):
    """A header of a tar that is damaged, missing or absurd."""


class _TarHeader(tarfile.TarInfo):
    """A header, checked: :mod:`tarfile` takes what it cannot read for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _TarHeader:
        if len(buf) < tarfile.BLOCKSIZE:
            raise _DamagedHeader("the archive is cut short within the next header or the mark of its end")
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if any(buf):
                raise _DamagedHeader(f"no tar header where one should be ({error})") from error
            raise  # a block of zeros: the mark of the end
        if info.type in _EXTENDED_HEADERS and not 0 <= info.size <= _LONGEST_HEADER:
            raise _DamagedHeader(f"an extended header of {info.size:,} bytes")
        return info


class _CheckedTar(tarfile.TarFile):
    tarinfo = _TarHeader
    encoding = "utf-8"


def _tar_entries(path: Path, limits: Limits) -> Iterator[_ArchiveEntry]:
    """Every member of the archive in its order.

    Raises:
        ArchiveError: cut short, damaged, or a compressed one that unpacks to absurdly much; all entries
            before that place have been given.
    """
    size, position = path.stat().st_size, 0
    with open_regular(path) as file, ExitStack() as stack:
        unpacked = _unpacked(file, stack, limits.most_unpacked(size))
        plain = unpacked is None

        def damaged(reason: object) -> ArchiveError:
            where = f"byte {position:,}"
            if not plain:
                where += f" of its unpacked content (about byte {file.tell():,} of the file)"
            return ArchiveError(f"{path} is damaged at {where}: {reason}. Obtain it again.", position)

        @contextmanager
        def damage_named() -> Iterator[None]:
            try:
                yield
            except (_DamagedHeader, _TooMuch) as error:
                raise damaged(error) from error
            except ArchiveError:
                raise
            except Exception as error:  # what tarfile makes of headers that contradict themselves
                raise damaged(f"cannot be unpacked ({_said(error)})") from error

        def entry_of(info: tarfile.TarInfo) -> _ArchiveEntry:
            kind = "other" if info.issparse() else _TAR_KINDS.get(info.type, "other")
            claimed = info.pax_headers.get("size", "0")
            if not 0 <= info.size < _LARGEST_SIZE or not (claimed.isascii() and claimed.isdecimal()):
                raise damaged(f"{info.name[:80]!r} claims a size of {claimed[:20]!r} bytes")
            end = info.offset_data + info.size if kind == "file" else archive.offset
            if plain and end > size:
                raise damaged(f"the archive is cut short within {info.name}, which ends at byte {end:,}")
            if not plain and end > limits.most_unpacked(size):
                raise damaged(_TooMuch(limits.most_unpacked(size)))

            def read() -> bytes:
                with damage_named():
                    content = archive.extractfile(info)
                    data = content.read() if content is not None else b""
                    if len(data) < info.size:  # tarfile gives what is there
                        raise EOFError(f"cut short within {info.name}")
                    return data

            return _ArchiveEntry(info.name, kind, info.size, info.offset, read)

        with damage_named():
            # A plain tar can be skipped through; the check sums of a compressed one are those of its module.
            archive = stack.enter_context(
                _CheckedTar.open(fileobj=file, mode="r:")
                if unpacked is None
                # Block by block: what lies before damage is given, to the last member.
                else _CheckedTar.open(fileobj=unpacked, mode="r|", bufsize=tarfile.BLOCKSIZE)
            )
            while (info := archive.next()) is not None:
                yield entry_of(info)
                position = archive.offset
            # The mark of the end: two blocks of zeros, or one at the very end.
            if any(archive.fileobj.read(tarfile.BLOCKSIZE)):
                raise damaged("a block of zeros with more behind it")
            while not plain and archive.fileobj.read(_CHUNK):
                pass  # to the end of a compressed archive, where the check sums stand


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _unpacked(file: IO[bytes], stack: ExitStack, most: int) -> _BoundedStream | None:
    """The unpacked content, up to ``most`` bytes; None where the file is not compressed."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return _BoundedStream(stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb")), most)
    if start.startswith(b"BZh"):
        return _BoundedStream(stack.enter_context(bz2.BZ2File(file)), most)
    return _BoundedStream(_Xz(file), most) if start.startswith(b"\xfd7zXZ\x00") else None


class _TooMuch(Exception):
    def __init__(self, most: int) -> None:
        super().__init__(f"it unpacks to more than {most:,} bytes, far beyond what images compress to")


class _BoundedStream(io.BufferedIOBase):
    """The unpacked bytes of a compressed tar, up to a limit."""

    def __init__(self, stream: _Readable, most: int) -> None:
        self._stream = stream
        self._most = most
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = self._stream.read(-1 if size is None else size)
        self._position += len(data)
        if self._position > self._most:
            raise _TooMuch(self._most)
        return data


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
