"""Quality against cost, and differences to bicubic, as inline SVG.

Drawn here rather than by a plotting library so that colours follow the reader's light or dark mode, names
stand beside their points, and the same store gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from srbench.evaluation.statistics import LeaderboardRow
from srbench.reporting.formats import Measure, is_number, number
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import Row
from srbench.reporting.svg import (
    LINE_HEIGHT,
    Anchor,
    Axis,
    Box,
    family_class,
    line,
    linear_axis,
    log_axis,
    marker,
    place_labels,
    svg,
    text,
    text_width,
    title_beside,
)

_WIDTH, _HEIGHT = 680.0, 400.0
_FRAME = Box(64.0, 22.0, 664.0, 350.0)
_GUTTER = 96.0


@dataclass(frozen=True)
class Plot:
    """A drawing for one metric (and one cost)."""

    metric: Measure
    cost: Measure | None
    svg: Markup


@dataclass(frozen=True)
class _Point:
    row: Row
    cell: LeaderboardRow
    cost: float


def cost_plots(board: Leaderboard) -> list[Plot]:
    """Quality against cost for the directed metrics seen first and every cost that at least two rows have."""
    return [
        Plot(metric, cost, _cost_svg(board, metric, cost, points))
        for metric in board.first_view
        if metric.direction != "none"
        for cost in board.cost_columns
        if len(points := _points(board, metric, cost)) >= 2
    ]


def families_shown(board: Leaderboard) -> list[tuple[str, Markup]]:
    """Legend: families of the plotted models with their marker."""
    names = list(dict.fromkeys(row.family for row in board.rows if row.is_comparable))
    return [(name or "other", marker(name, 7, 7)) for name in names]


def _points(board: Leaderboard, metric: Measure, cost: Measure) -> list[_Point]:
    points = []
    for row in board.rows:
        cell, value = row.cells.get(metric.id), row.costs.get(cost.id, math.nan)
        free = row.kind == "interpolation" and not value > 0
        if cell is not None and is_number(cell.mean) and row.is_comparable and (free or value > 0):
            points.append(_Point(row, cell, value if value > 0 else 0.0))
    return points if any(point.cost > 0 for point in points) else []


def _cost_svg(board: Leaderboard, metric: Measure, cost: Measure, points: Sequence[_Point]) -> Markup:
    ceiling = [row.cells[metric.id].mean for row in board.section("ceiling") if metric.id in row.cells]
    spread = [v for p in points for v in (p.cell.low, p.cell.mean, p.cell.high) if math.isfinite(v)]
    near = [mean for mean in ceiling if _is_near(mean, spread)]
    vertical = linear_axis([*spread, *near], _FRAME.bottom, _FRAME.top)
    gutter = _GUTTER if any(not point.cost for point in points) else 0.0
    horizontal = log_axis([p.cost for p in points if p.cost], _FRAME.left + gutter + 8, _FRAME.right - 8)
    drawn = [(p, horizontal(p.cost) if p.cost else _FRAME.left + 16, vertical(p.cell.mean)) for p in points]
    anchors = [
        Anchor(x, y, board.short_names[p.row.run], Box(x - 6, y - 6, x + 6, y + 6)) for p, x, y in drawn
    ]
    written = _ceiling_words(ceiling, vertical, board.decimals[metric.id])
    boxes = place_labels(anchors, Box(_FRAME.left + 2, _FRAME.top, _FRAME.right, _FRAME.bottom), written)
    parts = [
        _grid(horizontal, vertical),
        _gutter(gutter, cost),
        _ceiling(ceiling, vertical, board.decimals[metric.id]),
    ]
    parts += [_error_bar(p, x, vertical) for p, x, _ in drawn]
    parts += [marker(p.row.family, x, y, p.row.badges) for p, x, y in drawn]
    parts += [_label(anchor, box) for anchor, box in zip(anchors, boxes, strict=True)]
    parts += [_axis_titles(metric, cost)]
    title = f"{metric.title} against {cost.title}"
    return svg(_WIDTH, _HEIGHT, title, Markup("").join(parts))


def _grid(horizontal: Axis, vertical: Axis) -> Markup:
    parts = []
    for value, words in vertical.ticks:
        y = f"{vertical(value):.1f}"
        parts.append(line(_FRAME.left, y, _FRAME.right, y, "grid"))
        parts.append(text(_FRAME.left - 8, float(y) + 4, words, "end", "tick"))
    for value, words in horizontal.ticks:
        x = f"{horizontal(value):.1f}"
        parts.append(line(x, _FRAME.top, x, _FRAME.bottom, "grid"))
        parts.append(text(float(x), _FRAME.bottom + 18, words, "middle", "tick"))
    parts.append(line(_FRAME.left, _FRAME.bottom, _FRAME.right, _FRAME.bottom, "axis"))
    return Markup("").join(parts)


def _gutter(width: float, cost: Measure) -> Markup:
    """The strip at the left where a logarithmic axis has no place for zero."""
    if not width:
        return Markup("")
    right = _FRAME.left + width
    middle = _FRAME.left + width / 2
    strip = Markup('<rect class="gutter" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        _FRAME.left, _FRAME.top, right - _FRAME.left, _FRAME.bottom - _FRAME.top
    )
    return strip + text(middle, _FRAME.bottom + 18, "none", "middle", "tick")


def _is_near(mean: float, spread: Sequence[float]) -> bool:
    """Whether a line at ``mean`` fits without squeezing the models together."""
    reach = 0.5 * (max(spread) - min(spread))
    return min(spread) - reach <= mean <= max(spread) + reach


def _ceiling(means: Sequence[float], vertical: Axis, decimals: int) -> Markup:
    """A dashed line, or a remark at the edge where it lies far outside."""
    parts = []
    for mean in filter(math.isfinite, means):
        words = f"noise ceiling {number(mean, decimals)}"
        if vertical.low <= mean <= vertical.high:
            y = vertical(mean)
            parts.append(line(_FRAME.left, f"{y:.1f}", _FRAME.right, f"{y:.1f}", "ceiling"))
            parts.append(text(_FRAME.right - 4, y - 5, words, "end", "tick"))
        else:
            side, y = ("above", _FRAME.top - 4) if mean > vertical.high else ("below", _FRAME.bottom - 5)
            parts.append(text(_FRAME.right, y, f"{words}, {side} this range", "end", "tick"))
    return Markup("").join(parts)


def _ceiling_words(means: Sequence[float], vertical: Axis, decimals: int) -> list[Box]:
    """Where ``_ceiling`` writes inside the frame."""
    inside = [mean for mean in means if vertical.low <= mean <= vertical.high]
    widths = [text_width(f"noise ceiling {number(mean, decimals)}") for mean in inside]
    return [
        Box(_FRAME.right - 4 - width, vertical(mean) - 5 - LINE_HEIGHT, _FRAME.right, vertical(mean) + 2)
        for mean, width in zip(inside, widths, strict=True)
    ]


def _error_bar(point: _Point, x: float, vertical: Axis) -> Markup:
    if not (math.isfinite(point.cell.low) and math.isfinite(point.cell.high)):
        return Markup("")
    low, high = vertical(point.cell.low), vertical(point.cell.high)
    return line(
        f"{x:.1f}", f"{low:.1f}", f"{x:.1f}", f"{high:.1f}", f"error {family_class(point.row.family)}"
    )


def _label(anchor: Anchor, box: Box) -> Markup:
    near = (
        anchor.x
        if box.left <= anchor.x <= box.right
        else min((box.left, box.right), key=lambda v: abs(v - anchor.x))
    )
    middle = (box.top + box.bottom) / 2
    far = math.hypot(near - anchor.x, middle - anchor.y) > 20
    leader = line(f"{anchor.x:.1f}", f"{anchor.y:.1f}", f"{near:.1f}", f"{middle:.1f}", "leader")
    words = text((box.left + box.right) / 2, box.bottom - LINE_HEIGHT / 4, anchor.text, "middle", "name")
    return (leader if far else Markup("")) + words


def _axis_titles(metric: Measure, cost: Measure) -> Markup:
    unit = f", {cost.unit}" if cost.unit else ""
    below = text(
        (_FRAME.left + _FRAME.right) / 2, _HEIGHT - 8, f"{cost.title}{unit} (log scale)", "middle", ""
    )
    title = f"{metric.title} ({metric.unit})" if metric.unit else metric.title
    return below + title_beside(14, (_FRAME.top + _FRAME.bottom) / 2, f"{title}, {metric.reading}")


_WIDTH = 680.0


def forest_plots(board: Leaderboard) -> list[Plot]:
    """Differences to bicubic for every metric that has any."""
    pairs = [(metric, _with_difference(board, metric)) for metric in board.columns]
    return [Plot(metric, None, _forest_svg(board, metric, rows)) for metric, rows in pairs if rows]


def _with_difference(board: Leaderboard, metric: Measure) -> list[Row]:
    shown = [row for row in board.rows if row.is_comparable and metric.id in row.cells]
    rows = [row for row in shown if is_number(row.cells[metric.id].diff)]
    sign = 1.0 if metric.direction == "lower" else -1.0
    return sorted(rows, key=lambda row: (sign * row.cells[metric.id].diff, row.identifier))


def _forest_svg(board: Leaderboard, metric: Measure, rows: Sequence[Row]) -> Markup:
    axis = linear_axis([0.0, *_extent(board, metric, rows)], 190.0, 500.0, count=5)
    height = 26.0 * len(rows) + 58
    bottom = height - 44
    parts = [line(f"{axis(v):.1f}", 4, f"{axis(v):.1f}", bottom, "grid") for v, _ in axis.ticks]
    parts += [text(axis(v), bottom + 16, words, "middle", "tick") for v, words in axis.ticks]
    parts.append(line(f"{axis(0.0):.1f}", 4, f"{axis(0.0):.1f}", bottom, "axis"))
    parts += [_forest_row(board, metric, row, axis, 18 + 26.0 * index) for index, row in enumerate(rows)]
    better = {"higher": " (right is better)", "lower": " (left is better)", "none": ""}[metric.direction]
    unit = f", {metric.unit}" if metric.unit else ""
    parts.append(text(345, height - 8, f"difference to bicubic{unit}{better}", "middle", ""))
    return svg(_WIDTH, height, f"{metric.title}: difference to bicubic", Markup("").join(parts))


def _extent(board: Leaderboard, metric: Measure, rows: Sequence[Row]) -> list[float]:
    cells = [row.cells[metric.id] for row in rows]
    ends = [value for cell in cells for value in (cell.diff, cell.diff_low, cell.diff_high)]
    dots = [dot for row in rows for dot in board.group_differences[metric.id].get(row.run, ())]
    return [value for value in (*ends, *dots) if math.isfinite(value)]


def _forest_row(board: Leaderboard, metric: Measure, row: Row, axis: Axis, y: float) -> Markup:
    kind, cell = family_class(row.family), row.cells[metric.id]
    parts = [text(180, y + 4, board.short_names[row.run], "end", "name")]
    dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>')
    parts += [dot.format(kind, axis(d), y) for d in board.group_differences[metric.id].get(row.run, ())]
    if math.isfinite(cell.diff_low):
        low, high = f"{axis(cell.diff_low):.1f}", f"{axis(cell.diff_high):.1f}"
        parts.append(line(low, y, high, y, f"error {kind}"))
    parts.append(marker(row.family, axis(cell.diff), y, row.badges))
    parts.append(text(512, y + 4, _in_words(cell, board.diff_decimals[metric.id]), "start", "tick"))
    return Markup("").join(parts)


def _in_words(cell: LeaderboardRow, decimals: int) -> str:
    mean, low, high = (number(v, decimals, signed=True) for v in (cell.diff, cell.diff_low, cell.diff_high))
    return f"{mean} [{low}, {high}]" if math.isfinite(cell.diff_low) else mean
