"""Reading ahead in a background thread, in order, so that the result is that of reading in the loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Value = TypeVar("Value")


def read_ahead(read: Callable[[int], Value], steps: range, depth: int) -> Generator[Value, None, None]:
    """``read(step)`` for each step in order, up to ``depth`` of them read ahead.

    A thread is enough: crops come from memory maps, and numpy and torch release the interpreter while they
    copy. An error inside ``read`` is raised here, at the step it belongs to.

    Args:
        read: a pure function of the step.
        steps: the steps wanted.
        depth: values kept ready; 0 reads in the caller's thread.
    """
    if depth == 0:
        yield from map(read, steps)
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="srbench-data")
    try:
        upcoming = iter(steps)
        pending: deque[Future[Value]] = deque(pool.submit(read, step) for step in islice(upcoming, depth))
        while pending:
            value = pending.popleft().result()
            pending.extend(pool.submit(read, step) for step in islice(upcoming, 1))
            yield value
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
