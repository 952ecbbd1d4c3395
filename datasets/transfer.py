"""One request for one file: continued by a byte range, every way a server can fail told apart.

``Unfinished`` may pass and is worth another attempt, ``Refused`` is not. Errors of the connection become one
of the two here, so that what is left as OSError is the disk's.
"""

from __future__ import annotations

import email.utils
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPMessage
from typing import IO

from srbench.datasets.interface import DatasetError
from srbench.datasets.partial import Part

CHUNK = 1 << 18
LONGEST_WAIT = 600.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE_REFUSED = 416
_PAGE = re.compile(rb"\s*(<!doctype html|<html)", re.IGNORECASE)


class Unfinished(Exception):
    """The connection failed in a way that may pass; ``after`` is how long the server asks to wait (s)."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class NoConnection(Unfinished):
    """Nobody answered."""


class Refused(Exception):
    """The file cannot be had here; trying again would not help. ``code`` is the server's, 0 for none."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


def receive(part: Part, timeout: float, told: Callable[[], None]) -> None:
    """Bring a partial file up to the whole file, continuing what it holds; one request.

    Args:
        part: what has arrived; grows.
        timeout: seconds without a byte before the connection counts as dead.
        told: called after every few bytes; what it raises ends the transfer.

    Raises:
        Unfinished: the connection ended early, or the server has no time.
        Refused: the server does not have the file.
        OSError: the disk's.
    """
    if part.remote.size is not None and part.size >= part.remote.size:
        return
    response = _ask(part, timeout)
    if response is None:
        if part.remote.size is not None:
            raise Unfinished(f"the server has only {part.size:,} of {part.remote.size:,} bytes")
        return
    with response:
        _refuse_page(response, part)
        if part.size and not _continues(response, part):
            part.restart()
            told()
        expected = _expected(response, part)
        part.remember(_validator(response))
        with part.open() as file:
            _copy(response, part, file, told)
            part.flush(file)
    if expected is not None and part.size < expected:
        raise Unfinished(f"the connection ended after {part.size:,} of {expected:,} bytes")


def open_url(url: str, timeout: float, headers: Mapping[str, str] | None = None) -> http.client.HTTPResponse:
    """Ask for an address.

    Raises:
        Unfinished: no connection, or the server has no time.
        Refused: any other answer than success.
    """
    require_http(url)
    sent = {"User-Agent": "srbench", "Accept-Encoding": "identity", **(headers or {})}
    opener = urllib.request.build_opener(_Redirects)
    try:
        answer: http.client.HTTPResponse = opener.open(
            urllib.request.Request(url, headers=sent), timeout=timeout
        )
    except urllib.error.HTTPError as error:
        with error:
            raise _failure(error) from error
    except (OSError, http.client.HTTPException) as error:
        raise NoConnection(f"no connection: {getattr(error, 'reason', error)}") from error
    return answer


def require_http(url: str) -> None:
    """Refuse addresses that are not of the web.

    Raises:
        DatasetError: says so.
    """
    if not url.startswith(("http://", "https://")):
        raise DatasetError(f"{url} is no http address; check the base address of the download.")


def is_page(headers: HTTPMessage, start: bytes = b"") -> bool:
    """Whether an answer is a web page, by its headers or its first bytes."""
    return headers.get_content_type() == "text/html" or _PAGE.match(start) is not None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows a server elsewhere on the web, but not from https to an address anybody may answer for."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        secure = req.full_url.startswith("https://")
        if not newurl.startswith("https://" if secure else ("http://", "https://")):
            raise Refused(f"the server points to {newurl}, which is not safe to follow")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _failure(error: urllib.error.HTTPError) -> Exception:
    reason = f"the server answered {error.code} {error.reason}"
    if error.code not in _TRANSIENT:
        return Refused(reason, error.code)
    after = _retry_after(error.headers.get("Retry-After", ""))
    if after > LONGEST_WAIT:
        return Refused(f"{reason} and asks to come back in {after / 60:.0f} minutes", error.code)
    return Unfinished(reason, after)


def _retry_after(value: str) -> float:
    """Seconds to wait as the server asks, in seconds or as a date (RFC 9110, 10.2.3); 0 for none."""
    if value.strip().isdigit():
        return float(value)
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return 0.0


def _ask(part: Part, timeout: float) -> http.client.HTTPResponse | None:
    """The answer from the first missing byte on, or None when the server says that nothing lies behind it."""
    headers = {}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if part.validator:
            headers["If-Range"] = part.validator
    try:
        return open_url(part.remote.url, timeout, headers)
    except Refused as error:
        if error.code == _RANGE_REFUSED and part.size:
            return None
        raise


def _refuse_page(response: http.client.HTTPResponse, part: Part) -> None:
    """Refuse a web page, before anything that arrived is given up for it.

    Servers send one, with success, where a file was or while they are repaired.
    """
    if part.remote.path.suffix.lower() in (".htm", ".html") or not is_page(
        response.headers, _start(response)
    ):
        return
    known = part.size or part.remote.size or part.remote.md5 or part.remote.sha256
    raise (Unfinished if known else Refused)("the server sent a web page instead of the file")


def _start(response: http.client.HTTPResponse) -> bytes:
    """The first bytes, which stay to be read."""
    try:
        return response.peek(64)
    except (OSError, http.client.HTTPException) as error:
        raise Unfinished(f"the connection broke before the first byte: {error}") from error


def _continues(response: http.client.HTTPResponse, part: Part) -> bool:
    """Whether the answer goes on where the partial file ends, and is of the same file."""
    if response.status != http.client.PARTIAL_CONTENT:
        return False
    start, _ = _content_range(response)
    if start is not None and start != part.size:
        raise Unfinished(f"the server sent bytes from {start:,} on where {part.size:,} was asked for")
    now = _validator(response)
    if part.validator and now and now != part.validator:
        part.restart()
        raise Unfinished("the file on the server has changed; what had arrived was discarded")
    return True


def _expected(response: http.client.HTTPResponse, part: Part) -> int | None:
    """The size of the whole file as far as anybody says.

    Raises:
        Refused: the server's file is larger than the one wanted.
    """
    _, total = _content_range(response)
    length = response.headers.get("Content-Length", "")
    if total is None and length.isdigit():
        total = part.size + int(length)
    known = part.remote.size
    if known is None or total is None:
        return known if total is None else total
    if total > known:
        raise Refused(f"wrong content: the server has {total:,} bytes, expected {known:,}")
    return known


def _content_range(response: http.client.HTTPResponse) -> tuple[int | None, int | None]:
    """First byte and total of ``bytes 100-199/200``."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _validator(response: http.client.HTTPResponse) -> str:
    """What If-Range may be asked with: a strong ETag, else the date of the file (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _copy(response: http.client.HTTPResponse, part: Part, file: IO[bytes], told: Callable[[], None]) -> None:
    while True:
        try:
            # Whatever has arrived, not a full chunk: on a slow line a chunk takes long to fill.
            chunk = response.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            part.flush(file)
            raise Unfinished(f"the connection broke after {part.size:,} bytes: {error}") from error
        if not chunk:
            return
        part.append(file, chunk)
        told()
