"""The metrics of many images on all cores: in this process while there is little to do, else in several.

Models and metrics take turns, so that what a model takes is measured while nothing else of srbench runs:
images are gathered first and scored together then. Whatever befalls the processes, every image has its
scores in the end, or rows that say why not.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from srbench.evaluation.scorer import ImageInputs, ImageScorer, Scorer, ScoringConditions
from srbench.store import Score
from srbench.utils.errors import SrbenchError
from srbench.utils.files import temporary_folder
from srbench.utils.memory import available_memory
from srbench.utils.parallel import ProcessDied, ProcessPool
from srbench.utils.progress import ProgressCallback

WORTH_STARTING = 10.0
"""Seconds of metrics that must be left for processes to be started: each imports for three seconds first."""
PROCESS_BYTES = 900e6
"""Memory of a process that computes all metrics of images of a megapixel (results/performance.md)."""
GATHERED_BYTES = 256e6
"""SR images that are held before they are scored."""
GATHERED_A_PROCESS = 16
"""Images for each process that are gathered, so that the end, when some wait, is a small part of the time."""
MOST_DEATHS = 5
"""Images that end the process that scores them, after which no more are tried."""

Tag = TypeVar("Tag")
Scored: TypeAlias = tuple[list[Score], str]
"""The scores of an image, and what a reader must know of them."""


class ScoringPool:
    """Scores the images of one evaluation.

    Args:
        workers: processes; 1 for none beside this one. When None as many as there are cores, once what is
            left takes longer than ``WORTH_STARTING``.
        progress: told where processes cannot do it.

    Attributes:
        left: images that are still to be scored, over all models.
        folder: where references lie on their way to a process, while it is entered; no model may read it.
    """

    folder: Path

    def __init__(self, workers: int | None, progress: ProgressCallback) -> None:
        self.left = 0
        self.progress = progress
        self._at_once = workers is not None
        self._count = workers or processes_here()
        self._pool: ProcessPool[tuple[ScoringConditions, ImageInputs], Scored] | None = None
        self._seconds: list[float] = []
        self._deaths = 0

    def __enter__(self) -> ScoringPool:
        self._temporary = temporary_folder("scoring")
        self.folder = self._temporary.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._close(*error)
        self._temporary.__exit__(None, None, None)

    def is_full(self, images: int, held: int) -> bool:
        """Whether so many images, of so many bytes, are to be scored before more are made."""
        if not self._is_worth_it(images):
            return True
        return images >= GATHERED_A_PROCESS * self._count or held >= GATHERED_BYTES

    def results(
        self, scorer: Scorer, tags: Sequence[Tag], inputs_of: Callable[[Tag], ImageInputs]
    ) -> Iterator[tuple[Tag, Scored]]:
        """What was tagged, with its scores, in the order of the tags; each is read shortly before."""
        done, conditions = 0, scorer.conditions
        if self._is_worth_it(len(tags)):
            try:
                conditions.check_elsewhere()
                tasks = ((tag, (conditions, inputs_of(tag))) for tag in tags)
                for tag, scored in self._started().map(tasks):
                    yield tag, scored
                    done += 1
                    self.left -= 1
            except ProcessDied:
                self._close()
                for tag in tags[done:]:
                    yield tag, self._alone(scorer, conditions, inputs_of(tag))
                    done += 1
                    self.left -= 1
            except (SrbenchError, RuntimeError, OSError) as error:
                self._close()
                self._count = 1
                self.progress(f"Note: metrics are computed by one process: {error}")
        for tag in tags[done:]:
            start = time.monotonic()
            with one_thread():
                scored = scorer.of_inputs(inputs_of(tag))
            yield tag, scored
            self._seconds.append(time.monotonic() - start)
            self.left -= 1

    def _is_worth_it(self, images: int) -> bool:
        """Whether processes score, with so many images waiting."""
        if self._count == 1 or self._pool is not None or self._at_once:
            return self._count > 1
        # The first image waits for imports too.
        return len(self._seconds) > 1 and min(self._seconds) * max(self.left, images) > WORTH_STARTING

    def _started(self) -> ProcessPool[tuple[ScoringConditions, ImageInputs], Scored]:
        if self._pool is None:
            self._pool = ProcessPool(score_inputs, self._count, self.folder)
        return self._pool

    def _close(self, *error: object) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.__exit__(*error)

    def _alone(self, scorer: Scorer, conditions: ScoringConditions, inputs: ImageInputs) -> Scored:
        """One image after a process has died: by itself, so that the one that is to blame is known."""
        reason = "the process that computed the metrics was ended; the system may have run out of memory"
        if self._deaths < MOST_DEATHS:
            try:
                ((_, scored),) = self._started().map([(None, (conditions, inputs))])
                return scored
            except ProcessDied:
                self._deaths += 1
                self._close()
        return scorer.without_value(inputs.image, reason), ""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """As in a process of the pool: sums over other parts would differ in their last bits."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def score_inputs(task: tuple[ScoringConditions, ImageInputs]) -> Scored:
    """What a process of the pool does with an image."""
    conditions, inputs = task
    return _scorer_here(conditions).of_inputs(inputs)


@functools.lru_cache(maxsize=2)
def _scorer_here(conditions: ScoringConditions) -> ImageScorer:
    return conditions.scorer()


def processes_here() -> int:
    """As many as cores that this process may use, and as fit into memory."""
    cores = os.cpu_count() or 1
    with contextlib.suppress(AttributeError):  # of Linux alone
        cores = len(os.sched_getaffinity(0))
    return max(min(cores, int(available_memory() // PROCESS_BYTES)), 1)
