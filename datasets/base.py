"""What every dataset looks like from outside: its card, its micrographs, and how it gets onto the disk."""

from __future__ import annotations

import copy
import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np

from srbench.utils.errors import DatasetError
from srbench.utils.image import Pixels
from srbench.utils.progress import ProgressCallback, count_of, silent

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
RECORDED = "recorded"
"""The degradation of LR images that were recorded beside HR; see ``MicrographSet.lr``."""
MEASURES = ("particles", "lines", "pores", "fibres")
"""What can be said to be on a user's images: each is a kind of measurement."""
_SHOWN_REASONS = 3


@dataclass(frozen=True)
class DatasetCard:
    """What a list shows of a dataset before it is opened.

    Attributes:
        name: as typed on the command line.
        title: as printed in tables.
        kind: ``real`` micrographs, ``synthetic`` scenes with known geometry, ``photographs`` (to compare with
            published tables), or the ``user``'s own.
        summary: one sentence.
        licence: SPDX identifier or the sources' own words.
        citation: whom to cite.
        obtain: how it gets onto the disk: ``embedded`` (nothing to do), ``import``, ``fetch`` or ``path``.
        urls: where it comes from.
        terms: what the licence asks of the user, or what is unclear about it; shown before a download.
        channels: 1 for grey, 3 for colour.
        download_bytes: size of what a fetch downloads, where known.
        pairs: whether LR was recorded too and is not made from HR unless asked for.
    """

    name: str
    title: str
    kind: Literal["real", "synthetic", "photographs", "user"]
    summary: str
    licence: str
    citation: str = ""
    obtain: tuple[Literal["embedded", "import", "fetch", "path"], ...] = ("import",)
    urls: tuple[str, ...] = ()
    module: str = ""
    terms: str = ""
    channels: int = 1
    download_bytes: int | None = None
    pairs: bool = False


@dataclass(frozen=True)
class ReadingOptions:
    """What a user says of the files of a folder, where the files do not say it or say it wrongly.

    Attributes:
        bits: significant bits of the files that store more than 8, 8 to 16.
        pixel_size_nm: side of a pixel of the files; goes before what they say themselves.
        pages: whether every page of a file is an image of its own, or its first page alone.
        measure: of :data:`MEASURES`: what is on the images and is to be measured.
        rows: of pairs: whether a shift of each scan line is fitted too when they are registered.
        residual_px: of pairs: what registration may leave, in pixels of the reference; 1 where neither this
            nor the next is given.
        residual_nm: the same in nm.

    Raises:
        DatasetError: a value out of these ranges.
    """

    bits: int | None = None
    pixel_size_nm: float | None = None
    pages: Literal["first", "all"] = "first"
    measure: tuple[str, ...] = ()
    rows: bool = False
    residual_px: float | None = None
    residual_nm: float | None = None

    def __post_init__(self) -> None:
        if self.bits is not None and not 8 <= self.bits <= 16:
            raise DatasetError(
                f"Significant bits are those of files that store more than 8: 8 to 16, found {self.bits}."
            )
        size = self.pixel_size_nm
        if size is not None and not (math.isfinite(size) and size > 0):
            raise DatasetError(f"The side of a pixel is a positive number of nanometres, found {size}.")
        bounds = [bound for bound in (self.residual_px, self.residual_nm) if bound is not None]
        if len(bounds) > 1 or any(not (math.isfinite(bound) and bound > 0) for bound in bounds):
            raise DatasetError(
                "What registration may leave is one positive number, of pixels or of nm, found "
                f"{' and '.join(f'{bound:g}' for bound in bounds)}."
            )
        if self.pages not in ("first", "all"):
            raise DatasetError(f"Pages are first or all, found {self.pages!r}.")
        if unknown := sorted(set(self.measure) - set(MEASURES)):
            raise DatasetError(f"Measured are {', '.join(MEASURES)}; found {', '.join(unknown)}.")

    @property
    def arguments(self) -> list[str]:
        """The options of the command line that say this."""
        chosen = {"--bits": self.bits, "--pixel-size-nm": self.pixel_size_nm}
        given = [
            word for option, value in chosen.items() if value is not None for word in (option, f"{value:g}")
        ]
        pages = ["--pages", "all"] if self.pages == "all" else []
        if self.residual_px is not None:
            pages += ["--residual", f"{self.residual_px:g}px"]
        if self.residual_nm is not None:
            pages += ["--residual", f"{self.residual_nm:g}nm"]
        pages += ["--rows"] if self.rows else []
        return given + pages + [word for item in self.measure for word in ("--measure", item)]

    def remarks(self) -> Iterator[str]:
        """What was chosen, one line each; nothing where nothing was."""
        if self.bits is not None:
            yield f"{self.bits} significant bits, as given, for files that store more than 8"
        if self.pages == "all":
            yield "every page of a file is an image"
        if self.measure:
            yield f"measured, as given: {', '.join(self.measure)}"
        if self.rows:
            yield "a shift of each scan line was fitted"


@dataclass(frozen=True)
class Micrograph:
    """One image of a dataset, without its pixels.

    Attributes:
        id: unique within the dataset and stable across machines.
        group: specimen or near-duplicate cluster: the unit of splitting and of statistics.
        category: kind of sample, or source.
        split: frozen by the dataset, never by the caller.
        height: HR rows (databar already cut).
        width: HR columns.
        bits: significant bits of the stored pixels, 8 or 16.
        licence: licence of this image.
        source: where the file came from.
        pixel_size_nm: physical side of an HR pixel where known.
        pixel_size_source: who says so, as ``FEI tag``; empty where the dataset does.
        measure: of :data:`MEASURES`: what its owner or source says is on it; where empty the category
            decides.
        has_truth: whether ``MicrographSet.truth`` gives something.
        has_mask: whether ``MicrographSet.mask`` gives something.
        mask_objects: labels of the mask that are objects to be counted and measured, where others are not:
            none in a mask that divides the whole image into classes. None: all but 0.
        channels: 1 for pixels ``(H, W)``, 3 for ``(H, W, 3)`` in the order red, green, blue.
    """

    id: str
    group: str
    category: str
    split: Split
    height: int
    width: int
    bits: int = 8
    licence: str = ""
    source: str = ""
    pixel_size_nm: float | None = None
    pixel_size_source: str = ""
    measure: tuple[str, ...] = ()
    has_truth: bool = False
    has_mask: bool = False
    mask_objects: tuple[int, ...] | None = None
    channels: int = 1


class MicrographSet(ABC):
    """An opened dataset.

    Attributes:
        name: the one spelling (``sem_open``, ``folder:/data/mine``), whatever the caller typed.
        card: the dataset's card.
        images: every micrograph, ordered by id.
        skipped: files refused, with the reason for each.
        notes: what was done to the pixels of an image, by its id: notes ``kind`` or ``kind: detail``, with
            a semicolon and a space between two.
        has_splits: whether its owner has split it; else groups were split by a hash of their names.
        reading: what the user said of the files.
        recorded_scale: HR sides over the sides of the LR images that ``lr`` gives; None where LR is made.
    """

    name: str
    card: DatasetCard
    images: tuple[Micrograph, ...]
    skipped: Mapping[str, str]
    notes: Mapping[str, str] = MappingProxyType({})
    has_splits: bool = True
    reading: ReadingOptions = ReadingOptions()
    recorded_scale: int | None = None

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 (hex) over the ids, splits, groups and pixel hashes: equal means equal data."""

    @abstractmethod
    def pixels(self, image_id: str) -> Pixels:
        """HR pixels ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, read-only; the reference of all scores."""

    def make_ready(
        self, image_ids: Sequence[str], workers: int | None = None, progress: ProgressCallback = silent
    ) -> None:
        """Do on several cores what ``pixels`` of these images would do one after the other; may do nothing.

        Args:
            image_ids: which images.
            workers: processes; as many as there are cores when None.
            progress: called for every image.
        """
        del image_ids, workers, progress

    def truth(self, image_id: str) -> Mapping[str, Any] | None:
        """Known geometry of the scene (JSON-like), or None."""
        del image_id
        return None

    def lr(self, image_id: str) -> Pixels | None:
        """LR (or the fast scan) as it was recorded, on the grid of ``pixels``; None where it is made from HR.

        Of the type and channels of ``pixels``, each side that of ``pixels`` divided by ``recorded_scale``.
        """
        del image_id
        return None

    def acquisition(self, image_id: str, index: int) -> Pixels | None:
        """A noisy acquisition of the same field, for the noise ceiling; None where there is none."""
        del image_id, index
        return None

    def second(self, image_id: str) -> Pixels | None:
        """A second, independent recording of the reference, on the grid of ``pixels``; None where none is."""
        del image_id
        return None

    def as_recorded(self, image_id: str) -> Pixels | None:
        """The reference as the instrument gave it, of about the same area; None where ``pixels`` is that.

        Resampling takes noise away, which cannot be found in ``pixels`` any more.
        """
        del image_id
        return None

    def mask(self, image_id: str) -> Pixels | None:
        """Labels ``(H, W)`` of a segmentation by hand, 0 = background; None where there is none."""
        del image_id
        return None

    @property
    def masks_sha256(self) -> str:
        """Hash (hex) of all masks, by which scores against them are told apart; empty where there is none."""
        return ""

    def objects(self, image: Micrograph) -> Pixels | None:
        """The mask with only the labels of objects, the others 0; None where it has no objects."""
        labels = self.mask(image.id)
        if labels is None or image.mask_objects is None:
            return labels
        chosen: Pixels = labels * np.isin(labels, image.mask_objects).astype(labels.dtype)
        return chosen if image.mask_objects else None

    def opposite_phase(self, image_id: str, scale: int) -> Pixels | None:
        """Other HR pixels of the same LR image at this scale; None where none are known."""
        del image_id, scale
        return None

    def hr_paths(self) -> tuple[Path, ...]:
        """Files and folders from which HR pixels can be read or rendered anew: hidden from models."""
        return ()

    def split(self, name: str) -> tuple[Micrograph, ...]:
        """The micrographs of ``train``, ``val``, ``test`` or ``all``, ordered by id.

        ``all-limit6`` are six of them, spread over categories and groups: always the same ones.
        """
        name, _, limit = name.partition("-limit")
        images = tuple(image for image in self.images if name in ("all", image.split))
        return _spread(images, int(limit)) if limit else images

    def remarks(self) -> list[str]:
        """What its user should know, a line for each kind: what was done to pixels, their size, skips."""
        counts = Counter(
            kind
            for notes in self.notes.values()
            for kind in dict.fromkeys(note.partition(":")[0] for note in notes.split("; "))
        )
        lines = [f"{kind}: {count_of(count, 'image')}" for kind, count in counts.most_common()]
        if masks := sum(image.has_mask for image in self.images):
            lines.append(f"drawn by hand: {count_of(masks, 'mask')}")
        lines += self.reading.remarks()
        if self.card.kind in ("real", "user"):
            sizes = ((image.pixel_size_nm, image.pixel_size_source) for image in self.images)
            lines += pixel_size_remarks(sizes)
        return lines + ([_skips(self.skipped)] if self.skipped else [])

    def __len__(self) -> int:
        return len(self.images)


def _spread(images: Sequence[Micrograph], count: int) -> tuple[Micrograph, ...]:
    """The first of every group, of which the categories have theirs in turn; then the second of each."""
    groups_of: dict[str, dict[str, int]] = {}
    members: Counter[str] = Counter()
    ranks: dict[str, tuple[int, int, str, str]] = {}
    for image in images:
        groups = groups_of.setdefault(image.category, {})
        number = groups.setdefault(image.group, len(groups))
        ranks[image.id] = (members[image.group], number, image.category, image.id)
        members[image.group] += 1
    chosen = set(sorted(ranks, key=lambda name: ranks[name])[:count])
    return tuple(image for image in images if image.id in chosen)


def pixel_size_remarks(sizes_nm: Iterable[tuple[float | None, str]]) -> Iterator[str]:
    """A line for each source of the pixel sizes of images; the range where its sizes differ."""
    sizes: dict[str, list[float]] = {}
    unknown = 0
    for size_nm, source in sizes_nm:
        if size_nm is None:
            unknown += 1
        else:
            sizes.setdefault(source, []).append(size_nm)
    for source, values in sorted(sizes.items()):
        ends = dict.fromkeys(f"{value:.4g}" for value in (min(values), max(values)))
        said = f" ({source})" if source else ""
        yield f"pixel size {' to '.join(ends)} nm{said}: {count_of(len(values), 'image')}"
    if unknown:
        yield f"pixel size unknown: {count_of(unknown, 'image')}"


def _skips(skipped: Mapping[str, str]) -> str:
    """How many files were skipped, and the commonest reasons."""
    # One reason names other numbers or another file in each image: "20x20 px is too small".
    kinds: dict[str, list[str]] = {}
    for reason in skipped.values():
        kind = re.split(r": | as ", reason)[0]
        kinds.setdefault(re.sub(r"\d+", "0", kind), []).append(kind)
    commonest = sorted(kinds.values(), key=len, reverse=True)
    reasons = [f"{reasons[0]} ({len(reasons)})" for reasons in commonest[:_SHOWN_REASONS]]
    more = len(commonest) - len(reasons)
    listed = "; ".join([*reasons, *([f"{count_of(more, 'other reason')}"] if more else [])])
    return f"{count_of(len(skipped), 'file')} skipped: {listed}"


@dataclass(frozen=True)
class DatasetState:
    """What is on disk.

    ``embedded``, ``ready``, ``downloaded`` (whole, to be prepared), ``partial`` (an interrupted job) or
    ``absent``.
    """

    state: Literal["embedded", "ready", "downloaded", "partial", "absent"]
    images: int = 0
    bytes: int = 0
    next_step: str = ""


@dataclass(frozen=True)
class ImportReport:
    """What an import or a fetch did: images taken, files skipped with the reason for each, where it is."""

    images: int
    skipped: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


@dataclass(frozen=True)
class VerifyReport:
    """What verification found: files checked, and what is wrong with each bad one (empty = intact)."""

    checked: int
    problems: Mapping[str, str] = field(default_factory=dict)


AnySource = TypeVar("AnySource", bound="DatasetSource")


class DatasetSource(ABC):
    """A registered dataset: how it gets onto the disk, how it is checked and opened.

    Attributes:
        card: its description.
        argument: what followed the colon in ``name:argument``.
        then_prepare: whether a fetch is followed by ``prepare`` at once, so that both must fit on the disk.
        progress: told of what takes long when the dataset is opened.
    """

    card: DatasetCard
    argument: str | None = None
    then_prepare: bool = True
    progress: ProgressCallback = staticmethod(silent)

    @abstractmethod
    def open(self, argument: str | None = None) -> MicrographSet:
        """Open the dataset; ``argument`` is what followed the colon in ``name:argument``.

        Raises:
            DatasetMissing: it is not on disk; the message says what to type.
        """

    @abstractmethod
    def state(self) -> DatasetState:
        """What is on disk, quickly, without reading pixels."""

    def at(self: AnySource, argument: str) -> AnySource:
        """The dataset that ``name:argument`` means."""
        entry = copy.copy(self)
        entry.argument = argument
        return entry

    @property
    def full_name(self) -> str:
        """Its one spelling, whatever the user typed: what scores and manifests store."""
        return self.card.name if self.argument is None else f"{self.card.name}:{self.argument}"

    @property
    def members(self) -> tuple[str, ...]:
        """The sets that this one is put together from, by their one spelling; itself where it is one."""
        return (self.full_name,)

    def read_with(self: AnySource, options: ReadingOptions) -> AnySource:
        """The same files, read with these options.

        Raises:
            DatasetError: this is no folder of the user's.
        """
        if options == ReadingOptions():
            return self
        raise DatasetError(
            f"{self.card.name} is read as it was published: --bits, --pixel-size-nm, --pages, --measure, "
            "--rows and --residual are for folders of your own. Leave them away."
        )

    def is_local(self, argument: str | None = None) -> bool:
        """Whether ``open(argument)`` only opens what srbench holds already.

        A name that comes from a file and not from the user must not make srbench read other folders.
        """
        del argument
        return True

    def from_record(self, record: str) -> DatasetSource:
        """The same dataset, fetched from the record of a repository that the user names."""
        raise DatasetError(f"{self.card.name} is not fetched from a record; leave --record {record} away.")

    def import_from(self, folder: Path, progress: ProgressCallback = silent) -> ImportReport:
        """Import the dataset from a folder that the user already has."""
        raise DatasetError(f"{self.card.name} cannot be imported from a folder. {self.state().next_step}")

    def fetch(self, progress: ProgressCallback = silent) -> ImportReport:
        """Download the dataset; resumes what an earlier call left."""
        raise DatasetError(f"{self.card.name} cannot be fetched. {self.state().next_step}")

    def prepare(self, progress: ProgressCallback = silent, workers: int | None = None) -> ImportReport:
        """Make what was downloaded or imported ready for training; goes on where an earlier call stopped.

        Args:
            progress: called for every image.
            workers: processes; as many as there are cores when None.
        """
        raise DatasetError(f"{self.card.name} needs no preparation. {self.state().next_step}")

    def verify(self, progress: ProgressCallback = silent) -> VerifyReport:
        """Check every byte on disk against the recorded hashes."""
        raise DatasetError(f"{self.card.name} has nothing on disk to verify. {self.state().next_step}")
