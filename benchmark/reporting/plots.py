"""Quality against cost as inline SVG.

Drawn here rather than by a plotting library so that colours follow the reader's light or dark mode, names
stand beside their points, and the same store gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from srbench.reporting.axes import Axis, linear_axis, log_axis
from srbench.reporting.formats import is_number, number
from srbench.reporting.labels import LINE_HEIGHT, Anchor, Box, place, text_width
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measures import Measure
from srbench.reporting.rows import Cell, Row
from srbench.reporting.svg import family_class, line, marker, svg, text

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
    cell: Cell
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
    found = []
    for row in board.rows:
        cell, value = row.cells.get(metric.id), row.costs.get(cost.id, math.nan)
        free = row.standing == "interpolation" and not value > 0
        if cell is not None and is_number(cell.mean) and row.is_comparable and (free or value > 0):
            found.append(_Point(row, cell, value if value > 0 else 0.0))
    return found if any(point.cost > 0 for point in found) else []


def _cost_svg(board: Leaderboard, metric: Measure, cost: Measure, points: Sequence[_Point]) -> Markup:
    ceiling = [row.cells[metric.id].mean for row in board.section("ceiling") if metric.id in row.cells]
    spread = [v for p in points for v in (p.cell.low, p.cell.mean, p.cell.high) if math.isfinite(v)]
    near = [mean for mean in ceiling if _is_near(mean, spread)]
    vertical = linear_axis([*spread, *near], _FRAME.bottom, _FRAME.top)
    gutter = _GUTTER if any(not point.cost for point in points) else 0.0
    horizontal = log_axis([p.cost for p in points if p.cost], _FRAME.left + gutter + 8, _FRAME.right - 8)
    places = [(horizontal(p.cost) if p.cost else _FRAME.left + 16, vertical(p.cell.mean)) for p in points]
    anchors = [_anchor(board, p, x, y) for p, (x, y) in zip(points, places, strict=True)]
    written = _ceiling_words(ceiling, vertical, board.decimals[metric.id])
    boxes = place(anchors, Box(_FRAME.left + 2, _FRAME.top, _FRAME.right, _FRAME.bottom), written)
    parts = [
        _grid(horizontal, vertical),
        _gutter(gutter, cost),
        _ceiling(ceiling, vertical, board.decimals[metric.id]),
    ]
    parts += [_error_bar(p, x, vertical) for p, (x, _) in zip(points, places, strict=True)]
    parts += [marker(p.row.family, x, y, p.row.badges) for p, (x, y) in zip(points, places, strict=True)]
    parts += [_label(anchor, box) for anchor, box in zip(anchors, boxes, strict=True)]
    parts += [_axis_titles(metric, cost)]
    title = f"{metric.title} against {cost.title}"
    return svg(_WIDTH, _HEIGHT, title, Markup("").join(parts))


def _anchor(board: Leaderboard, point: _Point, x: float, y: float) -> Anchor:
    return Anchor(x, y, board.short_names[point.row.run], Box(x - 6, y - 6, x + 6, y + 6))


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
    middle = (_FRAME.top + _FRAME.bottom) / 2
    beside = Markup(
        '<text class="" text-anchor="middle" transform="translate(14,{:.1f}) rotate(-90)">{}</text>'
    )
    return below + beside.format(middle, f"{_titled(metric)}, {metric.reading}")


def _titled(metric: Measure) -> str:
    return f"{metric.title} ({metric.unit})" if metric.unit else metric.title
