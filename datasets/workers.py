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
from contextlib import contextmanager
from typing import TypeVar

from srbench.datasets.interface import DatasetError

Tag = TypeVar("Tag")
Result = TypeVar("Result")

# For each process: one in work, one on its way there, one on its way back, one for the reader to run ahead.
_WAITING = 4


@contextmanager
def processes(count: int | None) -> Iterator[ProcessPoolExecutor | None]:
    """Start worker processes; none (None) for a count of 1, when the caller's own process does the work.

    They are spawned, not forked (threads of the caller are no danger), leave Ctrl+C to the caller, and end
    with it even when it is killed.

    Args:
        count: as many as there are cores when None.
    """
    wanted = count or os.cpu_count() or 1
    if wanted < 2:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(wanted, mp_context=context, initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(
    pool: ProcessPoolExecutor | None,
    function: Callable[[bytes], Result],
    inputs: Iterable[tuple[Tag, bytes]],
) -> Iterator[tuple[Tag, Result]]:
    """``(tag, function(data))`` for each ``(tag, data)``, in their order.

    Memory holds a few inputs and results for each process, however many there are. When ``inputs`` fails with
    a DatasetError, the results of all before it are given first.

    Args:
        pool: of :func:`processes`; None computes here.
        function: a module's function.
        inputs: read ahead only as far as the processes need.

    Raises:
        DatasetError: a process died.
    """
    if pool is None:
        yield from ((tag, function(data)) for tag, data in inputs)
        return
    most = _WAITING * getattr(pool, "_max_workers", 2)
    waiting: deque[tuple[Tag, Future[Result]]] = deque()
    failure: DatasetError | None = None
    try:
        try:
            for tag, data in inputs:
                waiting.append((tag, pool.submit(function, data)))
                if len(waiting) >= most:
                    yield _result(*waiting.popleft())
        except DatasetError as error:
            failure = error
        while waiting:
            yield _result(*waiting.popleft())
    except BrokenProcessPool as error:
        raise DatasetError(
            "A worker process has died; the system may have stopped it for want of memory. Run the same "
            "command again, it goes on from here; with one worker there are no other processes."
        ) from error
    if failure is not None:
        raise failure


def _result(tag: Tag, future: Future[Result]) -> tuple[Tag, Result]:
    return tag, future.result()


def _begin() -> None:
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A worker waits on a pipe whose other end it holds itself: it would outlive a killed parent for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
