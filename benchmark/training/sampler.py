"""Which crops a step trains on: a pure function of the seed and the step.

Nothing is drawn from a stream that has to be carried along. A run can therefore be resumed at any step, two
seeds share neither order nor crops nor augmentation, and the global batch is the same however many processes
or threads read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Columns = NDArray[np.int64]

_STREAM = 0x5EED_C809
_ACQUISITIONS = 1 << 62
SYMMETRIES = 8


@dataclass(frozen=True)
class Crop:
    """One crop: which image, its corner in HR pixels, which of the 8 symmetries of the square, which noise.

    ``symmetry`` is three bits: 1 mirrors the rows, 2 mirrors the columns, 4 transposes (after mirroring).
    ``acquisition`` numbers the noise that a stochastic degradation draws for this crop; never 0, which is
    the acquisition that evaluation uses.
    """

    image: int
    top: int
    left: int
    symmetry: int
    acquisition: int


@dataclass(frozen=True, eq=False)
class Crops:
    """Crops of one size as columns, ``(N,)`` int64 each; see :class:`Crop` for what they mean."""

    image: Columns
    top: Columns
    left: Columns
    symmetry: Columns
    acquisition: Columns

    def share(self, rank: int, world: int) -> Crops:
        """The part of one of ``world`` processes."""
        return Crops(*(column[rank::world] for column in self._columns()))

    def __len__(self) -> int:
        return len(self.image)

    def __iter__(self) -> Iterator[Crop]:
        return (Crop(*row) for row in zip(*(column.tolist() for column in self._columns()), strict=True))

    def _columns(self) -> list[Columns]:
        return [getattr(self, entry.name) for entry in fields(self)]


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
        self._piles: dict[int, tuple[Columns, Columns]] = {}

    def batch(self, step: int, size: int, patch: int, draw: int = 0) -> Crops:
        """The global batch of a step.

        Args:
            step: generator updates since the start of the run, over all stages.
            size: crops wanted.
            patch: HR side of a crop.
            draw: number of the batch within the step (a discriminator may take several).
        """
        random = self._generator(step, draw)
        usable, ends = self._pile(patch)
        # A uniform pixel of the pile, its image: images in proportion to their area, exactly.
        images = usable[np.searchsorted(ends, random.integers(0, ends[-1], size), side="right")]
        tops, lefts = self._corners(random, self._sizes[images], patch).T
        symmetries = random.integers(0, SYMMETRIES, size)
        # Drawn last: what a degradation without noise trains on does not depend on it.
        acquisitions = random.integers(1, _ACQUISITIONS, size)
        return Crops(images, tops, lefts, symmetries, acquisitions)

    def _generator(self, step: int, draw: int) -> np.random.Generator:
        sequence = np.random.SeedSequence([_STREAM, self._seed, step, draw])
        return np.random.Generator(np.random.Philox(sequence))

    def _pile(self, patch: int) -> tuple[Columns, Columns]:
        """The images that hold a patch, and where each ends in the pile of their pixels."""
        if patch not in self._piles:
            usable = np.flatnonzero((self._sizes >= patch).all(axis=1))
            self._piles[patch] = usable, np.cumsum(self._sizes[usable].prod(axis=1))
        return self._piles[patch]

    def _corners(self, random: np.random.Generator, sizes: Columns, patch: int) -> Columns:
        positions = (sizes - patch) // self._scale + 1
        corners: Columns = random.integers(0, positions) * self._scale
        return corners
