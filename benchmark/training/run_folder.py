"""The folder of a run: its name, what is in it, and that one run alone may write it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from srbench.training.checkpoint import CURRENT
from srbench.training.logs import EVENTS, LOG
from srbench.utils.errors import SrbenchError
from srbench.utils.files import (
    OUT_SETTING,
    check_space,
    flush,
    locked,
    read_json,
    safe_name,
    unique_name,
    writing_to,
)
from srbench.utils.leftovers import temporary_name

BEST = "best.safetensors"
CONFIG = "config.yaml"
MANIFEST = "manifest.json"
DEFAULT_DEGRADATION = "bicubic"
_LONGEST = 80
_BEFORE_CHECKPOINT = {CONFIG, LOG, EVENTS}
"""What is in the folder of a run that was killed before it had learned anything; a new one may replace it."""

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
    start: str = "",
) -> str:
    """``edsr-baseline-sem_open-x4-short-s0``: the name a run's folder gets unless the user chooses one.

    Another degradation than the default, channels that were requested, and the start of the hash of weights
    that it starts from are named too: ``edsr-baseline-sem-sem_pixel_dose_60-x4-c3-short-from_1bc95232-s0``.
    """
    # The path of a user's folder, or many settings, may be longer than a name of a file can be.
    data, lr = (
        safe_name(text) if len(text) <= _LONGEST else unique_name(text, _LONGEST)
        for text in (dataset, degradation)
    )
    special = [] if degradation == DEFAULT_DEGRADATION else [lr]
    colour = [] if channels is None else [f"c{channels}"]
    parent = [f"from_{start[:8]}"] if start else []
    parts = [model, variant, data, *special, f"x{scale}", *colour, budget, *parent, f"s{seed}"]
    return "-".join(parts)


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds, or will hold, a run."""

    path: Path

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest, None where there is none that can be read."""
        try:
            content = read_json(self.path / MANIFEST)
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
        if not self.path.is_dir():
            return "foreign"
        visible = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".")}
        return "new" if visible <= _BEFORE_CHECKPOINT else "foreign"

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
        progress = (self.manifest or {}).get("progress")
        step = progress.get("step", "?") if isinstance(progress, dict) else "?"
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
            StorageError: it cannot be written, the disk is too full, or another process is training in it.
        """
        with locked(self.path, doing="training in", setting=OUT_SETTING):
            check_space(self.path, needed, "The checkpoints and weights of the run", OUT_SETTING)
            # What a killed session left half-written; the lock says that nobody is writing it.
            for leftover in (*self.path.glob(".*.tmp"), *self.path.glob(".probe-*")):
                leftover.unlink(missing_ok=True)
            # A full disk, or quota, is better found before the training than after its first hour.
            with writing_to(self.path, OUT_SETTING):
                probe = self.path / temporary_name("probe")
                try:
                    with probe.open("wb") as file:
                        file.write(bytes(1 << 16))
                        flush(file)
                finally:
                    probe.unlink(missing_ok=True)
            yield
