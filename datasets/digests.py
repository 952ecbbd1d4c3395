"""What a file holds, in one reading: its size, md5 and sha256."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BLOCK = 1 << 20


@dataclass(frozen=True)
class Content:
    """Size in bytes, md5 and sha256 (hex) of some bytes."""

    size: int
    md5: str
    sha256: str


class Digest:
    """Hashes bytes as they come; repositories publish md5, srbench itself relies on sha256."""

    def __init__(self) -> None:
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        self._md5.update(data)
        self._sha256.update(data)

    @property
    def content(self) -> Content:
        """What has come so far."""
        return Content(self.size, self._md5.hexdigest(), self._sha256.hexdigest())


def digest_of(path: Path, told: Callable[[int], None] | None = None) -> Digest:
    """Read a file through.

    Args:
        path: the file.
        told: given the bytes read so far, after each block; what it raises ends the reading.
    """
    digest = Digest()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            if told is not None:
                told(digest.size)
    return digest
