"""Folders of a user's own files: packed into the cache below the srbench home, again when a file changes."""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import os
import re
import shlex
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

from srbench.datasets.base import DatasetSource, DatasetState, ReadingOptions, Split, VerifyReport
from srbench.datasets.images.databar import without_databar
from srbench.datasets.images.decode import read_raw
from srbench.datasets.images.depth import Depth, common_depth
from srbench.datasets.images.raw import BadImage, RawImage, ValueRange
from srbench.datasets.images.walk import image_files
from srbench.datasets.packed.format import PackedSet, read_manifest
from srbench.datasets.packed.writer import PackWriter, packing, verify_packed
from srbench.utils.errors import DatasetError, DatasetMissing, SrbenchError
from srbench.utils.files import LONGEST_JSON, canonical_json, read_regular
from srbench.utils.paths import home
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent
from srbench.utils.text import id_to_name, name_to_id, printable

GROUPS = "groups.csv"
# Seconds to wait for another process packing the same folder: the ranks of one training run open it together.
_LOCK_SECONDS = 3600.0
# What is decoded and kept until the depth of the folder is known.
_HELD_BYTES = 1 << 29
SPLIT_FOLDERS: Mapping[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}

AnyFolder = TypeVar("AnyFolder", bound="UserFolder")


class UserFolder(DatasetSource):
    """Base of the data sets of a folder, ``name:/path/to/it``.

    Attributes:
        rules: raised whenever the same files would give other pixels, groups or splits.
        options: what the user said of the files.
    """

    rules: str
    options = ReadingOptions()

    @property
    def root(self) -> Path:
        """The folder, resolved: whatever was typed, one folder is one dataset.

        Raises:
            DatasetMissing: none was named.
        """
        if not self.argument:
            raise DatasetMissing(f"Say which folder: {self.card.name}:/path/to/your/images")
        return _resolved(self.argument)

    @property
    def full_name(self) -> str:
        """The name and the resolved path."""
        name = self.card.name
        return f"{name}:{name_to_id(str(self.root))}" if self.argument else name

    @property
    def cache(self) -> Path:
        """The folder that is packed with these options."""
        folder = self._cache_folder(self.root)
        if self.options == ReadingOptions():
            return folder
        return folder.with_name(f"{folder.name}-{_hash(canonical_json(asdict(self.options)))[:6]}")

    def read_with(self: AnyFolder, options: ReadingOptions) -> AnyFolder:
        """The same folder, read with these options."""
        entry = copy.copy(self)
        entry.options = options
        return entry

    def open(self, argument: str | None = None) -> PackedSet:
        """Open the folder ``argument``, packing it first if it is new or has changed.

        Raises:
            DatasetMissing: no folder was named.
            DatasetError: no such folder, no usable image in it, or one group in two splits.
        """
        if argument is not None:
            return self.at(argument).open()
        root = self.root
        if not root.is_dir():
            raise DatasetError(f"{root} is not a folder. Expected {self.card.name}:/path/to/your/images")
        files = sorted(map(name_to_id, image_files(root)))
        version = self._version(files)
        if not self._is_packed(version):
            with packing(
                self.cache,
                name=self.card.name,
                version=version,
                licence=self.card.licence,
                source=printable(str(root)),
                wait=_LOCK_SECONDS,
            ) as writer:
                if not self._is_packed(version):  # by the process that was waited for
                    self.pack(files, writer)
        sources = [root, *_linked(root, files)]
        opened = PackedSet(self.cache, self.card, self.full_name, sources, self.options)
        opened.has_splits = any(self.split_of(image.id) for image in opened.images)
        return opened

    @abstractmethod
    def pack(self, files: Sequence[str], writer: PackWriter) -> None:
        """Pack the folder.

        Args:
            files: all files in it, by ids: names as text that can be stored and printed.
            writer: takes the images, and is finished.

        Raises:
            DatasetError: no usable image, or one group in two splits.
        """

    def split_of(self, file: str) -> Split | None:
        """The split that the folders of a file say, None where they say none."""
        first, _, rest = file.partition("/")
        return SPLIT_FOLDERS.get(first.lower()) if rest else None

    def is_local(self, argument: str | None = None) -> bool:
        """Whether this folder was packed before, in this state or another."""
        if not argument:
            return False
        folder = self._cache_folder(_resolved(argument))
        return folder.is_dir() or any(folder.parent.glob(f"{folder.name}-*"))

    def state(self) -> DatasetState:
        """``ready`` once it has been packed as it is now; ``absent`` without a folder or before."""
        if not self.argument:
            return DatasetState("absent", next_step=f"Give a folder: {self.card.name}:/path/to/your/images")
        root = self.root
        if not root.is_dir():
            return DatasetState("absent", next_step=f"{root} is not a folder; give another.")
        if not self._is_packed(self._version(sorted(map(name_to_id, image_files(root))))):
            return DatasetState("absent", next_step=f"srbench datasets show {shlex.quote(self.full_name)}")
        manifest = read_manifest(self.cache)
        return DatasetState("ready", manifest.images, manifest.nbytes)

    def verify(self, progress: ProgressCallback = silent) -> VerifyReport:
        """Hash what was packed of the folder; what has changed in it is packed first."""
        self.open()
        return verify_packed(self.cache, progress)

    def _cache_folder(self, root: Path) -> Path:
        name = re.sub(r"[^A-Za-z0-9]+", "-", root.name).strip("-")[:40] or "images"
        return home() / "cache" / self.card.name / f"{name}-{_hash(os.fsencode(root))[:12]}"

    def _version(self, files: Sequence[str]) -> str:
        root = self.root
        digest = hashlib.sha256(f"{self.rules}\n{root}\n".encode("utf-8", "surrogateescape"))
        digest.update(canonical_json(asdict(self.options)))
        for file in files:
            try:
                status = (root / id_to_name(file)).stat()
                state = f"{status.st_size} {status.st_mtime_ns}"
            except OSError:
                state = "unreadable"  # a broken link, say: decoding gives the reason
            digest.update(f"{file}\t{state}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _is_packed(self, version: str) -> bool:
        """Whether a whole pack of these very files is there."""
        try:
            return PackedSet(self.cache, self.card).manifest.version == version
        except SrbenchError:
            return False


def _resolved(argument: str) -> Path:
    """The folder of that name, or of the name behind an id (:func:`name_to_id`)."""
    try:
        root = Path(argument).expanduser().resolve()
        root = root if root.is_dir() else Path(id_to_name(argument)).expanduser().resolve()
        root.is_dir()
    except (OSError, ValueError, RuntimeError) as error:  # too long, with a zero byte, of an unknown user
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{argument[:80]!r} is not the path of a folder: {reason}.") from error
    return root


def _linked(root: Path, files: Iterable[str]) -> list[Path]:
    """Folders and files outside of ``root`` that links in it lead to: the pixels can be read there too."""
    names = [PurePosixPath(id_to_name(file)) for file in files]
    below = {root / path for name in names for path in (name, *name.parents)} - {root}
    targets = {path.resolve() for path in below if path.is_symlink()}
    outside = {path for path in targets if not path.is_relative_to(root)}
    # A folder around all of this would be hidden with everything that a worker needs.
    around = {path for path in outside if root.is_relative_to(path)}
    files_there = {path.resolve() for path in below if around and path.is_file()}
    return sorted(outside - around | {path for path in files_there if not path.is_relative_to(root)})


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class FolderLabels:
    """What ``groups.csv`` says: file to group, and file to category where given."""

    groups: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)


def read_labels(root: Path, files: Collection[str]) -> FolderLabels:
    """What ``groups.csv`` at the top of a folder says; nothing where there is none.

    Raises:
        DatasetError: several of them, one that cannot be read, or that names a file that is not there.
    """
    lists = [file for file in files if is_list(file)]
    if not lists:
        return FolderLabels()
    if len(lists) > 1:
        raise DatasetError(f"{root} holds {' and '.join(lists)}, which may contradict each other. Keep one.")
    path = root / lists[0]
    groups, categories = {}, {}
    try:
        reader = csv.DictReader(io.StringIO(read_regular(path, LONGEST_JSON).decode("utf-8-sig")))
        columns = set(reader.fieldnames or ())
        if not {"file", "group"} <= columns:
            listed = ", ".join(sorted(map(str, columns))) or "none"
            raise DatasetError(f"{path} needs the columns file,group and may have category; found: {listed}.")
        for row in reader:
            file, group, category = ((row.get(name) or "").strip() for name in ("file", "group", "category"))
            if not (file and group):
                missing, given = ("file", group) if group else ("group", file)
                raise DatasetError(
                    f"{path}, line {reader.line_num}: no {missing} beside {given!r}. Fill it in, or remove "
                    "the line: a file that is not listed is a group of its own."
                )
            if file not in files:
                file = file.replace("\\", "/").removeprefix("./")
            groups[file] = printable(group)
            if category:
                categories[file] = printable(category)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as UTF-8 text with commas: {error}") from error
    absent = sorted(groups.keys() - set(files))
    if absent:
        raise DatasetError(f"{path} names files that are not there: {', '.join(absent[:5])}. Correct it.")
    return FolderLabels(groups, categories)


def is_list(file: str) -> bool:
    """Whether a file is ``groups.csv``."""
    return file.lower() == GROUPS


@dataclass(frozen=True)
class Survey:
    """What all files of a folder have in common.

    Attributes:
        depth: how their numbers become grey levels.
        sizes: rows and columns of those that can be read, databars included.
        refused: the others, with the reason.
    """

    depth: Depth
    sizes: Mapping[str, tuple[int, int]]
    refused: Mapping[str, str]


class RawFiles:
    """Reads the files of a folder, twice where they do not fit into memory: the depth needs all of them."""

    def __init__(
        self, root: Path, pages: Literal["first", "all"], progress: ProgressCallback = silent
    ) -> None:
        self._root = root
        self._pages = pages
        self._held: dict[str, list[RawImage]] = {}
        self._free = _HELD_BYTES
        self._progress = progress

    def read(self, file: str) -> list[RawImage]:
        """Its pages, or the first one.

        Raises:
            BadImage: it cannot be used; the message is the reason.
        """
        if file in self._held:
            return self._held.pop(file)
        path = self._root / id_to_name(file)
        try:
            images = read_raw(path, pages=self._pages)
        except BadImage as error:
            raise BadImage(printable(str(error).removeprefix(f"{path}: "))) from error
        size = sum(image.array.nbytes for image in images)
        if size <= self._free:
            self._free -= size
            self._held[file] = images
        return images

    def survey(self, files: Sequence[str], bits: int | None) -> Survey:
        """Read every file once, for what has to be known of all of them."""
        sizes: dict[str, tuple[int, int]] = {}
        refused: dict[str, str] = {}
        ranges: list[ValueRange] = []
        for done, file in enumerate(files, start=1):
            self._progress(ProgressEvent("read", done, len(files), "files"))
            try:
                images = self.read(file)
            except BadImage as error:
                refused[file] = str(error)
            else:
                sizes[file] = images[0].array.shape[0], images[0].array.shape[1]
                # A databar is white by the file's 16 bits, whatever the detector's are.
                deep = (without_databar(image) for image in images if image.array.dtype.itemsize > 1)
                ranges += [values for image in deep if (values := image.range).low < values.high]
        return Survey(common_depth(ranges, bits), sizes, refused)


def category_of(file: str, root: Path) -> str:
    """The folder that a file lies in, split folders left out; the name of ``root`` where it is in none."""
    parents = file.split("/")[:-1]
    if parents and parents[0].lower() in SPLIT_FOLDERS:
        parents = parents[1:]
    return parents[-1] if parents else name_to_id(root.name)


def nothing_usable(root: Path, skipped: Mapping[str, str]) -> DatasetError:
    """The error of a folder in which nothing can be used."""
    if not skipped:
        return DatasetError(f"{root} holds no files. Put PNG, TIFF, JPEG or BMP micrographs in it.")
    listed = "\n".join(f"  {file}: {reason}" for file, reason in sorted(skipped.items())[:10])
    more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
    which = (
        f"None of the {len(skipped)} files in {root} can"
        if len(skipped) > 1
        else f"The file in {root} cannot"
    )
    return DatasetError(f"{which} be used:\n{listed}{more}")
