"""What came when a file was first downloaded whole, for files of which nobody publishes a checksum.

The first copy is taken on trust, and said to be; from then on a second download, or a file on the disk, that
differs from it is noticed. All pins of a dataset are in ``pins.json`` in its folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from srbench.datasets.digests import Content
from srbench.datasets.sealed import read_sealed, write_sealed

PINS = "pins.json"


@dataclass(frozen=True)
class Pin:
    """What was seen: size in bytes, md5 and sha256 (hex), where it came from, when (UTC, ISO 8601)."""

    size: int
    md5: str
    sha256: str
    url: str
    seen: str


def read_pins(folder: Path) -> Mapping[str, Pin]:
    """File name to pin; empty where nothing was pinned yet.

    Raises:
        DatasetError: the file is there, but not as srbench wrote it.
    """
    raw = read_sealed(folder / PINS, "Delete it to take the files on trust again.")
    return {name: Pin(**pin) for name, pin in (raw or {}).items()}


def add_pin(folder: Path, name: str, content: Content, url: str) -> Pin:
    """Remember what came.

    Raises:
        DatasetError: the folder cannot be written.
    """
    seen = datetime.now(timezone.utc).isoformat(timespec="seconds")
    pin = Pin(content.size, content.md5, content.sha256, url, seen)
    pins = {**read_pins(folder), name: pin}
    write_sealed(folder / PINS, {key: asdict(value) for key, value in pins.items()})
    return pin
