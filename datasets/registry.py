"""Names to datasets. A dataset is a ``DatasetSource`` class under this package, decorated so.

Files are found by reading (not importing) the package. Those that register a dataset are imported to learn
its card, so they import heavy packages (torch, pandas, cv2) inside functions. Other distributions add
datasets through the entry-point group ``srbench.datasets`` (name = the dataset's name, value = the module
whose import registers it). ``name:argument`` passes the argument to the dataset, as in ``folder:/data/mine``.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

from srbench.datasets.base import DatasetCard, DatasetSource, MicrographSet
from srbench.utils.errors import DatasetError, near_miss

ENTRY_POINT_GROUP = "srbench.datasets"
_registered: dict[str, type[DatasetSource]] = {}
Source = TypeVar("Source", bound=type[DatasetSource])


def register_dataset(source_class: Source) -> Source:
    """Class decorator: register a source under ``source_class.card.name``.

    Raises:
        DatasetError: another file already registered this name.
    """
    card = source_class.card
    known = _registered.get(card.name)
    if known is not None and known.__module__ != source_class.__module__:
        raise DatasetError(
            f"Dataset name {card.name!r} is registered twice: by {known.__module__} and by "
            f"{source_class.__module__}. Rename one."
        )
    source_class.card = replace(card, module=source_class.__module__)
    _registered[card.name] = source_class
    return source_class


def dataset_names() -> list[str]:
    """All known dataset names."""
    _load_all()
    return sorted(_registered)


def list_datasets() -> list[DatasetCard]:
    """The cards of all known datasets, by name."""
    return [_registered[name].card for name in dataset_names()]


def source(name: str) -> DatasetSource:
    """The source of the dataset called ``name`` (anything after a colon is ignored).

    Raises:
        DatasetError: no dataset has this name; the message lists near misses and all names.
    """
    known = dataset_names()
    plain = name.partition(":")[0]
    if plain not in _registered:
        raise DatasetError(
            f"Unknown dataset {plain!r}{near_miss(plain, known)}. Known datasets: {', '.join(known)}. "
            "Your own images: folder:/path/to/them."
        )
    return _registered[plain]()


def open(name: str) -> MicrographSet:
    """Open a dataset by name, ``name:argument`` or the path of an existing folder of images.

    Raises:
        DatasetError: unknown name.
        DatasetMissing: known, but not on disk; the message says what to type.
    """
    plain, argument = _parts(name)
    return source(plain).open(argument)


def is_local(name: str) -> bool:
    """Whether opening ``name`` reads only what the user has given srbench before.

    Raises:
        DatasetError: unknown name.
    """
    plain, argument = _parts(name)
    return source(plain).is_local(argument)


def _parts(name: str) -> tuple[str, str | None]:
    plain, _, argument = name.partition(":")
    if plain not in dataset_names() and Path(name).is_dir():
        plain, argument = "folder", name
    return plain, argument or None


@functools.cache
def _load_all() -> None:
    root = Path(__file__).parent
    for file in sorted(root.rglob("*.py")):
        if "\n@register_dataset\n" in file.read_text(encoding="utf-8"):
            module = ".".join(["srbench.datasets", *file.relative_to(root).with_suffix("").parts])
            importlib.import_module(module.removesuffix(".__init__"))
    for point in entry_points(group=ENTRY_POINT_GROUP):
        point.load()
