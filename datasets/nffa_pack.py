"""From staged images to the packed NFFA-EUROPE set: no duplicates, groups, split, shards adopted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from srbench.datasets import near_duplicates
from srbench.datasets.interface import Micrograph, ProgressCallback, Split
from srbench.datasets.pack_writer import PackWriter, packing
from srbench.datasets.packed import PackManifest, Stored
from srbench.datasets.splits import check_groups, split_hash, split_images
from srbench.datasets.staging import Staged, finished_shards, read_pixels, staged
from srbench.datasets.storage import canonical_json, write_atomically

SUMMARY = "preparation.json"
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


@dataclass(frozen=True)
class ClassArchive:
    """The tar of one class: where it lies and what it holds, by its md5 (as verified by the caller)."""

    category: str
    path: Path
    md5: str


@dataclass(frozen=True)
class _Image:
    """One staged image before it is grouped."""

    id: str
    archive: ClassArchive
    found: Staged
    stored: Stored

    @property
    def source(self) -> str:
        return _source(self.archive, self.found.member)


@dataclass(frozen=True)
class Label:
    """What the pack's manifest says of the data set: see the attributes of ``packed.PackManifest``."""

    name: str
    version: str
    licence: str
    terms: str
    source: str


class Pack:
    """What was staged becomes a pack: duplicates dropped, groups found, split, shards adopted."""

    def __init__(self, archives: Sequence[ClassArchive], folder: Path, work: Path) -> None:
        self.archives = archives
        self.folder = folder
        self.work = work
        self.skipped: dict[str, str] = {}
        self.images = self._keep_first(sorted(self._staged(), key=lambda image: (image.id, image.source)))

    def write(self, label: Label, progress: ProgressCallback) -> PackManifest:
        """Group, split, adopt, and make it the folder's state."""
        clusters = self._cluster(progress)
        groups = [self.images[label].id for label in clusters.labels.tolist()]
        pairs = zip(groups, (image.archive.category for image in self.images), strict=True)
        splits = split_images(pairs)
        micrographs = [
            _micrograph(image, group, splits[group], label.licence)
            for image, group in zip(self.images, groups, strict=True)
        ]
        check_groups(micrographs)
        with packing(self.folder, **asdict(label)) as writer:
            self._adopt(writer)
            summary = _summary(micrographs, clusters, self.skipped)
            write_atomically(self.folder / SUMMARY, canonical_json(summary))
            return writer.finish(micrographs, skipped=self.skipped, notes=self._notes())

    def _staged(self) -> Iterator[_Image]:
        for archive in self.archives:
            for found in staged(self.work / archive.category):
                if found.stored is None:
                    self.skipped[_source(archive, found.member)] = found.reason
                else:
                    image_id = f"{archive.category}/{Path(found.member).stem}"
                    yield _Image(image_id, archive, found, found.stored)

    def _keep_first(self, images: Sequence[_Image]) -> list[_Image]:
        by_id: dict[str, _Image] = {}
        by_hash: dict[str, _Image] = {}
        for image in images:
            first = by_id.get(image.id)
            twin = by_hash.get(image.stored.sha256)
            if twin is not None:
                self.skipped[image.source] = f"the same picture as {twin.source}"
            elif first is not None:
                self.skipped[image.source] = f"another picture under the name of {first.source}"
            else:
                by_id[image.id] = by_hash[image.stored.sha256] = image
        return list(by_id.values())

    def _cluster(self, progress: ProgressCallback) -> near_duplicates.Clusters:
        joined = b"".join(image.found.descriptor for image in self.images)
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
                    writer.adopt(shard.path, shard.size, shard.sha256, inside)

    def _notes(self) -> Mapping[str, str]:
        notes = {image.id: "; ".join([*image.found.notes, *_label_note(image)]) for image in self.images}
        return {image_id: note for image_id, note in notes.items() if note}


def _source(archive: ClassArchive, member: str) -> str:
    return f"{archive.path.name}:{member}"


def _label_note(image: _Image) -> list[str]:
    """What is odd about the digit in the file's name."""
    digit = re.match(r"L(\d)_", Path(image.found.member).name)
    expected = DIGITS.get(image.archive.category)
    if digit is None or expected is None or int(digit[1]) == expected:
        return []
    named = next(category for category, number in DIGITS.items() if number == int(digit[1]))
    return [f"its name says L{digit[1]} ({named}), its folder {image.archive.category}"]


def _micrograph(image: _Image, group: str, split: Split, licence: str) -> Micrograph:
    return Micrograph(
        id=image.id,
        group=group,
        category=image.archive.category,
        split=split,
        height=image.stored.height,
        width=image.stored.width,
        bits=16 if image.stored.dtype == "uint16" else 8,
        licence=licence,
        source=image.source,
    )


def _summary(
    images: Sequence[Micrograph],
    clusters: near_duplicates.Clusters,
    skipped: Mapping[str, str],
) -> Mapping[str, Any]:
    """What was found, for people and for the report."""
    counts: dict[str, Counter[str]] = {}
    for image in images:
        counts.setdefault(image.category, Counter())[image.split] += 1
    sizes = Counter(image.group for image in images)
    reasons = Counter(_kind(reason) for reason in skipped.values())
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


def _kind(reason: str) -> str:
    """A reason without what is different in every file: numbers, and names at its end."""
    return re.sub(r"\d[\d,]*|(?<=same picture as ).*|(?<=under the name of ).*", "#", reason)
