"""Writing and checking packed folders; see ``packed`` for the layout and why a crash cannot harm one."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from srbench.datasets.base import Micrograph, VerifyReport
from srbench.datasets.images.registration import Alignment
from srbench.datasets.packed.format import (
    ALIGNMENT,
    FORMAT,
    MANIFEST,
    IndexEntry,
    PackManifest,
    Stored,
    StoredImage,
    fingerprint,
    index_bytes,
    map_shard,
    read_index,
    read_manifest,
    view_of,
)
from srbench.utils.errors import DatasetError, DatasetMissing, SrbenchError
from srbench.utils.files import (
    canonical_json,
    flush,
    flush_folder,
    little_endian,
    locked,
    pixel_hash,
    sha256_file,
    write_bytes,
    writing_to,
)
from srbench.utils.image import Pixels
from srbench.utils.leftovers import remove_leftovers, temporary_name
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

SHARD_BYTES = 1 << 30
_WORK = ".packing-"


@contextmanager
def packing(
    folder: Path,
    *,
    name: str,
    version: str,
    licence: str = "",
    terms: str = "",
    source: str = "",
    shard_bytes: int = SHARD_BYTES,
    wait: float = 0.0,
) -> Iterator[PackWriter]:
    """Pack into ``folder``; nothing of its old state changes before ``finish`` has succeeded.

    ::

        with packing(folder, name="sem_open", version="1") as writer:
            writer.add("image-1", pixels)
            writer.finish([Micrograph("image-1", ...)])

    Args:
        folder: created when missing.
        name: of the dataset.
        version: of its definition; read back from ``PackManifest.version``, as are the next three.
        licence: of the data, as its source states it.
        terms: what the licence asks of the user, or what is unclear about it.
        source: where the files came from, and which release they are.
        shard_bytes: a shard is closed once it holds this many.
        wait: seconds to wait for another process that is packing here.

    Raises:
        DatasetError: another process is packing here, or the folder cannot be written.
    """
    with locked(folder, wait):
        _clear_leftovers(folder)
        with writing_to(folder):
            work = Path(tempfile.mkdtemp(prefix=_WORK, dir=folder))
        writer = PackWriter(folder, work, Definition(name, version, licence, terms, source), shard_bytes)
        try:
            yield writer
        finally:
            writer.abandon()
            shutil.rmtree(work, ignore_errors=True)


@dataclass(frozen=True)
class Definition:
    """What is packed: dataset, version of its definition, licence, terms and source; see :func:`packing`."""

    name: str
    version: str
    licence: str = ""
    terms: str = ""
    source: str = ""


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
        padding = bytes(-self.size % ALIGNMENT)
        offset = self.size + len(padding)
        for data in (padding, little_endian(pixels)):
            self.file.write(data)
            self.digest.update(data)
            self.size += len(data)
        return offset

    def seal(self, folder: Path) -> str:
        """Flush to disk, move to the name that its content gives it, and return that name."""
        flush(self.file)
        self.file.close()
        name = _shard_name(self.sha256)
        self.path.replace(folder / name)
        return name

    def close(self) -> None:
        """Close the file."""
        self.file.close()


@dataclass(frozen=True)
class AdoptedShard:
    """A finished shard that the caller has written, may want to keep and does not change any more."""

    path: Path
    size: int
    sha256: str

    def seal(self, folder: Path) -> str:
        """Make it appear in ``folder`` under the name that its content gives it, and return that name.

        A link, so that the caller still has it should the pack not be finished; where the system has no
        links, it moves.
        """
        name = _shard_name(self.sha256)
        temporary = folder / temporary_name(name)
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


def _shard_name(sha256: str) -> str:
    return f"shard-{sha256[:16]}.bin"


class PackWriter:
    """Takes images, then makes them the folder's state; made by :func:`packing`.

    Attributes:
        definition: what the manifest will say of the pack; may be replaced until ``finish``.
    """

    def __init__(self, folder: Path, work: Path, definition: Definition, shard_bytes: int) -> None:
        self.folder = folder
        self.definition = definition
        self.shard_bytes = shard_bytes
        self._work = work
        self._shards: list[Shard | AdoptedShard] = []
        # ``Stored.shard`` holds the number of the shard until it has a name.
        self._added: dict[str, StoredImage] = {}

    def add(
        self,
        image_id: str,
        pixels: Pixels,
        *,
        mask: Pixels | None = None,
        acquisitions: Iterable[Pixels] = (),
        truth: Mapping[str, Any] | None = None,
        lr: Pixels | None = None,
        second: Pixels | None = None,
        as_recorded: Pixels | None = None,
        registration: Alignment | None = None,
    ) -> Stored:
        """Write one image and what comes with it.

        Args:
            image_id: unique within the pack.
            pixels: ``(H, W)`` or ``(H, W, 3)`` RGB, uint8 or uint16.
            mask: labels ``(H, W)``, uint8 or uint16, 0 = background.
            acquisitions: further scans of the field, of the shape and dtype of ``pixels``; taken one by one.
            truth: what is known of the scene, JSON-like.
            lr: LR as it was recorded, of the type of ``pixels``, whose sides are multiples of its own.
            second: a second recording of the reference, of the shape and dtype of ``pixels``.
            as_recorded: the reference before it was resampled, of any size and the dtype of ``pixels``.
            registration: how well the recordings lie on one grid.

        Raises:
            DatasetError: a repeated id, other pixels than these, or the disk is full.
        """
        if image_id in self._added:
            raise DatasetError(f"Two images are called {image_id!r}; rename one of the files.")
        colour = pixels.ndim == 3 and pixels.shape[2] == 3
        if not (pixels.ndim == 2 or colour) or pixels.dtype not in (np.uint8, np.uint16):
            raise DatasetError(
                f"{image_id}: expected (H, W) or (H, W, 3) uint8 or uint16, found {pixels.shape} "
                f"{pixels.dtype}."
            )
        if mask is not None:
            _check_beside(f"{image_id}: its mask", mask, pixels.shape[:2], (np.uint8, np.uint16))
        if lr is not None:
            scale = max(pixels.shape[0] // max(lr.shape[0], 1), 1)
            sides = (pixels.shape[0] // scale, pixels.shape[1] // scale, *pixels.shape[2:])
            if lr.shape[0] * scale != pixels.shape[0] or lr.shape[1] * scale != pixels.shape[1]:
                raise DatasetError(
                    f"{image_id}: pixels {pixels.shape} are no multiple of its LR, {lr.shape}."
                )
            _check_beside(f"{image_id}: its LR", lr, sides, (pixels.dtype,))
        if second is not None:
            _check_beside(f"{image_id}: its second scan", second, pixels.shape, (pixels.dtype,))
        stored = self._write(pixels)
        stored_mask = None if mask is None else self._write(mask)
        scans = []
        for index, scan in enumerate(acquisitions):
            _check_beside(f"{image_id}: its acquisition {index}", scan, pixels.shape, (pixels.dtype,))
            scans.append(self._write(scan))
        if as_recorded is not None:
            _check_beside(f"{image_id}: as recorded", as_recorded, as_recorded.shape, (pixels.dtype,))
        stored_lr, stored_second, stored_reference = (
            None if part is None else self._write(part) for part in (lr, second, as_recorded)
        )
        self._added[image_id] = StoredImage(
            stored,
            stored_mask,
            tuple(scans),
            truth,
            stored_lr,
            stored_second,
            stored_reference,
            registration,
        )
        return stored

    def adopt(self, shard: AdoptedShard, images: Mapping[str, Stored]) -> None:
        """Add a finished shard as it is: ``finish`` links it (moves it, where the system has no links).

        Args:
            shard: on the same disk; its hash is not checked here but by ``verify_packed``.
            images: image id to where its pixels lie in it; ``Stored.shard`` is ignored.

        Raises:
            DatasetError: a repeated id, another size, or images outside of the file.
        """
        actual = shard.path.stat().st_size if shard.path.is_file() else 0
        last = max((stored.offset + stored.nbytes for stored in images.values()), default=0)
        if actual != shard.size or last > shard.size:
            raise DatasetError(
                f"{shard.path} has {actual:,} bytes, expected {shard.size:,} with images up to {last:,}."
            )
        again = self._added.keys() & images.keys()
        if again:
            raise DatasetError(f"Two images are called {min(again)!r}; rename one of the files.")
        number = str(len(self._shards))
        self._shards.append(shard)
        for image_id, stored in images.items():
            self._added[image_id] = StoredImage(replace(stored, shard=number))

    def finish(
        self,
        images: Iterable[Micrograph],
        *,
        skipped: Mapping[str, str] | None = None,
        notes: Mapping[str, str] | None = None,
        pinned_masks: bool = False,
    ) -> PackManifest:
        """Make the new state the folder's state.

        Args:
            images: the micrographs to keep; every one must have been added, and what was added decides
                their ``channels``, ``has_mask`` and ``has_truth``. Added images not named here take space
                but are not part of the set.
            skipped: files refused, with the reason.
            notes: remarks by image id.
            pinned_masks: whether the masks are those of a published dataset: see :func:`fingerprint`.

        Raises:
            DatasetError: no images, or the disk is full; the old state stays.
        """
        ordered = sorted(images, key=lambda image: image.id)
        if not ordered:
            raise DatasetError(f"There are no images to pack into {self.folder}.")
        with writing_to(self.folder):
            names = [shard.seal(self.folder) for shard in self._shards]
        records = [self._record(image, names) for image in ordered]
        index = index_bytes(records)
        index_sha256 = hashlib.sha256(index).hexdigest()
        manifest = PackManifest(
            FORMAT,
            self.definition.name,
            self.definition.version,
            f"index-{index_sha256[:16]}.json",
            index_sha256,
            {name: (shard.size, shard.sha256) for name, shard in zip(names, self._shards, strict=True)},
            len(records),
            fingerprint(records, masks=not pinned_masks),
            dict(skipped or {}),
            dict(notes or {}),
            self.definition.licence,
            self.definition.terms,
            self.definition.source,
        )
        write_bytes(self.folder / manifest.index, index)
        write_bytes(self.folder / MANIFEST, canonical_json(asdict(manifest)))
        flush_folder(self.folder)
        _remove_unused(self.folder, manifest)
        return manifest

    def abandon(self) -> None:
        """Close what is still open."""
        for shard in self._shards:
            # Closing a file on a full disk fails once more; the first failure is the one to report.
            with suppress(OSError):
                shard.close()

    def _write(self, pixels: Pixels) -> Stored:
        last = self._shards[-1] if self._shards else None
        with writing_to(self.folder):
            if not isinstance(last, Shard) or last.size >= self.shard_bytes:
                last = Shard(self._work / f"{len(self._shards)}.bin")
                self._shards.append(last)
            offset = last.append(pixels)
        height, width = pixels.shape[:2]
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        number = str(len(self._shards) - 1)
        return Stored(number, offset, height, width, pixels.dtype.name, pixel_hash(pixels), channels)

    def _record(self, image: Micrograph, shards: list[str]) -> IndexEntry:
        added = self._added[image.id]

        def named(part: Any) -> Any:
            if isinstance(part, tuple):
                return tuple(map(named, part))
            return replace(part, shard=shards[int(part.shard)]) if isinstance(part, Stored) else part

        described = replace(
            image,
            channels=added.stored.channels,
            has_mask=added.mask is not None,
            has_truth=added.truth is not None,
        )
        return IndexEntry(**{name: named(part) for name, part in vars(added).items()}, image=described)


def verify_packed(folder: Path, progress: ProgressCallback = silent) -> VerifyReport:
    """Hash every byte of a packed folder and name the images and files that changed.

    Raises:
        DatasetMissing: nothing is packed there.
        DatasetError: manifest or index cannot be read at all.
    """
    manifest = read_manifest(folder)
    records = read_index(folder, manifest)
    problems = {}
    shards = {name: map_shard(folder / name) for name in manifest.shards}
    for done, record in enumerate(records, start=1):
        changed = []
        for part, stored in record.parts():
            digest = pixel_hash(view_of(shards[stored.shard], stored))
            if digest != stored.sha256:
                changed.append(
                    f"{part} changed on disk (sha256 {digest[:12]}, expected {stored.sha256[:12]})"
                )
        if changed:
            problems[record.image.id] = "; ".join(changed)
        progress(ProgressEvent("verify", done, len(records), "images"))
    damaged = {
        stored.shard for record in records if record.image.id in problems for _, stored in record.parts()
    }
    for name, (_, expected) in manifest.shards.items():
        if name not in damaged and sha256_file(folder / name) != expected:
            problems[name] = "bytes between the images changed on disk"
    return VerifyReport(len(records) + len(manifest.shards) + 1, problems)


def _check_beside(what: str, array: Pixels, shape: tuple[int, ...], dtypes: Iterable[Any]) -> None:
    if array.shape != shape or array.dtype not in dtypes:
        expected = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise DatasetError(f"{what}: expected {shape} {expected}, found {array.shape} {array.dtype}.")


def _clear_leftovers(folder: Path) -> None:
    """Remove what a killed run left; safe because the caller holds the lock."""
    for left in folder.glob(f"{_WORK}*"):
        shutil.rmtree(left, ignore_errors=True)
    remove_leftovers(folder)
    try:
        manifest = read_manifest(folder)
    except DatasetMissing:
        manifest = None
    except SrbenchError:
        return  # damaged, or of another version: what it needs is unknown, finish() removes it
    _remove_unused(folder, manifest)


def _remove_unused(folder: Path, manifest: PackManifest | None) -> None:
    used = {manifest.index, *manifest.shards} if manifest else set()
    for file in [*folder.glob("index-*.json"), *folder.glob("shard-*.bin")]:
        # A mapped file lives on until it is closed; where the system refuses, the next run removes it.
        if file.name not in used:
            with suppress(OSError):
                file.unlink()
