"""Near-duplicates: which images show the same field of view again, found from their grey pixels alone.

Candidates are pairs of images whose descriptors (96 whole numbers) have a cosine of 0.4 or more. They are
verified by the correlation of their thumbnails at the best shift up to 64 pixels, which must reach 0.6, and
joined to groups (union-find). Chains of similar images could tie a category together: groups larger than
``most`` are formed again among themselves at 0.75, then at 0.9. Recall and false merges were measured on
``sem_open``, see docs/datasets.md. Images under 104 pixels (of 1024 across) stay on their own.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from srbench.utils.errors import DatasetError
from srbench.utils.image import Pixels
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

Descriptors = NDArray[np.int16]
Thumbnail = NDArray[np.float32]
Floats = NDArray[np.float64]

# Raised whenever the same pixels would give another descriptor or other groups.
RULES = "1"
ROWS, COLUMNS = 8, 12
DIMENSIONS = ROWS * COLUMNS
CANDIDATE = 0.4
SAME = 0.6
_STRICTER = (0.75, 0.9)
# Whole numbers in a vector of this length keep every partial sum of a product below 2^24, hence exact.
_LENGTH = 4000
# Above a databar at least this share of the width is left.
_HEIGHT_OF_WIDTH = 0.49
_CELL, _WIDTH = 8, 1024
_FINE, _COARSE = 3, 13
_SHIFT = 8
_TILE = 1024
_AT_ONCE = 256
_CACHED = 2048


@dataclass(frozen=True)
class DuplicateGroups:
    """Which images belong together.

    Attributes:
        labels: ``(n,)``: the number of the first image of each image's group.
        candidates: pairs that looked alike at first.
        agreeing: pairs whose fields were found to be the same (pairs already joined by others not counted).
        largest: images in the largest group.
        tightened: groups that were too large and formed again: (images before, threshold, groups after).
    """

    labels: NDArray[np.int64]
    candidates: int
    agreeing: int
    largest: int
    tightened: tuple[tuple[int, float, int], ...] = ()


def descriptor(pixels: Pixels) -> Descriptors:
    """What is compared with all other images: ``(96,)`` whole numbers of length 4000, or zeros.

    8x12 block means of the upper part (how much a databar has left below varies), less the best surface of
    second order (illumination), of fixed length. The numbers are so bounded that their float32 products are
    exact in any order: every machine finds the same pairs.

    Args:
        pixels: ``(H, W)``, at least 8x12.

    Raises:
        DatasetError: smaller, or not grey.
    """
    if pixels.ndim != 2 or pixels.shape[0] < ROWS or pixels.shape[1] < COLUMNS:
        raise DatasetError(f"Expected grey pixels of at least {ROWS}x{COLUMNS}, found {pixels.shape}.")
    height = max(min(pixels.shape[0], int(pixels.shape[1] * _HEIGHT_OF_WIDTH)), ROWS)
    means = _block_means(pixels[:height], height // ROWS, pixels.shape[1] // COLUMNS)[:ROWS, :COLUMNS]
    surface = _surfaces()
    left = means.ravel() - surface @ (surface.T @ means.ravel())
    length = float(np.sqrt((left**2).sum()))
    # Below a thousandth of a grey level nothing but rounding is left.
    unit = left / length if length > 1e-3 else np.zeros(DIMENSIONS)
    return np.rint(unit * _LENGTH).astype(np.int16)


def thumbnail(pixels: Pixels) -> Thumbnail:
    """What is laid over another image: details of 24 to 104 pixels (of 1024 across), mean 0, ``(h, w)``."""
    cell = _CELL * max(round(pixels.shape[1] / _WIDTH), 1)
    means = _block_means(pixels, cell, cell)
    if min(means.shape) <= _COARSE:
        return np.zeros((1, 1), np.float32)
    # Only where the coarse mean has all its cells: a mirrored edge would make a detail of a mere slope.
    margin = (_COARSE - _FINE) // 2
    fine = _box_means(means, _FINE)[margin:-margin, margin:-margin]
    details = fine - _box_means(means, _COARSE)
    centred: Thumbnail = (details - details.mean()).astype(np.float32)
    return centred


def agreement(first: Thumbnail, second: Thumbnail) -> float:
    """Correlation (-1 to 1) of two thumbnails where they overlap, at the shift that suits them best."""
    from scipy import fft

    shape = tuple(
        fft.next_fast_len(max(pair) + _SHIFT, real=True)
        for pair in zip(first.shape, second.shape, strict=True)
    )
    product = fft.rfft2(first, shape) * np.conj(fft.rfft2(second, shape))
    shifts = np.arange(-_SHIFT, _SHIFT + 1)
    near = fft.irfft2(product, shape)[np.ix_(shifts % shape[0], shifts % shape[1])]
    down, right = np.unravel_index(int(near.argmax()), near.shape)
    first, second = _overlap(first, second, int(shifts[down]), int(shifts[right]))
    energy = float(np.sqrt((first**2).sum(dtype=np.float64) * (second**2).sum(dtype=np.float64)))
    return float((first * second).sum(dtype=np.float64)) / energy if energy > 0 else 0.0


def cluster(
    descriptors: Descriptors,
    thumbnail_of: Callable[[int], Thumbnail],
    *,
    most: int | None = None,
    progress: ProgressCallback = silent,
    threads: int | None = None,
) -> DuplicateGroups:
    """Group the images that show the same field of view.

    Args:
        descriptors: ``(n, 96)``, one row an image.
        thumbnail_of: gives the thumbnail of image ``i``; called from several threads, for candidates only.
        most: a larger group is formed again at higher thresholds; by default a twentieth of the images, and
            at least 50.
        progress: called with how many images have been compared with all others.
        threads: as many as there are cores when None.

    Returns:
        The same groups whatever the number of threads.
    """
    cached = functools.lru_cache(_CACHED)(thumbnail_of)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        comparison = _Comparison(descriptors, cached, most or max(len(descriptors) // 20, 50), pool)
        labels = comparison.group(np.arange(len(descriptors)), SAME, progress)
        tightened = []
        for stricter in _STRICTER:
            names, sizes = np.unique(labels, return_counts=True)
            for members in [np.flatnonzero(labels == name) for name in names[sizes > comparison.most]]:
                labels[members] = comparison.group(members, stricter, silent)
                tightened.append((len(members), stricter, len(np.unique(labels[members]))))
    largest = max(Counter(labels.tolist()).values(), default=0)
    return DuplicateGroups(labels, comparison.candidates, comparison.agreeing, largest, tuple(tightened))


class _Comparison:
    """All pairs of one set of images."""

    def __init__(
        self,
        descriptors: Descriptors,
        thumbnail_of: Callable[[int], Thumbnail],
        most: int,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.descriptors = descriptors
        self.thumbnail_of = thumbnail_of
        self.most = most
        self.pool = pool
        self.candidates = self.agreeing = 0

    def group(
        self, members: NDArray[np.int64], threshold: float, progress: ProgressCallback
    ) -> NDArray[np.int64]:
        """The number of the first image of each member's group."""
        parents = np.arange(len(members))
        pairs = _candidates(self.descriptors[members], progress)
        while batch := list(islice(pairs, _AT_ONCE)):
            self.candidates += len(batch)
            # Where others have joined the two already, there is nothing left to find out.
            open_pairs = [pair for pair in batch if _root(parents, pair[0]) != _root(parents, pair[1])]
            scores = self.pool.map(self._agreement, ((members[i], members[j]) for i, j in open_pairs))
            for (first, second), score in zip(open_pairs, scores, strict=True):
                if score >= threshold:
                    self.agreeing += 1
                    _join(parents, first, second)
        return members[[_root(parents, index) for index in range(len(members))]]

    def _agreement(self, pair: Sequence[int]) -> float:
        return agreement(self.thumbnail_of(int(pair[0])), self.thumbnail_of(int(pair[1])))


def _candidates(descriptors: Descriptors, progress: ProgressCallback) -> Iterator[tuple[int, int]]:
    """Pairs with a high cosine, tile by tile, so that memory does not depend on the number of images."""
    count = len(descriptors)
    lengths = np.sqrt((descriptors.astype(np.float64) ** 2).sum(axis=1))
    for top in range(0, count, _TILE):
        rows = descriptors[top : top + _TILE].astype(np.float32)
        for left in range(top, count, _TILE):
            products = rows @ descriptors[left : left + _TILE].astype(np.float32).T
            least = CANDIDATE * lengths[top : top + _TILE, None] * lengths[left : left + _TILE]
            alike = (products >= least) & (products > 0)
            if top == left:
                alike = np.triu(alike, 1)
            for first, second in np.argwhere(alike):
                yield top + int(first), left + int(second)
        progress(ProgressEvent("find near-duplicates", min(top + _TILE, count), count, "images"))


def _root(parents: NDArray[np.int64], index: int) -> int:
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = int(parents[index])
    return index


def _join(parents: NDArray[np.int64], first: int, second: int) -> None:
    """Union; the smaller number is the root, so that a group is called after its first image."""
    low, high = sorted((_root(parents, first), _root(parents, second)))
    parents[high] = low


def _overlap(first: Thumbnail, second: Thumbnail, down: int, right: int) -> tuple[Thumbnail, Thumbnail]:
    """The parts in which ``first[r + down, c + right]`` lies over ``second[r, c]``."""
    first = first[max(down, 0) :, max(right, 0) :]
    second = second[max(-down, 0) :, max(-right, 0) :]
    height, width = (min(pair) for pair in zip(first.shape, second.shape, strict=True))
    return first[:height, :width], second[:height, :width]


def _block_means(pixels: Pixels, height: int, width: int) -> Floats:
    """Means of blocks of ``height`` x ``width`` pixels from the upper left; the rest is left out."""
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    part = pixels[: rows * height, : columns * width]
    # Rows first: their sums run along memory, in as few bytes as hold them.
    narrow = pixels.dtype == np.uint8 and height <= 256
    sums = part.reshape(rows, height, columns * width).sum(axis=1, dtype=np.uint16 if narrow else np.uint32)
    means: Floats = sums.reshape(rows, columns, width).sum(axis=2, dtype=np.uint64) / (height * width)
    return means


def _box_means(values: Floats, side: int) -> Floats:
    """Means over ``side`` x ``side`` values, wherever all of them exist."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    sums[1:, 1:] = values.cumsum(axis=0).cumsum(axis=1)
    boxes = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    means: Floats = boxes / side**2
    return means


@functools.cache
def _surfaces() -> Floats:
    """An orthonormal basis ``(96, 6)`` of the surfaces of second order on the grid."""
    y, x = (np.linspace(-1, 1, side) for side in (ROWS, COLUMNS))
    down, right = (part.ravel() for part in np.meshgrid(y, x, indexing="ij"))
    terms = np.stack([np.ones(DIMENSIONS), right, down, right**2, down**2, right * down], axis=1)
    basis: Floats = np.linalg.qr(terms)[0]
    return basis
