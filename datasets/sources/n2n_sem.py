"""``n2n_sem``: fields scanned again and again at growing dwell times (Buchholz et al.).

The archive ``SEM.zip`` holds ``SEM/train.tif`` and ``SEM/test.tif``, each one field with seven pages. The
last page, the average of four slow scans, is the HR image; the others are its acquisitions in the order of
the pages, 0 the fastest. They are packed as they are, neither moved nor resampled. Any other TIFF with
several pages is a field as well, and so is a folder of single-page TIFFs of one size; with other than seven
pages dwell times are unknown, and the HR image is the page with the least noise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from srbench.datasets.base import DatasetCard, ImportReport, Micrograph, Split
from srbench.datasets.download import Remote, RetryPolicy
from srbench.datasets.images.archives import image_names, read_images
from srbench.datasets.images.decode import BadImage, read_header
from srbench.datasets.images.stack import Stack, decode_stack, noise_level, noise_residual, shift_between
from srbench.datasets.packed.format import PackedSet
from srbench.datasets.packed.source import PackedSource
from srbench.datasets.packed.writer import PackWriter
from srbench.datasets.registry import register_dataset
from srbench.utils.errors import DatasetError
from srbench.utils.files import hash_file
from srbench.utils.image import Pixels
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

URL_VARIABLE = "SRBENCH_N2N_SEM_URL"
ARCHIVE = "SEM.zip"
SHA256 = "03aca31eac4d00a8381577579de2d48b98c77bab91e2f8f925999ec3252d0dac"
_URL = f"https://download.fht.org/jug/n2n/{ARCHIVE}"
_TIFF = frozenset({".tif", ".tiff"})
# Dwell time in us and number of scans averaged, by page: not in the files but from teaching material of the
# group that published them, hence ``confirmed: false`` in the truth.
_PAGES = ((0.2, 1), (0.5, 1), (1.0, 1), (1.0, 1), (2.1, 1), (5.0, 1), (5.0, 4))
_FARTHEST = 32
"""Pixels by which a scan may lie beside the HR image and still be moved onto it."""
_SHARED = 0.25
"""By how much more the best scan may correlate with HR in its noise than the next one does: one of four scans
averaged in HR has 0.5 more."""


class N2nSemSet(PackedSet):
    """The opened fields, with a second recording of each HR image."""

    def __init__(self, folder: Path, card: DatasetCard) -> None:
        super().__init__(folder, card)
        self._seconds: dict[str, Pixels | None] = {}

    def second(self, image_id: str) -> Pixels | None:
        """The scan with the least noise, moved onto HR by the shift of the whole field.

        Where it seems to be one of those averaged in HR, which is not published, the next one. None where
        the field lies more than 32 px away.
        """
        if image_id not in self._seconds:
            self._seconds[image_id] = self._find_second(image_id)
        return self._seconds[image_id]

    def _find_second(self, image_id: str) -> Pixels | None:
        truth, reference = self.truth(image_id) or {}, self.pixels(image_id)
        best = sorted(truth.get("acquisitions", ()), key=lambda scan: float(scan["noise_grey_levels"]))[:2]
        scans = [self.acquisition(image_id, int(scan["index"])) for scan in best]
        moved = [_moved_onto(reference, scan) for scan in scans if scan is not None]
        of_hr = noise_residual(reference).ravel()
        first, *others = [
            0.0 if scan is None else float(np.corrcoef(of_hr, noise_residual(scan).ravel())[0, 1])
            for scan in moved
        ]
        return moved[1] if others and first > others[0] + _SHARED else moved[0]


def _moved_onto(reference: Pixels, scan: Pixels) -> Pixels | None:
    """A scan moved onto the reference by a phase ramp, which leaves every power as it is."""
    from scipy import fft
    from scipy.ndimage import fourier_shift, gaussian_filter
    from skimage.registration import phase_cross_correlation

    window = np.outer(*map(np.hanning, reference.shape))
    smooth = [gaussian_filter(image.astype(np.float64), 1.5) for image in (reference, scan)]
    # Without whitening: the many fine frequencies of a fast scan are noise.
    shift = phase_cross_correlation(
        *((image - image.mean()) * window for image in smooth), upsample_factor=50, normalization=None
    )[0]
    if np.abs(shift).max() > _FARTHEST:
        return None
    padded = np.pad(scan.astype(np.float64), _FARTHEST, mode="reflect")
    moved = fft.ifft2(fourier_shift(fft.fft2(padded), shift)).real
    inside = moved[_FARTHEST:-_FARTHEST, _FARTHEST:-_FARTHEST].clip(0, np.iinfo(scan.dtype).max)
    on_reference = np.empty_like(scan)
    on_reference[:] = np.floor(inside + 0.5)
    return on_reference


@register_dataset
class N2nSem(PackedSource):
    """Repeated scans at growing dwell times; see the module."""

    card = DatasetCard(
        name="n2n_sem",
        title="Noise2Noise SEM",
        kind="real",
        summary="two fields, each scanned seven times at growing dwell times: real noise and its ceiling",
        licence="CC-BY-4.0",
        citation="Buchholz, Krull, Shahidi, Pigino, Jekely and Jug, Content-aware image restoration for "
        "electron microscopy, Methods in Cell Biology 152, 277-289",
        obtain=("fetch", "import"),
        urls=(_URL,),
        terms="CC-BY-4.0: name the authors when you show or pass on the images.",
        download_bytes=172_700_000,
    )

    def __init__(self, url: str | None = None, retry: RetryPolicy | None = None) -> None:
        """Prepare; nothing is read.

        Args:
            url: of a copy of the archive. Also ``$SRBENCH_N2N_SEM_URL``.
            retry: how often and how long a download is tried.
        """
        self.url = url or os.environ.get(URL_VARIABLE) or _URL
        self.retry = retry or RetryPolicy()

    def open(self, argument: str | None = None) -> N2nSemSet:
        """Open the packed fields; see :class:`PackedSource`."""
        return N2nSemSet(super().open(argument).folder, self.card)

    def import_from(self, folder: Path, progress: ProgressCallback = silent) -> ImportReport:
        """Take the fields from the archive, from a folder that holds it, or from a folder of TIFF files.

        Raises:
            DatasetError: no field is there; says what is. Nothing has changed then.
        """
        if not folder.exists():
            raise DatasetError(f"{folder} is not there. Give {ARCHIVE} or a folder with its TIFF files.")
        if folder.is_dir() and (folder / ARCHIVE).is_file():
            folder = folder / ARCHIVE
        source = "a folder"
        if not folder.is_dir():
            sha256 = hash_file(folder).result.sha256
            source = f"{folder.name} (sha256 {sha256})"
            if sha256 != SHA256:
                progress(f"{folder.name} is not the published file: sha256 {sha256[:12]}")
        return self._pack(folder, source, progress)

    def fetch(self, progress: ProgressCallback = silent) -> ImportReport:
        """Download the archive and pack it; goes on where an earlier call stopped.

        Raises:
            DatasetError: it cannot be had, or is another file.
        """
        archive = self.downloads / ARCHIVE

        def pack() -> ImportReport:
            return self._pack(archive, f"{_URL} (sha256 {SHA256})", progress)

        return self.download_and_pack([Remote(self.url, archive, SHA256)], pack, progress)

    def _pack(self, container: Path, source: str, progress: ProgressCallback) -> ImportReport:
        skipped: dict[str, str] = {}
        names = image_names(container, skipped, _TIFF)
        images = []
        with self.packing(source) as writer:
            for done, field in enumerate(_fields(container, names, skipped), start=1):
                try:
                    images.append(self._add(field, writer, progress))
                except BadImage as error:
                    skipped[field.name] = str(error)
                progress(ProgressEvent("import", done, None, "images"))
            if not images:
                listed = "\n".join(f"  {name}: {reason}" for name, reason in sorted(skipped.items())[:10])
                raise DatasetError(
                    f"No field with several scans in {container}: expected SEM/train.tif and SEM/test.tif "
                    f"with seven pages each. TIFF files found: {', '.join(names[:10]) or 'none'}.\n{listed}\n"
                    "Nothing was changed."
                )
            writer.finish(images, skipped=skipped)
        return ImportReport(len(images), skipped, self.folder)

    def _add(self, field: _Field, writer: PackWriter, progress: ProgressCallback) -> Micrograph:
        stack = decode_stack(field.files)
        if len(stack.pages) < 2:
            raise BadImage("a single page; expected several scans of the field")
        noise = [noise_level(page) for page in stack.pages]
        is_published = field.several_pages and len(stack.pages) == len(_PAGES)
        reference = len(_PAGES) - 1 if is_published else noise.index(min(noise))
        if noise[reference] > min(noise):
            progress(
                f"{field.name}: page {reference} is taken as HR image, though page "
                f"{noise.index(min(noise))} has less noise"
            )
        scans = [page for page in range(len(stack.pages)) if page != reference]
        truth = _truth(stack, reference, scans, noise, _PAGES if is_published else None)
        pixels = stack.pages[reference]
        writer.add(field.name, pixels, acquisitions=(stack.pages[page] for page in scans), truth=truth)
        return Micrograph(
            id=field.name,
            group=field.name,
            category="repeated scans",
            split=_split(field.name),
            height=pixels.shape[0],
            width=pixels.shape[1],
            bits=pixels.dtype.itemsize * 8,
            licence=self.card.licence,
            source=field.name,
        )


@dataclass(frozen=True)
class _Field:
    """One field: its name and the files that hold its scans; ``several_pages``: all in one file."""

    name: str
    files: tuple[bytes, ...]
    several_pages: bool


def _fields(container: Path, names: list[str], skipped: dict[str, str]) -> Iterator[_Field]:
    """Files with several pages one by one, then the folders of files with one."""
    singles: dict[str, list[tuple[str, bytes]]] = {}
    for name, data in read_images(container, names, _TIFF):
        try:
            if isinstance(data, Exception):
                raise BadImage(str(data))
            pages = read_header(data).pages
        except BadImage as error:
            skipped[name] = str(error)
            continue
        if pages > 1:
            yield _Field(name.rpartition(".")[0], (data,), several_pages=True)
        else:
            singles.setdefault(name.rpartition("/")[0] or ".", []).append((name, data))
    for folder, files in sorted(singles.items()):
        yield _Field(folder, tuple(data for _, data in sorted(files)), several_pages=False)


def _truth(
    stack: Stack,
    reference: int,
    scans: list[int],
    noise: list[float],
    dwell: tuple[tuple[float, int], ...] | None,
) -> Mapping[str, Any]:
    def described(page: int) -> dict[str, Any]:
        microseconds, averaged = dwell[page] if dwell else (None, None)
        return {
            "page": page,
            "dwell_us": microseconds,
            "scans_averaged": averaged,
            "noise_grey_levels": round(noise[page], 3),
        }

    def shifted(page: int) -> dict[str, Any]:
        shift = asdict(shift_between(stack.pages[reference], stack.pages[page]))
        return {name: round(value, 3 if name == "response" else 2) for name, value in shift.items()}

    return {
        "dwell_times": {"known": dwell is not None, "confirmed": False},
        "scaling": stack.scaling,
        "hr": described(reference),
        "acquisitions": [
            {"index": index, **described(page), "shift_px": shifted(page)} for index, page in enumerate(scans)
        ],
    }


def _split(name: str) -> Split:
    last = name.rpartition("/")[2].lower()
    if "test" in last:
        return "test"
    return "val" if "val" in last else "train"
