"""Scenes by number: the same kind, index and size give the same scene, pixels and noise everywhere.

Each stage of a scene has a random stream, seeded by (suite version, kind, index, stage). Random numbers
come from integers that numpy has frozen; geometry, fields and images are rounded before they are compared,
thresholded or quantised. Elementary functions and Fourier transforms may differ in the last bits between
machines: over a suite one pixel moves by one grey level with a probability of about 1 in 10,000, which the
packaged hashes notice.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.synthetic.ambiguous import AmbiguousPatch, insert
from srbench.datasets.synthetic.geometry import FineGrid
from srbench.datasets.synthetic.imaging import (
    GreyWindow,
    acquire,
    automatic_window,
    detector_signal,
    grey_levels,
)
from srbench.datasets.synthetic.rng import Array, RandomStream
from srbench.datasets.synthetic.scene import Scene, SceneKind, scene_kinds
from srbench.utils.errors import StorageError
from srbench.utils.files import pixel_hash, write_bytes
from srbench.utils.paths import home

VERSION = 2
"""Enters the seeds: raised only when the pixels shall change. Truth has its own hashes."""
GEOMETRY, SURFACE, LAMELLAE, NOISE = 0, 1, 2, 16
"""Stages; acquisition n has stage NOISE + n."""


class SyntheticScene:
    """One numbered scene.

    Args:
        kind: a registered scene kind.
        index: number of the scene, 0 or more.
        size: side of the image in HR pixels.
    """

    def __init__(self, kind: str, index: int, size: int) -> None:
        self.kind: SceneKind = scene_kinds()[kind]
        self.index = index
        self.size = size
        self.scene = self.kind.sample(self._stream(GEOMETRY), size)

    def pixels(self) -> NDArray[np.uint8]:
        """The noise-free image ``(size, size)``."""
        return self._with_patches[0]

    def truth(self) -> dict[str, Any]:
        """The geometry that measurements read, the ``kind`` and the ``coordinates`` it is given in.

        ``ambiguous``: the lamellae inserted for scales 2, 3 and 4, see ``ambiguous.AmbiguousPatch``.
        """
        return {
            "kind": self.kind.name,
            "coordinates": "HR pixels, pixel centres at whole numbers; y = row, x = column",
            **self.scene.truth(),
            "ambiguous": [asdict(patch) for patch in self._with_patches[1]],
        }

    @functools.cached_property
    def _unpatched(self) -> tuple[NDArray[np.uint8], GreyWindow]:
        """The image before the lamellae are inserted, and its contrast and brightness."""
        signal = self._signal(self.scene)
        window = automatic_window(signal, self.scene.optics)
        return grey_levels(signal, window), window

    @functools.cached_property
    def _with_patches(self) -> tuple[NDArray[np.uint8], tuple[AmbiguousPatch, ...]]:
        return insert(self._unpatched[0], self._stream(LAMELLAE))

    def _signal(self, scene: Scene) -> Array:
        """What the detector sees of a scene, before the grey levels are chosen."""
        grid = FineGrid(self.size)
        return detector_signal(scene.layers(grid), scene.optics, grid, self._stream(SURFACE))

    def _stream(self, stage: int) -> RandomStream:
        return RandomStream(VERSION, self.kind.code, self.index, stage)


def noisy_scan(pixels: NDArray[np.uint8], kind: str, index: int, number: int) -> NDArray[np.uint8]:
    """Acquisition ``number`` (0 or more) of the noise-free ``pixels`` of scene ``index`` of ``kind``."""
    return acquire(pixels, RandomStream(VERSION, scene_kinds()[kind].code, index, NOISE + number))


def scene_hashes(scene: SyntheticScene) -> dict[str, str]:
    """sha256 (hex) of a scene's ``pixels``, ``truth`` and first ``acquisition``."""
    pixels = scene.pixels()
    return {
        "pixels": pixel_hash(pixels),
        "truth": hashlib.sha256(truth_text(scene.truth()).encode()).hexdigest(),
        "acquisition": pixel_hash(noisy_scan(pixels, scene.kind.name, scene.index, 0)),
    }


def truth_text(truth: dict[str, Any]) -> str:
    """Canonical JSON: sorted keys, no spaces, no NaN."""
    return json.dumps(truth, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class StoredScene:
    """A scene's noise-free ``(H, W)`` pixels and its truth as canonical JSON."""

    pixels: NDArray[np.uint8]
    truth: str

    def equals(self, published: Mapping[str, str]) -> bool:
        """Whether both have the published hashes."""
        truth = hashlib.sha256(self.truth.encode()).hexdigest()
        return pixel_hash(self.pixels) == published["pixels"] and truth == published["truth"]


def load_scene(image_id: str, published: Mapping[str, str]) -> StoredScene | None:
    """The scene as an earlier process stored it; None where there is none, or not the published one."""
    try:
        with np.load(cache_folder() / f"{image_id}.npz", allow_pickle=False) as arrays:
            scene = StoredScene(arrays["pixels"], bytes(arrays["truth"]).decode())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return scene if scene.equals(published) else None


def store_scene(image_id: str, scene: StoredScene) -> None:
    """Store a scene for other processes; where the home cannot be written, they render it themselves."""
    content = io.BytesIO()
    np.savez(content, pixels=scene.pixels, truth=np.frombuffer(scene.truth.encode(), dtype=np.uint8))
    with suppress(StorageError):
        write_bytes(cache_folder() / f"{image_id}.npz", content.getvalue())


def cache_folder() -> Path:
    """Where rendered scenes are stored, so that each is rendered once on a machine."""
    return home() / "cache" / "sem_synthetic" / f"v{VERSION}"
