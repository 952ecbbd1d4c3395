"""Packed datasets: decoded once into memory-mapped shards, so that a crop costs microseconds, not a decode.

A packed folder holds::

    manifest.json      what is packed, the hash of the index and of each shard; the only file ever replaced
    index-<hash>.json  every micrograph: shard, offset, size, dtype, hash of its pixels, group, split, ...
    shard-<hash>.bin   raw little-endian pixels, one image after another, each start aligned to 64 bytes

Files are named by their content and complete before the manifest names them, so replacing the manifest is the
one step that makes a new state; a process killed before it leaves the old state, one killed after it the new.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.interface import (
    DatasetCard,
    DatasetError,
    DatasetMissing,
    Micrograph,
    MicrographSet,
    Pixels,
)
from srbench.datasets.storage import canonical_json

FORMAT = 1
MANIFEST = "manifest.json"
ALIGNMENT = 64


@dataclass(frozen=True)
class Stored:
    """Where the pixels of one image lie.

    Attributes:
        shard: file name.
        offset: bytes from its start.
        height: rows.
        width: columns.
        dtype: ``uint8`` or ``uint16``.
        sha256: hash of shape, dtype and pixels (``storage.pixel_hash``).
    """

    shard: str
    offset: int
    height: int
    width: int
    dtype: str
    sha256: str

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        return self.height * self.width * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Record:
    """One line of the index: the micrograph and where it is stored."""

    image: Micrograph
    stored: Stored


@dataclass(frozen=True)
class PackManifest:
    """The manifest of a packed folder.

    Attributes:
        format: layout version.
        name: dataset.
        version: of the dataset's definition (its packaged manifest, or the packing rules).
        index: file name of the index.
        index_sha256: hash of its bytes.
        shards: file name to (bytes, sha256).
        images: how many.
        fingerprint: see :func:`fingerprint`.
        skipped: files refused, with the reason.
        notes: what was done to an image that a user may want to know, by image id.
    """

    format: int
    name: str
    version: str
    index: str
    index_sha256: str
    shards: Mapping[str, tuple[int, str]]
    images: int
    fingerprint: str
    skipped: Mapping[str, str]
    notes: Mapping[str, str]

    @property
    def nbytes(self) -> int:
        """Bytes of all shards."""
        return sum(size for size, _ in self.shards.values())


class PackedSet(MicrographSet):
    """A dataset opened from a packed folder; pixels are read-only views of the mapped file.

    It can be sent to worker processes: they map the files themselves.
    """

    def __init__(self, folder: Path, card: DatasetCard, name: str | None = None) -> None:
        """Open ``folder``.

        Raises:
            DatasetMissing: nothing is packed there.
            DatasetError: what is there is damaged.
        """
        self.folder = folder
        self.card = card
        self.name = name or card.name
        self.manifest = read_manifest(folder)
        records = read_index(folder, self.manifest)
        self.images = tuple(record.image for record in records)
        self.skipped = self.manifest.skipped
        self.notes = self.manifest.notes
        self._stored = {record.image.id: record.stored for record in records}
        self._views: dict[str, Pixels] = {}
        self._shards: dict[str, NDArray[np.uint8]] = {}

    @property
    def fingerprint(self) -> str:
        """sha256 over ids, splits, groups and pixel hashes."""
        return self.manifest.fingerprint

    def pixels(self, image_id: str) -> Pixels:
        """Read-only ``(H, W)`` view of the mapped shard.

        Raises:
            DatasetError: no image has this id.
        """
        view = self._views.get(image_id)
        if view is None:
            view = self._views[image_id] = self._map(image_id)
        return view

    def stored(self, image_id: str) -> Stored:
        """Where the pixels of an image lie, and their hash."""
        if image_id not in self._stored:
            raise DatasetError(f"{self.name} has no image {image_id!r}; it has {len(self._stored)} images.")
        return self._stored[image_id]

    def _map(self, image_id: str) -> Pixels:
        stored = self.stored(image_id)
        if stored.shard not in self._shards:
            self._shards[stored.shard] = map_shard(self.folder / stored.shard)
        shard = self._shards[stored.shard]
        return view_of(shard, stored)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_views": {}, "_shards": {}}


def map_shard(path: Path) -> NDArray[np.uint8]:
    """The bytes of a shard, mapped read-only."""
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # A plain array: numpy.memmap costs several microseconds at every slice.
    return np.frombuffer(mapped, dtype=np.uint8)


def view_of(shard: NDArray[np.uint8], stored: Stored) -> Pixels:
    """The pixels of one image within its mapped shard."""
    part = shard[stored.offset : stored.offset + stored.nbytes]
    view: Pixels = part.view(np.dtype(stored.dtype).newbyteorder("<")).reshape(stored.height, stored.width)
    return view


def read_manifest(folder: Path) -> PackManifest:
    """The manifest of a packed folder.

    Raises:
        DatasetMissing: there is none.
        DatasetError: it was made by another version or is damaged.
    """
    try:
        raw = json.loads((folder / MANIFEST).read_bytes())
        shards = {name: (int(size), str(digest)) for name, (size, digest) in raw["shards"].items()}
        known = {item.name: raw[item.name] for item in fields(PackManifest)}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetMissing(f"Nothing is packed in {folder}.") from error
    except OSError as error:
        raise DatasetError(f"{folder / MANIFEST} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{folder / MANIFEST} is damaged ({error}); {_AGAIN}") from error
    if known["format"] != FORMAT:
        raise DatasetError(f"{folder} was packed by another version of srbench; {_AGAIN}")
    return PackManifest(**{**known, "shards": shards})


_AGAIN = "delete this folder and import, fetch or open the dataset again."


def read_index(folder: Path, manifest: PackManifest) -> tuple[Record, ...]:
    """The index of a packed folder, after checking that it and the shards are those of the manifest.

    Sizes are checked here and hashes in ``pack_writer.verify_packed``: hashing every byte takes seconds.

    Raises:
        DatasetError: a file is missing, changed or cut short.
    """
    import hashlib

    try:
        data = (folder / manifest.index).read_bytes()
        sizes = {name: (folder / name).stat().st_size for name in manifest.shards}
    except FileNotFoundError as error:
        raise DatasetError(f"{error.filename} is missing; {_AGAIN}") from error
    except OSError as error:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror or error}.") from error
    if hashlib.sha256(data).hexdigest() != manifest.index_sha256:
        raise DatasetError(f"{folder / manifest.index} has changed since it was written; {_AGAIN}")
    for name, (expected, _) in manifest.shards.items():
        if sizes[name] != expected:
            raise DatasetError(f"{folder / name} has {sizes[name]:,} bytes, expected {expected:,}; {_AGAIN}")
    return tuple(_record(raw) for raw in json.loads(data))


def fingerprint(records: Sequence[Record]) -> str:
    """sha256 (hex) over ids, splits, groups and pixel hashes, in the order of the ids."""
    import hashlib

    lines = (
        f"{record.image.id}\t{record.image.split}\t{record.image.group}\t{record.stored.sha256}\n"
        for record in sorted(records, key=lambda record: record.image.id)
    )
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def index_bytes(records: Sequence[Record]) -> bytes:
    """The index file."""
    return canonical_json([{**asdict(record.image), "stored": asdict(record.stored)} for record in records])


def _record(raw: Mapping[str, Any]) -> Record:
    image = {key: value for key, value in raw.items() if key != "stored"}
    return Record(Micrograph(**image), Stored(**raw["stored"]))


def files_of(folder: Path) -> Iterator[Path]:
    """The index and shard files present in a packed folder, whether in use or not."""
    yield from folder.glob("index-*.json")
    yield from folder.glob("shard-*.bin")
