"""``sem_open``: 159 open SEM micrographs of five kinds of specimen, split by specimen.

The packaged ``sem_open.json`` names every image with its source at a pinned commit, hashes, group and split.
Both ways onto the disk, importing a folder and fetching from the public repositories, end in pixels whose
hashes are compared with it, so both give the same data set. ``docs/datasets.md`` has the split by category.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np

from srbench.datasets.base import DatasetCard, DatasetState, ImportReport, Micrograph, Split, VerifyReport
from srbench.datasets.download import Remote, RetryPolicy
from srbench.datasets.images.decode import BadImage, decode, decode_labels
from srbench.datasets.packed.source import PackedSource
from srbench.datasets.registry import register_dataset
from srbench.utils.errors import DatasetError
from srbench.utils.files import pixel_hash, read_json, sha256_file
from srbench.utils.image import Pixels
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent
from srbench.utils.typed_json import typed

URL_VARIABLE = "SRBENCH_SEM_OPEN_URL"
_DEFAULT_URL = "https://raw.githubusercontent.com"
_OBTAIN = (
    "Type: srbench data import sem_open --from DIR (a folder with the files), or: srbench data fetch sem_open"
)


@dataclass(frozen=True)
class CatalogueMask:
    """Labels drawn by hand on an image, in the repository and at the commit of the image.

    Attributes:
        file: in the folder of an import.
        sha256: of that file.
        path: in the repository.
        source_sha256: of the file there.
        stored: how a file holds its labels: as ``numbers``, ``binary`` (white from 128 on), ``thirds`` of
            255, ``overlay`` (blue and red on the micrograph are 1 and 2; the file of an import has numbers)
            or ``polygons`` of many images, numbered as they stand in the file.
        labels_sha256: of the labels (``pixel_hash``).
        objects: labels that are objects to be counted and measured; None: all but 0.
    """

    file: str
    sha256: str
    path: str
    source_sha256: str
    stored: Literal["numbers", "binary", "thirds", "overlay", "polygons"]
    labels_sha256: str
    objects: tuple[int, ...] | None = None


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
    measure: tuple[str, ...] = ()
    mask: CatalogueMask | None = None


@dataclass(frozen=True)
class Catalogue:
    """The packaged manifest: ``sources`` (repo, licence, citation) and ``images`` by id."""

    version: str
    sources: Mapping[str, Mapping[str, str]]
    images: tuple[CatalogueImage, ...]

    @property
    def included(self) -> tuple[CatalogueImage, ...]:
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
            measure=image.measure,
            mask_objects=None if image.mask is None else image.mask.objects,
        )


@functools.cache
def catalogue() -> Catalogue:
    """The packaged manifest.

    Raises:
        DatasetError: its split is not the frozen one.
    """
    raw = json.loads(resources.files("srbench.datasets.sources").joinpath("sem_open.json").read_bytes())
    images = tuple(typed(CatalogueImage, image) for image in raw["images"])
    manifest = Catalogue(raw["version"], raw["sources"], images)
    lines = "".join(f"{image.id}\t{image.group}\t{image.split}\n" for image in manifest.included)
    if hashlib.sha256(lines.encode()).hexdigest() != raw["split_sha256"]:
        raise DatasetError("The split in sem_open.json is not the frozen one; install srbench again.")
    return manifest


@register_dataset
class SemOpen(PackedSource):
    """The open micrographs; see the module."""

    card = DatasetCard(
        name="sem_open",
        title="Open SEM micrographs",
        kind="real",
        summary="159 micrographs of powder, steel, superalloy, coatings and lung cells, split by specimen",
        licence="MIT (four repositories; each image names its own)",
        terms="MIT: copies of the images keep the copyright notices of their repositories.",
        citation="AMPIS (Cohn et al.), MicroNet (NASA), UHCS (Hecht et al.), lung cells (Mohan and Peeples)",
        obtain=("import", "fetch"),
        urls=(
            "https://github.com/rccohn/AMPIS",
            "https://github.com/Advanced-Vision-and-Learning-Lab/SEM_Images_Lacunarity",
            "https://github.com/nasa/pretrained-microscopy-models",
            "https://github.com/leibo-cmu/MatSeg",
        ),
    )

    def __init__(self, base_url: str | None = None, retry: RetryPolicy | None = None) -> None:
        """Prepare; nothing is read.

        Args:
            base_url: where the repositories' files are, instead of GitHub's raw files: a mirror that serves
                ``<base>/<owner>/<repository>/<commit>/<path>``. Also ``$SRBENCH_SEM_OPEN_URL``.
            retry: how often and how long a download is tried.
        """
        self.base_url = base_url or os.environ.get(URL_VARIABLE) or _DEFAULT_URL
        self.retry = retry or RetryPolicy()

    @property
    def rules(self) -> str:  # type: ignore[override]
        """The version of the packaged manifest."""
        return catalogue().version

    @property
    def obtain(self) -> str:
        """The commands that bring it onto the disk."""
        return _OBTAIN

    def state(self) -> DatasetState:
        """What is on disk: packed, partly downloaded (with the number of whole files), or nothing."""
        state = super().state()
        if state.state != "partial":
            return state
        return replace(
            state,
            images=sum(
                (self.downloads / f"{image.id}{Path(image.path).suffix}").is_file()
                for image in catalogue().included
            ),
        )

    def import_from(self, folder: Path, progress: ProgressCallback = silent) -> ImportReport:
        """Take the files from ``folder``: in the layout of the catalogue, or anywhere below it by name.

        Raises:
            DatasetError: files are missing or have other pixels; names them. Nothing has changed then.
        """
        images = catalogue().included
        pixels = _locate(folder, [image.file for image in images])
        missing = [image.file for image in images if image.file not in pixels]
        self.refuse_missing(missing, len(images), folder, "micrographs")
        masks = _locate(folder, [image.mask.file for image in images if image.mask])
        return self._pack(
            {image.id: pixels[image.file] for image in images},
            {image.id: masks[image.mask.file] for image in images if image.mask and image.mask.file in masks},
            progress,
        )

    def fetch(self, progress: ProgressCallback = silent) -> ImportReport:
        """Download the files from the public repositories at their pinned commits, then pack them.

        Raises:
            DatasetError: some files could not be had, or have other content; run it again to go on.
        """
        files, masks, remotes = {}, {}, {}
        for image in catalogue().included:
            files[image.id] = self.downloads / f"{image.id}{Path(image.path).suffix}"
            remotes[files[image.id]] = Remote(
                self._url(image, image.path), files[image.id], image.source_sha256
            )
            if image.mask is not None:
                # One file of polygons belongs to several images.
                suffix = Path(image.mask.path).suffix
                masks[image.id] = self.downloads / f"mask-{image.mask.source_sha256[:16]}{suffix}"
                remotes[masks[image.id]] = Remote(
                    self._url(image, image.mask.path), masks[image.id], image.mask.source_sha256
                )
        return self.download_and_pack(
            list(remotes.values()), lambda: self._pack(files, masks, progress), progress
        )

    def intact(self, progress: ProgressCallback = silent) -> bool:
        """Whether it is on disk without a fault, with all masks."""
        drawn = {image.id for image in catalogue().included if image.mask}
        return super().intact(progress) and drawn <= {
            image.id for image in self.open().images if image.has_mask
        }

    def verify(self, progress: ProgressCallback = silent) -> VerifyReport:
        """Hash every byte on disk and compare with the packaged manifest."""
        report = super().verify(progress)
        packed = self.open()
        stored = {image.id: packed.stored(image.id).sha256 for image in packed.images}
        differing = {
            image.id: "not the pixels of the packaged manifest"
            for image in catalogue().included
            if stored.get(image.id) != image.pixels_sha256
        }
        return VerifyReport(report.checked, {**differing, **report.problems})

    def _url(self, image: CatalogueImage, path: str) -> str:
        repository = catalogue().sources[image.source]["repo"]
        # Names contain '#', spaces and parentheses; an unescaped '#' would cut the address short.
        return f"{self.base_url.rstrip('/')}/{repository}/{image.commit}/{urllib.parse.quote(path, safe='/')}"

    def _pack(
        self, files: Mapping[str, Path], masks: Mapping[str, Path], progress: ProgressCallback
    ) -> ImportReport:
        manifest = catalogue()
        problems: list[BadImage] = []
        skipped = dict(manifest.dropped)
        repositories = sorted(source["repo"] for source in manifest.sources.values())
        with self.packing(f"GitHub: {', '.join(repositories)}") as writer:
            for done, image in enumerate(manifest.included, start=1):
                labels = None
                if image.mask is not None:
                    try:
                        labels = _read_mask(masks.get(image.id), image, image.mask)
                    except BadImage as error:
                        skipped[f"{image.mask.file} of {image.id}"] = str(error)
                try:
                    writer.add(image.id, _read(files[image.id], image), mask=labels)
                except BadImage as error:
                    problems.append(error)
                progress(ProgressEvent("import", done, len(manifest.included), "images"))
            self.refuse_unusable(problems, len(manifest.included), "micrographs")
            writer.finish(map(manifest.micrograph, manifest.included), skipped=skipped, pinned_masks=True)
        return ImportReport(len(manifest.included), skipped, self.folder)


def _read(path: Path, image: CatalogueImage) -> Pixels:
    """The pixels of one file, without the databar, after comparison with the packaged hash."""
    pixels = decode(path).pixels
    cut = pixels[: pixels.shape[0] - image.databar_rows]
    if pixel_hash(cut) != image.pixels_sha256:
        same_file = sha256_file(path) in (image.sha256, image.source_sha256)
        why = "this installation decodes it differently" if same_file else "not the original file"
        raise BadImage(f"{path}: has other pixels than {image.path} of {image.source}: {why}")
    return cut


def _read_mask(path: Path | None, image: CatalogueImage, mask: CatalogueMask) -> Pixels:
    """The labels of an image, after comparison with the packaged hash.

    Raises:
        BadImage: they are not there or are others; the message is the reason.
    """
    if path is None:
        raise BadImage("a mask that is not in the folder: its image is measured against HR alone")
    labels = labels_of(path, mask.stored, image)
    if pixel_hash(labels) != mask.labels_sha256:
        raise BadImage(f"a mask with other labels than {mask.path} of {image.source}")
    return labels


def labels_of(path: Path, stored: str, image: CatalogueImage) -> Pixels:
    """Labels ``(H, W)`` of an image from a file of labels, ``stored`` as :class:`CatalogueMask` says.

    Raises:
        BadImage: the file holds no labels for this image.
    """
    if stored == "polygons":
        return _drawn(path, image)
    try:
        numbers = decode_labels(path)
    except BadImage:
        if stored != "overlay":
            raise
        rgb = decode(path, colour=True).pixels
        blue, red = ((rgb == colour).all(2) for colour in ((0, 0, 255), (255, 0, 0)))
        labels: Pixels = blue.astype(np.uint8) + 2 * red.astype(np.uint8)
        return labels
    if stored == "binary":
        return (numbers > 127).astype(np.uint8)
    return numbers // 85 if stored == "thirds" else numbers


def _drawn(path: Path, image: CatalogueImage) -> Pixels:
    """Polygons of the VGG image annotator, one label each, as they follow in the file."""
    from skimage.draw import polygon

    try:
        entries: list[Any] = list(read_json(path)["_via_img_metadata"].values())
        (regions,) = (entry["regions"] for entry in entries if entry["filename"] == Path(image.path).name)
        labels = np.zeros((image.height, image.width), dtype=np.uint16)
        for number, region in enumerate(regions, start=1):
            shape = region["shape_attributes"]
            # They are drawn on the sides of pixels, whose centres are whole numbers here.
            y, x = (np.array(shape[f"all_points_{axis}"], dtype=np.float64) - 0.5 for axis in "yx")
            labels[polygon(y, x, labels.shape)] = number
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadImage(f"no polygons of {Path(image.path).name} can be read from it ({error})") from error
    return labels


def _locate(folder: Path, files: Sequence[str]) -> Mapping[str, Path]:
    """File of the catalogue to where it is: there, else the only file of its name and kind of folder.

    Raises:
        DatasetError: there is no such folder.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"{folder} is not a folder. Give the folder that holds the micrographs of sem_open."
        )
    by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        by_name.setdefault(path.name, []).append(path)
    paths: dict[str, Path] = {}
    for file in dict.fromkeys(files):
        exact = folder / file
        kind = exact.parent.name
        # An image and its mask have the same name: the folder tells them apart.
        named = [
            path
            for path in by_name.get(exact.name, [])
            if kind in path.parent.name or (path.parent == folder and kind in ("images", "annotations"))
        ]
        if exact.is_file() or len(named) == 1:
            paths[file] = exact if exact.is_file() else named[0]
    return paths
