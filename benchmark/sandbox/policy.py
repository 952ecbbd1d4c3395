"""What one job may read and write, what stays hidden from it, and how strongly that was enforced.

The functions on paths expect absolute ones without symbolic links. Where folders lie in one another the
deepest decides.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

ListFolder = Callable[[Path], Iterable[Path]]


@dataclass(frozen=True)
class SandboxPolicy:
    """What a worker needs beyond the software, and what it must never read.

    Attributes:
        readable: files and folders to read.
        writable: folders to read and write.
        hidden: files and folders never to be read; attempts are reported.
        closed: not to be read either; attempts say nothing against a model (folder for temporary files).
    """

    readable: tuple[Path, ...]
    writable: tuple[Path, ...]
    hidden: tuple[Path, ...]
    closed: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, list[str]]:
        """For the policy file."""
        return {name: [str(path) for path in paths] for name, paths in vars(self).items()}

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> SandboxPolicy:
        """From :meth:`to_json`."""
        return SandboxPolicy(**{name: tuple(map(Path, paths)) for name, paths in stored.items()})


@dataclass(frozen=True)
class IsolationLevel:
    """What was applied to a worker, and tried there.

    Attributes:
        level: ``kernel``: the operating system refuses hidden files, whatever asks for them.
            ``interpreter``: Python's own file calls refuse; native code is not stopped. ``none``: nothing.
        mechanism: by what (``landlock-7, seccomp``).
        words: one or two sentences for a report.
    """

    level: Literal["kernel", "interpreter", "none"]
    mechanism: str
    words: str

    def to_json(self) -> dict[str, str]:
        """For a message or a manifest."""
        return asdict(self)

    @staticmethod
    def none(reason: str) -> IsolationLevel:
        """No isolation, and why."""
        return IsolationLevel("none", "", f"The model could read every file of this user: {reason}.")


def policy_for_job(
    *,
    lr: Path | None,
    weights: Path | None,
    module_file: Path | None,
    scratch: Path,
    hidden: Iterable[Path],
) -> SandboxPolicy:
    """The policy of a worker that super-resolves one LR pack.

    The given files can be read wherever they lie. The package or folder of the model's source file can too,
    as far as it is not hidden.

    Args:
        lr: the LR pack, if any.
        weights: the weights file, if any.
        module_file: the file that registered the model, if there is one.
        scratch: the worker's own folder.
        hidden: the srbench home, the results, and all files and folders with HR pixels; existing or not.
    """
    never = tuple(dict.fromkeys(real(path) for path in hidden))
    files = [real(file) for file in (lr, weights, module_file) if file is not None]
    folders = [] if module_file is None else _source_folder(real(module_file))
    return SandboxPolicy(
        readable=(*files, *without_hidden(folders, never)),
        writable=(real(scratch),),
        hidden=never,
        closed=(real(Path(tempfile.gettempdir())),),
    )


def _source_folder(file: Path) -> list[Path]:
    """The outermost package that holds the file, else its folder; nothing that holds far more than code."""
    folder = file.parent
    while (folder / "__init__.py").is_file() and (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    wide = (real(Path.home()), real(Path(tempfile.gettempdir())))
    return [] if any(inside(path, folder) for path in wide) else [folder]


def real(path: Path) -> Path:
    """Absolute, without symbolic links; also of what does not exist."""
    return Path(os.path.realpath(path))


def inside(path: Path, folder: Path) -> bool:
    """Whether ``path`` is ``folder`` or lies beneath it."""
    return path == folder or folder in path.parents


def is_hidden(path: Path, readable: Iterable[Path], hidden: Iterable[Path]) -> bool:
    """Whether the deepest of the paths that hold ``path`` is a hidden one; a tie hides.

    So weights inside a hidden folder can be read, and data inside a readable folder cannot.
    """

    def depth(paths: Iterable[Path]) -> int:
        return max((len(folder.parts) for folder in paths if inside(path, folder)), default=0)

    return depth(hidden) >= max(depth(readable), 1)


def without_hidden(readable: Iterable[Path], hidden: Iterable[Path]) -> tuple[Path, ...]:
    """Those of the readable paths that lie in no hidden one."""
    never = tuple(hidden)
    return tuple(path for path in readable if not any(inside(path, folder) for folder in never))


def list_folder(folder: Path) -> list[Path]:
    """What lies in a folder, symbolic links left out; nothing where it cannot be listed.

    A link is followed by the system to its target, which is granted where it lies or not at all.
    """
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if not entry.is_symlink()]
    except OSError:
        return []


def grants(
    readable: Iterable[Path], hidden: Iterable[Path], list_folder: ListFolder = list_folder
) -> list[Path]:
    """Paths whose whole contents can be granted so that exactly what is not hidden can be read.

    For systems in which a grant holds for everything beneath it: a readable folder with a hidden path in it
    is split into its other children, level by level down to that path. What comes into a split folder later
    is not granted.

    Args:
        readable: files and folders that may be read.
        hidden: files and folders that may not, whether they exist yet or not.
        list_folder: lists a folder.
    """

    def split(path: Path, never: tuple[Path, ...]) -> Iterator[Path]:
        inner = tuple(other for other in never if inside(other, path))
        if not inner:
            yield path
        elif path not in inner:
            for child in list_folder(path):
                yield from split(child, inner)

    never = tuple(hidden)
    return sorted({grant for path in _open(readable, never) for grant in split(path, never)})


def split_folders(readable: Iterable[Path], hidden: Iterable[Path]) -> list[Path]:
    """The readable paths that have to be split because something hidden lies in them."""
    never = tuple(hidden)
    return sorted(path for path in _open(readable, never) if any(inside(other, path) for other in never))


def _open(readable: Iterable[Path], hidden: tuple[Path, ...]) -> set[Path]:
    paths = tuple(readable)
    return {path for path in paths if not is_hidden(path, paths, hidden)}
