"""Quality against cost, and differences to bicubic, as inline SVG.

Drawn here rather than by a plotting library so that colours follow the reader's light or dark mode, names
stand beside their points, and the same store gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import Row
from srbench.reporting.svg import (
    LINE_HEIGHT,
    Anchor,
    Axis,
    Box,
    band,
    family_class,
    grid,
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
from srbench.reporting.text import Measure, is_number, number
from srbench.statistics.bootstrap import Floats
from srbench.statistics.leaderboard import LeaderboardRow

_WIDTH, _HEIGHT = 680.0, 400.0
_FRAME = Box(64.0, 22.0, 664.0, 350.0)
_GUTTER = 96.0
MOST_DOTS = 200
"""Groups of images up to which a forest plot has a dot for each."""
_QUANTILES = 50


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
    names = list(dict.fromkeys(row.family for row in board.rows if row.is_comparable and row.costs))
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
    # A line that would squeeze the models together is left to words at the edge.
    reach = 0.5 * (max(spread) - min(spread))
    near = [mean for mean in ceiling if min(spread) - reach <= mean <= max(spread) + reach]
    vertical = linear_axis([*spread, *near], _FRAME.bottom, _FRAME.top)
    gutter = _GUTTER if any(not point.cost for point in points) else 0.0
    horizontal = log_axis([p.cost for p in points if p.cost], _FRAME.left + gutter + 8, _FRAME.right - 8)
    drawn = [(p, horizontal(p.cost) if p.cost else _FRAME.left + 16, vertical(p.cell.mean)) for p in points]
    anchors = [
        Anchor(x, y, board.short_names[p.row.run], Box(x - 6, y - 6, x + 6, y + 6)) for p, x, y in drawn
    ]
    name = "second scan" if board.exact_truth else "noise ceiling"
    ceiling_line, written = _ceiling(name, ceiling, vertical, board.decimals[metric.id])
    boxes = place_labels(anchors, Box(_FRAME.left + 2, _FRAME.top, _FRAME.right, _FRAME.bottom), written)
    parts = [grid(_FRAME, horizontal, vertical, columns=True)]
    if gutter:  # a logarithmic axis has no zero
        parts.append(band(_FRAME, _FRAME.left, _FRAME.left + gutter))
        parts.append(text(_FRAME.left + gutter / 2, _FRAME.bottom + 16, "none", "middle", "tick"))
    parts.append(ceiling_line)
    for point, x, _ in drawn:
        if math.isfinite(point.cell.low) and math.isfinite(point.cell.high):
            low, high = vertical(point.cell.low), vertical(point.cell.high)
            parts.append(line(x, low, x, high, f"error {family_class(point.row.family)}"))
    parts += [marker(p.row.family, x, y, p.row.badges) for p, x, y in drawn]
    parts += [_label(anchor, box) for anchor, box in zip(anchors, boxes, strict=True)]
    unit = f", {cost.unit}" if cost.unit else ""
    below = f"{cost.title}{unit} (log scale)"
    beside = f"{metric.title} ({metric.unit})" if metric.unit else metric.title
    parts.append(text((_FRAME.left + _FRAME.right) / 2, _HEIGHT - 8, below, "middle", ""))
    parts.append(title_beside(14, (_FRAME.top + _FRAME.bottom) / 2, f"{beside}, {metric.reading}"))
    return svg(_WIDTH, _HEIGHT, f"{metric.title} against {cost.title}", Markup("").join(parts))


def _ceiling(name: str, means: Sequence[float], vertical: Axis, decimals: int) -> tuple[Markup, list[Box]]:
    """A dashed line, or words at the edge where it lies far outside; and where it writes inside the frame."""
    parts, boxes = [], []
    for mean in filter(math.isfinite, means):
        words = f"{name} {number(mean, decimals)}"
        if vertical.low <= mean <= vertical.high:
            y = vertical(mean)
            parts.append(line(_FRAME.left, y, _FRAME.right, y, "ceiling"))
            parts.append(text(_FRAME.right - 4, y - 5, words, "end", "tick"))
            left = _FRAME.right - 4 - text_width(words)
            boxes.append(Box(left, y - 5 - LINE_HEIGHT, _FRAME.right, y + 2))
        else:
            side, y = ("above", _FRAME.top - 4) if mean > vertical.high else ("below", _FRAME.bottom - 5)
            parts.append(text(_FRAME.right, y, f"{words}, {side} this range", "end", "tick"))
    return Markup("").join(parts), boxes


def _label(anchor: Anchor, box: Box) -> Markup:
    near = min(max(anchor.x, box.left), box.right)
    middle = (box.top + box.bottom) / 2
    far = math.hypot(near - anchor.x, middle - anchor.y) > 20
    leader = line(anchor.x, anchor.y, near, middle, "leader")
    words = text((box.left + box.right) / 2, box.bottom - LINE_HEIGHT / 4, anchor.text, "middle", "name")
    return (leader if far else Markup("")) + words


def forest_plots(board: Leaderboard) -> list[Plot]:
    """Differences to bicubic for every metric that has any: mean, interval, and a dot a group of images.

    Of more than ``MOST_DOTS`` groups the dots are quantiles, as many for any number of groups.
    """
    plots = []
    for metric in board.columns:
        cells = [(row, row.cells[metric.id]) for row in board.rows if metric.id in row.cells]
        shown = [(row, cell) for row, cell in cells if row.is_comparable and is_number(cell.diff)]
        sign = 1.0 if metric.direction == "lower" else -1.0
        shown.sort(key=lambda pair: (sign * pair[1].diff, pair[0].identifier))
        plots += [Plot(metric, None, _forest_svg(board, metric, [row for row, _ in shown]))] if shown else []
    return plots


def _forest_svg(board: Leaderboard, metric: Measure, rows: Sequence[Row]) -> Markup:
    cells = [row.cells[metric.id] for row in rows]
    values = [value for cell in cells for value in (cell.diff, cell.diff_low, cell.diff_high)]
    dots = [_dots(board.group_differences[metric.id].get(row.run)) for row in rows]
    values += [dot for of_row in dots for dot in of_row]
    axis = linear_axis([0.0, *filter(math.isfinite, values)], 190.0, 500.0, count=5)
    height = 26.0 * len(rows) + 58
    bottom = height - 44
    parts = [line(axis(v), 4, axis(v), bottom, "grid") for v, _ in axis.ticks]
    parts += [text(axis(v), bottom + 16, words, "middle", "tick") for v, words in axis.ticks]
    parts.append(line(axis(0.0), 4, axis(0.0), bottom, "axis"))
    parts += [
        _forest_row(board, metric, row, of_row, axis, 18 + 26.0 * index)
        for index, (row, of_row) in enumerate(zip(rows, dots, strict=True))
    ]
    better = {"higher": " (right is better)", "lower": " (left is better)", "none": ""}[metric.direction]
    unit = f", {metric.unit}" if metric.unit else ""
    parts.append(text(345, height - 8, f"difference to bicubic{unit}{better}", "middle", ""))
    return svg(_WIDTH, height, f"{metric.title}: difference to bicubic", Markup("").join(parts))


def _dots(differences: Floats | None) -> list[float]:
    """One a group, or quantiles of them at the middles of equal shares."""
    if differences is None or len(differences) <= MOST_DOTS:
        return [] if differences is None else differences.tolist()
    dots: list[float] = np.quantile(differences, (np.arange(_QUANTILES) + 0.5) / _QUANTILES).tolist()
    return dots


def _forest_row(
    board: Leaderboard, metric: Measure, row: Row, dots: Sequence[float], axis: Axis, y: float
) -> Markup:
    kind, cell, decimals = family_class(row.family), row.cells[metric.id], board.diff_decimals[metric.id]
    parts = [text(180, y + 4, board.short_names[row.run], "end", "name")]
    dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>')
    parts += [dot.format(kind, axis(d), y) for d in dots]
    words = number(cell.diff, decimals, signed=True)
    if math.isfinite(cell.diff_low):
        parts.append(line(axis(cell.diff_low), y, axis(cell.diff_high), y, f"error {kind}"))
        low, high = (number(v, decimals, signed=True) for v in (cell.diff_low, cell.diff_high))
        words += f" [{low}, {high}]"
    parts.append(marker(row.family, axis(cell.diff), y, row.badges))
    parts.append(text(512, y + 4, words, "start", "tick"))
    return Markup("").join(parts)
