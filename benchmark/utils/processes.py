"""Processes: which one it is, whether it still runs, and how one ends together with its parent."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from srbench.utils.errors import SrbenchError

GUARD = "if __name__ == '__main__'"
"""What a script that is imported puts before all that it does."""

_PR_SET_PDEATHSIG = 1
_WATCH_SECONDS = 1.0


@dataclass(frozen=True)
class ProcessId:
    """A process, told from a later one that gets the same number.

    Attributes:
        host: six hex digits of the machine, or of the container with process numbers of its own.
        pid: its number there.
        start: when it started, in a unit of the system; 0 where it does not say.
    """

    host: str
    pid: int
    start: int

    @property
    def has_ended(self) -> bool:
        """Whether it has surely ended; of a process of another host nothing is known."""
        import psutil

        if self.host != this_host():
            return False
        if not psutil.pid_exists(self.pid):
            return True
        return bool(self.start and (start := _start_of(self.pid)) and start != self.start)


def this_process() -> ProcessId:
    """The process that asks."""
    pid = os.getpid()  # not remembered: a fork is another one
    return ProcessId(this_host(), pid, _start_of(pid))


@functools.cache
def this_host() -> str:
    """Six hex digits: two containers of one machine may have one name, but count their processes apart."""
    try:
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        namespace = 0
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:6]


def _start_of(pid: int) -> int:
    """0 where the system does not say."""
    import psutil

    try:
        if sys.platform == "linux":
            # Ticks since the machine's start. Times of the day change with its clock.
            return int(Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19])
        return int(100 * psutil.Process(pid).create_time())
    except (OSError, ValueError, IndexError, psutil.Error):
        return 0


_imported = ""


@contextmanager
def imported_for_a_model(file: str) -> Iterator[None]:
    """In the block a user's file is imported for the model that it registers, and does nothing else."""
    global _imported
    _imported = file
    try:
        yield
    finally:
        _imported = ""


def refuse_while_imported(verb: str) -> None:
    """Refuse to do what a user's file asks for while it is only imported.

    Raises:
        SrbenchError: it asks for ``verb`` (as ``evaluate``) where it should only define something.
    """
    if _imported:
        raise SrbenchError(
            f"{_imported} calls {verb} when it is imported, as it is for the model that it registers. Put "
            f"what it does below {GUARD}, or the model into a module of its own."
        )


def end_with_parent() -> None:
    """Let the calling process be killed when its parent has ended, however that ended.

    Linux does it at once, also where native code never lets Python run; elsewhere a thread notices within a
    second that another process has become the parent. No thread on Linux: a process that has a second one
    cannot be confined.
    """
    parent = os.getppid()
    if sys.platform == "linux" and ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0:
        if os.getppid() != parent:  # it ended before the system was told
            os._exit(1)
        return
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    import psutil

    # Windows keeps the number of a parent that has ended.
    while os.getppid() == parent and (sys.platform != "win32" or psutil.pid_exists(parent)):
        time.sleep(_WATCH_SECONDS)
    os._exit(1)
