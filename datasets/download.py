"""Downloading many files: in parallel, checked by sha256, resumed where an earlier call stopped.

What has arrived of a file is kept beside it as ``<name>.part`` and continued by a byte range; a file gets its
name only after its hash was right. Servers that refuse ranges, answer 5xx or stall are asked again.
"""

from __future__ import annotations

import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from srbench.datasets.interface import DatasetError, ProgressEvent, ProgressSink, silent
from srbench.datasets.storage import flush, sha256_file, writing_to

CHUNK = 1 << 18
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE_REFUSED = 416


@dataclass(frozen=True)
class Remote:
    """One file to download: where from, where to, and the sha256 it must have.

    ``sha256`` may be its first digits alone, as far as somebody published them; empty takes what comes.
    """

    url: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Patience:
    """How often and how long to try.

    Attributes:
        attempts: per file, at least 1.
        backoff: seconds before the second attempt, doubled before each further one.
        timeout: seconds without a byte before a connection counts as dead.
    """

    attempts: int = 5
    backoff: float = 1.0
    timeout: float = 30.0


class _Unfinished(Exception):
    """The connection failed in a way that may pass."""


class _Refused(Exception):
    """The file cannot be had; trying again would not help."""


def download_all(
    remotes: Sequence[Remote],
    progress: ProgressSink = silent,
    *,
    workers: int = 8,
    patience: Patience | None = None,
) -> None:
    """Download every file that is not there yet; all are tried before any failure is reported.

    Raises:
        DatasetError: some could not be had; names each with its reason. What arrived is kept.
    """
    tracker = _Tracker(len(remotes), progress)
    failures: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        jobs = {
            pool.submit(_fetch_one, remote, patience or Patience(), tracker): remote for remote in remotes
        }
        try:
            for job in as_completed(jobs):
                _collect(job.exception(), jobs[job], failures, tracker)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if failures:
        listed = "\n".join(f"  {name}: {reason}" for name, reason in sorted(failures.items()))
        raise DatasetError(
            f"{len(failures)} of {len(remotes)} files could not be downloaded:\n{listed}\n"
            "What arrived is kept; run the same command again to get the rest."
        )


def _collect(
    error: BaseException | None, remote: Remote, failures: dict[str, str], tracker: _Tracker
) -> None:
    if error is None:
        tracker.file_done()
    elif isinstance(error, (_Refused, _Unfinished)):
        failures[remote.path.name] = f"{error} ({remote.url})"
    else:
        raise error


class _Tracker:
    """Passes progress on from many threads, one event at a time."""

    def __init__(self, total: int, progress: ProgressSink) -> None:
        self._lock = threading.Lock()
        self._progress = progress
        self._total = total
        self._files = 0
        self._bytes = 0

    def received(self, count: int) -> None:
        with self._lock:
            self._bytes += count
            self._progress(ProgressEvent("download", self._bytes, None, "B"))

    def file_done(self) -> None:
        with self._lock:
            self._files += 1
            self._progress(ProgressEvent("files", self._files, self._total, "images"))


def _fetch_one(remote: Remote, patience: Patience, tracker: _Tracker) -> None:
    if not remote.url.startswith(("http://", "https://")):
        raise DatasetError(f"{remote.url} is no http address; check the base address of the download.")
    if remote.path.exists() and sha256_file(remote.path).startswith(remote.sha256):
        return
    for attempt in range(patience.attempts):
        if attempt:
            time.sleep(patience.backoff * 2 ** (attempt - 1))
        try:
            _try_once(remote, patience.timeout, tracker)
        except _Unfinished:
            if attempt + 1 == patience.attempts:
                raise
        else:
            return


def _try_once(remote: Remote, timeout: float, tracker: _Tracker) -> None:
    part = remote.path.with_name(remote.path.name + ".part")
    continued = part.exists()
    with writing_to(remote.path.parent):
        _receive(remote.url, part, timeout, tracker)
        found = sha256_file(part)
        if found.startswith(remote.sha256):
            part.replace(remote.path)
            return
        part.unlink()
    reason = f"wrong content: sha256 {found[:12]}, expected {remote.sha256[:12]}; discarded"
    # A file continued from an earlier call may have changed in between; a fresh one is simply another file.
    raise _Unfinished(reason) if continued else _Refused(reason)


def _receive(url: str, part: Path, timeout: float, tracker: _Tracker) -> None:
    """Bring ``part`` up to the whole file, continuing what it holds.

    Errors of the connection become ``_Unfinished`` here, so that what is left as OSError is the disk's.
    """
    start = part.stat().st_size if part.exists() else 0
    response = _request(url, start, timeout)
    if response is None:
        return
    with response:
        resumed = response.status == http.client.PARTIAL_CONTENT
        expected = _length(response)
        with part.open("ab" if resumed else "wb") as file:
            received = _copy(response, file, tracker)
            flush(file)
    if expected is not None and received < expected:
        raise _Unfinished(f"the connection ended after {received:,} of {expected:,} bytes")


def _request(url: str, start: int, timeout: float) -> http.client.HTTPResponse | None:
    """The response from byte ``start`` on, or None when the server says that nothing lies behind it."""
    headers = {"User-Agent": "srbench", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=timeout
        )
    except urllib.error.HTTPError as error:
        if error.code == _RANGE_REFUSED and start:
            return None
        kind = _Unfinished if error.code in _TRANSIENT else _Refused
        raise kind(f"the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Unfinished(f"no connection: {getattr(error, 'reason', error)}") from error
    return response


def _length(response: http.client.HTTPResponse) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _copy(response: http.client.HTTPResponse, file: IO[bytes], tracker: _Tracker) -> int:
    received = 0
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            # What arrived so far is on its way to the disk: the next attempt goes on from there.
            flush(file)
            raise _Unfinished(f"the connection broke after {received:,} bytes: {error}") from error
        if not chunk:
            return received
        file.write(chunk)
        received += len(chunk)
        tracker.received(len(chunk))
