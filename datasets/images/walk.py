"""The files of a folder of images: one rule for datasets, ``srbench infer`` and ``srbench score``."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

_Identity = tuple[int, int]


def image_files(root: Path, *, leave_out: Collection[Path] = ()) -> Iterator[str]:
    """Names of all files below ``root``, relative to it, with forward slashes, sorted.

    Hidden files and folders (with a leading dot) are left out. Links to folders are followed, except back
    into a folder that the link lies in. Files of every kind are named, broken links too: why one cannot be
    used is said by whoever reads it.

    Args:
        root: a folder.
        leave_out: folders that are not entered, under whatever path they are reached.
    """
    barred = {identity for folder in leave_out if (identity := _identity(folder)) is not None}
    above: dict[Path, frozenset[_Identity]] = {root: frozenset()}
    files: list[str] = []
    for name, folders, names in os.walk(root, followlinks=True):
        folder = Path(name)
        identity = _identity(folder)
        chain = above.pop(folder)
        if identity is None or identity in chain or identity in barred:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        above.update((folder / name, chain | {identity}) for name in folders)
        files += [(folder / name).relative_to(root).as_posix() for name in names if not name.startswith(".")]
    yield from sorted(files)


def _identity(folder: Path) -> _Identity | None:
    """What tells one folder from another whatever links lead to it; None where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
