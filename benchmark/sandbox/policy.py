"""What one job may read and write, and what must stay hidden from it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

# Which of two nested places decides: the deepest one; and the same said with grants that cannot be undone.
#
# Pure functions on paths. Places are absolute and without symbolic links.

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


@dataclass(frozen=True)
class Confinement:
    """What a worker needs beyond the software, and what it must never read.

    Where places lie in one another the deepest decides. All are absolute and without symbolic links.

    Attributes:
        readable: files and folders to read.
        writable: folders to read and write.
        hidden: files and folders never to be read; asking for them is reported.
        closed: not to be read either, but nothing that a model would be blamed for asking for.
    """

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    hidden: tuple[Path, ...]
    closed: tuple[Path, ...] = ()

    def stored(self) -> dict[str, list[str]]:
        """As JSON holds it."""
        return {name: [str(place) for place in places] for name, places in vars(self).items()}


def confinement_of(stored: Mapping[str, Any]) -> Confinement:
    """What :meth:`Confinement.stored` gave."""
    return Confinement(**{name: tuple(map(Path, places)) for name, places in stored.items()})


def for_job(
    *,
    lr: Path,
    weights: Path | None,
    module_file: Path | None,
    scratch: Path,
    hidden: Iterable[Path],
) -> Confinement:
    """The confinement of a worker that super-resolves one LR pack.

    The given files can be read wherever they lie. The package or folder of the model's source file can too,
    as far as it is not hidden.

    Args:
        lr: the LR pack.
        weights: the weights file, if any.
        module_file: the file that registered the model, if it is known.
        scratch: the worker's own folder.
        hidden: the srbench home, the results, and all places with HR pixels; existing or not.
    """
    closed = tuple(dict.fromkeys(real(place) for place in hidden))
    files = [real(file) for file in (lr, weights, module_file) if file is not None]
    folders = [] if module_file is None else _source_folder(real(module_file))
    return Confinement(
        readable=(*files, *without_hidden(folders, closed)),
        writable=(real(scratch),),
        hidden=closed,
        closed=(real(Path(tempfile.gettempdir())),),
    )


def real(path: Path) -> Path:
    """Absolute, without symbolic links; also of what does not exist."""
    return Path(os.path.realpath(path))


def _source_folder(file: Path) -> list[Path]:
    """The outermost package that holds the file, else its folder; nothing that holds far more than code."""
    folder = file.parent
    while (folder / "__init__.py").is_file() and (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    wide = (real(Path.home()), real(Path(tempfile.gettempdir())))
    return [] if any(inside(one, folder) for one in wide) else [folder]


# How strong the isolation of a worker really is, in words for whoever reads the table.

Level = Literal["kernel", "interpreter", "none"]


@dataclass(frozen=True)
class Strength:
    """What was applied to a worker, and tried there.

    Attributes:
        level: ``kernel``: the operating system refuses hidden files, whatever asks for them.
            ``interpreter``: Python's own file calls refuse; native code is not stopped. ``none``: nothing.
        mechanism: by what (``landlock-7, seccomp``).
        words: one or two sentences for a report.
    """

    level: Level
    mechanism: str
    words: str

    def stored(self) -> dict[str, str]:
        """For a message or a manifest."""
        return asdict(self)


def strength_of(stored: Mapping[str, Any]) -> Strength:
    """What :meth:`Strength.stored` gave."""
    return Strength(stored["level"], str(stored["mechanism"]), str(stored["words"]))


def none(reason: str) -> Strength:
    """No isolation, and why."""
    return Strength("none", "", f"The model could read every file of this user: {reason}.")
