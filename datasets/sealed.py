"""Small JSON files that carry the hash of their own content: one changed byte is noticed on reading."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srbench.datasets.interface import DatasetError
from srbench.datasets.storage import canonical_json, write_atomically

_SEAL = "sha256 of content"


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` with its hash, whole or not at all.

    Raises:
        DatasetError: the folder cannot be written.
    """
    write_atomically(path, canonical_json({"content": content, _SEAL: _hash(content)}))


def read_sealed(path: Path, remedy: str) -> dict[str, Any] | None:
    """What :func:`write_sealed` wrote; None where there is no file.

    Args:
        path: the file.
        remedy: what to do where it is damaged, as a sentence.

    Raises:
        DatasetError: it cannot be read, or is not as it was written.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        raw = json.loads(data)
        content: dict[str, Any] = raw["content"]
        # Written in one way only, so that a change in the white space is one too.
        whole = data == canonical_json({"content": content, _SEAL: _hash(content)})
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise DatasetError(f"{path} has changed since srbench wrote it. {remedy}")
    return content


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()
