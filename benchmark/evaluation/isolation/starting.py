"""The parent's part: the command and the environment of a worker that is to be confined."""

from __future__ import annotations

import contextlib
import os
import shutil
import site
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from srbench.evaluation.isolation import applying, witnesses
from srbench.evaluation.isolation.confinement import Confinement

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
    applying.switch()  # a wrong word is refused before anything starts
    with witnesses.with_canary(confinement) as (guarded, tried):
        (scratch / applying.NOTE).write_text(applying.note(guarded, tried), encoding="utf-8")
        _wake_devices()
        yield command


def _wake_devices() -> None:
    """Let NVIDIA's helper load what the first CUDA program after a start needs; a confined one may not."""
    helper = shutil.which("nvidia-modprobe")
    if helper and Path("/dev/nvidiactl").exists() and not Path("/dev/nvidia-uvm").exists():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run([helper, "-u", "-c=0"], check=False, timeout=60, env=dict(os.environ))
