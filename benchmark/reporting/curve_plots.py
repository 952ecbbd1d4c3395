"""Curves over detail size as inline SVG: one line a model, the band of one model at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from srbench.reporting.axes import Axis, linear_axis
from srbench.reporting.curves import AGREES, CurveSet, ModelCurve
from srbench.reporting.formats import number
from srbench.reporting.labels import Box
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import Row
from srbench.reporting.svg import family_class, line, svg, text

_WIDTH, _HEIGHT = 680.0, 380.0
_FRAME = Box(52.0, 22.0, 668.0, 326.0)
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "4 2")
_REFERENCE_DASHES = {"ceiling": "1 4", "control": "1 2 5 2"}


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
            one.curve.name,
            one.curve.title,
            one.curve.explanation,
            one.category,
            _drawing(board, one),
            _in_words(board, one),
        )
        for one in sets
        if one.lines
    ]


def line_keys(board: Leaderboard, sets: Sequence[CurveSet]) -> list[LineKey]:
    """What each line looks like, in the order of the table."""
    shown = {model.row.run for one in sets for model in one.lines}
    return [
        LineKey(
            _mark(board, row),
            board.short_names[row.run],
            _path("curve", row, board, [(0.0, 7.0), (30.0, 7.0)]),
        )
        for row in board.rows
        if row.run in shown
    ]


def _drawing(board: Leaderboard, shown: CurveSet) -> Markup:
    means = [point.mean for model in shown.lines for point in model.points]
    vertical = linear_axis([0.0, 1.0, *means], _FRAME.bottom, _FRAME.top)
    across = Axis(0.0, max(1.0, *shown.curve.x), _FRAME.left, _FRAME.right, _ticks())
    scale = board.block.key.scale
    parts = [_beyond(across, scale), _grid(across, vertical), _limits(across, vertical, scale)]
    parts += [_band(board, model, across, vertical) for model in shown.lines]
    parts += [_line(board, model, across, vertical) for model in shown.lines]
    parts.append(_titles(shown))
    return svg(_WIDTH, _HEIGHT, _in_words(board, shown), Markup("").join(parts))


def _ticks() -> tuple[tuple[float, str], ...]:
    return tuple((step / 5, f"{step / 5:.1f}") for step in range(6))


def _grid(across: Axis, vertical: Axis) -> Markup:
    parts = []
    for value, words in vertical.ticks:
        parts.append(
            line(_FRAME.left, f"{vertical(value):.1f}", _FRAME.right, f"{vertical(value):.1f}", "grid")
        )
        parts.append(text(_FRAME.left - 8, vertical(value) + 4, words, "end", "tick"))
    for value, words in across.ticks:
        parts.append(text(across(value), _FRAME.bottom + 16, words, "middle", "tick"))
    parts.append(line(_FRAME.left, _FRAME.bottom, _FRAME.right, _FRAME.bottom, "axis"))
    return Markup("").join(parts)


def _beyond(across: Axis, scale: int) -> Markup:
    """Tints what is finer than LR can carry."""
    if scale < 2:
        return Markup("")
    left = across(1 / scale)
    markup = Markup('<rect class="gutter" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
    return markup.format(left, _FRAME.top, _FRAME.right - left, _FRAME.bottom - _FRAME.top)


def _limits(across: Axis, vertical: Axis, scale: int) -> Markup:
    """The threshold of agreement, and the finest detail that LR can carry."""
    nyquist, level = f"{across(1 / scale):.1f}", f"{vertical(AGREES):.1f}"
    words = f"LR Nyquist 1/(2·{scale}) = {1 / (2 * scale):.3g} cycles a pixel; finer than LR can carry →"
    return Markup("").join(
        (
            line(nyquist, _FRAME.top, nyquist, _FRAME.bottom, "limit"),
            text(min(across(1 / scale), _FRAME.right - 330), _FRAME.top - 7, words, "start", "tick"),
            line(_FRAME.left, level, _FRAME.right, level, "ceiling"),
            text(_FRAME.right - 4, vertical(AGREES) - 5, f"{AGREES:g}", "end", "tick"),
        )
    )


def _band(board: Leaderboard, model: ModelCurve, across: Axis, vertical: Axis) -> Markup:
    """The 95 % interval of one model and its line once more, in front; shown when it is chosen."""
    known = [point for point in model.points if math.isfinite(point.low)]
    above = [(across(point.x), vertical(point.high)) for point in known]
    below = [(across(point.x), vertical(point.low)) for point in reversed(known)]
    outline = _data([*above, *below]) + "Z" if known else ""
    filled = Markup('<path class="band {}" d="{}"/>').format(family_class(model.row.family), outline)
    strong = _path("curve chosen", model.row, board, _places(model, across, vertical))
    group = Markup('<g data-item="" data-band="{}" hidden="">{}{}</g>')
    return group.format(_mark(board, model.row), filled if outline else Markup(""), strong)


def _line(board: Leaderboard, model: ModelCurve, across: Axis, vertical: Axis) -> Markup:
    return _path("curve", model.row, board, _places(model, across, vertical))


def _places(model: ModelCurve, across: Axis, vertical: Axis) -> list[tuple[float, float]]:
    return [(across(point.x), vertical(point.mean)) for point in model.points]


def _path(kind: str, row: Row, board: Leaderboard, places: Sequence[tuple[float, float]]) -> Markup:
    markup = Markup('<path class="{} {}" stroke-dasharray="{}" d="{}"/>')
    return markup.format(kind, family_class(row.family), _dash(board, row), _data(places))


def _dash(board: Leaderboard, row: Row) -> str:
    """Lines of one colour are told apart by their dashes."""
    if row.is_reference:
        return _REFERENCE_DASHES[row.standing]
    kind = family_class(row.family)
    alike = [o.run for o in board.rows if family_class(o.family) == kind and not o.is_reference]
    return _DASHES[alike.index(row.run) % len(_DASHES)] or "none"


def _data(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _mark(board: Leaderboard, row: Row) -> str:
    return str([other.run for other in board.rows].index(row.run))


def _titles(shown: CurveSet) -> Markup:
    middle = (_FRAME.top + _FRAME.bottom) / 2
    beside = Markup(
        '<text class="" text-anchor="middle" transform="translate(13,{:.1f}) rotate(-90)">{}</text>'
    ).format(middle, shown.curve.title)
    below = text((_FRAME.left + _FRAME.right) / 2, _HEIGHT - 10, shown.curve.x_title, "middle", "")
    return below + beside


def _in_words(board: Leaderboard, shown: CurveSet) -> str:
    """What the drawing shows, for who does not see it."""
    where = f"images of category {shown.category}" if shown.category else "all images"
    ends = [f"{board.short_names[model.row.run]} {_end(model.end)}" for model in shown.lines]
    return (
        f"Mean {shown.curve.title} of {len(ends)} models on {where}, by {shown.curve.x_title}; the LR "
        f"Nyquist frequency lies at {1 / board.block.key.scale:.3g}. It first falls below {AGREES:g} at: "
        f"{', '.join(ends)}."
    )


def _end(position: float) -> str:
    return number(position, 2) if math.isfinite(position) else "nowhere"
