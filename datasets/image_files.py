"""The image files of a folder or of an archive, seen alike: first their names, then the bytes of some."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, MutableMapping
from pathlib import Path

from srbench.datasets.archives import members
from srbench.datasets.decode import SUFFIXES


def image_names(
    container: Path, refused: MutableMapping[str, str], suffixes: Collection[str] = SUFFIXES
) -> list[str]:
    """The names of the image files: relative, with forward slashes, sorted; hidden ones are left out.

    Args:
        container: a folder, or a tar or zip archive.
        refused: gains what an archive holds that could do harm, with the reason.
        suffixes: lower-case endings of image files.

    Raises:
        ArchiveError: the archive is damaged.
        OSError: the container cannot be read.
    """
    if container.is_dir():
        return sorted(_walk(container, suffixes))
    names: list[str] = []

    def note(name: str) -> bool:
        if not name.rpartition("/")[2].startswith("."):
            names.append(name)
        return False

    for _ in members(container, refused, suffixes=suffixes, wanted=note):
        raise AssertionError("no member was wanted")
    return sorted(names)


def read_images(
    container: Path, names: Collection[str], suffixes: Collection[str] = SUFFIXES
) -> Iterator[tuple[str, bytes | Exception]]:
    """Name and bytes of the named files, or why a file cannot be read; an archive in its own order.

    Raises:
        ArchiveError: the archive is damaged; what lies before the damage has been given.
    """
    if not container.is_dir():
        damaged: dict[str, str] = {}
        for member in members(container, damaged, suffixes=suffixes, wanted=frozenset(names).__contains__):
            yield member.name, member.data
        yield from ((name, ValueError(reason)) for name, reason in damaged.items() if name in names)
        return
    for name in sorted(names):
        try:
            yield name, (container / name).read_bytes()
        except OSError as error:
            yield name, ValueError(f"cannot be read: {error.strerror or error}")


def _walk(root: Path, suffixes: Collection[str]) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in suffixes:
                yield (Path(folder) / name).relative_to(root).as_posix()
