"""A hook of the interpreter that refuses hidden paths to a model's Python code and records the attempts.

``sys.addaudithook`` (PEP 578): the interpreter tells the hook of every file before it is opened, listed or
linked, and of every program before it is started; the hook cannot be taken out again. Native code does not
pass it, and a program that sets out to blind it can do so from inside: the kernel's means come first where
there are any, and this is the record.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_PATHS = {
    "open": 1,
    "os.listdir": 1,
    "os.scandir": 1,
    "os.chdir": 1,
    "os.truncate": 1,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.link": 2,
    "os.symlink": 2,
    "os.rename": 2,
    "ctypes.dlopen": 1,
    "sqlite3.connect": 1,
}
"""Events whose first so many arguments are paths."""

_PROGRAMS = {
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.startfile/2",
    "pty.spawn",
    "_winapi.CreateProcess",
}
_SOCKETS = {
    "socket.connect",
    "socket.bind",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.gethostbyaddr",
}
_PROCESS_PARTS = ("mem", "fd", "root", "cwd", "environ", "maps", "map_files", "task")
"""What of another process leads to its files and its memory, under /proc."""

MOST = 20
"""Distinct paths that are reported."""


class AuditHook:
    """The hook; :meth:`install` it once.

    Args:
        readable: paths that may be read.
        hidden: paths that may not; attempts are refused and recorded. The deepest decides.
        closed: paths that are refused only.
        alone: also refuse to start programs and to use the network: nothing else confines them here.
    """

    def __init__(
        self,
        readable: Iterable[Path],
        hidden: Iterable[Path],
        closed: Iterable[Path] = (),
        *,
        alone: bool = False,
    ) -> None:
        self.alone = alone
        parent = Path("/proc") / str(os.getppid())
        self._readable = [_key(path) for path in readable]
        self._hidden = [_key(path) for path in (*hidden, *(parent / part for part in _PROCESS_PARTS))]
        self._refused = [*self._hidden, *(_key(path) for path in closed)]
        self._attempts: dict[str, None] = {}

    @property
    def attempts(self) -> list[str]:
        """The hidden paths asked for so far, each once."""
        return list(self._attempts)

    def forget(self) -> None:
        """Start recording anew."""
        self._attempts.clear()

    def install(self) -> None:
        """Check every event from now on."""
        sys.addaudithook(self._check)

    def _check(self, event: str, arguments: tuple[Any, ...]) -> None:
        count = _PATHS.get(event)
        if count is not None:
            for path in arguments[:count]:
                self._check_path(path)
        elif event in _PROGRAMS:
            for text in _texts(arguments):
                for hidden in self._hidden:
                    if hidden.rstrip(os.sep) in os.path.normcase(text):
                        self._record(hidden)
            if self.alone:
                raise PermissionError(errno.EACCES, f"a model may not start programs here ({event})")
        elif self.alone and event in _SOCKETS:
            raise PermissionError(errno.EACCES, "a model may not use the network")

    def _check_path(self, path: Any) -> None:
        """Refuse a path that lies in a hidden one; file numbers are of files that were opened before."""
        try:
            key = _key(_resolved(os.fsdecode(path)))
        except (TypeError, ValueError):
            return
        refused = _deepest(key, self._refused)
        granted = _deepest(key, self._readable) if refused else 0
        if refused == 0 or refused < granted:
            return
        if _deepest(key, self._hidden) < max(granted, 1):
            raise PermissionError(errno.EACCES, "out of reach of models", os.fsdecode(path))
        self._record(key)
        raise PermissionError(errno.EACCES, "hidden from models", os.fsdecode(path))

    def _record(self, key: str) -> None:
        if len(self._attempts) < MOST:
            self._attempts[key.rstrip(os.sep)] = None


def _resolved(path: str) -> str:
    try:
        return os.path.realpath(path)
    except OSError:  # a link that may not be followed, such as those of another process under /proc
        return os.path.abspath(path)  # noqa: PTH100 - as above it


def _key(path: str | os.PathLike[str]) -> str:
    """Comparable, and ending so that what begins with it lies inside."""
    return os.path.join(os.path.normcase(os.fspath(path)), "")  # noqa: PTH118 - called for every file


def _deepest(key: str, keys: list[str]) -> int:
    """Length of the longest of the keys that hold ``key``, 0 where none does."""
    return max((len(other) for other in keys if key.startswith(other)), default=0)


def _texts(arguments: Iterable[Any]) -> Iterator[str]:
    """All strings among the arguments of a program, in whatever lists."""
    for argument in arguments:
        if isinstance(argument, (str, bytes, os.PathLike)):
            yield os.fsdecode(argument)
        elif isinstance(argument, (list, tuple)):
            yield from _texts(argument)
