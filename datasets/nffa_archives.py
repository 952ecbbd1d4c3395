"""The tars of an NFFA set on the disk: found, hashed, written down in ``archives.json``, checked again.

The tars stay where they are: in ``archives/`` of the dataset's folder when srbench downloaded them, wherever
the user keeps them when they were imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from srbench.datasets.digests import Content, digest_of
from srbench.datasets.interface import DatasetError, ProgressCallback, ProgressEvent, silent
from srbench.datasets.nffa_releases import CLASSES, Identity, identify
from srbench.datasets.pins import Pin
from srbench.datasets.sealed import read_sealed, write_sealed

INVENTORY = "archives.json"
_READERS = 4


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
        kept = [tar for tar in (earlier.archives if earlier else ()) if tar.category not in mine]
        unchanged = [tar for tar in kept if tar.unchanged]
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
    raw = read_sealed(folder / INVENTORY, "Delete it and fetch or import the dataset again.")
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
    told = {"version": identity.version, "release": identity.title, **remarks}
    write_sealed(folder / INVENTORY, {**told, "record": inventory.record, "archives": archives})


def locate(folder: Path) -> dict[str, Path]:
    """Class to tar, in a folder and one level of folders below it.

    Raises:
        DatasetError: no tar at all, or two of one class.
    """
    found: dict[str, Path] = {}
    for path in sorted([*folder.glob("*.tar"), *folder.glob("*/*.tar")]):
        if path.stem not in CLASSES or not path.is_file():
            continue
        if path.stem in found:
            raise DatasetError(
                f"{found[path.stem]} and {path} are both tars of {path.stem}. Give the folder that holds "
                "the ones you mean. Nothing was changed."
            )
        found[path.stem] = path
    if not found:
        raise DatasetError(_nothing_in(folder))
    return found


def _nothing_in(folder: Path) -> str:
    expected = f"Expected {CLASSES[0]}.tar, {CLASSES[1]}.tar, ... in {folder}"
    unpacked = [name for name in CLASSES if (folder / name).is_dir()]
    if not unpacked:
        return f"{expected} or one folder below it, found none. Nothing was changed."
    return (
        f"{expected}, found unpacked folders ({', '.join(unpacked)}). The release is told by the tars as "
        "they were downloaded: give their folder. Where they are gone, make new ones, which will count as of "
        f"no known release: cd {folder} && for c in {' '.join(unpacked)}; do tar -cf $c.tar $c; done"
    )


def hash_tars(tars: Mapping[str, Path], progress: ProgressCallback = silent) -> dict[str, Content]:
    """Size and hashes of each tar, by class; several are read at a time.

    Raises:
        DatasetError: one cannot be read.
    """
    lock = Lock()
    done = dict.fromkeys(tars, 0)
    total = sum(path.stat().st_size for path in tars.values())

    def read(category: str) -> Content:
        def told(size: int) -> None:
            with lock:
                done[category] = size
                progress(ProgressEvent("hash", sum(done.values()), total, "B"))

        try:
            return digest_of(tars[category], told).content
        except OSError as error:
            raise DatasetError(f"{tars[category]} cannot be read: {error.strerror or error}.") from error

    with ThreadPoolExecutor(_READERS) as pool:
        return dict(zip(tars, pool.map(read, tars), strict=True))


def in_words(count: float) -> str:
    """``13.6 GB`` or ``49.3 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def take(tars: Mapping[str, Path], contents: Mapping[str, Content], *, downloaded: bool) -> Iterable[Archive]:
    """What to write down of tars that were just hashed."""
    for category, path in sorted(tars.items()):
        content, modified = contents[category], path.stat().st_mtime_ns
        yield Archive(category, path, content.size, modified, content.md5, content.sha256, downloaded)


def damage(
    inventory: Inventory, pins: Mapping[str, Pin], progress: ProgressCallback = silent, *, needed: bool
) -> tuple[int, dict[str, str]]:
    """Read the tars that are still there.

    Args:
        inventory: the tars as they were.
        pins: what came at first, for tars that were downloaded.
        progress: told of the bytes read.
        needed: whether a tar that has gone is a fault.

    Returns:
        How many were read, and what is wrong with each bad one.
    """
    there = {archive.category: archive.path for archive in inventory.archives if archive.path.is_file()}
    found = hash_tars(there, progress)
    problems = {}
    for archive in inventory.archives:
        content = found.get(archive.category)
        pin = pins.get(f"{inventory.record}/{archive.path.name}")
        if content is None:
            problem = "is gone" if needed else ""
        elif content.sha256 != archive.sha256:
            problem = _changed(content, archive.size, archive.md5)
        else:
            problem = _changed(content, pin.size, pin.md5) if pin and pin.sha256 != content.sha256 else ""
        if problem:
            problems[str(archive.path)] = problem
    return len(found), problems


def _changed(content: Content, size: int, md5: str) -> str:
    return (
        f"changed: {content.size:,} bytes with md5 {content.md5}, expected {size:,} bytes with md5 {md5}; "
        "delete it and fetch or import the dataset again"
    )
