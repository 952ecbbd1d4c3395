"""Curves of the models over detail size: the means of each stored curve, and where it ends to agree.

Points are averaged as every metric is: images to groups, groups to categories, categories with equal weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from srbench.evaluation.intervals import interval
from srbench.evaluation.metrics.curve import Curve, list_curves
from srbench.evaluation.panel import Panel
from srbench.reporting.cells import Cohort
from srbench.reporting.formats import csv_text
from srbench.reporting.guards import RunId
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import LEAKING, Row

AGREES = 0.5
"""Correlation from which on detail counts as the same in both images."""


@dataclass(frozen=True)
class CurvePoint:
    """Mean of a curve at one position; the ends of its 95 % interval are NaN where none was computed."""

    x: float
    mean: float
    low: float
    high: float
    n_images: int
    n_groups: int


@dataclass(frozen=True)
class ModelCurve:
    """The mean curve of one row of the table, at the points that have a value."""

    row: Row
    points: tuple[CurvePoint, ...]

    @property
    def end(self) -> float:
        """Position at which it first falls below ``AGREES``; NaN where it never does."""
        for before, after in zip(self.points, self.points[1:], strict=False):
            if before.mean >= AGREES > after.mean:
                return before.x + (after.x - before.x) * (before.mean - AGREES) / (before.mean - after.mean)
        below = bool(self.points) and self.points[0].mean < AGREES
        return self.points[0].x if below else math.nan


@dataclass(frozen=True)
class CurveSet:
    """One curve of all rows on the images of one category, or of all (``category`` empty)."""

    curve: Curve
    category: str
    lines: tuple[ModelCurve, ...]


def curve_sets(board: Leaderboard) -> list[CurveSet]:
    """For every stored curve: all images with intervals, then each category without."""
    stored = set(board.block.scores["metric"].unique())
    found: list[CurveSet] = []
    for curve in list_curves():
        if stored & {point.id for point in curve.points}:
            found += _sets_of(board, curve)
    return found


def csv_curves(board: Leaderboard, sets: Sequence[CurveSet]) -> str:
    """One line a row, category and point with all digits; empty without curves."""
    records = [
        {
            **dict(zip(("model", "variant", "weights", "seed"), model.row.run, strict=True)),
            **{"title": board.short_names[model.row.run], "curve": one.curve.name, "category": one.category},
            **asdict(point),
        }
        for one in sets
        for model in one.lines
        for point in model.points
    ]
    return csv_text(records)


def _sets_of(board: Leaderboard, curve: Curve) -> Iterable[CurveSet]:
    panels = [(x, board.cohort.panel(point.id)) for x, point in zip(curve.x, curve.points, strict=True)]
    known = [(x, panel) for x, panel in panels if panel is not None]
    kinds = sorted({kind for _, panel in known for kind in panel.categories})
    yield CurveSet(curve, "", _lines(board, known, True))
    for kind in kinds if len(kinds) > 1 else ():
        parts = [(x, panel.of_category[kind]) for x, panel in known if kind in panel.of_category]
        yield CurveSet(curve, kind, _lines(board, parts, False))


def _lines(
    board: Leaderboard, panels: Sequence[tuple[float, Panel]], with_interval: bool
) -> tuple[ModelCurve, ...]:
    points: dict[RunId, list[CurvePoint]] = {}
    for x, panel in panels:
        for run, point in _points(board.cohort, x, panel, with_interval):
            points.setdefault(run, []).append(point)
    shown = [row for row in board.rows if points.get(row.run) and LEAKING not in row.badges]
    return tuple(ModelCurve(row, tuple(points[row.run])) for row in shown)


def _points(
    cohort: Cohort, x: float, panel: Panel, with_interval: bool
) -> Iterable[tuple[RunId, CurvePoint]]:
    for entry in panel.entries:
        clusters = panel.clusters(entry)
        if len(clusters.values):
            low, high = interval(clusters)[:2] if with_interval else (math.nan, math.nan)
            point = CurvePoint(x, clusters.mean, low, high, clusters.images, len(clusters.values))
            yield cohort.row_of(entry.runs[0]), point
