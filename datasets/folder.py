"""``folder:PATH``: a user's own micrographs, found in a folder and below it.

* Every PNG, TIFF, JPEG or BMP file is taken as ``decode`` and ``databar`` say: grey, databar cut off (noted
  in ``.notes``). What cannot be taken is listed in ``.skipped`` with its reason, exact duplicates too.
* Groups: ``groups.csv`` in the folder, with the columns ``file,group`` and optionally ``category``; a file it
  does not name, or every file where there is none, is a group of its own. The category is otherwise the name
  of the sub-folder.
* Splits: if there are sub-folders ``train``, ``val`` (or ``valid``, ``validation``) or ``test`` they are
  taken as they are, and files outside of them are skipped. Otherwise groups are split by a hash of their
  names, which gives the same split on every machine, with at least one group in ``test``.

* Masks: see :class:`Folder`.

The pixels are packed once into the cache below the srbench home and again when a file changes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from srbench.datasets.decode import SUFFIXES, BadImage, decode_labels
from srbench.datasets.folder_masks import Masks, pair_masks
from srbench.datasets.home import home
from srbench.datasets.interface import (
    DatasetCard,
    DatasetError,
    DatasetMissing,
    DatasetSource,
    DatasetState,
    Micrograph,
    Pixels,
    Split,
)
from srbench.datasets.pack_writer import PackWriter, packing
from srbench.datasets.packed import PackedSet, Stored
from srbench.datasets.prepare import Prepared, prepare
from srbench.datasets.registry import register_dataset
from srbench.datasets.splits import check_groups, split_groups
from srbench.datasets.storage import pixel_hash

GROUPS = "groups.csv"
# Raised whenever the same files would give other pixels, groups or splits.
_RULES = "2"
# Seconds to wait for another process packing the same folder: the ranks of one training run open it together.
_PATIENCE = 3600.0
_SPLIT_FOLDERS: Mapping[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
_KEEP_FIRST: Mapping[Split | None, int] = {"test": 0, "val": 1, "train": 2, None: 3}


@register_dataset
class Folder(DatasetSource):
    """The user's own images, with segmentations by hand where there are some.

    ``folder:/path/to/images`` takes every PNG, TIFF, JPEG or BMP file in the folder and below it as a grey
    image (colour files too: micrographs are grey) and cuts its databar off. ``groups.csv``, the sub-folders
    ``train``, ``val`` and ``test``, and what is skipped are described at the top of this module.

    The mask of ``sample/a.png`` is looked for in this order, under any of the four suffixes:

    1. ``sample/masks/a.png`` (also ``sample/masks/a_mask.png``, as in 3 and 4),
    2. ``sample/a_mask.png``,
    3. ``masks/a.png`` beside the folder, where the image lies in a folder called ``images``,
    4. ``masks/sample/a.png``: the same path below a folder ``masks`` at the top.

    A mask holds one number a pixel: 0 for the background, others for classes or for single objects, in 8 or
    16 bits. It has the size of the image file; rows that are cut off with a databar are cut off it too. A
    mask that is JPEG, coloured, of another size or of other numbers is listed in ``.skipped`` with the
    reason, and its image is taken without it. Files in a folder called ``masks`` are never taken as images.
    """

    card = DatasetCard(
        name="folder",
        title="Your images",
        kind="user",
        summary="a folder of your own micrographs: folder:/path/to/them",
        licence="yours",
        obtain=("path",),
    )

    def open(self, argument: str | None = None) -> PackedSet:
        """Open the folder ``argument``, packing it first if it is new or has changed.

        Raises:
            DatasetError: no such folder, no usable image in it, or one group in two splits.
        """
        if not argument:
            raise DatasetError("Say which folder: folder:/path/to/your/images")
        root = Path(argument).expanduser().resolve()
        if not root.is_dir():
            raise DatasetError(f"{root} is not a folder. Expected folder:/path/to/your/images")
        cache = _cache_folder(root)
        files = sorted(_walk(root))
        version = _version(root, files)
        name = f"folder:{argument}"
        if not _is_packed(cache, version):
            _pack(root, files, cache, version)
        return PackedSet(cache, self.card, name, sources=[root])

    def is_taken(self, argument: str | None = None) -> bool:
        """Whether this folder was packed before, in this state or another."""
        return bool(argument) and _cache_folder(Path(str(argument)).expanduser().resolve()).is_dir()

    def state(self) -> DatasetState:
        """Nothing is on disk under this name alone."""
        return DatasetState("absent", next_step="Give a folder: folder:/path/to/your/images")


def _cache_folder(root: Path) -> Path:
    name = re.sub(r"[^A-Za-z0-9]+", "-", root.name).strip("-")[:40] or "images"
    return home() / "cache" / "folder" / f"{name}-{hashlib.sha256(str(root).encode()).hexdigest()[:12]}"


def _walk(root: Path) -> Iterator[str]:
    """Paths of all files relative to ``root``, with forward slashes; hidden ones are left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _version(root: Path, files: list[str]) -> str:
    digest = hashlib.sha256(f"{_RULES}\n{root}\n".encode())
    for file in files:
        digest.update(f"{file}\t{_size_and_time(root / file)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _size_and_time(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "unreadable"  # a broken link, say: decoding will tell
    return f"{status.st_size} {status.st_mtime_ns}"


def _is_packed(cache: Path, version: str) -> bool:
    """Whether a whole pack of these very files is there."""
    try:
        return PackedSet(cache, Folder.card).manifest.version == version
    except DatasetError:
        return False


@dataclass(frozen=True)
class _Labels:
    """What ``groups.csv`` says: file to group, and file to category where given."""

    groups: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)


def _read_labels(root: Path) -> _Labels:
    path = root / GROUPS
    if not path.is_file():
        return _Labels()
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as UTF-8 text with commas: {error}") from error
    columns = set(rows[0]) if rows else set()
    if not {"file", "group"} <= columns:
        found = ", ".join(sorted(map(str, columns))) or "none"
        raise DatasetError(f"{path} needs the columns file,group and may have category; found: {found}.")
    groups = {_posix(row["file"]): row["group"].strip() for row in rows if row["file"] and row["group"]}
    categories = {_posix(row["file"]): row["category"] for row in rows if row.get("category")}
    missing = sorted(file for file in groups if not (root / file).is_file())
    if missing:
        raise DatasetError(f"{path} names files that are not there: {', '.join(missing[:5])}. Correct it.")
    return _Labels(groups, categories)


def _posix(name: str) -> str:
    return name.strip().replace("\\", "/").removeprefix("./")


class _Found:
    """The images taken so far: their place in the pack and notes; the masks used; and what was skipped."""

    def __init__(self) -> None:
        self.stored: dict[str, Stored] = {}
        self.by_hash: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.masks: set[str] = set()


def _pack(root: Path, files: list[str], cache: Path, version: str) -> None:
    labels = _read_labels(root)
    folders = {file: _split_folder(file) for file in files}
    masks = pair_masks(files)
    use_folders = any(split and Path(file).suffix.lower() in SUFFIXES for file, split in folders.items())
    found = _Found()
    with packing(
        cache, name="folder", version=version, licence=Folder.card.licence, source=str(root), wait=_PATIENCE
    ) as writer:
        if _is_packed(cache, version):
            return  # by the process that was waited for
        # The copy in the test folder is the one that stays when a file is in two.
        for file in sorted(files, key=lambda file: (_KEEP_FIRST[folders[file]], file)):
            if file == GROUPS or file in masks.files:
                continue
            if use_folders and folders[file] is None:
                found.skipped[file] = "outside of the folders train, val and test"
            else:
                _take(root, file, masks.of.get(file), writer, found)
        found.skipped.update(_unused(masks, found))
        if not found.stored:
            raise _nothing_usable(root, found.skipped)
        images = _micrographs(found, labels, folders if use_folders else None, root)
        check_groups(images)
        writer.finish(images, skipped=found.skipped, notes=found.notes)


def _take(root: Path, file: str, mask: str | None, writer: PackWriter, found: _Found) -> None:
    if Path(file).suffix.lower() not in SUFFIXES:
        found.skipped[file] = "not a PNG, TIFF, JPEG or BMP file by its name"
        return
    try:
        prepared = prepare(root / file)
    except BadImage as error:
        found.skipped[file] = str(error).removeprefix(f"{root / file}: ")
        return
    twin = found.by_hash.setdefault(pixel_hash(prepared.pixels), file)
    if twin != file:
        found.skipped[file] = f"the same picture as {twin}"
        return
    labels = None if mask is None else _mask(root, mask, prepared, found)
    found.stored[file] = writer.add(file, prepared.pixels, mask=labels)
    if prepared.notes:
        found.notes[file] = "; ".join(prepared.notes)


def _mask(root: Path, mask: str, prepared: Prepared, found: _Found) -> Pixels | None:
    """The mask, without the rows of the databar; None, and the reason kept, where it cannot be used."""
    try:
        labels = decode_labels(root / mask)
        expected = (prepared.file_rows, prepared.pixels.shape[1])
        if labels.shape != expected:
            raise BadImage(f"a mask of {_size(labels.shape)} px for an image of {_size(expected)} px")
    except BadImage as error:
        found.skipped[mask] = str(error)
        return None
    found.masks.add(mask)
    return labels[: prepared.pixels.shape[0]]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _unused(masks: Masks, found: _Found) -> Iterator[tuple[str, str]]:
    """The masks that belong to no image of the set."""
    images = {mask: image for image, mask in masks.of.items()}
    for mask in sorted(masks.files - found.masks - set(found.skipped)):
        yield mask, f"its image {images[mask]} was skipped" if mask in images else "a mask without an image"


def _micrographs(
    found: _Found, labels: _Labels, folders: Mapping[str, Split | None] | None, root: Path
) -> list[Micrograph]:
    groups = {file: labels.groups.get(file) or file for file in found.stored}
    by_hash = split_groups(groups.values())
    images = []
    for file, stored in found.stored.items():
        given = folders[file] if folders else None
        images.append(
            Micrograph(
                id=file,
                group=groups[file],
                category=labels.categories.get(file) or _category(file, root),
                split=given or by_hash[groups[file]],
                height=stored.height,
                width=stored.width,
                bits=16 if stored.dtype == "uint16" else 8,
                source=str(root / file),
            )
        )
    return images


def _split_folder(file: str) -> Split | None:
    first, _, rest = file.partition("/")
    return _SPLIT_FOLDERS.get(first.lower()) if rest else None


def _category(file: str, root: Path) -> str:
    parents = file.split("/")[:-1]
    if parents and _split_folder(file):
        parents = parents[1:]
    return parents[-1] if parents else root.name


def _nothing_usable(root: Path, skipped: Mapping[str, str]) -> DatasetError:
    if not skipped:
        return DatasetMissing(f"{root} holds no files. Put PNG, TIFF, JPEG or BMP micrographs in it.")
    listed = "\n".join(f"  {file}: {reason}" for file, reason in sorted(skipped.items())[:10])
    more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
    return DatasetError(f"None of the {len(skipped)} files in {root} can be used:\n{listed}{more}")
