"""From score rows to a table: means with intervals, paired differences, ranks, and who is best.

An image's value is the mean of its rows, a group's the mean of its images; groups are averaged within a
category and the categories with equal weight. Intervals are 95 % cluster bootstraps over groups, tests are
Wilcoxon signed-rank on group means with Holm's correction. Every function is pure: a data frame of rows with
the columns of :data:`srbench.store.COLUMNS` goes in, a data frame comes out. docs/statistics.md explains
every column.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from srbench.evaluation.bootstrap import SAMPLES, SEED
from srbench.evaluation.contrast import Contrast, Direction, seed_sd
from srbench.evaluation.intervals import interval
from srbench.evaluation.paired import ALPHA
from srbench.evaluation.panel import CONTROL, NOISE_CEILING, REFERENCES, RUN, Entry, Run, look_alike, twins
from srbench.evaluation.ranking import Ranking
from srbench.evaluation.table import MetricTable, table_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ALPHA",
    "COMPARISON_COLUMNS",
    "CONTROL",
    "FEW_GROUPS",
    "LEADERBOARD_COLUMNS",
    "NOISE_CEILING",
    "REFERENCES",
    "RUN",
    "Direction",
    "comparisons",
    "costs",
    "leaderboard",
    "missing",
    "rank_stability",
    "seeds",
]

FEW_GROUPS = 10

LEADERBOARD_COLUMNS = [
    *RUN,
    "mean",
    "low",
    "high",
    "interval_kind",
    "n_images",
    "n_groups",
    "n_seeds",
    "seed_sd",
    "diff_bicubic",
    "diff_low",
    "diff_high",
    "p_holm",
    "verdict",
    "next",
    "diff_next",
    "next_low",
    "next_high",
    "p_next",
    "verdict_next",
    "margin",
    "rank",
    "rank_low",
    "rank_high",
    "first",
    "mean_rank",
    "rank_by_mean_rank",
    "best",
    "ranked",
    "note",
]
COMPARISON_COLUMNS = [
    *RUN,
    "against",
    "rival",
    "diff",
    "low",
    "high",
    "interval_kind",
    "n_images",
    "n_groups",
    "p",
    "p_holm",
    "median",
    "median_low",
    "median_high",
    "p_improve",
    "p_improve_low",
    "p_improve_high",
    "margin",
    "verdict",
]


def leaderboard(
    scores: pd.DataFrame,
    metric: str,
    *,
    direction: Direction | None = None,
    baseline: str = "bicubic",
    unranked: Collection[tuple[str, str]] = (),
    margin: float | None = None,
    trainings: Mapping[Run, Hashable] | None = None,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> pd.DataFrame:
    """The table of one metric: one row a run (or a method with all its seeds), best mean first.

    Args:
        scores: rows with the columns of ``srbench.store.COLUMNS``, of one dataset, split, degradation, scale
            and protocol.
        metric: metric id as stored in the column ``metric``.
        direction: which way is better; None asks the metric registry. With ``"none"`` nothing is ranked.
        baseline: model that differences are taken from.
        unranked: (model, variant) pairs shown but never ranked, such as leaking variants; the noise ceiling
            and the control never are, nor is what lacks a value for an image that another candidate has one
            for.
        margin: smallest difference that matters; the metric's own when None.
        trainings: run to the training that it repeats with another seed; runs with an equal one become one
            row, with seeds resampled from three on. Every run is a row of its own when None.
        samples: bootstrap resamples.
        seed: seed of the resampling; the same seed gives the same table.

    Returns:
        A frame with the columns ``LEADERBOARD_COLUMNS``. Differences from the baseline and from the next
        ranked model come with Holm's correction over all comparisons of the table. ``best`` is True for the
        leader only where it is "better" than every other ranked model: its interval beyond the margin and
        the paired test, corrected over all rivals, significant. ``note`` says why something is missing, weak
        or not ranked. Empty when there are no rows.

    Raises:
        SrbenchError: the rows mix protocols, data or scales, or place an image in two groups.
    """
    import pandas as pd

    table = table_of(scores, metric, direction, baseline, unranked, margin, trainings, samples, seed)
    if table is None:
        empty: pd.DataFrame = pd.DataFrame(columns=LEADERBOARD_COLUMNS)
        return empty
    rows: pd.DataFrame = pd.DataFrame([_row(table, entry) for entry in table.panel.entries])
    rows["note"] = _notes(table, scores, rows["n_groups"].tolist())
    ordered = rows.sort_values("mean", ascending=table.rule.direction == "lower", kind="stable")
    result: pd.DataFrame = ordered[LEADERBOARD_COLUMNS].reset_index(drop=True)
    return result


def comparisons(
    scores: pd.DataFrame,
    metric: str,
    *,
    direction: Direction | None = None,
    baseline: str = "bicubic",
    unranked: Collection[tuple[str, str]] = (),
    margin: float | None = None,
    trainings: Mapping[Run, Hashable] | None = None,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> pd.DataFrame:
    """Every paired comparison of the leaderboard with its effect sizes, columns ``COMPARISON_COLUMNS``.

    Arguments and errors are those of :func:`leaderboard`. ``against`` is ``baseline`` or ``next`` (the next
    ranked model); ``median`` is Hodges and Lehmann's, ``p_improve`` the probability of improvement.
    """
    import pandas as pd

    table = table_of(scores, metric, direction, baseline, unranked, margin, trainings, samples, seed)
    kinds = {} if table is None else {"baseline": table.to_baseline, "next": table.to_next}
    rows = [_comparison(against, one) for against, found in kinds.items() for one in found.values()]
    result: pd.DataFrame = pd.DataFrame(rows, columns=COMPARISON_COLUMNS)
    return result


def rank_stability(
    scores: pd.DataFrame,
    metric: str,
    *,
    direction: Direction | None = None,
    unranked: Collection[tuple[str, str]] = (),
    trainings: Mapping[Run, Hashable] | None = None,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> Ranking:
    """The ranking of one metric on resampled images and seeds; arguments and errors of ``leaderboard``."""
    table = table_of(scores, metric, direction, "", unranked, 0.0, trainings, samples, seed)
    return Ranking((), *[float("nan")] * 3) if table is None else table.ranking


def missing(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Why values are missing: columns ``model, variant, weights, seed, reason, n_images``."""
    rows = scores[(scores["metric"] == metric) & (scores["reason"] != "")]
    counted: pd.DataFrame = rows.groupby([*RUN, "reason"], as_index=False).agg(n_images=("image", "nunique"))
    return counted


def costs(scores: pd.DataFrame) -> pd.DataFrame:
    """Properties of the models (rows without an image): one row a run, one column a metric."""
    rows = scores[scores["image"] == ""]
    table: pd.DataFrame = rows.pivot_table(
        index=RUN, columns="metric", values="value", aggfunc="last"
    ).reset_index()
    table.columns.name = None
    return table


def seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Spread over training seeds of a leaderboard, in its order: ``model, variant, mean, sd, n_seeds``.

    ``sd`` is the sample standard deviation over seeds, NaN with a single one. It says how much a repeated
    training moves the mean; the leaderboard's interval says how much other images would.
    """
    spread: pd.DataFrame = table.groupby(["model", "variant"], as_index=False, sort=False).agg(
        mean=("mean", "mean"), sd=("mean", "std"), n_seeds=("seed", "nunique")
    )
    return spread


def _row(table: MetricTable, entry: Entry) -> dict[str, Any]:
    clusters = table.panel.clusters(entry)
    low, high, kind = interval(clusters, samples=table.rule.samples, seed=table.rule.seed)
    return {
        **entry.run._asdict(),
        **{"mean": clusters.mean, "low": low, "high": high, "interval_kind": kind},
        **{"n_images": clusters.images, "n_groups": len(clusters.values), "n_seeds": len(entry.runs)},
        "seed_sd": seed_sd(clusters),
        **_against(
            table.to_baseline.get(entry), ("diff_bicubic", "diff_low", "diff_high", "p_holm", "verdict")
        ),
        "next": table.to_next[entry].second.label if entry in table.to_next else "",
        **_against(
            table.to_next.get(entry), ("diff_next", "next_low", "next_high", "p_next", "verdict_next")
        ),
        "margin": table.rule.margin,
        **_place(table, entry),
        "best": entry == table.best,
        "ranked": entry in table.ranked,
    }


def _against(found: Contrast | None, names: Sequence[str]) -> dict[str, Any]:
    if found is None:
        return dict(zip(names, (*[float("nan")] * 4, ""), strict=True))
    low, high, _ = found.interval
    return dict(zip(names, (found.difference, low, high, found.p_holm, found.verdict), strict=True))


def _place(table: MetricTable, entry: Entry) -> dict[str, float]:
    names = ("rank", "low", "high", "first", "mean_rank", "rank_by_mean_rank")
    place = next((place for place in table.ranking.places if place.entry == entry), None)
    values = {name: float("nan") if place is None else getattr(place, name) for name in names}
    return {"rank_low": values.pop("low"), "rank_high": values.pop("high"), **values}


def _comparison(against: str, found: Contrast) -> dict[str, Any]:
    values = (
        *(against, found.second.label, found.difference, *found.interval, found.n_images, found.n_groups),
        *(found.p, found.p_holm, *found.median, *found.improvement, found.rule.margin, found.verdict),
    )
    return {**found.first.run._asdict(), **dict(zip(COMPARISON_COLUMNS[len(RUN) :], values, strict=True))}


def _notes(table: MetricTable, scores: pd.DataFrame, groups: Sequence[int]) -> list[str]:
    alike = twins(scores) if look_alike(table.panel) else {}
    names = {run: f"{run.model}:{run.variant}" for run in alike.values()}
    return [
        _note(table, entry, count, names.get(alike[entry.run]) if entry.run in alike else None)
        for entry, count in zip(table.panel.entries, groups, strict=True)
    ]


def _note(table: MetricTable, entry: Entry, groups: int, twin: str | None) -> str:
    notes = []
    if lacking := table.lacks(entry):
        expected = int(np.count_nonzero(table.expected))
        words = "" if entry not in table.candidates else ", not ranked"
        notes.append(f"scored on {expected - lacking} of {expected} images{words}")
    if twin:
        notes.append(f"the same scores as {twin} on every image: one output under two names?")
    if groups < 2:
        notes.append(f"no interval: {groups} group of images, at least 2 are needed")
    elif groups < FEW_GROUPS:
        notes.append(f"only {groups} groups of images: the interval is probably too narrow")
    return "; ".join(notes)
