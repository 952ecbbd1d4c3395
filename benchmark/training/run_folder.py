"""The folder of a run: its name, what is in it, and that one run alone may write it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from srbench.training.checkpoint import CURRENT
from srbench.utils.errors import SrbenchError
from srbench.utils.files import safe_name, unique_name

WEIGHTS = "weights.safetensors"
BEST = "best.safetensors"
CONFIG = "config.yaml"
MANIFEST = "manifest.json"
DEFAULT_DEGRADATION = "bicubic"
_LOCK = ".lock"
_LONGEST = 80

State = Literal["new", "unfinished", "complete", "foreign"]


def run_folder_name(
    model: str,
    variant: str,
    dataset: str,
    scale: int,
    budget: str,
    seed: int,
    *,
    degradation: str = DEFAULT_DEGRADATION,
    channels: int | None = None,
) -> str:
    """``edsr-baseline-sem_open-x4-short-s0``: the name a run's folder gets unless the user chooses one.

    Another degradation than the default, and channels that were requested, are named too:
    ``edsr-baseline-sem-sem_pixel_dose_60-x4-c3-short-s0``.
    """
    # The path of a user's folder, or many settings, may be longer than a name of a file can be.
    data, lr = (
        safe_name(text) if len(text) <= _LONGEST else unique_name(text, _LONGEST)
        for text in (dataset, degradation)
    )
    special = [] if degradation == DEFAULT_DEGRADATION else [lr]
    colour = [] if channels is None else [f"c{channels}"]
    parts = [model, variant, data, *special, f"x{scale}", *colour, budget, f"s{seed}"]
    return "-".join(parts)


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds, or will hold, a run."""

    path: Path

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest, None where there is none that can be read."""
        try:
            content = json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    @property
    def state(self) -> State:
        """What is in the folder."""
        if not self.path.exists():
            return "new"
        manifest = self.manifest
        if manifest is not None and manifest.get("kind") == "training":
            return "complete" if manifest.get("status") == "complete" else "unfinished"
        if (self.path / CURRENT).is_file():
            return "unfinished"
        visible = self.path.is_dir() and any(not entry.name.startswith(".") for entry in self.path.iterdir())
        return "new" if self.path.is_dir() and not visible else "foreign"

    def check(self, resume: bool) -> State:
        """Refuse a folder that a run must not be written into.

        Returns:
            ``new``, ``unfinished`` (to go on with, if it has a checkpoint) or ``complete`` (nothing to do).

        Raises:
            SrbenchError: there is something in it already; the message says how to go on.
        """
        state = self.state
        if state == "foreign":
            raise SrbenchError(f"{self.path} holds something that is not a run; choose another --out.")
        if resume or state == "new":
            return state
        if state == "complete":
            raise SrbenchError(
                f"{self.path} holds a finished run. Give --out FOLDER to train again, or delete it; "
                "--resume would find nothing to do."
            )
        if not (self.path / CURRENT).is_file():
            return "new"
        step = ((self.manifest or {}).get("progress") or {}).get("step", "?")
        raise SrbenchError(
            f"{self.path} holds an interrupted run (last noted at step {step}). Add --resume to continue it, "
            "or give --out FOLDER to start somewhere else."
        )

    @contextmanager
    def lock(self, needed: int = 0) -> Iterator[None]:
        """Make the folder, make sure that it can be written, and keep other runs out of it.

        Args:
            needed: bytes that the run will take.

        Raises:
            SrbenchError: it cannot be written, the disk is too full, or another process is training in it.
        """
        lock = FileLock(self.path / _LOCK, timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise SrbenchError(
                f"Another process is training in {self.path}. Wait for it, or choose another --out."
            ) from None
        except OSError as error:
            raise SrbenchError(
                f"Cannot write into {self.path}: {error.strerror or error}. Choose another --out."
            ) from error
        try:
            _check_disk(self.path, needed)
            # What a killed session left half-written; the lock says that nobody is writing it.
            for leftover in (*self.path.glob(".*.tmp"), *self.path.glob(".probe-*")):
                leftover.unlink(missing_ok=True)
            yield
        finally:
            lock.release()


def _check_disk(folder: Path, needed: int) -> None:
    """A full disk is better found before the training than after its first hour."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SrbenchError(
            f"The run needs about {needed / 1e9:.1f} GB for its checkpoints and weights, but {folder} has "
            f"{free / 1e9:.1f} GB left. Free some space or choose another --out."
        )
    probe = folder / f".probe-{os.getpid()}"
    try:
        with probe.open("wb") as file:
            file.write(bytes(1 << 16))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SrbenchError(
            f"Cannot write into {folder}: {error.strerror or error}. Free some space or choose another --out."
        ) from error
    finally:
        probe.unlink(missing_ok=True)
