"""From score rows to a leaderboard: means with intervals, paired differences, ranks, and who is best.

An image's value is the mean of its rows, a group's the mean of its images; groups are averaged within a
category and the categories with equal weight. Intervals are 95 % over groups, tests are of the mean
difference, with Holm's correction; ranks are resampled. docs/statistics.md explains every number.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from srbench.statistics.bootstrap import SAMPLES, SEED
from srbench.statistics.interval import interval
from srbench.statistics.lengths import nm_per_px
from srbench.statistics.margins import margin_of
from srbench.statistics.paired_tests import (
    ComparisonSettings,
    Direction,
    beats_all,
    compare_pair,
    corrected,
    seed_sd,
)
from srbench.statistics.ranking import ranking
from srbench.statistics.score_matrix import duplicate_runs, rows_of, score_matrix
from srbench.store import REFERENCES, RUN, Run
from srbench.utils.errors import SrbenchError

if TYPE_CHECKING:
    import pandas as pd

FEW_GROUPS = 10
"""Groups below which an interval is too narrow where the groups are skewed."""

ALONE = (
    "of a category with a single group the spread is not known: its distance from the others stands for it, "
    "which makes the interval wide"
)


@dataclass(frozen=True)
class LeaderboardRow:
    """One run, or one training with all its seeds, in one metric. Numbers that do not exist are NaN.

    Attributes:
        run: how it is named; of several seeds ``weights`` lists the starts of theirs and ``seed`` is -1.
        runs: the runs behind it, one a seed.
        mean: macro-averaged mean in the unit of the values, over the seeds too.
        low: lower end of its 95 % interval.
        high: upper end.
        diff: mean paired difference from the baseline on the common images.
        diff_low: lower end of its 95 % interval.
        diff_high: upper end.
        p_holm: test of a mean difference of zero, corrected for all comparisons of the table.
        verdict: against the baseline: better, worse, equivalent, undecided, or empty.
        n_images: images with a value.
        n_groups: their groups.
        n_seeds: runs behind the row.
        seed_sd: sample standard deviation of the mean over training seeds; NaN with one.
        rank: 1 is best; NaN where it is not ranked.
        rank_low: best rank of the 95 % interval.
        rank_high: worst rank of it.
        margin: smallest difference that matters.
        next: label of the next ranked method of another model or variant; empty without one.
        verdict_next: against that one.
        best: the leader, where it is "better" than every other ranked model: its interval beyond the margin
            and the paired test, corrected over all rivals, significant; and where the table, which corrects
            over more comparisons, calls it better than the next.
        ranked: whether it may be ranked and has a value for every image that a ranked one must have.
        note: what is weak, or why it is not ranked.
        reason: why values are missing, with the number of images.
    """

    run: Run
    runs: tuple[Run, ...]
    mean: float
    low: float
    high: float
    diff: float
    diff_low: float
    diff_high: float
    p_holm: float
    verdict: str
    n_images: int
    n_groups: int
    n_seeds: int
    seed_sd: float
    rank: float
    rank_low: float
    rank_high: float
    margin: float
    next: str
    verdict_next: str
    best: bool
    ranked: bool
    note: str
    reason: str

    @property
    def differs(self) -> bool:
        """Whether the interval of the difference from the baseline leaves out zero."""
        return self.diff_low > 0 or self.diff_high < 0


VALUE_COLUMNS = tuple(entry.name for entry in fields(LeaderboardRow) if entry.name not in ("run", "runs"))
"""Fields of a row that are plain values."""


def leaderboard(
    scores: pd.DataFrame,
    metric: str,
    *,
    direction: Direction | None = None,
    baseline: str = "bicubic",
    unranked: Collection[tuple[str, str]] = (),
    margin: float | None = None,
    trainings: Mapping[Run, Hashable] | None = None,
    duplicates: Mapping[Run, Run] | None = None,
    attempts: Mapping[Run, int] | None = None,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> list[LeaderboardRow]:
    """The table of one metric: one row a run (or a training with all its seeds), best mean first.

    Args:
        scores: rows with the columns of ``srbench.store.COLUMNS``, of one dataset, split, degradation, scale
            and protocol; those of ``lengths.in_nanometres`` for lengths in nm.
        metric: metric id as stored in the column ``metric``.
        direction: which way is better; None asks the metric registry. With ``"none"`` nothing is ranked.
        baseline: model that differences are taken from.
        unranked: (model, variant) pairs shown but never ranked, such as leaking variants; the noise ceiling
            and the control never are, nor is what lacks a value for an image that another candidate has one
            for.
        margin: smallest difference that matters, in the unit of the values; the metric's own when None.
        trainings: run to the training that it repeats with another seed; runs with an equal one become one
            row, whose interval holds the spread over seeds from three on. Every run is a row when None.
        duplicates: what ``duplicate_runs`` finds, where that has been looked for; among ``scores`` when None.
        attempts: how many times something was scored before a run was chosen, where it was not the first;
            each counts in the correction of its tests.
        samples: resamples for the intervals of ranks.
        seed: seed of the resampling; the same seed gives the same table.

    Returns:
        The rows; none where there are no scores. ``to_frame`` makes a data frame of them.

    Raises:
        SrbenchError: the rows mix protocols, data or scales, or put an image into two groups.
    """
    image_rows = rows_of(scores, metric)
    if image_rows.empty:
        return []
    matrix = score_matrix(image_rows, trainings)
    pixel_nm = nm_per_px(image_rows)
    if margin is None:
        margin_used = margin_of(metric, None, pixel_nm).value
    else:
        margin_used = margin_of(metric, {metric: margin}).value
    settings = ComparisonSettings(
        direction or direction_of(metric), margin_used, samples, seed, attempts or {}
    )
    excluded = {tuple(pair) for pair in unranked}
    candidates = [m for m in matrix.methods if m.run.model not in REFERENCES and m.run[:2] not in excluded]
    required = matrix.scored_by_any(candidates or matrix.methods)
    lacking = {m: int(np.count_nonzero(required & ~matrix.scored(m))) for m in matrix.methods}
    ranked = [m for m in candidates if required.any() and not lacking[m]]
    means = {method: matrix.clusters(method) for method in matrix.methods}
    order = sorted(ranked if settings.sign else [], key=lambda method: -settings.sign * means[method].mean)
    base = next((m for m in matrix.methods if m.run.model == baseline), None)
    to_baseline = [(method, base) for method in matrix.methods if base and method != base]
    to_next = [
        (method, others[0])
        for index, method in enumerate(order)
        if (others := [other for other in order[index + 1 :] if not other.is_same_variant(method)])
    ]
    to_rivals = [(order[0], rival) for rival in order if not rival.is_same_variant(order[0])]
    compared = {pair: compare_pair(matrix, *pair, settings) for pair in (*to_baseline, *to_next, *to_rivals)}
    ranks = {entry.method: entry for entry in ranking(matrix, order, settings)}
    of_table = corrected([compared[pair] for pair in (*to_baseline, *to_next)])
    against_baseline = {c.first: c for c in of_table[: len(to_baseline)]}
    against_next = {c.first: c for c in of_table[len(to_baseline) :]}
    best = order[0] if to_rivals and beats_all([compared[pair] for pair in to_rivals]) else None
    # Corrected over the whole table the leader may still be undecided against the next one.
    if best and against_next[best].verdict != "better":
        best = None
    if duplicates is None:
        duplicates = duplicate_runs(scores) if matrix.has_duplicate_columns() else {}
    missing = image_rows[image_rows["reason"] != ""]
    reasons = missing.groupby([*RUN, "reason"], observed=True)["image"].nunique()
    nan = float("nan")
    rows = []
    for method in matrix.methods:
        clusters = means[method]
        low, high, _ = interval(clusters)
        against, following = against_baseline.get(method), against_next.get(method)
        entry = ranks.get(method)
        original = duplicates.get(method.run)
        notes = []
        if lacking[method]:
            expected = int(np.count_nonzero(required))
            words = ", not ranked" if method in candidates else ""
            notes.append(f"scored on {expected - lacking[method]} of {expected} images{words}")
        if original:
            name = f"{original.model}:{original.variant}"
            notes.append(f"the same scores as {name} on every image: one output under two names?")
        groups = len(clusters.values)
        if groups < 2:
            notes.append(f"no interval: {groups} group of images, at least 2 are needed")
        elif groups < FEW_GROUPS:
            notes.append(f"only {groups} groups of images: the interval is too narrow if they are skewed")
        if groups > 1 and clusters.alone >= 0:
            notes.append(ALONE)
        rows.append(
            LeaderboardRow(
                run=method.run,
                runs=method.runs,
                mean=clusters.mean,
                low=low,
                high=high,
                diff=against.difference if against else nan,
                diff_low=against.interval.low if against else nan,
                diff_high=against.interval.high if against else nan,
                p_holm=against.p_holm if against else nan,
                verdict=against.verdict if against else "",
                n_images=clusters.images,
                n_groups=groups,
                n_seeds=len(method.runs),
                seed_sd=seed_sd(clusters),
                rank=entry.rank if entry else nan,
                rank_low=entry.low if entry else nan,
                rank_high=entry.high if entry else nan,
                margin=settings.margin,
                next=following.second.label if following else "",
                verdict_next=following.verdict if following else "",
                best=method == best,
                ranked=method in ranked,
                note="; ".join(notes),
                reason=_reasons_in_words(reasons, method.runs),
            )
        )
    sign = 1.0 if settings.direction == "lower" else -1.0
    return sorted(rows, key=lambda row: (math.isnan(row.mean), sign * row.mean))


def to_frame(rows: Iterable[LeaderboardRow]) -> pd.DataFrame:
    """The rows as a data frame: the columns of ``RUN``, then every value."""
    import pandas as pd

    columns = [*RUN, *VALUE_COLUMNS]
    records = [{**row.run._asdict(), **{name: getattr(row, name) for name in VALUE_COLUMNS}} for row in rows]
    frame: pd.DataFrame = pd.DataFrame(records, columns=columns)
    return frame


def direction_of(metric: str) -> Direction:
    """What the registry says; ``none`` for a metric it does not know (a plug-in that is not installed)."""
    from srbench.metrics import registry

    try:
        return registry.get(metric).direction
    except SrbenchError:
        return "none"


def _reasons_in_words(counts: pd.Series[int], runs: Sequence[Run]) -> str:
    """Each reason for a missing value with its number of images, of several seeds the most."""
    most: dict[str, int] = {}
    for key, count in zip(counts.index, counts, strict=True):
        if Run(*key[:4]) in runs:
            most[key[4]] = max(most.get(key[4], 0), count)
    return "; ".join(f"{why} ({n} image{'s' if n != 1 else ''})" for why, n in sorted(most.items()))
