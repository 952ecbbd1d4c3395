"""Files of a B2SHARE record, by whichever of the repository's interfaces answers.

B2SHARE has moved from its own software to InvenioRDM. A record has an identifier of each (32 hexadecimal
digits, or short as in ``zja8y-53j14``), and which addresses still work differs from record to record. They
are tried in turn, once a record; the first that gives a file (one byte of it is requested) is kept for all.
Addresses are built here and never taken from an answer, so that a mirror stays the only host contacted.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from srbench.datasets.download import (
    NoConnection,
    Refused,
    RetryPolicy,
    Unfinished,
    http_get,
    http_session,
    is_page,
    read_chunks,
)
from srbench.utils.errors import DatasetError

URL_VARIABLE = "SRBENCH_B2SHARE_URL"
_DEFAULT_URL = "https://b2share.eudat.eu"
_LONGEST_LISTING = 1 << 24
_ID = re.compile(r"[0-9a-z][0-9a-z-]{3,63}")
_MD5 = re.compile(r"md5:([0-9a-f]{32})")


class RecordUnavailable(DatasetError):
    """No address of the record gave a file, though the server answered."""


@dataclass(frozen=True)
class Record:
    """A record of B2SHARE.

    Attributes:
        title: as the repository calls it.
        ids: identifiers, the one to try first in front.
        bucket: identifier of its files in the old interface, where known.
    """

    title: str
    ids: tuple[str, ...]
    bucket: str = ""


@dataclass(frozen=True)
class ListedFile:
    """What a record says of one of its files; size None and md5 empty where it says nothing."""

    size: int | None = None
    md5: str = ""


@dataclass(frozen=True)
class Listing:
    """A record that answers, and how its files are addressed.

    Attributes:
        record: which.
        files: name to what the record says of it; empty where it gave files but no list.
        address: a file's address, with ``{name}`` in it.
    """

    record: Record
    files: Mapping[str, ListedFile]
    address: str

    def url(self, name: str) -> str:
        """Where a file is."""
        return self.address.format(name=urllib.parse.quote(name, safe=""))


@dataclass
class _RecordAnswers:
    """What the interfaces said of a record; ``failures`` in words, for the case that none gives a file."""

    files: dict[str, ListedFile] = field(default_factory=dict)
    buckets: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class B2Share:
    """The repository, or a mirror of it."""

    def __init__(self, base_url: str | None = None, retry: RetryPolicy | None = None) -> None:
        """Prepare; nothing is requested.

        Args:
            base_url: instead of ``https://b2share.eudat.eu``; also ``$SRBENCH_B2SHARE_URL``.
            retry: how often and how long an address is tried.
        """
        base = base_url or os.environ.get(URL_VARIABLE) or _DEFAULT_URL
        self.base = base.rstrip("/")
        self.retry = retry or RetryPolicy()

    def find(self, record: Record, sample: str) -> Listing:
        """Look a record up.

        Args:
            record: whose files are needed.
            sample: name of a file that it must hold; one byte of it is requested.

        Raises:
            RecordUnavailable: the server answers, but no address gives the list or the file.
            DatasetError: no connection at all.
        """
        answers = _RecordAnswers()
        for url in _listing_urls(self.base, record):
            failure = self._failure_of(partial(self._read_list, url, answers))
            if failure is None:
                break
            answers.failures.append(f"{url}: {failure}")
        if answers.files and sample not in answers.files:
            held = ", ".join(sorted(answers.files))
            raise RecordUnavailable(f"{describe(record)} has no {sample}; it holds: {held}.")
        for address in self._addresses(record, answers):
            listing = Listing(record, answers.files, address)
            failure = self._failure_of(partial(self._probe, listing.url(sample)))
            if failure is None:
                return listing
            answers.failures.append(f"{listing.url(sample)}: {failure}")
        lines = "\n".join(f"  {line}" for line in answers.failures)
        raise RecordUnavailable(f"{describe(record)} cannot be had from {self.base}:\n{lines}")

    def _addresses(self, record: Record, answers: _RecordAnswers) -> Iterator[str]:
        """Every address a file may have, the likeliest first."""
        base = self.base.replace("{", "{{").replace("}", "}}")
        for bucket in answers.buckets:
            yield f"{base}/api/files/{bucket}/{{name}}"
        for identifier in dict.fromkeys([*answers.ids, *record.ids]):
            yield f"{base}/api/records/{identifier}/files/{{name}}/content"
            yield f"{base}/records/{identifier}/files/{{name}}?download=1"  # the link of the record's page
        if record.bucket and record.bucket not in answers.buckets:
            yield f"{base}/api/files/{record.bucket}/{{name}}"

    def _failure_of(self, request: Callable[[], None]) -> str | None:
        """Try as often as it may help; None where it worked, else what went wrong.

        Raises:
            DatasetError: there is no connection to the server at all.
        """
        failure = None
        for attempt in range(self.retry.attempts):
            if failure is not None:
                time.sleep(self.retry.backoff * 2 ** (attempt - 1))
            try:
                request()
                return None
            except NoConnection as error:
                raise DatasetError(
                    f"{self.base} cannot be reached ({error}). Check the connection, then run the same "
                    f"command again; a mirror can be named in {URL_VARIABLE}."
                ) from error
            except Refused as error:
                return str(error)
            except Unfinished as error:
                failure = str(error)
        return failure

    def _read_list(self, url: str, answers: _RecordAnswers) -> None:
        """Read a list of files in any of its forms.

        They are ``{"entries": [{"key", "size", "checksum": "md5:.."}]}`` (files of a record, new),
        ``{"files": [{"key", "size", "checksum", "bucket"}], "links": {"files": ".../api/files/<bucket>"}}``
        (a record, old) and ``{"files": {"entries": {name: {...}}}}`` (a record, new).

        Raises:
            Refused: it is none of them.
        """
        raw = self._json(url)
        try:
            files = raw["entries"] if "entries" in raw else raw["files"]
            if isinstance(files, dict):
                files = files["entries"]
            entries: list[Any] = list(files.values()) if isinstance(files, dict) else list(files)
            listed = {str(entry["key"]): _listed_file(entry) for entry in entries}
            buckets = {str(entry["bucket"]) for entry in entries if "bucket" in entry}
            link = (raw.get("links") or {}).get("files", "")
            buckets.update(re.findall(r"/api/files/([0-9a-f-]{36})", link))
            identifier = raw.get("id")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Refused(
                f"not a list of files as B2SHARE gives it ({type(error).__name__}: {error})"
            ) from error
        if not listed:
            raise Refused("lists no files")
        answers.files.update(listed)
        answers.buckets += sorted(bucket for bucket in buckets if _ID.fullmatch(bucket))
        if isinstance(identifier, str) and _ID.fullmatch(identifier):
            answers.ids.append(identifier)
        elif (match := re.fullmatch(r".*/api/records/([^/]+)(/files)?", url)) is not None:
            answers.ids.append(match[1])

    def _json(self, url: str) -> Any:
        data = bytearray()
        with (
            http_session(self.retry) as session,
            http_get(session, url, self.retry.timeout, {"Accept": "application/json"}) as response,
        ):
            if is_page(response):
                raise Refused("a web page, no list of files")
            for chunk in read_chunks(response):
                data += chunk
                if len(data) > _LONGEST_LISTING:
                    raise Refused("a list of absurd length")
        try:
            return json.loads(data)
        except ValueError as error:
            raise Unfinished(f"damaged JSON ({error})") from error  # what was cut short looks like this too

    def _probe(self, url: str) -> None:
        """Request the first byte of a file."""
        with (
            http_session(self.retry) as session,
            http_get(session, url, self.retry.timeout, {"Range": "bytes=0-0"}) as response,
        ):
            if is_page(response):
                raise Refused("a web page, not the file")


def describe(record: Record) -> str:
    """A record in words."""
    return f'Record {record.ids[0]}, "{record.title}",'


def parse_id(text: str) -> str:
    """The identifier in what a user gave: itself, the address of the record's page, or its DOI.

    Raises:
        DatasetError: there is none.
    """
    last = text.strip().rstrip("/").split("/")[-1].lower().removeprefix("b2share.")
    if not _ID.fullmatch(last):
        raise DatasetError(
            f"{text!r} is no record of B2SHARE. Give its identifier, as in zja8y-53j14 or 32 hexadecimal "
            "digits, or the address of its page."
        )
    return last


def _listing_urls(base: str, record: Record) -> list[str]:
    """Where the files of a record may be listed; the record itself first for an old identifier."""
    urls = []
    for identifier in record.ids:
        pair = [f"{base}/api/records/{identifier}/files", f"{base}/api/records/{identifier}"]
        urls += pair[::-1] if re.fullmatch("[0-9a-f]{32}", identifier) else pair
    return urls


def _listed_file(entry: Any) -> ListedFile:
    size, checksum = entry.get("size"), entry.get("checksum") or ""
    md5 = _MD5.fullmatch(checksum)
    if md5 is None and checksum.startswith("md5:"):
        raise ValueError(f"checksum {checksum!r} of {entry['key']}")
    return ListedFile(None if size is None else int(size), md5[1] if md5 else "")
