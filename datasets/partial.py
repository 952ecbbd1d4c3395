"""What has arrived of a file: ``<name>.part``, hashed as it grows; ``.<name>.part.json`` says of what.

The hash of what is there is made once, when an earlier run left it; after that every byte is hashed when it
is written, so that neither another attempt nor the end of the download reads the file again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from srbench.datasets.digests import Content, Digest, digest_of
from srbench.datasets.storage import flush, flush_folder, write_atomically


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

    def problem(self, content: Content) -> str:
        """What is wrong with what came, in words; empty where nothing is, or nothing is known."""
        if self.size is not None and content.size != self.size:
            return f"{content.size:,} bytes, expected {self.size:,}"
        if not content.sha256.startswith(self.sha256):
            return f"sha256 {content.sha256[:12]}, expected {self.sha256[:12]}"
        if self.md5 and content.md5 != self.md5:
            return f"md5 {content.md5}, expected {self.md5}"
        return ""


@dataclass(frozen=True)
class Origin:
    """Of what a partial file is part: the address it came from, what was expected, and the server's mark.

    ``validator`` is the server's ETag or date of the file; empty where it gave none.
    """

    url: str = ""
    sha256: str = ""
    md5: str = ""
    size: int | None = None
    validator: str = ""


class Part:
    """The partial file of one download."""

    def __init__(self, remote: Remote) -> None:
        """Nothing is read yet; see :meth:`load`."""
        self.remote = remote
        self.path = part_path(remote.path)
        self.memo = self.path.with_name(f".{self.path.name}.json")
        self.origin = Origin()
        self.digest = Digest()
        self.continued = False

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.digest.size

    def load(self, told: Callable[[int], None] | None = None) -> None:
        """Take up what an earlier run left, unless it is part of another file."""
        self.origin = _read_origin(self.memo)
        if not self.path.exists():
            return
        if self._is_of_another_file():
            self.restart()
            return
        self.digest = digest_of(self.path, told)
        self.continued = self.size > 0

    def _is_of_another_file(self) -> bool:
        was, now = self.origin, self.remote
        if not was.url:
            return False  # left by hand, or its memo was lost: the hash will tell
        known = [(was.sha256, now.sha256), (was.md5, now.md5), (was.size, now.size)]
        if any(before and after and before != after for before, after in known):
            return True
        return was.url != now.url and not (now.sha256 or now.md5)

    @property
    def validator(self) -> str:
        """The server's mark of the file this is part of; empty where it does not apply to the address."""
        return self.origin.validator if self.origin.url == self.remote.url else ""

    def restart(self) -> None:
        """Forget what has arrived."""
        self.path.unlink(missing_ok=True)
        self.memo.unlink(missing_ok=True)
        self.origin = Origin()
        self.digest = Digest()
        self.continued = False

    def remember(self, validator: str) -> None:
        """Write down of what this is part, before its first byte."""
        origin = Origin(self.remote.url, self.remote.sha256, self.remote.md5, self.remote.size, validator)
        if origin != self.origin:
            write_atomically(self.memo, json.dumps(asdict(origin)).encode())
            self.origin = origin

    def open(self) -> IO[bytes]:
        """The file, to append to; unbuffered, so that a killed process loses nothing it was given."""
        return self.path.open("ab", buffering=0)

    def append(self, file: IO[bytes], data: bytes) -> None:
        """Write and hash the next bytes."""
        rest = memoryview(data)
        while rest:
            written = file.write(rest)
            self.digest.update(bytes(rest[:written]))
            rest = rest[written:]

    def flush(self, file: IO[bytes]) -> None:
        """Push what arrived through to the disk."""
        flush(file)

    def finish(self) -> None:
        """Give the file its name."""
        self.path.replace(self.remote.path)
        self.memo.unlink(missing_ok=True)
        flush_folder(self.remote.path.parent)


def part_path(path: Path) -> Path:
    """Where what has arrived of a file is kept."""
    return path.with_name(f"{path.name}.part")


def _read_origin(memo: Path) -> Origin:
    """What the memo says; nothing where there is none or a crash spoiled it (the hash still decides)."""
    try:
        return Origin(**json.loads(memo.read_bytes()))
    except (OSError, ValueError, TypeError):
        return Origin()
