"""A function applied to many inputs by several processes: results in order, few of them waiting at a time.

Inputs and results lie in files; the queues of ``concurrent.futures`` carry their paths only. A pipe that
nobody reads any more blocks its writer once it is full, and half a message blocks its reader: with megabytes
in its queues, an executor whose processes were killed could wait for ever (seen on Python 3.11.7).
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

from srbench.utils.errors import DatasetError, SrbenchError
from srbench.utils.files import TEMPORARY_SETTING, temporary_folder, writing_to
from srbench.utils.memory import keep_memory, kept_memory
from srbench.utils.processes import GUARD

Tag = TypeVar("Tag")
Argument = TypeVar("Argument")
Result = TypeVar("Result")
Input = TypeVar("Input")

# For each process one input in work, one ready to follow, one result to be fetched.
_AHEAD = 3
_PROBE_SECONDS = 5.0
_STARTED = "started"
_THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Of a process of a pool: there are as many processes as cores."""


class ProcessDied(DatasetError):
    """A process of a pool has ended; what it was given has no result."""


class ProcessPool(Generic[Argument, Result]):
    """Processes that apply one function (of a module); they leave Ctrl+C to the caller.

    Attributes:
        ahead: inputs that are read ahead of the result that is given next.
    """

    def __init__(
        self,
        function: Callable[[Argument], Result],
        count: int | None = None,
        within: Path | None = None,
        *,
        imports: Sequence[str] = (),
        at_once: int = 1,
        keep_memory: bool = False,
    ) -> None:
        """Start the processes.

        Args:
            function: of a module.
            count: processes, as many as there are cores when None; 1: the work is done here.
            within: folder in which inputs and results lie; where temporary files do when None.
            imports: modules that register what inputs name.
            at_once: inputs that go to a process together. To tell it costs half a millisecond.
            keep_memory: whether who does the work keeps freed memory for the next input, see
                :func:`~srbench.utils.memory.kept_memory`.
        """
        count = count or os.cpu_count() or 1
        self._at_once = at_once if count > 1 else 1
        self.ahead = _AHEAD * count * self._at_once
        self._function = function
        self._imports = tuple(imports)
        self._executor: ProcessPoolExecutor | None = None
        self._died = False
        self._files = 0
        self._free: list[Path] = []
        self._held = contextlib.ExitStack()
        if count > 1:
            temporary: AbstractContextManager[Path | str] = (
                temporary_folder("processes")
                if within is None
                else TemporaryDirectory(dir=within, ignore_cleanup_errors=True)
            )
            self._folder = Path(self._held.enter_context(temporary))
            # Spawned, not forked, so that threads of the caller are no danger.
            context = multiprocessing.get_context("spawn")
            reader, self._writer = context.Pipe(duplex=False)
            self._held.callback(reader.close)
            self._held.callback(self._writer.close)
            self._executor = ProcessPoolExecutor(
                count, context, _initialise, (reader, self._folder, keep_memory)
            )
        elif keep_memory:
            self._held.enter_context(kept_memory())

    def __enter__(self) -> ProcessPool[Argument, Result]:
        return self

    def __exit__(self, *error: object) -> None:
        if self._executor is not None:
            if any(error) or self._died:
                # Nobody waits for what is in work: the processes end at once, that too which an executor
                # started while it broke, and would wait for.
                self._writer.close()
            self._executor.shutdown(cancel_futures=True)
        self._held.close()

    def map(self, inputs: Iterable[tuple[Tag, Argument]]) -> Iterator[tuple[Tag, Result]]:
        """``(tag, function(argument))`` for each ``(tag, argument)``, in their order.

        Memory holds ``at_once`` results, the disk ``ahead`` inputs or results, however many there are, and
        none at the end. When ``inputs`` fails with a DatasetError, the results of all before it are given
        first.

        Raises:
            ProcessDied: a process has ended.
            DatasetError: the disk is full, or the function raised one.
            RuntimeError: the function raised anything else in a process.
        """
        waiting: deque[tuple[list[Tag], Callable[[], list[Result]]]] = deque()
        failure: SrbenchError | None = None
        source = _groups(inputs, self._at_once)
        try:
            while True:
                try:
                    group = next(source)
                except StopIteration:
                    break
                except SrbenchError as error:
                    failure = error
                    break
                waiting.append(([tag for tag, _ in group], self._submit([argument for _, argument in group])))
                if len(waiting) * self._at_once >= self.ahead:
                    tags, results = waiting.popleft()
                    yield from zip(tags, results(), strict=True)
            while waiting:
                tags, results = waiting.popleft()
                yield from zip(tags, results(), strict=True)
        except BrokenProcessPool as error:
            self._died = True
            raise ProcessDied(self._reason()) from error
        finally:
            while self._free:
                self._free.pop().unlink(missing_ok=True)
        if failure is not None:
            raise failure

    def _submit(self, arguments: list[Argument]) -> Callable[[], list[Result]]:
        """Begin ``function(argument)`` for each; what is returned waits for the results."""
        if self._executor is None:
            done = [self._function(argument) for argument in arguments]
            return lambda: done
        # The same few files again and again: to make and remove one waits for the disk, to fill one does not.
        if not self._free:
            self._free.append(self._folder / str(self._files))
            self._files += 1
        path = self._free.pop()
        _store(path, (self._imports, self._function, arguments))
        future = self._execute(_apply, str(path))

        def wait() -> list[Result]:
            while True:
                try:
                    future.result(_PROBE_SECONDS)
                    break
                except NotYet:
                    # An executor that breaks forgets what is submitted at that moment; asking again tells.
                    self._execute(os.getpid)
            results: list[Result] = _load(path)
            self._free.append(path)
            return results

        return wait

    @property
    def _with_script(self) -> bool:
        """Whether the processes need the script that was started."""
        return getattr(self._function, "__module__", "") == "__main__"

    def _reason(self) -> str:
        """Why a process has ended, as far as that can be known."""
        if self._with_script and not (self._folder / _STARTED).exists():
            script = getattr(sys.modules["__main__"], "__file__", None) or "the script"
            return (
                f"The worker processes ended while they imported {script}, which holds the function that "
                f"they apply. Put what it does below {GUARD}, or the function into a module of its own."
            )
        return (
            "A worker process has died; the system may have stopped it for want of memory. Run the same "
            "command again, it goes on from here; with one worker there are no other processes."
        )

    def _execute(self, function: Callable[..., object], *arguments: object) -> Future[object]:
        assert self._executor is not None
        try:
            # An executor starts its processes when something is submitted.
            with _starting(self._with_script):
                return self._executor.submit(function, *arguments)
        except OSError as error:
            # It broke while it was starting another process.
            raise BrokenProcessPool(str(error)) from error


@contextlib.contextmanager
def _starting(with_script: bool) -> Iterator[None]:
    """What processes started in the block get to know: one thread each, and not the caller's script.

    A spawned process imports the script anew. One without ``if __name__ == "__main__"`` would do all its work
    once more there, and end in an error of multiprocessing; only a function of the script itself needs it.
    """
    main = sys.modules["__main__"]
    before = {name: os.environ.get(name) for name in _THREADS}
    named = [name for name in vars(main) if name in ("__spec__", "__file__")]
    hidden: dict[str, Any] = {} if with_script else {name: vars(main)[name] for name in named}
    try:
        os.environ.update(_THREADS)
        for name in hidden:
            setattr(main, name, None)
        yield
    finally:
        vars(main).update(hidden)
        for variable, value in before.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value


def _groups(inputs: Iterable[Input], most: int) -> Iterator[list[Input]]:
    """Inputs in groups of so many; what came before a failure is given first."""
    group: list[Input] = []
    try:
        for entry in inputs:
            group.append(entry)
            if len(group) == most:
                yield group
                group = []
    except SrbenchError:
        if group:
            yield group
        raise
    if group:
        yield group


def _initialise(reader: Connection, folder: Path, keeping: bool) -> None:
    import cv2

    cv2.setNumThreads(1)
    if keeping:
        keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_pool, args=(reader, folder), daemon=True).start()
    (folder / _STARTED).touch()


def _end_with_pool(reader: Connection, folder: Path) -> None:
    # An idle process of an executor notices neither its parent being killed nor a broken pool forgetting it.
    try:
        reader.recv_bytes()
    except (EOFError, OSError):
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)


def _apply(file: str) -> None:
    """Replace the function and its arguments in a file by the results."""
    path = Path(file)
    try:
        imports, function, arguments = _load(path)
    except AttributeError as error:
        raise DatasetError(
            f"A worker process does not know what it was given: {error}. What is defined in the script "
            "itself is known there alone; a module that it imports would do."
        ) from None
    try:
        for module in imports:
            importlib.import_module(module)
        _store(path, [function(argument) for argument in arguments])
    # With their text only: not every exception can be sent to another process.
    except SrbenchError as error:
        raise DatasetError(str(error)) from None
    except Exception as error:
        raise RuntimeError(f"{type(error).__name__} in a worker process: {error}") from None


def _store(path: Path, value: object) -> None:
    """Write a file of the pool's folder; a full disk is a StorageError, in the worker too."""
    with writing_to(path.parent, TEMPORARY_SETTING), path.open("wb" if not path.exists() else "r+b") as file:
        # What a longer value has left behind is not read.
        pickle.dump(value, file, pickle.HIGHEST_PROTOCOL)


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)
