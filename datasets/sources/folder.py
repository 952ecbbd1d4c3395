"""``folder:PATH``: a user's own micrographs, found in a folder and below it.

The pixels are packed once into the cache below the srbench home and again when a file changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from srbench.datasets.base import DatasetCard, Micrograph, ReadingOptions, Split
from srbench.datasets.images.databar import DecodedMicrograph, crop_micrograph
from srbench.datasets.images.decode import SUFFIXES, decode, decode_labels, refuse_blank
from srbench.datasets.images.depth import Depth
from srbench.datasets.images.instrument import InstrumentFacts, read_instrument
from srbench.datasets.images.pairs import lr_beside_hr
from srbench.datasets.images.raw import BadImage, RawImage
from srbench.datasets.packed.writer import PackWriter
from srbench.datasets.registry import register_dataset
from srbench.datasets.sources.user_folder import (
    FolderLabels,
    RawFiles,
    UserFolder,
    category_of,
    is_list,
    nothing_usable,
    read_labels,
)
from srbench.datasets.splits import check_groups, split_groups
from srbench.utils.errors import DatasetError
from srbench.utils.files import pixel_hash
from srbench.utils.image import Pixels
from srbench.utils.text import id_to_name, printable

_MASK_FOLDER = "masks"
_MASK_ENDING = "_mask"
_KEEP_FIRST: Mapping[Split | None, int] = {"test": 0, "val": 1, "train": 2, None: 3}


@register_dataset
class Folder(UserFolder):
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
    rules = "3"

    def read_with(self, options: ReadingOptions) -> Folder:
        """The same folder, read with these options.

        Raises:
            DatasetError: options of pairs.
        """
        if options.rows or options.residual_px is not None or options.residual_nm is not None:
            raise DatasetError(
                "--rows and --residual are for recorded pairs, pairs:/path/to/them: a folder of images has "
                "nothing to register. Leave them away."
            )
        return super().read_with(options)

    def pack(self, files: Sequence[str], writer: PackWriter) -> None:
        """See :class:`UserFolder`."""
        root = self.root
        labels = read_labels(root, frozenset(files))
        masks = pair_masks(files)
        images = [file for file in files if file not in masks.files and not is_list(file)]
        packer = _Packer(self, writer, labels, masks)
        usable = [file for file in images if PurePosixPath(file).suffix.lower() in SUFFIXES]
        outside = dict.fromkeys(set(images) - set(usable), "not a PNG, TIFF, JPEG or BMP file by its name")
        if split_folders := any(map(self.split_of, usable)):
            without = [file for file in images if self.split_of(file) is None]
            outside |= dict.fromkeys(without, "outside of the folders train, val and test")
        # The copy in the test folder is the one that stays when a file is in two.
        usable.sort(key=lambda file: (_KEEP_FIRST[self.split_of(file)], file))
        packer.pack([file for file in usable if file not in outside])
        skipped = {**outside, **packer.skipped}
        skipped.update(_unused(masks, packer.masks | skipped.keys()))
        if not packer.micrographs:
            raise nothing_usable(root, skipped)
        micrographs = packer.micrographs
        if not split_folders:
            by_hash = split_groups(image.group for image in micrographs)
            micrographs = [replace(image, split=by_hash[image.group]) for image in micrographs]
        check_groups(micrographs)
        writer.finish(micrographs, skipped=skipped, notes=packer.notes)


class _Packer:
    """Packs the images of a folder into a writer.

    Attributes:
        micrographs: those packed so far.
        skipped: what was refused, with the reason.
        notes: what was done to an image, by its id.
        masks: the masks that were used.
    """

    def __init__(self, folder: Folder, writer: PackWriter, labels: FolderLabels, masks: Masks) -> None:
        self.micrographs: list[Micrograph] = []
        self.skipped: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.masks: set[str] = set()
        self._root = folder.root
        self._options = folder.options
        self._split_of = folder.split_of
        self._progress = folder.progress
        self._writer = writer
        self._labels = labels
        self._mask_of = masks.of
        self._by_hash: dict[str, str] = {}

    def pack(self, files: Sequence[str]) -> None:
        """Pack the files, all by one depth; of equal pictures the first.

        Raises:
            DatasetError: LR lies beside HR.
        """
        raw_files = RawFiles(self._root, self._options.pages, self._progress)
        survey = raw_files.survey(files, self._options.bits)
        self.skipped.update(survey.refused)
        depth, sizes = survey.depth, survey.sizes
        mixed = lr_beside_hr(files, sizes, lambda file: decode(self._path(file), depth=depth).pixels)
        if mixed is not None:
            raise DatasetError(
                f"{self._root}: {mixed}. LR is no further HR: name the folder of the HR images alone, or "
                f"move the LR out of this one. Measured pairs of LR and HR are opened as pairs:{self._root}"
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
                category=self._labels.categories.get(file) or category_of(file, self._root),
                split=self._split_of(file) or "test",
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
