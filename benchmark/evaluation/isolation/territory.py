"""Which of two nested places decides: the deepest one; and the same said with grants that cannot be undone.

Pure functions on paths. Places are absolute and without symbolic links.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Children = Callable[[Path], Iterable[Path]]


def inside(path: Path, place: Path) -> bool:
    """Whether ``path`` is ``place`` or lies beneath it."""
    return path == place or place in path.parents


def is_hidden(path: Path, readable: Iterable[Path], hidden: Iterable[Path]) -> bool:
    """Whether the deepest place that holds ``path`` is a hidden one; a tie hides.

    So weights inside a hidden folder can be read, and data inside a readable folder cannot.
    """
    return _depth(path, hidden) >= max(_depth(path, readable), 1)


def _depth(path: Path, places: Iterable[Path]) -> int:
    """Number of parts of the deepest place that holds ``path``; 0 where none does."""
    return max((len(place.parts) for place in places if inside(path, place)), default=0)


def without_hidden(readable: Iterable[Path], hidden: Iterable[Path]) -> tuple[Path, ...]:
    """Those of the places that lie in no hidden one."""
    closed = tuple(hidden)
    return tuple(place for place in readable if not any(inside(place, one) for one in closed))


def children_of(folder: Path) -> list[Path]:
    """What lies in a folder, symbolic links left out; nothing where it cannot be listed.

    A link is followed by the system to its target, which is granted where it lies or not at all.
    """
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if not entry.is_symlink()]
    except OSError:
        return []


def grants(readable: Iterable[Path], hidden: Iterable[Path], children: Children = children_of) -> list[Path]:
    """Places whose whole contents can be granted so that exactly what is not hidden can be read.

    For systems in which a grant holds for everything beneath it: a readable folder with a hidden place in it
    is split into its other children, level by level down to that place. What comes into a split folder later
    is not granted.

    Args:
        readable: files and folders that may be read.
        hidden: files and folders that may not, whether they exist yet or not.
        children: lists a folder.
    """
    places, closed = tuple(readable), tuple(hidden)
    kept = {place for place in places if not is_hidden(place, places, closed)}
    return sorted({grant for place in kept for grant in _split(place, closed, children)})


def split_folders(readable: Iterable[Path], hidden: Iterable[Path]) -> list[Path]:
    """The readable places that had to be split because something hidden lies in them."""
    places, closed = tuple(readable), tuple(hidden)
    kept = {place for place in places if not is_hidden(place, places, closed)}
    return sorted(place for place in kept if any(inside(one, place) for one in closed))


def _split(place: Path, hidden: tuple[Path, ...], children: Children) -> Iterator[Path]:
    inner = tuple(one for one in hidden if inside(one, place))
    if not inner:
        yield place
    elif place not in inner:
        for child in children(place):
            yield from _split(child, inner, children)
