"""Files that a confined process must not be able to read, and whether it can: tried, not assumed.

The parent chooses them among the hidden files that exist and adds one of its own, which it deletes later.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from srbench.evaluation.isolation.confinement import Confinement, real
from srbench.evaluation.isolation.territory import is_hidden

CONTENT = b"a worker that can read this is not confined"
_LOOKED_AT = 200
"""Files of a hidden place among which a witness is looked for."""


@contextlib.contextmanager
def with_canary(confinement: Confinement) -> Iterator[tuple[Confinement, tuple[Path, ...]]]:
    """The confinement with a hidden file made for this purpose, and all witnesses."""
    with tempfile.TemporaryDirectory(prefix="srbench-hidden-", ignore_cleanup_errors=True) as folder:
        canary = real(Path(folder)) / "canary"
        canary.write_bytes(CONTENT)
        guarded = Confinement(
            confinement.readable,
            confinement.writable,
            (*confinement.hidden, canary.parent),
            confinement.closed,
        )
        yield guarded, (canary, *existing(confinement))


def existing(confinement: Confinement) -> list[Path]:
    """One file of each hidden place that holds one which is hidden and not empty."""
    found = (_first(place, confinement) for place in confinement.hidden)
    return list(dict.fromkeys(file for file in found if file is not None))


def _first(place: Path, confinement: Confinement) -> Path | None:
    readable = (*confinement.readable, *confinement.writable)
    for _, file in zip(range(_LOOKED_AT), _files(place), strict=False):
        with contextlib.suppress(OSError):
            ordinary = file.is_file() and not file.is_symlink() and file.stat().st_size
            if ordinary and is_hidden(file, readable, confinement.hidden):
                return file
    return None


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    for folder, _, names in os.walk(place):
        yield from (Path(folder, name) for name in sorted(names))


def readable_by(opens: Callable[[Path], bool], witnesses: Iterable[Path]) -> Path | None:
    """The first witness that ``opens`` gets at, None where it gets at none."""
    return next((file for file in witnesses if opens(file)), None)


def python_opens(file: Path) -> bool:
    """Whether Python's own call opens it."""
    try:
        os.close(os.open(file, os.O_RDONLY))
    except OSError:
        return False
    return True


def native_opens(file: Path) -> bool:
    """Whether the C library opens it, unheard by Python; always, where there is none to ask."""
    if sys.platform == "win32":
        return True
    libc = ctypes.CDLL(None)
    handle = int(libc.open(os.fsencode(file), os.O_RDONLY))
    if handle < 0:
        return False
    os.close(handle)
    return True
