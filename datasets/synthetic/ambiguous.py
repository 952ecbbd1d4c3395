"""Fine lamellae that a low-resolution image cannot hold: two opposite phases give the same LR, bit for bit.

A patch of period ``scale`` HR pixels lies at a spatial frequency where averaging over LR pixels and the
antialiased bicubic kernel both have a zero. Its phase is drawn by lot. Whatever a network makes of the patch
is a guess; one that gets the phase right more often than by chance has seen the HR image, in training or
while it was evaluated.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.synthetic.rng import RandomStream

SCALES = (4, 3, 2)
"""Scales with a patch of their own, the one that is hardest to insert first."""
LR_SIDE = 12
"""Side of a patch in LR pixels."""
CONTRASTS = (14, 11, 8, 6)
"""Amplitudes in grey levels, tried in this order: a dark or a bright scene has no room for the first."""
_APART = 18
# Grey levels between a value and the next rounding step: no machine's arithmetic brings it across.
_SAFE = 0.01
_TIE = 1e-4
_DECIMALS = 9
_ROUNDS = 60

Grey = NDArray[np.uint8]
Levels = NDArray[np.int64]
Array = NDArray[np.float64]
Window = tuple[slice, slice]


@dataclass(frozen=True)
class AmbiguousPatch:
    """One patch. Lengths in HR pixels; ``top`` and ``left`` are its first row and column.

    Attributes:
        scale: the scale at which its two phases give the same LR.
        top: multiple of ``scale``.
        left: multiple of ``scale``.
        side: of the square patch.
        period: of the lamellae.
        axis: along which they follow each other: ``rows`` or ``columns``.
        contrast: amplitude in grey levels at the centre of the patch.
        phase: 1 or -1, by lot.
    """

    scale: int
    top: int
    left: int
    side: int
    period: int
    axis: str
    contrast: int
    phase: int

    @property
    def window(self) -> Window:
        """Where it lies in the image."""
        return slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)

    def texture(self) -> Levels:
        """What the patch adds in phase 1, ``(side, side)`` whole grey levels; sums to 0 in every LR pixel."""
        wave, envelope = _profile(self.side, self.scale)
        exact = self.contrast * np.outer(wave, envelope)
        return _balanced(exact if self.axis == "rows" else exact.T, self.scale)


def insert(image: Grey, stream: RandomStream) -> tuple[Grey, tuple[AmbiguousPatch, ...]]:
    """Put one patch for each scale where a noise-free image is quietest.

    Pixels in and around a patch are moved by single grey levels until no LR pixel is near a rounding step.

    Args:
        image: ``(H, W)``, sides multiples of 12.
        stream: random numbers of axis and phase.

    Returns:
        The new image and its patches; a patch for which there is no room is left out.
    """
    inserted: list[AmbiguousPatch] = []
    levels = image.astype(np.int64)
    for scale in SCALES:
        axis, phase = stream.choice(("rows", "columns")), stream.choice((1, -1))
        draft = AmbiguousPatch(scale, 0, 0, LR_SIDE * scale, scale, axis, CONTRASTS[0], phase)
        for candidate in _candidates(levels, draft, inserted):
            with_patch = _settle(levels, candidate)
            if with_patch is not None:
                levels = with_patch
                inserted.append(candidate)
                break
    return levels.astype(np.uint8), tuple(inserted)


def opposite_phase(image: Grey, patch: AmbiguousPatch) -> Grey:
    """The image with the opposite phase of one of its patches."""
    levels = image.astype(np.int64)
    levels[patch.window] -= 2 * patch.phase * patch.texture()
    return levels.astype(np.uint8)


@functools.cache
def _profile(side: int, scale: int) -> tuple[Array, Array]:
    """The lamellae along their axis, and the envelope across it.

    A constant wave has no LR at all; of one that fades at the ends a little remains, which is taken out. At
    scale 2 the two kinds of LR leave no room for that: they hold as many numbers as the patch has pixels.
    """
    from srbench.datasets.images.resize import weight_matrix

    steps = np.arange(side)
    envelope = np.sin(np.pi * (steps + 0.5) / side) ** 2
    wave = np.cos(2 * np.pi * steps / scale) * envelope
    if scale > 2:
        around, patch = side + 8 * scale, slice(4 * scale, 4 * scale + side)
        lr_weights = np.vstack(
            [weight_matrix(around, around // scale, kernel)[:, patch] for kernel in ("bicubic", "area")]
        )
        # The two kinds of LR share what is constant: the rows are dependent, and a cutoff must say so.
        wave = wave - np.linalg.pinv(lr_weights, rcond=1e-9) @ (lr_weights @ wave)
    return np.round(wave / np.abs(wave).max(), _DECIMALS), np.round(envelope, _DECIMALS)


def _balanced(exact: Array, scale: int) -> Levels:
    """Whole numbers near ``exact`` whose sum over each ``scale`` x ``scale`` block is 0."""
    side = exact.shape[0]
    blocks = exact.reshape(side // scale, scale, side // scale, scale).transpose(0, 2, 1, 3)
    flat = np.round(blocks.reshape(-1, scale * scale), 6)
    whole = np.floor(flat + 0.5)
    for block, target in zip(whole, flat, strict=True):
        excess = int(block.sum())
        # Those that were rounded furthest the wrong way give way first; ties, made exact, by position.
        order = np.argsort(np.round(np.sign(excess) * (target - block), 6), kind="stable")
        block[order[: abs(excess)]] -= np.sign(excess)
    cells = whole.reshape(side // scale, side // scale, scale, scale).transpose(0, 2, 1, 3)
    balanced: Levels = cells.reshape(side, side).astype(np.int64)
    return balanced


def _candidates(
    levels: Levels, draft: AmbiguousPatch, inserted: list[AmbiguousPatch]
) -> Iterable[AmbiguousPatch]:
    """Places with room for the contrast and away from other patches, the quietest first, at each contrast."""
    quiet = _quietest(levels, draft)
    for contrast in CONTRASTS:
        tried = 0
        for top, left in quiet:
            patch = replace(draft, top=top, left=left, contrast=contrast)
            region, spare = levels[patch.window], contrast + 3
            has_room = region.min() >= spare and region.max() <= 255 - spare
            if has_room and all(_apart(patch, other) for other in inserted):
                yield patch
                tried += 1
            if tried == 8:
                break


def _quietest(levels: Levels, draft: AmbiguousPatch) -> list[tuple[int, int]]:
    """Corners on the LR grid, two LR pixels or more from the border, by the grey-level steps in the patch."""
    height, width = levels.shape
    activity = np.zeros((height + 1, width + 1), dtype=np.int64)
    steps = np.abs(np.diff(levels, axis=0, append=levels[-1:])) + np.abs(
        np.diff(levels, axis=1, append=levels[:, -1:])
    )
    activity[1:, 1:] = (steps * steps).cumsum(axis=0).cumsum(axis=1)
    side, margin = draft.side, 2 * draft.scale
    tops = np.arange(margin, height - side - margin + 1, draft.scale)
    lefts = np.arange(margin, width - side - margin + 1, draft.scale)
    total = (
        activity[np.ix_(tops + side, lefts + side)]
        - activity[np.ix_(tops, lefts + side)]
        - activity[np.ix_(tops + side, lefts)]
        + activity[np.ix_(tops, lefts)]
    )
    order = np.argsort(total, axis=None, kind="stable")
    rows, columns = np.unravel_index(order, total.shape)
    return [(int(tops[row]), int(lefts[column])) for row, column in zip(rows, columns, strict=True)]


def _apart(patch: AmbiguousPatch, other: AmbiguousPatch) -> bool:
    """Whether no LR pixel of any scale sees both."""
    return (
        patch.top >= other.top + other.side + _APART
        or other.top >= patch.top + patch.side + _APART
        or patch.left >= other.left + other.side + _APART
        or other.left >= patch.left + patch.side + _APART
    )


def _settle(levels: Levels, patch: AmbiguousPatch) -> Levels | None:
    """The levels with the patch in, such that both phases round to the same LR; None when that fails."""
    view = _View.of(levels.shape, patch)
    around = levels[view.window].copy()
    texture = np.zeros_like(around)
    texture[view.inner] = patch.phase * patch.texture()
    swing = np.abs(view.lr(texture))
    for attempt in range(_ROUNDS):
        middle = view.lr(around) + 0.5 + _TIE
        unsafe = np.floor(middle - swing - _SAFE) != np.floor(middle + swing + _SAFE)
        if not unsafe[swing > 1e-9].any():
            if (around - np.abs(texture)).min() < 0 or (around + np.abs(texture)).max() > 255:
                return None
            settled: Levels = levels.copy()
            settled[view.window] = around + texture
            return settled
        for row, column in np.argwhere(unsafe & (swing > 1e-9)):
            # Away from the rounding step that the LR value is near.
            step = 1 if middle[row, column] % 1.0 < 0.5 else -1
            around[view.pixel(int(row), int(column), attempt)] += step
    return None


@dataclass(frozen=True)
class _View:
    """The surroundings of a patch: every LR pixel that sees the patch, and every HR pixel that those see.

    Attributes:
        window: the HR pixels.
        inner: the patch within them.
        rows: bicubic weights of the LR rows, and columns, over them.
        columns: as ``rows``.
        first: offset of the first LR pixel from the first HR pixel, in HR pixels.
        scale: of the patch.
    """

    window: Window
    inner: Window
    rows: Array
    columns: Array
    first: tuple[int, int]
    scale: int

    @classmethod
    def of(cls, shape: tuple[int, ...], patch: AmbiguousPatch) -> _View:
        """The view of a patch in an image of this shape."""
        rows, columns = (
            _axis_view(start, patch, length)
            for start, length in zip((patch.top, patch.left), shape, strict=True)
        )
        return cls(
            (rows[0], columns[0]),
            (rows[1], columns[1]),
            rows[2],
            columns[2],
            (rows[3], columns[3]),
            patch.scale,
        )

    def lr(self, values: Levels) -> Array:
        """The bicubic LR of values given over the window."""
        low: Array = self.rows @ values @ self.columns.T
        return low

    def pixel(self, row: int, column: int, attempt: int) -> tuple[int, int]:
        """One of the HR pixels under an LR pixel, by turns, those near its middle first."""
        cell = _from_the_middle(self.scale)
        y, x = cell[attempt % len(cell)]
        return row * self.scale + y + self.first[0], column * self.scale + x + self.first[1]


@functools.cache
def _from_the_middle(scale: int) -> tuple[tuple[int, int], ...]:
    middle = (scale - 1) / 2
    cell = [(y, x) for y in range(scale) for x in range(scale)]
    return tuple(sorted(cell, key=lambda at: max(abs(at[0] - middle), abs(at[1] - middle))))


def _axis_view(start: int, patch: AmbiguousPatch, length: int) -> tuple[slice, slice, Array, int]:
    from srbench.datasets.images.resize import weight_matrix

    scale = patch.scale
    lr_first, lr_last = start // scale - 2, (start + patch.side) // scale + 2
    first, last = max((lr_first - 2) * scale, 0), min((lr_last + 2) * scale, length)
    weights = weight_matrix(length, length // scale, "bicubic")[lr_first:lr_last, first:last]
    inner = slice(start - first, start - first + patch.side)
    return slice(first, last), inner, weights, lr_first * scale - first
