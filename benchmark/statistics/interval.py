"""Intervals and tests of a headline mean over micrographs that are not independent.

The unit is the group (specimen or near-duplicate cluster), never the tile: with tiles a nominal 95 % interval
covers the truth in fewer than half of the cases. Student's interval for a mean over strata, corrected for the
skewness of the groups; docs/statistics.md has the formulas and what they cover. Pure arrays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from srbench.statistics.bootstrap import LEVEL, SEEDS_TO_RESAMPLE, GroupMeans


class Interval(NamedTuple):
    """An interval and how well its width is known.

    Attributes:
        low: lower end, NaN where there is no interval.
        high: upper end.
        df: degrees of freedom of the spread that it rests on; NaN where there is none.
    """

    low: float
    high: float
    df: float


NO_INTERVAL = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Spread:
    """How a headline mean would move with other groups and training seeds.

    Attributes:
        mean: the headline mean.
        error: its standard error.
        df: degrees of freedom of the error (Satterthwaite, Biometrics Bulletin 2, 1946).
        skewness: a sixth of the skewness of the mean.
        parts: share of the error's square and degrees of freedom of categories with several groups (and of
            seeds), and of those with a single one.
    """

    mean: float
    error: float
    df: float
    skewness: float
    parts: tuple[tuple[float, float], ...]

    @staticmethod
    def of(clusters: GroupMeans) -> Spread | None:
        """The spread of a mean; None with fewer than two groups.

        Strata add their variances and third moments, each without bias, and so do seeds from
        ``SEEDS_TO_RESAMPLE`` on. The only group of a category shows no spread of its own: its squared
        distance from the mean of all others stands for it, as if that distance were noise. Too wide where it
        merely lies elsewhere, rather than zero.
        """
        values, weights, strata = clusters.values, clusters.weights, clusters.strata
        if len(values) < 2:
            return None
        counts, shares = np.bincount(strata), np.bincount(strata, weights=weights)
        centres = np.bincount(strata, weights=weights * values) / shares
        influence = weights * (values - centres[strata])
        single = counts == 1
        if len(counts) > 1:
            others = (clusters.mean - shares * centres) / (1.0 - shares)
            influence = np.where(single[strata], weights * (values - others[strata]), influence)
        free = np.where(single, 1, counts - 1)
        variances = np.bincount(strata, weights=influence**2) * np.where(single, 1, counts) / free
        several = counts > 2
        thirds = np.bincount(strata, weights=influence**3) * counts**2 / (free * np.maximum(free - 1, 1))
        third = float(thirds[several].sum())
        alone = single | (np.arange(len(counts)) == clusters.alone)
        estimated = list(zip(variances[~alone].tolist(), free[~alone].tolist(), strict=True))
        for side in clusters.sides:
            seeds = len(side.values)
            if seeds >= SEEDS_TO_RESAMPLE:
                moved = (side.values - side.values.mean(axis=0)) @ weights / seeds
                estimated.append((float(moved @ moved) * seeds / (seeds - 1), seeds - 1))
                third += float(np.sum(moved**3)) * seeds**2 / ((seeds - 1) * (seeds - 2))
        lone = list(zip(variances[alone].tolist(), free[alone].tolist(), strict=True))
        variance = sum(part for part, _ in (*estimated, *lone))
        if variance <= 0.0:
            return Spread(clusters.mean, 0.0, math.inf, 0.0, ())
        parts = [_together(of) for of in (estimated, lone)]
        return Spread(
            clusters.mean,
            math.sqrt(variance),
            _together([*estimated, *lone])[1],
            third / (6.0 * variance**1.5),
            tuple((part / variance, df) for part, df in parts if part > 0.0),
        )

    def quantile(self, tail: float) -> float:
        """Student's quantile above which ``tail`` lies.

        Where a category has a single group, the mean of two, weighted by their shares (Cochran and Cox,
        *Experimental designs*, 1957, 4.14): one distance may be small by chance, and Satterthwaite's rule
        would then take it for well known.
        """
        from scipy.special import stdtrit

        return float(sum(share * -stdtrit(df, tail) for share, df in self.parts))

    def ends(self, level: float) -> tuple[float, float]:
        """The wider of Student's interval and Hall's at either end.

        Hall, "On the removal of skewness by transformation", JRSS B 54, 1992, with Student's quantile: it
        covers where groups are skewed, Student's where the skewness is a single outlier's.
        """
        quantile = self.quantile((1.0 - level) / 2.0)
        up = max(quantile, self._unskewed(quantile))
        down = max(quantile, -self._unskewed(-quantile))
        return self.mean - self.error * up, self.mean + self.error * down

    def p(self) -> float:
        """Two-sided p value of a mean of zero: one minus the level at which an end reaches zero."""
        from scipy.optimize import brentq
        from scipy.special import stdtr

        if self.error == 0.0:
            return float(self.mean == 0.0)
        ratio, a = abs(self.mean) / self.error, math.copysign(self.skewness, self.skewness * self.mean)
        ratio = min(ratio, ratio + a * (1.0 + 2.0 * ratio**2) + 4.0 / 3.0 * a**2 * ratio**3)
        if ratio <= 0.0:
            return 1.0
        # The p value lies between those of the two degrees of freedom.
        tails = [float(stdtr(df, -ratio)) for _, df in self.parts]
        low, high = (math.log(max(tail, 1e-300)) for tail in (min(tails), max(tails)))
        if high - low > 1e-9 and self.quantile(math.exp(low)) > ratio:
            high = float(brentq(lambda tail: self.quantile(math.exp(tail)) - ratio, low - 1e-9, high + 1e-9))
        elif high - low > 1e-9:
            high = low  # a tail smaller than a float holds
        return 2.0 * math.exp(high)

    def _unskewed(self, quantile: float) -> float:
        """The ratio of mean and error whose transform is ``quantile``."""
        a = self.skewness
        if abs(a) < 1e-9:
            return quantile - a
        return (float(np.cbrt(1.0 + 6.0 * a * (quantile - a))) - 1.0) / (2.0 * a)


def _together(parts: list[tuple[float, int]]) -> tuple[float, float]:
    """A sum of variances and its degrees of freedom."""
    total = sum(part for part, _ in parts)
    return total, (total / sum(part**2 / total / df for part, df in parts) if total > 0.0 else math.inf)


def interval(clusters: GroupMeans, level: float = LEVEL) -> Interval:
    """Interval of the headline mean; none with fewer than two groups.

    Args:
        clusters: the groups.
        level: nominal coverage.
    """
    spread = Spread.of(clusters)
    return Interval(*spread.ends(level), spread.df) if spread else NO_INTERVAL


def mean_p(clusters: GroupMeans) -> float:
    """Two-sided p value of a headline mean of zero, which the interval inverts; NaN below two groups."""
    spread = Spread.of(clusters)
    return spread.p() if spread else math.nan
