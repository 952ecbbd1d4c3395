"""Hashes of weights files as they were first seen, each in a small JSON file beside its weights.

Most published weights come without a hash. The first copy is taken on trust; from then on a file, or a second
download, that differs from it is noticed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from srbench.errors import SrbenchError
from srbench.files import write_text


@dataclass(frozen=True)
class Pin:
    """What was seen: the sha256 (hex), where it came from, when (UTC, ISO 8601)."""

    sha256: str
    url: str
    seen: str


def pin_file(path: Path) -> Path:
    """The file that remembers the hash of ``path``."""
    return path.with_name(f"{path.name}.pin.json")


def read(path: Path) -> Pin | None:
    """The pin of a weights file, None where there is none.

    Raises:
        SrbenchError: there is one that cannot be read.
    """
    file = pin_file(path)
    if not file.is_file():
        return None
    try:
        return Pin(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SrbenchError(
            f"{file} is not a pin as srbench writes it ({error}). Delete it to take {path.name} on trust "
            "again."
        ) from error


def write(path: Path, sha256: str, url: str) -> Pin:
    """Remember the hash of a weights file.

    Raises:
        SrbenchError: the folder cannot be written.
    """
    pin = Pin(sha256, url, datetime.now(timezone.utc).isoformat(timespec="seconds"))
    write_text(pin_file(path), json.dumps(asdict(pin), indent=1) + "\n")
    return pin
