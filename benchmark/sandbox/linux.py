"""What the Linux kernel offers a process without privileges: Landlock, and giving up capabilities.

Landlock refuses a process and its children every file that was not granted; they cannot trace a process
outside either, hence not read its memory or its open files under /proc, and cannot mount. Nothing granted
later undoes it. Numbers and formats: Linux, ``include/uapi/linux/landlock.h`` and
``Documentation/userspace-api/landlock.rst``. What is no file: :mod:`.seccomp`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PR_SET_NO_NEW_PRIVS = 38
_MAX_FILE = 1 << 33
_MAX_MORE_TASKS = 4096


class Unavailable(Exception):
    """This kernel, or what it runs in, does not offer a means of isolation; the message says which."""


def _system_call(what: str, number: int, *arguments: Any) -> int:
    """A call for which Python has no function; ``what`` names the means it belongs to.

    Raises:
        Unavailable: it failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    # Every argument as wide as a register: the variable part of a C call is not widened by itself.
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(what, int(libc.syscall(ctypes.c_long(number), *wide)))


def prctl(option: int, *arguments: Any) -> None:
    """Change a property of this process.

    Raises:
        Unavailable: this kernel refuses or does not know it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    wide = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    wide += [ctypes.c_ulong(0)] * (4 - len(wide))
    _checked("prctl", int(libc.prctl(option, *wide)))


def _checked(what: str, result: int) -> int:
    if result < 0:
        raise Unavailable(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def limit_resources() -> None:
    """Bound the largest file, the number of processes, and dumps of memory, for good.

    The system counts the processes of a whole user, so the limit is above those that run now; it does not
    hold for root.
    """
    import resource

    tasks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                tasks += len(os.listdir(folder / "task"))  # noqa: PTH208 - names are all that is needed
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: _MAX_FILE,
        resource.RLIMIT_NPROC: tasks + _MAX_MORE_TASKS,
    }
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


# Landlock: files.

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
class LandlockRights:
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


def landlock_rights(version: int) -> LandlockRights:
    """What version ``version`` (1 or more) of the interface can forbid."""
    files = next(past - 1 for since, past in _ALL_SINCE if version >= since)
    return LandlockRights(files, version >= 4, version >= 6)


def landlock_version() -> int:
    """The kernel's version of the interface.

    Raises:
        Unavailable: the kernel has no Landlock, or it is switched off.
    """
    if not sys.platform.startswith("linux"):
        raise Unavailable("Landlock exists on Linux only")
    return _system_call("Landlock", _CREATE_RULESET, None, 0, _ASK_VERSION)


def restrict_files(readable: Iterable[Path], listable: Iterable[Path], writable: Iterable[Path]) -> int:
    """Confine this process for good; the version of the interface that does it.

    Args:
        readable: files and folders whose contents may be read and run.
        listable: folders in which names, at any depth, may be listed.
        writable: files and folders to do anything with.

    Raises:
        Unavailable: no Landlock here, or another thread already runs: it would not be confined.
    """
    version = landlock_version()
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names are all that is needed
    if threads != 1:
        raise Unavailable(f"{threads} threads run already and Landlock confines one")
    can = landlock_rights(version)
    described = struct.pack("=QQQ", can.files, _TCP if can.tcp else 0, _SCOPES if can.scoped else 0)
    rules = _system_call("Landlock", _CREATE_RULESET, described, can.size, 0)
    try:
        for paths, rights in ((readable, _READING), (listable, READ_DIR), (writable, can.files)):
            for path in paths:
                handle = _grant(rules, path, rights & can.files)
                # The files of /proc are made anew when the kernel has dropped them from its cache, and a
                # grant is of one file: these stay open, as long as this process lives.
                if handle is not None and Path("/proc") not in path.parents:
                    os.close(handle)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        _system_call("Landlock", _RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)
    return version


def _grant(rules: int, path: Path, rights: int) -> int | None:
    """Grant ``rights`` on a path and all beneath it; one that is gone or closed to us needs no grant.

    Returns:
        What holds the path open; None where nothing was granted.
    """
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISDIR(os.fstat(handle).st_mode):
        rights &= _OF_FILES
    if rights:
        _system_call("Landlock", _ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, handle), 0)
    return handle


# Capabilities: with those of root, the memory of the whole machine can be read (/proc/kcore, bpf).

_CAPABILITY_VERSION_3 = 0x20080522
_REMAINING = sum(1 << bit for bit in (0, 1, 3))
"""chown, dac_override, fowner: the files that root may use in a container often belong to another user."""


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop_capabilities() -> None:
    """Give up every capability but those on owned files; an ordinary user has none to give up.

    Raises:
        Unavailable: the system refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not all(hasattr(libc, name) for name in ("capget", "capset")):
        raise Unavailable("this C library cannot give up capabilities")
    header, held = _CapabilityHeader(_CAPABILITY_VERSION_3, 0), (_CapabilityData * 2)()
    if libc.capget(ctypes.byref(header), held) != 0:
        raise Unavailable("the capabilities of this process cannot be read")
    left = held[0].permitted & _REMAINING
    after = (_CapabilityData * 2)(_CapabilityData(left, left, 0), _CapabilityData(0, 0, 0))
    if libc.capset(ctypes.byref(header), after) != 0:
        raise Unavailable("the system refuses to take capabilities away")
