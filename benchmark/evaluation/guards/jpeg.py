"""Whether an image went through JPEG: its block coefficients lie on the comb of a quantisation table.

JPEG rounds each of the 64 cosine coefficients of an 8 x 8 block to a multiple of that coefficient's entry in
a table, which the quality sets. After decoding, the coefficients of the pixels still lie within rounding of
those multiples. Nothing else puts them there: neither the checkerboards of transposed convolutions, nor the
windows of attention, nor the squares of nearest interpolation know the table, whatever their period.

Tables are those of annex K of ITU-T T.81, scaled as the Independent JPEG Group's encoder scales them: what
Pillow, OpenCV, imageio and MATLAB write. The block grid is the one that starts at the image's corner.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 8
QUALITIES = range(5, 99)
"""Qualities looked for. Of 99 and 100 nothing is left to see: the tables are all ones, as rounding's own."""
MOST_BLOCKS = 4096
"""Blocks looked at, spread evenly over the image."""
FEWEST_VALUES = 16
"""Values of a coefficient away from zero below which it is left out."""
FEWEST_COEFFICIENTS = 5
"""Coefficients of a block below which nothing is said of an image: it is too flat."""

_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_STEPS = np.arange(2, 256)
_BIN = 0.125
_BINS = 1024

Array = NDArray[np.float64]
Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Comb:
    """How well an image's block coefficients lie on the comb of the table that fits best.

    Attributes:
        quality: of that table, 5 to 98; 0 where the image is too flat to say.
        strength: 1 where every coefficient is a multiple of its step, about 0 where they lie anywhere.
    """

    quality: int
    strength: float


def comb(sr: Grey, hr: Grey) -> Comb:
    """The comb in ``sr`` that it does not have from ``hr``.

    A reference may itself come from a JPEG file, and a result that equals it shows its comb. So only those
    coefficients count that say another multiple than the reference does.

    Args:
        sr: ``(H, W)`` 8-bit grey levels.
        hr: the same shape.
    """
    blocks = _telling_blocks(sr)
    found, known = _coefficients(sr, blocks), _coefficients(hr, blocks)
    strengths = _strengths(found)
    if not len(found) or not np.isfinite(strengths).any():
        return Comb(0, 0.0)
    best = int(np.nanargmax(strengths))
    return _confirmed(QUALITIES[best], found, known)


def quantisation_table(quality: int) -> NDArray[np.int64]:
    """The ``(8, 8)`` steps of the luminance coefficients, row = vertical frequency, at quality 1 to 100."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    steps: NDArray[np.int64] = np.clip((np.array(_LUMINANCE) * percent + 50) // 100, 1, 255)
    return steps


def _telling_blocks(pixels: Grey) -> NDArray[np.int64]:
    """Numbers of the blocks to look at: without black or white, where clipping moved the coefficients.

    Of blocks that are equal, as in a drawn grating, one: a single pattern can lie near some comb by chance.
    """
    blocks = _blocks(pixels).reshape(-1, SIDE * SIDE)
    inside = np.flatnonzero((blocks.min(axis=1) > 0) & (blocks.max(axis=1) < 255))
    _, first = np.unique(np.ascontiguousarray(blocks[inside]).view(f"V{SIDE * SIDE}"), return_index=True)
    distinct = np.sort(inside[first.ravel()])
    return distinct[:: max(1, -(-len(distinct) // MOST_BLOCKS))]


def _blocks(pixels: Grey) -> Grey:
    """``(n, 8, 8)``, row by row; what is left over at the right and the bottom is cut."""
    height, width = (side // SIDE for side in pixels.shape)
    cut = pixels[: height * SIDE, : width * SIDE].reshape(height, SIDE, width, SIDE)
    blocks: Grey = cut.transpose(0, 2, 1, 3).reshape(-1, SIDE, SIDE)
    return blocks


def _coefficients(pixels: Grey, numbers: NDArray[np.int64]) -> Array:
    """``(n, 63)`` orthonormal cosine coefficients of blocks, without that of the mean.

    The mean is left out because squares of nearest interpolation put it on a comb.
    """
    blocks = _blocks(pixels)[numbers].astype(np.float64)
    basis = _cosines()
    coefficients: Array = (basis @ blocks @ basis.T).reshape(-1, SIDE * SIDE)[:, 1:]
    return coefficients


@functools.cache
def _cosines() -> Array:
    frequency, position = np.arange(SIDE)[:, None], np.arange(SIDE)[None, :]
    basis = np.sqrt(2 / SIDE) * np.cos(np.pi * (2 * position + 1) * frequency / (2 * SIDE))
    basis[0] /= np.sqrt(2)
    scaled: Array = basis
    return scaled


@functools.cache
def _tables() -> NDArray[np.int64]:
    """``(qualities, 63)`` steps."""
    return np.stack([quantisation_table(quality).ravel()[1:] for quality in QUALITIES])


def _strengths(found: Array) -> Array:
    """The strength of the comb of every quality, by histogram; NaN where too few values say anything."""
    waves, counted = _teeth()
    levels = np.minimum(np.abs(found) / _BIN + 0.5, _BINS - 1).astype(np.int64)
    histogram = np.stack([np.bincount(column, minlength=_BINS) for column in levels.T]).astype(np.float64)
    totals, counts = histogram @ waves.T, histogram @ counted.T
    steps = _tables()
    column = np.arange(steps.shape[1])
    # A step of 1 has no comb; its place in the sums is that of step 2 and is left out by its count of 0.
    place = np.maximum(steps - _STEPS[0], 0)
    return _mean_strength(totals[column, place], np.where(steps > 1, counts[column, place], 0.0))


@functools.cache
def _teeth() -> tuple[Array, Array]:
    """For every step the cosine that is 1 on its multiples, over the bins, and the bins that are counted.

    Not counted are values that round to zero: an image without fine detail has them all near zero.
    """
    level = np.arange(_BINS) * _BIN
    counted = (level > _STEPS[:, None] / 2) & (level < (_BINS - 1) * _BIN)
    return np.cos(2 * np.pi * level / _STEPS[:, None]) * counted, counted.astype(np.float64)


def _confirmed(quality: int, found: Array, known: Array) -> Comb:
    """The strength of one quality's comb, from coefficients that say another multiple than the reference."""
    steps = quantisation_table(quality).ravel()[1:]
    multiple = np.rint(found / steps)
    own = (multiple != 0) & (multiple != np.rint(known / steps)) & (steps > 1)
    strength = _mean_strength((np.cos(2 * np.pi * found / steps) * own).sum(axis=0), own.sum(axis=0))
    return Comb(quality, float(strength)) if np.isfinite(strength) else Comb(0, 0.0)


def _mean_strength(totals: Array, counts: Array) -> Array:
    """Mean over the coefficients (last axis) with enough values; NaN where these are too few.

    Each coefficient weighs the same, however many values it has: a texture can crowd one, never all.
    """
    enough = counts >= FEWEST_VALUES
    means = np.where(enough, totals / np.maximum(counts, 1), 0.0)
    number = enough.sum(axis=-1)
    strength: Array = np.where(
        number >= FEWEST_COEFFICIENTS, means.sum(axis=-1) / np.maximum(number, 1), np.nan
    )
    return strength
