"""Scenes of one kind that are in no suite: as many as are asked for, each a group of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.base import DatasetCard, Micrograph, MicrographSet
from srbench.datasets.synthetic.suite import SyntheticScene
from srbench.utils.errors import DatasetError

FIRST = 10_000
"""Number of the first scene, which no suite reaches."""
_MOST_TRIED = 30
"""Scenes looked at for each one that is asked for."""


class NumberedScenes(MicrographSet):
    """Scenes of one kind, rendered when they are read.

    Args:
        kind: a registered scene kind.
        count: how many.
        size: side of the images in HR pixels, a multiple of 12.
        usable: whether the geometry of a scene will do; all when None.

    Raises:
        DatasetError: hardly any scene of this kind will do.
    """

    def __init__(
        self,
        kind: str,
        count: int,
        size: int = 384,
        usable: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> None:
        self.name = f"{count} scenes of {kind}"
        self.card = DatasetCard("scenes", self.name, "synthetic", "", "CC0-1.0")
        self.skipped: Mapping[str, str] = {}
        self._kind, self._size = kind, size
        numbers = []
        for number in range(FIRST, FIRST + _MOST_TRIED * count):
            # Geometry alone is sampled in no time; only what is used is rendered.
            if usable is None or usable({"kind": kind, **SyntheticScene(kind, number, size).scene.truth()}):
                numbers.append(number)
            if len(numbers) == count:
                break
        if len(numbers) < count:
            raise DatasetError(f"Of {_MOST_TRIED * count} scenes of {kind} only {len(numbers)} will do.")
        names = [f"{kind}-{number:05d}" for number in numbers]
        self.images = tuple(
            Micrograph(name, name, kind, "test", size, size, has_truth=True) for name in names
        )

    @property
    def fingerprint(self) -> str:
        """Names say all: a scene is made of its number."""
        return f"{self._size} px: {', '.join(image.id for image in self.images)}"

    @functools.lru_cache(maxsize=32)  # noqa: B019 (one set lives as long as the process)
    def _scene(self, image_id: str) -> SyntheticScene:
        return SyntheticScene(self._kind, int(image_id[-5:]), self._size)

    def pixels(self, image_id: str) -> NDArray[np.uint8]:
        """Noise-free."""
        return self._scene(image_id).pixels()

    def truth(self, image_id: str) -> dict[str, Any]:
        """Of the geometry."""
        return self._scene(image_id).truth()
