"""Files: opened only where they are regular files, written whole or not at all, by one writer at a time.

Also their hashes, JSON that anybody may have written, and names that any system takes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import numpy as np

from srbench.utils.errors import SrbenchError, StorageError
from srbench.utils.image import Pixels
from srbench.utils.leftovers import remove_leftovers, remove_leftovers_once, temporary_name
from srbench.utils.progress import human_bytes
from srbench.utils.text import printable

_LOG = logging.getLogger(__name__)
BLOCK = 1 << 20
LOCK = ".lock"
_HOLDER = ".lock-holder"
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_CHECKSUM = "sha256 of content"
LONGEST_JSON = 1 << 28
"""Bytes of a JSON file that is read: an index of 10,000 images has 8 MB."""
_DEEPEST_JSON = 50
_KINDS_OF_FILES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


HOME_SETTING = "SRBENCH_HOME sets where srbench keeps its own files"
OUT_SETTING = "--out chooses it"
TEMPORARY_SETTING = "TMPDIR sets where temporary files go"


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file to read, behind a link too, without ever waiting for anything else.

    To open a FIFO waits for its writer, to open a device may act on it, and ``/dev/zero`` has no end.

    Raises:
        OSError: it cannot be opened, or is a folder, FIFO, socket or device (EINVAL, with its kind in words).
    """
    return open(path, "rb", opener=_regular_handle)


def _regular_handle(name: str, flags: int) -> int:
    _check_regular(os.stat(name).st_mode, name)  # noqa: PTH116 (a folder of images has thousands)
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
        ValueError: not JSON, or nested more than 50 deep.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error
    level = [content]
    for _ in range(_DEEPEST_JSON):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
    if level:
        raise ValueError(f"JSON that is nested more than {_DEEPEST_JSON} deep")
    return content


def read_json(path: Path) -> Any:
    """The content of a JSON file that anybody may have written.

    Raises:
        OSError: it cannot be read, is no regular file, or larger than ``LONGEST_JSON``.
        ValueError: not JSON, or nested too deeply.
    """
    return parse_json(read_regular(path, LONGEST_JSON))


@contextmanager
def writing_to(folder: Path, setting: str = HOME_SETTING) -> Iterator[None]:
    """Create ``folder``; turn the system's refusals to write there into a StorageError.

    Args:
        folder: created when missing.
        setting: how the user moves it elsewhere.

    Raises:
        StorageError: says what failed, on which disk, and what to do: free space or choose another folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise _refusal(folder, error, setting) from error


def _refusal(folder: Path, error: OSError, setting: str) -> StorageError:
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        reason += f"; {_disk_of(folder)}"
    elif error.errno == errno.EFBIG and (limit := _largest_file()):
        reason += f"; no file may be larger than {human_bytes(limit)} (ulimit -f)"
    remedy = "Free some space, or choose" if error.errno in _FULL else "Choose"
    return StorageError(
        f"Cannot write to {folder}: {reason}. What was there is unchanged. {remedy} another folder "
        f"({setting}) and run the same command again."
    )


def check_writable(folder: Path, setting: str) -> None:
    """Refuse to begin what could not be written at the end; nothing is left of the attempt.

    Args:
        folder: where it will be written; need not exist.
        setting: how the user moves it elsewhere.

    Raises:
        StorageError: the folder, or the one where it would be made, cannot be written.
    """
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            pass
    except OSError as error:
        raise _refusal(folder, error, setting) from error


def check_space(folder: Path, needed: int, purpose: str, setting: str = HOME_SETTING) -> None:
    """Refuse to begin what cannot end.

    Args:
        folder: where it will be written; need not exist.
        needed: bytes.
        purpose: what needs them, as the beginning of a sentence: "The checkpoints and weights".
        setting: how the user moves it elsewhere.

    Raises:
        StorageError: the disk has less room; which disk, how much is free and how much is needed.
    """
    if shutil.disk_usage(_existing(folder)).free < needed:
        raise StorageError(
            f"{purpose} will take about {human_bytes(needed)} in {folder}, and {_disk_of(folder)}. What was "
            f"there is unchanged. Free some space, or choose another folder ({setting}), and run the same "
            "command again."
        )


def _disk_of(folder: Path) -> str:
    """``the disk mounted at /data has 1.2 GB free``."""
    mount = _existing(folder)
    free = shutil.disk_usage(mount).free
    while not mount.is_mount():
        mount = mount.parent
    return f"the disk mounted at {mount} has {human_bytes(free)} free"


def _existing(folder: Path) -> Path:
    folder = folder.resolve()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _largest_file() -> int:
    """The limit on the size of a file that this process writes; 0 for none."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return 0 if limit == resource.RLIM_INFINITY else limit


@contextmanager
def atomic_write(path: Path, setting: str = HOME_SETTING) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path``; on success flush it to the disk and rename it over ``path``.

    The first such call in a folder removes what killed processes left there.

    Args:
        path: the file.
        setting: how the user moves it elsewhere.

    Raises:
        StorageError: the folder cannot be written or the disk is full; nothing of ``path`` has changed.
    """
    with writing_to(path.parent, setting):
        remove_leftovers_once(path.parent.resolve())
        temporary = path.with_name(temporary_name(path.name))
        try:
            with temporary.open("xb") as file:
                yield file
                flush(file)
            temporary.replace(path)
            _LOG.info("Written: %s", path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def temporary_folder(purpose: str, needed: int = 0) -> Iterator[Path]:
    """A folder for temporary files, gone when it is left; those of killed processes are removed first.

    Args:
        purpose: part of its name.
        needed: bytes that will be written there.

    Raises:
        StorageError: it cannot be made, or the disk has less room.
    """
    parent = Path(tempfile.gettempdir()).resolve()
    remove_leftovers(parent)
    check_space(parent, needed, "Temporary files", TEMPORARY_SETTING)
    folder = parent / temporary_name(f"srbench-{purpose}")
    with writing_to(parent, TEMPORARY_SETTING):
        folder.mkdir(mode=0o700)
    try:
        yield folder
    except OSError as error:
        # Of other files it may be any error, of these it is a full disk.
        if error.errno in (*_FULL, errno.EFBIG):
            raise _refusal(parent, error, TEMPORARY_SETTING) from error
        raise
    finally:
        remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Remove a folder that others wrote in, as far as possible; thousands may be nested, or closed.

    Each is taken out of the one it lies in before it is emptied.
    """
    with suppress(OSError):
        token, number = secrets.token_hex(8), 0
        pending = [folder]
        while pending:
            current = pending.pop()
            for entry in list(os.scandir(current)):
                if not entry.is_dir(follow_symlinks=False):
                    Path(entry.path).unlink()
                    continue
                Path(entry.path).chmod(0o700)
                number += 1
                pending.append(Path(entry.path).replace(folder / f".{token}-{number}"))
            if current != folder:
                current.rmdir()
        folder.rmdir()


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
def locked(
    folder: Path, wait: float = 0.0, doing: str = "writing to", setting: str = HOME_SETTING
) -> Iterator[None]:
    """Hold ``folder`` for writing; the system lets go when the process ends, however it ends.

    Where the file system has no locks (some of clusters) nobody is kept out.

    Args:
        folder: created when missing.
        wait: seconds to wait for another process that holds it.
        doing: what the holder does there, for the others' message.
        setting: how the user chooses another folder.

    Raises:
        StorageError: another process holds it (which one is said), or it cannot be written.
    """
    import filelock

    lock, holder = filelock.FileLock(folder / LOCK, timeout=wait), folder / _HOLDER
    with writing_to(folder, setting):
        try:
            lock.acquire(poll_interval=0.1)
        except filelock.Timeout:
            raise StorageError(
                f"Another srbench is {doing} {folder}{_name_of(holder)}. Wait for it, then run the command "
                f"again: it goes on from what is there. Or choose another folder ({setting})."
            ) from None
        except NotImplementedError:  # a file system without locks: as if there were no other process
            pass
    # For the messages of others alone: a full disk must not stop what needs no room.
    with suppress(OSError):
        since = datetime.now(timezone.utc).isoformat(" ", "seconds")
        text = f"process {os.getpid()} on {socket.gethostname()}, since {since}"
        holder.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        with suppress(OSError):
            holder.unlink()
        lock.release()


def _name_of(holder: Path) -> str:
    try:
        text = holder.read_text(encoding="utf-8", errors="replace")
    except OSError:  # it has just come or gone
        return ""
    return f" ({printable(text[:200])})"


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
