"""95 % intervals of a headline mean: percentile bootstrap for few groups, BCa for many.

BCa (Efron, "Better bootstrap confidence intervals", JASA 82, 1987) corrects bias and skewness, but needs an
acceleration that few groups cannot give; below ``BCA_GROUPS`` groups the percentiles are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from srbench.evaluation.bootstrap import (
    SAMPLES,
    SEED,
    SEEDS_TO_RESAMPLE,
    Clusters,
    Floats,
    Seeds,
    bootstrap_means,
)

LEVEL = 0.95
BCA_GROUPS = 30
"""Groups from which on the interval is BCa."""

Kind = Literal["percentile", "bca", "none"]


class Interval(NamedTuple):
    """An interval and how it was made; NaN, NaN, ``none`` where there is none."""

    low: float
    high: float
    kind: Kind


NO_INTERVAL = Interval(float("nan"), float("nan"), "none")


def interval(clusters: Clusters, level: float = LEVEL, samples: int = SAMPLES, seed: int = SEED) -> Interval:
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
        found = bca(means, clusters.mean, jackknife(clusters), level)
        if found is not None:
            return Interval(*found, "bca")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(low), float(high), "percentile")


def bca(
    resampled: Floats, estimate: float, left_out: Sequence[Floats], level: float = LEVEL
) -> tuple[float, float] | None:
    """Bias-corrected and accelerated interval (Efron 1987, eq. 2.3).

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


def jackknife(clusters: Clusters) -> list[Floats]:
    """Headline mean without each unit: one array a stratum of groups, one a model with enough seeds."""
    strata = [_without_groups(clusters, stratum) for stratum in range(int(clusters.strata.max()) + 1)]
    seeded = [side for side in clusters.sides if len(side.values) >= SEEDS_TO_RESAMPLE]
    return [*strata, *(_without_seeds(clusters, side) for side in seeded)]


def _without_groups(clusters: Clusters, stratum: int) -> Floats:
    own = clusters.strata == stratum
    values, weights = clusters.values[own], clusters.weights[own]
    if len(values) < 2:
        return np.full(len(values), clusters.mean)
    total, share = float(values @ weights), float(weights.sum())
    without: Floats = share * (total - values * weights) / (share - weights)
    return clusters.mean - total + without


def _without_seeds(clusters: Clusters, side: Seeds) -> Floats:
    means = side.values @ clusters.weights
    without: Floats = (means.sum() - means) / (len(means) - 1)
    return clusters.mean - float(means.mean()) + without
