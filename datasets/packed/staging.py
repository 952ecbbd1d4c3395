"""Images of one archive, decoded and written with a journal, so that a killed preparation can go on.

A staging folder holds ``journal`` and ``0.bin``, ``1.bin``, ... (shards as in ``packed``). A line of the
journal is a checksum and what became of one member; the first says of which archive and by which rules. Lines
are written after the pixels they describe have reached the disk, some at a time. Opening the folder again
cuts the journal behind its last whole line and each shard behind the last image in the journal: the rest is
done again, and ends in the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from srbench.datasets.packed.format import ALIGNMENT, Stored, view_of
from srbench.datasets.packed.writer import AdoptedShard
from srbench.utils.files import flush, little_endian, pixel_hash, writing_to
from srbench.utils.image import Pixels

JOURNAL = "journal"
_AT_ONCE = 32
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Staged:
    """What became of one member.

    Attributes:
        member: its name in the archive.
        reason: why it was refused; empty: it was accepted, and the others hold.
        stored: where its pixels lie; ``shard`` is a file of the staging folder.
        descriptor: bytes for the caller, returned as they are.
        notes: what was done to the image.
    """

    member: str
    reason: str = ""
    stored: Stored | None = None
    descriptor: bytes = b""
    notes: tuple[str, ...] = ()


@dataclass
class _JournalState:
    """What the whole lines of a journal say."""

    key: Mapping[str, str] | None = None
    end: int = 0
    members: set[str] = field(default_factory=set)
    sizes: dict[str, int] = field(default_factory=dict)
    last: Stored | None = None
    complete: bool = False


class Staging:
    """Writes one archive's images; made anew or continued.

    Attributes:
        folder: the staging folder.
        members: those that are done.
        complete: whether the archive is done.
    """

    def __init__(self, folder: Path, key: Mapping[str, str], shard_bytes: int) -> None:
        """Open ``folder``; what is there of another archive, of other rules or damaged is deleted.

        Args:
            folder: created when missing.
            key: names the archive and the rules.
            shard_bytes: a shard is closed once it holds this many.
        """
        self.folder = folder
        self._shard_bytes = shard_bytes
        state = _read_journal(folder)
        if state.key != dict(key) or not _agrees(folder, state):
            shutil.rmtree(folder, ignore_errors=True)
            state = _JournalState()
        with writing_to(folder):
            _cut(folder, state)
            self._journal: IO[bytes] = (folder / JOURNAL).open("ab")
        self.members = state.members
        self.complete = state.complete
        self._lines: list[bytes] = []
        self._name = max(state.sizes, key=int, default="0")
        self._size = state.sizes.get(self._name, 0)
        self._digest = hashlib.sha256()
        if not self.complete:
            self._open_shard()
        if state.key is None:
            self._write({"key": dict(key)})
            self.flush()

    def add(self, staged: Staged, pixels: Pixels | None, sha256: str = "") -> None:
        """Add one member: its pixels ``(H, W)`` and their hash, or None where it was refused.

        Raises:
            DatasetError: the disk is full.
        """
        raw: dict[str, Any] = {"member": staged.member}
        if pixels is None:
            raw["reason"] = staged.reason
        else:
            with writing_to(self.folder):
                offset = self._append(pixels)
            height, width = pixels.shape
            raw["stored"] = [self._name, offset, height, width, pixels.dtype.name, sha256]
            raw["descriptor"] = base64.b85encode(staged.descriptor).decode("ascii")
            raw["notes"] = list(staged.notes)
        self.members.add(staged.member)
        self._write(raw)
        if len(self._lines) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Push everything to the disk: the pixels first, then the journal that lists them."""
        with writing_to(self.folder):
            flush(self._shard)
            self._journal.write(b"".join(self._lines))
            flush(self._journal)
        self._lines.clear()

    def finish(self, refused: Mapping[str, str]) -> None:
        """Note that the archive is done, with the members that its reader refused."""
        self._seal()
        self._write({"complete": dict(refused)})
        self.flush()
        self.complete = True
        self.close()

    def close(self) -> None:
        """Close the files; what was not flushed will be done again."""
        self._journal.close()
        if not self.complete:
            self._shard.close()

    def _append(self, pixels: Pixels) -> int:
        if self._size >= self._shard_bytes:
            self._seal()
            self.flush()
            self._shard.close()
            self._name, self._size, self._digest = str(int(self._name) + 1), 0, hashlib.sha256()
            self._open_shard()
        padding = bytes(-self._size % ALIGNMENT)
        offset = self._size + len(padding)
        for data in (padding, little_endian(pixels)):
            self._shard.write(data)
            self._digest.update(data)
            self._size += len(data)
        return offset

    def _seal(self) -> None:
        self._write({"shard": [self._name, self._size, self._digest.hexdigest()]})

    def _open_shard(self) -> None:
        """Open the last shard, reading what it holds into its hash."""
        with writing_to(self.folder):
            self._shard: IO[bytes] = (self.folder / f"{self._name}.bin").open("a+b")
        self._shard.seek(0)
        while chunk := self._shard.read(_CHUNK):
            self._digest.update(chunk)

    def _write(self, raw: Mapping[str, Any]) -> None:
        text = json.dumps(raw, separators=(",", ":")).encode("ascii")
        self._lines.append(b"%08x %s\n" % (zlib.crc32(text), text))


def staged_members(folder: Path) -> Iterator[Staged]:
    """What became of every member of a complete archive, those refused by its reader last."""
    for raw, _ in _lines(folder):
        if "stored" in raw:
            descriptor = base64.b85decode(raw["descriptor"])
            yield Staged(raw["member"], "", Stored(*raw["stored"]), descriptor, tuple(raw["notes"]))
        elif "member" in raw:
            yield Staged(raw["member"], raw["reason"])
        for member, reason in raw.get("complete", {}).items():
            yield Staged(member, reason)


def finished_shards(folder: Path) -> Mapping[str, AdoptedShard]:
    """The shards of a complete archive by the names in ``Stored.shard``, empty ones left out."""
    raws = (raw["shard"] for raw, _ in _lines(folder) if "shard" in raw)
    return {name: AdoptedShard(folder / f"{name}.bin", size, digest) for name, size, digest in raws if size}


def read_pixels(folder: Path, stored: Stored) -> Pixels:
    """The pixels of one image; read, not mapped, so that they do not add up in memory."""
    path = folder / f"{stored.shard}.bin"
    return view_of(
        np.fromfile(path, np.uint8, stored.nbytes, offset=stored.offset), replace(stored, offset=0)
    )


def _lines(folder: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The whole lines of the journal from its start, and the byte behind each."""
    end = 0
    try:
        file = (folder / JOURNAL).open("rb")
    except OSError:
        return
    with file:
        for line in file:
            text = line[9:-1]
            if not line.endswith(b"\n") or line[:9] != b"%08x " % zlib.crc32(text):
                return
            end += len(line)
            yield json.loads(text), end


def _read_journal(folder: Path) -> _JournalState:
    state = _JournalState()
    for raw, end in _lines(folder):
        state.end = end
        state.key = raw.get("key", state.key)
        state.complete = "complete" in raw
        if "member" in raw:
            state.members.add(raw["member"])
        if "stored" in raw:
            state.last = Stored(*raw["stored"])
            state.sizes[state.last.shard] = state.last.offset + state.last.nbytes
    return state


def _agrees(folder: Path, state: _JournalState) -> bool:
    """Whether the shards hold what the journal says, by their sizes and the hash of the last image."""
    for name, size in state.sizes.items():
        path = folder / f"{name}.bin"
        if not path.is_file() or path.stat().st_size < size:
            return False
    return state.last is None or pixel_hash(read_pixels(folder, state.last)) == state.last.sha256


def _cut(folder: Path, state: _JournalState) -> None:
    """Remove what lies behind the last whole line, in the journal and in the shards."""
    for path in folder.glob("*.bin"):
        if path.stem not in state.sizes:
            path.unlink()
    for name, size in state.sizes.items():
        with (folder / f"{name}.bin").open("r+b") as file:
            file.truncate(size)
    with (folder / JOURNAL).open("ab") as file:
        file.truncate(state.end)
