"""What every worker needs of the machine: the interpreter, its packages, shared libraries, devices."""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from srbench.evaluation.isolation.confinement import real

_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/proc",
    "/sys",
    "/nix/store",
    "/gnu/store",
    "/run/opengl-driver",
)
_DEVICES = ("null", "zero", "full", "random", "urandom", "shm", "nvidia*", "dri", "kfd", "dxg", "accel")
"""Below /dev. Not /dev itself: with the rights of root, a raw disk holds every file."""

_OF_A_PREFIX = ("bin", "lib", "lib64", "include", "share", "Lib", "DLLs", "Scripts", "pyvenv.cfg")


@dataclass(frozen=True)
class Software:
    """What can be read wherever it lies, and what only outside hidden places.

    Attributes:
        firm: the interpreter and srbench: without them nothing runs, even when they lie inside a data folder.
        loose: anything else that code is imported from.
        devices: to read and write.
    """

    firm: tuple[Path, ...]
    loose: tuple[Path, ...]
    devices: tuple[Path, ...]


def software() -> Software:
    """Of this interpreter, with its import path as it is now; only what exists."""
    return Software(_existing(_firm()), _existing(_loose()), _existing(_devices()))


def import_roots() -> tuple[Path, ...]:
    """Folders that Python lists when it looks for a module."""
    return _existing([*sys.path, *_own_packages()])


def _firm() -> list[str | Path]:
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    parts = [Path(prefix) / part for prefix in sorted(prefixes) for part in _OF_A_PREFIX]
    return [*parts, *sysconfig.get_paths().values(), *_own_packages()]


def _loose() -> list[str | Path]:
    prefixes = [sys.prefix, sys.base_prefix]
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    user = site.getuserbase() if site.ENABLE_USER_SITE else ""
    # uv can install packages as links into its cache.
    cache = os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv"
    return [*_SYSTEM, *prefixes, *sys.path, *libraries, *([Path(user) / "lib"] if user else []), cache]


def _devices() -> list[str | Path]:
    return [device for pattern in _DEVICES for device in Path("/dev").glob(pattern)]


def _own_packages() -> list[str | Path]:
    """The folders of ``srbench``, ``srbench.models`` and ``srbench.datasets``, without importing these."""
    found: list[str | Path] = []
    for name in ("srbench", "srbench.models", "srbench.datasets"):
        spec = importlib.util.find_spec(name)
        found += list(spec.submodule_search_locations or ()) if spec else []
    return found


def _existing(places: Iterable[str | Path]) -> tuple[Path, ...]:
    """Without symbolic links, each once; the root of the file system and what is empty are never meant."""
    found = (real(Path(place)) for place in places if str(place))
    return tuple(dict.fromkeys(place for place in found if place.exists() and place != Path(place.anchor)))
