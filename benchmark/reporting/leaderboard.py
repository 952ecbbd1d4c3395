"""The leaderboard of one block: one row a run, one cell a metric. All statistics come from the harness.

Runs that are not ranked are computed apart, against bicubic alone, so that they influence neither "best" nor
the correction for multiple tests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from srbench.evaluation import statistics
from srbench.evaluation.bootstrap import cluster
from srbench.reporting.blocks import Block
from srbench.reporting.formats import decimals_for
from srbench.reporting.measures import Family, Measure, families, measures
from srbench.reporting.rows import (
    BASELINE,
    SECTIONS,
    Cell,
    Row,
    RunId,
    Standing,
    badges_of,
    run_of,
    standing_of,
)
from srbench.store import Manifest

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Leaderboard:
    """A block with everything computed from its rows.

    Attributes:
        block: the runs.
        rows: by standing, then by the first metric, best first.
        columns: the metrics that at least one run has a value of, in printing order.
        empty_columns: the metrics that no run has a value of.
        cost_columns: the properties of the models, in printing order.
        decimals: metric id to decimals that the intervals of its means support.
        diff_decimals: the same for differences to bicubic, whose intervals are narrower.
        group_differences: metric id to run to the difference from bicubic in each group of images.
        categories: category to the rows' cells on its images alone (ranked runs and the ceiling).
    """

    block: Block
    rows: tuple[Row, ...]
    columns: tuple[Measure, ...]
    empty_columns: tuple[Measure, ...]
    cost_columns: tuple[Measure, ...]
    decimals: Mapping[str, int]
    diff_decimals: Mapping[str, int]
    group_differences: Mapping[str, Mapping[RunId, tuple[float, ...]]]
    categories: Mapping[str, Mapping[RunId, Mapping[str, Cell]]]

    @cached_property
    def families(self) -> list[Family]:
        """The metric columns under their headings."""
        return families(self.columns)

    @cached_property
    def short_names(self) -> Mapping[RunId, str]:
        """Names for plots: the title, with variant and seed only where rows would share a name."""
        return {row.run: _short_name(row, self.rows) for row in self.rows}

    @property
    def n_images(self) -> int:
        """Images of the most complete metric."""
        return max((row.n_images for row in self.rows), default=0)

    @property
    def n_groups(self) -> int:
        """Independent groups behind the most complete metric."""
        return max((row.n_groups for row in self.rows), default=0)

    def section(self, standing: Standing) -> list[Row]:
        """The rows of one section."""
        return [row for row in self.rows if row.standing == standing]


def leaderboard(block: Block) -> Leaderboard:
    """Compute the leaderboard of a block."""
    scores = block.scores
    every = measures(scores.loc[scores["image"] != "", "metric"].unique())
    cost_columns = measures(scores.loc[scores["image"] == "", "metric"].unique(), family="cost")
    cells = {column.id: _cells(block, scores, column) for column in every}
    columns = [c for c in every if any(math.isfinite(cell.mean) for cell in cells[c.id].values())]
    rows = _told_apart([_row(manifest, cells, scores) for manifest in block.complete])
    decimals = {name: _decimals((c.low, c.high) for c in own.values()) for name, own in cells.items()}
    finer = {name: _decimals((c.diff_low, c.diff_high) for c in own.values()) for name, own in cells.items()}
    return Leaderboard(
        block,
        rows=tuple(sorted(rows, key=lambda row: _place(row, columns))),
        columns=tuple(columns),
        empty_columns=tuple(column for column in every if column not in columns),
        cost_columns=tuple(cost_columns),
        decimals=decimals,
        diff_decimals=finer,
        group_differences={column.id: _group_differences(scores, column) for column in columns},
        categories=_by_category(block, columns),
    )


def _told_apart(rows: Sequence[Row]) -> list[Row]:
    counts = Counter(row.label for row in rows)
    return [replace(r, twin_mark=r.run[2][:6]) if counts[r.label] > 1 else r for r in rows]


def _short_name(row: Row, rows: Sequence[Row]) -> str:
    namesakes = [other.manifest for other in rows if other.title == row.title]
    variants = {manifest.key.variant for manifest in namesakes}
    budgets = {manifest.weights.get("budget") for manifest in namesakes if manifest.key.variant == row.run[1]}
    seeds = {manifest.key.seed for manifest in namesakes if manifest.key.variant == row.run[1]}
    parts = [row.title, row.run[1] if len(variants) > 1 else ""]
    parts.append(str(row.manifest.weights.get("budget", "")) if len(budgets) > 1 else "")
    parts.append(f"s{row.run[3]}" if len(seeds) > 1 else "")
    parts.append(row.twin_mark)
    return " ".join(part for part in parts if part)


def _cells(block: Block, scores: pd.DataFrame, column: Measure) -> dict[RunId, Cell]:
    """The cells of one metric: ranked runs together, all others against the baseline alone."""
    runs = {run_of(manifest): standing_of(manifest) for manifest in block.complete}
    ranked = {run for run, standing in runs.items() if standing in ("network", "interpolation")}
    others = set(runs) - ranked
    with_baseline = others | {run for run in ranked if run[0] == BASELINE}
    cells = _table(scores, column, with_baseline, unranked=with_baseline) if others else {}
    cells.update(_table(scores, column, ranked, unranked=set()))
    return _with_reasons(scores, column, cells)


def _table(
    scores: pd.DataFrame, column: Measure, runs: set[RunId], unranked: set[RunId]
) -> dict[RunId, Cell]:
    identity = zip(*(scores[name] for name in statistics.RUN), strict=True)
    rows = scores[np.fromiter((run in runs for run in identity), dtype=bool, count=len(scores))]
    pairs = {run[:2] for run in unranked}
    table = statistics.leaderboard(rows, column.id, direction=column.direction, unranked=pairs)
    return {_run(record): _cell(record) for record in table.to_dict("records")}


def _run(record: Mapping[Any, Any]) -> RunId:
    return str(record["model"]), str(record["variant"]), str(record["weights"]), int(record["seed"])


def _cell(record: Mapping[Any, Any]) -> Cell:
    return Cell(
        mean=float(record["mean"]),
        low=float(record["low"]),
        high=float(record["high"]),
        diff=float(record["diff_bicubic"]),
        diff_low=float(record["diff_low"]),
        diff_high=float(record["diff_high"]),
        p_holm=float(record["p_holm"]),
        n_images=int(record["n_images"]),
        n_groups=int(record["n_groups"]),
        best=bool(record["best"]),
        note=str(record["note"]),
    )


def _with_reasons(scores: pd.DataFrame, column: Measure, cells: Mapping[RunId, Cell]) -> dict[RunId, Cell]:
    reasons: dict[RunId, list[str]] = {}
    for record in statistics.missing(scores, column.id).to_dict("records"):
        images = int(record["n_images"])
        reasons.setdefault(_run(record), []).append(
            f"{record['reason']} ({images} image{'s' if images != 1 else ''})"
        )
    return {run: replace(cell, reason="; ".join(reasons.get(run, []))) for run, cell in cells.items()}


def _group_differences(scores: pd.DataFrame, column: Measure) -> dict[RunId, tuple[float, ...]]:
    """What the interval of a difference rests on: one paired mean a group."""
    rows = scores[(scores["metric"] == column.id) & (scores["image"] != "")]
    images = rows.set_index("image")[["group", "category"]].groupby(level=0).first()
    by_run = {
        _run(dict(zip(statistics.RUN, run, strict=True))): own.set_index("image")["value"].reindex(
            images.index
        )
        for run, own in rows.groupby(statistics.RUN)
    }
    baseline = next((values for run, values in by_run.items() if run[0] == BASELINE), None)
    if baseline is None:
        return {}
    groups, categories = list(images["group"]), list(images["category"])
    return {
        run: tuple(cluster((values - baseline).to_numpy(dtype=np.float64), groups, categories).values)
        for run, values in by_run.items()
        if run[0] != BASELINE
    }


def _row(manifest: Manifest, cells: Mapping[str, Mapping[RunId, Cell]], scores: pd.DataFrame) -> Row:
    run = run_of(manifest)
    own = {metric: by_run[run] for metric, by_run in cells.items() if run in by_run}
    costs, reasons = _costs(scores, run)
    return Row(manifest, standing_of(manifest), own, costs, reasons, badges_of(manifest))


def _costs(scores: pd.DataFrame, run: RunId) -> tuple[dict[str, float], dict[str, str]]:
    rows = scores[scores["image"] == ""]
    for name, value in zip(statistics.RUN, run, strict=True):
        rows = rows[rows[name] == value]
    pairs = [(str(r["metric"]), float(r["value"]), str(r["reason"])) for r in rows.to_dict("records")]
    values = {metric: value for metric, value, _ in pairs if math.isfinite(value)}
    return values, {metric: reason for metric, _, reason in pairs if reason}


def _decimals(intervals: Iterable[tuple[float, float]]) -> int:
    return decimals_for((high - low) / 2 for low, high in intervals)


def _place(row: Row, columns: Sequence[Measure]) -> tuple[int, float, str, str, int]:
    """Sections in order; within one the best mean of the first directed metric, missing ones last."""
    first = next((column for column in columns if column.direction != "none"), None)
    cell = row.cells.get(first.id) if first else None
    mean = cell.mean if cell and math.isfinite(cell.mean) else math.nan
    merit = mean if first and first.direction == "lower" else -mean
    place = merit if math.isfinite(merit) else math.inf
    return list(SECTIONS).index(row.standing), place, row.manifest.key.model, row.identifier, 0


def _by_category(block: Block, columns: Sequence[Measure]) -> dict[str, Mapping[RunId, Mapping[str, Cell]]]:
    """Category to run to metric to cell; empty where there is only one category."""
    scores = block.scores
    names = sorted(set(scores.loc[scores["image"] != "", "category"]))
    if len(names) < 2:
        return {}
    return {name: _category(block, scores[scores["category"] == name], columns) for name in names}


def _category(block: Block, scores: pd.DataFrame, columns: Sequence[Measure]) -> dict[RunId, dict[str, Cell]]:
    result: dict[RunId, dict[str, Cell]] = {run_of(manifest): {} for manifest in block.complete}
    for column in columns:
        for run, cell in _cells(block, scores, column).items():
            result[run][column.id] = cell
    return result
