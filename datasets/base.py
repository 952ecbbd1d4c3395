"""What every dataset looks like from outside: its card, its micrographs, and how it gets onto the disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from srbench.utils.errors import DatasetError
from srbench.utils.image import Pixels
from srbench.utils.progress import ProgressCallback, silent

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


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
        has_truth: whether ``MicrographSet.truth`` gives something.
        has_mask: whether ``MicrographSet.mask`` gives something.
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
    has_truth: bool = False
    has_mask: bool = False
    channels: int = 1


class MicrographSet(ABC):
    """An opened dataset.

    Attributes:
        name: what the caller typed (``sem_open``, ``folder:/data/mine``).
        card: the dataset's card.
        images: every micrograph, ordered by id.
        skipped: files refused, with the reason for each.
    """

    name: str
    card: DatasetCard
    images: tuple[Micrograph, ...]
    skipped: Mapping[str, str]

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """sha256 (hex) over the ids, splits, groups and pixel hashes: equal means equal data."""

    @abstractmethod
    def pixels(self, image_id: str) -> Pixels:
        """HR pixels ``(H, W)`` or ``(H, W, 3)``, uint8 or uint16, read-only; the reference of all scores."""

    def truth(self, image_id: str) -> Mapping[str, Any] | None:
        """Known geometry of the scene (JSON-like), or None."""
        del image_id
        return None

    def acquisition(self, image_id: str, index: int) -> Pixels | None:
        """A noisy acquisition of the same field, for the noise ceiling; None where there is none."""
        del image_id, index
        return None

    def mask(self, image_id: str) -> Pixels | None:
        """Labels ``(H, W)`` of a segmentation by hand, 0 = background; None where there is none."""
        del image_id
        return None

    def opposite_phase(self, image_id: str, scale: int) -> Pixels | None:
        """Other HR pixels of the same LR image at this scale; None where none are known."""
        del image_id, scale
        return None

    def hr_paths(self) -> tuple[Path, ...]:
        """Files and folders from which HR pixels can be read or rendered anew: hidden from models."""
        return ()

    def split(self, name: Split | Literal["all"]) -> tuple[Micrograph, ...]:
        """The micrographs of one split, ordered by id."""
        return tuple(image for image in self.images if name in ("all", image.split))

    def __len__(self) -> int:
        return len(self.images)


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


class DatasetSource(ABC):
    """A registered dataset: how it gets onto the disk, how it is checked and opened.

    Attributes:
        card: its description.
        then_prepare: whether a fetch is followed by ``prepare`` at once, so that both must fit on the disk.
    """

    card: DatasetCard
    then_prepare: bool = True

    @abstractmethod
    def open(self, argument: str | None = None) -> MicrographSet:
        """Open the dataset; ``argument`` is what followed the colon in ``name:argument``.

        Raises:
            DatasetMissing: it is not on disk; the message says what to type.
        """

    @abstractmethod
    def state(self) -> DatasetState:
        """What is on disk, quickly, without reading pixels."""

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
