"""Files of a B2SHARE record, by whichever of the repository's interfaces answers.

B2SHARE has moved from its own software to InvenioRDM. A record has an identifier of each (32 hexadecimal
digits, or short as in ``zja8y-53j14``), and which addresses still work differs from record to record:

==========  ========================================  =====================================================
listing     ``/api/records/<id>/files``               ``{"entries": [{"key", "size", "checksum": "md5:.."}]}``
listing     ``/api/records/<id>``                     ``{"files": [{"key", "size", "checksum", "bucket"}],
                                                      "links": {"files": ".../api/files/<bucket>"}}``
file        ``/api/files/<bucket>/<name>``            old
file        ``/api/records/<id>/files/<name>/content``  new
file        ``/records/<id>/files/<name>?download=1``   new, the page's own link
==========  ========================================  =====================================================

They are tried in turn, once a record; the first that gives a file (one byte of it is asked for) is kept for
all. Addresses are built here and never taken from an answer, so that a mirror stays the only host asked.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from srbench.datasets.download import Patience
from srbench.datasets.interface import DatasetError
from srbench.datasets.transfer import NoConnection, Refused, Unfinished, is_page, open_url

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
class Listed:
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
    files: Mapping[str, Listed]
    address: str

    def url(self, name: str) -> str:
        """Where a file is."""
        return self.address.format(name=urllib.parse.quote(name, safe=""))


@dataclass
class _Found:
    """What the listing interfaces said of a record."""

    files: dict[str, Listed] = field(default_factory=dict)
    buckets: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


class B2Share:
    """The repository, or a mirror of it."""

    def __init__(self, base_url: str | None = None, patience: Patience | None = None) -> None:
        """Prepare; nothing is asked.

        Args:
            base_url: instead of ``https://b2share.eudat.eu``; also ``$SRBENCH_B2SHARE_URL``.
            patience: how often and how long an address is tried.
        """
        base = base_url or os.environ.get(URL_VARIABLE) or _DEFAULT_URL
        self.base = base.rstrip("/")
        self.patience = patience or Patience()

    def find(self, record: Record, sample: str) -> Listing:
        """Ask for a record.

        Args:
            record: whose files are wanted.
            sample: name of a file that it must hold; one byte of it is asked for.

        Raises:
            RecordUnavailable: the server answers, but no address gives the list or the file.
            DatasetError: no connection at all.
        """
        found = self._list(record)
        if found.files and sample not in found.files:
            held = ", ".join(sorted(found.files))
            raise RecordUnavailable(f"{describe(record)} has no {sample}; it holds: {held}.")
        for address in self._addresses(record, found):
            listing = Listing(record, found.files, address)
            answer = self._answer(partial(self._probe, listing.url(sample)))
            if answer is None:
                return listing
            found.answers.append(f"{listing.url(sample)}: {answer}")
        told = "\n".join(f"  {line}" for line in found.answers)
        raise RecordUnavailable(f"{describe(record)} cannot be had from {self.base}:\n{told}")

    def _list(self, record: Record) -> _Found:
        found = _Found()
        for url in _listing_urls(self.base, record):
            answer = self._answer(partial(self._read_list, url, found))
            if answer is None:
                break
            found.answers.append(f"{url}: {answer}")
        return found

    def _addresses(self, record: Record, found: _Found) -> Iterator[str]:
        """Every address a file may have, the likeliest first."""
        base = self.base.replace("{", "{{").replace("}", "}}")
        for bucket in found.buckets:
            yield f"{base}/api/files/{bucket}/{{name}}"
        for identifier in dict.fromkeys([*found.ids, *record.ids]):
            yield f"{base}/api/records/{identifier}/files/{{name}}/content"
            yield f"{base}/records/{identifier}/files/{{name}}?download=1"
        if record.bucket and record.bucket not in found.buckets:
            yield f"{base}/api/files/{record.bucket}/{{name}}"

    def _answer(self, ask: Callable[[], None]) -> str | None:
        """Ask, as often as it may help; None where it worked, else what went wrong.

        Raises:
            DatasetError: there is no connection to the server at all.
        """
        for attempt in range(self.patience.attempts):
            try:
                ask()
                return None
            except Refused as error:
                return str(error)
            except Unfinished as error:
                failure = error
                if attempt + 1 < self.patience.attempts:
                    time.sleep(max(self.patience.backoff * 2**attempt, error.after))
        if isinstance(failure, NoConnection):
            raise DatasetError(
                f"{self.base} cannot be reached ({failure}). Check the connection, then run the same command "
                f"again; a mirror can be named in {URL_VARIABLE}."
            )
        return str(failure)

    def _read_list(self, url: str, found: _Found) -> None:
        _take(self._json(url), url, found)

    def _json(self, url: str) -> Any:
        try:
            with open_url(url, self.patience.timeout, {"Accept": "application/json"}) as response:
                if is_page(response.headers):
                    raise Refused("a web page, no list of files")
                data = response.read(_LONGEST_LISTING)
                length = response.headers.get("Content-Length", "")
        except (OSError, http.client.HTTPException) as error:
            raise Unfinished(f"the connection broke: {error}") from error
        if length.isdigit() and len(data) < int(length):
            raise Unfinished(f"the connection ended after {len(data):,} of {int(length):,} bytes")
        try:
            return json.loads(data)
        except ValueError as error:
            raise Refused(f"damaged JSON ({error})") from error

    def _probe(self, url: str) -> None:
        """Ask for the first byte of a file."""
        with open_url(url, self.patience.timeout, {"Range": "bytes=0-0"}) as response:
            if is_page(response.headers):
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


def _take(raw: Any, url: str, found: _Found) -> None:
    """Read a list of files in any of its forms.

    Raises:
        Refused: it is none of them.
    """
    try:
        entries = _entries(raw)
        files = {str(entry["key"]): _listed(entry) for entry in entries}
        buckets = {str(entry["bucket"]) for entry in entries if "bucket" in entry} | set(_linked_bucket(raw))
        known_by = raw.get("id")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"not a list of files as B2SHARE gives it ({type(error).__name__}: {error})") from error
    if not files:
        raise Refused("lists no files")
    found.files.update(files)
    found.buckets += sorted(bucket for bucket in buckets if _ID.fullmatch(bucket))
    if isinstance(known_by, str) and _ID.fullmatch(known_by):
        found.ids.append(known_by)
    elif (asked := re.fullmatch(r".*/api/records/([^/]+)(/files)?", url)) is not None:
        found.ids.append(asked[1])


def _entries(raw: Any) -> list[Any]:
    """The entries of a list: of the record (old), of its files (new), or of the record (new)."""
    files = raw["entries"] if "entries" in raw else raw["files"]
    if isinstance(files, dict):
        files = files["entries"]
    return list(files.values()) if isinstance(files, dict) else list(files)


def _listed(entry: Any) -> Listed:
    size, checksum = entry.get("size"), entry.get("checksum") or ""
    if checksum.startswith("md5:") and not _MD5.fullmatch(checksum):
        raise ValueError(f"checksum {checksum!r} of {entry['key']}")
    found = _MD5.fullmatch(checksum)
    return Listed(None if size is None else int(size), found[1] if found else "")


def _linked_bucket(raw: Any) -> list[str]:
    link = (raw.get("links") or {}).get("files", "")
    found = re.search(r"/api/files/([0-9a-f-]{36})", link)
    return [found[1]] if found else []
