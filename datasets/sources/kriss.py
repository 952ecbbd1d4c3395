"""``kriss``: 50 fields of one specimen, each scanned at 100 ns and at 30 us a pixel (Shin, KRISS).

The packaged ``kriss.json`` names the files at a pinned commit with their hashes, and freezes what was found
out about them: groups by stage position, the split, and where each fast scan lies in its slow one. The slow
scan is the reference and no truth: 300 times the dose, but 7 s of drift and charging.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath

from srbench.datasets.base import DatasetCard, ImportReport, Micrograph, Split
from srbench.datasets.download import Remote, RetryPolicy
from srbench.datasets.images.databar import crop_micrograph
from srbench.datasets.images.decode import BadImage, read_raw
from srbench.datasets.images.instrument import read_instrument
from srbench.datasets.images.registration import Registration, on_one_grid
from srbench.datasets.packed.source import PackedSource
from srbench.datasets.packed.writer import PackWriter
from srbench.datasets.registry import register_dataset
from srbench.utils.errors import DatasetError
from srbench.utils.files import parse_json, sha256_file
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent
from srbench.utils.typed_json import typed

URL_VARIABLE = "SRBENCH_KRISS_URL"
_DEFAULT_URL = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class ScanFile:
    """A file of the repository: its path, hash, and dwell time a pixel in seconds."""

    path: str
    sha256: str
    dwell_s: float


@dataclass(frozen=True)
class ScannedField:
    """A field that was scanned twice.

    Attributes:
        id: ``field-001``.
        group: fields whose stage positions are joined by steps below 4.2 um, which overlap.
        split: frozen, by group.
        stage_um: x and y of the stage.
        fast: the scan that is given.
        slow: the scan that is the reference.
        matrix: where the fast scan's pixels lie in the slow one, see :class:`Registration`; frames cut.
        correlation: of the two when this was measured.
    """

    id: str
    group: str
    split: Split
    stage_um: tuple[float, float]
    fast: ScanFile
    slow: ScanFile
    matrix: tuple[tuple[float, float, float], tuple[float, float, float]]
    correlation: float


@dataclass(frozen=True)
class PairCatalogue:
    """The packaged manifest: repository, pinned commit, frozen split and the fields by id."""

    version: str
    repository: str
    commit: str
    split_sha256: str
    fields: tuple[ScannedField, ...]

    @property
    def scans(self) -> tuple[ScanFile, ...]:
        """All files, fast and slow in turn."""
        return tuple(scan for field in self.fields for scan in (field.fast, field.slow))


@functools.cache
def catalogue() -> PairCatalogue:
    """The packaged manifest.

    Raises:
        DatasetError: its split is not the frozen one.
    """
    packaged = resources.files("srbench.datasets.sources").joinpath("kriss.json").read_bytes()
    manifest = typed(PairCatalogue, parse_json(packaged))
    lines = "".join(f"{field.id}\t{field.group}\t{field.split}\n" for field in manifest.fields)
    if hashlib.sha256(lines.encode()).hexdigest() != manifest.split_sha256:
        raise DatasetError("The split in kriss.json is not the frozen one; install srbench again.")
    return manifest


@register_dataset
class Kriss(PackedSource):
    """The fast and slow scans; see the module."""

    card = DatasetCard(
        name="kriss",
        title="KRISS fast and slow scans",
        kind="real",
        summary="50 fields of spheres, each scanned at 100 ns (given) and at 30 us a pixel (reference)",
        licence="MIT",
        terms="MIT, (c) 2023 Seoleuns Shin: copies of the images keep this notice.",
        citation="Shin, Applications of deep-learning-based denoising to SEM, Measurement Science and "
        "Technology, doi 10.1088/1361-6501/ad7e41",
        obtain=("fetch", "import"),
        urls=("https://github.com/seoleuns/SEMdenoising",),
        download_bytes=73_000_000,
        pairs=True,
    )

    def __init__(self, base_url: str | None = None, retry: RetryPolicy | None = None) -> None:
        """Prepare; nothing is read.

        Args:
            base_url: a mirror that serves ``<base>/<owner>/<repository>/<commit>/<path>``, instead of
                GitHub's raw files. Also ``$SRBENCH_KRISS_URL``.
            retry: how often and how long a download is tried.
        """
        self.base_url = base_url or os.environ.get(URL_VARIABLE) or _DEFAULT_URL
        self.retry = retry or RetryPolicy()

    @property
    def rules(self) -> str:  # type: ignore[override]
        """The version of the packaged manifest."""
        return catalogue().version

    def import_from(self, folder: Path, progress: ProgressCallback = silent) -> ImportReport:
        """Take the files from a copy of the repository, or of its folder ``Data`` or ``Data/time``.

        Raises:
            DatasetError: files are missing or are others; names them. Nothing has changed then.
        """
        if not folder.is_dir():
            raise DatasetError(f"{folder} is not a folder. Give the folder that holds Data/time of kriss.")
        scans = catalogue().scans
        parts = [PurePosixPath(scan.path).parts for scan in scans]
        tops = [[folder.joinpath(*path[skipped:]) for path in parts] for skipped in range(len(parts[0]) - 1)]
        files = max(tops, key=lambda paths: sum(path.is_file() for path in paths))
        missing = [scan.path for scan, file in zip(scans, files, strict=True) if not file.is_file()]
        self.refuse_missing(missing, len(scans), folder, "files")
        return self._pack(dict(zip((scan.path for scan in scans), files, strict=True)), progress)

    def fetch(self, progress: ProgressCallback = silent) -> ImportReport:
        """Download the files from the public repository at its pinned commit, then pack them.

        Raises:
            DatasetError: some files could not be had, or have other content; run it again to go on.
        """
        manifest = catalogue()
        root = f"{self.base_url.rstrip('/')}/{manifest.repository}/{manifest.commit}"
        files = {scan.path: self.downloads / PurePosixPath(scan.path).name for scan in manifest.scans}
        remotes = [Remote(f"{root}/{scan.path}", files[scan.path], scan.sha256) for scan in manifest.scans]
        return self.download_and_pack(remotes, lambda: self._pack(files, progress), progress)

    def _pack(self, files: Mapping[str, Path], progress: ProgressCallback) -> ImportReport:
        manifest = catalogue()
        images, problems, notes = [], [], {}
        with self.packing(f"GitHub: {manifest.repository}@{manifest.commit}") as writer:
            for done, field in enumerate(manifest.fields, start=1):
                try:
                    image, notes[field.id] = self._add(field, files, writer)
                    images.append(image)
                except BadImage as error:
                    problems.append(error)
                progress(ProgressEvent("import", done, len(manifest.fields), "fields"))
            self.refuse_unusable(problems, len(manifest.fields), "fields")
            writer.finish(images, notes=notes)
        return ImportReport(len(images), {}, self.folder)

    def _add(
        self, field: ScannedField, files: Mapping[str, Path], writer: PackWriter
    ) -> tuple[Micrograph, str]:
        """Pack a field; gives it and what was done to its pixels."""
        scans = []
        for scan in (field.fast, field.slow):
            path = files[scan.path]
            if sha256_file(path) != scan.sha256:
                raise BadImage(f"{path}: not the published file {scan.path}")
            scans.append(crop_micrograph(read_raw(path)[0]))
        fast, slow = scans
        pair = on_one_grid(fast.pixels, slow.pixels, 1, Registration(field.matrix, field.correlation))
        writer.add(field.id, pair.hr, lr=pair.lr, as_recorded=pair.as_recorded, registration=pair.alignment)
        facts = read_instrument(files[field.slow.path])
        manifest = catalogue()
        image = Micrograph(
            id=field.id,
            group=field.group,
            category="particles",
            split=field.split,
            height=pair.hr.shape[0],
            width=pair.hr.shape[1],
            licence=self.card.licence,
            source=f"{manifest.repository}@{manifest.commit[:12]}:{field.slow.path}",
            pixel_size_nm=facts.pixel_size_nm,
            pixel_size_source=facts.source,
        )
        return image, "; ".join((*slow.notes, pair.alignment.note))
