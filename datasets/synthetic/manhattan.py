"""Upright rectangles in several levels, and how they make combs, cantilevers, serpentines and electrodes.

Layouts are drawn with their lines along the columns; ``Layout.turned`` gives the other orientation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import Array
from srbench.datasets.synthetic.painting import Box
from srbench.datasets.synthetic.polygons import rectangle_distance

OUTSIDE = 14.0
"""Rectangles that run out of the image end this far outside, HR pixels."""


@dataclass(frozen=True)
class Bar:
    """A rectangle with rounded corners, its edges in HR pixels; ``role`` says what it is for."""

    role: str
    level: int
    top: float
    left: float
    bottom: float
    right: float
    radius: float

    @property
    def box(self) -> Box:
        """Smallest row and column, largest row and column."""
        return self.top, self.left, self.bottom, self.right

    def distance(self, y: Array, x: Array) -> Array:
        """Signed distance to the outline."""
        return rectangle_distance(y, x, self.box, self.radius)

    def meets_image(self, size: int) -> bool:
        """Whether any of it is in the image."""
        return self.bottom > -0.5 and self.right > -0.5 and max(self.top, self.left) < size - 0.5

    def inside_image(self, size: int) -> bool:
        """Whether all of it is in the image."""
        return min(self.top, self.left) > -0.5 and max(self.bottom, self.right) < size - 0.5

    def turned(self) -> Bar:
        """Rows and columns exchanged."""
        return replace(self, top=self.left, left=self.top, bottom=self.right, right=self.bottom)


@dataclass(frozen=True)
class Finger:
    """A line: rectangle number ``bar`` stands free from ``start`` to ``end`` along its length."""

    bar: int
    start: float
    end: float


@dataclass(frozen=True)
class Rules:
    """Design rules in HR pixels: width of the lines, of the gaps between them, and the corner radius."""

    line: float
    gap: float
    radius: float

    @property
    def pitch(self) -> float:
        """Distance of neighbouring lines."""
        return self.line + self.gap


@dataclass(frozen=True)
class Layout:
    """Rectangles, the release holes in them, and which of the rectangles are lines, side by side."""

    bars: tuple[Bar, ...]
    holes: tuple[Bar, ...]
    fingers: tuple[Finger, ...]

    def turned(self) -> Layout:
        """Rows and columns exchanged."""
        bars, holes = (tuple(bar.turned() for bar in group) for group in (self.bars, self.holes))
        return replace(self, bars=bars, holes=holes)


class Draft:
    """Collects rectangles while a layout is drawn; everything is rounded on entry."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.bars: list[Bar] = []
        self.holes: list[Bar] = []
        self.fingers: list[Finger] = []

    def bar(self, role: str, level: int, top: float, left: float, bottom: float, right: float) -> Bar:
        """Add a rectangle with the rules' corner radius."""
        top, left, bottom, right = _rounded(top, left, bottom, right)
        self.bars.append(Bar(role, level, top, left, bottom, right, self.rules.radius))
        return self.bars[-1]

    def finger(self, level: int, top: float, left: float, right: float, free: tuple[float, float]) -> None:
        """Add a line of the rules' width that stands free between two columns."""
        self.bar("finger", level, top, left, top + self.rules.line, right)
        self.fingers.append(Finger(len(self.bars) - 1, round(free[0], DECIMALS), round(free[1], DECIMALS)))

    def perforate(self, bar: Bar, side: float, pitch: float) -> None:
        """A square grid of holes in a rectangle, as many as leave a wall of 5 HR pixels at its edges."""
        rows = _evenly(bar.top, bar.bottom, side, pitch)
        for top in rows:
            for left in _evenly(bar.left, bar.right, side, pitch):
                box = _rounded(top, left, top + side, left + side)
                self.holes.append(Bar("hole", bar.level, *box, round(0.3 * side, DECIMALS)))

    def layout(self) -> Layout:
        """What has been collected."""
        return Layout(tuple(self.bars), tuple(self.holes), tuple(self.fingers))


def _rounded(top: float, left: float, bottom: float, right: float) -> Box:
    return round(top, DECIMALS), round(left, DECIMALS), round(bottom, DECIMALS), round(right, DECIMALS)


def _evenly(low: float, high: float, side: float, pitch: float) -> list[float]:
    """Starts of as many sections of length ``side`` as fit, ``pitch`` apart, centred."""
    room = high - low - side - 10
    if room < 0:
        return []
    count = int(room / pitch) + 1
    first = (low + high - side - (count - 1) * pitch) / 2
    return [first + k * pitch for k in range(count)]


def comb(draws: Draws, size: int, rules: Rules, perforated: bool) -> Layout:
    """Interdigitated combs between two or three spines; bond pads beyond the last line."""
    draft = Draft(rules)
    width = max(1.5 * rules.line, draws.uniform(14, 34))
    banks = 2 if size >= 300 and draws.chance(0.6) else 1
    left = draws.uniform(-0.04 * size, 0.12 * size)
    step = (size * draws.uniform(0.92, 1.05) - left - width) / banks
    starts = [left + k * step for k in range(banks + 1)]
    first = draws.uniform(0.08, 0.3) * size if draws.chance(0.5) else -OUTSIDE - rules.pitch / 2
    count = math.ceil((size + OUTSIDE - first) / rules.pitch)
    tip = draws.uniform(8, 18)
    for spine in starts:
        bar = draft.bar("spine", 1, first - rules.gap, spine, size + OUTSIDE, spine + width)
        if perforated and draws.chance(0.7):
            draft.perforate(bar, draws.uniform(6, 9), draws.uniform(14, 20))
        elif width > 20:
            inset = draws.uniform(4, 6)
            draft.bar("metal", 2, bar.top + inset, bar.left + inset, bar.bottom, bar.right - inset)
    for bank in range(banks):
        near, far = starts[bank] + width, starts[bank + 1]
        for k in range(count):
            # The free ends of one comb face the spine of the other.
            low, high = (near - width / 2, far - tip) if k % 2 else (near + tip, far + width / 2)
            draft.finger(1, first + k * rules.pitch, low, high, (near + tip, far - tip))
    if first > 40:
        _pads(draws, draft, starts, width, first - rules.gap)
    return draft.layout()


def _pads(draws: Draws, draft: Draft, starts: list[float], width: float, below: float) -> None:
    """A pad of metal at the end of each spine, on a wider foot of the spine's level."""
    room = starts[1] - starts[0] if len(starts) > 1 else width
    for spine in starts:
        half = min(draws.uniform(0.8, 1.6) * width, room / 2 - 6)
        middle = spine + width / 2
        foot = draft.bar("pad", 1, below - 1.6 * half, middle - half, below + width / 2, middle + half)
        inset = draws.uniform(4, 7)
        if foot.right - foot.left > 4 * inset:
            draft.bar(
                "metal", 2, foot.top + inset, foot.left + inset, foot.bottom - width / 2, foot.right - inset
            )


def cantilevers(draws: Draws, size: int, rules: Rules) -> Layout:
    """Beams of different lengths on a perforated anchor, over a drive electrode."""
    draft = Draft(rules)
    edge = draws.uniform(0.2, 0.36) * size
    first = draws.uniform(-rules.pitch, 0)
    longest, shortest = draws.uniform(0.5, 0.62) * size, draws.uniform(0.2, 0.4) * size
    count = math.ceil((size + OUTSIDE - first) / rules.pitch)
    where = edge + draws.uniform(0.3, 0.5) * shortest
    draft.bar("electrode", 1, -OUTSIDE, where, size + OUTSIDE, where + draws.uniform(16, 40))
    anchor = draft.bar("anchor", 2, -OUTSIDE, -OUTSIDE, size + OUTSIDE, edge)
    draft.perforate(
        replace(anchor, left=max(edge - 46, -OUTSIDE)), draws.uniform(6, 9), draws.uniform(15, 21)
    )
    period = draws.integer(4, 8)
    for k in range(count):
        reach = longest + (shortest - longest) * (k % period) / period
        draft.finger(
            2, first + k * rules.pitch, edge - 12, edge + reach, (edge, edge + shortest - rules.radius)
        )
    if draws.chance(0.6):
        draft.bar("metal", 3, -OUTSIDE, edge - draws.uniform(70, 90), size + OUTSIDE, edge - 56)
    return draft.layout()


def serpentine(draws: Draws, size: int, rules: Rules) -> Layout:
    """A meandering resistor or spring, with an electrode or two across it."""
    draft = Draft(rules)
    low, high = draws.uniform(0.06, 0.14) * size, draws.uniform(0.86, 0.94) * size
    first = draws.uniform(0.04, 0.2) * size
    count = max(3, int((draws.uniform(0.85, 1.1) * size - first) / rules.pitch))
    for k in range(count):
        top = first + k * rules.pitch
        draft.finger(1, top, low, high, (low + rules.line, high - rules.line))
        if k + 1 < count:
            left = high - rules.line if k % 2 else low
            draft.bar("turn", 1, top, left, top + rules.pitch + rules.line, left + rules.line)
    draft.bar("lead", 1, first, low, first + rules.line, size + OUTSIDE)
    for k in range(draws.integer(1, 2)):
        left = (0.25 + 0.35 * k + draws.uniform(0, 0.12)) * size
        bar = draft.bar("bridge", 2, -OUTSIDE, left, size + OUTSIDE, left + draws.uniform(18, 34))
        if draws.chance(0.6):
            draft.perforate(bar, draws.uniform(6, 8), draws.uniform(16, 22))
    return draft.layout()
