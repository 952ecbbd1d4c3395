"""The shard files of a packed folder while they are made; see ``packed`` for what they hold."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from srbench.datasets.interface import Pixels
from srbench.datasets.packed import ALIGNMENT
from srbench.datasets.storage import flush, little_endian


class Shard:
    """A shard being written, hashed as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[bytes] = path.open("wb")
        self.size = 0
        self.digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self.digest.hexdigest()

    def append(self, pixels: Pixels) -> int:
        """Write the pixels at the next aligned offset and return it."""
        self._write(bytes(-self.size % ALIGNMENT))
        offset = self.size
        self._write(little_endian(pixels))
        return offset

    def seal(self, folder: Path) -> str:
        """Flush to disk, move to the name that its content gives it, and return that name."""
        flush(self.file)
        self.file.close()
        name = _name(self.sha256)
        self.path.replace(folder / name)
        return name

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _write(self, data: bytes | memoryview) -> None:
        self.file.write(data)
        self.digest.update(data)
        self.size += len(data)


@dataclass(frozen=True)
class AdoptedShard:
    """A finished shard that somebody else has written and may want to keep."""

    path: Path
    size: int
    sha256: str

    def seal(self, folder: Path) -> str:
        """Make it appear in ``folder`` under the name that its content gives it, and return that name.

        A link, so that it is still in its old place should the pack not be finished; where the system has no
        links, it moves.
        """
        name = _name(self.sha256)
        temporary = folder / f".{name}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            os.link(self.path, temporary)
        except OSError:
            self.path.replace(folder / name)
        else:
            # An older file of this name may be damaged: it is replaced, not kept.
            temporary.replace(folder / name)
            # Replacing a link by a link to the same file leaves both.
            temporary.unlink(missing_ok=True)
        return name

    def close(self) -> None:
        """Nothing is open."""


def _name(sha256: str) -> str:
    return f"shard-{sha256[:16]}.bin"
