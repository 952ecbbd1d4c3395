"""The worker confines itself: the kernel's means, the interpreter's hook, then it tries hidden files."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from srbench.sandbox import linux, policy
from srbench.sandbox.audit_hook import Watch
from srbench.sandbox.linux import Unavailable
from srbench.sandbox.policy import (
    Confinement,
    Strength,
    confinement_of,
    grants,
    is_hidden,
    real,
    split_folders,
    without_hidden,
)
from srbench.utils.errors import SrbenchError

# What every worker needs of the machine: the interpreter, its packages, shared libraries, devices.

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


# Files that a confined process must not be able to read, and whether it can: tried, not assumed.
#
# The parent chooses them among the hidden files that exist and adds one of its own, which it deletes later.

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


SWITCH = "SRBENCH_ISOLATION"
"""Environment variable: ``on``, ``interpreter`` (leave the kernel's means away) or ``off``."""

NOTE = "confinement.json"
"""Beside the job file; deleted as soon as it is read, so that a model is not told where HR lies."""


@dataclass(frozen=True)
class Confined:
    """What was applied to this process; ``watch`` is None where nothing is hidden."""

    policy: Strength
    watch: Watch | None = None

    def attempts(self) -> list[str]:
        """Hidden places that were asked for until now."""
        return self.watch.attempts if self.watch else []


def switch() -> str:
    """``on``, ``interpreter`` or ``off``, as the environment has it.

    Raises:
        SrbenchError: it has something else.
    """
    chosen = os.environ.get(SWITCH) or "on"
    if chosen not in ("on", "interpreter", "off"):
        raise SrbenchError(f"{SWITCH} must be on, interpreter or off, found {chosen!r}; unset it.")
    return chosen


def note(confinement: Confinement, tried: Sequence[Path]) -> str:
    """What the parent writes for :func:`confine_by`."""
    return json.dumps({"confinement": confinement.stored(), "witnesses": [str(file) for file in tried]})


def confine_by(file: Path) -> Confined:
    """Confine this process as the parent's note says; not at all where there is none, or by ``off``."""
    if not file.exists():
        return Confined(policy.none("no confinement was asked for"))
    content = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    if switch() == "off":
        return Confined(policy.none(f"isolation was turned off by {SWITCH}=off"))
    tried = [Path(witness) for witness in content["witnesses"]]
    return confine(confinement_of(content["confinement"]), tried)


def confine(confinement: Confinement, tried: Sequence[Path]) -> Confined:
    """Confine this process and its later children for good, and try hidden files.

    Must come before any code of the model, and before a second thread.

    Args:
        confinement: what may be read and what not.
        tried: existing files that must be out of reach afterwards.
    """
    installed = software()
    readable = open_places(confinement, installed)
    mechanism, reason = "", f"left out by {SWITCH}=interpreter"
    if switch() == "on":
        try:
            mechanism = _by_kernel(confinement, installed, readable)
        except (Unavailable, OSError) as error:
            reason = str(error)
    reached = readable_by(native_opens, tried)
    by_kernel = bool(mechanism) and reached is None
    watch = Watch(readable, confinement.hidden, confinement.closed, alone=not by_kernel)
    watch.install()
    if by_kernel:
        return Confined(_kernel(mechanism, len(tried)), watch)
    if mechanism:
        reason = f"{mechanism} was applied and a hidden file could be read all the same"
    return Confined(_interpreter(reason, tried, watch), watch)


def open_places(confinement: Confinement, installed: Software) -> tuple[Path, ...]:
    """All that may be read, of the job and of the system."""
    loose = without_hidden(installed.loose, confinement.hidden)
    return (*confinement.readable, *confinement.writable, *installed.firm, *loose, *installed.devices)


def _by_kernel(confinement: Confinement, installed: Software, readable: tuple[Path, ...]) -> str:
    """Apply what this system has; what it is called.

    Raises:
        Unavailable: it has nothing.
    """
    linux.version()
    linux.drop()
    hidden = (*confinement.hidden, *confinement.closed)
    # Rights add up down a path: where a folder of packages is split, its names can be listed or not at all.
    listable = [one for one in split_folders(readable, hidden) if one in import_roots()]
    writable = grants((*confinement.writable, *installed.devices), hidden)
    known = linux.restrict(grants(readable, hidden), listable, writable)
    return f"landlock-{known}{_and_sockets()}"


def _and_sockets() -> str:
    try:
        linux.forbid()
    except Unavailable:
        return ""
    return ", seccomp"


def _kernel(mechanism: str, tried: int) -> Strength:
    network = "; it had no network" if "seccomp" in mechanism else ""
    files = "1 hidden file" if tried == 1 else f"{tried} hidden files"
    return Strength(
        "kernel",
        mechanism,
        f"The operating system let the model's process read the LR images, its weights and the installed "
        f"software only ({mechanism}){network}. Before the model was loaded, {files} were tried in vain.",
    )


def _interpreter(reason: str, tried: Sequence[Path], watch: Watch) -> Strength:
    reached = readable_by(python_opens, tried)
    watch.forget()
    if reached is not None:
        return policy.none(f"a hidden file could be opened before the model was loaded ({reason})")
    return Strength(
        "interpreter",
        "audit hook",
        "Python refused the model's code the files with HR, other programs and the network; native code was "
        f"not stopped ({reason}).",
    )


# The parent's part: the command and the environment of a worker that is to be confined.

_OWN_FOLDERS = {
    "HOME": "user",
    "TMPDIR": "tmp",
    "TMP": "tmp",
    "TEMP": "tmp",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "MPLCONFIGDIR": "cache/matplotlib",
    "CUDA_CACHE_PATH": "cache/cuda",
    "TORCH_HOME": "cache/torch",
    "TORCHINDUCTOR_CACHE_DIR": "cache/inductor",
    "TRITON_CACHE_DIR": "cache/triton",
    "NUMBA_CACHE_DIR": "cache/numba",
    "HF_HOME": "cache/huggingface",
}
"""Where libraries keep files of their own: below the worker's folder, the only one it can write to."""


def environment(scratch: Path) -> Mapping[str, str]:
    """Variables that keep a worker in its folder."""
    own = {name: scratch / folder for name, folder in _OWN_FOLDERS.items()}
    for folder in own.values():
        folder.mkdir(parents=True, exist_ok=True)
    variables = {name: str(folder) for name, folder in own.items()}
    # Packages installed for one user are found from their home folder, which is another one now.
    return {**variables, "SRBENCH_HOME": str(scratch / "home"), "PYTHONUSERBASE": site.getuserbase()}


@contextlib.contextmanager
def confined(command: list[str], scratch: Path, confinement: Confinement | None) -> Iterator[list[str]]:
    """The command that starts the worker, with everything in place for it to confine itself.

    Raises:
        SrbenchError: the environment asks for an isolation that does not exist.
    """
    if confinement is None:
        yield command
        return
    switch()  # a wrong word is refused before anything starts
    with with_canary(confinement) as (guarded, tried):
        (scratch / NOTE).write_text(note(guarded, tried), encoding="utf-8")
        _wake_devices()
        yield command


def _wake_devices() -> None:
    """Let NVIDIA's helper load what the first CUDA program after a start needs; a confined one may not."""
    helper = shutil.which("nvidia-modprobe")
    if helper and Path("/dev/nvidiactl").exists() and not Path("/dev/nvidia-uvm").exists():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([helper, "-u", "-c=0"], check=False, timeout=60, env=dict(os.environ))
