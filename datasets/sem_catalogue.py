"""The packaged manifest of ``sem_open``: every image with its origin, hashes, group and frozen split."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from srbench.datasets.interface import DatasetError, Micrograph, Split


@dataclass(frozen=True)
class CatalogueImage:
    """One image of the packaged manifest; ``dropped`` says why it is not part of the set (empty: it is)."""

    id: str
    source: str
    file: str
    sha256: str
    commit: str
    path: str
    source_sha256: str
    conversion: str
    databar_rows: int
    height: int
    width: int
    pixels_sha256: str
    group: str
    category: str
    split: Split
    pixel_size_nm: float | None
    dropped: str = ""


@dataclass(frozen=True)
class Catalogue:
    """The packaged manifest: ``sources`` (repo, licence, citation) and ``images`` by id."""

    version: str
    sources: Mapping[str, Mapping[str, str]]
    images: tuple[CatalogueImage, ...]

    @property
    def kept(self) -> tuple[CatalogueImage, ...]:
        """The images of the data set."""
        return tuple(image for image in self.images if not image.dropped)

    @property
    def dropped(self) -> Mapping[str, str]:
        """Files left out, with the reason."""
        return {image.file: image.dropped for image in self.images if image.dropped}

    def micrograph(self, image: CatalogueImage) -> Micrograph:
        """The image as the data set gives it."""
        source = self.sources[image.source]
        return Micrograph(
            id=image.id,
            group=image.group,
            category=image.category,
            split=image.split,
            height=image.height,
            width=image.width,
            licence=source["licence"],
            source=f"{source['repo']}@{image.commit[:12]}:{image.path}",
            pixel_size_nm=image.pixel_size_nm,
        )


@functools.cache
def catalogue() -> Catalogue:
    """The packaged manifest.

    Raises:
        DatasetError: its split is not the frozen one.
    """
    raw = json.loads(resources.files("srbench.datasets").joinpath("sem_open.json").read_bytes())
    images = tuple(CatalogueImage(**image) for image in raw["images"])
    found = Catalogue(raw["version"], raw["sources"], images)
    lines = "".join(f"{image.id}\t{image.group}\t{image.split}\n" for image in found.kept)
    if hashlib.sha256(lines.encode()).hexdigest() != raw["split_sha256"]:
        raise DatasetError("The split in sem_open.json is not the frozen one; install srbench again.")
    return found
