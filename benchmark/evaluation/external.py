"""Images that another program made: paired with HR by their names, brought to HR's grey levels, scored.

srbench saw neither the program nor what it was given. Such rows are marked as unguarded and are not ranked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from srbench import datasets, models
from srbench.config import EvaluationConfig
from srbench.datasets import Micrograph, MicrographSet
from srbench.datasets.base import ReadingOptions
from srbench.datasets.images.databar import image_region, without_databar
from srbench.datasets.images.decode import SUFFIXES, read_raw
from srbench.datasets.images.depth import Depth, common_depth
from srbench.datasets.images.raw import BadImage, RawImage, ValueRange
from srbench.datasets.images.walk import image_files
from srbench.datasets.lr_images import Entry
from srbench.datasets.sources.folder import pair_masks
from srbench.evaluation.evaluate import EvaluationSummary, evaluate_on
from srbench.evaluation.jobs import BASELINE, DEFAULT_SCALE, Job
from srbench.evaluation.reference_rows import ImageRow, NoImage
from srbench.models import ModelCard
from srbench.store import EXTERNAL, REFERENCES
from srbench.utils.errors import DatasetError, SrbenchError
from srbench.utils.files import sha256_file
from srbench.utils.image import to_eight_bits
from srbench.utils.processes import refuse_while_imported
from srbench.utils.progress import ProgressCallback, count_of, silent

_ENDING = re.compile(r"(?:\.(?:png|tiff?|jpe?g|bmp))?(?:$|x\d(?![^_-])|[_-].*[^\W\d_])", re.IGNORECASE)
"""What programs add to a name: ``_x4``, ``-SR``, ``.jpg_edsr_x4``, ``x4`` alone; numbers are other images."""
_SCALE = re.compile(r"(?:^|[_-])(?:x([1-8])|([1-8])x)(?![^_-])", re.IGNORECASE)
_NAMES_SHOWN = 5


def score(
    sr: str | os.PathLike[str],
    hr: str | os.PathLike[str],
    *,
    name: str | None = None,
    scale: int | None = None,
    degradation: str | None = None,
    protocol: str | None = None,
    metrics: Sequence[str] | None = None,
    results: str | os.PathLike[str] | None = None,
    previews: int = 6,
    force: bool = False,
    reading: ReadingOptions | None = None,
    progress: ProgressCallback = silent,
) -> EvaluationSummary:
    """Score the images that another program made, beside bicubic and nearest interpolation.

    An SR image belongs to the HR image whose name it has, alone or with an ending such as ``_SR``, ``_x4`` or
    ``_edsr_x4``. It has HR's size, or that of HR cut to a multiple of the scale, or that of HR's file with
    its databar, which is then cut as it was cut from HR. An HR image without such a partner gets rows without
    a value that say why. The runs are stored as those of ``srbench.evaluate`` for ``folder:<hr>``, split
    ``all``; the row of the program is marked as unguarded and is not ranked.

    Args:
        sr: folder with the program's images.
        hr: folder with the HR images.
        name: what the row is called; the name of the folder ``sr`` when None.
        scale: magnification; the one in the names of the SR files, else 4, when None.
        degradation: how srbench makes the LR images that metrics and previews need; what the program was
            given is not known; ``bicubic`` when None.
        protocol: what a number means; ``sem-grey`` when None.
        metrics: names of metrics; the default ones when None.
        results: results folder; the one of the srbench home when None.
        previews: images whose SR is kept for the report.
        force: score again what is already scored.
        reading: how the files of both folders are read.
        progress: told of every image, of what is not paired, and of what was done to pixels.

    Raises:
        DatasetError: no such folder, one inside the other, no usable HR image, or no SR image that belongs to
            one.
        SrbenchError: the name is that of a model of srbench, the names of the files say several scales, or no
            such degradation, protocol or metric.
    """
    refuse_while_imported("score")
    sr_folder, hr_folder = (Path(folder).expanduser().resolve() for folder in (sr, hr))
    for folder, words in ((sr_folder, "super-resolved"), (hr_folder, "HR")):
        if not folder.is_dir():
            raise DatasetError(f"{folder} is not a folder; expected the folder of the {words} images.")
    if sr_folder.is_relative_to(hr_folder):
        raise DatasetError(
            f"The SR images ({sr_folder}) lie in the folder of the HR images ({hr_folder}) and would be "
            "taken for HR; move them out of it."
        )
    model = row_name(sr_folder.name if name is None else name)
    reading = reading or ReadingOptions()
    micrographs = datasets.open(f"folder:{hr_folder}", reading, progress)
    files = list(image_files(sr_folder, leave_out=[hr_folder]))
    masks = pair_masks(files).files
    files = [file for file in files if PurePosixPath(file).suffix.lower() in SUFFIXES and file not in masks]
    refused = [file for file in micrographs.skipped if PurePosixPath(file).suffix.lower() in SUFFIXES]
    hr_files = dict.fromkeys(_file_and_page(image)[0] for image in micrographs.images)
    pairing = pair_by_name(files, list(hr_files), refused)
    if not pairing.of:
        raise DatasetError(_nothing_paired(sr_folder, hr_folder, files, pairing))
    chosen, words = _scale(scale, pairing)
    for line in (*pairing.remarks(), words):
        progress(f"Note: {line}")
    config = EvaluationConfig.of(
        {
            "scale": chosen,
            "split": "all",
            "degradation": degradation,
            "protocol": protocol,
            "metrics": metrics,
            "results": results,
            "previews": previews,
            "force": force,
            "reading": reading,
        }
    )
    images = _ExternalImages(sr_folder, pairing, micrographs, chosen, reading)
    # At magnification 1 nearest gives what bicubic gives: the image itself.
    baselines = (BASELINE, "nearest") if chosen > 1 else (BASELINE,)
    summary = evaluate_on(micrographs, baselines, config, progress, [images.row(model)])
    for line in images.notes():
        progress(f"Note: {line}")
    return summary


def row_name(text: str) -> str:
    """What a row is called in the store: letters, digits, ``_``, ``.`` and ``-`` of ``text``.

    Raises:
        SrbenchError: nothing is left of it, or it is what srbench calls one of its own rows.
    """
    name = re.sub(r"[^\w.-]+", "_", text).strip("_.-")
    if not name:
        raise SrbenchError(f"No row can be called {text!r}; give --name with letters or digits.")
    if name in (*models.model_names(), *REFERENCES):
        raise SrbenchError(
            f"{name} is what srbench calls a row of its own; give the other program's row another name, as "
            f"--name {name}_other (name={name + '_other'!r})."
        )
    return name


@dataclass(frozen=True)
class Pairing:
    """Which file is the super-resolved form of which HR image.

    Attributes:
        of: HR image to SR file.
        without: HR image to the reason why it has none.
        unpaired: SR files that belong to no HR image.
        refused: SR files of HR images that cannot be used.
        endings: what follows the name of the HR image in the names of the paired files.
    """

    of: Mapping[str, str]
    without: Mapping[str, str]
    unpaired: tuple[str, ...]
    refused: tuple[str, ...]
    endings: frozenset[str]

    def remarks(self) -> list[str]:
        """One line of what was paired, and one for each kind of what was not."""
        endings = ", ".join(sorted(ending for ending in self.endings if ending))
        lines = [f"{len(self.of)} SR images paired with HR by name" + (f" ({endings})" if endings else "")]
        by_reason: dict[str, list[str]] = {}
        for image, reason in self.without.items():
            by_reason.setdefault(reason, []).append(image)
        lines += [f"not scored, {reason}: {_listed(images)}" for reason, images in by_reason.items()]
        if self.unpaired:
            lines.append(f"not scored, no HR image of this name: {_listed(self.unpaired)}")
        if self.refused:
            lines.append(f"not scored, their HR images cannot be used: {_listed(self.refused)}")
        return lines


def pair_by_name(files: Iterable[str], images: Sequence[str], refused: Sequence[str] = ()) -> Pairing:
    """Pair SR files with HR images by their relative names with forward slashes.

    The longest name of an HR image that a file begins with decides; where several HR images have it, the one
    in the same sub-folder, then the one with the same suffix. What fits several is left out and named.

    Args:
        files: SR files.
        images: HR images.
        refused: HR images that cannot be used; what is theirs belongs to no other.
    """
    by_stem: dict[str, list[str]] = {}
    for image in images:
        for stem in _stems(image):
            by_stem.setdefault(stem, []).append(image)
    for image in refused:
        for stem in _stems(image):
            by_stem.setdefault(stem, [image])
    partners: dict[str, list[str]] = {image: [] for image in (*images, *refused)}
    without = dict.fromkeys(images, "no SR image of this name")
    endings: dict[str, str] = {}
    unpaired = []
    for file in files:
        path = PurePosixPath(file)
        ends = [
            end
            for end in range(1, len(path.stem) + 1)
            if path.stem[:end] in by_stem and _ENDING.match(path.stem, end)
        ]
        if not ends:
            unpaired.append(file)
            continue
        candidates, endings[file] = by_stem[path.stem[: ends[-1]]], path.stem[ends[-1] :]
        alike = [image for image in candidates if PurePosixPath(image).parent == path.parent] or candidates
        exact = [image for image in alike if PurePosixPath(image).name == path.name] or alike
        if len(exact) == 1:
            partners[exact[0]].append(file)
            continue
        for image in exact:
            without[image] = (
                f"{file} may belong to each of {_listed(exact)}; use the sub-folders of HR for SR"
            )
    for image in images:
        if len(several := partners[image]) > 1:
            without[image] = f"several SR images of its name ({_listed(several)}); keep one program a folder"
    of = {image: partners[image][0] for image in images if len(partners[image]) == 1}
    return Pairing(
        of,
        {image: reason for image, reason in without.items() if image not in of},
        tuple(unpaired),
        tuple(file for image in refused for file in partners[image]),
        frozenset(endings[file] for file in of.values()),
    )


def _stems(image: str) -> set[str]:
    """What its SR file may begin with: ``a.tif`` may have become ``a_x4.png`` or ``a.tif_x4.png``."""
    path = PurePosixPath(image)
    return {path.stem, path.name}


def _scale(given: int | None, pairing: Pairing) -> tuple[int, str]:
    """The magnification, and a line that says why it is this one."""
    matches = [match for ending in pairing.endings if (match := _SCALE.search(ending))]
    named = {int(match[1] or match[2]) for match in matches}
    if given is not None:
        contradicts = bool(named) and named != {given}
        words = f"scale {given}" + (f", though names say x{min(named)}" if contradicts else "")
        return given, words
    if len(named) > 1:
        scales = ", ".join(f"x{scale}" for scale in sorted(named))
        raise SrbenchError(f"The names of the SR files say {scales}; give --scale N, or one scale a folder.")
    if named:
        (scale,) = named
        return scale, f"scale {scale}, by the names of the SR files; --scale N for another"
    return DEFAULT_SCALE, f"scale {DEFAULT_SCALE}, which nothing says; --scale N for another"


def _nothing_paired(sr: Path, hr: Path, files: Sequence[str], pairing: Pairing) -> str:
    if not files:
        return f"{sr} holds no PNG, TIFF, JPEG or BMP files; expected the super-resolved images of {hr}."
    reasons = "; ".join(dict.fromkeys(pairing.without.values()))
    return (
        f"No file of {sr} ({_listed(files)}) belongs to an image of {hr} "
        f"({_listed(list(pairing.without))}): {reasons}. Name each SR file as its HR file, alone or with an "
        "ending as _x4 or _SR."
    )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


class _ExternalImages:
    """The paired images of one folder, each read when it is scored."""

    def __init__(
        self,
        folder: Path,
        pairing: Pairing,
        micrographs: MicrographSet,
        scale: int,
        reading: ReadingOptions,
    ) -> None:
        self.folder = folder
        self.pairing = pairing
        self.micrographs = {image.id: image for image in micrographs.images}
        self.scale = scale
        self.reading = reading
        self._notes: Counter[str] = Counter()

    def row(self, name: str) -> ImageRow:
        """The row under this name; its identity is that of the files."""
        digest = hashlib.sha256(f"significant bits {self.reading.bits}\n".encode())
        for image, file in sorted(self.pairing.of.items()):
            line = f"{image}\t{sha256_file(self.folder / file)}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        card = ModelCard(
            name,
            name,
            EXTERNAL,
            paper="",
            year=0,
            scales=(),
            variants=(EXTERNAL,),
            trainable=False,
            summary="Images that another program made; srbench saw neither it nor what it was given.",
            licence="",
        )
        job = Job(
            name,
            EXTERNAL,
            card,
            weights=self.folder,
            sha256=digest.hexdigest(),
            notes=("Made outside srbench, which does not know the LR images that the program was given.",),
        )
        return ImageRow(job, self.image, self.notes)

    def image(self, entry: Entry) -> NDArray[np.uint8]:
        """SR ``(H, W)`` of one image, cut as its HR image is.

        Raises:
            NoImage: there is no file, it cannot be read, or it has another size.
        """
        image = self.micrographs[entry.image]
        hr_file, page = _file_and_page(image)
        if hr_file in self.pairing.without:
            raise NoImage(self.pairing.without[hr_file])
        file = self.pairing.of[hr_file]
        try:
            pages = read_raw(self.folder / file, pages="all" if page else "first")
            if page >= len(pages):
                raise BadImage(f"{count_of(len(pages), 'page')}, expected page {page + 1}")
            pixels, notes = self.depth.grey(self._cut_like_hr(pages[page], image, page))
        except BadImage as error:
            raise NoImage(f"{file}: {str(error).removeprefix(f'{self.folder / file}: ')}") from error
        self._notes.update(note.partition(":")[0] for note in notes)
        return to_eight_bits(pixels[: entry.height * self.scale, : entry.width * self.scale])

    def notes(self) -> list[str]:
        """What was done to the pixels of the images read so far, one line a kind."""
        return [f"SR: {kind}: {count_of(count, 'image')}" for kind, count in self._notes.most_common()]

    @cached_property
    def depth(self) -> Depth:
        """That of the SR files; HR's where both store more than 8 bits and the SR files stay below its white.

        A program may give a dark image of 12 bits back with values that would fit into 10.
        """
        ranges = self._ranges(self.folder / file for file in self.pairing.of.values())
        sr = common_depth(ranges)
        if sr.bits <= 8:
            return sr
        sources = dict.fromkeys(Path(image.source) for image in self.micrographs.values())
        hr = common_depth(self._ranges(sources), self.reading.bits)
        if sr.bits >= hr.bits:
            return sr
        return replace(common_depth(ranges, hr.bits), note=f"{hr.bits} significant bits: those of HR")

    def _ranges(self, paths: Iterable[Path]) -> list[ValueRange]:
        """What the numbers of the files span, as for the dataset of a folder: without databars."""
        ranges = []
        for path in paths:
            with contextlib.suppress(BadImage):  # its reason is said where it is scored
                images = read_raw(path, pages=self.reading.pages)
                deep = (without_databar(image) for image in images if image.array.dtype.itemsize > 1)
                ranges += [values for image in deep if (values := image.range).low < values.high]
        return ranges

    def _cut_like_hr(self, sr: RawImage, image: Micrograph, page: int) -> RawImage:
        """Cut as the databar and the frame of the HR file were, where the SR image still has them.

        Raises:
            BadImage: it has neither the size of the HR image nor that of its file.
        """
        if self._fits(sr, (image.height, image.width)):
            return sr
        hr = read_raw(Path(image.source), pages="all" if page else "first")[page]
        rows, columns = hr.array.shape[:2]
        if self._fits(sr, (rows, columns)):
            region = image_region(hr)
            cut = replace(sr, array=sr.array[region.rows, region.columns])
            needed = (side - side % self.scale for side in (image.height, image.width))
            if all(side >= least for side, least in zip(cut.array.shape[:2], needed, strict=True)):
                return replace(cut, notes=(*sr.notes, "cut as the HR file was"))
        height, width = sr.array.shape[:2]
        message = (
            f"{width}x{height} px, HR {image.width}x{image.height} px: expected that size, or it cut to a "
            f"multiple of the scale {self.scale}"
        )
        if (rows, columns) != (image.height, image.width):
            message += (
                f", or that of the HR file with its databar, {columns}x{rows} px (srbench infer keeps it "
                "with --databar keep)"
            )
        raise BadImage(message)

    def _fits(self, raw: RawImage, size: tuple[int, int]) -> bool:
        """Whether it is of this size, or of this size cut to a multiple of the scale."""
        sides = zip(raw.array.shape[:2], size, strict=True)
        return all(side in (full, full - full % self.scale) for side, full in sides)


def _file_and_page(image: Micrograph) -> tuple[str, int]:
    """The HR file of an image, as paired, and which of its pages it is, from 0."""
    if PurePosixPath(image.id).name == Path(image.source).name:
        return image.id, 0
    file, _, number = image.id.rpartition("#")
    return file, int(number) - 1
