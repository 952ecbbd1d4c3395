"""Files: opened only where they are regular files, written whole or not at all, by one writer at a time.

Also their hashes, JSON of files that anybody may have written, and names and texts that any system takes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from srbench.utils.errors import SrbenchError, StorageError
from srbench.utils.image import Pixels

BLOCK = 1 << 20
LOCK = ".lock"
_CHECKSUM = "sha256 of content"
LONGEST_JSON = 1 << 28
"""Bytes of a JSON file that is read: an index of 10,000 images has 8 MB."""
# Control characters, separators of lines, what turns the direction of writing, and lone surrogates, which
# Python puts for the bytes of a file's name that are not UTF-8 (PEP 383).
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_KINDS_OF_FILES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file to read, behind a link too, without ever waiting for anything else.

    To open a FIFO waits for its writer, to open a device may act on it, and ``/dev/zero`` has no end.

    Raises:
        OSError: it cannot be opened, or is a folder, FIFO, socket or device (EINVAL, with its kind in words).
    """
    return open(path, "rb", opener=_regular_handle)


def _regular_handle(name: str, flags: int) -> int:
    _check_regular(Path(name).stat().st_mode, name)
    for flag in ("O_NONBLOCK", "O_NOCTTY"):
        flags |= getattr(os, flag, 0)
    handle = os.open(name, flags)
    try:
        # What was looked at may have been replaced since.
        _check_regular(os.fstat(handle).st_mode, name)
    except OSError:
        os.close(handle)
        raise
    return handle


def _check_regular(mode: int, name: str) -> None:
    if not stat.S_ISREG(mode):
        kind = next((words for is_kind, words in _KINDS_OF_FILES if is_kind(mode)), "no file")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", name)


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file of at most ``most`` bytes.

    Raises:
        OSError: as :func:`open_regular`; EFBIG where it is larger.
    """
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"more than the {most:,} bytes that such a file may have", str(path))
    return data


def parse_json(text: str | bytes) -> Any:
    """JSON that anybody may have written.

    Raises:
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file that anybody may have written.

    Raises:
        OSError: it cannot be read, is no regular file, or larger than ``LONGEST_JSON``.
        ValueError: not JSON, or nested too deeply.
    """
    return parse_json(read_regular(path, LONGEST_JSON))


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Create ``folder``; turn the system's refusals to write there into a StorageError.

    Raises:
        StorageError: says what failed and what to do: free space or choose another folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
        remedy = "Free some space, or choose" if full else "Choose"
        raise StorageError(
            f"Cannot write to {folder}: {reason}. What was there is unchanged. {remedy} another folder "
            "(SRBENCH_HOME sets where srbench keeps its own files) and run the same command again."
        ) from error


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path``; on success flush it to the disk and rename it over ``path``.

    Raises:
        StorageError: the folder cannot be written or the disk is full; nothing of ``path`` has changed.
    """
    with writing_to(path.parent):
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with temporary.open("xb") as file:
                yield file
                flush(file)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` atomically; errors as :func:`atomic_write`."""
    with atomic_write(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 atomically, lone surrogates escaped; errors as :func:`atomic_write`."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def flush(file: IO[bytes]) -> None:
    """Push what was written through to the disk."""
    file.flush()
    os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Push renames within ``folder`` through to the disk (where the system can)."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold ``folder`` for writing; the system lets go when the process ends, however it ends.

    Args:
        folder: created when missing.
        wait: seconds to wait for another process that holds it.

    Raises:
        StorageError: another process holds it, or it cannot be written.
    """
    import filelock

    lock = filelock.FileLock(folder / LOCK, timeout=wait)
    with writing_to(folder):
        try:
            lock.acquire(poll_interval=0.1)
        except filelock.Timeout:
            raise StorageError(
                f"Another srbench is writing to {folder}. Wait for it, then run the command again: "
                "it goes on from what is there."
            ) from None
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class FileHash:
    """Size in bytes, md5 and sha256 (hex) of some bytes."""

    size: int
    md5: str
    sha256: str


class Hasher:
    """Hashes bytes as they come; repositories publish md5, srbench itself relies on sha256."""

    def __init__(self) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def update(self, data: bytes) -> None:
        """Hash the next bytes."""
        self.size += len(data)
        self._md5.update(data)
        self._sha256.update(data)

    @property
    def result(self) -> FileHash:
        """Of what has come so far."""
        return FileHash(self.size, self._md5.hexdigest(), self._sha256.hexdigest())


def hash_file(path: Path, on_progress: Callable[[int], None] | None = None) -> Hasher:
    """Read a file through.

    Args:
        path: the file.
        on_progress: given the bytes read so far, after each block; what it raises ends the reading.
    """
    hasher = Hasher()
    with open_regular(path) as file:
        while block := file.read(BLOCK):
            hasher.update(block)
            if on_progress is not None:
                on_progress(hasher.size)
    return hasher


def sha256_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def pixel_hash(pixels: Pixels) -> str:
    """sha256 (hex) of shape, dtype and pixels: equal for equal images, whatever file held them."""
    digest = hashlib.sha256(f"{'x'.join(map(str, pixels.shape))} {pixels.dtype.name}\n".encode())
    digest.update(little_endian(pixels))
    return digest.hexdigest()


def little_endian(pixels: Pixels) -> memoryview:
    """The bytes of the pixels, row after row, low byte first."""
    little = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


def canonical_json(value: Any) -> bytes:
    """JSON bytes that are equal for equal values: what is written is also what is hashed."""
    return json.dumps(value, sort_keys=True, indent=1).encode("ascii")


def write_checksummed(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with the hash of its content, so that one changed byte is noticed on reading.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_bytes(path, _with_checksum(content))


def read_checksummed(path: Path, remedy: str) -> dict[str, Any] | None:
    """What :func:`write_checksummed` wrote; None where there is no file.

    Args:
        path: the file.
        remedy: what to do where it is damaged, as a sentence.

    Raises:
        SrbenchError: it cannot be read, or is not as it was written.
    """
    try:
        data = read_regular(path, LONGEST_JSON)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SrbenchError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        content: dict[str, Any] = parse_json(data)["content"]
        # Written in one way only, so that a change in the white space is one too.
        unchanged = data == _with_checksum(content)
    except (ValueError, KeyError, TypeError):
        unchanged = False
    if not unchanged:
        raise SrbenchError(f"{path} has changed since srbench wrote it. {remedy}")
    return content


def _with_checksum(content: Mapping[str, Any]) -> bytes:
    checksum = hashlib.sha256(canonical_json(content)).hexdigest()
    return canonical_json({"content": content, _CHECKSUM: checksum})


def printable(text: str) -> str:
    r"""``text`` in one line that any terminal and file takes.

    Bytes that were not UTF-8 become ``\xe9``, control characters ``\x0a`` or ``\u0085``.
    """
    return _UNPRINTABLE.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """``text`` with its lines as they are, each :func:`printable`."""
    return "\n".join(map(printable, text.split("\n")))


def printable_values(content: Any) -> Any:
    """JSON content whose texts are all :func:`printable_lines`, keys too."""
    if isinstance(content, str):
        return printable_lines(content)
    if isinstance(content, Mapping):
        return {printable_values(name): printable_values(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [printable_values(value) for value in content]
    return content


def name_to_id(name: str) -> str:
    r"""The name of a file as text that can be stored and printed: :func:`printable`, and reversible.

    A backslash that begins what looks like such an escape becomes ``\x5c``; other names stay as they are.
    """
    return printable(_ESCAPE.sub(lambda match: rf"\x5c{match[0][1:]}", name))


def id_to_name(text: str) -> str:
    """The name of a file behind what :func:`name_to_id` made of it."""

    def character(match: re.Match[str]) -> str:
        code = int(match[1] or match[2], 16)
        return chr(code + 0xDC00 if match[1] and code >= 0x80 else code)

    return _ESCAPE.sub(character, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"


def safe_name(text: str) -> str:
    """``text`` as a name of a file on any system: ``sem_pixel:dose=60@1`` becomes ``sem_pixel_dose_60@1``.

    Runs of other characters than letters, digits and ``_.-+@`` become one ``_``. Different texts may become
    equal; :func:`unique_name` keeps them apart.
    """
    name = re.sub(r"[^A-Za-z0-9_.+@-]+", "_", text).strip("_.") or "_"
    # Windows keeps these names for devices, whatever their ending.
    return f"_{name}" if name.partition(".")[0].upper() in _DEVICES else name


def unique_name(text: str, length: int = 80) -> str:
    """Like ``safe_name``, and different texts stay different, also where case does not count.

    A hash is added where something was replaced or cut, and to names with capitals.
    """
    name = safe_name(text)[:length]
    if name == text.lower():
        return name
    return f"{name}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
