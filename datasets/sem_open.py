"""``sem_open``: 159 open SEM micrographs of five kinds of specimen, split by specimen.

The packaged ``sem_open.json`` names every image with its source at a pinned commit, hashes, group and split.
Both ways onto the disk, importing a folder and fetching from the public repositories, end in pixels whose
hashes are compared with it, so both give the same data set.

Split (images/groups; whole groups only, five groups a category in ``test`` where it has ten or more, because
intervals are bootstrapped over groups; that takes a quarter of the images)::

    category     train   val    test
    EBC           11/4   3/1    8/5     environmental barrier coatings, cross-sections
    lung cells    44/4   7/1   18/5     databar cut; pixel size from its scale bar
    powder         7/2   2/1    2/1     only four samples exist: no interval within this category
    steel         22/5   5/2    7/5     by heat treatment
    superalloy    18/1   1/1    4/4     18 fields of one specimen stay together, hence in train
"""

from __future__ import annotations

import os
import shutil
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from srbench.datasets.decode import decode
from srbench.datasets.download import Patience, Remote, download_all
from srbench.datasets.home import dataset_folder
from srbench.datasets.imagefile import BadImage
from srbench.datasets.interface import (
    DatasetCard,
    DatasetError,
    DatasetMissing,
    DatasetSource,
    DatasetState,
    ImportReport,
    Pixels,
    ProgressCallback,
    ProgressEvent,
    VerifyReport,
    silent,
)
from srbench.datasets.pack_check import verify_packed
from srbench.datasets.pack_writer import packing
from srbench.datasets.packed import PackedSet, read_manifest
from srbench.datasets.registry import register_dataset
from srbench.datasets.sem_catalogue import CatalogueImage, catalogue
from srbench.datasets.storage import locked, pixel_hash, sha256_file

URL_VARIABLE = "SRBENCH_SEM_OPEN_URL"
_DEFAULT_URL = "https://raw.githubusercontent.com"
_OBTAIN = (
    "Type: srbench data import sem_open --from DIR (a folder with the files), or: srbench data fetch sem_open"
)


@register_dataset
class SemOpen(DatasetSource):
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

    def __init__(self, base_url: str | None = None, patience: Patience | None = None) -> None:
        """Prepare; nothing is read.

        Args:
            base_url: where the repositories' files are, instead of GitHub's raw files: a mirror that serves
                ``<base>/<owner>/<repository>/<commit>/<path>``. Also ``$SRBENCH_SEM_OPEN_URL``.
            patience: how often and how long a download is tried.
        """
        self.base_url = base_url or os.environ.get(URL_VARIABLE) or _DEFAULT_URL
        self.patience = patience or Patience()

    @property
    def folder(self) -> Path:
        """Where it is on disk."""
        return dataset_folder(self.card.name)

    def open(self, argument: str | None = None) -> PackedSet:
        """Open the packed data set.

        Raises:
            DatasetMissing: neither imported nor fetched yet.
            DatasetError: damaged, of another version, or an argument was given.
        """
        if argument:
            raise DatasetError(f"sem_open takes no argument, found {argument!r}. Type: sem_open")
        try:
            packed = PackedSet(self.folder, self.card)
        except DatasetMissing as error:
            raise DatasetMissing(f"sem_open is not on disk ({self.folder}). {_OBTAIN}") from error
        if packed.manifest.version != catalogue().version:
            raise DatasetError(
                f"{self.folder} holds version {packed.manifest.version} of sem_open, this srbench has "
                f"version {catalogue().version}. {_OBTAIN}"
            )
        return packed

    def state(self) -> DatasetState:
        """What is on disk: packed, partly downloaded, or nothing."""
        try:
            manifest = read_manifest(self.folder)
        except DatasetMissing:
            return self._state_of_downloads()
        except DatasetError:
            return DatasetState("partial", next_step=_OBTAIN)
        return DatasetState("ready", manifest.images, manifest.nbytes)

    def import_from(self, folder: Path, progress: ProgressCallback = silent) -> ImportReport:
        """Take the files from ``folder``: in the layout of the catalogue, or anywhere below it by name.

        Raises:
            DatasetError: files are missing or have other pixels; names them. Nothing has changed then.
        """
        return self._pack(_locate(folder, catalogue().kept), progress)

    def fetch(self, progress: ProgressCallback = silent) -> ImportReport:
        """Download the files from the public repositories at their pinned commits, then pack them.

        Raises:
            DatasetError: some files could not be had, or have other content; run it again to go on.
        """
        if self._intact():
            return ImportReport(len(catalogue().kept), catalogue().dropped, self.folder)
        files = {image.id: self._downloads / _local_name(image) for image in catalogue().kept}
        remotes = [
            Remote(self._url(image), files[image.id], image.source_sha256) for image in catalogue().kept
        ]
        with locked(self._downloads):
            download_all(remotes, progress, patience=self.patience)
        report = self._pack(files, progress)
        shutil.rmtree(self._downloads, ignore_errors=True)
        return report

    def verify(self, progress: ProgressCallback = silent) -> VerifyReport:
        """Hash every byte on disk and compare with the packaged manifest."""
        packed = self.open()
        report = verify_packed(self.folder, progress)
        expected = {image.id: image.pixels_sha256 for image in catalogue().kept}
        found = {image.id: packed.stored(image.id).sha256 for image in packed.images}
        differing = {
            image: "not the pixels of the packaged manifest"
            for image in expected
            if found.get(image) != expected[image]
        }
        return VerifyReport(report.checked, {**differing, **report.problems})

    def _intact(self) -> bool:
        try:
            return not self.verify().problems
        except DatasetError:
            return False

    @property
    def _downloads(self) -> Path:
        return self.folder / "downloads"

    def _url(self, image: CatalogueImage) -> str:
        repository = catalogue().sources[image.source]["repo"]
        # Names contain '#', spaces and parentheses; an unescaped '#' would cut the address short.
        path = urllib.parse.quote(image.path, safe="/")
        return f"{self.base_url.rstrip('/')}/{repository}/{image.commit}/{path}"

    def _state_of_downloads(self) -> DatasetState:
        arrived = [
            file for file in self._downloads.glob("*") if file.suffix != ".part" and file.name[0] != "."
        ]
        size = sum(file.stat().st_size for file in self._downloads.glob("*"))
        return DatasetState("partial" if size else "absent", len(arrived), size, _OBTAIN)

    def _pack(self, files: Mapping[str, Path], progress: ProgressCallback) -> ImportReport:
        known = catalogue()
        problems: dict[str, str] = {}
        with packing(
            self.folder,
            name=self.card.name,
            version=known.version,
            licence=self.card.licence,
            terms=self.card.terms,
            source="GitHub: " + ", ".join(sorted(source["repo"] for source in known.sources.values())),
        ) as writer:
            for done, image in enumerate(known.kept, start=1):
                try:
                    writer.add(image.id, _read(files[image.id], image))
                except BadImage as error:
                    problems[image.file] = str(error)
                progress(ProgressEvent("import", done, len(known.kept), "images"))
            if problems:
                raise _refusal(problems, len(known.kept))
            writer.finish(map(known.micrograph, known.kept), skipped=known.dropped)
        return ImportReport(len(known.kept), known.dropped, self.folder)


def _read(path: Path, image: CatalogueImage) -> Pixels:
    """The pixels of one file, without the databar, after comparison with the packaged hash."""
    pixels = decode(path).pixels
    cut = pixels[: pixels.shape[0] - image.databar_rows]
    if pixel_hash(cut) != image.pixels_sha256:
        same_file = sha256_file(path) in (image.sha256, image.source_sha256)
        why = "this installation decodes it differently" if same_file else "not the original file"
        raise BadImage(f"{path}: has other pixels than {image.path} of {image.source}: {why}")
    return cut


def _locate(folder: Path, images: Sequence[CatalogueImage]) -> Mapping[str, Path]:
    """Image id to file.

    Raises:
        DatasetError: the folder or files in it are missing.
    """
    if not folder.is_dir():
        raise DatasetError(
            f"{folder} is not a folder. Give the folder that holds the micrographs of sem_open."
        )
    find = _finder(folder)
    found = {image.id: path for image in images if (path := find(image)) is not None}
    missing = [image.file for image in images if image.id not in found]
    if missing:
        more = f" and {len(missing) - 8} more" if len(missing) > 8 else ""
        raise DatasetError(
            f"{len(missing)} of {len(images)} micrographs of sem_open are missing in {folder}: "
            f"{', '.join(missing[:8])}{more}. Nothing was changed. Complete the folder, or type: "
            "srbench data fetch sem_open"
        )
    return found


def _finder(folder: Path) -> Callable[[CatalogueImage], Path | None]:
    by_name: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if "images" in path.parent.name or path.parent == folder:
            by_name.setdefault(path.name, []).append(path)

    def find(image: CatalogueImage) -> Path | None:
        exact = folder / image.file
        named = by_name.get(exact.name, [])
        return exact if exact.is_file() else named[0] if len(named) == 1 else None

    return find


def _local_name(image: CatalogueImage) -> str:
    return f"{image.id}{Path(image.path).suffix}"


def _refusal(problems: Mapping[str, str], total: int) -> DatasetError:
    listed = "\n".join(f"  {reason}" for reason in problems.values())
    return DatasetError(
        f"{len(problems)} of {total} micrographs of sem_open cannot be taken:\n{listed}\n"
        "Nothing was changed. Replace these files, or type: srbench data fetch sem_open"
    )
