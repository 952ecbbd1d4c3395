"""Random numbers that are the same on every machine and for every version of numpy.

numpy freezes the raw integers of its bit generators but not the distributions made from them (NEP 19), and a
scene must not change because numpy found a faster gamma variate. So the few distributions needed here are
made from the raw integers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Array = NDArray[np.float64]
Item = TypeVar("Item")
DECIMALS = 4
"""Geometry is rounded to this many decimals of an HR pixel when drawn: the truth is what is rendered."""


class Draws:
    """A stream of random numbers.

    Args:
        key: non-negative integers; equal keys give equal streams, unequal ones independent streams.
    """

    def __init__(self, *key: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(key))

    def uniforms(self, *shape: int) -> Array:
        """Float64 in (0, 1), never 0 or 1: the centres of 2^53 equal cells, of ``shape``."""
        raw = self._bits.random_raw(shape) >> np.uint64(11)
        values: Array = np.minimum((raw + 0.5) * 2.0**-53, 1 - 2.0**-53)
        return values

    def normals(self, *shape: int) -> Array:
        """Standard normal float64 of ``shape``, by inversion of the distribution function."""
        values: Array = np.round(ndtri(self.uniforms(*shape)), 12)
        return values

    def uniform(self, low: float, high: float) -> float:
        """One number between ``low`` and ``high``, rounded to ``DECIMALS``."""
        return round(low + (high - low) * float(self.uniforms(1)[0]), DECIMALS)

    def log_normal(self, median: float, gsd: float, low: float, high: float) -> float:
        """One log-normal number with geometric standard deviation ``gsd``, redrawn until in [low, high]."""
        for _ in range(1000):
            value = round(median * math.exp(math.log(gsd) * float(self.normals(1)[0])), DECIMALS)
            if low <= value <= high:
                return value
        raise ValueError(
            f"A log-normal of median {median} and GSD {gsd} hardly ever lies in [{low}, {high}]."
        )

    def integer(self, low: int, high: int) -> int:
        """One integer from ``low`` to ``high``, both included."""
        return min(high, low + int((high - low + 1) * float(self.uniforms(1)[0])))

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return float(self.uniforms(1)[0]) < probability

    def choice(self, items: Sequence[Item]) -> Item:
        """One of the items, all equally likely."""
        return items[self.integer(0, len(items) - 1)]
