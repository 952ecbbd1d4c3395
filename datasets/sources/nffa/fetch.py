"""The tars of an NFFA set: which record of B2SHARE, the download, and what is known of those on the disk.

What a tar must be is known from srbench's own tables, from the record's list, or from a lock file of what
came first; where two of them know it they must agree. The tars stay where they are, in ``archives/`` of the
dataset's folder or wherever the user keeps them, and are written down in ``archives.json``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from srbench.datasets.download import (
    LOCK_FILE,
    LockEntry,
    Remote,
    add_lock_entry,
    download_all,
    read_lock_file,
    size_on_disk,
)
from srbench.datasets.sources.nffa.b2share import B2Share, Listing, RecordUnavailable, describe
from srbench.datasets.sources.nffa.releases import CLASSES, V2, Identity, Source, Tar, identify
from srbench.utils.errors import DatasetError
from srbench.utils.files import FileHash, hash_file, locked, read_checksummed, write_checksummed
from srbench.utils.progress import ProgressCallback, ProgressEvent, human_bytes, silent

INVENTORY = "archives.json"
# The pack holds the frames above their databars, grey and not compressed: 14.5 GB for 13.6 GB of JPEG.
PACK_SHARE = 1.1
_SAMPLE = "Fibres.tar"  # the smallest
_WORKERS = 4
_CHOSEN = "record.json"


@dataclass(frozen=True)
class Archive:
    """One tar as it was when its bytes were last hashed.

    Attributes:
        category: class of its images.
        path: where it lies.
        size: bytes.
        modified: time of the last change (ns), as the file system has it.
        md5: hex.
        sha256: hex.
        downloaded: whether srbench put it there, so that it may be deleted once prepared.
    """

    category: str
    path: Path
    size: int
    modified: int
    md5: str
    sha256: str
    downloaded: bool

    @property
    def unchanged(self) -> bool:
        """Whether the file looks as it did when it was hashed, without reading it."""
        try:
            now = self.path.stat()
        except OSError:
            return False
        return (now.st_size, now.st_mtime_ns) == (self.size, self.modified)


@dataclass(frozen=True)
class Inventory:
    """The tars of a set, and what is known of them.

    Attributes:
        archives: ordered by class.
        record: where they were downloaded from; empty for an import.
    """

    archives: tuple[Archive, ...]
    record: str = ""

    @property
    def identity(self) -> Identity:
        """Which release they are, by their md5."""
        return identify({archive.category: archive.md5 for archive in self.archives})

    def beside(self, earlier: Inventory | None) -> Inventory:
        """These tars, and those of an earlier inventory for the classes that are not among them."""
        mine = {archive.category for archive in self.archives}
        others = [tar for tar in (earlier.archives if earlier else ()) if tar.category not in mine]
        unchanged = [tar for tar in others if tar.unchanged]
        record = earlier.record if earlier and any(tar.downloaded for tar in unchanged) else self.record
        ordered = sorted([*self.archives, *unchanged], key=lambda archive: archive.category)
        return Inventory(tuple(ordered), record)

    @property
    def size(self) -> int:
        """Bytes of all tars."""
        return sum(archive.size for archive in self.archives)


def read_inventory(folder: Path) -> Inventory | None:
    """What ``archives.json`` says; None where there is none.

    Raises:
        DatasetError: it has changed since it was written.
    """
    raw = read_checksummed(folder / INVENTORY, "Delete it and fetch or import the dataset again.")
    if raw is None:
        return None
    archives = tuple(Archive(**{**item, "path": Path(item["path"])}) for item in raw["archives"])
    return Inventory(archives, raw["record"])


def write_inventory(folder: Path, inventory: Inventory, **remarks: str) -> None:
    """Write ``archives.json``; ``remarks`` (licence, citation, ...) are kept beside for its readers.

    Raises:
        DatasetError: the folder cannot be written.
    """
    identity = inventory.identity
    archives = [{**asdict(archive), "path": str(archive.path)} for archive in inventory.archives]
    release = {"version": identity.version, "release": identity.title}
    write_checksummed(
        folder / INVENTORY, {**release, **remarks, "record": inventory.record, "archives": archives}
    )


def locate(folder: Path) -> dict[str, Path]:
    """Class to tar, in a folder and one level of folders below it.

    Raises:
        DatasetError: no tar at all, or two of one class.
    """
    tars: dict[str, Path] = {}
    for path in sorted([*folder.glob("*.tar"), *folder.glob("*/*.tar")]):
        if path.stem not in CLASSES or not path.is_file():
            continue
        if path.stem in tars:
            raise DatasetError(
                f"{tars[path.stem]} and {path} are both tars of {path.stem}. Give the folder that holds "
                "the ones you mean. Nothing was changed."
            )
        tars[path.stem] = path
    if tars:
        return tars
    expected = f"Expected {CLASSES[0]}.tar, {CLASSES[1]}.tar, ... in {folder}"
    unpacked = [name for name in CLASSES if (folder / name).is_dir()]
    if not unpacked:
        raise DatasetError(f"{expected} or one folder below it, found none. Nothing was changed.")
    raise DatasetError(
        f"{expected}, found unpacked folders ({', '.join(unpacked)}). The release is told by the tars as "
        "they were downloaded: give their folder. Where they are gone, make new ones, which will count as of "
        f"no known release: cd {folder} && for c in {' '.join(unpacked)}; do tar -cf $c.tar $c; done"
    )


def hash_tars(tars: Mapping[str, Path], progress: ProgressCallback = silent) -> dict[str, FileHash]:
    """Size and hashes of each tar, by class; several are read at a time.

    Raises:
        DatasetError: one cannot be read.
    """
    lock = Lock()
    done = dict.fromkeys(tars, 0)
    total = sum(path.stat().st_size for path in tars.values())

    def read(category: str) -> FileHash:
        def on_progress(size: int) -> None:
            with lock:
                done[category] = size
                progress(ProgressEvent("hash", sum(done.values()), total, "B"))

        try:
            return hash_file(tars[category], on_progress).result
        except OSError as error:
            raise DatasetError(f"{tars[category]} cannot be read: {error.strerror or error}.") from error

    with ThreadPoolExecutor(_WORKERS) as pool:
        return dict(zip(tars, pool.map(read, tars), strict=True))


def inventory_entries(
    tars: Mapping[str, Path], contents: Mapping[str, FileHash], *, downloaded: bool
) -> Iterable[Archive]:
    """What to write down of tars that were just hashed."""
    for category, path in sorted(tars.items()):
        content, modified = contents[category], path.stat().st_mtime_ns
        yield Archive(category, path, content.size, modified, content.md5, content.sha256, downloaded)


def verify_archives(
    inventory: Inventory, locks: Mapping[str, LockEntry], progress: ProgressCallback = silent, *, needed: bool
) -> tuple[int, dict[str, str]]:
    """Read the tars that are still there.

    Args:
        inventory: the tars as they were.
        locks: what came at first, for tars that were downloaded.
        progress: given the bytes read.
        needed: whether a tar that has gone is a fault.

    Returns:
        How many were read, and what is wrong with each bad one.
    """
    present = {archive.category: archive.path for archive in inventory.archives if archive.path.is_file()}
    contents = hash_tars(present, progress)
    problems = {}
    for archive in inventory.archives:
        content = contents.get(archive.category)
        if content is None:
            if needed:
                problems[str(archive.path)] = "is gone"
            continue
        first = locks.get(f"{inventory.record}/{archive.path.name}")
        for expected in (archive, first):
            if expected is not None and expected.sha256 != content.sha256:
                problems[str(archive.path)] = (
                    f"changed: {content.size:,} bytes with md5 {content.md5}, expected {expected.size:,} "
                    f"bytes with md5 {expected.md5}; delete it and fetch or import the dataset again"
                )
                break
    return len(contents), problems


@dataclass(frozen=True)
class FetchRequest:
    """What to fetch, and where to.

    Attributes:
        name: of the dataset.
        folder: of the dataset.
        sources: records to try in turn.
        prepared: whether the prepared data must fit on the disk as well.
    """

    name: str
    folder: Path
    sources: Sequence[Source]
    prepared: bool

    @property
    def archives(self) -> Path:
        """Where the tars go."""
        return self.folder / "archives"

    @property
    def begun(self) -> str:
        """The record that an interrupted download began with; empty where there was none."""
        remedy = f"Delete {self.archives} and fetch {self.name} again."
        return str((read_checksummed(self.archives / _CHOSEN, remedy) or {}).get("record", ""))


def fetch_archives(request: FetchRequest, repository: B2Share, progress: ProgressCallback) -> Inventory:
    """Download every tar that is not there yet, each proven by a checksum or by a lock file.

    Raises:
        DatasetError: no record can be had, it is not the one expected, the disk is too small, or some tars
            could not be had; what arrived is kept.
    """
    with locked(request.archives):
        source, listing = _choose(request, repository, progress)
        locks = read_lock_file(request.folder / LOCK_FILE)
        expected = {name: _expected(name, source, listing, locks) for name in CLASSES}
        _refuse_other_record(request, source, expected)
        imported = _imported(request.folder, expected)
        missing = {name: tar for name, tar in expected.items() if name not in imported}
        _check_room(request, missing)
        write_checksummed(request.archives / _CHOSEN, {"record": source.record.ids[0]})
        contents = _download(request, source, listing, missing, repository, progress)
    tars = {name: request.archives / f"{name}.tar" for name in contents}
    archives = [*imported.values(), *inventory_entries(tars, contents, downloaded=True)]
    return Inventory(tuple(sorted(archives, key=lambda archive: archive.category)), source.record.ids[0])


def _choose(request: FetchRequest, repository: B2Share, progress: ProgressCallback) -> tuple[Source, Listing]:
    """The first record that can be had; an interrupted download goes on with its own."""
    begun = request.begun
    failures: list[str] = []
    for source in sorted(request.sources, key=lambda source: source.record.ids[0] != begun):
        try:
            listing = repository.find(source.record, _SAMPLE)
            missing = [f"{c}.tar" for c in CLASSES if listing.files and f"{c}.tar" not in listing.files]
            if missing:
                raise RecordUnavailable(
                    f"{describe(source.record)} has no {', '.join(missing)}; it holds: "
                    f"{', '.join(sorted(listing.files))}."
                )
        except RecordUnavailable as error:
            failures.append(str(error))
            continue
        for failure in failures:
            progress(f"{failure}\nInstead: {describe(source.record).rstrip(',')}.")
        return source, listing
    raise DatasetError(
        "\n".join(failures) + f"\nWhat arrived earlier is kept. With a browser, get the ten tars ({_SAMPLE}, "
        f"...) into one folder, then type: srbench data import {request.name} --from THAT_FOLDER"
    )


def _expected(category: str, source: Source, listing: Listing, locks: Mapping[str, LockEntry]) -> Tar:
    """What is known of a tar.

    Raises:
        DatasetError: the record lists something else than srbench knows it to hold.
    """
    listed = listing.files.get(f"{category}.tar")
    published = source.release.tars[category] if source.release else None
    first = locks.get(_lock_key(source, category))
    for earlier in (published, first):
        if listed is None or earlier is None:
            continue
        sizes = {earlier.size, listed.size} - {None}
        if len(sizes) > 1 or (listed.md5 and listed.md5 != earlier.md5):
            raise DatasetError(
                f"{describe(source.record)} lists {category}.tar with md5 {listed.md5} and {listed.size} "
                f"bytes; srbench knows it with md5 {earlier.md5} and {earlier.size} bytes. The record has "
                "changed, or something stands between you and it. Nothing was downloaded. If the change is "
                "meant, download the tars with a browser and import them: srbench data import."
            )
    if published is not None:
        return Tar(published.md5, published.size or (listed.size if listed else None), published.sha256)
    if first is not None:
        return Tar(first.md5, first.size, first.sha256)
    return Tar(listed.md5, listed.size) if listed else Tar("")


def _lock_key(source: Source, category: str) -> str:
    """The name of a tar in the lock file: another record may hold another tar of that name."""
    return f"{source.record.ids[0]}/{category}.tar"


def _refuse_other_record(request: FetchRequest, source: Source, expected: Mapping[str, Tar]) -> None:
    """Tars of another record must not count as this one's where no checksum would tell them apart."""
    begun, chosen = request.begun, source.record.ids[0]
    if begun and begun != chosen and any(not tar.md5 for tar in expected.values()):
        raise DatasetError(
            f"{request.archives} holds tars of record {begun}, and record {chosen} has no checksums to tell "
            f"its own from them. To fetch {chosen}, delete that folder first."
        )


def _imported(folder: Path, expected: Mapping[str, Tar]) -> dict[str, Archive]:
    """Tars that the user has elsewhere and that are the expected ones."""
    inventory = read_inventory(folder)
    return {
        archive.category: archive
        for archive in (inventory.archives if inventory else ())
        if not archive.downloaded and archive.unchanged and archive.md5 == expected[archive.category].md5
    }


def _check_room(request: FetchRequest, tars: Mapping[str, Tar]) -> None:
    """Refuse to begin what cannot end.

    Raises:
        DatasetError: the disk is too small.
    """
    sizes = {name: _size(name, tar) for name, tar in tars.items()}
    missing = sum(
        max(size - size_on_disk(request.archives / f"{name}.tar"), 0) for name, size in sizes.items()
    )
    pack = round(PACK_SHARE * sum(sizes.values())) if request.prepared else 0
    free = shutil.disk_usage(request.archives).free
    if missing + pack <= free:
        return
    both = f" and about {human_bytes(pack)} for the prepared data" if pack else ""
    alone = (
        f" The download alone would fit: srbench data fetch {request.name} --no-prepare."
        if pack and missing <= free
        else ""
    )
    raise DatasetError(
        f"The disk of {request.folder} has {human_bytes(free)} free; {human_bytes(missing)} are needed for "
        f"the tars{both}. Nothing was downloaded. Free some space, or set SRBENCH_HOME to a folder on a "
        f"larger disk.{alone}"
    )


def _download(
    request: FetchRequest,
    source: Source,
    listing: Listing,
    tars: Mapping[str, Tar],
    repository: B2Share,
    progress: ProgressCallback,
) -> dict[str, FileHash]:
    """Size and hashes of each tar; what arrives before a failure goes into the lock file all the same."""
    others = sorted(set(listing.files) - {f"{name}.tar" for name in CLASSES})
    if others:
        progress(f"Left alone, being no tars of the ten classes: {', '.join(others)}.")
    record = source.record
    progress(f'From record {record.ids[0]}, "{record.title}", to {request.archives}')
    contents: dict[str, FileHash] = {}
    lock_file = request.folder / LOCK_FILE

    def on_file(remote: Remote, content: FileHash) -> None:
        name = remote.path.stem
        contents[name] = content
        if not tars[name].md5:
            add_lock_entry(lock_file, _lock_key(source, name), content, remote.url)

    remotes = [
        Remote(listing.url(f"{name}.tar"), request.archives / f"{name}.tar", tar.sha256, tar.md5, tar.size)
        # The largest first: what is begun last should not be what takes longest.
        for name, tar in sorted(tars.items(), key=lambda item: -_size(*item))
    ]
    try:
        download_all(remotes, progress, workers=_WORKERS, retry=repository.retry, on_file=on_file)
    finally:
        pinned = sorted(f"{name}.tar" for name in contents if not tars[name].md5)
        if pinned:
            progress(
                "This record publishes no checksum that srbench knows; pinned what came: "
                f"{', '.join(pinned)} (in {lock_file}). A later download, or a change on the disk, is "
                "compared with it."
            )
    return contents


def _size(category: str, tar: Tar) -> int:
    """Bytes of a tar; those of version 2.0 where nobody says."""
    return tar.size or V2.tars[category].size or 0
