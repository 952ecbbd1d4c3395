"""Starting a worker and listening to it, whatever happens to it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from srbench.errors import SrbenchError
from srbench.evaluation.isolation import Confinement, Strength, starting
from srbench.evaluation.isolation.strength import none, strength_of

# No entry of the path may be the current folder: models/ and datasets/ of a checkout would shadow packages.
_START = (
    "import sys; sys.path = [entry for entry in sys.path if entry]; "
    "from srbench.evaluation.worker import main; main(sys.argv[1])"
)
_KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 34)}
"""Tells glibc to keep freed memory for the next tensor: on a CPU, fetching it anew from the system for every
layer of every image took nearly half of the time (other systems ignore this)."""

_START_UP = 900.0
"""Seconds allowed for imports, loading and the first run, whatever the time allowed for an image."""

_TAIL = 2_000
_GRACE = 5.0

Message = Mapping[str, Any]


class WorkerFailed(SrbenchError):
    """The worker did not finish; the message says why.

    Attributes:
        isolation: what had been applied to it.
        attempts: hidden places it had asked for, as far as it could still say.
        bad_output: whether it ended because its output was no image of the right size with finite values.
    """

    def __init__(
        self,
        reason: str,
        isolation: Strength | None = None,
        attempts: Sequence[str] = (),
        bad_output: bool = False,
    ) -> None:
        super().__init__(reason)
        self.isolation = isolation or none("its process ended before it was confined")
        self.attempts = tuple(attempts)
        self.bad_output = bad_output


def run_worker(
    job: Mapping[str, Any], scratch: Path, timeout: float, confinement: Confinement | None = None
) -> Iterator[Message]:
    """Start a worker and yield its messages; it is ended when the iteration is left.

    The message ``ready`` has ``isolation``, what was applied before any code of the model was imported;
    ``finished`` has ``attempts``, the hidden places that the model asked for.

    Args:
        job: what :mod:`srbench.evaluation.worker` reads.
        scratch: an empty folder; the worker's current folder, srbench home, and all it can write to.
        timeout: seconds without any message, once it is warm, after which the worker is ended.
        confinement: what it may read; everything when None.

    Raises:
        WorkerFailed: it raised, crashed, was killed, or was silent for too long.
        SrbenchError: the environment asks for an isolation that does not exist.
    """
    job_file = scratch / "job.json"
    job_file.write_text(json.dumps(dict(job)), encoding="utf-8")
    with starting.confined([sys.executable, "-c", _START, str(job_file)], scratch, confinement) as command:
        log = scratch / "stderr.txt"
        process = _start(command, scratch, log)
        try:
            yield from _with_isolation(_messages(process, log, timeout))
        finally:
            _end(process)


def _start(command: list[str], scratch: Path, log: Path) -> subprocess.Popen[bytes]:
    own = starting.environment(scratch)
    with log.open("wb") as errors:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=scratch,
            env={**_KEEP_MEMORY, **os.environ, **own, "PYTHONUNBUFFERED": "1"},
        )


def _with_isolation(messages: Iterator[Message]) -> Iterator[Message]:
    """Add to what follows the strength that the worker told first, when nothing of the model had run yet."""
    isolation: Strength | None = None
    try:
        for message in messages:
            if message["event"] == "confined":
                isolation = isolation or strength_of(message["isolation"])
                continue
            # Whatever else is said of it may come from the model: it shares the worker's process.
            content = {name: value for name, value in message.items() if name != "isolation"}
            if message["event"] == "ready" and isolation is not None:
                content["isolation"] = isolation.stored()
            yield content
    except WorkerFailed as error:
        raise WorkerFailed(str(error), isolation, error.attempts, error.bad_output) from error


def _messages(process: subprocess.Popen[bytes], log: Path, timeout: float) -> Iterator[Message]:
    lines: queue.Queue[bytes | None] = queue.Queue()
    assert process.stdout is not None and process.stdin is not None
    threading.Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    _allow(process.stdin, 1)
    patience = max(timeout, _START_UP)
    while True:
        try:
            line = lines.get(timeout=patience)
        except queue.Empty as error:
            raise WorkerFailed(f"no sign of life for {patience:g} s; ended") from error
        if line is None:
            raise WorkerFailed(_death(process, log))
        message = _parsed(line)
        if message["event"] == "error":
            tried, bad = message.get("attempts", ()), bool(message.get("bad_output"))
            raise WorkerFailed(message["reason"], attempts=tried, bad_output=bad)
        yield message
        if message["event"] == "finished":
            return
        if message["event"] == "warm":
            patience = timeout
        if message["event"] == "image":
            # In turns: scoring while the network runs would take its processors and spoil its times.
            _allow(process.stdin, 1)


def _parsed(line: bytes) -> Message:
    try:
        message: Message = json.loads(line)
        return {**message, "event": str(message["event"])}
    except (ValueError, TypeError, KeyError) as error:
        raise WorkerFailed(f"it sent what is no message: {line[:80]!r}") from error


def _read(stream: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _allow(stream: IO[bytes], images: int) -> None:
    """Let the worker do that many images more; a dead one is noticed when its output ends."""
    with contextlib.suppress(OSError):
        stream.write(b"\n" * images)
        stream.flush()


def _death(process: subprocess.Popen[bytes], log: Path) -> str:
    code = process.wait()
    tail = log.read_bytes()[-_TAIL:].decode("utf-8", errors="replace").strip()
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (the system may have run out of memory)" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}" + (f"; last output: {tail}" if tail else "")
    return f"ended with exit code {code} before it was done" + (f"; last output: {tail}" if tail else "")


def _end(process: subprocess.Popen[bytes]) -> None:
    """A waiting worker leaves when its input ends; any other is killed."""
    assert process.stdin is not None and process.stdout is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    try:
        process.wait(timeout=_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
