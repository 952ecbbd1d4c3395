"""What one job may read and write, and what must stay hidden from it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srbench.evaluation.isolation.territory import inside, without_hidden


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
