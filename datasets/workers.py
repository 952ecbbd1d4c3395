"""A function applied to many inputs by several processes: results in order, few of them waiting at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Generic, TypeVar

from srbench.datasets.interface import DatasetError

Tag = TypeVar("Tag")
Argument = TypeVar("Argument")
Result = TypeVar("Result")

# For each process one input in work, one ready to follow, one result to be fetched.
_AHEAD = 3


class ProcessPool(Generic[Argument, Result]):
    """Processes that apply one function (of a module); they leave Ctrl+C to the caller.

    Attributes:
        ahead: inputs that are read ahead of the result that is given next.
    """

    def __init__(self, function: Callable[[Argument], Result], count: int | None = None) -> None:
        """Start ``count`` processes, as many as there are cores when None; 1: the work is done here."""
        count = count or os.cpu_count() or 1
        self.ahead = _AHEAD * count
        self._function = function
        # Spawned, not forked, so that threads of the caller are no danger.
        spawn = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(count, spawn, _initialise) if count > 1 else None

    def __enter__(self) -> ProcessPool[Argument, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def map(self, inputs: Iterable[tuple[Tag, Argument]]) -> Iterator[tuple[Tag, Result]]:
        """``(tag, function(argument))`` for each ``(tag, argument)``, in their order.

        Memory holds ``ahead`` inputs or results, however many there are. When reading ``inputs`` fails, the
        results of all before are given first.

        Raises:
            DatasetError: a process died.
        """
        waiting: deque[tuple[Tag, Future[Result]]] = deque()
        failure: Exception | None = None
        source = iter(inputs)
        try:
            while True:
                try:
                    tag, argument = next(source)
                except StopIteration:
                    break
                except Exception as error:
                    failure = error
                    break
                waiting.append((tag, self._submit(argument)))
                if len(waiting) >= self.ahead:
                    tag, future = waiting.popleft()
                    yield tag, future.result()
            for tag, future in waiting:
                yield tag, future.result()
        except BrokenProcessPool as error:
            raise DatasetError(
                "A worker process has died; the system may have stopped it for want of memory. Run the same "
                "command again, it goes on from here; with one worker there are no other processes."
            ) from error
        if failure is not None:
            raise failure

    def _submit(self, argument: Argument) -> Future[Result]:
        if self._executor is not None:
            return self._executor.submit(self._function, argument)
        done: Future[Result] = Future()
        done.set_result(self._function(argument))
        return done


def _initialise() -> None:
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # An idle worker of an executor does not notice that the process that started it was killed.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
