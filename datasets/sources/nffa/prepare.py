"""The tars of NFFA-EUROPE become one packed set: grey, without bars and duplicates, grouped and split.

One reader streams the tars, worker processes decode and cut, this process writes in the order of the tar
whatever the number of workers (``staging``). Memory holds a few frames and one line for each image; the tars
are neither unpacked nor copied, and the staged shards become those of the pack. Killed at any moment and
started again it goes on behind the last flushed image and ends in the same bytes; a tar with another md5 or
size, or other rules, is done again.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from srbench.datasets import near_duplicates
from srbench.datasets.base import ImportReport, Micrograph
from srbench.datasets.images.archives import ArchiveError, Limits, members
from srbench.datasets.images.databar import find_databar, has_databar, row_shares
from srbench.datasets.images.decode import (
    MAX_PIXELS,
    MIN_SIDE,
    BadImage,
    read_raw_bytes,
    refuse_blank,
)
from srbench.datasets.images.depth import COLOUR_NOTE, common_depth
from srbench.datasets.near_duplicates import descriptor
from srbench.datasets.packed.format import PackManifest, Stored, read_manifest
from srbench.datasets.packed.staging import Staged, Staging, finished_shards, read_pixels, staged_members
from srbench.datasets.packed.writer import SHARD_BYTES, Definition, PackWriter, packing
from srbench.datasets.splits import check_groups, split_hash, split_images
from srbench.utils.errors import DatasetError, SrbenchError
from srbench.utils.files import canonical_json, locked, pixel_hash, write_bytes
from srbench.utils.image import Pixels
from srbench.utils.parallel import ProcessPool
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

STAGING = ".staging"
SUMMARY = "preparation.json"
# Each is raised with its part: whenever the same tars would give another pack, the same bytes other pixels.
_PACK_RULES = "1"
FRAME_RULES = "2"
_LIMITS = Limits(member_bytes=1 << 26)
_AT_ONCE = 4
# The digit in ``L<digit>_<32 hex>.jpg``, as measured on version 2.0 of the set.
DIGITS: Mapping[str, int] = {
    "Porous_Sponge": 0,
    "Patterned_surface": 1,
    "Particles": 2,
    "Films_Coated_Surface": 3,
    "Powder": 4,
    "Tips": 5,
    "Nanowires": 6,
    "Biological": 7,
    "MEMS_devices_and_electrodes": 8,
    "Fibres": 9,
}

MULTIPLE = 12
# Rows of a frame of 768: of the blanket cut, from which bars are searched, between bar and cut.
_FRAME_ROWS = 768
_BLANKET_ROW = 624
_SEARCH_FROM_ROW = 512
_MARGIN_ROWS = 8
_BRIGHT, _BRIGHT_SHARE, _BRIGHT_ROWS = 240, 0.6, 3
# Chroma of the bar's logo reaches up to a block of 16 rows above it, faintly.
_FAINT_CHROMA = 16


@dataclass(frozen=True)
class ClassArchive:
    """The tar of one class: where it lies and what it holds, by its md5 (as verified by the caller)."""

    category: str
    path: Path
    md5: str


def prepare_nffa(
    archives: Sequence[ClassArchive],
    folder: Path,
    *,
    name: str,
    version: str,
    licence: str,
    terms: str = "",
    progress: ProgressCallback = silent,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> ImportReport:
    """Pack the images of ``archives`` into ``folder``; goes on where an earlier call was interrupted.

    Args:
        archives: one for each class.
        folder: of the data set; gains the pack and, while this runs, ``.staging``.
        name: of the dataset.
        version: of the dataset's definition; kept in the manifest.
        licence: of every image.
        terms: what it asks of the user, for the manifest.
        progress: called with the bytes of the archives that are done, then of images compared.
        workers: processes; as many as there are cores when None; with 1 there are no others.
        shard_bytes: a shard is closed once it holds this many.

    Returns:
        How many images are in the pack, and every member that is not, as ``<tar>:<member>``, with its reason.

    Raises:
        DatasetError: an archive is missing, cut short or damaged (all others have been staged then and are
            not read again), no image can be used, another process prepares here, or the disk is full.
    """
    ordered = sorted(archives, key=lambda archive: archive.category)
    if not ordered:
        raise DatasetError("There are no archives to prepare.")
    repeated = [category for category, count in Counter(a.category for a in ordered).items() if count > 1]
    if repeated:
        raise DatasetError(f"Two archives for {', '.join(repeated)}; expected one for each class.")
    missing = [str(archive.path) for archive in archives if not archive.path.is_file()]
    if missing:
        raise DatasetError(
            f"Archives are missing: {', '.join(missing)}. Bring them back, or fetch or import them again."
        )
    listed = "; ".join(f"{archive.path.name} md5 {archive.md5}" for archive in ordered)
    definition = Definition(name, version, licence, terms, f"{listed}; prepared by rules {_rules()}")
    work = folder / STAGING
    with locked(work):
        manifest = _packed_already(folder, definition)
        if manifest is None:
            _stage_all(ordered, work, progress, workers, shard_bytes)
            manifest = _Packing(ordered, folder, work).write(definition, progress)
        shutil.rmtree(work, ignore_errors=True)
    return ImportReport(manifest.images, manifest.skipped, folder)


def _rules() -> str:
    return f"{_PACK_RULES}.{FRAME_RULES}.{near_duplicates.RULES}"


def _packed_already(folder: Path, definition: Definition) -> PackManifest | None:
    try:
        manifest = read_manifest(folder)
    except SrbenchError:
        return None
    packed = (manifest.name, manifest.version, manifest.source)
    return manifest if packed == (definition.name, definition.version, definition.source) else None


def _stage_all(
    archives: Sequence[ClassArchive],
    work: Path,
    progress: ProgressCallback,
    workers: int | None,
    shard_bytes: int,
) -> None:
    """Stage every archive; what is wrong with one is raised after the others are done."""
    sizes = {archive.category: archive.path.stat().st_size for archive in archives}
    done, problems = 0, []
    with ProcessPool(examine, workers, at_once=_AT_ONCE, keep_memory=True) as pool:
        for archive in archives:
            category, size = archive.category, sizes[archive.category]
            key = {"category": category, "md5": archive.md5, "size": str(size), "rules": _rules()}
            staging = Staging(work / category, key, shard_bytes)
            try:
                for position in _stage(archive, staging, pool):
                    reached = done + min(position, size)
                    progress(ProgressEvent(f"prepare {category}", reached, sum(sizes.values()), "B"))
            except ArchiveError as error:
                problems.append(str(error))
            finally:
                staging.close()
            done += size
            progress(ProgressEvent(f"prepare {category}", done, sum(sizes.values()), "B"))
    if problems:
        raise DatasetError(
            "\n".join(problems) + f"\nThe other {len(archives) - len(problems)} of {len(archives)} archives "
            "are prepared and will not be read again."
        )


def _stage(archive: ClassArchive, staging: Staging, pool: ProcessPool[bytes, Examined]) -> Iterator[int]:
    """Stage the members that are not staged yet; gives positions in the archive as it proceeds."""
    if staging.complete:
        return
    refused: dict[str, str] = {}
    done = frozenset(staging.members)
    stream = members(archive.path, refused, select=lambda name: name not in done, limits=_LIMITS)
    inputs = (((member.name, member.position), member.data) for member in stream)
    try:
        for (member, position), examined in pool.map(inputs):
            staging.add(
                Staged(member, examined.reason, None, examined.descriptor, examined.notes),
                examined.pixels,
                examined.sha256,
            )
            yield position
    except ArchiveError:
        staging.flush()
        raise
    staging.finish(refused)


@dataclass(frozen=True)
class Examined:
    """Pixels ``(H, W)`` with hash, descriptor (bytes of 96 int16) and notes; or the reason of a refusal."""

    pixels: Pixels | None
    sha256: str = ""
    descriptor: bytes = b""
    notes: tuple[str, ...] = ()
    reason: str = ""


def examine(data: bytes) -> Examined:
    """Decode, cut and describe one file, in a worker process; a file that cannot be used gives a reason."""
    try:
        frame = read_frame(data)
    except BadImage as error:
        return Examined(None, reason=str(error))
    except MemoryError:
        return Examined(None, reason="needs more memory than there is")
    described = descriptor(frame.pixels).astype("<i2").tobytes()
    return Examined(frame.pixels, pixel_hash(frame.pixels), described, frame.notes)


@dataclass(frozen=True)
class Frame:
    """HR pixels ``(H, W)``, both multiples of 12, and what was done that a user may want to know."""

    pixels: Pixels
    notes: tuple[str, ...] = ()


def read_frame(data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> Frame:
    """Decode an image file (once), cut the bar and all below it, make it grey.

    What lies below the instrument's white bar is a second, narrow image and is dropped too. Colour is the
    bar's (green scale, dark red logo): the cut comes first, then grey. What is left is a multiple of 12 in
    both directions, 1020x624 of 1024x768, from the upper left corner, where the 8-pixel grid of JPEG begins:
    HR is then the same image for x2, x3 and x4, and their scores compare.

    Raises:
        BadImage: the file cannot be used, or something like a bar is left; the message is the reason.
    """
    (raw,) = read_raw_bytes(data, max_pixels=max_pixels, min_side=min_side)
    array = raw.array
    # The bar's ground is white, and its text black, in every channel.
    channel: Pixels = np.ascontiguousarray(array if array.ndim == 2 else array[..., 1])
    if channel.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"{channel.dtype} values; expected 8 or 16 bits")
    above = array[: cut_row(channel)]
    height, width = (side // MULTIPLE * MULTIPLE for side in above.shape[:2])
    if min(height, width) < min_side:
        raise BadImage(f"only {width}x{height} px are left above its databar; {min_side} are needed")
    above = above[:height, :width]
    raw = replace(raw, array=above)
    pixels, notes = common_depth([raw]).grey(raw)
    refuse_blank(pixels)
    if has_databar(pixels):
        raise BadImage("something like a databar, or a nearly white band of 12 rows, is left after the cut")
    if COLOUR_NOTE in notes:
        red, green, blue = (above[..., index] for index in range(3))
        highest, lowest = (pick(pick(red, green), blue) for pick in (np.maximum, np.minimum))
        coloured = int((highest - lowest > _FAINT_CHROMA).sum())
        note = f"{coloured:,} coloured pixels above the cut, converted to BT.601 luma"
        notes = (*(other for other in notes if other != COLOUR_NOTE), *((note,) if coloured else ()))
    # A copy: what is left of a plain grey file is a part of a larger array.
    copy: Pixels = pixels.copy()
    return Frame(copy, notes)


def cut_row(pixels: Pixels) -> int:
    """The first row of ``(H, W)`` pixels that is dropped, the upper one of two rules.

    Blanket: rows from 624/768 of the height on, bar or not. Detection: ``find_databar``, and three rows
    running of which 60 % are brighter than 240, at or below 512/768 of the height; the cut is 8/768 of the
    height above, since JPEG smears the edge. What was measured of both is in docs/datasets.md.
    """
    height = int(pixels.shape[0])
    margin = -(-_MARGIN_ROWS * height // _FRAME_ROWS)
    bar = find_databar(pixels)
    tops = [row for row in (bar.top if bar else None, _first_bright(pixels)) if row is not None]
    return max(min([height * _BLANKET_ROW // _FRAME_ROWS, *(top - margin for top in tops)]), 0)


def _first_bright(pixels: Pixels) -> int | None:
    """The first of three rows running that are mostly near white, in the part where bars begin."""
    first = pixels.shape[0] * _SEARCH_FROM_ROW // _FRAME_ROWS
    limit = _BRIGHT if pixels.dtype == np.uint8 else _BRIGHT * 257
    bright = row_shares(pixels[first:] > limit) > _BRIGHT_SHARE
    runs = np.convolve(bright, np.ones(_BRIGHT_ROWS), "valid") == _BRIGHT_ROWS
    return first + int(runs.argmax()) if runs.any() else None


@dataclass(frozen=True)
class _Image:
    """One staged image before it is grouped."""

    id: str
    archive: ClassArchive
    staged: Staged
    stored: Stored

    @property
    def source(self) -> str:
        return _source(self.archive, self.staged.member)


class _Packing:
    """What was staged becomes a pack: duplicates dropped, groups found, split, shards adopted.

    Of equal pictures the first by id stays. Frames of one field are one group (``near_duplicates``): the true
    sample is not recorded in these sets. The split counts images within each class.
    """

    def __init__(self, archives: Sequence[ClassArchive], folder: Path, work: Path) -> None:
        self.archives = archives
        self.folder = folder
        self.work = work
        self.skipped: dict[str, str] = {}
        self.images = self._keep_first(sorted(self._staged(), key=lambda image: (image.id, image.source)))

    def write(self, definition: Definition, progress: ProgressCallback) -> PackManifest:
        """Group, split, adopt, and make it the folder's state."""
        clusters = self._cluster(progress)
        groups = [self.images[label].id for label in clusters.labels.tolist()]
        splits = split_images(
            (group, image.archive.category) for image, group in zip(self.images, groups, strict=True)
        )
        micrographs = [
            Micrograph(
                id=image.id,
                group=group,
                category=image.archive.category,
                split=splits[group],
                height=image.stored.height,
                width=image.stored.width,
                bits=16 if image.stored.dtype == "uint16" else 8,
                licence=definition.licence,
                source=image.source,
            )
            for image, group in zip(self.images, groups, strict=True)
        ]
        check_groups(micrographs)
        with packing(self.folder, **asdict(definition)) as writer:
            self._adopt(writer)
            summary = _summary(micrographs, clusters, self.skipped)
            write_bytes(self.folder / SUMMARY, canonical_json(summary))
            notes = {image.id: "; ".join([*image.staged.notes, *_label_note(image)]) for image in self.images}
            notes = {image_id: note for image_id, note in notes.items() if note}
            return writer.finish(micrographs, skipped=self.skipped, notes=notes)

    def _staged(self) -> Iterator[_Image]:
        for archive in self.archives:
            for staged in staged_members(self.work / archive.category):
                if staged.stored is None:
                    self.skipped[_source(archive, staged.member)] = staged.reason
                else:
                    image_id = f"{archive.category}/{Path(staged.member).stem}"
                    yield _Image(image_id, archive, staged, staged.stored)

    def _keep_first(self, images: Sequence[_Image]) -> list[_Image]:
        by_id: dict[str, _Image] = {}
        by_hash: dict[str, _Image] = {}
        for image in images:
            first = by_id.get(image.id)
            equal = by_hash.get(image.stored.sha256)
            if equal is not None:
                self.skipped[image.source] = f"the same picture as {equal.source}"
            elif first is not None:
                self.skipped[image.source] = f"another picture under the name of {first.source}"
            else:
                by_id[image.id] = by_hash[image.stored.sha256] = image
        return list(by_id.values())

    def _cluster(self, progress: ProgressCallback) -> near_duplicates.DuplicateGroups:
        joined = b"".join(image.staged.descriptor for image in self.images)
        descriptors = np.frombuffer(joined, "<i2").reshape(-1, near_duplicates.DIMENSIONS)

        def thumbnail_of(index: int) -> near_duplicates.Thumbnail:
            image = self.images[index]
            pixels = read_pixels(self.work / image.archive.category, image.stored)
            return near_duplicates.thumbnail(pixels)

        return near_duplicates.cluster(descriptors.astype(np.int16), thumbnail_of, progress=progress)

    def _adopt(self, writer: PackWriter) -> None:
        for archive in self.archives:
            images = [image for image in self.images if image.archive is archive]
            for name, shard in finished_shards(self.work / archive.category).items():
                inside = {image.id: image.stored for image in images if image.stored.shard == name}
                if inside:
                    writer.adopt(shard, inside)


def _source(archive: ClassArchive, member: str) -> str:
    return f"{archive.path.name}:{member}"


def _label_note(image: _Image) -> list[str]:
    """What is odd about the digit in the file's name."""
    digit = re.match(r"L(\d)_", Path(image.staged.member).name)
    expected = DIGITS.get(image.archive.category)
    if digit is None or expected is None or int(digit[1]) == expected:
        return []
    named = next(category for category, number in DIGITS.items() if number == int(digit[1]))
    return [f"its name says L{digit[1]} ({named}), its folder {image.archive.category}"]


def _summary(
    images: Sequence[Micrograph],
    clusters: near_duplicates.DuplicateGroups,
    skipped: Mapping[str, str],
) -> Mapping[str, Any]:
    """Counts for ``preparation.json``."""
    counts: dict[str, Counter[str]] = {}
    for image in images:
        counts.setdefault(image.category, Counter())[image.split] += 1
    sizes = Counter(image.group for image in images)
    # A reason without what is different in every file: numbers, and names at its end.
    differing = r"\d[\d,]*|(?<=same picture as ).*|(?<=under the name of ).*"
    reasons = Counter(re.sub(differing, "#", reason) for reason in skipped.values())
    return {
        "split_sha256": split_hash(images),
        "images": len(images),
        "images_by_class_and_split": {category: dict(count) for category, count in counts.items()},
        "groups": len(sizes),
        "groups_of_several_images": sum(size > 1 for size in sizes.values()),
        "largest_group": clusters.largest,
        "near_duplicate_candidates": clusters.candidates,
        "near_duplicate_pairs_joined": clusters.agreeing,
        "groups_formed_again": [list(item) for item in clusters.tightened],
        "refused_by_reason": dict(reasons),
    }
