"""Which crops a step trains on: a pure function of the seed and the step.

Nothing is drawn from a stream that has to be carried along. A run can therefore be resumed at any step, two
seeds share neither order nor crops nor augmentation, and the global batch is the same however many processes
or threads read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STREAM = 0x5EED_C809
SYMMETRIES = 8


@dataclass(frozen=True)
class Crop:
    """One crop: which image, its corner in HR pixels, and which of the 8 symmetries of the square.

    ``symmetry`` is three bits: 1 mirrors the rows, 2 mirrors the columns, 4 transposes (after mirroring).
    """

    image: int
    top: int
    left: int
    symmetry: int


class CropSampler:
    """Draws crops whose corners are multiples of the scale, images weighted by their area.

    Args:
        sizes: HR (height, width) of each image, each side at least the largest patch asked for.
        scale: magnification; corners are aligned to it, so that a crop has exact LR pixels.
        seed: of the run.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], scale: int, seed: int) -> None:
        self._sizes = np.asarray(sizes, dtype=np.int64).reshape(-1, 2)
        self._scale = scale
        self._seed = seed

    def batch(self, step: int, size: int, patch: int, draw: int = 0) -> list[Crop]:
        """The global batch of a step.

        Args:
            step: generator updates since the start of the run, over all stages.
            size: crops wanted.
            patch: HR side of a crop.
            draw: number of the batch within the step (a critic may take several).
        """
        random = self._generator(step, draw)
        usable = np.flatnonzero((self._sizes >= patch).all(axis=1))
        images = usable[_weighted(random, self._sizes[usable].prod(axis=1), size)]
        corners = self._corners(random, self._sizes[images], patch)
        symmetries = random.integers(0, SYMMETRIES, size)
        return [
            Crop(int(image), int(top), int(left), int(symmetry))
            for image, (top, left), symmetry in zip(images, corners, symmetries, strict=True)
        ]

    def _generator(self, step: int, draw: int) -> np.random.Generator:
        sequence = np.random.SeedSequence([_STREAM, self._seed, step, draw])
        return np.random.Generator(np.random.Philox(sequence))

    def _corners(
        self, random: np.random.Generator, sizes: NDArray[np.int64], patch: int
    ) -> NDArray[np.int64]:
        positions = (sizes - patch) // self._scale + 1
        corners: NDArray[np.int64] = random.integers(0, positions) * self._scale
        return corners


def _weighted(random: np.random.Generator, weights: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Indices drawn in proportion to integer weights, exactly: a uniform pixel of the pile, its image."""
    ends = np.cumsum(weights)
    drawn: NDArray[np.int64] = np.searchsorted(ends, random.integers(0, ends[-1], size), side="right")
    return drawn
