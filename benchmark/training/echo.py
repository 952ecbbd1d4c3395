"""What a person watching a run sees: a bar on a terminal, a line now and then anywhere else, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress


@dataclass(frozen=True)
class StepReport:
    """Where a run stands.

    Attributes:
        step: generator updates done, over all stages.
        total: generator updates of the whole run.
        stage: name of the stage.
        loss: mean loss since the last report.
        images_per_second: crops trained on, over all processes.
    """

    step: int
    total: int
    stage: str
    loss: float
    images_per_second: float


class Echo(Protocol):
    """A sink for what a run tells; a caller may bring his own."""

    def note(self, text: str) -> None:
        """A remark worth a line: recipe notes, validation results, skipped updates."""

    def step(self, report: StepReport) -> None:
        """The run went on; called at every log row, not at every step."""


class Silent:
    """Shows nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def step(self, report: StepReport) -> None:
        """Nothing."""


class Lines:
    """A plain line for each remark, and one for progress every ``every`` seconds.

    Args:
        write: takes a line.
        every: seconds between progress lines.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        every: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write, self._every, self._clock = write, every, clock
        self._start: tuple[float, int] | None = None
        self._last = -every

    def note(self, text: str) -> None:
        """The remark as a line."""
        self._write(text)

    def step(self, report: StepReport) -> None:
        """A line if the last one is long enough ago, or the run is over."""
        now = self._clock()
        self._start = self._start or (now, report.step)
        if now - self._last < self._every and report.step < report.total:
            return
        self._last = now
        self._write(
            f"step {report.step}/{report.total} ({report.stage})  loss {report.loss:.4g}  "
            f"{report.images_per_second:.1f} images/s{self._left(now, report)}"
        )

    def _left(self, now: float, report: StepReport) -> str:
        assert self._start is not None
        since, first = self._start
        done, remaining = report.step - first, report.total - report.step
        if done <= 0 or remaining <= 0:
            return ""
        return f"  {format_seconds((now - since) / done * remaining)} left"


class Bar:
    """A progress bar of rich."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("training", total=None, state="")

    def note(self, text: str) -> None:
        """The remark above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)

    def step(self, report: StepReport) -> None:
        """Move the bar."""
        state = f"loss {report.loss:.4g}, {report.images_per_second:.1f} images/s"
        self._progress.update(
            self._task,
            description=report.stage,
            completed=report.step,
            total=report.total,
            state=state,
        )


@contextmanager
def terminal_echo() -> Iterator[Echo]:
    """A bar where stderr is a terminal, lines where it is a file or a pipe."""
    if not sys.stderr.isatty():
        yield Lines(lambda text: print(text, file=sys.stderr, flush=True))
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bar(progress)


def format_seconds(seconds: float) -> str:
    """``42 s``, ``3 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
