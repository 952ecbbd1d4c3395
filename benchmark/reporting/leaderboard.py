"""The leaderboard of one block: one row a training, one cell a metric."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from srbench.checks.base import CheckResult, badge_of, failures, reasons_unranked
from srbench.metrics.spectrum import REFERENCE_NOISE
from srbench.reporting.blocks import Block
from srbench.reporting.rows import (
    BASELINE,
    RANKED,
    SECOND_SCAN,
    SECTIONS,
    CategoryMean,
    ComparisonGroup,
    Row,
    RowKind,
    by_category,
    cells_of,
    findings_of,
    gather,
    group_differences,
    has_exact_truth,
    row_kind,
)
from srbench.reporting.text import (
    Family,
    Measure,
    column_sets,
    decimals_for,
    is_number,
    measures,
    number,
)
from srbench.statistics.bootstrap import Floats
from srbench.statistics.leaderboard import LeaderboardRow
from srbench.statistics.lengths import Lengths, in_nanometres, unit_of
from srbench.store import CONTROL, RUN, Run
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Leaderboard:
    """A block with everything computed from its rows.

    Attributes:
        block: the runs.
        lengths: the unit of lengths in all that follows.
        group: who is compared with whom.
        findings: run to the results of its checks.
        rows: by kind, then by the first metric, best first.
        columns: the metrics that at least one run has a value of, in printing order.
        empty_columns: the metrics that no run has a value of.
        cost_columns: the properties of the models, in printing order.
        decimals: metric id to decimals that the intervals of its means support.
        diff_decimals: the same for differences to bicubic, whose intervals are narrower.
        not_evidence: the metrics in which invented texture beats bicubic: no evidence of structure here.
        group_differences: metric id to row to the difference from bicubic in each group of images.
        categories: category to the rows' means on its images alone, for the metrics that are seen first.
    """

    block: Block
    lengths: Lengths
    group: ComparisonGroup
    findings: Mapping[Run, tuple[CheckResult, ...]]
    rows: tuple[Row, ...]
    columns: tuple[Measure, ...]
    empty_columns: tuple[Measure, ...]
    cost_columns: tuple[Measure, ...]
    decimals: Mapping[str, int]
    diff_decimals: Mapping[str, int]
    not_evidence: frozenset[str]
    group_differences: Mapping[str, Mapping[Run, Floats]]
    categories: Mapping[str, Mapping[Run, Mapping[str, CategoryMean]]]

    @cached_property
    def families(self) -> list[Family]:
        """The metric columns in the sets that are shown together, those to be seen first in front."""
        return column_sets(self.columns)

    @property
    def first_view(self) -> tuple[Measure, ...]:
        """The metrics that are seen before anything is chosen."""
        return self.families[0].measures if self.families else ()

    @cached_property
    def exact_truth(self) -> bool:
        """Whether HR is drawn: free of noise, and its geometry known."""
        return any(map(has_exact_truth, (*self.block.complete, *self.block.absent)))

    @property
    def section_titles(self) -> Mapping[RowKind, str]:
        """The sections of the table in order, under the names that they have here."""
        return {**SECTIONS, "ceiling": SECOND_SCAN} if self.exact_truth else SECTIONS

    @property
    def lead(self) -> Measure | None:
        """The metric that orders the rows and whose rank intervals are printed."""
        return _lead(self.columns)

    @property
    def lengths_in_words(self) -> str:
        """The unit of lengths and the reason; empty where neither a length nor a pixel size is known."""
        has_lengths = any(unit_of(column.id) == "px" for column in self.columns)
        return self.lengths.why if has_lengths or self.lengths.unit == "nm" else ""

    @cached_property
    def reference_noise(self) -> str:
        """What was done about the noise of recorded references; empty where nothing was."""
        said = {note for manifest in self.block.complete for note in manifest.notes}
        return "; ".join(words for words in REFERENCE_NOISE.values() if words in said)

    @cached_property
    def short_names(self) -> Mapping[Run, str]:
        """Names for charts: the title, with what tells rows of one title apart."""
        return {row.run: _short_name(row, self.rows) for row in self.rows}

    @cached_property
    def marks(self) -> Mapping[Run, str]:
        """What parts of the page that belong to a row are marked with."""
        return {row.run: str(index) for index, row in enumerate(self.rows)}

    @property
    def n_images(self) -> int:
        """Images of the most complete metric."""
        return max((row.n_images for row in self.rows), default=0)

    @property
    def n_groups(self) -> int:
        """Independent groups behind the most complete metric."""
        return max((row.n_groups for row in self.rows), default=0)

    def section(self, kind: RowKind) -> list[Row]:
        """The rows of one section."""
        return [row for row in self.rows if row.kind == kind]


def leaderboard(
    block: Block, only: Collection[str] | None = None, progress: ProgressCallback = silent
) -> Leaderboard:
    """Compute the leaderboard of a block; ``only`` names the metrics, all when None."""
    scores, lengths = in_nanometres(block.scores)
    every = measures(scores.loc[scores["image"] != "", "metric"].unique(), lengths=lengths)
    every = [measure for measure in every if only is None or measure.name in only]
    findings = findings_of(block)
    trainings = gather(block.complete, findings)
    kinds = {runs[0].key.run: row_kind(runs[0], findings[runs[0].key.run]) for runs in trainings}
    group = ComparisonGroup(
        scores,
        {runs[0].key.run: tuple(manifest.key.run for manifest in runs) for runs in trainings},
        frozenset(run for run, kind in kinds.items() if kind in RANKED),
        BASELINE,
        {run: submitted.submission.attempts for run, submitted in block.submitted.items()},
    )
    cells = {}
    for done, column in enumerate(every, 1):
        cells[column.id] = cells_of(group, column)
        progress(ProgressEvent(block.title, done, len(every), "metrics"))
    filled = [c for c in every if any(math.isfinite(cell.mean) for cell in cells[c.id].values())]
    columns = [column for family in column_sets(filled) for column in family.measures]
    not_evidence = frozenset(column.id for column in columns if _invention_pays(cells[column.id], column))
    for column in columns:
        if column.id in not_evidence or column.family == "perceptual":
            cells[column.id] = {run: replace(c, best=False) for run, c in cells[column.id].items()}
    rows = []
    for runs in trainings:
        run = runs[0].key.run
        costs, cost_reasons = _costs(scores, [manifest.key.run for manifest in runs])
        rows.append(
            Row(
                runs[0],
                kinds[run],
                {metric: by_row[run] for metric, by_row in cells.items() if run in by_row},
                costs,
                cost_reasons,
                reasons_unranked(runs[0], findings[run]),
                repeats=tuple(runs[1:]),
                faults={badge_of(finding): finding.detail for finding in failures(findings[run])},
            )
        )
    labels = Counter(row.label for row in rows)
    rows = [replace(r, weights_start=r.run.weights[:6]) if labels[r.label] > 1 else r for r in rows]
    return Leaderboard(
        block,
        lengths,
        group,
        findings,
        rows=tuple(sorted(rows, key=lambda row: _order(row, _lead(columns)))),
        columns=tuple(columns),
        empty_columns=tuple(column for column in every if column not in filled),
        cost_columns=tuple(measures(scores.loc[scores["image"] == "", "metric"].unique(), family="cost")),
        decimals={
            name: decimals_for((c.high - c.low) / 2 for c in by_row.values())
            for name, by_row in cells.items()
        },
        diff_decimals={
            name: decimals_for((c.diff_high - c.diff_low) / 2 for c in by_row.values())
            for name, by_row in cells.items()
        },
        not_evidence=not_evidence,
        group_differences={column.id: group_differences(group, column.id) for column in columns},
        categories=by_category(group, column_sets(columns)[0].measures if columns else ()),
    )


def spread_over_seeds(board: Leaderboard) -> list[str]:
    """How much a repeated training moves a mean: one line a row of several seeds and metric seen first."""
    lines = []
    for row in board.rows:
        for column in board.first_view if row.repeats else ():
            cell = row.cells.get(column.id)
            if column.direction == "none" or cell is None or not is_number(cell.seed_sd):
                continue
            decimals = board.decimals[column.id] + 1
            unit = f" {column.unit}" if column.unit else ""
            lines.append(
                f"{board.short_names[row.run]}, {column.title} {number(cell.mean, decimals)} ± "
                f"{number(cell.seed_sd, decimals)}{unit} ({cell.n_seeds} seeds)"
            )
    return lines


def _lead(columns: Sequence[Measure]) -> Measure | None:
    return next((column for column in columns if column.direction != "none"), None)


def _invention_pays(by_row: Mapping[Run, LeaderboardRow], column: Measure) -> bool:
    """Whether a control that invents texture beats bicubic in a metric."""
    sign = {"higher": 1.0, "lower": -1.0, "none": 0.0}[column.direction]
    return any(c.differs and sign * c.diff > 0 for run, c in by_row.items() if run.model == CONTROL)


def _short_name(row: Row, rows: Sequence[Row]) -> str:
    """The title, and of what else is known of the row that which its namesakes do not share."""
    namesakes = [other.parts for other in rows if other.title == row.title]
    shared = set.intersection(*map(set, namesakes))
    return " ".join([row.title, ", ".join(part for part in row.parts if part not in shared)]).strip()


def _costs(scores: pd.DataFrame, runs: Sequence[Run]) -> tuple[dict[str, float], dict[str, str]]:
    """Each property, the mean over seeds where it is measured, and why one has no value."""
    rows = scores[(scores["image"] == "") & (scores["model"] == runs[0].model)]
    values: dict[str, list[float]] = {}
    reasons: dict[str, str] = {}
    for record in rows.to_dict("records"):
        if tuple(record[name] for name in RUN) not in runs:
            continue
        if math.isfinite(record["value"]):
            values.setdefault(str(record["metric"]), []).append(float(record["value"]))
        elif record["reason"]:
            reasons[str(record["metric"])] = str(record["reason"])
    means = {metric: sum(numbers) / len(numbers) for metric, numbers in values.items()}
    return means, {metric: why for metric, why in reasons.items() if metric not in means}


def _order(row: Row, lead: Measure | None) -> tuple[int, float, str, str]:
    """Sections in order; within one the best mean of the first directed metric, missing ones last."""
    cell = row.cells.get(lead.id) if lead else None
    mean = cell.mean if cell else math.nan
    merit = mean if lead and lead.direction == "lower" else -mean
    merit = merit if math.isfinite(merit) else math.inf
    return list(SECTIONS).index(row.kind), merit, row.manifest.key.model, row.identifier
