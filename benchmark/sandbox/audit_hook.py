"""What a model's Python code asks for that is hidden: refused and remembered, by a hook of the interpreter.

``sys.addaudithook`` (PEP 578): the interpreter tells the hook of every file before it is opened, listed or
linked, and of every program before it is started; the hook cannot be taken out again. Code that is not
Python is not heard, and a program that sets out to blind the hook can do so from inside: the kernel's means
come first where there are any, and this is the record.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_PATHS_OF = {
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
_OF_A_PROCESS = ("mem", "fd", "root", "cwd", "environ", "maps", "map_files", "task")
"""What of another process leads to its files and its memory, under /proc."""

MOST = 20
"""Distinct places that are reported."""


class Watch:
    """The hook; :meth:`install` it once.

    Args:
        readable: places that may be read.
        hidden: places that may not; asked for, they are refused and remembered. The deepest decides.
        closed: places that are refused only.
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
        watched = (*hidden, *(parent / part for part in _OF_A_PROCESS))
        self._open = [_key(place) for place in readable]
        self._hidden = [_key(place) for place in watched]
        self._refused = [*self._hidden, *(_key(place) for place in closed)]
        self._attempts: dict[str, None] = {}

    @property
    def attempts(self) -> list[str]:
        """The hidden places asked for so far, each once."""
        return list(self._attempts)

    def forget(self) -> None:
        """Start counting anew."""
        self._attempts.clear()

    def install(self) -> None:
        """Hear everything from now on."""
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        count = _PATHS_OF.get(event)
        if count is not None:
            for path in arguments[:count]:
                self._judge(path)
        elif event in _PROGRAMS:
            self._judge_program(event, arguments)
        elif self.alone and event in _SOCKETS:
            raise PermissionError(errno.EACCES, "a model may not use the network")

    def _judge(self, path: Any) -> None:
        """Refuse a path that lies in a hidden place; file numbers are of files that were opened before."""
        try:
            key = _key(_resolved(os.fsdecode(path)))
        except (TypeError, ValueError):
            return
        refused = _deepest(key, self._refused)
        granted = _deepest(key, self._open) if refused else 0
        if refused == 0 or refused < granted:
            return
        if _deepest(key, self._hidden) < max(granted, 1):
            raise PermissionError(errno.EACCES, "out of reach of models", os.fsdecode(path))
        self._remember(key.rstrip(os.sep))
        raise PermissionError(errno.EACCES, "hidden from models", os.fsdecode(path))

    def _judge_program(self, event: str, arguments: tuple[Any, ...]) -> None:
        for text in _texts(arguments):
            for place in self._hidden:
                if place.rstrip(os.sep) in os.path.normcase(text):
                    self._remember(place.rstrip(os.sep))
        if self.alone:
            raise PermissionError(errno.EACCES, f"a model may not start programs here ({event})")

    def _remember(self, place: str) -> None:
        if len(self._attempts) < MOST:
            self._attempts[place] = None


def _resolved(path: str) -> str:
    try:
        return os.path.realpath(path)
    except OSError:  # a link that may not be followed, such as those of another process under /proc
        return os.path.abspath(path)  # noqa: PTH100 - as above it


def _key(place: str | os.PathLike[str]) -> str:
    """Comparable, and ending so that what begins with it lies inside."""
    return os.path.join(os.path.normcase(os.fspath(place)), "")  # noqa: PTH118 - called for every file


def _deepest(key: str, places: list[str]) -> int:
    """Length of the longest of the places that holds ``key``, 0 where none does."""
    return max((len(place) for place in places if key.startswith(place)), default=0)


def _texts(arguments: Iterable[Any]) -> Iterator[str]:
    """All strings among the arguments of a program, in whatever lists."""
    for one in arguments:
        if isinstance(one, (str, bytes, os.PathLike)):
            yield os.fsdecode(one)
        elif isinstance(one, (list, tuple)):
            yield from _texts(one)
