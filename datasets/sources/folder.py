"""``folder:PATH``: a user's own micrographs, found in a folder and below it.

The pixels are packed once into the cache below the srbench home and again when a file changes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from srbench.datasets.base import DatasetCard, DatasetSource, DatasetState, Micrograph, Split
from srbench.datasets.images.databar import DecodedMicrograph, decode_micrograph
from srbench.datasets.images.decode import SUFFIXES, BadImage, decode_labels
from srbench.datasets.packed.format import PackedSet, Stored
from srbench.datasets.packed.writer import PackWriter, packing
from srbench.datasets.registry import register_dataset
from srbench.datasets.splits import check_groups, split_groups
from srbench.utils.errors import DatasetError, DatasetMissing, SrbenchError
from srbench.utils.files import id_to_name, name_to_id, pixel_hash, printable
from srbench.utils.image import Pixels
from srbench.utils.paths import home

GROUPS = "groups.csv"
# Raised whenever the same files would give other pixels, groups or splits.
_RULES = "2"
# Seconds to wait for another process packing the same folder: the ranks of one training run open it together.
_LOCK_SECONDS = 3600.0
_MASK_FOLDER = "masks"
_MASK_ENDING = "_mask"
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
    image (colour files too: micrographs are grey) and cuts its databar off (noted in ``.notes``). What cannot
    be used is listed in ``.skipped`` with its reason, exact duplicates too.

    ``groups.csv`` in the folder has the columns ``file,group`` and optionally ``category``. A file that it
    does not name is a group of its own; the category is otherwise the name of the sub-folder. Sub-folders
    ``train``, ``val`` (or ``valid``, ``validation``) or ``test`` are the splits where there are some, and
    files outside of them are skipped. Otherwise groups are split by a hash of their names, which gives the
    same split on every machine, with at least one group in ``test``.

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
        root = _root(argument)
        if not root.is_dir():
            raise DatasetError(f"{root} is not a folder. Expected folder:/path/to/your/images")
        cache = _cache_folder(root)
        # Names become ids here, and names again only where a file is opened.
        files = sorted(map(name_to_id, _walk(root)))
        version = _version(root, files)
        name = f"folder:{name_to_id(argument)}"
        if not _is_packed(cache, version):
            _pack(root, files, cache, version)
        return PackedSet(cache, self.card, name, sources=[root])

    def is_local(self, argument: str | None = None) -> bool:
        """Whether this folder was packed before, in this state or another."""
        return bool(argument) and _cache_folder(_root(str(argument))).is_dir()

    def state(self) -> DatasetState:
        """Nothing is on disk under this name alone."""
        return DatasetState("absent", next_step="Give a folder: folder:/path/to/your/images")


def _root(argument: str) -> Path:
    """The folder of that name, or of the name behind an id (``srbench.utils.files.name_to_id``)."""
    root = Path(argument).expanduser().resolve()
    behind = Path(id_to_name(argument)).expanduser().resolve()
    return behind if behind.is_dir() and not root.is_dir() else root


def _cache_folder(root: Path) -> Path:
    name = re.sub(r"[^A-Za-z0-9]+", "-", root.name).strip("-")[:40] or "images"
    digest = hashlib.sha256(str(root).encode("utf-8", "surrogateescape")).hexdigest()
    return home() / "cache" / "folder" / f"{name}-{digest[:12]}"


def _walk(root: Path) -> Iterator[str]:
    """Paths of all files relative to ``root``, with forward slashes; hidden ones are left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _version(root: Path, files: list[str]) -> str:
    digest = hashlib.sha256(f"{_RULES}\n{root}\n".encode("utf-8", "surrogateescape"))
    for file in files:
        try:
            status = (root / id_to_name(file)).stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "unreadable"  # a broken link, say: decoding gives the reason
        digest.update(f"{file}\t{state}\n".encode())
    return digest.hexdigest()


def _is_packed(cache: Path, version: str) -> bool:
    """Whether a whole pack of these very files is there."""
    try:
        return PackedSet(cache, Folder.card).manifest.version == version
    except SrbenchError:
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
        listed = ", ".join(sorted(map(str, columns))) or "none"
        raise DatasetError(f"{path} needs the columns file,group and may have category; found: {listed}.")
    groups = {_posix(row["file"]): row["group"].strip() for row in rows if row["file"] and row["group"]}
    categories = {_posix(row["file"]): row["category"] for row in rows if row.get("category")}
    missing = sorted(file for file in groups if not (root / id_to_name(file)).is_file())
    if missing:
        raise DatasetError(f"{path} names files that are not there: {', '.join(missing[:5])}. Correct it.")
    return _Labels(groups, categories)


def _posix(name: str) -> str:
    return name.strip().replace("\\", "/").removeprefix("./")


class _Packed:
    """The images packed so far with their notes, the masks used, and what was skipped."""

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
    packed = _Packed()
    with packing(
        cache,
        name="folder",
        version=version,
        licence=Folder.card.licence,
        source=printable(str(root)),
        wait=_LOCK_SECONDS,
    ) as writer:
        if _is_packed(cache, version):
            return  # by the process that was waited for
        # The copy in the test folder is the one that stays when a file is in two.
        for file in sorted(files, key=lambda file: (_KEEP_FIRST[folders[file]], file)):
            if file == GROUPS or file in masks.files:
                continue
            if use_folders and folders[file] is None:
                packed.skipped[file] = "outside of the folders train, val and test"
            else:
                _pack_file(root, file, masks.of.get(file), writer, packed)
        packed.skipped.update(_unused(masks, packed))
        if not packed.stored:
            raise _nothing_usable(root, packed.skipped)
        images = _micrographs(packed, labels, folders if use_folders else None, root)
        check_groups(images)
        writer.finish(images, skipped=packed.skipped, notes=packed.notes)


def _pack_file(root: Path, file: str, mask: str | None, writer: PackWriter, packed: _Packed) -> None:
    if Path(file).suffix.lower() not in SUFFIXES:
        packed.skipped[file] = "not a PNG, TIFF, JPEG or BMP file by its name"
        return
    path = root / id_to_name(file)
    try:
        decoded = decode_micrograph(path)
    except BadImage as error:
        packed.skipped[file] = printable(str(error).removeprefix(f"{path}: "))
        return
    first = packed.by_hash.setdefault(pixel_hash(decoded.pixels), file)
    if first != file:
        packed.skipped[file] = f"the same picture as {first}"
        return
    labels = None if mask is None else _mask(root, mask, decoded, packed)
    packed.stored[file] = writer.add(file, decoded.pixels, mask=labels)
    if decoded.notes:
        packed.notes[file] = "; ".join(decoded.notes)


def _mask(root: Path, mask: str, decoded: DecodedMicrograph, packed: _Packed) -> Pixels | None:
    """The mask, without the rows of the databar; None, and the reason kept, where it cannot be used."""
    try:
        labels = decode_labels(root / id_to_name(mask))
        expected = (decoded.file_rows, decoded.pixels.shape[1])
        if labels.shape != expected:
            sizes = (f"{columns}x{rows}" for rows, columns in (labels.shape, expected))
            raise BadImage("a mask of {} px for an image of {} px".format(*sizes))
    except BadImage as error:
        packed.skipped[mask] = printable(str(error))
        return None
    packed.masks.add(mask)
    return labels[: decoded.pixels.shape[0]]


def _unused(masks: Masks, packed: _Packed) -> Iterator[tuple[str, str]]:
    """The masks that belong to no image of the set."""
    images = {mask: image for image, mask in masks.of.items()}
    for mask in sorted(masks.files - packed.masks - set(packed.skipped)):
        yield mask, f"its image {images[mask]} was skipped" if mask in images else "a mask without an image"


def _micrographs(
    packed: _Packed, labels: _Labels, folders: Mapping[str, Split | None] | None, root: Path
) -> list[Micrograph]:
    groups = {file: labels.groups.get(file) or file for file in packed.stored}
    by_hash = split_groups(groups.values())
    images = []
    for file, stored in packed.stored.items():
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
                source=printable(str(root / id_to_name(file))),
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
    return parents[-1] if parents else name_to_id(root.name)


def _nothing_usable(root: Path, skipped: Mapping[str, str]) -> DatasetError:
    if not skipped:
        return DatasetMissing(f"{root} holds no files. Put PNG, TIFF, JPEG or BMP micrographs in it.")
    listed = "\n".join(f"  {file}: {reason}" for file, reason in sorted(skipped.items())[:10])
    more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
    return DatasetError(f"None of the {len(skipped)} files in {root} can be used:\n{listed}{more}")


@dataclass(frozen=True)
class Masks:
    """The masks among the files of a folder.

    Attributes:
        of: image to its mask.
        files: everything that is a mask, with an image or without.
    """

    of: Mapping[str, str]
    files: frozenset[str]


def pair_masks(files: Iterable[str]) -> Masks:
    """Pair images and masks by their relative paths with forward slashes; see :class:`Folder`."""
    paths = [PurePosixPath(file) for file in files]
    paths = [path for path in paths if path.suffix.lower() in SUFFIXES]
    by_stem = {_key(path.with_suffix("")): str(path) for path in sorted(paths, reverse=True)}
    inside = {path for path in paths if _MASK_FOLDER in (part.lower() for part in path.parent.parts)}
    beside = {path for path in paths if path not in inside and _is_beside(path, by_stem)}
    masks = {str(path) for path in inside | beside}
    pairs = {}
    for path in paths:
        if str(path) not in masks:
            candidates = (by_stem.get(stem) for stem in _mask_stems(path))
            mask = next((file for file in candidates if file in masks), None)
            if mask is not None:
                pairs[str(path)] = mask
    return Masks(pairs, frozenset(masks))


def _is_beside(path: PurePosixPath, by_stem: Mapping[str, str]) -> bool:
    """``a_mask.png`` is a mask where ``a.png`` lies beside it; alone it is an image called so."""
    return (
        path.stem.endswith(_MASK_ENDING) and _key(path.with_name(path.stem[: -len(_MASK_ENDING)])) in by_stem
    )


def _mask_stems(image: PurePosixPath) -> Iterator[str]:
    """Where the mask of an image may be, without suffix, the nearest first."""
    folder, stem = image.parent, image.stem
    folders = [folder / _MASK_FOLDER, folder]
    if folder.name.lower() == "images":
        folders.append(folder.parent / _MASK_FOLDER)
    folders.append(PurePosixPath(_MASK_FOLDER) / folder)
    for candidate in folders:
        if candidate != folder:
            yield _key(candidate / stem)
        yield _key(candidate / f"{stem}{_MASK_ENDING}")


def _key(path: PurePosixPath) -> str:
    """The path with ``Masks`` or ``MASKS`` as ``masks``."""
    return "/".join(_MASK_FOLDER if part.lower() == _MASK_FOLDER else part for part in path.parts)
