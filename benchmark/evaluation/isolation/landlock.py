"""Landlock: the Linux kernel refuses a process and its children every file that was not granted.

The three calls, the rights and the versions of the interface: Linux, ``include/uapi/linux/landlock.h`` and
``Documentation/userspace-api/landlock.rst``. No privilege is needed, and nothing granted later undoes it. A
confined process cannot trace one outside either, hence not read its memory or its open files under /proc,
and cannot mount.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srbench.evaluation.isolation.system_calls import PR_SET_NO_NEW_PRIVS, Unavailable, prctl, system_call

if TYPE_CHECKING:
    from collections.abc import Iterator

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEV = 1 << 14, 1 << 15

_ALL_SINCE = ((5, 1 << 16), (3, 1 << 15), (2, 1 << 14), (1, 1 << 13))
"""Version of the interface, and one more than all rights on files that it knows."""

_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
_READING = EXECUTE | READ_FILE | READ_DIR
_TCP = 0b11
"""Bind and connect, since version 4."""
_SCOPES = 0b11
"""Abstract unix sockets and signals, since version 6."""


@dataclass(frozen=True)
class Handled:
    """What a version of the interface can forbid; what it does not know is left out.

    Attributes:
        files: rights on files.
        tcp: whether TCP can be forbidden.
        scoped: whether signals and abstract unix sockets to outside can be.
    """

    files: int
    tcp: bool
    scoped: bool

    @property
    def size(self) -> int:
        """Bytes of the ruleset's description that this version reads."""
        return 24 if self.scoped else 16 if self.tcp else 8


def handled(version: int) -> Handled:
    """What version ``version`` (1 or more) of the interface can forbid."""
    files = next(past - 1 for since, past in _ALL_SINCE if version >= since)
    return Handled(files, version >= 4, version >= 6)


def version() -> int:
    """The kernel's version of the interface.

    Raises:
        Unavailable: the kernel has no Landlock, or it is switched off.
    """
    if not sys.platform.startswith("linux"):
        raise Unavailable("Landlock exists on Linux only")
    return system_call("Landlock", _CREATE_RULESET, None, 0, _ASK_VERSION)


def restrict(readable: Iterable[Path], listable: Iterable[Path], writable: Iterable[Path]) -> int:
    """Confine this process for good; the version of the interface that does it.

    Args:
        readable: files and folders whose contents may be read and run.
        listable: folders in which names, at any depth, may be listed.
        writable: files and folders to do anything with.

    Raises:
        Unavailable: no Landlock here, or another thread already runs: it would not be confined.
    """
    known = version()
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names are all that is needed
    if threads != 1:
        raise Unavailable(f"{threads} threads run already and Landlock confines one")
    can = handled(known)
    with _ruleset(can) as rules:
        for places, rights in ((readable, _READING), (listable, READ_DIR), (writable, can.files)):
            for place in places:
                _grant(rules, place, rights & can.files)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        system_call("Landlock", _RESTRICT_SELF, rules, 0)
    return known


@contextmanager
def _ruleset(can: Handled) -> Iterator[int]:
    described = struct.pack("=QQQ", can.files, _TCP if can.tcp else 0, _SCOPES if can.scoped else 0)
    rules = system_call("Landlock", _CREATE_RULESET, described, can.size, 0)
    try:
        yield rules
    finally:
        os.close(rules)


def _grant(rules: int, place: Path, rights: int) -> None:
    """Grant ``rights`` on a place and all beneath it; one that is gone or closed to us needs no grant."""
    try:
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= _OF_FILES
        if rights:
            system_call("Landlock", _ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
    finally:
        os.close(handle)
