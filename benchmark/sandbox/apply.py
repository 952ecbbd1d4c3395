"""A worker is started with its policy, applies it to itself, and tries files that it must not read.

First the kernel's means, then the interpreter's hook. Of the hidden files that exist some are tried (canary
files, one of them written for the purpose): a level that does not hold there is not reported.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import itertools
import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from srbench.sandbox import linux
from srbench.sandbox.audit_hook import AuditHook
from srbench.sandbox.policy import (
    IsolationLevel,
    SandboxPolicy,
    grants,
    is_hidden,
    real,
    split_folders,
    without_hidden,
)
from srbench.utils.errors import SrbenchError
from srbench.utils.files import temporary_folder

SWITCH = "SRBENCH_ISOLATION"
"""Environment variable: ``on``, ``interpreter`` (leave the kernel's means away) or ``off``."""

POLICY_FILE = "confinement.json"
"""Beside the job file; deleted as soon as it is read, so that a model is not told where HR lies."""

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

_IN_A_PREFIX = ("bin", "lib", "lib64", "include", "share", "Lib", "DLLs", "Scripts", "pyvenv.cfg")

_SCRATCH_FOLDERS = {
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

_MOST_TRIED = 200
"""Files of a hidden folder among which a canary file is looked for."""


@dataclass(frozen=True)
class Software:
    """What every worker needs of the machine.

    Attributes:
        always: the interpreter and srbench: without them nothing runs, even when they lie in a hidden folder.
        unless_hidden: anything else that code is imported from, and shared libraries.
        devices: to read and write.
    """

    always: tuple[Path, ...]
    unless_hidden: tuple[Path, ...]
    devices: tuple[Path, ...]


def software() -> Software:
    """Of this interpreter, with its import path as it is now; only what exists."""
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    parts = [Path(prefix) / part for prefix in sorted(prefixes) for part in _IN_A_PREFIX]
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    user = [Path(site.getuserbase()) / "lib"] if site.ENABLE_USER_SITE else []
    # uv can install packages as links into its cache.
    cache = os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache" / "uv"
    return Software(
        always=_existing([*parts, *sysconfig.get_paths().values(), *_srbench_packages()]),
        unless_hidden=_existing([*_SYSTEM, sys.prefix, sys.base_prefix, *sys.path, *libraries, *user, cache]),
        devices=_existing(device for pattern in _DEVICES for device in Path("/dev").glob(pattern)),
    )


def _srbench_packages() -> list[str]:
    """The folders of ``srbench``, ``srbench.models`` and ``srbench.datasets``, without importing these."""
    specs = [importlib.util.find_spec(name) for name in ("srbench", "srbench.models", "srbench.datasets")]
    return [folder for spec in specs if spec for folder in spec.submodule_search_locations or ()]


def _existing(paths: Iterable[str | Path]) -> tuple[Path, ...]:
    """Without symbolic links, each once; the root of the file system and what is empty are never meant."""
    resolved = (real(Path(path)) for path in paths if str(path))
    return tuple(dict.fromkeys(path for path in resolved if path.exists() and path != Path(path.anchor)))


def readable_paths(policy: SandboxPolicy, installed: Software) -> tuple[Path, ...]:
    """All that may be read, of the job and of the system."""
    other = without_hidden(installed.unless_hidden, policy.hidden)
    return (*policy.readable, *policy.writable, *installed.always, *other, *installed.devices)


# The parent's part.


def switch() -> str:
    """``on``, ``interpreter`` or ``off``, as the environment has it.

    Raises:
        SrbenchError: it has something else.
    """
    chosen = os.environ.get(SWITCH) or "on"
    if chosen not in ("on", "interpreter", "off"):
        raise SrbenchError(f"{SWITCH} must be on, interpreter or off, found {chosen!r}; unset it.")
    return chosen


def worker_environment(scratch: Path) -> Mapping[str, str]:
    """Variables that keep a worker in its folder."""
    folders = {name: scratch / folder for name, folder in _SCRATCH_FOLDERS.items()}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    variables = {name: str(folder) for name, folder in folders.items()}
    # Packages installed for one user are found from their home folder, which is another one now.
    return {**variables, "SRBENCH_HOME": str(scratch / "home"), "PYTHONUSERBASE": site.getuserbase()}


@contextlib.contextmanager
def policy_file(scratch: Path, policy: SandboxPolicy | None) -> Iterator[None]:
    """Lay the policy and the canary files ready for a worker that is started inside the block.

    Raises:
        SrbenchError: the environment asks for an isolation that does not exist.
    """
    if policy is None:
        yield
        return
    switch()  # a wrong word is refused before anything starts
    with canary_files(policy) as (extended, canaries):
        (scratch / POLICY_FILE).write_text(policy_json(extended, canaries), encoding="utf-8")
        _load_nvidia_modules()
        yield


def policy_json(policy: SandboxPolicy, canaries: Sequence[Path]) -> str:
    """Text of the policy file."""
    return json.dumps({"policy": policy.to_json(), "canaries": [str(file) for file in canaries]})


@contextlib.contextmanager
def canary_files(policy: SandboxPolicy) -> Iterator[tuple[SandboxPolicy, tuple[Path, ...]]]:
    """The policy with a hidden file written for this purpose, and a file of each hidden path that has any."""
    with temporary_folder("hidden") as folder:
        canary = real(folder) / "canary"
        canary.write_bytes(b"a worker that can read this is not confined")
        existing = (_hidden_file(path, policy) for path in policy.hidden)
        files = dict.fromkeys(file for file in existing if file is not None)
        yield replace(policy, hidden=(*policy.hidden, canary.parent)), (canary, *files)


def _hidden_file(path: Path, policy: SandboxPolicy) -> Path | None:
    """A file at or below ``path`` that is hidden and not empty."""
    readable = (*policy.readable, *policy.writable)
    below = (Path(folder, name) for folder, _, names in os.walk(path) for name in sorted(names))
    for file in itertools.islice(itertools.chain([path], below), _MOST_TRIED):
        with contextlib.suppress(OSError):
            ordinary = file.is_file() and not file.is_symlink() and file.stat().st_size
            if ordinary and is_hidden(file, readable, policy.hidden):
                return file
    return None


def _load_nvidia_modules() -> None:
    """Let NVIDIA's helper load what the first CUDA program after a start needs; a confined one may not."""
    helper = shutil.which("nvidia-modprobe")
    if helper and Path("/dev/nvidiactl").exists() and not Path("/dev/nvidia-uvm").exists():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([helper, "-u", "-c=0"], check=False, timeout=60, env=dict(os.environ))


# The worker's part.


@dataclass(frozen=True)
class AppliedSandbox:
    """What was applied to this process; ``hook`` is None where nothing is hidden."""

    isolation: IsolationLevel
    hook: AuditHook | None = None

    def attempts(self) -> list[str]:
        """Hidden paths that were asked for until now."""
        return self.hook.attempts if self.hook else []


def apply_policy_file(file: Path) -> AppliedSandbox:
    """Confine this process as the policy file says; not at all where there is none, or by ``off``."""
    if not file.exists():
        return AppliedSandbox(IsolationLevel.none("no confinement was asked for"))
    content = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    if switch() == "off":
        return AppliedSandbox(IsolationLevel.none(f"isolation was turned off by {SWITCH}=off"))
    canaries = [Path(canary) for canary in content["canaries"]]
    return apply_policy(SandboxPolicy.from_json(content["policy"]), canaries)


def apply_policy(policy: SandboxPolicy, canaries: Sequence[Path]) -> AppliedSandbox:
    """Confine this process and its later children for good, and try hidden files.

    Must come before any code of the model, and before a second thread.

    Args:
        policy: what may be read and what not.
        canaries: existing files that must be out of reach afterwards.
    """
    installed = software()
    readable = readable_paths(policy, installed)
    mechanism, reason = "", f"left out by {SWITCH}=interpreter"
    if switch() == "on":
        try:
            mechanism = _confine_by_kernel(policy, installed, readable)
        except (linux.Unavailable, OSError) as error:
            reason = str(error)
    by_kernel = bool(mechanism) and _readable_canary(_native_open, canaries) is None
    hook = AuditHook(readable, policy.hidden, policy.closed, alone=not by_kernel)
    hook.install()
    if by_kernel:
        return AppliedSandbox(_kernel_level(mechanism, len(canaries)), hook)
    if mechanism:
        reason = f"{mechanism} was applied and a hidden file could be read all the same"
    return AppliedSandbox(_interpreter_level(reason, canaries, hook), hook)


def _confine_by_kernel(policy: SandboxPolicy, installed: Software, readable: tuple[Path, ...]) -> str:
    """Apply what this system has, and name it.

    Raises:
        Unavailable: it has nothing.
    """
    linux.landlock_version()
    linux.drop_capabilities()
    never = (*policy.hidden, *policy.closed)
    # Rights add up down a path: where a folder of packages is split, its names can be listed or not at all.
    import_roots = _existing([*sys.path, *_srbench_packages()])
    listable = [path for path in split_folders(readable, never) if path in import_roots]
    writable = grants((*policy.writable, *installed.devices), never)
    version = linux.restrict_files(grants(readable, never), listable, writable)
    try:
        linux.forbid_sockets()
    except linux.Unavailable:
        return f"landlock-{version}"
    return f"landlock-{version}, seccomp"


def _kernel_level(mechanism: str, tried: int) -> IsolationLevel:
    network = "; it had no network" if "seccomp" in mechanism else ""
    files = "1 hidden file" if tried == 1 else f"{tried} hidden files"
    return IsolationLevel(
        "kernel",
        mechanism,
        f"The operating system let the model's process read the LR images, its weights and the installed "
        f"software only ({mechanism}){network}. Before the model was loaded, {files} were tried in vain.",
    )


def _interpreter_level(reason: str, canaries: Sequence[Path], hook: AuditHook) -> IsolationLevel:
    readable = _readable_canary(_python_open, canaries)
    hook.forget()
    if readable is not None:
        return IsolationLevel.none(f"a hidden file could be opened before the model was loaded ({reason})")
    return IsolationLevel(
        "interpreter",
        "audit hook",
        "Python refused the model's code the files with HR, other programs and the network; native code was "
        f"not stopped ({reason}).",
    )


def _readable_canary(opens: Callable[[Path], bool], canaries: Iterable[Path]) -> Path | None:
    """The first canary file that ``opens`` can open."""
    return next((file for file in canaries if opens(file)), None)


def _python_open(file: Path) -> bool:
    try:
        os.close(os.open(file, os.O_RDONLY))
    except OSError:
        return False
    return True


def _native_open(file: Path) -> bool:
    """Whether the C library opens it, unnoticed by Python's hook; True where there is none to ask."""
    if sys.platform == "win32":
        return True
    libc = ctypes.CDLL(None)
    handle = int(libc.open(os.fsencode(file), os.O_RDONLY))
    if handle < 0:
        return False
    os.close(handle)
    return True
