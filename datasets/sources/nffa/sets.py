"""The NFFA-EUROPE SEM sets: ten kinds of specimen in ten tars, in the releases that B2SHARE holds.

``sem`` is the set the authors of CSM-SR link; where that record cannot be had, version 2.0 of the 100% set,
and the user is told. ``sem_100`` is the 100% set, version 2.0 (or the release before it, imported or by
``--record``), ``sem_majority`` the majority set. The record of ``sem_hierarchical``, the set with subclasses,
is not known here: it is imported, or fetched from a record that the user names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from srbench.datasets.base import DatasetCard, DatasetSource, DatasetState, ImportReport, VerifyReport
from srbench.datasets.download import LOCK_FILE, RetryPolicy, read_lock_file
from srbench.datasets.packed.format import PackedSet, PackManifest, read_manifest
from srbench.datasets.packed.writer import verify_packed
from srbench.datasets.registry import register_dataset
from srbench.datasets.sources.nffa.b2share import B2Share, parse_id
from srbench.datasets.sources.nffa.fetch import (
    FetchRequest,
    Inventory,
    fetch_archives,
    hash_tars,
    inventory_entries,
    locate,
    read_inventory,
    verify_archives,
    write_inventory,
)
from srbench.datasets.sources.nffa.releases import (
    CLASSES,
    CSM_SR,
    MAJORITY,
    OLDER_RECORD,
    RECORDS,
    V2,
    V2_RECORD,
    Source,
    known_source,
    release_of,
)
from srbench.utils.errors import DatasetError, DatasetMissing, SrbenchError
from srbench.utils.files import locked
from srbench.utils.paths import dataset_folder
from srbench.utils.progress import ProgressCallback, human_bytes, silent

LICENCE = "CC-BY-4.0"
TERMS = (
    "Free for any use, also commercial, that names the authors (the citation below) and marks changes. The "
    "100% record v2.0 states CC-BY-4.0; the older records say CC BY. Images carry no specimen, instrument or "
    "magnification data."
)
CITATION = (
    "R. Aversa, M. H. Modarres, S. Cozzini, R. Ciancio, A. Chiusole: The first annotated set of scanning "
    "electron microscopy images for nanoscience. Sci Data 5:180172 (2018), doi 10.1038/sdata.2018.172"
)


class NffaSource(DatasetSource):
    """What the four sets have in common.

    Fetching or importing writes an inventory of the tars (``archives.json``), preparing packs what they hold.
    The images carry no specimen: groups are near-duplicate clusters, made when they are packed.

    Attributes:
        sources: records to fetch from, tried in turn; empty where none is known.
        accepted: records that hold this set, beside the user's own.
    """

    sources: tuple[Source, ...] = ()
    accepted: tuple[Source, ...] = ()

    def __init__(self, base_url: str | None = None, retry: RetryPolicy | None = None) -> None:
        """Prepare; nothing is read or asked.

        Args:
            base_url: of B2SHARE or a mirror of it; also ``$SRBENCH_B2SHARE_URL``.
            retry: how often and how long a download is tried.
        """
        self.base_url = base_url
        self.retry = retry or RetryPolicy()

    @property
    def folder(self) -> Path:
        """Where it is on disk."""
        return dataset_folder(self.card.name)

    def from_record(self, record: str) -> NffaSource:
        """The same set, fetched from the record that the user names.

        Raises:
            DatasetError: no identifier of a record, or the record of another set.
        """
        source = known_source(parse_id(record))
        if source in RECORDS and source not in self.accepted:
            raise DatasetError(
                f'Record {record} is "{source.record.title}", which is not {self.card.name}. Type: '
                f"srbench data fetch {'sem_majority' if source is MAJORITY else 'sem_100'}"
            )
        chosen = type(self)(self.base_url, self.retry)
        chosen.sources = (source,)
        chosen.then_prepare = self.then_prepare
        return chosen

    def open(self, argument: str | None = None) -> PackedSet:
        """Open the prepared set.

        Raises:
            DatasetMissing: not there or not prepared; the message says what to type.
            DatasetError: damaged, or an argument was given.
        """
        if argument:
            raise DatasetError(f"{self.card.name} takes no argument, found {argument!r}.")
        try:
            return PackedSet(self.folder, self.card)
        except DatasetMissing as error:
            raise DatasetMissing(
                f"{self.card.name} is not ready ({self.folder}). {self.state().next_step}"
            ) from error

    def state(self) -> DatasetState:
        """What is on disk, without reading an image."""
        try:
            inventory, manifest = read_inventory(self.folder), self._manifest()
        except SrbenchError as error:
            return DatasetState("partial", next_step=str(error))
        if manifest is not None and (inventory is None or _packed_from(manifest, inventory)):
            return DatasetState("ready", manifest.images, manifest.nbytes, _incomplete(inventory))
        if inventory is not None and all(archive.unchanged for archive in inventory.archives):
            todo = f"Type: srbench data prepare {self.card.name}. {_incomplete(inventory)}"
            return DatasetState("downloaded", 0, inventory.size, todo.strip())
        arrived = sum(file.stat().st_size for file in (self.folder / "archives").glob("*.tar*"))
        return DatasetState("partial" if arrived else "absent", 0, arrived, self.obtain())

    def import_from(self, folder: Path, progress: ProgressCallback = silent) -> ImportReport:
        """Write an inventory of the tars in ``folder`` or one level below it; they are hashed, not copied.

        Classes that are here already and not in ``folder`` stay.

        Raises:
            DatasetError: none there, two of one class, or tars of another set. Nothing has changed then.
        """
        if not folder.is_dir():
            raise DatasetError(f"{folder} is not a folder. Give the folder that holds {CLASSES[0]}.tar, ...")
        tars = {name: path.resolve() for name, path in locate(folder).items()}
        inventory = Inventory(tuple(inventory_entries(tars, hash_tars(tars, progress), downloaded=False)))
        self._write_inventory(inventory.beside(read_inventory(self.folder)), progress)
        return ImportReport(0, {}, self.folder)

    def fetch(self, progress: ProgressCallback = silent) -> ImportReport:
        """Download the ten tars, each proven by a checksum or pinned; goes on where an earlier call stopped.

        Raises:
            DatasetError: no record is known or can be had, the disk is too small, or some tars could not be
                had; what arrived is kept.
        """
        if not self.sources:
            raise DatasetError(self.obtain())
        if self._whole():
            return ImportReport(self.state().images, {}, self.folder)
        request = FetchRequest(self.card.name, self.folder, self.sources, self.then_prepare)
        self._write_inventory(fetch_archives(request, B2Share(self.base_url, self.retry), progress), progress)
        return ImportReport(0, {}, self.folder)

    def prepare(self, progress: ProgressCallback = silent, workers: int | None = None) -> ImportReport:
        """Pack what the tars hold; goes on where an earlier call stopped.

        Raises:
            DatasetMissing: there are no tars yet.
            DatasetError: tars are missing or changed since they were hashed, or the disk is full.
        """
        from srbench.datasets.sources.nffa.prepare import ClassArchive, prepare_nffa

        manifest, inventory = self._manifest(), read_inventory(self.folder)
        there = inventory is not None and all(tar.unchanged for tar in inventory.archives)
        if not there and manifest and (inventory is None or _packed_from(manifest, inventory)):
            return ImportReport(manifest.images, manifest.skipped, self.folder)  # the tars were deleted
        if inventory is None:
            raise DatasetMissing(f"There are no tars of {self.card.name} to prepare. {self.obtain()}")
        changed = [str(archive.path) for archive in inventory.archives if not archive.unchanged]
        if changed:
            raise DatasetError(
                f"Gone or changed since they were hashed: {', '.join(changed)}. {self.obtain()}"
            )
        report = prepare_nffa(
            [ClassArchive(tar.category, tar.path, tar.md5) for tar in inventory.archives],
            self.folder,
            name=self.card.name,
            version=inventory.identity.version,
            licence=LICENCE,
            terms=TERMS,
            progress=progress,
            workers=workers,
        )
        progress(_no_longer_needed(inventory))
        return report

    def verify(self, progress: ProgressCallback = silent) -> VerifyReport:
        """Hash every byte of the tars that are still there and of the packed images.

        Raises:
            DatasetMissing: nothing whole is there.
            DatasetError: an inventory or index is damaged, so that there is nothing to compare with.
        """
        inventory, manifest = read_inventory(self.folder), self._manifest()
        if inventory is None and manifest is None:
            raise DatasetMissing(f"Nothing whole of {self.card.name} is on disk. {self.obtain()}")
        checked = 0
        problems: dict[str, str] = {}
        if inventory is not None:
            needed = manifest is None or not _packed_from(manifest, inventory)
            locks = read_lock_file(self.folder / LOCK_FILE)
            checked, problems = verify_archives(inventory, locks, progress, needed=needed)
        if manifest is not None:
            packed = verify_packed(self.folder, progress)
            checked, problems = checked + packed.checked, {**problems, **packed.problems}
        return VerifyReport(checked, problems)

    def _manifest(self) -> PackManifest | None:
        try:
            return read_manifest(self.folder)
        except DatasetMissing:
            return None

    def _whole(self) -> bool:
        """Whether all ten classes are there, so that nothing needs to be fetched.

        Raises:
            DatasetError: they are, but of another record than the one the user names.
        """
        inventory = read_inventory(self.folder)
        if self.state().state not in ("ready", "downloaded"):
            return False
        if inventory is None or not inventory.identity.missing:
            requested = {source.record.ids[0] for source in self.sources}
            if inventory is not None and inventory.record and inventory.record not in requested:
                raise DatasetError(
                    f"{self.card.name} was already fetched, from record {inventory.record}. To replace it, "
                    f"delete {self.folder} first."
                )
            return True
        return False

    def _write_inventory(self, inventory: Inventory, progress: ProgressCallback) -> None:
        """Store what is there, and say which release it is."""
        identity = inventory.identity
        self.refuse_other_set(inventory)
        with locked(self.folder / "archives"):
            write_inventory(self.folder, inventory, licence=LICENCE, terms=TERMS, citation=CITATION)
        progress(f"These are: {identity.title}.")

    def refuse_other_set(self, inventory: Inventory) -> None:
        """Refuse tars that are known to be of another set.

        Raises:
            DatasetError: names them and the set they belong to.
        """
        del inventory

    def obtain(self) -> str:
        """What to type to get it."""
        name = self.card.name
        by_hand = f"srbench data import {name} --from DIR"
        return f"Type: srbench data fetch {name}, or with the tars at hand: {by_hand}"


def _packed_from(manifest: PackManifest, inventory: Inventory) -> bool:
    return manifest.version == inventory.identity.version


def _incomplete(inventory: Inventory | None) -> str:
    """What is missing of the ten classes, in words; empty where nothing is."""
    missing = inventory.identity.missing if inventory else ()
    if not missing:
        return ""
    return f"{len(CLASSES) - len(missing)} of {len(CLASSES)} classes; missing: {', '.join(missing)}"


def _no_longer_needed(inventory: Inventory) -> str:
    ours = [archive for archive in inventory.archives if archive.downloaded]
    if not ours:
        return "The tars are no longer needed by srbench; they are where you keep them."
    size = human_bytes(sum(archive.size for archive in ours))
    return f"The tars in {ours[0].path.parent} may be deleted now; that frees {size}."


def _card(
    name: str,
    title: str,
    summary: str,
    *records: Source,
    obtain: tuple[Literal["fetch", "import"], ...] = ("fetch", "import"),
    download_bytes: int | None = None,
) -> DatasetCard:
    return DatasetCard(
        name=name,
        title=f"NFFA-EUROPE SEM{title}",
        kind="real",
        summary=summary,
        licence=LICENCE,
        citation=CITATION,
        obtain=obtain,
        urls=tuple(f"https://b2share.eudat.eu/records/{source.record.ids[0]}" for source in records),
        terms=TERMS,
        download_bytes=download_bytes,
    )


@register_dataset
class Sem(NffaSource):
    """The set of CSM-SR; see the module."""

    card = _card(
        "sem",
        "",
        "about 20,000 micrographs of ten kinds of specimen: the record that the authors of CSM-SR link, "
        "else version 2.0 of the 100% set; the md5 of the tars says which it is",
        CSM_SR,
        V2_RECORD,
        download_bytes=V2.size,
    )
    sources = (CSM_SR, V2_RECORD)
    accepted = (CSM_SR, V2_RECORD, OLDER_RECORD)


@register_dataset
class Sem100(NffaSource):
    """The 100% set."""

    card = _card(
        "sem_100",
        ", 100% set",
        "21,169 micrographs of ten kinds of specimen: version 2.0",
        V2_RECORD,
        OLDER_RECORD,
        download_bytes=V2.size,
    )
    sources = (V2_RECORD,)
    accepted = (V2_RECORD, OLDER_RECORD)

    def refuse_other_set(self, inventory: Inventory) -> None:
        """Refuse tars of no known release of this set."""
        foreign = [tar.path.name for tar in inventory.archives if release_of(tar.category, tar.md5) is None]
        if foreign:
            raise DatasetError(
                f"Of no release of the 100% set, by their md5: {', '.join(foreign)}. Nothing was changed. "
                "Tars of any release can be imported as sem: srbench data import sem --from DIR"
            )


class _OtherSet(NffaSource):
    """A set other than the 100% set, whose tars have the same names."""

    def refuse_other_set(self, inventory: Inventory) -> None:
        """Refuse tars of the 100% set: the numbers would look comparable with this set's and are not."""
        for tar in inventory.archives:
            release = release_of(tar.category, tar.md5)
            if release is not None:
                raise DatasetError(
                    f'{tar.path.name} is of the "{release.title}" by its md5, not of {self.card.name}. '
                    "Nothing was changed. Import it as sem_100 or sem."
                )


@register_dataset
class SemMajority(_OtherSet):
    """The majority set."""

    card = _card(
        "sem_majority",
        ", majority set",
        "25,537 micrographs of ten kinds of specimen (checksums unknown: pinned)",
        MAJORITY,
    )
    sources = (MAJORITY,)
    accepted = (MAJORITY,)


@register_dataset
class SemHierarchical(_OtherSet):
    """The set with subclasses."""

    card = _card(
        "sem_hierarchical",
        ", hierarchical set",
        "micrographs with subclasses (number not known here); fetched from a record you name",
        obtain=("import",),
    )

    def obtain(self) -> str:
        """What to type to get it."""
        name = self.card.name
        return (
            "The paper describes a hierarchical set, but which record of B2SHARE holds it is not known to "
            f"srbench. If you know it: srbench data fetch {name} --record ID. With the tars at hand: srbench "
            f"data import {name} --from DIR"
        )
