"""Two entries of a panel compared: the paired difference with everything that is said about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from srbench.evaluation.bootstrap import SAMPLES, SEED, Clusters
from srbench.evaluation.intervals import NO_INTERVAL, Interval, interval
from srbench.evaluation.paired import (
    Estimate,
    Verdict,
    hodges_lehmann,
    holm,
    probability_of_improvement,
    verdict,
    wilcoxon_p,
)
from srbench.evaluation.panel import Entry, Panel

Direction = Literal["higher", "lower", "none"]
SIGNS = {"higher": 1.0, "lower": -1.0, "none": 0.0}
NOTHING = Estimate(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True)
class Rule:
    """How differences of one metric are judged.

    Attributes:
        direction: which way is better.
        margin: smallest difference that matters, in the metric's unit.
        samples: bootstrap resamples.
        seed: seed of the resampling.
    """

    direction: Direction
    margin: float
    samples: int = SAMPLES
    seed: int = SEED

    @property
    def sign(self) -> float:
        """1 where higher is better, -1 where lower is, 0 where neither is."""
        return SIGNS[self.direction]


@dataclass(frozen=True)
class Contrast:
    """One entry minus another, on the images that both have.

    Attributes:
        first: whose difference it is.
        second: what is subtracted.
        difference: macro-averaged mean difference, in the metric's unit.
        interval: its 95 % interval.
        p: Wilcoxon signed-rank on group means, not corrected.
        p_holm: corrected for all comparisons of the table; ``p`` until ``corrected`` has seen them.
        median: Hodges-Lehmann median difference over groups.
        improvement: probability that ``first`` is better in a group; NaN in a metric without a better side.
        n_images: common images.
        n_groups: their groups.
        rule: how it is judged.
    """

    first: Entry
    second: Entry
    difference: float
    interval: Interval
    p: float
    p_holm: float
    median: Estimate
    improvement: Estimate
    n_images: int
    n_groups: int
    rule: Rule

    @property
    def verdict(self) -> Verdict | Literal[""]:
        """Of ``first`` against ``second``; empty for a difference in a metric without a better side."""
        low, high, _ = self.interval
        if self.rule.sign < 0.0:
            low, high = -high, -low
        found = verdict(low, high, self.rule.margin, self.p_holm, self.n_groups)
        return "" if not self.rule.sign and found in ("better", "worse") else found


def contrast(panel: Panel, first: Entry, second: Entry, rule: Rule) -> Contrast:
    """Compare two entries; everything is NaN and undecided where they have no image in common."""
    paired = panel.clusters(first, second)
    improved = probability_of_improvement(_oriented(paired, rule.sign)) if rule.sign else NOTHING
    p = wilcoxon_p(paired.values)
    return Contrast(
        first,
        second,
        paired.mean,
        interval(paired, samples=rule.samples, seed=rule.seed) if len(paired.values) else NO_INTERVAL,
        p,
        p,
        hodges_lehmann(paired.values),
        improved,
        paired.images,
        len(paired.values),
        rule,
    )


def _oriented(clusters: Clusters, sign: float) -> Clusters:
    """The differences with positive values meaning better."""
    sides = tuple(replace(side, values=sign * side.values) for side in clusters.sides)
    return replace(clusters, values=sign * clusters.values, sides=sides)


def corrected(contrasts: list[Contrast]) -> list[Contrast]:
    """Holm's correction over all of them; the two directions of one pair are one hypothesis."""
    pairs = [frozenset((c.first.columns, c.second.columns)) for c in contrasts]
    known = dict(zip(pairs, (c.p for c in contrasts), strict=True))
    adjusted = dict(zip(known, holm(list(known.values())), strict=True))
    return [replace(c, p_holm=adjusted[pair]) for c, pair in zip(contrasts, pairs, strict=True)]


def beats_all(panel: Panel, leader: Entry, rivals: list[Entry], rule: Rule) -> bool:
    """Whether the leader is better than every rival: beyond the margin, corrected over all rivals."""
    leads = corrected([contrast(panel, leader, rival, rule) for rival in rivals])
    return bool(leads) and bool(np.all([lead.verdict == "better" for lead in leads]))


def seed_sd(clusters: Clusters) -> float:
    """Sample standard deviation over training seeds of one entry's headline mean; NaN with a single seed."""
    means = [float(own @ clusters.weights) for side in clusters.sides for own in side.values]
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")
