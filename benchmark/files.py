"""Writing files so that a half-written one is never taken for a whole one."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from srbench.errors import SrbenchError

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
