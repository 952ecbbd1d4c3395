"""The cells of a leaderboard: for each metric what the harness' statistics say about each row.

Rows that are not ranked are computed apart, against bicubic alone, so that they influence neither "best" nor
ranks nor the correction for multiple tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from srbench.evaluation import statistics
from srbench.evaluation.intervals import interval
from srbench.evaluation.panel import Entry, Panel, Run, panel_of, rows_of
from srbench.reporting.guards import RunId
from srbench.reporting.measures import Measure

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Cell:
    """One metric of one row, as :func:`srbench.evaluation.statistics.leaderboard` gives it."""

    mean: float
    low: float
    high: float
    diff: float = math.nan
    diff_low: float = math.nan
    diff_high: float = math.nan
    p_holm: float = math.nan
    verdict: str = ""
    n_images: int = 0
    n_groups: int = 0
    n_seeds: int = 1
    seed_sd: float = math.nan
    rank: float = math.nan
    rank_low: float = math.nan
    rank_high: float = math.nan
    margin: float = math.nan
    next: str = ""
    verdict_next: str = ""
    best: bool = False
    ranked: bool = False
    note: str = ""
    reason: str = ""

    @property
    def is_clear(self) -> bool:
        """Whether the interval of the difference to bicubic leaves out zero."""
        return self.diff_low > 0 or self.diff_high < 0


@dataclass(frozen=True, eq=False)
class Cohort:
    """Who is compared with whom in a block.

    Attributes:
        scores: all rows of the block.
        rows: the first run of each row of the table to all its runs, one a seed.
        ranked: first runs of the rows that are ranked.
        baseline: model that differences are taken from.
    """

    scores: pd.DataFrame
    rows: Mapping[RunId, Sequence[RunId]]
    ranked: Collection[RunId]
    baseline: str

    @property
    def trainings(self) -> dict[Run, Hashable]:
        """Run to the row that it is a seed of."""
        return {Run(*run): first for first, runs in self.rows.items() for run in runs}

    def row_of(self, run: RunId) -> RunId:
        """The row of a run, or of what the statistics call several seeds of one training.

        Raises:
            KeyError: no row of the table has it.
        """
        for first, runs in self.rows.items():
            if run in runs:
                return first
        starts = set(run[2].split("+"))
        for first, runs in self.rows.items():
            if first[:2] == run[:2] and starts <= {other[2][:8] for other in runs}:
                return first
        raise KeyError(run)

    def panel(self, metric: str) -> Panel | None:
        """The values of one metric, seeds together; None without rows."""
        rows = rows_of(self.scores, metric)
        return None if rows.empty else panel_of(rows, self.trainings)


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows that are judged together, their scores with those of the baseline, and who of them never ranks."""

    own: frozenset[RunId]
    scores: pd.DataFrame
    barred: set[tuple[str, str]]


def cells_of(cohort: Cohort, columns: Sequence[Measure]) -> dict[str, dict[RunId, Cell]]:
    """Metric to row to its cell."""
    base = {first for first in cohort.rows if first[0] == cohort.baseline}
    ranked = set(cohort.ranked)
    others = set(cohort.rows) - ranked
    # A baseline that may not be ranked still is what differences are taken from.
    barred = {"ranked": base - ranked, "others": base | others}
    parts = {"ranked": ranked, "others": others}
    tables = [
        _Part(frozenset(own), _rows(cohort, own | base), {run[:2] for run in barred[name]})
        for name, own in parts.items()
        if own
    ]
    return {column.id: _column(cohort, column, tables) for column in columns}


def by_category(cohort: Cohort, columns: Sequence[Measure]) -> dict[str, dict[RunId, dict[str, Cell]]]:
    """Category to row to metric to mean and interval; empty where there is only one category."""
    images = cohort.scores[cohort.scores["image"] != ""]
    kinds = sorted(set(map(str, images["category"])))
    if len(kinds) < 2:
        return {}
    found: dict[str, dict[RunId, dict[str, Cell]]] = {
        kind: {run: {} for run in cohort.rows} for kind in kinds
    }
    for column in columns:
        panel = cohort.panel(column.id)
        for kind, part in panel.of_category.items() if panel else ():
            for entry in part.entries:
                found[kind][cohort.row_of(entry.runs[0])][column.id] = _mean(part, entry)
    return found


def group_differences(cohort: Cohort, metric: str) -> dict[RunId, tuple[float, ...]]:
    """What the interval of a difference rests on: one paired mean a group."""
    panel = cohort.panel(metric)
    entries = panel.entries if panel else ()
    baseline = next((entry for entry in entries if entry.run.model == cohort.baseline), None)
    if panel is None or baseline is None:
        return {}
    return {
        cohort.row_of(entry.runs[0]): tuple(panel.clusters(entry, baseline).values.tolist())
        for entry in entries
        if entry != baseline
    }


def _rows(cohort: Cohort, chosen: Collection[RunId]) -> pd.DataFrame:
    runs = {run for first in chosen for run in cohort.rows[first]}
    scores = cohort.scores
    identity = zip(*(scores[name] for name in statistics.RUN), strict=True)
    chosen_rows = np.fromiter((run in runs for run in identity), dtype=bool, count=len(scores))
    found: pd.DataFrame = scores[chosen_rows]
    return found


def _column(cohort: Cohort, column: Measure, parts: Sequence[_Part]) -> dict[RunId, Cell]:
    cells: dict[RunId, Cell] = {}
    for part in parts:
        table = statistics.leaderboard(
            part.scores,
            column.id,
            direction=column.direction,
            baseline=cohort.baseline,
            unranked=part.barred,
            trainings=cohort.trainings,
        )
        found = {cohort.row_of(_run(record)): _cell(record) for record in table.to_dict("records")}
        cells.update({run: cell for run, cell in found.items() if run in part.own})
    return _with_reasons(cohort, column, cells)


def _run(record: Mapping[Any, Any]) -> RunId:
    return str(record["model"]), str(record["variant"]), str(record["weights"]), int(record["seed"])


def _cell(record: Mapping[Any, Any]) -> Cell:
    numbers = ("mean", "low", "high", "diff_low", "diff_high", "p_holm", "seed_sd", "margin")
    kinds: dict[Callable[[Any], Any], tuple[str, ...]] = {
        float: (*numbers, "rank", "rank_low", "rank_high"),
        int: ("n_images", "n_groups", "n_seeds"),
        str: ("verdict", "next", "verdict_next", "note"),
        bool: ("best", "ranked"),
    }
    values = {name: kind(record[name]) for kind, names in kinds.items() for name in names}
    return Cell(**values, diff=float(record["diff_bicubic"]))


def _mean(panel: Panel, entry: Entry) -> Cell:
    clusters = panel.clusters(entry)
    low, high, _ = interval(clusters)
    return Cell(clusters.mean, low, high, n_images=clusters.images, n_groups=len(clusters.values))


def _with_reasons(cohort: Cohort, column: Measure, cells: Mapping[RunId, Cell]) -> dict[RunId, Cell]:
    images: dict[RunId, dict[str, int]] = {}
    for record in statistics.missing(cohort.scores, column.id).to_dict("records"):
        own = images.setdefault(cohort.row_of(_run(record)), {})
        reason = str(record["reason"])
        own[reason] = max(own.get(reason, 0), int(record["n_images"]))
    words = {
        run: "; ".join(
            f"{why} ({count} image{'s' if count != 1 else ''})" for why, count in sorted(own.items())
        )
        for run, own in images.items()
    }
    return {run: replace(cell, reason=words.get(run, "")) for run, cell in cells.items()}
