"""Memory that this process may still take, and how it keeps what it has freed for the next tensor."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_PROC = Path("/proc/self")
_UNLIMITED = 1 << 60
"""Control groups of version 1 say 2^63 less a page where there is no limit."""

_TRIM, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Parameters of glibc's ``mallopt``."""
_KEEP = ((_MMAP_MAX, 0), (_TRIM, 1 << 30))
# What glibc's own adaptation ends at; setting any of them switches it off.
_AS_BEFORE = ((_MMAP_MAX, 1 << 16), (_MMAP_THRESHOLD, 32 << 20), (_TRIM, 64 << 20))

_holders = 0
_holders_lock = threading.Lock()


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """In the block freed memory stays with the process for the next tensor; the last to leave gives it back.

    On a CPU, fetching it anew from the system for every layer of a network took nearly half of the time.
    Nothing happens where the C library is not glibc, or where the user has set its variables.
    """
    global _holders
    keep_memory()
    try:
        yield
    finally:
        with _holders_lock:
            _holders -= 1
            # Validation ends before the training around it, and one thread's inference before another's.
            if not _holders and (library := _glibc()) is not None:
                for parameter, value in _AS_BEFORE:
                    library.mallopt(parameter, value)
                library.malloc_trim(0)


def keep_memory() -> None:
    """As :func:`kept_memory`, until the process ends."""
    global _holders
    with _holders_lock:
        _holders += 1
        if (library := _glibc()) is not None:
            for parameter, value in _KEEP:
                library.mallopt(parameter, value)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    by_user = any(name.startswith("MALLOC_") for name in os.environ)
    return library if hasattr(library, "mallopt") and not by_user else None


def available_memory() -> int:
    """Bytes: the least that any of the limits leaves."""
    import psutil

    limits = [int(psutil.virtual_memory().available), *_control_groups(), *_process_limits()]
    return max(min(limits), 0)


def _control_groups() -> Iterator[int]:
    """What each level of the process's groups leaves: a limit holds for all that lies below it.

    Pages of files that the kernel drops on demand are not counted as used.
    """
    for folder, stop, version in _group_folders():
        names = ("memory.max", "memory.current", "inactive_file")
        if version == 1:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        limit_file, used_file, cached = names
        while True:
            statistics = _statistics(folder / "memory.stat")
            limits = [_number(folder / limit_file), _number(folder / "memory.high")]
            # Of version 1: the least above it, also where a container does not show those levels.
            limits.append(statistics.get("hierarchical_memory_limit"))
            used = _number(folder / used_file)
            least = min((limit for limit in limits if limit is not None), default=_UNLIMITED)
            if least < _UNLIMITED and used is not None:
                yield least - max(used - statistics.get(cached, 0), 0)
            if folder == stop or stop not in folder.parents:
                break
            folder = folder.parent


def _group_folders() -> Iterator[tuple[Path, Path, int]]:
    """The folder of the process's group, the mount that it lies in, and the version of control groups."""
    try:
        groups = [line.split(":", 2) for line in (_PROC / "cgroup").read_text().splitlines()]
        mounts = (_PROC / "mountinfo").read_text().splitlines()
    except OSError:  # another system, or a sandbox
        return
    paths = {}
    for _, controllers, path in (group for group in groups if len(group) == 3):
        if not controllers:
            paths[2] = path
        elif "memory" in controllers.split(","):
            paths[1] = path
    for mount in mounts:
        # ID, parent, device, root, mount point, options, ..., "-", type, source, options of the type
        before, _, after = (part.split() for part in mount.partition(" - "))
        kind, options = after[0], after[-1].split(",")
        version = 2 if kind == "cgroup2" else 1 if kind == "cgroup" and "memory" in options else 0
        if version in paths:
            root, point = before[3], Path(before[4].replace("\\040", " "))
            group = PurePosixPath(paths[version])
            # A container may see a part of the tree only, and its group named from the outside.
            inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
            folder = point / inside
            yield (folder if folder.is_dir() else point), point, version


def _process_limits() -> Iterator[int]:
    """What ``ulimit -v`` and ``ulimit -d`` leave."""
    try:
        import resource
    except ImportError:  # Windows
        return
    if not (_PROC / "statm").exists():
        return
    # Pages: size, resident, shared, text, library, data and stack.
    pages = [int(word) for word in (_PROC / "statm").read_text().split()]
    for limit, used in ((resource.RLIMIT_AS, pages[0]), (resource.RLIMIT_DATA, pages[5])):
        soft, _ = resource.getrlimit(limit)
        if soft != resource.RLIM_INFINITY:
            yield soft - used * os.sysconf("SC_PAGE_SIZE")


def _number(path: Path) -> int | None:
    """None where there is none, as for "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _statistics(path: Path) -> dict[str, int]:
    try:
        words = [line.split() for line in path.read_text().splitlines()]
        return {name: int(value) for name, value in words}
    except (OSError, ValueError):
        return {}
