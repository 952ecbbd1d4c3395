"""Scenes by number: the same kind, index and size give the same scene, pixels and noise everywhere.

Each stage of a scene has its own random stream, seeded by (suite version, kind, index, stage), so that
leaving out an object changes neither the texture nor the noise.

What is guaranteed: all random numbers come from integers that numpy has frozen; geometry, fields and the
image are rounded before they are compared, thresholded or quantised. Elementary functions and Fourier
transforms may still differ in the last bits between machines; over a whole suite this moves one pixel by one
grey level with a probability of about 1 in 10,000. The hashes packaged with the dataset notice it.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.home import home
from srbench.datasets.interface import DatasetError
from srbench.datasets.storage import pixel_hash, write_atomically
from srbench.datasets.synthetic.draws import Draws
from srbench.datasets.synthetic.geometry import Array, FineGrid
from srbench.datasets.synthetic.imaging import (
    DOSE,
    PEDESTAL,
    READ_NOISE,
    Window,
    acquire,
    automatic_window,
    detector_signal,
    grey_levels,
)
from srbench.datasets.synthetic.scene import Scene, SceneKind, scene_kinds
from srbench.datasets.synthetic.undecidable import Lamellae, as_truth, plant, twin

VERSION = 2
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
        self.scene = self.kind.draw(self._draws(GEOMETRY), size)

    def pixels(self) -> NDArray[np.uint8]:
        """The noise-free image ``(size, size)``."""
        return self._planted[0]

    def pixels_without(self, feature: int) -> NDArray[np.uint8]:
        """The counterfactual: the same image lacking entry ``feature`` of the truth's ``small_features``.

        Contrast, brightness and lamellae stay as they are: the pair differs only where the feature is, casts
        its shadow or leaves its charge.
        """
        image, window = self._bare
        added = self.pixels().astype(np.int16) - image
        without = grey_levels(self._signal(self.scene.without(feature)), window)
        return np.clip(without + added, 0, 255).astype(np.uint8)

    def twin(self, scale: int) -> NDArray[np.uint8]:
        """The image whose lamellae of ``scale`` have the opposite phase: the same LR at that scale.

        Raises:
            KeyError: the scene has no lamellae for this scale.
        """
        image, patches = self._planted
        return twin(image, {patch.scale: patch for patch in patches}[scale])

    def truth(self) -> dict[str, Any]:
        """The geometry with what is common to all kinds: how it was imaged, at which dose, in which frame.

        ``undecidable``: the lamellae planted for scales 2, 3 and 4, see ``undecidable.Lamellae``.
        """
        return {
            "kind": self.kind.name,
            "suite_version": VERSION,
            "index": self.index,
            "size": self.size,
            "coordinates": "HR pixels, pixel centres at whole numbers; y = row, x = column",
            "optics": self.scene.optics.as_truth(),
            "acquisition": {"dose": DOSE, "pedestal": PEDESTAL, "read_noise": READ_NOISE},
            **self.scene.truth(),
            "undecidable": as_truth(self._planted[1]),
        }

    @functools.cached_property
    def _bare(self) -> tuple[NDArray[np.uint8], Window]:
        """The image before the lamellae are planted, and its contrast and brightness."""
        signal = self._signal(self.scene)
        window = automatic_window(signal, self.scene.optics)
        return grey_levels(signal, window), window

    @functools.cached_property
    def _planted(self) -> tuple[NDArray[np.uint8], tuple[Lamellae, ...]]:
        return plant(self._bare[0], self._draws(LAMELLAE))

    def _signal(self, scene: Scene) -> Array:
        grid = FineGrid(self.size)
        return detector_signal(scene.layers(grid), scene.optics, grid, self._draws(SURFACE))

    def _draws(self, stage: int) -> Draws:
        return Draws(VERSION, self.kind.code, self.index, stage)


def noisy_scan(pixels: NDArray[np.uint8], kind: str, index: int, number: int) -> NDArray[np.uint8]:
    """Acquisition ``number`` (0 or more) of the noise-free ``pixels`` of scene ``index`` of ``kind``."""
    return acquire(pixels, Draws(VERSION, scene_kinds()[kind].code, index, NOISE + number))


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
