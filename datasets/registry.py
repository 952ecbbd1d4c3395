"""Names to datasets. A dataset is a class derived from ``DatasetSource`` in this package, decorated so.

Files that register a dataset are imported to learn its card, so they import heavy packages (torch, pandas,
cv2) inside functions. Other distributions add datasets through the entry-point group ``srbench.datasets``:
the entry point's name is the dataset's, its value the module whose import registers it. ``name:argument``
passes the argument to the dataset, as in ``folder:/data/mine``.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from srbench.datasets.base import RECORDED, DatasetCard, DatasetSource, MicrographSet, ReadingOptions
from srbench.utils.errors import DatasetError
from srbench.utils.progress import ProgressCallback, silent
from srbench.utils.registry import Registry

DATASETS: Registry[type[DatasetSource]] = Registry(
    "dataset",
    package="srbench.datasets",
    marker="\n@register_dataset\n",
    group="srbench.datasets",
    error=DatasetError,
    hint="Your own images: folder:/path/to/them.",
)
Source = TypeVar("Source", bound=type[DatasetSource])


def register_dataset(source_class: Source) -> Source:
    """Class decorator: register a source under ``source_class.card.name``.

    Raises:
        DatasetError: another file already registered this name.
    """
    card = source_class.card
    DATASETS.register(card.name, source_class, source_class.__module__)
    source_class.card = replace(card, module=source_class.__module__)
    return source_class


def dataset_names() -> list[str]:
    """All dataset names."""
    return DATASETS.names()


def list_datasets() -> list[DatasetCard]:
    """The cards of all datasets, by name."""
    return [source_class.card for source_class in DATASETS.values()]


def source(name: str) -> DatasetSource:
    """The source of the dataset called ``name``, ``name:argument`` or by the path of a folder of images.

    Raises:
        DatasetError: no dataset has this name; the message lists near misses and all names.
    """
    plain, argument = _parts(name)
    entry = DATASETS.get(plain)()
    return entry if argument is None else entry.at(argument)


def open(
    name: str, reading: ReadingOptions | None = None, progress: ProgressCallback = silent
) -> MicrographSet:
    """Open a dataset by name, ``name:argument`` or the path of an existing folder of images.

    Args:
        name: any spelling; that of the set is :func:`full_name`.
        reading: what the user says of the files of a folder.
        progress: told of a folder that is read for the first time.

    Raises:
        DatasetError: unknown name, or ``reading`` of what is no folder of the user's.
        DatasetMissing: known, but not on disk; the message says what to type.
    """
    entry = source(name)
    if reading is not None:
        entry = entry.read_with(reading)
    entry.progress = progress
    return entry.open(_parts(name)[1])


def full_name(name: str) -> str:
    """The one spelling of a dataset: ``./d``, ``d/`` and ``folder:d`` are ``folder:/the/path/of/d``.

    A name that is not registered here stays as it is: scores of another machine may bear it.
    """
    try:
        return source(name).full_name
    except DatasetError:
        return name


def member_names(name: str) -> tuple[str, ...]:
    """The sets that a set is put together from, itself among them; all in their one spelling."""
    try:
        entry = source(name)
        return tuple(dict.fromkeys((entry.full_name, *entry.members)))
    except DatasetError:
        return (name,)


def default_degradation(name: str) -> str:
    """The degradation where none is named: ``recorded`` of a dataset of pairs, else ``bicubic``."""
    try:
        return RECORDED if source(name).card.pairs else "bicubic"
    except DatasetError:  # a dataset that the caller has opened
        return "bicubic"


def is_local(name: str) -> bool:
    """Whether opening ``name`` reads only what the user has given srbench before.

    Raises:
        DatasetError: unknown name.
    """
    return source(name).is_local(_parts(name)[1])


def _parts(name: str) -> tuple[str, str | None]:
    plain, _, argument = name.partition(":")
    is_path = any(mark in plain for mark in (os.sep, os.altsep) if mark) or plain.startswith((".", "~"))
    if plain not in dataset_names() and (is_path or _is_folder(name)):
        plain, argument = "folder", name
    return plain, argument or None


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except OSError:  # longer than the file system allows
        return False
