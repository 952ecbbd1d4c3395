"""Differences to bicubic as inline SVG: the mean with its interval, and a dot for every group of images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from srbench.reporting.axes import Axis, linear_axis
from srbench.reporting.formats import is_number, number
from srbench.reporting.leaderboard import Cell, Leaderboard, Row
from srbench.reporting.measures import Measure
from srbench.reporting.plots import Plot, short_name
from srbench.reporting.svg import family_class, line, marker, svg, text

_WIDTH = 680.0


def forest_plots(board: Leaderboard) -> list[Plot]:
    """Differences to bicubic for every metric that has any."""
    found = [(metric, _with_difference(board, metric)) for metric in board.columns]
    return [Plot(metric, None, _forest_svg(board, metric, rows)) for metric, rows in found if rows]


def _with_difference(board: Leaderboard, metric: Measure) -> list[Row]:
    rows = [row for row in board.rows if metric.id in row.cells and is_number(row.cells[metric.id].diff)]
    sign = 1.0 if metric.direction == "lower" else -1.0
    return sorted(rows, key=lambda row: (sign * row.cells[metric.id].diff, row.identifier))


def _forest_svg(board: Leaderboard, metric: Measure, rows: Sequence[Row]) -> Markup:
    decimals = board.diff_decimals[metric.id]
    cells = [row.cells[metric.id] for row in rows]
    dots = [board.group_differences[metric.id].get(row.run, ()) for row in rows]
    values = [v for c in cells for v in (c.diff, c.diff_low, c.diff_high) if math.isfinite(v)]
    axis = linear_axis([0.0, *values, *(dot for group in dots for dot in group)], 190.0, 500.0, count=5)
    height = 26.0 * len(rows) + 58
    bottom = height - 44
    parts = [line(f"{axis(v):.1f}", 4, f"{axis(v):.1f}", bottom, "grid") for v, _ in axis.ticks]
    parts += [text(axis(v), bottom + 16, tick, "middle", "tick") for v, tick in axis.ticks]
    parts.append(line(f"{axis(0.0):.1f}", 4, f"{axis(0.0):.1f}", bottom, "axis"))
    for index, (row, cell, group) in enumerate(zip(rows, cells, dots, strict=True)):
        parts.append(_forest_row(row, cell, group, axis, 18 + 26.0 * index, decimals))
    better = {"higher": " (right is better)", "lower": " (left is better)", "none": ""}[metric.direction]
    unit = f", {metric.unit}" if metric.unit else ""
    parts.append(text(345, height - 8, f"difference to bicubic{unit}{better}", "middle", ""))
    return svg(_WIDTH, height, f"{metric.title}: difference to bicubic", Markup("").join(parts))


def _forest_row(row: Row, cell: Cell, dots: Sequence[float], axis: Axis, y: float, decimals: int) -> Markup:
    kind = family_class(row.family)
    parts = [text(180, y + 4, short_name(row), "end", "name")]
    dot = Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>')
    parts += [dot.format(kind, axis(value), y) for value in dots]
    words = number(cell.diff, decimals, signed=True)
    if math.isfinite(cell.diff_low):
        low, high = f"{axis(cell.diff_low):.1f}", f"{axis(cell.diff_high):.1f}"
        parts.append(line(low, y, high, y, f"error {kind}"))
        bounds = [number(v, decimals, signed=True) for v in (cell.diff_low, cell.diff_high)]
        words += f" [{bounds[0]}, {bounds[1]}]"
    parts.append(marker(row.family, axis(cell.diff), y, row.badges))
    parts.append(text(512, y + 4, words, "start", "tick"))
    return Markup("").join(parts)
