"""Tasks in a process of their own, which a crash, a kill or a want of memory ends alone.

One process does task after task, so that torch is loaded once. It reads a task a line and writes a line for
what happens: progress, then the outcome.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srbench.utils.processes import end_with_parent
from srbench.utils.progress import PlainReporter, ProgressCallback, ProgressEvent

_START = (
    "import sys; sys.path = [entry for entry in sys.path if entry]; "
    "from srbench.orchestration.task_process import main; main()"
)
_BETWEEN_EVENTS = 0.5
"""Seconds."""

Description = Mapping[str, Any]
"""A task as plain values: fields of ``BenchmarkTask``."""


class TaskProcess:
    """A process that does tasks; started when it is first needed, and again after it has ended.

    Args:
        environment: variables beside those of this process.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[str] | None = None

    def run(self, task: Description, progress: Callable[[ProgressEvent], None]) -> dict[str, Any]:
        """Do a task; gives the fields of its ``TaskOutcome``. Whatever happens, it raises nothing."""
        start = time.monotonic()
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
        for line in process.stdout:
            message = json.loads(line)
            if "outcome" in message:
                outcome: dict[str, Any] = message["outcome"]
                return {**outcome, "seconds": round(time.monotonic() - start, 3)}
            progress(ProgressEvent(**message))
        code = process.wait()
        how = f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"
        memory = "; the system may have stopped it for want of memory" if code == -9 else ""
        return {
            "name": task["name"],
            "status": "failed",
            "detail": f"its process ended {how}{memory}; what it said last is in {task['log']}",
            "seconds": round(time.monotonic() - start, 3),
        }

    def interrupt(self) -> None:
        """Ask it to save and stop, as Ctrl-C does; it can be asked twice."""
        if self._process is not None and self._process.poll() is None:
            if sys.platform == "win32":
                self._process.terminate()
            else:
                self._process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Let it end when it has nothing to do."""
        if self._process is not None:
            assert self._process.stdin is not None and self._process.stdout is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env=self._environment,
                # Ctrl-C in the terminal is for the parent, which passes it on once.
                start_new_session=True,
            )
        return self._process


def main() -> None:
    """The process: tasks from standard input, until it ends."""
    end_with_parent()
    tasks = os.fdopen(os.dup(0), encoding="utf-8")
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    send = _Sender(lambda content: messages.write(json.dumps(content) + "\n"))
    with contextlib.suppress(KeyboardInterrupt):  # with nothing to do, or before anything was begun
        for line in tasks:
            task = json.loads(line)
            sys.argv = task["command"]  # which manifests name
            with _said_into(Path(task["log"])):
                outcome = _outcome(task, send)
            messages.write(json.dumps({"outcome": outcome}) + "\n")
            if outcome["status"] == "interrupted":
                return


def _outcome(task: Description, progress: ProgressCallback) -> dict[str, Any]:
    from srbench.orchestration.tasks import BenchmarkTask, TaskOutcome, perform
    from srbench.utils.errors import SrbenchError

    said = PlainReporter()

    def both(event: ProgressEvent | str) -> None:
        said(event)
        progress(event)

    try:
        outcome = perform(BenchmarkTask(**task), both)
    except KeyboardInterrupt as interrupt:
        outcome = TaskOutcome(task["name"], "interrupted", str(interrupt) or "Interrupted.")
    except SrbenchError as error:
        outcome = TaskOutcome(task["name"], "failed", str(error))
    except Exception as error:  # of a network, or a fault of srbench's own: the others go on
        import traceback

        traceback.print_exc()
        outcome = TaskOutcome(task["name"], "failed", f"{type(error).__name__}: {error}")
    print(f"{outcome.status}: {outcome.detail}", file=sys.stderr, flush=True)
    return asdict(outcome)


class _Sender:
    """Passes events on, not too many of them; texts stay in the log."""

    def __init__(self, send: Callable[[dict[str, Any]], object]) -> None:
        self._send = send
        self._last = -_BETWEEN_EVENTS

    def __call__(self, event: ProgressEvent | str) -> None:
        if isinstance(event, str) or time.monotonic() - self._last < _BETWEEN_EVENTS:
            return
        self._last = time.monotonic()
        self._send(asdict(event))


@contextlib.contextmanager
def _said_into(log: Path) -> Iterator[None]:
    """All that is printed inside goes into a file, native code included."""
    log.parent.mkdir(parents=True, exist_ok=True)
    before = [(number, os.dup(number)) for number in (1, 2)]
    try:
        with log.open("ab") as file:
            for number, _ in before:
                os.dup2(file.fileno(), number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in before:
            os.dup2(old, number)
            os.close(old)
