"""How firmly a ranking stands: the same ranking on resampled groups of images and training seeds.

The winner of a challenge often depends on which images happened to be in it and on whether means are ranked
or ranks averaged (Maier-Hein et al., "Why rankings of biomedical image analysis competitions should be
interpreted with care", 2018; Wiesenfarth et al., "Methods and open-source toolkit for analyzing and
visualizing challenge results", 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.evaluation.bootstrap import Clusters, Floats, resampled, seed_shares
from srbench.evaluation.contrast import Rule
from srbench.evaluation.intervals import LEVEL
from srbench.evaluation.panel import Entry, Panel


@dataclass(frozen=True)
class Place:
    """One entry's place.

    Attributes:
        entry: whose.
        rank: by the macro-averaged mean (mean, then rank); 1 is best, ties share the mean of their places.
        low: best rank of the 95 % interval over resamples, which is widened to hold ``rank``.
        high: worst rank of it.
        first: share of the resamples in which the entry is first; ties share it.
        mean_rank: mean of its ranks within each group, weighted like the mean (rank, then mean).
        rank_by_mean_rank: its place when entries are ordered by ``mean_rank``.
    """

    entry: Entry
    rank: float
    low: float
    high: float
    first: float
    mean_rank: float
    rank_by_mean_rank: float


@dataclass(frozen=True)
class Ranking:
    """The places, best first, and how stable their order is.

    Attributes:
        places: one an entry.
        tau: mean Kendall tau-b between the ranking of a resample and the observed one; 1: never changes.
        tau_low: 5 % of the resamples lie below.
        tau_rules: Kendall tau-b between ranking the means and averaging the ranks.
    """

    places: tuple[Place, ...]
    tau: float
    tau_low: float
    tau_rules: float


def ranking(panel: Panel, entries: Sequence[Entry], rule: Rule) -> Ranking:
    """Rank entries that all have the same images.

    Args:
        panel: the values.
        entries: complete entries; with fewer than two of them taus are NaN.
        rule: direction (one with a better side) and resampling.
    """
    clusters = [panel.clusters(entry) for entry in entries]
    if not clusters:
        return Ranking((), *[float("nan")] * 3)
    sign = -rule.sign  # small values come first
    means = sign * np.array([one.mean for one in clusters])
    ranks = ranks_of(means[None])[0]
    drawn = sign * _resampled_means(entries, clusters, rule)
    redrawn = ranks_of(drawn)
    by_group = ranks_of(sign * np.stack([one.values for one in clusters], axis=1))
    # The weights sum to 1 up to rounding, and so a mean of ones may miss 1 by the last bit.
    mean_ranks = np.clip(clusters[0].weights @ by_group, 1.0, float(len(clusters)))
    places = _places(entries, ranks, redrawn, mean_ranks)
    taus = kendall_tau(drawn, means)
    return Ranking(
        tuple(sorted(places, key=lambda place: place.rank)),
        float(np.mean(taus)),
        float(np.quantile(taus, 0.05)),
        float(kendall_tau(mean_ranks[None], means)[0]),
    )


def _places(entries: Sequence[Entry], ranks: Floats, redrawn: Floats, mean_ranks: Floats) -> list[Place]:
    tail = (1.0 - LEVEL) / 2.0
    low = np.quantile(redrawn, tail, axis=0, method="lower")
    high = np.quantile(redrawn, 1.0 - tail, axis=0, method="higher")
    leading = redrawn == redrawn.min(axis=1, keepdims=True)
    first = (leading / leading.sum(axis=1, keepdims=True)).mean(axis=0)
    again = ranks_of(mean_ranks[None])[0]
    columns = (ranks, np.minimum(low, ranks), np.maximum(high, ranks), first, mean_ranks, again)
    return [Place(e, *map(float, row)) for e, *row in zip(entries, *columns, strict=True)]


def _resampled_means(entries: Sequence[Entry], clusters: Sequence[Clusters], rule: Rule) -> Floats:
    """``(samples, entries)`` under the same groups for all; each entry draws its own seeds."""
    members = [one.sides[0].values if one.sides else one.values[None] for one in clusters]
    means = resampled(clusters[0], np.concatenate(members).T, rule.samples, rule.seed)
    ends = np.cumsum([len(own) for own in members])
    parts = [
        (means[:, end - len(own) : end] * seed_shares(len(own), entry.key, rule.samples, rule.seed)).sum(1)
        for entry, own, end in zip(entries, members, ends, strict=True)
    ]
    return np.stack(parts, axis=1)


def ranks_of(values: Floats) -> Floats:
    """Ranks within each row, smallest first from 1, ties sharing the mean of their places."""
    from scipy.stats import rankdata

    ranks: Floats = np.asarray(rankdata(values, axis=1), dtype=np.float64)
    return ranks


def kendall_tau(rows: Floats, observed: Floats) -> Floats:
    """Kendall's tau-b of each row with ``observed``; NaN where one of the two does not vary.

    Args:
        rows: ``(B, E)``.
        observed: ``(E,)``.
    """
    first, second = np.triu_indices(len(observed), 1)
    reference = _signs(observed[first] - observed[second])
    signs = _signs(rows[:, first] - rows[:, second])
    untied = np.count_nonzero(signs, axis=1) * np.count_nonzero(reference)
    with np.errstate(invalid="ignore", divide="ignore"):
        taus: Floats = (signs @ reference) / np.sqrt(untied.astype(np.float64))
    return taus


def _signs(differences: Floats) -> NDArray[np.int32]:
    return np.sign(differences).astype(np.int32)
