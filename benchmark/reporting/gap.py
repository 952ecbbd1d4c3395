"""The page's section on what synthetic LR hides: scores on the recorded LR less those on synthetic LR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import Row
from srbench.reporting.text import Measure, csv_text, decimals_for
from srbench.statistics.gap import RealMinusSynthetic, real_minus_synthetic, recorded_and_synthetic
from srbench.store import Run


@dataclass(frozen=True)
class GapTable:
    """The gaps of two blocks that differ in nothing but how LR came about.

    Attributes:
        real: the block of the recorded LR.
        synthetic: the block of the synthetic LR.
        rows: rows of the former that the latter has too.
        columns: metrics that are seen first and have a gap.
        gaps: metric to row to its gap.
    """

    real: Leaderboard
    synthetic: Leaderboard
    rows: tuple[Row, ...]
    columns: tuple[Measure, ...]
    gaps: Mapping[str, Mapping[Run, RealMinusSynthetic]]

    def decimals(self, metric: str) -> int:
        """Decimals that the intervals of a column support."""
        intervals = (gap.interval for gap in self.gaps[metric].values())
        return decimals_for((interval.high - interval.low) / 2 for interval in intervals)

    def count(self, row: Row) -> tuple[int, int]:
        """Images and groups behind the most complete metric of a row."""
        gaps = [by_row[row.run] for by_row in self.gaps.values() if row.run in by_row]
        return max(gap.n_images for gap in gaps), max(gap.n_groups for gap in gaps)


def gap_tables(boards: Sequence[Leaderboard]) -> list[GapTable]:
    """A table for each pair of such blocks that have a model in common; none without them."""
    by_key = {board.block.key: board for board in boards}
    tables = []
    for real, synthetic in ((by_key[a], by_key[b]) for a, b in recorded_and_synthetic(by_key)):
        models = {
            run: row.run for row in real.rows if not row.is_reference for run in real.group.rows[row.run]
        }
        gaps = {}
        for column in real.first_view:
            of_model = real_minus_synthetic(real.group.scores, synthetic.group.scores, column.id, models)
            gaps[column.id] = {run: gap for run, gap in of_model.items() if isinstance(run, Run)}
        columns = tuple(column for column in real.first_view if gaps[column.id])
        rows = tuple(row for row in real.rows if any(row.run in gaps[column.id] for column in columns))
        if rows:
            tables.append(GapTable(real, synthetic, rows, columns, gaps))
    return tables


def csv_gaps(tables: Sequence[GapTable]) -> str:
    """One line a model and metric with all digits; empty where there is none."""
    return csv_text(
        [
            {
                **table.real.block.key._asdict(),
                "synthetic": table.synthetic.block.key.degradation,
                **dict(zip(("model", "variant", "weights"), row.run[:3], strict=True)),
                "title": row.title,
                "metric": column.id,
                "unit": column.unit,
                "real_mean": gap.real,
                "synthetic_mean": gap.synthetic,
                "real_minus_synthetic": gap.difference,
                "low": gap.interval.low,
                "high": gap.interval.high,
                "n_images": gap.n_images,
                "n_groups": gap.n_groups,
            }
            for table in tables
            for row in table.rows
            for column in table.columns
            if (gap := table.gaps[column.id].get(row.run))
        ]
    )
