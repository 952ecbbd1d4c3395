"""``pairs:PATH``: a user's own fast and slow scans, or LR and HR, of the same fields, registered when opened.

The reference is warped onto the grid of LR, which is never resampled. Pairs that do not fit are left out, by
name and with the reason. The slow scan is a reference and no truth.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from srbench.datasets.base import DatasetCard, Micrograph, ReadingOptions, Split
from srbench.datasets.images.databar import crop_micrograph, decode_micrograph
from srbench.datasets.images.decode import SUFFIXES, refuse_blank
from srbench.datasets.images.instrument import read_instrument
from srbench.datasets.images.pairs import Matched, folders_of_fields, match_by_name
from srbench.datasets.images.raw import BadImage
from srbench.datasets.images.registration import (
    LEFT_OUT,
    Alignment,
    RegisteredPair,
    binned,
    on_one_grid,
    register,
    with_second,
)
from srbench.datasets.images.stack import noise_level
from srbench.datasets.near_duplicates import Descriptors, Thumbnail, cluster, descriptor, thumbnail
from srbench.datasets.packed.writer import PackWriter
from srbench.datasets.registry import register_dataset
from srbench.datasets.sources.folder import pair_masks
from srbench.datasets.sources.user_folder import (
    SPLIT_FOLDERS,
    RawFiles,
    UserFolder,
    is_list,
    nothing_usable,
    read_labels,
)
from srbench.datasets.splits import check_groups, split_groups
from srbench.utils.errors import DatasetError
from srbench.utils.image import Pixels
from srbench.utils.parallel import ProcessPool
from srbench.utils.progress import ProgressEvent
from srbench.utils.text import id_to_name, name_to_id, printable

LARGEST_SCALE = 8
_RESIDUAL_PX = 1.0
_LEAST_OVERLAP = 0.6
# Sides may differ from a whole ratio by this share: a frame or a databar is cut off one of them.
_RATIO_TOLERANCE = 0.06
# Pixel sizes that both files tell agree with a whole ratio to this share.
_SIZE_TOLERANCE = 0.03
_LOOKED_AT = 8
# Laid over each other, recordings of one field correlate by so much: scans of kriss by 0.995 and more.
_SAME_FIELD = 0.9
_SMALL = 256
# Pairs a process: fewer are registered sooner than another process has started.
_PAIRS_A_PROCESS = 8


@register_dataset
class Pairs(UserFolder):
    """The user's own recorded pairs.

    ``pairs:/path`` holds folders such as ``lr`` and ``hr``, or ``fast`` and ``slow``, anywhere below it
    (:func:`match_by_name`), and perhaps second scans of the same fields in ``hr2``, ``slow2`` or ``repeat``.
    The scale follows from the sizes of the files, or from the pixel sizes that both tell; 1 is one. Files are
    read as those of ``folder:``, all by one depth, databars cut.

    Folders ``train``, ``val`` and ``test`` are the splits where there are some. Groups are those of
    ``groups.csv`` (which names references), else references that show a field again, or overlap by the stage
    positions that the files tell, are one, and groups are split by a hash of their names.
    """

    card = DatasetCard(
        name="pairs",
        title="Your pairs",
        kind="user",
        summary="your own LR and HR, or fast and slow scans, of the same fields: pairs:/path/to/them",
        licence="yours",
        obtain=("path",),
        pairs=True,
    )
    rules = "1"

    def read_with(self, options: ReadingOptions) -> Pairs:
        """The same folder, read with these options.

        Raises:
            DatasetError: every page of a file is wanted.
        """
        if options.pages == "all":
            raise DatasetError(
                "Pairs are read from the first page of each file; leave --pages all away, or save the pages "
                "as files of their own."
            )
        return super().read_with(options)

    def split_of(self, file: str) -> Split | None:
        """The split that the first folder says which does not say lr or hr."""
        first = next(iter(folders_of_fields(file)), "")
        return SPLIT_FOLDERS.get(first.lower())

    def pack(self, files: Sequence[str], writer: PackWriter) -> None:
        """See :class:`UserFolder`."""
        root, options = self.root, self.options
        labels = read_labels(root, frozenset(files))
        masks = pair_masks(files)
        skipped = dict.fromkeys(masks.files, "a mask: masks are not read beside pairs")
        others = [file for file in files if file not in masks.files and not is_list(file)]
        images = [file for file in others if PurePosixPath(file).suffix.lower() in SUFFIXES]
        skipped |= dict.fromkeys(set(others) - set(images), "not a PNG, TIFF, JPEG or BMP file by its name")
        matched = match_by_name(images)
        skipped |= matched.alone
        if not matched.lr:
            raise DatasetError(_nothing_matched(root, images))
        recordings = _Recordings(self, matched)
        skipped |= recordings.left_out
        if any(map(self.split_of, matched.lr)):
            outside = [hr for hr in matched.lr if self.split_of(hr) is None]
            skipped |= dict.fromkeys(outside, "outside of the folders train, val and test")
        pairs = sorted(hr for hr in matched.lr if hr not in skipped)
        micrographs: list[Micrograph] = []
        notes: dict[str, str] = {}
        appearances: list[_Appearance] = []
        count = min(os.cpu_count() or 1, max(len(pairs) // _PAIRS_A_PROCESS, 1))
        with ProcessPool(_registered, count) as pool:
            for hr, outcome in pool.map(recordings.jobs(pairs, skipped)):
                self.progress(ProgressEvent("register", pairs.index(hr) + 1, len(pairs), "pairs"))
                if isinstance(outcome, str):
                    skipped[hr] = f"{LEFT_OUT}: {outcome}"
                    continue
                if outcome.without_second:
                    skipped[matched.second[hr]] = f"{LEFT_OUT}: {outcome.without_second}"
                pair = outcome.pair
                writer.add(
                    hr,
                    pair.hr,
                    lr=pair.lr,
                    second=outcome.second,
                    as_recorded=None if outcome.second is not None else pair.as_recorded,
                    registration=pair.alignment,
                )
                appearances.append(_Appearance.of(pair.hr, recordings.stage(hr)))
                notes[hr] = "; ".join((*outcome.notes, pair.alignment.note))
                folders = folders_of_fields(hr)[self.split_of(hr) is not None :]
                size_nm, source = recordings.pixel_size(hr)
                micrographs.append(
                    Micrograph(
                        id=hr,
                        group=labels.groups.get(hr, ""),
                        category=labels.categories.get(hr) or (folders or [name_to_id(root.name)])[-1],
                        split=self.split_of(hr) or "test",
                        height=pair.hr.shape[0],
                        width=pair.hr.shape[1],
                        bits=8 * pair.hr.dtype.itemsize,
                        source=printable(str(root / id_to_name(hr))),
                        pixel_size_nm=size_nm,
                        pixel_size_source=source,
                        measure=options.measure,
                    )
                )
        if not micrographs:
            raise nothing_usable(root, skipped)
        micrographs = _grouped(micrographs, appearances, notes)
        if not any(map(self.split_of, pairs)):
            by_hash = split_groups(image.group for image in micrographs)
            micrographs = [replace(image, split=by_hash[image.group]) for image in micrographs]
        check_groups(micrographs)
        writer.finish(micrographs, skipped=skipped, notes=notes)


@dataclass(frozen=True)
class _Job:
    """What one process is given: the recordings of a field, ``(H, W)`` each, and what was done to them."""

    lr: Pixels
    hr: Pixels
    second: Pixels | None
    scale: int
    rows: bool
    bound_px: float
    size_nm: float | None
    notes: tuple[str, ...]

    def beyond(self, alignment: Alignment) -> str:
        """Why recordings are left out for what registration left; empty where it is within the bound."""
        if alignment.residual_px <= self.bound_px:
            return ""
        left, bound = (
            f"{length:.2g} px" + (f" ({length * self.size_nm:.2g} nm)" if self.size_nm else "")
            for length in (alignment.residual_px, self.bound_px)
        )
        return f"registration leaves {left}, more than {bound}; --residual sets another bound"


@dataclass(frozen=True)
class _Outcome:
    """A field on one grid; ``without_second`` says why its second scan could not be used."""

    pair: RegisteredPair
    second: Pixels | None
    without_second: str
    notes: tuple[str, ...]


def _registered(job: _Job) -> _Outcome | str:
    """The recordings of a field on one grid, or the reason why they cannot be used."""
    try:
        registration = register(job.lr, job.hr, job.scale, rows=job.rows)
        pair = on_one_grid(job.lr, job.hr, job.scale, registration)
        if pair.alignment.overlap < _LEAST_OVERLAP:
            return (
                f"{_overlap(pair)} of the LR image is in the reference too, {_LEAST_OVERLAP:.0%} are needed"
            )
    except BadImage as error:
        return str(error)
    if reason := job.beyond(pair.alignment):
        return reason
    if np.array_equal(pair.lr, pair.hr):
        return "LR and the reference are the same picture"
    if job.second is None:
        return _Outcome(pair, None, "", job.notes)
    try:
        both, second, alignment = with_second(pair, job.second, job.scale, rows=job.rows)
    except BadImage as error:
        return _Outcome(pair, None, str(error), job.notes)
    reason = job.beyond(alignment)
    if both.alignment.overlap < _LEAST_OVERLAP:
        reason = (
            f"{_overlap(both)} of the LR image is in its second scan too, {_LEAST_OVERLAP:.0%} are needed"
        )
    return _Outcome(pair, None, reason, job.notes) if reason else _Outcome(both, second, "", job.notes)


def _overlap(pair: RegisteredPair) -> str:
    return f"{pair.alignment.overlap:.0%}"


class _Recordings:
    """The recordings of a folder of pairs.

    Attributes:
        scale: sides of the references over those of LR, of most pairs.
        left_out: files that cannot be used, with the reason.

    Raises:
        DatasetError: LR and HR, or fast and slow, have changed places.
    """

    def __init__(self, folder: Pairs, matched: Matched) -> None:
        self._root = folder.root
        self._options = folder.options
        self._matched = matched
        self._raw = RawFiles(self._root, "first", folder.progress)
        files = sorted({*matched.lr, *matched.lr.values(), *matched.second.values()})
        survey = self._raw.survey(files, self._options.bits)
        self._depth, self._sizes = survey.depth, survey.sizes
        self._facts = {file: read_instrument(self._path(file)) for file in survey.sizes}
        self.left_out = dict(survey.refused)
        for hr, lr in matched.lr.items():
            if lr in survey.refused and hr not in survey.refused:
                self.left_out[hr] = f"{LEFT_OUT}: its LR image cannot be read"
        self.scale = self._scale()
        self._refuse_swapped()

    def jobs(self, pairs: Iterable[str], skipped: dict[str, str]) -> Iterator[tuple[str, _Job]]:
        """What is to be registered; what cannot be is put into ``skipped``."""
        for hr in pairs:
            lr, second = self._matched.lr[hr], self._matched.second.get(hr)
            try:
                (low, notes), (high, more) = self._read(lr), self._read(hr)
            except BadImage as error:
                skipped[hr] = f"{LEFT_OUT}: {error}"
                continue
            again = None
            if second is not None and second not in self.left_out:
                try:
                    again = self._read(second)[0]
                except BadImage as error:
                    skipped[second] = f"{LEFT_OUT}: {error}"
            size_nm, bound_px = self.pixel_size(hr)[0], self._options.residual_px or _RESIDUAL_PX
            if self._options.residual_nm is not None:
                if size_nm is None:
                    skipped[hr] = (
                        f"{LEFT_OUT}: a bound in nm, and its pixel size is not known: --pixel-size-nm"
                    )
                    continue
                bound_px = self._options.residual_nm / size_nm
            low, high, again = _of_one_depth(low, high, again)
            lines = tuple(dict.fromkeys((*notes, *more, *self._facts[hr].notes)))
            yield hr, _Job(low, high, again, self.scale, self._options.rows, bound_px, size_nm, lines)

    def stage(self, hr: str) -> tuple[float, float] | None:
        """Where the stage was, in um."""
        of_hr, of_lr = self._facts[hr].stage_um, self._facts[self._matched.lr[hr]].stage_um
        return of_lr if of_hr is None else of_hr

    def pixel_size(self, hr: str) -> tuple[float | None, str]:
        """Side of a pixel of the reference in nm, and who says so."""
        if self._options.pixel_size_nm is not None:
            return self._options.pixel_size_nm, "as given"
        of_hr, of_lr = self._facts[hr], self._facts[self._matched.lr[hr]]
        if of_hr.pixel_size_nm is not None or of_lr.pixel_size_nm is None:
            return of_hr.pixel_size_nm, of_hr.source
        return of_lr.pixel_size_nm / self.scale, f"{of_lr.source} of LR"

    def _path(self, file: str) -> Path:
        return self._root / id_to_name(file)

    def _read(self, file: str) -> tuple[Pixels, tuple[str, ...]]:
        try:
            cropped = crop_micrograph(self._raw.read(file)[0], self._depth)
            refuse_blank(cropped.pixels)
        except BadImage as error:
            raise BadImage(f"{file}: {error}") from error
        return cropped.pixels, cropped.notes

    def _scale(self) -> int:
        """The scale of most pairs; the others are left out."""
        ratios: dict[str, float] = {}
        for hr, lr in self._matched.lr.items():
            if hr in self.left_out:
                continue
            sizes = [self._facts[file].pixel_size_nm for file in (lr, hr)]
            ratio = self._sizes[hr][1] / self._sizes[lr][1]
            if self._options.pixel_size_nm is None and sizes[0] is not None and sizes[1] is not None:
                by_size = sizes[0] / sizes[1]
                ratio = by_size if abs(by_size / max(round(by_size), 1) - 1) <= _SIZE_TOLERANCE else ratio
            ratios[hr] = ratio
        swapped = [hr for hr, ratio in ratios.items() if ratio < 1 / (1 + 4 * _RATIO_TOLERANCE)]
        if len(swapped) > len(ratios) / 2:
            lr = self._matched.lr[swapped[0]]
            raise DatasetError(
                f"{self._root}: LR is larger than HR ({self._words(lr)}, {self._words(swapped[0])} and so "
                "on): the two have changed places. Rename their folders."
            )
        scales = {
            hr: round(ratio)
            for hr, ratio in ratios.items()
            if 1 <= round(ratio) <= LARGEST_SCALE and abs(ratio / round(ratio) - 1) <= _RATIO_TOLERANCE
        }
        scale = Counter(scales.values()).most_common(1)[0][0] if scales else 1
        for hr in ratios:
            if scales.get(hr) != scale:
                sizes_in_words = f"{self._words(self._matched.lr[hr])} and {self._words(hr)}"
                why = (
                    f"scale {scales[hr]}, most have {scale}" if hr in scales else "no whole ratio from 1 to 8"
                )
                self.left_out[hr] = f"{LEFT_OUT}: another ratio of sizes: {sizes_in_words}: {why}"
        return scale

    def _words(self, file: str) -> str:
        rows, columns = self._sizes[file]
        return f"{file} of {columns}x{rows} px"

    def _relative_noise(self, file: str) -> float:
        """Noise over contrast, which gain and offset do not change."""
        from scipy.ndimage import gaussian_filter

        pixels = decode_micrograph(self._path(file), depth=self._depth).pixels
        return noise_level(pixels) / float(gaussian_filter(pixels.astype(np.float64), 2.0).std())

    def _refuse_swapped(self) -> None:
        """At scale 1 the fast scan has the shorter dwell time, or more noise."""
        usable = [hr for hr in sorted(self._matched.lr) if hr not in self.left_out]
        if self.scale > 1 or not usable:
            return
        votes = []
        for hr in usable[:: max(len(usable) // _LOOKED_AT, 1)][:_LOOKED_AT]:
            fast, slow = (self._facts[file].dwell_s for file in (self._matched.lr[hr], hr))
            if fast is None or slow is None or fast == slow:
                try:
                    slow, fast = (self._relative_noise(file) for file in (self._matched.lr[hr], hr))
                except BadImage:
                    continue
            votes.append(fast > slow)
        if votes and sum(votes) > len(votes) / 2:
            raise DatasetError(
                f"{self._root}: {self._matched.lr[usable[0]]} was scanned more slowly, or is less noisy, "
                f"than {usable[0]}, and so are most others: fast and slow have changed places. Rename their "
                "folders."
            )


def _of_one_depth(*recordings: Pixels | None) -> list[Any]:
    """All as uint16 where one is: v / 255 = 257 v / 65535."""
    deep = any(pixels is not None and pixels.dtype == np.uint16 for pixels in recordings)
    return [
        pixels.astype(np.uint16) * np.uint16(257)
        if deep and pixels is not None and pixels.dtype == np.uint8
        else pixels
        for pixels in recordings
    ]


@dataclass(frozen=True)
class _Appearance:
    """What tells whether two references show one field: how it looks, and where the stage was, in um."""

    descriptor: Descriptors
    thumbnail: Thumbnail
    small: Pixels
    stage: tuple[float, float] | None

    @staticmethod
    def of(hr: Pixels, stage: tuple[float, float] | None) -> _Appearance:
        step = max(min(hr.shape) // _SMALL, 1)
        small: Pixels = np.floor(binned(hr, step) * (255.0 / np.iinfo(hr.dtype).max) + 0.5).astype(np.uint8)
        return _Appearance(descriptor(hr), thumbnail(hr), small, stage)

    def shows_the_field_of(self, other: _Appearance) -> bool:
        """Whether laid over each other the two agree: regular patterns look alike in thumbnails alone."""
        try:
            return register(self.small, other.small, 1).correlation >= _SAME_FIELD
        except BadImage:
            return False


def _grouped(
    micrographs: Sequence[Micrograph], appearances: Sequence[_Appearance], notes: dict[str, str]
) -> list[Micrograph]:
    """Give a group to those that have none: fields that were recorded again, or overlap by stage position.

    Args:
        micrographs: the references, in a group where ``groups.csv`` says it.
        appearances: one for each.
        notes: is told of those that are in a group with others.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    alike = cluster(
        np.stack([appearance.descriptor for appearance in appearances]),
        lambda index: appearances[index].thumbnail,
    ).labels
    joined = [
        (index, first)
        for index, first in enumerate(alike.tolist())
        if index == first or appearances[index].shows_the_field_of(appearances[first])
    ]
    # The diagonal of a field: farther apart two of them share nothing.
    reach = [
        float(np.hypot(image.height, image.width)) * (image.pixel_size_nm or 0.0) / 1e3
        for image in micrographs
    ]
    for first, second in combinations(range(len(appearances)), 2):
        here, there = appearances[first].stage, appearances[second].stage
        if (
            here is not None
            and there is not None
            and math.dist(here, there) < max(reach[first], reach[second])
        ):
            joined.append((first, second))
    links = coo_array((np.ones(len(joined)), np.array(joined).T), shape=(len(appearances), len(appearances)))
    components = connected_components(links, directed=False)[1].tolist()
    members = Counter(components)
    grouped = []
    for image, component in zip(micrographs, components, strict=True):
        first_image = micrographs[components.index(component)]
        apart = "" if first_image.split == image.split else f" ({image.split})"
        if not image.group and members[component] > 1:
            notes[image.id] += (
                "; shows or overlaps the field of another: one group, unless groups.csv says it"
            )
        grouped.append(image if image.group else replace(image, group=first_image.id + apart))
    return grouped


def _nothing_matched(root: Path, images: Sequence[str]) -> str:
    shown = ", ".join(images[:5]) + (f" and {len(images) - 5} more" if len(images) > 5 else "")
    return (
        f"{root} holds no pair of recordings with one name. Expected folders lr and hr, or fast and slow, "
        f"with the same names in both (as lr/a.png and hr/a.png); found: {shown or 'no images'}."
    )
