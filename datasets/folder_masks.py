"""Which file of a user's folder is the mask of which image; see ``folder.Folder`` for the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from srbench.datasets.decode import SUFFIXES

_FOLDER = "masks"
_ENDING = "_mask"


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
    """Pair images and masks by their paths, which are relative and use forward slashes."""
    paths = [PurePosixPath(file) for file in files]
    paths = [path for path in paths if path.suffix.lower() in SUFFIXES]
    by_stem = {_key(path.with_suffix("")): str(path) for path in sorted(paths, reverse=True)}
    inside = {path for path in paths if _FOLDER in (part.lower() for part in path.parent.parts)}
    beside = {path for path in paths if path not in inside and _is_beside(path, by_stem)}
    masks = {str(path) for path in inside | beside}
    found = {}
    for path in paths:
        if str(path) not in masks:
            candidates = (by_stem.get(place) for place in _places(path))
            mask = next((file for file in candidates if file in masks), None)
            if mask is not None:
                found[str(path)] = mask
    return Masks(found, frozenset(masks))


def _is_beside(path: PurePosixPath, by_stem: Mapping[str, str]) -> bool:
    """``a_mask.png`` is a mask where ``a.png`` lies beside it; alone it is an image called so."""
    return path.stem.endswith(_ENDING) and _key(path.with_name(path.stem[: -len(_ENDING)])) in by_stem


def _places(image: PurePosixPath) -> Iterator[str]:
    """Where the mask of an image may be, without suffix, the nearest place first."""
    folder, stem = image.parent, image.stem
    folders = [folder / _FOLDER, folder]
    if folder.name.lower() == "images":
        folders.append(folder.parent / _FOLDER)
    folders.append(PurePosixPath(_FOLDER) / folder)
    for place in folders:
        if place != folder:
            yield _key(place / stem)
        yield _key(place / f"{stem}{_ENDING}")


def _key(path: PurePosixPath) -> str:
    """The path with ``Masks`` or ``MASKS`` as ``masks``."""
    return "/".join(_FOLDER if part.lower() == _FOLDER else part for part in path.parts)
