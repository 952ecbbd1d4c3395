"""A process that is not trusted: what it writes is bounded, and all that it started ends with it."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_BLOCK = 1 << 16
_MAX_LINE = 1 << 20
_TAIL = 2_000
_MAX_ERRORS = 1 << 26
_MAX_BYTES = 1 << 26
"""Of standard error, and of standard output: far more than honest models write."""
_MAX_PROCESSES = 256
"""That a model may have at once, where there is no limit of the system: that one does not hold for root."""
_MIN_DISK = 1 << 28
"""Free bytes, below which a worker that writes is ended: the harness needs some for the scores."""
_WATCH = 0.25
_GRACE = 5.0


class Misbehaved(Exception):
    """The process did what no worker does; the message says what."""


class UntrustedProcess:
    """A running process with its group.

    Args:
        command: program and arguments.
        folder: its current folder.
        environment: its variables.
        lines: most lines that it may write on its standard output.
    """

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], lines: int
    ) -> None:
        self._folder = folder
        self._processes = _count_processes()
        self._free = _free_bytes(folder)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=dict(environment),
            # A group of its own: signals to it do not reach us, nor ours it, and it can be ended as a whole.
            start_new_session=True,
        )
        assert self._process.stdin and self._process.stdout and self._process.stderr
        self._input, self._pipes = self._process.stdin, (self._process.stdout, self._process.stderr)
        self._lines: queue.Queue[tuple[float, bytes] | str | None] = queue.Queue()
        self._tail = b""
        self._peak = 0
        readers = ((self._read_lines, (lines,)), (self._read_errors, ()))
        self._threads = [
            threading.Thread(target=target, args=arguments, daemon=True) for target, arguments in readers
        ]
        for thread in self._threads:
            thread.start()

    def line(self, deadline: float) -> tuple[float, bytes]:
        """The next line without its end, and when it came, by ``time.monotonic``.

        Raises:
            TimeoutError: none came until the deadline.
            EOFError: it writes no more.
            Misbehaved: it wrote too much, started too many processes, or filled the disk.
        """
        while True:
            left = deadline - time.monotonic()
            try:
                item = self._lines.get(timeout=max(min(left, _WATCH), 0.001))
            except queue.Empty:
                if left <= 0:
                    raise TimeoutError from None
                self._watch()
                continue
            if item is None:
                raise EOFError
            if isinstance(item, str):
                raise Misbehaved(item)
            return item

    @property
    def is_silent(self) -> bool:
        """Whether all lines that it wrote have been read."""
        return not any(isinstance(item, tuple) for item in list(self._lines.queue))

    def send_line(self) -> None:
        """An empty line to its standard input; a dead one is noticed when its output ends."""
        with contextlib.suppress(OSError):
            self._input.write(b"\n")
            self._input.flush()

    def peak_resident_bytes(self) -> int:
        """The largest resident size it was seen to have, by the kernel's own count where there is one."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            status = Path(f"/proc/{self._process.pid}/status")
            if status.exists():
                peaks = [
                    line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM")
                ]
                self._peak = max([self._peak, *(int(kilobytes) * 1024 for kilobytes in peaks)])
            else:
                memory = psutil.Process(self._process.pid).memory_info()
                self._peak = max(self._peak, int(getattr(memory, "peak_wset", memory.rss)))
        return self._peak

    def death(self) -> str:
        """How it ended, once its output has, with the last that it wrote on its standard error."""
        ended = self._has_ended(_GRACE)
        self.end()
        tail = self._tail.decode("utf-8", errors="replace").strip()
        last = f"; last output: {tail}" if tail else ""
        code = self._process.returncode
        if not ended:
            return f"closed its output and did not end{last}"
        if code >= 0:
            return f"ended with exit code {code} before it was done{last}"
        name = signal.Signals(-code).name
        hint = " (the system may have run out of memory)" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}{last}"

    def end(self, patience: float = 0.0) -> None:
        """End it and all that it started; one that waits for its input may leave by itself first."""
        with contextlib.suppress(OSError):
            self._input.close()
        if self._process.returncode is None:
            self._has_ended(patience)
            ended, deadline = self._kill(), time.monotonic() + _GRACE
            self._process.wait()
            while any(map(_is_alive, ended)) and time.monotonic() < deadline:
                time.sleep(0.01)  # a signal is obeyed some time after it was sent
        for thread in self._threads:
            thread.join(timeout=_GRACE)
        if not any(thread.is_alive() for thread in self._threads):
            for pipe in self._pipes:
                pipe.close()

    def _has_ended(self, patience: float) -> bool:
        """Whether it ends within so many seconds. It is not collected yet: its number stays its own."""
        if sys.platform == "win32":
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience)
            return self._process.returncode is not None
        deadline = time.monotonic() + patience
        ask = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while self._process.returncode is None and os.waitid(os.P_PID, self._process.pid, ask) is None:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def _kill(self) -> list[psutil.Process]:
        """Kill it, its group and what left the group, where the system lets it; returns all but itself."""
        others: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            others = psutil.Process(self._process.pid).children(recursive=True)
        if sys.platform == "win32":
            self._process.kill()
        else:
            others += [process for process in psutil.process_iter() if _group(process) == self._process.pid]
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
        for process in others:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return [process for process in others if process.pid != self._process.pid]

    def _watch(self) -> None:
        if sys.platform != "win32" and self._has_ended(0.0):
            self._kill()  # children that hold its pipes would keep them from ending
        if self._processes and _count_processes() - self._processes > _MAX_PROCESSES // 2:
            with contextlib.suppress(psutil.Error):
                running = len(psutil.Process(self._process.pid).children(recursive=True))
                if running > _MAX_PROCESSES:
                    raise Misbehaved(f"started {running} processes; at most {_MAX_PROCESSES} are allowed")
        if self._free > 2 * _MIN_DISK and _free_bytes(self._folder) < _MIN_DISK:
            raise Misbehaved(f"the disk of {self._folder} is full to the last {_MIN_DISK >> 20} MB")

    def _read_lines(self, most: int) -> None:
        descriptor, rest, total, count = self._pipes[0].fileno(), b"", 0, 0
        end: str | None = None
        with contextlib.suppress(OSError):
            while end is None and (block := os.read(descriptor, _BLOCK)):
                total += len(block)
                *whole, rest = (rest + block).split(b"\n")
                count += len(whole)
                if max(map(len, (*whole, rest))) > _MAX_LINE or total > _MAX_BYTES or count > most:
                    end = f"wrote more than a worker has to say ({count} lines, {total} bytes)"
                    break
                for line in whole:
                    self._lines.put((time.monotonic(), line))
        self._lines.put(end)

    def _read_errors(self) -> None:
        descriptor, total = self._pipes[1].fileno(), 0
        with contextlib.suppress(OSError):
            while block := os.read(descriptor, _BLOCK):
                self._tail = (self._tail + block)[-_TAIL:]
                total += len(block)
                if total > _MAX_ERRORS:
                    self._lines.put(f"wrote more than {_MAX_ERRORS >> 20} MB on its standard error")
                    return


def _count_processes() -> int:
    """Of the whole system, roughly; 0 where that is not cheap to know."""
    try:
        return sum(name.isdigit() for name in os.listdir("/proc"))  # noqa: PTH208 - names alone
    except OSError:
        return 0


def _free_bytes(folder: Path) -> int:
    try:
        return psutil.disk_usage(str(folder)).free
    except OSError:
        return 0


def _group(process: psutil.Process) -> int:
    """Number of its process group; -1 for one that has gone."""
    try:
        return os.getpgid(process.pid)
    except OSError:
        return -1


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
