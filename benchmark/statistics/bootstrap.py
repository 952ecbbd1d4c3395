"""Headline means over groups of micrographs, and the same means over resampled groups and training seeds.

The unit is the group (specimen or near-duplicate cluster), never the tile. Groups are drawn within their
categories. Pure arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLES = 10_000
SEED = 20_260
SEEDS_TO_RESAMPLE = 3
"""Training seeds from which on they are resampled; two of them say next to nothing about their spread."""
LEVEL = 0.95
_CHUNK = 1_000
_CASTED = 1 << 20
"""Numbers of a resampling matrix that are floating-point numbers at a time."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Seeds:
    """The training seeds of one model.

    Attributes:
        key: names the model's stream of draws, so that a model's seeds are drawn alike in all comparisons.
        values: ``(S, G)`` mean of each group under each seed; negative where the model is subtracted.
    """

    key: int
    values: Floats


@dataclass(frozen=True)
class GroupMeans:
    """Independent units and how much each counts in the headline mean.

    Attributes:
        values: ``(G,)`` mean of each group over its images (and over the seeds, summed over ``sides``).
        weights: ``(G,)`` share of each group in the headline mean; they add up to one.
        strata: ``(G,)`` stratum of each group (its category), what resampling keeps fixed.
        images: number of images behind the groups.
        sides: the models whose means over seeds add up to ``values``; empty where seeds play no part.
        alone: stratum of the groups that are the only ones of their categories; -1 where there is none.
    """

    values: Floats
    weights: Floats
    strata: NDArray[np.int64]
    images: int
    sides: tuple[Seeds, ...] = ()
    alone: int = -1

    @property
    def mean(self) -> float:
        """Mean of each category over its groups, then over the categories; NaN when there is nothing."""
        return float(self.values @ self.weights) if len(self.values) else float("nan")


@dataclass(frozen=True, eq=False)
class Shares:
    """How much each image counts in a headline mean over some of the images.

    Attributes:
        mask: ``(N,)`` the images that have a value.
        counts: ``(C,)`` images in each cell that has some; a cell is a group within a category.
        of_image: cell of each image of the mask.
        of_cell: ``(C,)`` group of each cell.
        cells: ``(C,)`` share of each cell in the headline mean.
        weights: ``(G,)`` share of each group.
        strata: ``(G,)`` stratum of each group.
        alone: stratum of the groups that are the only ones of their categories; -1 where there is none.
    """

    mask: NDArray[np.bool_]
    counts: NDArray[np.int64]
    of_image: NDArray[np.int64]
    of_cell: NDArray[np.int64]
    cells: Floats
    weights: Floats
    strata: NDArray[np.int64]
    alone: int

    def means(self, values: Floats) -> Floats:
        """``(G,)`` mean of each group of ``(N,)`` values."""
        sums = np.bincount(self.of_image, weights=values[self.mask], minlength=len(self.counts))
        totals = np.bincount(self.of_cell, weights=self.cells * (sums / self.counts))
        means: Floats = totals / self.weights
        return means

    def cluster(self, values: Floats) -> GroupMeans:
        """``(N,)`` values aggregated to groups."""
        images = len(self.of_image)
        return GroupMeans(self.means(values), self.weights, self.strata, images, alone=self.alone)


class Groups:
    """Groups and categories of images, numbered once for all that is aggregated over them.

    A group gets the weight that makes the weighted mean equal to the macro-average: image to group, group
    to category, every category counting the same.

    Args:
        groups: group of each image.
        categories: category of each image.
    """

    def __init__(self, groups: Sequence[str], categories: Sequence[str]) -> None:
        self._kinds = sorted(set(categories))
        group, category = (
            np.array([number[name] for name in names], dtype=np.int64)
            for names in (groups, categories)
            for number in [{name: index for index, name in enumerate(sorted(set(names)))}]
        )
        cells, self._of_image = np.unique(group * (len(self._kinds) or 1) + category, return_inverse=True)
        self._group, self._category = np.divmod(cells, len(self._kinds) or 1)

    def cluster(self, values: Floats) -> GroupMeans:
        """``(N,)`` values aggregated to groups; NaN values are left out."""
        return self.shares(~np.isnan(values)).cluster(values)

    def shares(self, mask: NDArray[np.bool_]) -> Shares:
        """The weights of a mean over the images of ``mask``, ``(N,)``."""
        counts = np.bincount(self._of_image[mask], minlength=len(self._group))
        present = np.flatnonzero(counts)
        category = self._category[present]
        sizes = np.bincount(category, minlength=len(self._kinds))
        cells = 1.0 / (np.count_nonzero(sizes) * sizes[category])
        groups, of_cell = np.unique(self._group[present], return_inverse=True)
        number = np.cumsum(counts > 0) - 1
        return Shares(
            mask,
            counts[present],
            number[self._of_image[mask]],
            of_cell,
            cells,
            np.asarray(np.bincount(of_cell, weights=cells, minlength=len(groups)), dtype=np.float64),
            *self._strata(category, of_cell),
        )

    def _strata(
        self, category: NDArray[np.int64], of_cell: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], int]:
        """Number the strata: groups of the same categories are one.

        Several strata of one group are pooled: the spread between them stands for that within them. One
        alone stays what it is. The second value is the number of this stratum, -1 where there is none.
        """
        kinds: list[tuple[str, ...]] = [(name,) for name in self._kinds]
        cells = np.bincount(of_cell)
        starts = np.cumsum(cells) - cells
        codes = category[starts]
        numbers: dict[tuple[str, ...], int] = {}
        for group in np.flatnonzero(cells > 1):
            members = category[starts[group] : starts[group] + cells[group]]
            kind = tuple(self._kinds[member] for member in members)
            codes[group] = numbers.setdefault(kind, len(self._kinds) + len(numbers))
        kinds += list(numbers)
        counts = {kinds[code]: int(n) for code, n in enumerate(np.bincount(codes, minlength=len(kinds))) if n}
        lonely = {kind for kind, count in counts.items() if count == 1}
        labels = {kind: "" if kind in lonely else "+".join(("", *kind)) for kind in counts}
        order = {label: index for index, label in enumerate(sorted(set(labels.values())))}
        numbered = np.array([order[labels[kind]] if kind in labels else 0 for kind in kinds], dtype=np.int64)
        strata: NDArray[np.int64] = numbered[codes]
        return strata, order.get("", -1)


def cluster(values: Floats, groups: Sequence[str], categories: Sequence[str]) -> GroupMeans:
    """Aggregate one value an image to groups; NaN values are left out.

    Args:
        values: ``(N,)``, one an image.
        groups: group of each image.
        categories: category of each image.
    """
    return Groups(groups, categories).cluster(values)


def bootstrap_means(parts: Sequence[GroupMeans], samples: int = SAMPLES, seed: int = SEED) -> Floats:
    """Headline means of ``samples`` resamples: groups within strata, jointly with the seeds of each side.

    Of a stratum of n groups n - 1 are drawn with replacement (McCarthy and Snowden, "The bootstrap and finite
    population sampling", 1985): n draws make the spread too small by (n - 1)/n, which is a half where a
    category has two groups. The same holds for seeds. Seeds and groups are crossed and drawn independently
    (Owen, "The pigeonhole bootstrap", 2007), since every seed is scored on the same groups.

    The same seed resamples the same groups, so whatever has the same groups is resampled together.

    Returns:
        ``(samples, len(parts))``, NaN for what has no group.
    """
    means = np.full((samples, len(parts)), np.nan)
    alike: dict[tuple[bytes, bytes], list[int]] = {}
    for index, part in enumerate(parts):
        if len(part.values):
            alike.setdefault((part.weights.tobytes(), part.strata.tobytes()), []).append(index)
    for members in alike.values():
        sides = [parts[index].sides or (parts[index].values,) for index in members]
        columns = [side.values.T if isinstance(side, Seeds) else side[:, None] for of in sides for side in of]
        drawn = resampled(parts[members[0]], np.concatenate(columns, axis=1), samples, seed)
        start = 0
        for index, of in zip(members, sides, strict=True):
            total = np.zeros(samples)
            for side in of:
                count = len(side.values) if isinstance(side, Seeds) else 1
                side_means = drawn[:, start : start + count]
                if isinstance(side, Seeds):
                    side_means = side_means * seed_shares(count, side.key, samples, seed)
                total += side_means.sum(axis=1)
                start += count
            means[:, index] = total
    return means


def seed_shares(count: int, key: int, samples: int = SAMPLES, seed: int = SEED) -> Floats:
    """How much each of ``count`` training seeds counts in each resample, ``(samples, count)``.

    Equal shares below ``SEEDS_TO_RESAMPLE``; ``key`` names the model.
    """
    if count < SEEDS_TO_RESAMPLE:
        return np.full((samples, count), 1.0 / count)
    drawn = _draw(np.random.default_rng([seed, key]), count, samples)
    shares: Floats = drawn / (count - 1)
    return shares


def resampled(clusters: GroupMeans, columns: Floats, samples: int = SAMPLES, seed: int = SEED) -> Floats:
    """Headline means of several columns of group values under the same resamples of the groups.

    Args:
        clusters: weights and strata; the values are not looked at.
        columns: ``(G, M)``.
        samples: resamples.
        seed: seed of the draws.

    Returns:
        ``(samples, M)``.
    """
    strata, sizes = clusters.strata, np.bincount(clusters.strata)
    if len(sizes) > 1 and (sizes == 1).any():
        # A stratum of one group would be drawn in every resample: it is drawn with the smallest other one.
        alone = int(np.argmin(sizes))
        other = min((size, number) for number, size in enumerate(sizes.tolist()) if number != alone)[1]
        strata = np.where((strata == alone) | (strata == other), -1, strata)
        strata = np.unique(strata, return_inverse=True)[1]
        sizes = np.bincount(strata)
    order = np.argsort(strata, kind="stable")
    weights = clusters.weights[order]
    # The last column gives the weight drawn.
    summed = np.column_stack([weights[:, None] * columns[order], weights])
    counts = _resample_counts(tuple(sizes.tolist()), samples, seed)
    means = np.zeros((samples, columns.shape[1]))
    step = max(_CASTED // max(len(weights), 1), 1)
    for first in range(0, samples, step):
        rows = slice(first, first + step)
        drawn = counts[rows].astype(np.float64)
        for start, size in zip(np.cumsum(sizes) - sizes, sizes, strict=True):
            part = slice(start, start + size)
            sums = drawn[:, part] @ summed[part]
            means[rows] += weights[part].sum() * sums[:, :-1] / sums[:, -1:]
    return means


@functools.lru_cache(maxsize=1)
def _resample_counts(sizes: tuple[int, ...], samples: int, seed: int) -> NDArray[np.uint8]:
    """How often each group is drawn in each resample, ``(samples, sum(sizes))``, strata side by side.

    A byte holds each: up to 256 groups have at most 255 draws, and the chance that one of more is drawn 256
    times lies below 1e-400.
    """
    generator = np.random.default_rng(seed)
    counts = np.empty((samples, sum(sizes)), dtype=np.uint8)
    for first in range(0, samples, _CHUNK):
        rows = min(_CHUNK, samples - first)
        start = 0
        for size in sizes:
            # In pieces, which draw the same numbers in a fraction of the memory.
            step = max(_CASTED // size, 1)
            for top in range(first, first + rows, step):
                bottom = min(top + step, first + rows)
                counts[top:bottom, start : start + size] = _draw(generator, size, bottom - top)
            start += size
    return counts


def _draw(generator: np.random.Generator, size: int, rows: int) -> NDArray[np.int64]:
    """``size - 1`` draws with replacement out of ``size``, counted, ``(rows, size)``."""
    drawn = generator.integers(0, size, size=(rows, max(size - 1, 1)))
    flat = (drawn + size * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * size).reshape(rows, size)
