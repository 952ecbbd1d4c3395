"""Progress of long jobs on stderr: bars in a terminal, a line now and then where there is none.

Rates are of the last half minute and never count what was there before the job began, so that the time left
of a continued download is true.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from srbench.datasets.interface import ProgressEvent, ProgressSink

LINE_EVERY = 10.0  # seconds between two lines of one job
_WINDOW = 30.0  # seconds a rate is measured over


class Rate:
    """How fast a job goes, from its last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, done: int, now: float) -> None:
        """So much was done by ``now`` (s)."""
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # something was discarded; what came before tells nothing of the speed
        self._seen.append((now, done))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW:
            self._seen.popleft()

    @property
    def value(self) -> float | None:
        """Units a second; None as long as too little is known."""
        if len(self._seen) < 2:
            return None
        (first, start), (last, end) = self._seen[0], self._seen[-1]
        return (end - start) / (last - first) if last - first >= 0.5 else None


@contextmanager
def progress_bar() -> Iterator[ProgressSink]:
    """A sink of progress events, to be called from any thread; shown on stderr."""
    if sys.stderr.isatty():
        with _bars() as sink:
            yield sink
    else:
        yield Lines().show


def human_bytes(count: float) -> str:
    """``1.5 GB`` and the like (decimal units)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.95 or (unit == "B" and count < 1000):
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def human_time(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def amount(event: ProgressEvent) -> str:
    """``1.2 of 13.6 GB (9 %)`` and the like."""
    if event.unit == "B":
        done = human_bytes(event.done)
        total = human_bytes(event.total) if event.total else ""
        return f"{done} of {total} ({event.done / event.total:.0%})" if event.total else done
    unit = "" if event.unit == event.label else f" {event.unit}"
    return f"{event.done}/{event.total}{unit}" if event.total else f"{event.done}{unit}"


def speed(event: ProgressEvent, rate: float | None) -> str:
    """``45.3 MB/s, 4 min left``; empty where nothing is known or left."""
    if not rate or (event.total is not None and event.done >= event.total):
        return ""
    text = f"{human_bytes(rate)}/s" if event.unit == "B" else f"{rate:.1f}/s"
    return text if event.total is None else f"{text}, {human_time((event.total - event.done) / rate)} left"


class Lines:
    """One line a job every few seconds, its first and its last event, and every remark."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, write: Callable[[str], None] | None = None
    ) -> None:
        self._clock = clock
        self._write = write or _to_stderr
        self._lock = threading.Lock()
        self._rates: dict[str, Rate] = {}
        self._shown: dict[str, tuple[float, int]] = {}

    def show(self, event: ProgressEvent) -> None:
        """Take one event."""
        with self._lock:
            if event.unit == "remark":
                self._write(event.label)
                return
            now = self._clock()
            rate = self._rates.setdefault(event.label, Rate())
            rate.add(event.done, now)
            if self._due(event, now):
                self._shown[event.label] = (now, event.done)
                self._write(
                    ", ".join(filter(None, (f"{event.label}: {amount(event)}", speed(event, rate.value))))
                )

    def _due(self, event: ProgressEvent, now: float) -> bool:
        if event.label not in self._shown:
            return True
        when, done = self._shown[event.label]
        finished = event.total is not None and event.done >= event.total
        return done != event.done and (finished or now - when >= LINE_EVERY)


@contextmanager
def _bars() -> Iterator[ProgressSink]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        lock = threading.Lock()
        tasks: dict[str, Any] = {}
        rates: dict[str, Rate] = {}

        def show(event: ProgressEvent) -> None:
            with lock:
                if event.unit == "remark":
                    progress.console.print(event.label, highlight=False, markup=False, soft_wrap=True)
                    return
                if event.label not in tasks:
                    tasks[event.label] = progress.add_task(event.label, total=event.total, state="")
                    rates[event.label] = Rate()
                rates[event.label].add(event.done, time.monotonic())
                told = filter(None, (amount(event), speed(event, rates[event.label].value)))
                progress.update(
                    tasks[event.label], completed=event.done, total=event.total, state=", ".join(told)
                )

        yield show


def _to_stderr(text: str) -> None:
    click.echo(text, err=True)
