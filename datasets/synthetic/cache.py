"""Generated scenes kept on the disk, so that each is drawn once on a machine and not in every process.

Nothing is believed: what is read back is compared with the published hashes, and drawn again when it differs.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.home import home
from srbench.datasets.interface import DatasetError
from srbench.datasets.storage import pixel_hash, write_atomically
from srbench.datasets.synthetic.suite import VERSION, SyntheticScene, truth_text


@dataclass(frozen=True)
class Drawn:
    """A scene's noise-free ``(H, W)`` pixels and its truth as canonical JSON."""

    pixels: NDArray[np.uint8]
    truth: str

    def equals(self, published: Mapping[str, str]) -> bool:
        """Whether both have the published hashes."""
        truth = hashlib.sha256(self.truth.encode()).hexdigest()
        return pixel_hash(self.pixels) == published["pixels"] and truth == published["truth"]


def draw(scene: SyntheticScene) -> Drawn:
    """Generate a scene (a fraction of a second)."""
    return Drawn(scene.pixels(), truth_text(scene.truth()))


def kept(image_id: str, published: Mapping[str, str]) -> Drawn | None:
    """The scene as an earlier process kept it; None where there is none, or not the published one."""
    try:
        with np.load(_file(image_id), allow_pickle=False) as stored:
            found = Drawn(stored["pixels"], bytes(stored["truth"]).decode())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return found if found.equals(published) else None


def keep(image_id: str, drawn: Drawn) -> None:
    """Keep a scene for other processes; where the home cannot be written, they draw it themselves."""
    stream = io.BytesIO()
    np.savez(stream, pixels=drawn.pixels, truth=np.frombuffer(drawn.truth.encode(), dtype=np.uint8))
    with suppress(DatasetError):
        write_atomically(_file(image_id), stream.getvalue())


def folder() -> Path:
    """Where drawn scenes are kept."""
    return home() / "cache" / "sem_synthetic" / f"v{VERSION}"


def _file(image_id: str) -> Path:
    return folder() / f"{image_id}.npz"
