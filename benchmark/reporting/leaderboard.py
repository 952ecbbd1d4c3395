"""The leaderboard of one block: one row a training, one cell a metric. The statistics are the harness'."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from srbench.evaluation import statistics
from srbench.evaluation.guards.cards import Finding
from srbench.reporting.blocks import Block
from srbench.reporting.cells import Cohort, by_category, cells_of, group_differences
from srbench.reporting.formats import decimals_for
from srbench.reporting.guards import RunId, badge_of, failures, findings_of
from srbench.reporting.measures import FEW_COLUMNS, MAIN, Family, Measure, measures, sheets
from srbench.reporting.rows import (
    BASELINE,
    RANKED,
    SECTIONS,
    Cell,
    Row,
    Standing,
    badges_of,
    gather,
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
        cohort: who is compared with whom.
        findings: run to what the guards found about it.
        rows: by standing, then by the first metric, best first.
        columns: the metrics that at least one run has a value of, in printing order.
        empty_columns: the metrics that no run has a value of.
        cost_columns: the properties of the models, in printing order.
        decimals: metric id to decimals that the intervals of its means support.
        diff_decimals: the same for differences to bicubic, whose intervals are narrower.
        group_differences: metric id to row to the difference from bicubic in each group of images.
        categories: category to the rows' cells on its images alone, for the metrics that are seen first.
    """

    block: Block
    cohort: Cohort
    findings: Mapping[RunId, tuple[Finding, ...]]
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
        """The metric columns under their headings, those to be seen first in front."""
        return sheets(self.columns)

    @property
    def first_view(self) -> tuple[Measure, ...]:
        """The metrics that are seen before anything is chosen."""
        return self.families[0].measures if self.families else ()

    @property
    def shown_at_first(self) -> frozenset[str]:
        """Names of the families of columns that are seen before anything is chosen, cost among them."""
        names = [family.name for family in self.families]
        if MAIN not in names or len(self.columns) + len(self.cost_columns) <= FEW_COLUMNS:
            return frozenset((*names, "cost"))
        return frozenset((MAIN,))

    @property
    def lead(self) -> Measure | None:
        """The metric that orders the rows and whose rank intervals are printed."""
        return _lead(self.columns)

    @cached_property
    def fooled(self) -> frozenset[str]:
        """The metrics in which invented texture beats bicubic: no evidence of structure here."""
        controls = [row for row in self.rows if row.manifest.key.model == statistics.CONTROL]
        pairs = [(column, row.cells.get(column.id)) for column in self.columns for row in controls]
        return frozenset(column.id for column, cell in pairs if cell and _beats_bicubic(cell, column))

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
    findings = findings_of(block)
    groups = gather(block.complete, findings)
    cohort = _cohort(block, groups, findings)
    cells = cells_of(cohort, every)
    known = [c for c in every if any(math.isfinite(cell.mean) for cell in cells[c.id].values())]
    columns = [column for family in sheets(known) for column in family.measures]
    rows = _told_apart([_row(group, cells, scores, findings) for group in groups])
    return Leaderboard(
        block,
        cohort,
        findings,
        rows=tuple(sorted(rows, key=lambda row: _place(row, _lead(columns)))),
        columns=tuple(columns),
        empty_columns=tuple(column for column in every if column not in known),
        cost_columns=tuple(measures(scores.loc[scores["image"] == "", "metric"].unique(), family="cost")),
        decimals={name: _decimals((c.low, c.high) for c in own.values()) for name, own in cells.items()},
        diff_decimals={
            name: _decimals((c.diff_low, c.diff_high) for c in own.values()) for name, own in cells.items()
        },
        group_differences={column.id: group_differences(cohort, column.id) for column in columns},
        categories=by_category(cohort, sheets(columns)[0].measures if columns else ()),
    )


def _cohort(
    block: Block, groups: Sequence[Sequence[Manifest]], findings: Mapping[RunId, tuple[Finding, ...]]
) -> Cohort:
    rows = {run_of(group[0]): tuple(map(run_of, group)) for group in groups}
    standings = {run_of(group[0]): standing_of(group[0], findings[run_of(group[0])]) for group in groups}
    ranked = frozenset(run for run, standing in standings.items() if standing in RANKED)
    return Cohort(block.scores, rows, ranked, BASELINE)


def _lead(columns: Sequence[Measure]) -> Measure | None:
    return next((column for column in columns if column.direction != "none"), None)


def _beats_bicubic(cell: Cell, column: Measure) -> bool:
    better = cell.diff > 0 if column.direction == "higher" else cell.diff < 0
    return column.direction != "none" and better and cell.is_clear


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


def _row(
    group: Sequence[Manifest],
    cells: Mapping[str, Mapping[RunId, Cell]],
    scores: pd.DataFrame,
    findings: Mapping[RunId, tuple[Finding, ...]],
) -> Row:
    run, found = run_of(group[0]), findings[run_of(group[0])]
    own = {metric: by_run[run] for metric, by_run in cells.items() if run in by_run}
    costs, reasons = _costs(scores, [run_of(manifest) for manifest in group])
    return Row(
        group[0],
        standing_of(group[0], found),
        own,
        costs,
        reasons,
        badges_of(group[0], found),
        repeats=tuple(group[1:]),
        faults={badge_of(one): one.detail for one in failures(found)},
    )


def _costs(scores: pd.DataFrame, runs: Sequence[RunId]) -> tuple[dict[str, float], dict[str, str]]:
    """Each property, the mean over seeds where it is measured, and why one has no value."""
    rows = scores[(scores["image"] == "") & (scores["model"] == runs[0][0])]
    values: dict[str, list[float]] = {}
    reasons: dict[str, str] = {}
    for record in rows.to_dict("records"):
        if tuple(record[name] for name in statistics.RUN) not in runs:
            continue
        if math.isfinite(record["value"]):
            values.setdefault(str(record["metric"]), []).append(float(record["value"]))
        elif record["reason"]:
            reasons[str(record["metric"])] = str(record["reason"])
    means = {metric: sum(own) / len(own) for metric, own in values.items()}
    return means, {metric: why for metric, why in reasons.items() if metric not in means}


def _decimals(intervals: Iterable[tuple[float, float]]) -> int:
    return decimals_for((high - low) / 2 for low, high in intervals)


def _place(row: Row, lead: Measure | None) -> tuple[int, float, str, str]:
    """Sections in order; within one the best mean of the first directed metric, missing ones last."""
    cell = row.cells.get(lead.id) if lead else None
    mean = cell.mean if cell and math.isfinite(cell.mean) else math.nan
    merit = mean if lead and lead.direction == "lower" else -mean
    place = merit if math.isfinite(merit) else math.inf
    return list(SECTIONS).index(row.standing), place, row.manifest.key.model, row.identifier
