"""A function applied to many inputs by several processes: results in order, few of them waiting at a time.

Every process has a pipe of its own and a thread here that serves it. ``concurrent.futures`` may wait for ever
when its processes die while a large input is on the way (seen with 5 MB inputs on Python 3.11.7), and its
processes outlive a caller that is killed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Generic, TypeVar

from srbench.utils.errors import DatasetError

Tag = TypeVar("Tag")
Result = TypeVar("Result")

# For each process one input in work, one ready to follow, one result to be fetched.
_WAITING = 3
_JOIN_SECONDS = 10.0


class ProcessPool(Generic[Result]):
    """Processes that apply one function; made by :func:`processes`.

    Attributes:
        most: inputs that it makes sense to have on the way.
    """

    def __init__(self, function: Callable[[bytes], Result], count: int) -> None:
        """Start ``count`` processes; with 1 there are none, and the caller's own does the work."""
        self.most = _WAITING * count
        self._function = function
        self._processes: list[BaseProcess] = []
        self._idle: SimpleQueue[Connection] = SimpleQueue()
        self._connections: list[Connection] = []
        self._threads = ThreadPoolExecutor(count)
        for _ in range(count if count > 1 else 0):
            self._start()

    def submit(self, data: bytes) -> Future[Result]:
        """Have ``function(data)`` computed.

        The future's result raises DatasetError when the process has died.
        """
        if self._processes:
            return self._threads.submit(self._request, data)
        done: Future[Result] = Future()
        done.set_result(self._function(data))
        return done

    def close(self) -> None:
        """End the processes once they are done with what they are doing."""
        self._threads.shutdown(cancel_futures=True)
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(_JOIN_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()

    def _start(self) -> None:
        # Spawned, not forked: threads of the caller are no danger, and no other pipe's end is inherited, so
        # that each process sees its own pipe end when this process is gone.
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, self._function), daemon=True)
        process.start()
        there.close()
        self._processes.append(process)
        self._connections.append(here)
        self._idle.put(here)

    def _request(self, data: bytes) -> Result:
        connection = self._idle.get()
        try:
            connection.send_bytes(data)
            failure, result = connection.recv()
        except (EOFError, OSError) as error:
            raise DatasetError(
                "A worker process has died; the system may have stopped it for want of memory. Run the same "
                "command again, it goes on from here; with one worker there are no other processes."
            ) from error
        finally:
            # That of a dead process too: who asks it next is told the same, instead of waiting for another.
            self._idle.put(connection)
        if failure:
            raise RuntimeError(failure)
        answer: Result = result
        return answer


@contextmanager
def processes(function: Callable[[bytes], Result], count: int | None) -> Iterator[ProcessPool[Result]]:
    """Start processes that apply ``function`` (of a module); they leave Ctrl+C to the caller.

    Args:
        function: what to apply.
        count: as many as there are cores when None; 1: none, the work is done here.
    """
    workers = ProcessPool(function, count or os.cpu_count() or 1)
    try:
        yield workers
    finally:
        workers.close()


def in_order(
    workers: ProcessPool[Result], inputs: Iterable[tuple[Tag, bytes]]
) -> Iterator[tuple[Tag, Result]]:
    """``(tag, function(data))`` for each ``(tag, data)``, in their order.

    Memory holds a few inputs and results for each process, however many there are. When ``inputs`` fails with
    a DatasetError, the results of all before it are given first.

    Raises:
        DatasetError: a process died.
    """
    waiting: deque[tuple[Tag, Future[Result]]] = deque()
    failure: DatasetError | None = None
    source = iter(inputs)
    while True:
        try:
            tag, data = next(source)
        except StopIteration:
            break
        except DatasetError as error:
            failure = error
            break
        waiting.append((tag, workers.submit(data)))
        if len(waiting) >= workers.most:
            yield _result(*waiting.popleft())
    while waiting:
        yield _result(*waiting.popleft())
    if failure is not None:
        raise failure


def _result(tag: Tag, future: Future[Result]) -> tuple[Tag, Result]:
    return tag, future.result()


def _serve(connection: Connection, function: Callable[[bytes], object]) -> None:
    """What a process does: answers until the other end is closed, by ``close`` or by its process's end."""
    import cv2

    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while True:
            connection.send(_answer(function, connection.recv_bytes()))
    except (EOFError, OSError):
        return


def _answer(function: Callable[[bytes], object], data: bytes) -> tuple[str, object]:
    try:
        return "", function(data)
    except Exception as error:
        return f"{type(error).__name__} in a worker process: {error}", None
