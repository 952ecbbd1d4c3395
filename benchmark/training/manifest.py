"""``manifest.json`` of a run: everything needed to judge or repeat it, and how far it got."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

from srbench import __version__
from srbench.files import write_text
from srbench.training.folder import MANIFEST

FORMAT = 1
RunStatus = Literal["running", "complete", "interrupted", "failed"]
_PACKAGES = ("numpy", "timm", "torchvision", "safetensors")


class RunManifest:
    """Writes the manifest of a run.

    Args:
        folder: of the run.
        fixed: what does not change while it runs: model, data, settings, recipe, notes.
        session: how this process was started; sessions of a resumed run are kept in a list.
    """

    def __init__(self, folder: Path, fixed: Mapping[str, Any], session: Mapping[str, Any]) -> None:
        self._path = folder / MANIFEST
        earlier = _earlier(self._path)
        self._peak_before = int(earlier.get("peak_memory_bytes") or 0)
        self._fixed = {
            "format": FORMAT,
            "kind": "training",
            "created": earlier.get("created") or now(),
            **fixed,
            "sessions": [*earlier.get("sessions", []), {"started": now(), **session}],
        }

    def write(self, status: RunStatus, progress: Mapping[str, Any], reason: str = "") -> None:
        """Write the manifest with this status.

        Raises:
            SrbenchError: it cannot be written; the earlier one is unchanged.
        """
        content = {
            **self._fixed,
            "status": status,
            "reason": reason,
            "written": now(),
            "progress": dict(progress),
            "peak_memory_bytes": max(self._peak_before, peak_memory()),
        }
        write_text(self._path, json.dumps(content, indent=1, default=str) + "\n")


def session(device: torch.device, processes: int, threads: int, autocast: bool) -> dict[str, Any]:
    """How this process was started, with which versions and on what."""
    return {
        "command": shlex.join(sys.argv),
        "versions": versions(),
        "device": {
            "type": device.type,
            "name": device_name(device),
            "processes": processes,
            "threads": threads,
            "precision": "bfloat16 autocast" if autocast else "float32",
        },
    }


def versions() -> dict[str, str]:
    """Versions of srbench, Python, torch and what else decides numbers."""
    found = {"srbench": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()


def peak_memory() -> int:
    """Bytes used at most so far: on the GPU where CUDA was used, else of this process."""
    if torch.cuda.is_available() and (used := torch.cuda.max_memory_allocated()):
        return int(used)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _earlier(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) and content.get("kind") == "training" else {}
