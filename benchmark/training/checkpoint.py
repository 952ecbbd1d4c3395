"""Checkpoints: one file with everything a run needs to go on, written whole or not at all, the last two kept.

The file is torch's own format holding tensors and plain values only, so that it can be read without running
code from it (``torch.load(..., weights_only=True)``). Its records carry checksums, which are verified.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from srbench.utils.errors import SrbenchError
from srbench.utils.files import atomic_write
from srbench.utils.leftovers import temporary_name
from srbench.weights.torch_files import DamagedWeights, UnsafeWeights, read_torch_file

FORMAT = 1
CURRENT = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"


def save_checkpoint(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``checkpoint.pt``; the one there becomes ``checkpoint.previous.pt``.

    A whole ``checkpoint.pt`` exists at every moment once there has been one.

    Raises:
        SrbenchError: the folder cannot be written or the disk is full; both earlier files are unchanged
            or ``checkpoint.previous.pt`` equals ``checkpoint.pt``.
    """
    current = folder / CURRENT
    try:
        with atomic_write(current) as file:
            torch.save({"format": FORMAT, **content}, file)
            if current.is_file():
                _keep(current, folder / PREVIOUS)
    except RuntimeError as error:
        # torch reports a failed write of its zip container in this way.
        raise SrbenchError(f"Cannot write {current}: {error}. The checkpoint before it is kept.") from error


def load_checkpoint(folder: Path) -> dict[str, Any]:
    """Read ``checkpoint.pt``, tensors on the CPU.

    Raises:
        SrbenchError: damaged, or of another format; the message names the previous one where it is whole.
    """
    path = folder / CURRENT
    try:
        content = _read(path)
    except SrbenchError as error:
        raise SrbenchError(f"{error} {_way_out(folder)}") from error
    if content["format"] != FORMAT:
        raise SrbenchError(
            f"{path} has format {content['format']}, this srbench reads format {FORMAT}; go on with the "
            "version that wrote it, or train again into another folder."
        )
    return content


def _read(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            # torch.load does not check these sums.
            damaged = archive.testzip()
    except Exception as error:  # a damaged file makes it stumble over anything
        raise SrbenchError(f"{path} is damaged ({error}).") from error
    if damaged is not None:
        raise SrbenchError(f"{path} is damaged (checksum of {damaged}).")
    try:
        content = read_torch_file(path)
    except (DamagedWeights, UnsafeWeights) as error:
        raise SrbenchError(f"{path} is damaged ({error}).") from error
    if not isinstance(content, dict) or "format" not in content:
        raise SrbenchError(f"{path} is not a checkpoint of srbench.")
    return content


def _way_out(folder: Path) -> str:
    previous = folder / PREVIOUS
    try:
        step = int(_read(previous)["state"]["total_step"])
    except (SrbenchError, KeyError, TypeError, ValueError):
        return "There is no earlier checkpoint; train again into another folder."
    return f"The one before it, of step {step}, is whole: go on with it by renaming {previous} to {CURRENT}."


def _keep(current: Path, previous: Path) -> None:
    """Make ``previous`` a second name of ``current`` (a copy where the file system has no links)."""
    waiting = previous.with_name(temporary_name(previous.name))
    try:
        os.link(current, waiting)
    except OSError:
        shutil.copyfile(current, waiting)
    waiting.replace(previous)
    # Replacing a link by a link to the same file leaves both.
    waiting.unlink(missing_ok=True)
