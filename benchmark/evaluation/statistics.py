"""From score rows to a table: means with intervals, paired differences from a baseline, and who is best.

An image's value is the mean of its rows, a group's the mean of its images; groups are averaged within a
category and the categories with equal weight. Intervals are 95 % percentile cluster bootstraps over groups,
tests are Wilcoxon signed-rank on group means with Holm's correction. Every function is pure: a data frame of
rows with the columns of :data:`srbench.store.COLUMNS` goes in, a data frame comes out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from srbench.errors import SrbenchError
from srbench.evaluation.bootstrap import SAMPLES, SEED, Clusters, Floats, cluster, holm, interval, wilcoxon_p

if TYPE_CHECKING:
    import pandas as pd

Direction = Literal["higher", "lower", "none"]
NOISE_CEILING = "noise_ceiling"
RUN = ["model", "variant", "weights", "seed"]
FIXED = ("dataset", "data", "split", "degradation", "scale", "protocol")
FEW_GROUPS = 10
ALPHA = 0.05

LEADERBOARD_COLUMNS = [
    *RUN,
    "mean",
    "low",
    "high",
    "n_images",
    "n_groups",
    "diff_bicubic",
    "diff_low",
    "diff_high",
    "p_holm",
    "best",
    "ranked",
    "note",
]


@dataclass(frozen=True)
class _Images:
    """One value an image and run, with the group and category of each image."""

    values: pd.DataFrame
    groups: list[str]
    categories: list[str]

    def clusters(self, values: Floats) -> Clusters:
        return cluster(values, self.groups, self.categories)

    def of(self, run: int) -> Floats:
        return self.values.iloc[:, run].to_numpy(dtype=np.float64)


def leaderboard(
    scores: pd.DataFrame,
    metric: str,
    *,
    direction: Direction | None = None,
    baseline: str = "bicubic",
    unranked: Collection[tuple[str, str]] = (),
    samples: int = SAMPLES,
    seed: int = SEED,
) -> pd.DataFrame:
    """The table of one metric: one row a run, best mean first.

    Args:
        scores: rows with the columns of ``srbench.store.COLUMNS``, of one dataset, split, degradation, scale
            and protocol.
        metric: metric id as stored in the column ``metric``.
        direction: which way is better; None asks the metric registry. With ``"none"`` nothing is best.
        baseline: model that differences are taken from.
        unranked: (model, variant) pairs shown but never best, such as leaking variants; the noise ceiling
            never is.
        samples: bootstrap resamples.
        seed: seed of the resampling; the same seed gives the same table.

    Returns:
        A frame with the columns ``LEADERBOARD_COLUMNS``: the macro-averaged ``mean`` with its interval
        ``low``..``high``; the paired mean difference from the baseline with its interval and Holm-corrected
        p; ``best`` (True for the leader only where it beats every other ranked model in a paired test and
        interval); ``ranked``; ``note`` (why something is missing or weak). Empty when there are no rows.

    Raises:
        SrbenchError: the rows mix protocols, data or scales, or place an image in two groups.
    """
    import pandas as pd

    rows = _rows_of(scores, metric)
    if rows.empty:
        empty: pd.DataFrame = pd.DataFrame(columns=LEADERBOARD_COLUMNS)
        return empty
    images = _images(rows)
    way = direction or _direction(metric)
    table = pd.DataFrame([dict(zip(RUN, key, strict=True)) for key in images.values.columns])
    parts = (_means(images, samples, seed), _differences(images, baseline, samples, seed))
    table = pd.concat([table, *parts], axis=1)
    excluded = {*unranked}
    table["ranked"] = [
        model != NOISE_CEILING and (model, variant) not in excluded
        for model, variant in zip(table["model"], table["variant"], strict=True)
    ]
    table["best"] = _best(table, images, way, samples, seed)
    table["note"] = [
        _note(scored, len(images.groups), groups)
        for scored, groups in zip(table["n_images"], table["n_groups"], strict=True)
    ]
    ordered: pd.DataFrame = table.sort_values("mean", ascending=way == "lower", kind="stable")
    result: pd.DataFrame = ordered[LEADERBOARD_COLUMNS].reset_index(drop=True)
    return result


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


def _rows_of(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    rows: pd.DataFrame = scores[(scores["metric"] == metric) & (scores["image"] != "")]
    for column in FIXED:
        found = sorted(map(str, rows[column].unique())) if column in rows else []
        if len(found) > 1:
            raise SrbenchError(
                f"Scores of {metric!r} mix {len(found)} values of {column!r} ({', '.join(found)}): a mean "
                f"over them would compare nothing. Select one: scores[scores[{column!r}] == {found[0]!r}]."
            )
    return rows


def _images(rows: pd.DataFrame) -> _Images:
    places = rows[["image", "group", "category"]].drop_duplicates().sort_values("image", kind="stable")
    twice = places["image"][places["image"].duplicated()]
    if len(twice):
        raise SrbenchError(
            f"Image {twice.iloc[0]!r} is scored under two groups or categories: the runs saw different "
            "versions of the dataset. Evaluate the models again on the present one."
        )
    values = rows.groupby(["image", *RUN])["value"].mean().unstack(RUN).reindex(places["image"])
    ordered = values.sort_index(axis=1)
    return _Images(
        ordered, [str(name) for name in places["group"]], [str(name) for name in places["category"]]
    )


def _means(images: _Images, samples: int, seed: int) -> pd.DataFrame:
    import pandas as pd

    means: pd.DataFrame = pd.DataFrame(
        [_mean_row(images.clusters(images.of(run)), samples, seed) for run in _runs(images)],
    )
    return means


def _mean_row(clusters: Clusters, samples: int, seed: int) -> dict[str, float]:
    low, high = interval(clusters, samples=samples, seed=seed)
    groups = len(clusters.values)
    return {"mean": clusters.mean, "low": low, "high": high, "n_images": clusters.images, "n_groups": groups}


def _differences(images: _Images, baseline: str, samples: int, seed: int) -> pd.DataFrame:
    import pandas as pd

    reference = next((run for run in _runs(images) if _key(images, run)[0] == baseline), None)
    rows = [_difference_row(images, run, reference, samples, seed) for run in _runs(images)]
    table: pd.DataFrame = pd.DataFrame(rows)
    table["p_holm"] = holm([float(p) for p in table.pop("p")])
    return table


def _difference_row(
    images: _Images, run: int, reference: int | None, samples: int, seed: int
) -> dict[str, float]:
    if reference is None or run == reference:
        nothing = float("nan")
        return {"diff_bicubic": nothing, "diff_low": nothing, "diff_high": nothing, "p": nothing}
    paired = images.clusters(images.of(run) - images.of(reference))
    low, high = interval(paired, samples=samples, seed=seed)
    return {"diff_bicubic": paired.mean, "diff_low": low, "diff_high": high, "p": wilcoxon_p(paired.values)}


def _best(table: pd.DataFrame, images: _Images, way: Direction, samples: int, seed: int) -> list[bool]:
    """True for the leading run where it beats every run of every other ranked model."""
    best = [False] * len(table)
    sign = {"higher": 1.0, "lower": -1.0, "none": 0.0}[way]
    ranked = [
        run for run in _runs(images) if table["ranked"].iloc[run] and not np.isnan(table["mean"].iloc[run])
    ]
    if not ranked or not sign:
        return best
    leader = max(ranked, key=lambda run: sign * float(table["mean"].iloc[run]))
    rivals = [run for run in ranked if _key(images, run)[:2] != _key(images, leader)[:2]]
    complete = table["n_images"].iloc[leader] == len(images.groups)
    if rivals and complete:
        best[leader] = _beats_all(images, leader, rivals, sign, samples, seed)
    return best


def _beats_all(images: _Images, leader: int, rivals: list[int], sign: float, samples: int, seed: int) -> bool:
    leads = [images.clusters(sign * (images.of(leader) - images.of(rival))) for rival in rivals]
    p_values = holm([wilcoxon_p(lead.values) for lead in leads])
    lows = [interval(lead, samples=samples, seed=seed)[0] for lead in leads]
    return all(p < ALPHA for p in p_values) and all(low > 0.0 for low in lows)


def _note(scored: int, n_images: int, groups: int) -> str:
    notes = []
    if scored < n_images:
        notes.append(f"scored on {scored} of {n_images} images")
    if groups < 2:
        notes.append(f"no interval: {groups} group of images, at least 2 are needed")
    elif groups < FEW_GROUPS:
        notes.append(f"only {groups} groups of images: the interval is probably too narrow")
    return "; ".join(notes)


def _runs(images: _Images) -> Iterable[int]:
    return range(images.values.shape[1])


def _key(images: _Images, run: int) -> tuple[str, ...]:
    return tuple(map(str, images.values.columns[run]))


def _direction(metric: str) -> Direction:
    """What the registry says; ``none`` for a metric it does not know (a plug-in that is not installed)."""
    from srbench.evaluation.metrics import registry

    try:
        return registry.get(metric).direction
    except SrbenchError:
        return "none"
