"""Downloading many files in parallel: checked by hash, resumed where an earlier call stopped.

What has arrived of a file is ``<name>.part``, continued by a byte range; ``.<name>.part.json`` says of which
file it is part. A file gets its name only after its hash was right. A file of which nobody publishes a
checksum is trusted the first time; a lock file keeps what came, so that a later change is noticed.
"""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from srbench.utils.errors import DatasetError
from srbench.utils.files import (
    FileHash,
    Hasher,
    check_space,
    flush,
    flush_folder,
    hash_file,
    read_checksummed,
    read_json,
    write_bytes,
    write_checksummed,
    writing_to,
)
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent
from srbench.utils.typed_json import typed

if TYPE_CHECKING:
    import requests
    from typing_extensions import Self
    from urllib3 import BaseHTTPResponse

LOCK_FILE = "pins.json"
LONGEST_WAIT = 600.0  # seconds; a server that asks for more is not waited for

_CHUNK = 1 << 18
_PROGRESS_BYTES = 1 << 20  # a file that grew by this much may fail as often as a new one
_JOIN_SECONDS = 2.0  # for the threads to put down what they hold
_EVENT_SECONDS = 0.1  # between two progress events; a fast line brings thousands of pieces a second
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE_REFUSED = 416
_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)


class Unfinished(Exception):
    """The connection failed within a file; worth another attempt."""


class Refused(Exception):
    """The file cannot be had here; another attempt would not help. ``code`` is the server's, 0 for none."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


class NoConnection(Refused):
    """No connection to the server: at the first contact, or for as long as it was tried."""


class _Stopped(Exception):
    """The download was given up; what arrived is on the disk."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to try.

    Attributes:
        attempts: at a request, and at a file without a further megabyte of it; at least 1.
        backoff: seconds, doubled with each attempt in a row that failed.
        timeout: seconds without a byte before a connection counts as dead.
    """

    attempts: int = 5
    backoff: float = 1.0
    timeout: float = 30.0


@dataclass(frozen=True)
class Remote:
    """One file to download: where from, where to, and what it must hold, as far as that is known.

    Attributes:
        url: http or https.
        path: where it goes.
        sha256: hex, or its first digits alone, as far as somebody published them; empty when unknown.
        md5: hex; empty when unknown.
        size: bytes; None when unknown.
    """

    url: str
    path: Path
    sha256: str = ""
    md5: str = ""
    size: int | None = None

    def problem(self, content: FileHash) -> str:
        """What is wrong with what came, in words; empty where nothing is, or nothing is known."""
        if self.size is not None and content.size != self.size:
            return f"{content.size:,} bytes, expected {self.size:,}"
        if not content.sha256.startswith(self.sha256):
            return f"sha256 {content.sha256[:12]}, expected {self.sha256[:12]}"
        if self.md5 and content.md5 != self.md5:
            return f"md5 {content.md5}, expected {self.md5}"
        return ""


def download_all(
    remotes: Sequence[Remote],
    on_progress: ProgressCallback = silent,
    *,
    workers: int = 8,
    retry: RetryPolicy | None = None,
    on_file: Callable[[Remote, FileHash], None] | None = None,
) -> None:
    """Download every file that is not there yet; all are tried before any failure is reported.

    Args:
        remotes: the files; those there already are hashed and left alone when they are right.
        on_progress: given ``download`` (bytes of all files, with what is there already), ``check`` (bytes of
            earlier calls hashed) and ``files``.
        workers: files at a time.
        retry: how often and how long to try.
        on_file: given each file that is whole, with its size and hashes, one at a time.

    Raises:
        DatasetError: some could not be had; names each with its reason. What arrived is kept.
    """
    for remote in remotes:
        _require_http(remote.url)
    _check_room(remotes)
    _DownloadJob(remotes, on_progress, retry or RetryPolicy(), on_file).run(workers)


def _check_room(remotes: Sequence[Remote]) -> None:
    """Refuse to begin what cannot end, as far as sizes are known."""
    folders: dict[Path, int] = {}
    for remote in remotes:
        missing = max((remote.size or 0) - size_on_disk(remote.path), 0)
        folders[remote.path.parent] = folders.get(remote.path.parent, 0) + missing
    for folder, missing in folders.items():
        check_space(folder, missing, "The download")


class _DownloadJob:
    """The files of one call, and the threads at work on them."""

    def __init__(
        self,
        remotes: Sequence[Remote],
        on_progress: ProgressCallback,
        retry: RetryPolicy,
        on_file: Callable[[Remote, FileHash], None] | None,
    ) -> None:
        self.remotes = remotes
        self.retry = retry
        self.on_file = on_file
        self.tracker = ProgressTracker(remotes, on_progress)
        self.stop = threading.Event()
        self.answered: set[str] = set()  # hosts
        self.unreachable: dict[str, NoConnection] = {}
        self.waiting: queue.SimpleQueue[Remote] = queue.SimpleQueue()
        self.finished: queue.SimpleQueue[tuple[Remote, FileHash | BaseException]] = queue.SimpleQueue()

    def run(self, workers: int) -> None:
        """Return when every file is there."""
        for remote in self.remotes:
            self.waiting.put(remote)
        # Daemons: a thread that waits for a dead server must not keep an interrupted program alive.
        threads = [
            threading.Thread(target=self._work, args=(http_session(self.retry, self._wait),), daemon=True)
            for _ in self.remotes[:workers]
        ]
        for thread in threads:
            thread.start()
        try:
            failures = self._collect()
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(_JOIN_SECONDS / len(threads))
        if not failures:
            return
        lines = [f"{host}: {error}" for host, error in sorted(self.unreachable.items())]
        lines += [f"{name}: {reason}" for name, reason in sorted(failures.items()) if reason]
        count = f"{len(failures)} of {len(self.remotes)} files could not be downloaded"
        advice = "What arrived is kept; run the same command again to get the rest."
        if self.unreachable:
            advice = f"Check the connection (a proxy is named by HTTPS_PROXY). {advice}"
        if len(lines) == 1 and self.unreachable:
            raise DatasetError(f"{count}: {lines[0]}. {advice}")
        raise DatasetError("\n  ".join((f"{count}:", *lines)) + f"\n{advice}")

    def _collect(self) -> dict[str, str]:
        """File name to the reason why it could not be had; empty where its host cannot be reached."""
        failures: dict[str, str] = {}
        for _ in self.remotes:
            remote, outcome = self.finished.get()
            if isinstance(outcome, FileHash):
                self.tracker.file_done()
                if self.on_file is not None:
                    self.on_file(remote, outcome)
            elif outcome in self.unreachable.values():
                failures[remote.path.name] = ""
            elif isinstance(outcome, (Refused, Unfinished)):
                failures[remote.path.name] = f"{outcome} ({remote.url})"
            else:
                raise outcome
        return failures

    def _work(self, session: requests.Session) -> None:
        with session:
            while not self.stop.is_set():
                try:
                    remote = self.waiting.get_nowait()
                except queue.Empty:
                    return
                host = urlsplit(remote.url).netloc
                if host in self.unreachable:
                    self.finished.put((remote, self.unreachable[host]))
                    continue
                try:
                    self.finished.put((remote, self._fetch(session, remote)))
                except _Stopped:
                    return
                except NoConnection as error:
                    if host not in self.answered:
                        error = self.unreachable.setdefault(host, error)
                    self.finished.put((remote, error))
                except BaseException as error:
                    self.finished.put((remote, error))

    def _fetch(self, session: requests.Session, remote: Remote) -> FileHash:
        def on_check(size: int) -> None:
            self._raise_if_stopped()
            self.tracker.checked(remote.path, size)

        if remote.path.exists():
            content = hash_file(remote.path, on_check).result
            if not remote.problem(content):
                return content
            self.tracker.at(remote.path, 0)
        with writing_to(remote.path.parent):
            part = PartialFile(remote)
            part.load(on_check)
            self.tracker.at(remote.path, part.size)
            try:
                self._retry(session, part)
            finally:
                if not part.size:
                    part.restart()
            part.finish()
        return part.digest.result

    def _retry(self, session: requests.Session, part: PartialFile) -> None:
        """Attempt after attempt until the file is whole and right."""

        def on_bytes() -> None:
            self._raise_if_stopped()
            self.answered.add(urlsplit(part.remote.url).netloc)
            self.tracker.at(part.remote.path, part.size)

        failures, most = 0, part.size
        while True:
            try:
                _receive(session, part, self.retry.timeout, on_bytes)
                problem = part.remote.problem(part.digest.result)
                if not problem:
                    return
                # What was continued from an earlier call may have changed since; a fresh file is another one.
                error = Unfinished if part.continued else Refused
                part.restart()
                on_bytes()
                raise error(f"wrong content: {problem}; discarded")
            except Unfinished:
                failures = 1 if part.size >= most + _PROGRESS_BYTES else failures + 1
                most = max(most, part.size)
                if failures >= self.retry.attempts:
                    raise
                self._wait(self.retry.backoff * 2 ** (failures - 1))

    def _raise_if_stopped(self) -> None:
        if self.stop.is_set():
            raise _Stopped

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise _Stopped


class ProgressTracker:
    """Sums the progress of many files and passes it on from many threads, one event at a time.

    ``download`` counts from the start what earlier calls left, so that its total and its share are true.
    """

    def __init__(self, remotes: Sequence[Remote], on_progress: ProgressCallback) -> None:
        self._lock = threading.Lock()
        self._on_progress = on_progress
        self._sizes = {remote.path: size_on_disk(remote.path) for remote in remotes}
        sizes = [remote.size for remote in remotes]
        self._total = sum(size for size in sizes if size is not None) if None not in sizes else None
        self._to_check = sum(self._sizes.values())
        self._checked: dict[Path, int] = {}
        self._files = 0
        self._last: dict[str, float] = {}
        if self._to_check or self._total:
            self._emit_download()

    def at(self, path: Path, size: int) -> None:
        """So many bytes of a file are there."""
        with self._lock:
            self._sizes[path] = size
            self._emit_download()

    def checked(self, path: Path, size: int) -> None:
        """So many bytes of what an earlier call left were hashed."""
        with self._lock:
            self._checked[path] = size
            done = sum(self._checked.values())
            self._emit("check", done, self._to_check, "B", final=done >= self._to_check)

    def file_done(self) -> None:
        """One more file is whole."""
        with self._lock:
            self._files += 1
            self._emit_download(final=True)
            self._emit("files", self._files, len(self._sizes), "files", final=True)

    def _emit_download(self, final: bool = False) -> None:
        self._emit("download", sum(self._sizes.values()), self._total, "B", final=final)

    def _emit(self, label: str, done: int, total: int | None, unit: str, final: bool = False) -> None:
        now = time.monotonic()
        if final or now - self._last.get(label, 0.0) >= _EVENT_SECONDS:
            self._last[label] = now
            self._on_progress(ProgressEvent(label, done, total, unit))


@dataclass(frozen=True)
class PartOrigin:
    """Of what a partial file is part: the address it came from, what was expected, and the server's mark.

    ``validator`` is the server's ETag or date of the file; empty where it gave none.
    """

    url: str = ""
    sha256: str = ""
    md5: str = ""
    size: int | None = None
    validator: str = ""


class PartialFile:
    """What has arrived of one file, hashed as it grows.

    The hash of what an earlier run left is made once; after that every byte is hashed when it is written, so
    that neither another attempt nor the end of the download reads the file again.
    """

    def __init__(self, remote: Remote) -> None:
        """Nothing is read yet; see :meth:`load`."""
        self.remote = remote
        self.path = _part_path(remote.path)
        self.metadata = self.path.with_name(f".{self.path.name}.json")
        self.origin = PartOrigin()
        self.digest = Hasher()
        self.continued = False

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.digest.size

    @property
    def validator(self) -> str:
        """The server's mark of the file this is part of; empty where it does not apply to the address."""
        return self.origin.validator if self.origin.url == self.remote.url else ""

    def load(self, on_progress: Callable[[int], None] | None = None) -> None:
        """Take up what an earlier run left, unless it is part of another file."""
        try:
            self.origin = typed(PartOrigin, read_json(self.metadata))
        except (OSError, ValueError, TypeError):
            self.origin = PartOrigin()  # none, or a crash spoiled it: the hash still decides
        if not self.path.exists():
            return
        if self._is_of_another_file():
            self.restart()
            return
        self.digest = hash_file(self.path, on_progress)
        self.continued = self.size > 0

    def _is_of_another_file(self) -> bool:
        was, now = self.origin, self.remote
        if not was.url:
            return False  # left by hand, or its metadata was lost: the hash will tell
        pairs = [(was.sha256, now.sha256), (was.md5, now.md5), (was.size, now.size)]
        if any(before and after and before != after for before, after in pairs):
            return True
        return was.url != now.url and not (now.sha256 or now.md5)

    def restart(self) -> None:
        """Forget what has arrived."""
        self.path.unlink(missing_ok=True)
        self.metadata.unlink(missing_ok=True)
        self.origin = PartOrigin()
        self.digest = Hasher()
        self.continued = False

    def remember(self, validator: str) -> None:
        """Write down of what this is part, before its first byte."""
        origin = PartOrigin(self.remote.url, self.remote.sha256, self.remote.md5, self.remote.size, validator)
        if origin != self.origin:
            write_bytes(self.metadata, json.dumps(asdict(origin)).encode())
            self.origin = origin

    def append(self, file: IO[bytes], data: bytes) -> None:
        """Write and hash the next bytes; ``file`` is unbuffered and may take a part of them only."""
        rest = memoryview(data)
        while rest:
            written = file.write(rest)
            self.digest.update(bytes(rest[:written]))
            rest = rest[written:]

    def finish(self) -> None:
        """Give the file its name."""
        self.path.replace(self.remote.path)
        self.metadata.unlink(missing_ok=True)
        flush_folder(self.remote.path.parent)


def size_on_disk(path: Path) -> int:
    """Bytes that are there of a file, whole or partial."""
    return next((file.stat().st_size for file in (path, _part_path(path)) if file.exists()), 0)


def _part_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def http_session(retry: RetryPolicy, wait: Callable[[float], object] = time.sleep) -> requests.Session:
    """A session that repeats requests without an answer or with one that may pass (5xx, 429, ...).

    Where the very first connection cannot be made (no such name, refused, no route) it is not repeated.
    It waits for as long as the server asks (``Retry-After``), else by the policy, and follows redirects to
    the web only, never from https to http.

    Args:
        retry: how often to try.
        wait: given the seconds; what it raises ends the request.
    """
    import requests  # slow to import, and most commands download nothing
    from requests.adapters import HTTPAdapter
    from urllib3 import Retry
    from urllib3.exceptions import ConnectTimeoutError, InvalidHeader, MaxRetryError

    answered = threading.Event()

    class ServerRetry(Retry):
        def increment(
            self,
            method: str | None = None,
            url: str | None = None,
            response: BaseHTTPResponse | None = None,
            error: Exception | None = None,
            _pool: Any = None,
            _stacktrace: Any = None,
        ) -> Self:
            # A proxy's error holds the one of the connection to it.
            if not isinstance(getattr(error, "original_error", error), ConnectTimeoutError):
                answered.set()
            if not answered.is_set():
                raise MaxRetryError(_pool, url or "", error) from error
            return super().increment(method, url, response, error, _pool, _stacktrace)

        def sleep(self, response: BaseHTTPResponse | None = None) -> None:
            try:
                asked_for = self.get_retry_after(response) if response is not None else None
            except InvalidHeader:
                asked_for = None
            if response is not None and asked_for is not None and asked_for > LONGEST_WAIT:
                raise Refused(
                    f"the server answered {response.status} {response.reason} and asks to come back in "
                    f"{asked_for / 60:.0f} minutes",
                    response.status,
                )
            wait(asked_for or self.get_backoff_time())

    def refuse_unsafe_redirect(response: requests.Response, **_: object) -> None:
        answered.set()
        target = urljoin(response.url, response.headers.get("Location", "")) if response.is_redirect else ""
        safe = "https://" if response.url.startswith("https://") else ("http://", "https://")
        if target and not target.startswith(safe):
            raise Refused(f"the server points to {target}, which is not safe to follow")

    session = requests.Session()
    session.headers.update({"User-Agent": "srbench", "Accept-Encoding": "identity"})
    session.hooks["response"].append(refuse_unsafe_redirect)
    retries = ServerRetry(
        retry.attempts - 1,
        backoff_factor=retry.backoff,
        status_forcelist=_TRANSIENT,
        raise_on_status=False,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))
    return session


def http_get(
    session: requests.Session, url: str, timeout: float, headers: Mapping[str, str] | None = None
) -> requests.Response:
    """Ask for an address; the body is still to be read, see :func:`read_chunks`.

    Raises:
        DatasetError: no address of the web.
        Refused: no connection, or any other answer than success.
    """
    _require_http(url)
    import requests

    try:
        response = session.get(url, headers=headers, timeout=timeout, stream=True)
    except (requests.ConnectionError, requests.Timeout) as error:
        cause = getattr(error.args[0], "reason", None) if error.args else None
        proxied = getattr(cause, "original_error", None)
        reason = str(proxied or cause or error)
        # Without the connection's representation, which urllib3 puts first.
        reason = reason.partition("): ")[2] or reason
        raise NoConnection(f"no connection{' to the proxy' if proxied else ''}: {reason}") from error
    except requests.RequestException as error:
        raise Refused(str(error)) from error
    if response.status_code not in (requests.codes.ok, requests.codes.partial_content):
        response.close()
        raise Refused(f"the server answered {response.status_code} {response.reason}", response.status_code)
    return response


def read_chunks(response: requests.Response) -> Iterator[bytes]:
    """The body as it arrives, not in full chunks: on a slow line a chunk takes long to fill.

    Raises:
        Unfinished: the connection broke.
    """
    from urllib3.exceptions import HTTPError

    # urllib3 1.26 has no read1; there a killed process may lose a chunk.
    read = getattr(response.raw, "read1", response.raw.read)
    try:
        while chunk := read(_CHUNK, decode_content=False):
            yield chunk
    except HTTPError as error:
        raise Unfinished(f"the connection broke: {error.args[-1]}") from error


def is_page(response: requests.Response, start: bytes = b"") -> bool:
    """Whether an answer is a web page, by its headers or its first bytes."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return kind == "text/html" or _PAGE.match(start) is not None


def _require_http(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise DatasetError(f"{url} is no http address; check the base address of the download.")


def _receive(
    session: requests.Session, part: PartialFile, timeout: float, on_bytes: Callable[[], None]
) -> None:
    """Bring a partial file up to the whole file by one request, continuing what it holds.

    Raises:
        Unfinished: the connection ended early, or what came does not fit what is there.
        Refused: the server does not have the file.
        OSError: the disk's.
    """
    remote = part.remote
    if remote.size is not None and part.size >= remote.size:
        return
    headers = {}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.validator:
            headers["If-Range"] = part.validator
    try:
        response = http_get(session, remote.url, timeout, headers)
    except Refused as error:
        if error.code != _RANGE_REFUSED or not part.size:
            raise
        if remote.size is not None:
            raise Unfinished(f"the server has only {part.size:,} of {remote.size:,} bytes") from error
        return  # nothing lies behind what is there
    with response:
        chunks = read_chunks(response)
        chunk = next(chunks, b"")
        # Before anything that arrived is given up for it: servers send a page, with success, where a file
        # was or while they are repaired.
        if remote.path.suffix.lower() not in (".htm", ".html") and is_page(response, chunk):
            should_exist = part.size or remote.size or remote.md5 or remote.sha256
            raise (Unfinished if should_exist else Refused)("the server sent a web page instead of the file")
        if part.size and not _continues(response, part):
            part.restart()
            on_bytes()
        expected = _expected_size(response, part)
        part.remember(_validator(response))
        with part.path.open("ab", buffering=0) as file:  # unbuffered: a killed process loses nothing
            try:
                while chunk:
                    part.append(file, chunk)
                    on_bytes()
                    chunk = next(chunks, b"")
            except Unfinished as error:
                total = "" if expected is None else f" of {expected:,}"
                raise Unfinished(f"the connection ended after {part.size:,}{total} bytes: {error}") from error
            finally:
                flush(file)
    if expected is not None and part.size < expected:
        raise Unfinished(f"the connection ended after {part.size:,} of {expected:,} bytes")


def _continues(response: requests.Response, part: PartialFile) -> bool:
    """Whether the answer goes on where the partial file ends, and is of the same file."""
    if response.status_code != 206:
        return False
    start, _ = _content_range(response)
    if start is not None and start != part.size:
        raise Unfinished(f"the server sent bytes from {start:,} on where {part.size:,} was asked for")
    now = _validator(response)
    if part.validator and now and now != part.validator:
        part.restart()
        raise Unfinished("the file on the server has changed; what had arrived was discarded")
    return True


def _expected_size(response: requests.Response, part: PartialFile) -> int | None:
    """The size of the whole file as far as anybody says.

    Raises:
        Refused: the server's file is larger than the one expected.
    """
    _, total = _content_range(response)
    length = response.headers.get("Content-Length", "")
    if total is None and length.isdigit():
        total = part.size + int(length)
    published = part.remote.size
    if published is None or total is None:
        return published if total is None else total
    if total > published:
        raise Refused(f"wrong content: the server has {total:,} bytes, expected {published:,}")
    return published


def _content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total of ``bytes 100-199/200``."""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if match is None:
        return None, None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _validator(response: requests.Response) -> str:
    """What If-Range may be sent with: a strong ETag, else the date of the file (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


@dataclass(frozen=True)
class LockEntry:
    """A file as it first came: sha256 and md5 (hex), bytes, where it came from, when (UTC, ISO 8601).

    The lock files of weights that were written before md5 and size were kept lack them.
    """

    sha256: str
    url: str
    seen: str
    md5: str = ""
    size: int | None = None


def read_lock_file(path: Path) -> dict[str, LockEntry]:
    """File name to what came of it; empty where there is no lock file yet.

    Raises:
        DatasetError: the file is there, but not as srbench wrote it.
    """
    raw = read_checksummed(path, "Delete it to take the files on trust again.")
    try:
        return {name: typed(LockEntry, entry) for name, entry in (raw or {}).items()}
    except (ValueError, AttributeError) as error:
        raise DatasetError(
            f"{path} is damaged ({error}). Delete it to take the files on trust again."
        ) from error


def add_lock_entry(path: Path, name: str, content: FileHash, url: str) -> None:
    """Remember what came.

    Raises:
        DatasetError: the folder cannot be written.
    """
    seen = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entries = {**read_lock_file(path), name: LockEntry(content.sha256, url, seen, content.md5, content.size)}
    write_checksummed(path, {key: asdict(entry) for key, entry in entries.items()})
