"""Writing files so that a half-written one is never taken for a whole one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from srbench.datasets.base import Pixels
from srbench.utils.errors import DatasetError, SrbenchError

_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path``; on success flush it to disk and rename it over ``path``.

    Raises:
        SrbenchError: the folder cannot be written or the disk is full; nothing of ``path`` has changed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise SrbenchError(
            f"Cannot write {path}: {error.strerror or error}. Choose another folder."
        ) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise SrbenchError(f"Cannot write {path}: {error.strerror or error}. Nothing was changed.") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 atomically."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def sha256_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    import hashlib

    with path.open("rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def safe_name(text: str) -> str:
    """``text`` as a name of a file on any system: ``sem_pixel:dose=60@1`` becomes ``sem_pixel_dose_60@1``.

    Runs of other characters than letters, digits and ``_.-+@`` become one ``_``. Different texts may become
    equal; add a hash where that must not happen.
    """
    name = re.sub(r"[^A-Za-z0-9_.+@-]+", "_", text).strip("_.") or "_"
    # Windows keeps these names for devices, whatever their ending.
    return f"_{name}" if name.partition(".")[0].upper() in _DEVICES else name


def unique_name(text: str, length: int = 80) -> str:
    """Like ``safe_name``, and different texts stay different, also where case does not count.

    A hash is added where something was replaced or cut, and to names with capitals.
    """
    import hashlib

    name = safe_name(text)[:length]
    if name == text.lower():
        return name
    return f"{name}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


# Files of the datasets: hashed, written whole or not at all, by one writer at a time.

LOCK = ".lock"


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


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` beside ``path``, flush it to the disk, rename it over ``path``.

    Raises:
        DatasetError: the disk is full or the folder cannot be written; ``path`` is as before.
    """
    with writing_to(path.parent):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                flush(file)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


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
def writing_to(folder: Path) -> Iterator[None]:
    """Create ``folder``; turn the system's refusals to write there into a DatasetError.

    Raises:
        DatasetError: says what failed and what to do: free space or choose another home.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise DatasetError(_why_not(folder, error)) from error


def _why_not(folder: Path, error: OSError) -> str:
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"Cannot write to {folder}: {reason}. What was there is unchanged. Free some space, or set "
            "SRBENCH_HOME to a folder on a larger disk, and run the same command again."
        )
    return (
        f"Cannot write to {folder}: {reason}. What was there is unchanged. Set SRBENCH_HOME to a folder you "
        "can write to."
    )


@contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold ``folder`` for writing; the system lets go when the process ends, however it ends.

    Args:
        folder: created when missing.
        wait: seconds to wait for another process that holds it.

    Raises:
        DatasetError: another process holds it, or it cannot be written.
    """
    deadline = time.monotonic() + wait
    with writing_to(folder):
        file = (folder / LOCK).open("a+b")
    with file:
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                raise DatasetError(
                    f"Another srbench is writing to {folder}. Wait for it, then run the command again: "
                    "it goes on from what is there."
                )
            time.sleep(0.1)
        yield


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


# Small JSON files that carry the hash of their own content: one changed byte is noticed on reading.

_SEAL = "sha256 of content"


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` with its hash, whole or not at all.

    Raises:
        DatasetError: the folder cannot be written.
    """
    write_atomically(path, canonical_json({"content": content, _SEAL: _hash(content)}))


def read_sealed(path: Path, remedy: str) -> dict[str, Any] | None:
    """What :func:`write_sealed` wrote; None where there is no file.

    Args:
        path: the file.
        remedy: what to do where it is damaged, as a sentence.

    Raises:
        DatasetError: it cannot be read, or is not as it was written.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        raw = json.loads(data)
        content: dict[str, Any] = raw["content"]
        # Written in one way only, so that a change in the white space is one too.
        whole = data == canonical_json({"content": content, _SEAL: _hash(content)})
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise DatasetError(f"{path} has changed since srbench wrote it. {remedy}")
    return content


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()


# What a file holds, in one reading: its size, md5 and sha256.

BLOCK = 1 << 20


@dataclass(frozen=True)
class Content:
    """Size in bytes, md5 and sha256 (hex) of some bytes."""

    size: int
    md5: str
    sha256: str


class Digest:
    """Hashes bytes as they come; repositories publish md5, srbench itself relies on sha256."""

    def __init__(self) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        self._md5.update(data)
        self._sha256.update(data)

    @property
    def content(self) -> Content:
        """What has come so far."""
        return Content(self.size, self._md5.hexdigest(), self._sha256.hexdigest())


def digest_of(path: Path, told: Callable[[int], None] | None = None) -> Digest:
    """Read a file through.

    Args:
        path: the file.
        told: given the bytes read so far, after each block; what it raises ends the reading.
    """
    digest = Digest()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            if told is not None:
                told(digest.size)
    return digest
