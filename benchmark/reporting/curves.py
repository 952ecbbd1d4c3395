"""Curves of the models over detail size: means of each stored curve, where it ends to agree, and drawings.

Points are averaged as every metric is: images to groups, groups to categories, categories with equal weight.
A drawing has one line a model and the interval of one model at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from markupsafe import Markup

from srbench.checks.base import LEAKING
from srbench.metrics.curve import Curve, list_curves
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import Row
from srbench.reporting.svg import (
    Axis,
    Box,
    band,
    family_class,
    grid,
    line,
    linear_axis,
    svg,
    text,
    title_beside,
)
from srbench.reporting.text import csv_text, length, number
from srbench.statistics.interval import interval
from srbench.statistics.lengths import common_size
from srbench.statistics.score_matrix import ScoreMatrix
from srbench.store import Run

AGREES = 0.5
"""Correlation from which on detail counts as the same in both images."""
_WIDTH, _HEIGHT = 680.0, 380.0
_FRAME = Box(52.0, 22.0, 668.0, 326.0)
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2")
_REFERENCE_DASHES = {"ceiling": "1 4", "control": "1 2 5 2"}


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
    sets: list[CurveSet] = []
    for curve in list_curves():
        if not stored & {point.id for point in curve.points}:
            continue
        matrices = [
            (x, matrix)
            for x, point in zip(curve.x, curve.points, strict=True)
            if (matrix := board.group.matrix(point.id)) is not None
        ]
        sets.append(CurveSet(curve, "", _model_curves(board, matrices, True)))
        categories = sorted({category for _, matrix in matrices for category in matrix.categories})
        for category in categories if len(categories) > 1 else ():
            parts = [(x, m.of_category[category]) for x, m in matrices if category in m.of_category]
            sets.append(CurveSet(curve, category, _model_curves(board, parts, False)))
    return sets


def csv_curves(board: Leaderboard, sets: Sequence[CurveSet]) -> str:
    """One line a row, category and point with all digits; empty without curves."""
    records = [
        {
            **model.row.run._asdict(),
            "title": board.short_names[model.row.run],
            "curve": curve_set.curve.name,
            "category": curve_set.category,
            **asdict(point),
        }
        for curve_set in sets
        for model in curve_set.lines
        for point in model.points
    ]
    return csv_text(records)


def _model_curves(
    board: Leaderboard, matrices: Iterable[tuple[float, ScoreMatrix]], with_interval: bool
) -> tuple[ModelCurve, ...]:
    points: dict[Run, list[CurvePoint]] = {}
    for x, matrix in matrices:
        for method in matrix.methods:
            clusters = matrix.clusters(method)
            if len(clusters.values):
                low, high = interval(clusters)[:2] if with_interval else (math.nan, math.nan)
                point = CurvePoint(x, clusters.mean, low, high, clusters.images, len(clusters.values))
                points.setdefault(board.group.row_of[method.runs[0]], []).append(point)
    shown = [row for row in board.rows if points.get(row.run) and LEAKING not in row.badges]
    return tuple(ModelCurve(row, tuple(points[row.run])) for row in shown)


@dataclass(frozen=True)
class CurvePlot:
    """A drawing of one curve of all models on one category of images (empty: all)."""

    name: str
    title: str
    explanation: str
    category: str
    svg: Markup
    words: str


@dataclass(frozen=True)
class LineKey:
    """A line of the legend; ``mark`` is what the lines of a model are marked with in the drawings."""

    mark: str
    name: str
    sample: Markup


def curve_plots(board: Leaderboard, sets: Sequence[CurveSet]) -> list[CurvePlot]:
    """A drawing for each set of curves."""
    return [
        CurvePlot(
            shown.curve.name,
            shown.curve.title,
            shown.curve.explanation,
            shown.category,
            _drawing(board, shown),
            _in_words(board, shown),
        )
        for shown in sets
        if shown.lines
    ]


def line_keys(board: Leaderboard, sets: Sequence[CurveSet]) -> list[LineKey]:
    """What each line looks like, in the order of the table."""
    shown = {model.row.run for curve_set in sets for model in curve_set.lines}
    return [
        LineKey(
            board.marks[row.run],
            board.short_names[row.run],
            _path("curve", row, board, [(0.0, 7.0), (30.0, 7.0)]),
        )
        for row in board.rows
        if row.run in shown
    ]


def _drawing(board: Leaderboard, shown: CurveSet) -> Markup:
    means = [point.mean for model in shown.lines for point in model.points]
    vertical = linear_axis([0.0, 1.0, *means], _FRAME.bottom, _FRAME.top)
    ticks = tuple((step / 5, f"{step / 5:.1f}") for step in range(6))
    across = Axis(0.0, max(1.0, *shown.curve.x), _FRAME.left, _FRAME.right, ticks)
    scale = board.block.key.scale
    # What is finer than LR can carry is tinted.
    parts = [band(_FRAME, across(1 / scale), _FRAME.right)] if scale > 1 else []
    parts += [grid(_FRAME, across, vertical, columns=False), _limits(board, across, vertical)]
    parts += [_band(board, model, across, vertical) for model in shown.lines]
    parts += [_path("curve", m.row, board, _positions(m, across, vertical)) for m in shown.lines]
    parts.append(text((_FRAME.left + _FRAME.right) / 2, _HEIGHT - 10, shown.curve.x_title, "middle", ""))
    parts.append(title_beside(13, (_FRAME.top + _FRAME.bottom) / 2, shown.curve.title))
    return svg(_WIDTH, _HEIGHT, _in_words(board, shown), Markup("").join(parts))


def _limits(board: Leaderboard, across: Axis, vertical: Axis) -> Markup:
    """The threshold of agreement, and the finest detail that LR can carry."""
    scale, pixel_nm = board.block.key.scale, common_size(board.lengths.sizes.values())
    period = (
        f", a period of {length(2 * scale * pixel_nm)}" if board.lengths.unit == "nm" and pixel_nm else ""
    )
    nyquist, level = across(1 / scale), vertical(AGREES)
    words = (
        f"LR Nyquist 1/(2·{scale}) = {1 / (2 * scale):.3g} cycles a pixel{period}; finer than LR can carry →"
    )
    return Markup("").join(
        (
            line(nyquist, _FRAME.top, nyquist, _FRAME.bottom, "limit"),
            text(min(nyquist, _FRAME.right - 330 - 6 * len(period)), _FRAME.top - 7, words, "start", "tick"),
            line(_FRAME.left, level, _FRAME.right, level, "ceiling"),
            text(_FRAME.right - 4, level - 5, f"{AGREES:g}", "end", "tick"),
        )
    )


def _band(board: Leaderboard, model: ModelCurve, across: Axis, vertical: Axis) -> Markup:
    """The 95 % interval of one model and its line once more, in front; shown when it is chosen."""
    bounded = [point for point in model.points if math.isfinite(point.low)]
    above = [(across(point.x), vertical(point.high)) for point in bounded]
    below = [(across(point.x), vertical(point.low)) for point in reversed(bounded)]
    outline = _data([*above, *below]) + "Z" if bounded else ""
    filled = Markup('<path class="band {}" d="{}"/>').format(family_class(model.row.family), outline)
    strong = _path("curve chosen", model.row, board, _positions(model, across, vertical))
    group = Markup('<g data-item="" data-band="{}" hidden="">{}{}</g>')
    return group.format(board.marks[model.row.run], filled if outline else Markup(""), strong)


def _positions(model: ModelCurve, across: Axis, vertical: Axis) -> list[tuple[float, float]]:
    return [(across(point.x), vertical(point.mean)) for point in model.points]


def _path(kind: str, row: Row, board: Leaderboard, positions: Sequence[tuple[float, float]]) -> Markup:
    markup = Markup('<path class="{} {}" stroke-dasharray="{}" d="{}"/>')
    return markup.format(kind, family_class(row.family), _dash(board, row), _data(positions))


def _dash(board: Leaderboard, row: Row) -> str:
    """Lines of one colour are told apart by their dashes."""
    if row.is_reference:
        return _REFERENCE_DASHES[row.kind]
    kind = family_class(row.family)
    alike = [o.run for o in board.rows if family_class(o.family) == kind and not o.is_reference]
    return _DASHES[alike.index(row.run) % len(_DASHES)] or "none"


def _data(positions: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in positions)


def _in_words(board: Leaderboard, shown: CurveSet) -> str:
    """What the drawing shows, for who does not see it."""
    where = f"images of category {shown.category}" if shown.category else "all images"
    ends = [
        f"{board.short_names[m.row.run]} {number(m.end, 2) if math.isfinite(m.end) else 'nowhere'}"
        for m in shown.lines
    ]
    return (
        f"Mean {shown.curve.title} of {len(ends)} models on {where}, by {shown.curve.x_title}; the LR "
        f"Nyquist frequency lies at {1 / board.block.key.scale:.3g}. It first falls below {AGREES:g} at: "
        f"{', '.join(ends)}."
    )
