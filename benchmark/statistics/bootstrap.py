"""Bootstrap intervals of a headline mean over micrographs that are not independent.

Resampled are groups within their categories, and training seeds. The unit is the group (specimen or
near-duplicate cluster), never the tile: with tiles a nominal 95 % interval covers the truth in fewer than
half of the cases. Pure arrays.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

SAMPLES = 10_000
SEED = 20_260
SEEDS_TO_RESAMPLE = 3
"""Training seeds from which on they are resampled; two of them say next to nothing about their spread."""
LEVEL = 0.95
BCA_GROUPS = 30
"""Groups from which on the interval is BCa; fewer cannot give its acceleration, and percentiles are taken."""
_CHUNK = 1_000

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An interval and how it was made; NaN, NaN, ``none`` where there is none."""

    low: float
    high: float
    kind: Literal["percentile", "bca", "none"]


NO_INTERVAL = Interval(float("nan"), float("nan"), "none")


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
    """

    values: Floats
    weights: Floats
    strata: NDArray[np.int64]
    images: int
    sides: tuple[Seeds, ...] = ()

    @property
    def mean(self) -> float:
        """Mean of each category over its groups, then over the categories; NaN when there is nothing."""
        return float(self.values @ self.weights) if len(self.values) else float("nan")


def cluster(values: Floats, groups: Sequence[str], categories: Sequence[str]) -> GroupMeans:
    """Aggregate one value an image to groups; NaN values are left out.

    A group gets the weight that makes the weighted mean equal to the macro-average: image to group, group
    to category, every category counting the same.

    Args:
        values: ``(N,)``, one an image.
        groups: group of each image.
        categories: category of each image.
    """
    cells: dict[tuple[str, str], list[float]] = {}
    for value, group, category in zip(values, groups, categories, strict=True):
        if not np.isnan(value):
            cells.setdefault((group, category), []).append(float(value))
    sizes = Counter(category for _, category in cells)
    names = sorted({group for group, _ in cells})
    totals = {name: [0.0, 0.0] for name in names}
    kinds: dict[str, list[str]] = {name: [] for name in names}
    for (group, category), members in sorted(cells.items()):
        weight = 1.0 / (len(sizes) * sizes[category])
        totals[group][0] += weight * float(np.mean(sorted(members)))
        totals[group][1] += weight
        kinds[group].append(category)
    weights = np.array([totals[name][1] for name in names], dtype=np.float64)
    means = np.array([totals[name][0] / totals[name][1] for name in names], dtype=np.float64)
    return GroupMeans(
        means, weights, _strata([tuple(kinds[name]) for name in names]), sum(map(len, cells.values()))
    )


def _strata(kinds: list[tuple[str, ...]]) -> NDArray[np.int64]:
    """Number the strata; a stratum of one group has no spread of its own and is pooled with others.

    Pooling adds the spread between categories to the interval: too wide rather than zero.
    """
    counts = Counter(kinds)
    lonely = {kind for kind, count in counts.items() if count == 1}
    if len(lonely) == 1 and len(counts) > 1:
        lonely.add(min((count, kind) for kind, count in counts.items() if kind not in lonely)[1])
    labels = ["" if kind in lonely else "+".join(("", *kind)) for kind in kinds]
    order = {label: index for index, label in enumerate(sorted(set(labels)))}
    return np.array([order[label] for label in labels], dtype=np.int64)


def bootstrap_means(clusters: GroupMeans, samples: int = SAMPLES, seed: int = SEED) -> Floats:
    """Headline means of ``samples`` resamples: groups within strata, jointly with the seeds of each side.

    Of a stratum of n groups n - 1 are drawn with replacement (McCarthy and Snowden, "The bootstrap and finite
    population sampling", 1985): n draws make the spread too small by (n - 1)/n, which is a half where a
    category has two groups. The same holds for seeds. Seeds and groups are crossed and drawn independently
    (Owen, "The pigeonhole bootstrap", 2007), since every seed is scored on the same groups.

    The same seed resamples the same groups, so two models on the same groups are resampled together.
    """
    if not clusters.sides:
        return resampled(clusters, clusters.values[:, None], samples, seed)[:, 0]
    total = np.zeros(samples)
    for side in clusters.sides:
        shares = seed_shares(len(side.values), side.key, samples, seed)
        total += np.sum(resampled(clusters, side.values.T, samples, seed) * shares, axis=1)
    return total


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
    order = np.argsort(clusters.strata, kind="stable")
    weights, values = clusters.weights[order], columns[order]
    sizes = tuple(int(size) for size in np.bincount(clusters.strata))
    counts = _resample_counts(sizes, samples, seed)
    means = np.zeros((samples, columns.shape[1]))
    for first in range(0, samples, _CHUNK):
        rows = slice(first, first + _CHUNK)
        drawn = counts[rows].astype(np.float64)
        for start, size in zip(np.cumsum((0, *sizes)), sizes, strict=False):
            part = slice(start, start + size)
            sums = drawn[:, part] @ (weights[part, None] * values[part])
            means[rows] += weights[part].sum() * sums / (drawn[:, part] @ weights[part])[:, None]
    return means


@functools.lru_cache(maxsize=4)
def _resample_counts(sizes: tuple[int, ...], samples: int, seed: int) -> NDArray[np.uint16]:
    """How often each group is drawn in each resample, ``(samples, sum(sizes))``, strata side by side."""
    generator = np.random.default_rng(seed)
    counts = np.empty((samples, sum(sizes)), dtype=np.uint16)
    for first in range(0, samples, _CHUNK):
        rows = min(_CHUNK, samples - first)
        blocks = [_draw(generator, size, rows) for size in sizes]
        counts[first : first + rows] = np.concatenate(blocks, axis=1)
    return counts


def _draw(generator: np.random.Generator, size: int, rows: int) -> NDArray[np.int64]:
    """``size - 1`` draws with replacement out of ``size``, counted, ``(rows, size)``."""
    drawn = generator.integers(0, size, size=(rows, max(size - 1, 1)))
    flat = (drawn + size * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * size).reshape(rows, size)


def interval(
    clusters: GroupMeans, level: float = LEVEL, samples: int = SAMPLES, seed: int = SEED
) -> Interval:
    """Bootstrap interval of the headline mean; none with fewer than two groups.

    Args:
        clusters: what is resampled.
        level: nominal coverage.
        samples: resamples.
        seed: seed of the resampling.
    """
    if len(clusters.values) < 2:
        return NO_INTERVAL
    means = bootstrap_means(clusters, samples, seed)
    if len(clusters.values) >= BCA_GROUPS:
        corrected_ends = bca(means, clusters.mean, jackknife(clusters), level)
        if corrected_ends is not None:
            return Interval(*corrected_ends, "bca")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(low), float(high), "percentile")


def bca(
    resampled: Floats, estimate: float, left_out: Sequence[Floats], level: float = LEVEL
) -> tuple[float, float] | None:
    """Bias-corrected and accelerated interval (Efron, JASA 82, 1987, eq. 2.3).

    Args:
        resampled: ``(B,)`` the statistic of each resample.
        estimate: the statistic itself.
        left_out: for each independent sample, the statistic without each of its units.
        level: nominal coverage.

    Returns:
        Low and high end, or None where the acceleration is so large that the correction has a pole.
    """
    from scipy.special import ndtr, ndtri

    below = (np.mean(resampled < estimate) + np.mean(resampled <= estimate)) / 2.0
    edge = 0.5 / len(resampled)
    bias = float(ndtri(np.clip(below, edge, 1.0 - edge)))
    tail = (1.0 - level) / 2.0
    shifted = bias + ndtri(np.array([tail, 1.0 - tail]))
    stretch = 1.0 - acceleration(left_out) * shifted
    if np.any(stretch <= 0.0):
        return None
    low, high = np.quantile(resampled, ndtr(bias + shifted / stretch))
    return float(low), float(high)


def acceleration(left_out: Sequence[Floats]) -> float:
    """Acceleration from jackknife values of several samples (Davison and Hinkley 1997, eqs. 5.24 and 5.25).

    0 where nothing varies.
    """
    cubes = squares = 0.0
    for part in left_out:
        count = len(part)
        influence = (count - 1) * (part.mean() - part)
        cubes += float(np.sum(influence**3)) / count**3
        squares += float(np.sum(influence**2)) / count**2
    return cubes / (6.0 * squares**1.5) if squares > 0.0 else 0.0


def jackknife(clusters: GroupMeans) -> list[Floats]:
    """Headline mean without each unit: one array a stratum of groups, one a model with enough seeds."""
    left_out = [_without_groups(clusters, stratum) for stratum in range(int(clusters.strata.max()) + 1)]
    for side in clusters.sides:
        if len(side.values) >= SEEDS_TO_RESAMPLE:
            means = side.values @ clusters.weights
            left_out.append(clusters.mean - float(means.mean()) + (means.sum() - means) / (len(means) - 1))
    return left_out


def _without_groups(clusters: GroupMeans, stratum: int) -> Floats:
    inside = clusters.strata == stratum
    values, weights = clusters.values[inside], clusters.weights[inside]
    if len(values) < 2:
        return np.full(len(values), clusters.mean)
    total, share = float(values @ weights), float(weights.sum())
    without: Floats = share * (total - values * weights) / (share - weights)
    return clusters.mean - total + without
