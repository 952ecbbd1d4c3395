"""How far a download of many files is: one sum over all of them, passed on from many threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from srbench.datasets.interface import ProgressCallback, ProgressEvent
from srbench.datasets.partial import Remote, part_path

_EVERY = 0.1  # seconds between two events; a fast line brings thousands of pieces a second


class Tracker:
    """Passes progress on, one event at a time.

    ``download`` counts from the start what earlier calls left, so that its total and its share are true.
    """

    def __init__(self, remotes: Sequence[Remote], progress: ProgressCallback) -> None:
        self._lock = threading.Lock()
        self._progress = progress
        self._there = {remote.path: _there(remote.path) for remote in remotes}
        sizes = [remote.size for remote in remotes]
        self._total = sum(size for size in sizes if size is not None) if None not in sizes else None
        self._to_check = sum(self._there.values())
        self._checked: dict[Path, int] = {}
        self._files = (0, len(remotes))
        self._last: dict[str, float] = {}
        if self._to_check or self._total:
            self._emit("download", sum(self._there.values()), self._total, "B")

    def at(self, path: Path, size: int) -> None:
        """So many bytes of a file are there."""
        with self._lock:
            self._there[path] = size
            self._tell_download()

    def checked(self, path: Path, size: int) -> None:
        """So many bytes of what an earlier call left were hashed."""
        with self._lock:
            self._checked[path] = size
            done = sum(self._checked.values())
            self._emit("check", done, self._to_check, "B", final=done >= self._to_check)

    def file_done(self) -> None:
        """One more file is whole."""
        with self._lock:
            self._files = (self._files[0] + 1, self._files[1])
            self._tell_download(final=True)
            self._emit("files", *self._files, "files", final=True)

    def _tell_download(self, final: bool = False) -> None:
        self._emit("download", sum(self._there.values()), self._total, "B", final=final)

    def _emit(self, label: str, done: int, total: int | None, unit: str, final: bool = False) -> None:
        now = time.monotonic()
        if final or now - self._last.get(label, 0.0) >= _EVERY:
            self._last[label] = now
            self._progress(ProgressEvent(label, done, total, unit))


def _there(path: Path) -> int:
    for file in (path, part_path(path)):
        if file.exists():
            return file.stat().st_size
    return 0
