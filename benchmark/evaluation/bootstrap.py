"""Uncertainty of a mean over micrographs that are not independent: cluster bootstrap, Wilcoxon, Holm.

The unit is the group (specimen or near-duplicate cluster), never the tile: with tiles a nominal 95 % interval
covers the truth in fewer than half of the cases. Pure arrays; what is compared with what is decided in
:mod:`srbench.evaluation.statistics`.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES = 10_000
SEED = 20_260
_CHUNK = 1_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Clusters:
    """Independent units and how much each counts in the headline mean.

    Attributes:
        values: ``(G,)`` mean of each group over its images.
        weights: ``(G,)`` share of each group in the headline mean; they add up to one.
        strata: ``(G,)`` stratum of each group (its category), what resampling keeps fixed.
        images: number of images behind the groups.
    """

    values: Floats
    weights: Floats
    strata: NDArray[np.int64]
    images: int

    @property
    def mean(self) -> float:
        """Mean of each category over its groups, then over the categories; NaN when there is nothing."""
        return float(self.values @ self.weights) if len(self.values) else float("nan")


def cluster(values: Floats, groups: Sequence[str], categories: Sequence[str]) -> Clusters:
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
        totals[group][0] += weight * float(np.mean(members))
        totals[group][1] += weight
        kinds[group].append(category)
    weights = np.array([totals[name][1] for name in names], dtype=np.float64)
    means = np.array([totals[name][0] / totals[name][1] for name in names], dtype=np.float64)
    return Clusters(
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


def bootstrap_means(clusters: Clusters, samples: int = SAMPLES, seed: int = SEED) -> Floats:
    """Headline means of ``samples`` resamples of the groups with replacement, within strata.

    The same seed resamples the same groups, so two models on the same groups are resampled together.
    """
    order = np.argsort(clusters.strata, kind="stable")
    values, weights = clusters.values[order], clusters.weights[order]
    sizes = tuple(int(size) for size in np.bincount(clusters.strata))
    counts = _resample_counts(sizes, samples, seed)
    means = np.zeros(samples)
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        drawn = counts[:, part].astype(np.float64)
        means += weights[part].sum() * (drawn @ (weights[part] * values[part])) / (drawn @ weights[part])
        start += size
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
    drawn = generator.integers(0, size, size=(rows, size))
    flat = (drawn + size * np.arange(rows)[:, None]).ravel()
    return np.bincount(flat, minlength=rows * size).reshape(rows, size)


def interval(
    clusters: Clusters, level: float = 0.95, samples: int = SAMPLES, seed: int = SEED
) -> tuple[float, float]:
    """Percentile bootstrap interval of the headline mean; NaN, NaN with fewer than two groups."""
    if len(clusters.values) < 2:
        return float("nan"), float("nan")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(bootstrap_means(clusters, samples, seed), [tail, 1.0 - tail])
    return float(low), float(high)


def wilcoxon_p(differences: Floats) -> float:
    """Two-sided Wilcoxon signed-rank p value of paired differences (Pratt's treatment of zeros).

    1 when all differences are zero, NaN with fewer than two of them.
    """
    from scipy.stats import wilcoxon

    if len(differences) < 2:
        return float("nan")
    if not np.any(differences):
        return 1.0
    result: Any = wilcoxon(differences, zero_method="pratt")
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment over all finite p values (Holm 1979); NaN stays NaN."""
    adjusted = [float("nan")] * len(p_values)
    order = sorted((index for index, p in enumerate(p_values) if not np.isnan(p)), key=lambda i: p_values[i])
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
