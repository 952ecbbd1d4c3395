"""``manifest.json`` of a run: everything needed to judge or repeat it, and how far it got."""

from __future__ import annotations

import functools
import json
import platform
import re
import shlex
import sys
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil
import torch

from srbench.models.recipe import Recipe
from srbench.training.run_folder import MANIFEST
from srbench.utils.files import read_json, write_text
from srbench.version import __version__

_RENAMED: Mapping[str, str] = {
    "dsrvae_critic.Critic": "DSRVAEDiscriminator",
    "dsrvae_losses.fool_the_critic": "restoration_generator_loss",
    "dsrvae_losses.tell_apart": "restoration_discriminator_loss",
    "fool_the_critic": "generator_loss",
    "linear_adversarial.fool_the_critic": "linear_generator_loss",
    "linear_adversarial.tell_apart": "linear_discriminator_loss",
    "objective.adversarial_loss": "generator_loss",
    "srgan_critics.Discriminator": "SRGANDiscriminator",
    "tell_apart": "discriminator_loss",
}
"""Functions and classes as runs of version 0.1.0 name them, with their module where that decides."""

_WORDS_ONLY = ("recipe.source", "recipe.notes")


def describe(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values: numbers stay numbers, functions and networks become their names."""
    described = _plain(recipe)
    assert isinstance(described, dict)
    return described


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, one line each: ``train.lr: was 0.0001, is 0.0002``.

    A function or class is the same wherever its file lies and under the name an earlier version gave it; what
    a recipe says of itself in words (``source``, ``notes``) does not matter.
    """
    old, new = dict(_leaves(before, "")), dict(_leaves(now, ""))
    absent = "absent"
    return [
        f"{name}: was {old.get(name, absent)!r}, is {new.get(name, absent)!r}"
        for name in {**old, **new}
        if not name.startswith(_WORDS_ONLY)
        and not names_today(old.get(name, absent)) & names_today(new.get(name, absent))
    ]


def names_today(value: Any) -> set[Any]:
    """What a stored value may be called now: functions without their modules, renamed ones by both names."""
    if not isinstance(value, str):
        return {value} if isinstance(value, Hashable) else {repr(value)}
    match = re.fullmatch(r"((?:[a-z_][a-z0-9_]*\.)*)([A-Za-z_]\w*(?:\.\w+)?)", value)
    if match is None:
        return {value}
    module, name = match[1].rstrip(".").rpartition(".")[2], match[2]
    names = {_RENAMED.get(f"{module}.{name}", name), _RENAMED.get(name, name)}
    return {entry.replace("critic", "discriminator").replace("Critic", "Discriminator") for entry in names}


def _plain(value: object) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if is_dataclass(value) and not isinstance(value, type):
        return _plain_dataclass(value)
    if isinstance(value, functools.partial):
        arguments = [_plain(entry) for entry in value.args]
        return {"call": _name(value.func), "arguments": arguments, **_plain(value.keywords)}
    return _name(value)


def _plain_dataclass(value: Any) -> Any:
    content = {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if not callable(value):
        return content
    # A schedule or a loss written as a dataclass: its name matters as much as its numbers.
    return {"call": type(value).__qualname__, **content} if content else type(value).__qualname__


def _name(value: object) -> str:
    """A name without an address, equal in every process."""
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, type) and hasattr(value, "__name__"):
        return f"{type(owner).__qualname__}.{value.__name__}"
    return str((value if hasattr(value, "__qualname__") else type(value)).__qualname__)


def _leaves(value: object, path: str) -> Iterator[tuple[str, Any]]:
    """Every value with its path, in which critics are discriminators."""
    inner: list[tuple[str, object]] = []
    if isinstance(value, Mapping):
        inner = [(str(key), entry) for key, entry in value.items()]
    elif isinstance(value, (list, tuple)):
        # Stages, terms and discriminators by their names, other entries by number.
        inner = [
            (str(entry.get("name", index)) if isinstance(entry, Mapping) else str(index), entry)
            for index, entry in enumerate(value)
        ]
    if not inner:
        yield path.replace("critic", "discriminator"), value
    for key, entry in inner:
        yield from _leaves(entry, f"{path}.{key}" if path else key)


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
    installed = {"srbench": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    for package in _PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


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
        content = read_json(path)
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("kind") != "training":
        return {}
    types = {"peak_memory_bytes": int, "created": str, "sessions": list}
    return {name: content[name] for name, kind in types.items() if isinstance(content.get(name), kind)}
