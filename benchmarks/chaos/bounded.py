"""Runs a function over many damaged inputs in child processes that the kernel bounds in memory and time.

A child reads one input after another from files, so that the one it hangs at, or dies at, is known; the next
child goes on behind it.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

from chaos.part import Part

HANG_SECONDS = 10.0
MOST_MEMORY = 2 << 30
_BATCH = 100
_STARTING_SECONDS = 120.0

Check = Callable[[Path], str]
"""Tries one input; says what was wrong with the outcome, empty where it was right."""


def run_bounded(part: Part, check: Check, inputs: Iterator[tuple[str, Path]], seconds: float) -> None:
    """Try inputs until the time is over or there are no more; those with a right outcome are removed.

    Args:
        part: gains the counts; names of inputs stand in its examples.
        check: a function of a module, which a new process can import.
        inputs: their descriptions and files.
        seconds: of wall time.
    """
    for name in ("wrong exceptions", "hangs over 10 s", "memory over 2 GB"):
        part.counts.setdefault(name, 0)
    end = time.monotonic() + seconds
    worst, slowest = 0.0, ""
    waiting: list[tuple[str, Path]] = []
    child = None
    while time.monotonic() < end:
        if not waiting:
            waiting = list(islice(inputs, _BATCH))
        if not waiting:
            break
        child = child or _Child(check)
        name, path = waiting.pop(0)
        part.tried += 1
        start = time.monotonic()
        outcome = child.ask(path)
        if time.monotonic() - start > worst:
            worst, slowest = time.monotonic() - start, name
        if outcome is None or outcome:
            where = f"{name} ({path.name})"
            if outcome is None:
                kind = "hangs over 10 s" if child.hung else "wrong exceptions"
                part.count(kind, f"{where}: {'no answer' if child.hung else 'the process died'}")
                child.close()
                child = None
            else:
                kind, _, text = outcome.partition("|")
                part.count(kind, f"{where}: {text}")
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if child is not None:
        child.close()
    part.counts["ms at worst"] = int(1000 * worst)
    part.examples.append(f"slowest: {slowest}")


class _Child:
    """A process that tries inputs, started anew because what a fork shares may be damaged."""

    def __init__(self, check: Check) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, check), daemon=True)
        self._process.start()
        other.close()
        self.hung = False
        self._connection.poll(_STARTING_SECONDS)
        self._connection.recv()

    def ask(self, path: Path) -> str | None:
        """What was wrong, empty where nothing was; None where there was no answer."""
        self._connection.send(path)
        if not self._connection.poll(HANG_SECONDS):
            self.hung = True
            return None
        try:
            return str(self._connection.recv())
        except EOFError:
            return None

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(connection: Connection, check: Check) -> None:
    with tempfile.NamedTemporaryFile() as empty, suppress(Exception):
        check(Path(empty.name))  # imports what it needs before time and memory are counted
    before = _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (before + 3 * MOST_MEMORY, before + 3 * MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send("ready")
    while True:
        path = connection.recv()
        _reset_peak()
        try:
            wrong = check(path)
            outcome = f"wrong results|{wrong}" if wrong else ""
        except BaseException as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            said = f"{type(error).__name__}: {str(error)[:200]} at {Path(frame.filename).name}:{frame.lineno}"
            outcome = f"wrong exceptions|{said}"
        peak = _peak()
        if peak > MOST_MEMORY:
            outcome = f"memory over 2 GB|{peak / 1e9:.1f} GB"
        connection.send(outcome)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _reset_peak() -> None:
    """Let the kernel count the peak of the resident memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Bytes of resident memory at most, since it was counted anew."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
