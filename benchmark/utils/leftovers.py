"""Temporary files and folders whose names say which process makes them, so that dead ones can be removed.

``.scores.parquet.3f9a1c-4711-1c8e2a-07d1.tmp``: the beginning of the final name, then host, number and start
of the process, and the number of the name within it. What a living process or another host writes is left
alone; after days a file of another host is one that nobody will finish.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import re
import shutil
import stat
import time
from pathlib import Path

from srbench.utils.processes import ProcessId, this_host, this_process

_NAME = re.compile(r"\..*\.([0-9a-f]{6})-(\d{1,10})-([0-9a-f]{1,16})-[0-9a-f]{4,8}\.tmp", re.DOTALL)
_EARLIER = re.compile(r"\.(?:.+\.[0-9a-f]{8}\.tmp|(?:partial|outdated)-.+-\d+)", re.DOTALL)
"""Names that version 0.1 gave; they do not say enough."""

_NAME_CHARACTERS = 40
_CALLS = itertools.count()
_FOREIGN_SECONDS = 7 * 24 * 3600.0


def temporary_name(name: str) -> str:
    """A hidden name beside ``name`` that no other process and no other call has; at most 80 characters."""
    owner = this_process()
    return f".{name[:_NAME_CHARACTERS]}.{owner.host}-{owner.pid}-{owner.start:x}-{next(_CALLS):04x}.tmp"


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders that ended processes left in ``folder``."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for path in [Path(entry.path) for entry in entries if is_leftover(Path(entry.path))]:
            _remove(path)


@functools.cache
def remove_leftovers_once(folder: Path) -> None:
    """:func:`remove_leftovers` at the first file that this process writes into a folder."""
    remove_leftovers(folder)


def is_leftover(path: Path) -> bool:
    """Whether a path is a temporary one that nobody writes any more."""
    match = _NAME.fullmatch(path.name)
    if match is None and not _EARLIER.fullmatch(path.name):
        return False
    if match is not None and match[1] == this_host():
        return ProcessId(match[1], int(match[2]), int(match[3], 16)).has_ended
    try:
        return time.time() - _last_change(path) > _FOREIGN_SECONDS
    except OSError:
        return False


def _last_change(path: Path) -> float:
    status = path.lstat()
    inside = path.iterdir() if stat.S_ISDIR(status.st_mode) else ()
    return max([status.st_mtime, *(entry.lstat().st_mtime for entry in inside)])


def _remove(path: Path) -> None:
    # A folder for temporary files may hold what another user has put there.
    with contextlib.suppress(OSError):
        status = path.lstat()
        if hasattr(os, "getuid") and status.st_uid != os.getuid():
            return
        if stat.S_ISDIR(status.st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
