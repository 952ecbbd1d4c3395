"""Differences to bicubic as inline SVG: the mean with its interval, and a dot for every group of images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from srbench.reporting.axes import Axis, linear_axis
from srbench.reporting.formats import is_number, number
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measures import Measure
from srbench.reporting.plots import Plot
from srbench.reporting.rows import Cell, Row
from srbench.reporting.svg import family_class, line, marker, svg, text

_WIDTH = 680.0


def forest_plots(board: Leaderboard) -> list[Plot]:
    """Differences to bicubic for every metric that has any."""
    found = [(metric, _with_difference(board, metric)) for metric in board.columns]
    return [Plot(metric, None, _forest_svg(board, metric, rows)) for metric, rows in found if rows]


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


def _in_words(cell: Cell, decimals: int) -> str:
    mean, low, high = (number(v, decimals, signed=True) for v in (cell.diff, cell.diff_low, cell.diff_high))
    return f"{mean} [{low}, {high}]" if math.isfinite(cell.diff_low) else mean
