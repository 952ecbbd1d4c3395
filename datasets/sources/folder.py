"""``folder:PATH``: a user's own micrographs, found in a folder and below it.

The pixels are packed once into the cache below the srbench home and again when a file changes.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import io
import os
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from srbench.datasets.base import (
    DatasetCard,
    DatasetSource,
    DatasetState,
    Micrograph,
    ReadingOptions,
    Split,
    VerifyReport,
)
from srbench.datasets.images.databar import DecodedMicrograph, crop_micrograph, without_databar
from srbench.datasets.images.decode import SUFFIXES, decode, decode_labels, read_raw, refuse_blank
from srbench.datasets.images.depth import Depth, common_depth
from srbench.datasets.images.instrument import InstrumentFacts, read_instrument
from srbench.datasets.images.pairs import lr_beside_hr
from srbench.datasets.images.raw import BadImage, RawImage, ValueRange
from srbench.datasets.images.walk import image_files
from srbench.datasets.packed.format import PackedSet, read_manifest
from srbench.datasets.packed.writer import PackWriter, packing, verify_packed
from srbench.datasets.registry import register_dataset
from srbench.datasets.splits import check_groups, split_groups
from srbench.utils.errors import DatasetError, DatasetMissing, SrbenchError
from srbench.utils.files import LONGEST_JSON, canonical_json, pixel_hash, read_regular
from srbench.utils.image import Pixels
from srbench.utils.paths import home
from srbench.utils.progress import ProgressCallback, silent
from srbench.utils.text import id_to_name, name_to_id, printable

GROUPS = "groups.csv"
# Raised whenever the same files would give other pixels, groups or splits.
_RULES = "3"
# Seconds to wait for another process packing the same folder: the ranks of one training run open it together.
_LOCK_SECONDS = 3600.0
# What is decoded and kept until the depth of the folder is known.
_HELD_BYTES = 1 << 29
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

    ``folder:/path/to/images``, or the path alone, takes every PNG, TIFF, JPEG, BMP or MRC file in the folder
    and below it as a grey image (colour files too: micrographs are grey) and cuts its databar off (noted in
    ``.notes``). Links to folders are followed. What cannot be used is listed in ``.skipped`` with its reason,
    exact duplicates too. Of a file with several pages the first is taken, or with ``--pages all`` each, as
    ``name.tif#2``; they are one group.

    All files that store more than 8 bits are read by one bit depth (:func:`common_depth`), and pixel sizes
    are those that the files tell (:func:`read_instrument`), unless :class:`ReadingOptions` say otherwise. LR
    images beside their HR are refused (:func:`lr_beside_hr`).

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

    Where two images share a name, as ``a.png`` and ``a.tif``, a mask says by their suffix whose it is:
    ``masks/a.tif.png`` or ``a.tif_mask.png``; otherwise neither has one.

    A mask holds one number a pixel: 0 for the background, others for classes or for single objects, in 8 or
    16 bits. It has the size of the image file; what is cut off the image is cut off it too. A
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

    options = ReadingOptions()

    @property
    def root(self) -> Path:
        """The folder, resolved: whatever was typed, one folder is one dataset.

        Raises:
            DatasetMissing: none was named.
        """
        if not self.argument:
            raise DatasetMissing("Say which folder: folder:/path/to/your/images")
        return _resolved(self.argument)

    @property
    def full_name(self) -> str:
        """``folder:`` and the resolved path."""
        return f"folder:{name_to_id(str(self.root))}" if self.argument else "folder"

    @property
    def cache(self) -> Path:
        """The folder that is packed with these options."""
        folder = _cache_folder(self.root)
        if self.options == ReadingOptions():
            return folder
        return folder.with_name(f"{folder.name}-{_hash(canonical_json(asdict(self.options)))[:6]}")

    def read_with(self, options: ReadingOptions) -> Folder:
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
            raise DatasetError(f"{root} is not a folder. Expected folder:/path/to/your/images")
        files = _files(root)
        version = _version(root, files, self.options)
        if not _is_packed(self.cache, version):
            _pack(root, files, self.cache, version, self.options)
        sources = [root, *_linked(root, files)]
        opened = PackedSet(self.cache, self.card, self.full_name, sources, self.options)
        opened.has_splits = any(_split_folder(image.id) for image in opened.images)
        return opened

    def is_local(self, argument: str | None = None) -> bool:
        """Whether this folder was packed before, in this state or another."""
        if not argument:
            return False
        folder = _cache_folder(_resolved(argument))
        return folder.is_dir() or any(folder.parent.glob(f"{folder.name}-*"))

    def state(self) -> DatasetState:
        """``ready`` once it has been packed as it is now; ``absent`` without a folder or before."""
        if not self.argument:
            return DatasetState("absent", next_step="Give a folder: folder:/path/to/your/images")
        root = self.root
        if not root.is_dir():
            return DatasetState("absent", next_step=f"{root} is not a folder; give another.")
        if not _is_packed(self.cache, _version(root, _files(root), self.options)):
            return DatasetState("absent", next_step=f"srbench datasets show {shlex.quote(self.full_name)}")
        manifest = read_manifest(self.cache)
        return DatasetState("ready", manifest.images, manifest.nbytes)

    def verify(self, progress: ProgressCallback = silent) -> VerifyReport:
        """Hash what was packed of the folder; what has changed in it is packed first."""
        self.open()
        return verify_packed(self.cache, progress)


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


def _files(root: Path) -> list[str]:
    """Its files, by ids: names as text that can be stored and printed."""
    return sorted(map(name_to_id, image_files(root)))


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


def _cache_folder(root: Path) -> Path:
    name = re.sub(r"[^A-Za-z0-9]+", "-", root.name).strip("-")[:40] or "images"
    return home() / "cache" / "folder" / f"{name}-{_hash(os.fsencode(root))[:12]}"


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _version(root: Path, files: Sequence[str], options: ReadingOptions) -> str:
    digest = hashlib.sha256(f"{_RULES}\n{root}\n".encode("utf-8", "surrogateescape"))
    digest.update(canonical_json(asdict(options)))
    for file in files:
        try:
            status = (root / id_to_name(file)).stat()
            state = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            state = "unreadable"  # a broken link, say: decoding gives the reason
        digest.update(f"{file}\t{state}\n".encode("utf-8", "surrogateescape"))
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


def _read_labels(root: Path, files: Collection[str]) -> _Labels:
    lists = [file for file in files if _is_list(file)]
    if not lists:
        return _Labels()
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
    return _Labels(groups, categories)


def _is_list(file: str) -> bool:
    return file.lower() == GROUPS


class _RawFiles:
    """Reads the files of a folder, twice where they do not fit into memory: the depth needs all of them."""

    def __init__(self, root: Path, pages: Literal["first", "all"]) -> None:
        self._root = root
        self._pages = pages
        self._held: dict[str, list[RawImage]] = {}
        self._free = _HELD_BYTES

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


class _Packer:
    """Packs the images of a folder into a writer.

    Attributes:
        micrographs: those packed so far.
        skipped: what was refused, with the reason.
        notes: what was done to an image, by its id.
        masks: the masks that were used.
    """

    def __init__(
        self, root: Path, options: ReadingOptions, writer: PackWriter, labels: _Labels, masks: Masks
    ) -> None:
        self.micrographs: list[Micrograph] = []
        self.skipped: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.masks: set[str] = set()
        self._root = root
        self._options = options
        self._writer = writer
        self._labels = labels
        self._mask_of = masks.of
        self._by_hash: dict[str, str] = {}

    def pack(self, files: Sequence[str]) -> None:
        """Pack the files, all by one depth; of equal pictures the first.

        Raises:
            DatasetError: LR lies beside HR.
        """
        raw_files = _RawFiles(self._root, self._options.pages)
        ranges: list[ValueRange] = []
        sizes: dict[str, tuple[int, int]] = {}
        for file in files:
            try:
                images = raw_files.read(file)
            except BadImage as error:
                self.skipped[file] = str(error)
            else:
                sizes[file] = images[0].array.shape[0], images[0].array.shape[1]
                # A databar is white by the file's 16 bits, whatever the detector's are.
                deep = (without_databar(image) for image in images if image.array.dtype.itemsize > 1)
                ranges += [values for image in deep if (values := image.range).low < values.high]
        depth = common_depth(ranges, self._options.bits)
        mixed = lr_beside_hr(files, sizes, lambda file: decode(self._path(file), depth=depth).pixels)
        if mixed is not None:
            raise DatasetError(
                f"{self._root}: {mixed}. LR is no further HR: name the folder of the HR images alone, or "
                "move the LR out of this one. Measured pairs of LR and HR will be opened as pairs:."
            )
        for file in files:
            if file in sizes:
                images, facts = raw_files.read(file), read_instrument(self._path(file))
                for image in images:
                    name = file if len(images) == 1 else f"{file}#{image.page + 1}"
                    self._add(name, file, image, depth, facts)

    def _path(self, file: str) -> Path:
        return self._root / id_to_name(file)

    def _add(self, name: str, file: str, image: RawImage, depth: Depth, facts: InstrumentFacts) -> None:
        try:
            cropped = crop_micrograph(image, depth)
            refuse_blank(cropped.pixels)
        except BadImage as error:
            self.skipped[name] = str(error)
            return
        first = self._by_hash.setdefault(pixel_hash(cropped.pixels), name)
        if first != name:
            self.skipped[name] = f"the same picture as {first}"
            return
        stored = self._writer.add(name, cropped.pixels, mask=self._mask(file, image, cropped))
        given = self._options.pixel_size_nm
        notes = [*cropped.notes, *facts.notes]
        if given is not None and facts.pixel_size_nm is not None:
            notes.append(f"pixel size as given: the file says {facts.pixel_size_nm:.6g} nm ({facts.source})")
        if notes:
            self.notes[name] = "; ".join(notes)
        self.micrographs.append(
            Micrograph(
                id=name,
                group=self._labels.groups.get(file, file),
                category=self._labels.categories.get(file) or _category(file, self._root),
                split=_split_folder(file) or "test",
                height=stored.height,
                width=stored.width,
                bits=16 if stored.dtype == "uint16" else 8,
                source=printable(str(self._path(file))),
                pixel_size_nm=facts.pixel_size_nm if given is None else given,
                pixel_size_source=facts.source if given is None else "as given",
                measure=self._options.measure,
            )
        )

    def _mask(self, file: str, image: RawImage, cropped: DecodedMicrograph) -> Pixels | None:
        """The mask, cut as its image was; None, and the reason kept, where it cannot be used."""
        mask = self._mask_of.get(file)
        if mask is None:
            return None
        try:
            if image.pages > 1 and self._options.pages == "all":
                raise BadImage("a mask of a file with several pages: which of them is not known")
            labels = decode_labels(self._path(mask))
            if labels.shape != image.array.shape[:2]:
                (rows, columns), (height, width) = labels.shape, image.array.shape[:2]
                raise BadImage(f"a mask of {columns}x{rows} px for an image of {width}x{height} px")
        except BadImage as error:
            self.skipped[mask] = printable(str(error))
            return None
        self.masks.add(mask)
        return labels[cropped.rows, cropped.columns]


def _pack(root: Path, files: Sequence[str], cache: Path, version: str, options: ReadingOptions) -> None:
    labels = _read_labels(root, frozenset(files))
    masks = pair_masks(files)
    images = [file for file in files if file not in masks.files and not _is_list(file)]
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
        packer = _Packer(root, options, writer, labels, masks)
        usable = [file for file in images if PurePosixPath(file).suffix.lower() in SUFFIXES]
        outside = dict.fromkeys(set(images) - set(usable), "not a PNG, TIFF, JPEG or BMP file by its name")
        if split_folders := any(map(_split_folder, usable)):
            without = [file for file in images if _split_folder(file) is None]
            outside |= dict.fromkeys(without, "outside of the folders train, val and test")
        # The copy in the test folder is the one that stays when a file is in two.
        usable.sort(key=lambda file: (_KEEP_FIRST[_split_folder(file)], file))
        packer.pack([file for file in usable if file not in outside])
        skipped = {**outside, **packer.skipped}
        skipped.update(_unused(masks, packer.masks | skipped.keys()))
        if not packer.micrographs:
            raise _nothing_usable(root, skipped)
        micrographs = packer.micrographs
        if not split_folders:
            by_hash = split_groups(image.group for image in micrographs)
            micrographs = [replace(image, split=by_hash[image.group]) for image in micrographs]
        check_groups(micrographs)
        writer.finish(micrographs, skipped=skipped, notes=packer.notes)


def _unused(masks: Masks, accounted: Collection[str]) -> Iterator[tuple[str, str]]:
    """The masks that belong to no image of the set."""
    images = {mask: image for image, mask in masks.of.items()}
    for mask in sorted(masks.files - set(accounted)):
        if mask in images:
            yield mask, f"its image was skipped: {images[mask]}"
        elif mask in masks.ambiguous:
            *others, last = masks.ambiguous[mask]
            name = PurePosixPath(last).name
            yield (
                mask,
                f"an ambiguous mask: it may be of {', '.join(others)} or {last}; a name with the suffix says "
                f"it, as {name}{_MASK_ENDING}.png or {_MASK_FOLDER}/{name}.png",
            )
        else:
            yield mask, "a mask without an image"


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
        return DatasetError(f"{root} holds no files. Put PNG, TIFF, JPEG or BMP micrographs in it.")
    listed = "\n".join(f"  {file}: {reason}" for file, reason in sorted(skipped.items())[:10])
    more = f"\n  and {len(skipped) - 10} more" if len(skipped) > 10 else ""
    which = (
        f"None of the {len(skipped)} files in {root} can"
        if len(skipped) > 1
        else f"The file in {root} cannot"
    )
    return DatasetError(f"{which} be used:\n{listed}{more}")


@dataclass(frozen=True)
class Masks:
    """The masks among the files of a folder.

    Attributes:
        of: image to its mask.
        files: everything that is a mask, with an image or without.
        ambiguous: mask to the images that it may be of.
    """

    of: Mapping[str, str]
    files: frozenset[str]
    ambiguous: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def pair_masks(files: Iterable[str]) -> Masks:
    """Pair images and masks by their relative paths with forward slashes; see :class:`Folder`."""
    paths = sorted(map(PurePosixPath, files))
    paths = [path for path in paths if path.suffix.lower() in SUFFIXES]
    keys = {key for path in paths for key in (_key(path.with_suffix("")), _key(path))}
    masks: dict[str, list[str]] = {}
    images = []
    for path in paths:
        inside = _MASK_FOLDER in (part.lower() for part in path.parent.parts)
        # a_mask.png is a mask where a.png lies beside it; alone it is an image called so.
        of = path.stem.removesuffix(_MASK_ENDING)
        if inside or (of and of != path.stem and _key(path.with_name(of)) in keys):
            masks.setdefault(_key(path.with_suffix("")), []).append(str(path))
        else:
            images.append(path)
    candidates = {
        str(image): [(rank, mask) for rank, key in _mask_keys(image) for mask in masks.get(key, ())]
        for image in images
    }
    claims: dict[str, dict[int, list[str]]] = {}
    for image, ranked in candidates.items():
        for rank, mask in ranked:
            claims.setdefault(mask, {}).setdefault(rank, []).append(image)
    nearest = {mask: tuple(dict.fromkeys(by_rank[min(by_rank)])) for mask, by_rank in claims.items()}
    pairs = {
        image: mask
        for image, ranked in candidates.items()
        for mask in [mask for _, mask in ranked if nearest[mask] == (image,)][:1]
    }
    return Masks(
        pairs,
        frozenset(mask for members in masks.values() for mask in members),
        {mask: images_of for mask, images_of in nearest.items() if len(images_of) > 1},
    )


def _mask_keys(image: PurePosixPath) -> Iterator[tuple[int, str]]:
    """What the mask of an image may be called, without its suffix, the nearest with the lowest rank."""
    folder = image.parent
    folders = [folder / _MASK_FOLDER, folder]
    if folder.name.lower() == "images":
        folders.append(folder.parent / _MASK_FOLDER)
    folders.append(PurePosixPath(_MASK_FOLDER) / folder)
    for rank, candidate in enumerate(folders):
        for name in (image.name, image.stem):
            if candidate != folder:
                yield rank, _key(candidate / name)
            yield rank, _key(candidate / f"{name}{_MASK_ENDING}")


def _key(path: PurePosixPath) -> str:
    """The path with ``Masks`` or ``MASKS`` as ``masks``."""
    return "/".join(_MASK_FOLDER if part.lower() == _MASK_FOLDER else part for part in path.parts)
