"""Paired differences of two methods: tests, median difference, probability of improvement, verdict.

The pure functions take one difference a group of images; positive means better wherever a side is taken.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np

from srbench.statistics.bootstrap import LEVEL, SAMPLES, SEED, Floats, GroupMeans
from srbench.statistics.interval import Interval, interval, mean_p
from srbench.statistics.score_matrix import Method, ScoreMatrix
from srbench.store import Run

ALPHA = 0.05
VERDICT_GROUPS = 6
"""Groups from which on a verdict is given: the skewness of fewer is hardly known."""
_EXACT = 200
_ALL_PAIRS = 1_500

Verdict = Literal["better", "worse", "equivalent", "undecided"]
Direction = Literal["higher", "lower", "none"]
SIGNS = {"higher": 1.0, "lower": -1.0, "none": 0.0}


class Estimate(NamedTuple):
    """A number with its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float


NO_ESTIMATE = Estimate(float("nan"), float("nan"), float("nan"))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment over all finite p values (Holm 1979); NaN stays NaN."""
    adjusted = [float("nan")] * len(p_values)
    order = sorted((index for index, p in enumerate(p_values) if not np.isnan(p)), key=lambda i: p_values[i])
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def hodges_lehmann(differences: Floats, level: float = LEVEL) -> Estimate:
    """Median of all pairwise means of the differences, with the interval that inverts the signed-rank test.

    Hodges and Lehmann, "Estimates of location based on rank tests", 1963; the interval as in Hollander and
    Wolfe, "Nonparametric statistical methods", 3.3: it holds exactly the shifts that the exact test accepts,
    whatever the distribution. Every group counts the same. Below 6 groups there is no 95 % interval.

    Args:
        differences: ``(G,)``, one a group.
        level: nominal coverage.
    """
    count = len(differences)
    if count == 0:
        return NO_ESTIMATE
    total = count * (count + 1) // 2
    middle = (_walsh(differences, (total + 1) // 2) + _walsh(differences, total // 2 + 1)) / 2.0
    cut = _cut(count, (1.0 - level) / 2.0)
    if cut < 1:
        return Estimate(middle, float("nan"), float("nan"))
    return Estimate(middle, _walsh(differences, cut), _walsh(differences, total + 1 - cut))


def _cut(count: int, tail: float) -> int:
    """How many of the outermost pairwise means lie outside on each side: P(T < cut) <= tail."""
    from scipy.special import ndtri

    if count <= _EXACT:
        return int(np.searchsorted(np.cumsum(_signed_rank(count)), tail, side="right"))
    mean = count * (count + 1) / 4.0
    deviation = math.sqrt(count * (count + 1) * (2 * count + 1) / 24.0)
    return int(mean + deviation * float(ndtri(tail)) + 0.5)


@functools.lru_cache(maxsize=32)
def _signed_rank(count: int) -> Floats:
    """Probability of each value 0..n(n+1)/2 of Wilcoxon's statistic when signs are random."""
    chances = np.zeros(count * (count + 1) // 2 + 1)
    chances[0] = 1.0
    for rank in range(1, count + 1):
        moved = np.concatenate([np.zeros(rank), chances[:-rank]])
        chances = 0.5 * (chances + moved)
    return chances


def _walsh(differences: Floats, rank: int) -> float:
    """The ``rank``-th smallest (from 1) of the means of all pairs i <= j."""
    ordered = np.sort(differences)
    if len(ordered) <= _ALL_PAIRS:
        first, second = np.triu_indices(len(ordered))
        return float(np.sort((ordered[first] + ordered[second]) / 2.0)[rank - 1])
    low, high = float(ordered[0]), float(ordered[-1])
    while low < (middle := low + (high - low) / 2.0) < high:
        low, high = (low, middle) if _pairs_up_to(ordered, middle) >= rank else (middle, high)
    return low if _pairs_up_to(ordered, low) >= rank else high


def _pairs_up_to(ordered: Floats, top: float) -> int:
    """How many pairs i <= j have a mean of at most ``top``."""
    both = int(np.searchsorted(ordered, 2.0 * top - ordered, side="right").sum())
    alone = int(np.searchsorted(ordered, top, side="right"))
    return (both + alone) // 2


def probability_of_improvement(clusters: GroupMeans, level: float = LEVEL) -> Estimate:
    """Share of groups in which the difference is positive, ties counting half, weighted like the mean.

    With several seeds the share of pairs of seeds (Agarwal et al., "Deep reinforcement learning at the edge
    of the statistical precipice", 2021, sec. 4.3). The interval is Wilson's (1927) with Kish's effective
    number of groups, which also holds where every group improves; a bootstrap would then have no width.
    """
    from scipy.special import ndtri

    if not len(clusters.values):
        return NO_ESTIMATE
    share = round(float(wins(clusters) @ clusters.weights), 12)  # weights add up to one but for rounding
    effective = 1.0 / float(np.sum(clusters.weights**2))
    z = float(ndtri(0.5 + level / 2.0))
    centre = (share + z * z / (2.0 * effective)) / (1.0 + z * z / effective)
    spread = z * math.sqrt(share * (1.0 - share) / effective + (z / (2.0 * effective)) ** 2)
    spread /= 1.0 + z * z / effective
    return Estimate(share, min(max(centre - spread, 0.0), share), max(min(centre + spread, 1.0), share))


def wins(clusters: GroupMeans) -> Floats:
    """``(G,)`` share of pairs of seeds whose difference is positive in each group, ties counting half."""
    differences = clusters.values[None]
    if len(clusters.sides) == 2:
        plus, minus = (side.values for side in clusters.sides)
        differences = (plus[:, None] + minus[None]).reshape(-1, plus.shape[1])
    won: Floats = np.mean((np.sign(differences) + 1.0) / 2.0, axis=0)
    return won


def verdict(low: float, high: float, margin: float, p: float, groups: int) -> Verdict:
    """What a paired difference allows to say.

    ``better`` (``worse``): the 95 % interval lies beyond the practical margin and the paired test of the
    mean, corrected for all comparisons, supports a difference. ``equivalent``: the interval lies within the
    margin on both sides, which is two one-sided tests (Schuirmann 1987) at 2.5 % each. Everything else is
    ``undecided``, and so is everything with fewer than ``VERDICT_GROUPS`` groups.

    Args:
        low: lower end of the interval of the difference, positive values being better.
        high: upper end.
        margin: smallest difference that matters in practice; 0 where none is agreed.
        p: corrected p value of the paired test.
        groups: independent groups behind the interval.
    """
    if groups < VERDICT_GROUPS or math.isnan(low) or math.isnan(high):
        return "undecided"
    if -margin <= low and high <= margin:
        return "equivalent"
    if p < ALPHA and low > margin:
        return "better"
    return "worse" if p < ALPHA and high < -margin else "undecided"


@dataclass(frozen=True)
class ComparisonSettings:
    """How differences of one metric are judged.

    Attributes:
        direction: which way is better.
        margin: smallest difference that matters, in the metric's unit.
        samples: resamples for the intervals of ranks.
        seed: seed of the resampling.
        attempts: how many times something was scored before this run was chosen, where it was not the first.
    """

    direction: Direction
    margin: float
    samples: int = SAMPLES
    seed: int = SEED
    attempts: Mapping[Run, int] = field(default_factory=dict)

    @property
    def sign(self) -> float:
        """1 where higher is better, -1 where lower is, 0 where neither is."""
        return SIGNS[self.direction]


@dataclass(frozen=True, eq=False)
class PairedComparison:
    """One method minus another, on the images that both have.

    Attributes:
        first: whose difference it is.
        second: what is subtracted.
        differences: one a group, in the metric's unit; none where they have no image in common.
        interval: 95 % interval of the macro-averaged mean difference.
        p: of a mean difference of zero, which the interval inverts; not corrected.
        p_holm: corrected for all comparisons of the table; ``p`` until ``corrected`` has seen them.
        settings: how it is judged.
    """

    first: Method
    second: Method
    differences: GroupMeans
    interval: Interval
    p: float
    p_holm: float
    settings: ComparisonSettings

    @property
    def difference(self) -> float:
        """Macro-averaged mean difference; NaN without a common image."""
        return self.differences.mean

    @property
    def n_images(self) -> int:
        """Common images."""
        return self.differences.images

    @property
    def n_groups(self) -> int:
        """Groups of the common images."""
        return len(self.differences.values)

    @property
    def median(self) -> Estimate:
        """Hodges-Lehmann median difference over groups."""
        return hodges_lehmann(self.differences.values)

    @property
    def improvement(self) -> Estimate:
        """Probability that ``first`` is better in a group; NaN in a metric without a better side."""
        sign = self.settings.sign
        if not sign:
            return NO_ESTIMATE
        sides = tuple(replace(side, values=sign * side.values) for side in self.differences.sides)
        return probability_of_improvement(
            replace(self.differences, values=sign * self.differences.values, sides=sides)
        )

    @property
    def verdict(self) -> Verdict | Literal[""]:
        """Of ``first`` against ``second``; empty for a difference in a metric without a better side."""
        low, high, _ = self.interval
        if self.settings.sign < 0.0:
            low, high = -high, -low
        word = verdict(low, high, self.settings.margin, self.p_holm, self.n_groups)
        return "" if not self.settings.sign and word in ("better", "worse") else word


def compare_pair(
    matrix: ScoreMatrix, first: Method, second: Method, settings: ComparisonSettings
) -> PairedComparison:
    """Compare two methods; everything is NaN and undecided where they have no image in common."""
    differences = matrix.clusters(first, second)
    p = mean_p(differences)
    return PairedComparison(first, second, differences, interval(differences), p, p, settings)


def over_attempts(comparison: PairedComparison) -> float:
    """The p value, of the best of several attempts multiplied by their number (Bonferroni).

    Of two methods that were both chosen the larger number counts: either of them wins by chance at most half
    as often as the test allows, times its own attempts.
    """
    runs = (*comparison.first.runs, *comparison.second.runs)
    attempts = max((comparison.settings.attempts.get(run, 1) for run in runs), default=1)
    return comparison.p if math.isnan(comparison.p) else min(1.0, attempts * comparison.p)


def corrected(comparisons: Sequence[PairedComparison]) -> list[PairedComparison]:
    """Holm's correction over all of them and their attempts; the directions of a pair are one hypothesis."""
    pairs = [frozenset((c.first.columns, c.second.columns)) for c in comparisons]
    p_of_pair = dict(zip(pairs, map(over_attempts, comparisons), strict=True))
    adjusted = dict(zip(p_of_pair, holm(list(p_of_pair.values())), strict=True))
    return [replace(c, p_holm=adjusted[pair]) for c, pair in zip(comparisons, pairs, strict=True)]


def beats_all(leads: Sequence[PairedComparison]) -> bool:
    """Whether the leader is better than every rival: beyond the margin, corrected over all rivals."""
    return bool(leads) and all(lead.verdict == "better" for lead in corrected(leads))


def seed_sd(clusters: GroupMeans) -> float:
    """Sample standard deviation over training seeds of one method's headline mean; NaN with a single seed."""
    means = [float(values @ clusters.weights) for side in clusters.sides for values in side.values]
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")
