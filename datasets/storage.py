"""Files of the datasets: hashed, written whole or not at all, by one writer at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from srbench.datasets.interface import DatasetError, Pixels

LOCK = ".lock"


def sha256_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
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
