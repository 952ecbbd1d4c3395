"""Downloading many files: in parallel, checked by hash, resumed where an earlier call stopped.

What has arrived of a file is kept beside it (see ``partial``) and continued by a byte range; a file gets its
name only after its hash was right. Servers that refuse ranges, answer 5xx or stall are asked again, for as
long as each few attempts bring something new.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from srbench.datasets.digests import Content, digest_of
from srbench.datasets.interface import DatasetError, ProgressCallback, silent
from srbench.datasets.partial import Part, Remote
from srbench.datasets.storage import writing_to
from srbench.datasets.tracking import Tracker
from srbench.datasets.transfer import Refused, Unfinished, receive, require_http

__all__ = ["Arrived", "Patience", "Remote", "download_all"]

_NOTABLE = 1 << 20
_LEAVE = 2.0  # seconds for the threads to put down what they hold

Arrived = Callable[[Remote, Content], None]


@dataclass(frozen=True)
class Patience:
    """How often and how long to try.

    Attributes:
        attempts: at a file without a further megabyte of it, at least 1.
        backoff: seconds before the second attempt, doubled before each further one.
        timeout: seconds without a byte before a connection counts as dead.
    """

    attempts: int = 5
    backoff: float = 1.0
    timeout: float = 30.0


class _Stopped(Exception):
    """The download was given up; what arrived is on the disk."""


def download_all(
    remotes: Sequence[Remote],
    progress: ProgressCallback = silent,
    *,
    workers: int = 8,
    patience: Patience | None = None,
    arrived: Arrived | None = None,
) -> None:
    """Download every file that is not there yet; all are tried before any failure is reported.

    Args:
        remotes: the files; those there already are hashed and left alone when they are right.
        progress: told ``download`` (bytes of all files, with what is there already), ``check`` (bytes of
            earlier calls hashed) and ``files``.
        workers: files at a time.
        patience: how often and how long to try.
        arrived: told of each file that is whole, with its size and hashes, one at a time.

    Raises:
        DatasetError: some could not be had; names each with its reason. What arrived is kept.
    """
    for remote in remotes:
        require_http(remote.url)
    job = _Job(remotes, progress, patience or Patience(), arrived)
    job.run(workers)


class _Job:
    """The files of one call, and the threads at work on them."""

    def __init__(
        self,
        remotes: Sequence[Remote],
        progress: ProgressCallback,
        patience: Patience,
        arrived: Arrived | None,
    ) -> None:
        self.remotes = remotes
        self.patience = patience
        self.arrived = arrived
        self.tracker = Tracker(remotes, progress)
        self.stop = threading.Event()
        self.waiting: queue.SimpleQueue[Remote] = queue.SimpleQueue()
        self.finished: queue.SimpleQueue[tuple[Remote, Content | BaseException]] = queue.SimpleQueue()

    def run(self, workers: int) -> None:
        """Everything; returns when every file is there."""
        for remote in self.remotes:
            self.waiting.put(remote)
        # Daemons: a thread that waits for a dead server must not keep an interrupted program alive.
        threads = [threading.Thread(target=self._work, daemon=True) for _ in self.remotes[:workers]]
        for thread in threads:
            thread.start()
        try:
            failures = self._collect()
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(_LEAVE / len(threads))
        if failures:
            raise _summary(failures, len(self.remotes))

    def _collect(self) -> dict[str, str]:
        failures: dict[str, str] = {}
        for _ in self.remotes:
            remote, outcome = self.finished.get()
            if isinstance(outcome, Content):
                self.tracker.file_done()
                if self.arrived is not None:
                    self.arrived(remote, outcome)
            elif isinstance(outcome, (Refused, Unfinished)):
                failures[remote.path.name] = f"{outcome} ({remote.url})"
            else:
                raise outcome
        return failures

    def _work(self) -> None:
        while not self.stop.is_set():
            try:
                remote = self.waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self.finished.put((remote, self._fetch(remote)))
            except _Stopped:
                return
            except BaseException as error:
                self.finished.put((remote, error))

    def _fetch(self, remote: Remote) -> Content:
        there = self._checked(remote)
        if there is not None:
            return there
        with writing_to(remote.path.parent):
            part = Part(remote)
            part.load(lambda read: self._told(remote, read, checking=True))
            self._told(remote, part.size)
            try:
                self._insist(part)
            finally:
                if not part.size:
                    part.restart()
            part.finish()
        return part.digest.content

    def _checked(self, remote: Remote) -> Content | None:
        """What the file there holds, where it is the right one."""
        if not remote.path.exists():
            return None
        content = digest_of(remote.path, lambda read: self._told(remote, read, checking=True)).content
        if not remote.problem(content):
            return content
        self._told(remote, 0)
        return None

    def _insist(self, part: Part) -> None:
        """Attempt after attempt until the file is whole and right."""
        failed, most = 0, part.size
        while True:
            try:
                self._attempt(part)
                return
            except Unfinished as error:
                failed = 1 if part.size >= most + _NOTABLE else failed + 1
                most = max(most, part.size)
                if failed >= self.patience.attempts:
                    raise
                self._pause(max(self.patience.backoff * 2 ** (failed - 1), error.after))

    def _attempt(self, part: Part) -> None:
        receive(part, self.patience.timeout, lambda: self._told(part.remote, part.size))
        problem = part.remote.problem(part.digest.content)
        if not problem:
            return
        # What was continued from an earlier call may have changed since; a fresh file is simply another one.
        kind = Unfinished if part.continued else Refused
        part.restart()
        self._told(part.remote, 0)
        raise kind(f"wrong content: {problem}; discarded")

    def _told(self, remote: Remote, size: int, *, checking: bool = False) -> None:
        if self.stop.is_set():
            raise _Stopped
        if checking:
            self.tracker.checked(remote.path, size)
        else:
            self.tracker.at(remote.path, size)

    def _pause(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise _Stopped


def _summary(failures: dict[str, str], total: int) -> DatasetError:
    listed = "\n".join(f"  {name}: {reason}" for name, reason in sorted(failures.items()))
    return DatasetError(
        f"{len(failures)} of {total} files could not be downloaded:\n{listed}\n"
        "What arrived is kept; run the same command again to get the rest."
    )
