"""Progress of long jobs on stderr: bars in a terminal, a line now and then where there is none.

Rates are rich's: of the last half minute, and without what was there before the job began, so that the time
left of a continued download is true.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID


@dataclass(frozen=True)
class ProgressEvent:
    """Progress of a long job.

    Attributes:
        label: the job; events of one label are one bar.
        done: units done.
        total: units in all, None when unknown.
        unit: ``B``, ``images``, ``steps``, ...
        detail: what else to show beside it.
    """

    label: str
    done: int
    total: int | None
    unit: str
    detail: str = ""


ProgressCallback = Callable[[ProgressEvent | str], None]
"""Takes the events of a long job and, as text, what its user should know meanwhile."""


def silent(event: ProgressEvent | str) -> None:
    """A callback that shows nothing."""
    del event


SECONDS_BETWEEN_LINES = 10.0
_hidden = False


def is_hidden() -> bool:
    """Whether neither progress nor remarks are shown."""
    return _hidden


@contextmanager
def hidden() -> Iterator[None]:
    """Inside, in any thread, :func:`progress_reporter` shows nothing; others ask :func:`is_hidden`."""
    global _hidden
    before, _hidden = _hidden, True
    try:
        yield
    finally:
        _hidden = before


class ProgressReporter:
    """Takes events from any thread and keeps a task of rich for each label.

    Args:
        clock: seconds that only go forward.
        write: takes a line; stderr when None.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, write: Callable[[str], None] | None = None
    ) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[state]}"),
            console=Console(stderr=True),
            get_time=clock,
        )
        self._clock = clock
        self._write = write or _to_stderr
        self._lock = threading.Lock()
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: ProgressEvent | str) -> None:
        """Show an event, or a text."""
        from srbench.utils.text import printable, printable_lines

        if isinstance(event, ProgressEvent):
            event = replace(event, label=printable(event.label), detail=printable(event.detail))
        with self._lock:
            if isinstance(event, str):
                self._write(printable_lines(event))
                return
            if event.label not in self._tasks:
                self._tasks[event.label] = self._progress.add_task(event.label, total=event.total, state="")
            number = self._tasks[event.label]
            self._progress.update(number, completed=event.done, total=event.total)
            task = next(task for task in self._progress.tasks if task.id == number)
            self._progress.update(number, state=state_of(task, event))
            self._shown(task)

    def _shown(self, task: Task) -> None:
        """The task's numbers are new."""


class RichReporter(ProgressReporter):
    """Bars in a terminal, texts above them; to be entered."""

    def __init__(self) -> None:
        super().__init__()
        printed = self._progress.console.print
        self._write = functools.partial(printed, highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> RichReporter:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()


class PlainReporter(ProgressReporter):
    """One line a job every few seconds, its first and its last event, and every text.

    Args:
        clock: seconds that only go forward.
        write: takes a line; stderr when None.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, write: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(clock, write)
        self._last: dict[TaskID, tuple[float, float]] = {}

    def _shown(self, task: Task) -> None:
        now = self._clock()
        when, done = self._last.get(task.id, (-SECONDS_BETWEEN_LINES, -1.0))
        if done != task.completed and (task.finished or now - when >= SECONDS_BETWEEN_LINES):
            self._last[task.id] = (now, task.completed)
            self._write(f"{task.description}: {task.fields['state']}")


@contextmanager
def progress_reporter() -> Iterator[ProgressCallback]:
    """Shows progress on stderr inside: bars where it is a terminal, else lines; nothing in :func:`hidden`."""
    if _hidden:
        yield silent
        return
    if not sys.stderr.isatty():
        yield PlainReporter()
        return
    with RichReporter() as reporter:
        yield reporter


def state_of(task: Task, event: ProgressEvent) -> str:
    """``1.2/13.6 GB (9%), 45.3 MB/s, 0:04:12 left`` and the like."""
    from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    if event.unit == "B":
        amount = str(DownloadColumn().render(task)).replace("/?", "")
        amount += f" ({task.percentage:.0f}%)" if task.total else ""
    else:
        amount = f"{event.done}/{event.total}" if event.total else f"{event.done}"
        amount += "" if event.unit == event.label else f" {event.unit}"
    parts = [amount, event.detail]
    if task.speed and not task.finished:
        parts.append(str(TransferSpeedColumn().render(task)) if event.unit == "B" else f"{task.speed:.1f}/s")
        if task.total is not None:
            parts.append(f"{TimeRemainingColumn().render(task)} left")
    return ", ".join(filter(None, parts))


def human_bytes(count: float) -> str:
    """``1.5 GB`` and the like (decimal units)."""
    from rich.filesize import decimal

    return decimal(int(count))


def count_of(number: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
