"""Packed datasets: decoded once into memory-mapped shards, so that a crop costs microseconds, not a decode.

``manifest.json`` says what is packed, with the hash of the index and of each shard. ``index-<hash>.json`` has
every micrograph (shard, offset, size, dtype, hash of its pixels, group, split) and its truth.
``shard-<hash>.bin`` holds little-endian pixels, masks, recorded LR and further scans, each start aligned to
64 bytes. Files are named by their content and complete before the manifest names them, so replacing the
manifest is the one step that makes a new state, also for a process that is killed.
"""

from __future__ import annotations

import copy
import hashlib
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.base import DatasetCard, Micrograph, MicrographSet, ReadingOptions
from srbench.datasets.images.registration import LEFT_OUT, Alignment
from srbench.utils.errors import DatasetError, DatasetMissing
from srbench.utils.files import (
    LONGEST_JSON,
    canonical_json,
    open_regular,
    parse_json,
    read_json,
    read_regular,
)
from srbench.utils.image import Pixels
from srbench.utils.progress import count_of
from srbench.utils.typed_json import typed

FORMAT = 2
MANIFEST = "manifest.json"
ALIGNMENT = 64
_LEFT_OUT_SHOWN = 5


@dataclass(frozen=True)
class Stored:
    """Where the pixels of one image, mask or acquisition lie.

    Attributes:
        shard: file name.
        offset: bytes from its start.
        height: rows.
        width: columns.
        dtype: ``uint8`` or ``uint16``.
        sha256: hash of shape, dtype and pixels (``storage.pixel_hash``).
        channels: 1 for pixels ``(H, W)``, 3 for ``(H, W, 3)`` in the order red, green, blue.
    """

    shard: str
    offset: int
    height: int
    width: int
    dtype: str
    sha256: str
    channels: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """``(H, W)`` or ``(H, W, 3)``."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, self.channels)

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels."""
        return self.height * self.width * self.channels * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class StoredImage:
    """What a pack holds of one image.

    Attributes:
        stored: its pixels.
        mask: its labels, ``(H, W)``.
        acquisitions: further scans of the field, in the order of ``MicrographSet.acquisition``.
        truth: what is known of the scene, JSON-like.
        lr: LR as it was recorded.
        second: a second recording of the reference.
        as_recorded: the reference before it was resampled.
        registration: how the recordings were brought onto one grid.
    """

    stored: Stored
    mask: Stored | None = None
    acquisitions: tuple[Stored, ...] = ()
    truth: Mapping[str, Any] | None = None
    lr: Stored | None = None
    second: Stored | None = None
    as_recorded: Stored | None = None
    registration: Alignment | None = None

    def parts(self) -> Iterator[tuple[str, Stored]]:
        """All that lies in the shards, each with what to call it."""
        yield "pixels", self.stored
        beside = {
            "mask": self.mask,
            "LR": self.lr,
            "second scan": self.second,
            "reference as recorded": self.as_recorded,
        }
        for part, stored in beside.items():
            if stored is not None:
                yield part, stored
        for index, acquisition in enumerate(self.acquisitions):
            yield f"acquisition {index}", acquisition


@dataclass(frozen=True)
class IndexEntry(StoredImage):
    """One line of the index: the micrograph, and what is stored of it."""

    image: Micrograph = field(kw_only=True)


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
        licence: of the data, as its source states it.
        terms: what the licence asks of the user, or what is unclear about it.
        source: where the packed files came from, and which release they are.
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
    licence: str
    terms: str
    source: str

    @property
    def nbytes(self) -> int:
        """Bytes of all shards."""
        return sum(size for size, _ in self.shards.values())


class PackedSet(MicrographSet):
    """A dataset opened from a packed folder; pixels are read-only views of the mapped file.

    It can be sent to worker processes: they map the files themselves.
    """

    def __init__(
        self,
        folder: Path,
        card: DatasetCard,
        name: str | None = None,
        sources: Sequence[Path] = (),
        reading: ReadingOptions | None = None,
    ) -> None:
        """Open ``folder``.

        Args:
            folder: of the pack.
            card: of the dataset.
            name: of the opened dataset; the card's when None.
            sources: where else the same pixels can be read.
            reading: what the user said of the files.

        Raises:
            DatasetMissing: nothing is packed there.
            DatasetError: what is there is damaged.
        """
        self.folder = folder
        self.card = card
        self.name = name or card.name
        self.reading = reading or ReadingOptions()
        self._sources = tuple(sources)
        self.manifest = read_manifest(folder)
        records = read_index(folder, self.manifest)
        self.images = tuple(record.image for record in records)
        self.skipped = self.manifest.skipped
        self.notes = self.manifest.notes
        self._records = {record.image.id: record for record in records}
        self._views: dict[str, Pixels] = {}
        self._shards: dict[str, NDArray[np.uint8]] = {}
        recorded = {record.stored.height // record.lr.height for record in records if record.lr is not None}
        self.recorded_scale = recorded.pop() if len(recorded) == 1 else None

    @property
    def fingerprint(self) -> str:
        """See :func:`fingerprint`."""
        return self.manifest.fingerprint

    def pixels(self, image_id: str) -> Pixels:
        """Read-only view of the mapped shard: ``(H, W)``, or ``(H, W, 3)`` of a colour set.

        Raises:
            DatasetError: no image has this id.
        """
        view = self._views.get(image_id)
        if view is None:
            view = self._views[image_id] = self._map(self.stored(image_id))
        return view

    def mask(self, image_id: str) -> Pixels | None:
        """Read-only labels ``(H, W)``, 0 = background; None where there is no mask."""
        stored = self._record(image_id).mask
        return None if stored is None else self._map(stored)

    def lr(self, image_id: str) -> Pixels | None:
        """Read-only LR as it was recorded; None where it is made from HR."""
        stored = self._record(image_id).lr
        return None if stored is None else self._map(stored)

    def second(self, image_id: str) -> Pixels | None:
        """Read-only second recording of the reference, on its grid; None where there is none."""
        stored = self._record(image_id).second
        return None if stored is None else self._map(stored)

    def as_recorded(self, image_id: str) -> Pixels | None:
        """Read-only reference before it was resampled; None where it was not, or a second scan is there."""
        stored = self._record(image_id).as_recorded
        return None if stored is None else self._map(stored)

    def registration(self, image_id: str) -> Alignment | None:
        """How well LR lies on the grid of the reference; None where it is made from it."""
        return self._record(image_id).registration

    def remarks(self) -> list[str]:
        """Those of every set, how well recorded pairs lie on one grid, and which were left out."""
        residuals = [
            (record.registration.residual_px, record.image.pixel_size_nm)
            for record in self._records.values()
            if record.registration is not None
        ]
        bad = [f"{file}: {reason}" for file, reason in self.skipped.items() if reason.startswith(LEFT_OUT)]
        lines = [_residual_words(residuals)] if residuals else []
        return super().remarks() + lines + bad[:_LEFT_OUT_SHOWN]

    @property
    def masks_sha256(self) -> str:
        """sha256 over the ids and masks that there are; empty where there is none."""
        masks = {name: record.mask.sha256 for name, record in self._records.items() if record.mask}
        return hashlib.sha256(canonical_json(masks)).hexdigest() if masks else ""

    def acquisition(self, image_id: str, index: int) -> Pixels | None:
        """Read-only scan ``index`` (from 0) of the same field; None where there is none."""
        if index < 0:
            raise DatasetError(f"Acquisitions are numbered from 0, found {index}.")
        stored = self._record(image_id).acquisitions
        return self._map(stored[index]) if index < len(stored) else None

    def truth(self, image_id: str) -> Mapping[str, Any] | None:
        """What is known of the scene; None where nothing is. A fresh copy with each call."""
        return copy.deepcopy(self._record(image_id).truth)

    def hr_paths(self) -> tuple[Path, ...]:
        """The pack, and the files it was made from where they are known."""
        return (self.folder, *self._sources)

    def stored(self, image_id: str) -> Stored:
        """Where the pixels of an image lie, and their hash."""
        return self._record(image_id).stored

    def _record(self, image_id: str) -> IndexEntry:
        if image_id not in self._records:
            raise DatasetError(f"{self.name} has no image {image_id!r}; it has {len(self._records)} images.")
        return self._records[image_id]

    def _map(self, stored: Stored) -> Pixels:
        if stored.shard not in self._shards:
            self._shards[stored.shard] = map_shard(self.folder / stored.shard)
        return view_of(self._shards[stored.shard], stored)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_views": {}, "_shards": {}}


def _residual_words(residuals: Sequence[tuple[float, float | None]]) -> str:
    """The median and the largest residual of the registration, in nm too where every pixel size is known."""
    pixels = sorted(residual for residual, _ in residuals)
    lengths = sorted(residual * size for residual, size in residuals if size is not None)
    in_nm = len(lengths) == len(pixels)
    median, largest = (
        f"{pixels[at]:.2g} px" + (f" ({lengths[at]:.2g} nm)" if in_nm else "")
        for at in (len(pixels) // 2, -1)
    )
    count = count_of(len(residuals), "pair")
    return f"residual of the registration: median {median}, largest {largest}: {count}"


def map_shard(path: Path) -> NDArray[np.uint8]:
    """The bytes of a shard, mapped read-only."""
    with open_regular(path) as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # A plain array: numpy.memmap costs several microseconds at every slice.
    return np.frombuffer(mapped, dtype=np.uint8)


def view_of(shard: NDArray[np.uint8], stored: Stored) -> Pixels:
    """The pixels of one image within its mapped shard."""
    part = shard[stored.offset : stored.offset + stored.nbytes]
    view: Pixels = part.view(np.dtype(stored.dtype).newbyteorder("<")).reshape(stored.shape)
    return view


def read_manifest(folder: Path) -> PackManifest:
    """The manifest of a packed folder.

    Raises:
        DatasetMissing: there is none.
        DatasetError: it was made by another version or is damaged.
    """
    try:
        raw = read_json(folder / MANIFEST)
        stored_format = raw["format"]
        if stored_format == FORMAT:
            manifest = typed(PackManifest, raw)
            for name in (manifest.index, *manifest.shards):
                if PurePosixPath(name).name != name or "\\" in name:
                    raise ValueError(f"{name[:80]!r} is no name of a file in the folder")
            return manifest
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetMissing(f"Nothing is packed in {folder}.") from error
    except OSError as error:
        raise DatasetError(f"{folder / MANIFEST} cannot be read: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{folder / MANIFEST} is damaged ({error}); {_AGAIN}") from error
    raise DatasetError(
        f"{folder} was packed by another version of srbench (format {stored_format}, expected {FORMAT}); "
        f"{_AGAIN}"
    )


# Not the folder: the archives of a dataset may lie beside its pack.
_AGAIN = "delete its manifest.json and import, fetch, prepare or open the dataset again."


def read_index(folder: Path, manifest: PackManifest) -> tuple[IndexEntry, ...]:
    """The index of a packed folder, after checking that it and the shards are those of the manifest.

    Sizes are checked here and hashes in ``verify_packed``: hashing every byte takes seconds.

    Raises:
        DatasetError: a file is missing, changed or cut short.
    """
    try:
        data = read_regular(folder / manifest.index, LONGEST_JSON)
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
    try:
        records = tuple(_record_of(line, manifest) for line in parse_json(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{folder / manifest.index} is damaged ({error}); {_AGAIN}") from error
    if len({record.image.id for record in records}) != len(records):
        raise DatasetError(f"{folder / manifest.index} names an image twice; {_AGAIN}")
    return records


def fingerprint(records: Sequence[IndexEntry], masks: bool = True) -> str:
    """sha256 (hex) over ids, splits, groups and hashes, in the order of the ids.

    Truths are left out: what was measured may differ in its last digit from machine to machine.

    Args:
        records: of the pack.
        masks: whether masks count. Those of a published dataset do not, which has them or not and never
            others: what was trained on its images stays trained on them when masks are added.
    """
    ordered = sorted(records, key=lambda record: record.image.id)
    digest = hashlib.sha256()
    for record in ordered:
        # Only what an image has, so that images without mask and acquisitions keep their fingerprint.
        columns = [record.image.id, record.image.split, record.image.group, record.stored.sha256]
        if masks and record.mask is not None:
            columns.append(f"mask {record.mask.sha256}")
        columns += [f"acquisition {stored.sha256}" for stored in record.acquisitions]
        beside = (("lr", record.lr), ("second", record.second), ("as recorded", record.as_recorded))
        columns += [f"{part} {stored.sha256}" for part, stored in beside if stored is not None]
        digest.update(("\t".join(columns) + "\n").encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


_BESIDE = ("mask", "lr", "second", "as_recorded", "registration")
"""What an index names of an image only where it is there."""


def index_bytes(records: Sequence[IndexEntry]) -> bytes:
    """The index file; of mask, acquisitions and truth only what there is."""
    lines = []
    for record in records:
        line = {**vars(record.image), "stored": vars(record.stored)}
        for name in _BESIDE:
            if (part := getattr(record, name)) is not None:
                line[name] = asdict(part)
        if record.acquisitions:
            line["acquisitions"] = [asdict(stored) for stored in record.acquisitions]
        if record.truth is not None:
            line["truth"] = record.truth
        lines.append(line)
    return canonical_json(lines)


def _record_of(line: dict[str, Any], manifest: PackManifest) -> IndexEntry:
    parts = ("stored", "acquisitions", "truth", *_BESIDE)
    image = typed(Micrograph, {name: value for name, value in line.items() if name not in parts})
    beside: dict[str, Any] = {
        name: typed(Alignment if name == "registration" else Stored, line[name])
        for name in _BESIDE
        if line.get(name)
    }
    record = IndexEntry(
        typed(Stored, line["stored"]),
        image=image,
        acquisitions=tuple(typed(Stored, scan) for scan in line.get("acquisitions", ())),
        truth=line.get("truth"),
        **beside,
    )
    lr = record.lr
    if lr is not None and (
        min(lr.height, lr.width) < 1
        or record.stored.height % lr.height
        or record.stored.height // lr.height * lr.width != record.stored.width
    ):
        raise ValueError(f"LR of {image.id} of another shape than its pixels")
    for what, stored in record.parts():
        sides = (stored.height, stored.width, stored.channels)
        if stored.dtype not in ("uint8", "uint16") or min(sides) < 1 or stored.channels not in (1, 3):
            raise ValueError(f"{what} of {image.id} of {stored.dtype} {sides}")
        if not 0 <= stored.offset <= manifest.shards[stored.shard][0] - stored.nbytes:
            raise ValueError(f"{what} of {image.id} beyond the end of {stored.shard}")
    return record
