"""How firmly a ranking stands: the same ranking on resampled groups of images and training seeds.

The winner of a challenge often depends on which images happened to be in it (Maier-Hein et al., "Why rankings
of biomedical image analysis competitions should be interpreted with care", Nat. Commun. 9, 2018, 5217).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from srbench.statistics.bootstrap import LEVEL, Floats, bootstrap_means
from srbench.statistics.paired_tests import ComparisonSettings
from srbench.statistics.score_matrix import Method, ScoreMatrix


@dataclass(frozen=True)
class RankedMethod:
    """One method's rank.

    Attributes:
        method: whose.
        rank: by the macro-averaged mean; 1 is best, ties share the mean of their ranks.
        low: best rank of the 95 % interval over resamples, which is widened to hold ``rank``.
        high: worst rank of it.
    """

    method: Method
    rank: float
    low: float
    high: float


def ranking(
    matrix: ScoreMatrix, methods: Sequence[Method], settings: ComparisonSettings
) -> list[RankedMethod]:
    """Rank methods that all have the same images, best first.

    Args:
        matrix: the values.
        methods: complete methods.
        settings: direction (one with a better side) and resampling.
    """
    if not methods:
        return []
    clusters = [matrix.clusters(method) for method in methods]
    # The same groups for all methods in a resample; each method draws its own seeds.
    resampled = bootstrap_means(clusters, settings.samples, settings.seed)
    means = np.array([part.mean for part in clusters])
    ranks = _ranks(-settings.sign * means[None])[0]
    resampled_ranks = _ranks(-settings.sign * resampled)
    tail = (1.0 - LEVEL) / 2.0
    low = np.minimum(np.quantile(resampled_ranks, tail, axis=0, method="lower"), ranks)
    high = np.maximum(np.quantile(resampled_ranks, 1.0 - tail, axis=0, method="higher"), ranks)
    ranked = [
        RankedMethod(method, float(rank), float(best), float(worst))
        for method, rank, best, worst in zip(methods, ranks, low, high, strict=True)
    ]
    return sorted(ranked, key=lambda entry: entry.rank)


def _ranks(values: Floats) -> Floats:
    """Ranks within each row, smallest first from 1, ties sharing the mean of their ranks."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=1), dtype=np.float64)
