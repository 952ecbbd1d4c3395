"""Images out of tar and zip archives, one after another, without unpacking anything to the disk.

::

    refused: dict[str, str] = {}
    for member in members(Path("Fibres.tar"), refused):
        use(member.name, member.data)

Archives come from strangers. A member that could do harm, or is no image by its name, is passed over and its
reason kept; the others are never lost to it. Memory holds one member's bytes and the names.
"""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from srbench.datasets.archive_entry import ArchiveError, Entry, Kind, Limits
from srbench.datasets.decode import SUFFIXES
from srbench.datasets.tar_stream import tar_entries

__all__ = ["ArchiveError", "Limits", "Member", "members"]

_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_NO_CONTENT: dict[Kind, str] = {
    "link": "a link, not a file; links are not followed",
    "device": "a device or pipe, not a file",
    "encrypted": "encrypted",
    "other": "of a kind that is no plain file",
}
_DEFAULT_LIMITS = Limits()
# RuntimeError: a compression that this Python lacks, or a password.
_ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)


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
    wanted: Callable[[str], bool] | None = None,
    limits: Limits = _DEFAULT_LIMITS,
) -> Iterator[Member]:
    """The image files of a tar (plain, gzip, bzip2, xz) or zip archive, in the order of their bytes.

    The kind of archive is told by its content, not by its name. Refused, each with its reason in
    ``refused``: absolute paths and ones with ``..``, links, devices and pipes, encrypted and sparse members,
    members larger than the limits or compressed beyond belief, the ``._`` files of macOS, names that are no
    image's, names with control characters, a second member of one name, and (zip) damaged members. Folders
    are passed over.

    Args:
        path: the archive.
        refused: gains the name and the reason of every member that is not given. It is complete when the
            iteration ends, by its end or by an ArchiveError.
        suffixes: lower-case endings of the names to take; empty: all names.
        wanted: asked with every acceptable name; where it says False the member is passed over (in a plain
            tar or a zip without reading it) and not counted as refused.
        limits: sizes taken for absurd.

    Raises:
        ArchiveError: no archive, cut short, damaged, or a bomb; the message names the file and the byte. All
            members before that place have been given. (A zip has its directory at its end: one cut short
            gives nothing.)
        OSError: the file cannot be read.
    """
    gate = _Gate(frozenset(suffixes), limits, {} if refused is None else refused)
    for entry in _entries(path, limits):
        name = gate.admit(entry)
        if name is not None and (wanted is None or wanted(name)):
            try:
                data = entry.read()
            except _DamagedMember as error:
                gate.refuse(name, str(error))
                continue
            yield Member(name, data, entry.position)


class _Gate:
    """Decides by a member's description whether it may be read."""

    def __init__(self, suffixes: frozenset[str], limits: Limits, refused: MutableMapping[str, str]) -> None:
        self._suffixes = suffixes
        self._limits = limits
        self._refused = refused
        self._seen: set[str] = set()

    def admit(self, entry: Entry) -> str | None:
        """The member's clean name, or None: a folder, or refused."""
        if entry.kind == "folder":
            return None
        name = _clean(entry.name)
        unsafe = _unsafe_name(entry.name)
        reason = unsafe or self._unwanted(name, entry)
        if reason:
            self.refuse(entry.name if unsafe else name, reason)
            return None
        if name in self._seen:
            self.refuse(f"{name} (again, at byte {entry.position:,})", "a member of this name came before")
            return None
        self._seen.add(name)
        return name

    def refuse(self, name: str, reason: str) -> None:
        """Keep the reason, under a name fit for a terminal."""
        self._refused[name if name.isprintable() else ascii(name)] = reason

    def _unwanted(self, name: str, entry: Entry) -> str:
        last = name.rpartition("/")[2]
        if entry.kind != "file":
            return _NO_CONTENT[entry.kind]
        if last.startswith("._"):
            return "metadata that macOS adds, not an image"
        if self._suffixes and Path(last).suffix.lower() not in self._suffixes:
            return "not an image file by its name"
        if entry.size > self._limits.member_bytes:
            return f"{entry.size:,} bytes; at most {self._limits.member_bytes:,} are taken"
        if entry.packed is not None and entry.size > self._limits.most_unpacked(entry.packed):
            return f"unpacks from {entry.packed:,} to {entry.size:,} bytes: no image compresses like that"
        return ""


def _clean(name: str) -> str:
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _unsafe_name(name: str) -> str:
    parts = name.replace("\\", "/").split("/")
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


def _entries(path: Path, limits: Limits) -> Iterator[Entry]:
    with path.open("rb") as file:
        start = file.read(4)
    if not start:
        raise ArchiveError(f"{path} is empty. Obtain it again.")
    return _zip_entries(path, limits) if start in _ZIP_STARTS else tar_entries(path, limits)


class _DamagedMember(Exception):
    """One member of a zip cannot be unpacked; the others can."""


def _zip_entries(path: Path, limits: Limits) -> Iterator[Entry]:
    size = path.stat().st_size
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ArchiveError(
            f"{path} is damaged at byte {size:,}: a zip without its directory, which stands at the end "
            f"({error}). Obtain it again.",
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


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    def read() -> bytes:
        try:
            with archive.open(info) as member:
                data = member.read(info.file_size)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise _DamagedMember(
                f"damaged at byte {info.header_offset:,} of the archive ({error})"
            ) from error
        if len(data) != info.file_size:
            raise _DamagedMember(f"cut short: {len(data):,} of {info.file_size:,} bytes")
        return data

    return Entry(info.filename, _zip_kind(info), info.file_size, info.header_offset, read, info.compress_size)


def _zip_kind(info: zipfile.ZipInfo) -> Kind:
    mode = info.external_attr >> 16
    if info.is_dir():
        return "folder"
    if info.flag_bits & 1:
        return "encrypted"
    if stat.S_ISLNK(mode):
        return "link"
    return "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "device"
