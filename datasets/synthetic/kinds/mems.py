"""Micromachined devices from above: combs, cantilevers, serpentines and electrodes of two or three levels.

All edges are upright and exactly known. Residues and notches ("mouse bites") of 2 to 6 HR pixels (0.5 to
1.5 LR pixels at x4) are added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from srbench.datasets.synthetic.drawing import (
    SMALL,
    Ball,
    Box,
    Speck,
    around,
    blend,
    put_edge,
    render_ball,
    scatter,
    shadow,
    window,
)
from srbench.datasets.synthetic.geometry import FineGrid, coverage, ellipse_distance, rectangle_distance
from srbench.datasets.synthetic.imaging import Layers, Optics, sample_optics
from srbench.datasets.synthetic.rng import DECIMALS, Array, RandomStream
from srbench.datasets.synthetic.scene import Scene, feature_entries, register_scene

OUTSIDE = 14.0
"""Rectangles that run out of the image end this far outside, HR pixels."""


@dataclass(frozen=True)
class Rectangle:
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

    def turned(self) -> Rectangle:
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
class DeviceLayout:
    """Rectangles, the release holes in them, and which of the rectangles are lines, side by side."""

    bars: tuple[Rectangle, ...]
    holes: tuple[Rectangle, ...]
    fingers: tuple[Finger, ...]

    def turned(self) -> DeviceLayout:
        """Rows and columns exchanged."""
        bars, holes = (tuple(bar.turned() for bar in group) for group in (self.bars, self.holes))
        return replace(self, bars=bars, holes=holes)


class Draft:
    """Collects rectangles while a layout is drawn; everything is rounded on entry."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.bars: list[Rectangle] = []
        self.holes: list[Rectangle] = []
        self.fingers: list[Finger] = []

    def bar(self, role: str, level: int, top: float, left: float, bottom: float, right: float) -> Rectangle:
        """Add a rectangle with the rules' corner radius."""
        top, left, bottom, right = _rounded(top, left, bottom, right)
        self.bars.append(Rectangle(role, level, top, left, bottom, right, self.rules.radius))
        return self.bars[-1]

    def finger(self, level: int, top: float, left: float, right: float, free: tuple[float, float]) -> None:
        """Add a line of the rules' width that stands free between two columns."""
        self.bar("finger", level, top, left, top + self.rules.line, right)
        self.fingers.append(Finger(len(self.bars) - 1, round(free[0], DECIMALS), round(free[1], DECIMALS)))

    def perforate(self, bar: Rectangle, side: float, pitch: float) -> None:
        """A square grid of holes in a rectangle, as many as leave a wall of 5 HR pixels at its edges."""
        rows = _evenly(bar.top, bar.bottom, side, pitch)
        for top in rows:
            for left in _evenly(bar.left, bar.right, side, pitch):
                box = _rounded(top, left, top + side, left + side)
                self.holes.append(Rectangle("hole", bar.level, *box, round(0.3 * side, DECIMALS)))

    def layout(self) -> DeviceLayout:
        """What has been collected."""
        return DeviceLayout(tuple(self.bars), tuple(self.holes), tuple(self.fingers))


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


def comb(stream: RandomStream, size: int, rules: Rules, perforated: bool) -> DeviceLayout:
    """Interdigitated combs between two or three spines; bond pads beyond the last line."""
    draft = Draft(rules)
    width = max(1.5 * rules.line, stream.uniform(14, 34))
    banks = 2 if size >= 300 and stream.chance(0.6) else 1
    left = stream.uniform(-0.04 * size, 0.12 * size)
    step = (size * stream.uniform(0.92, 1.05) - left - width) / banks
    starts = [left + k * step for k in range(banks + 1)]
    first = stream.uniform(0.08, 0.3) * size if stream.chance(0.5) else -OUTSIDE - rules.pitch / 2
    count = math.ceil((size + OUTSIDE - first) / rules.pitch)
    tip = stream.uniform(8, 18)
    for spine in starts:
        bar = draft.bar("spine", 1, first - rules.gap, spine, size + OUTSIDE, spine + width)
        if perforated and stream.chance(0.7):
            draft.perforate(bar, stream.uniform(6, 9), stream.uniform(14, 20))
        elif width > 20:
            inset = stream.uniform(4, 6)
            draft.bar("metal", 2, bar.top + inset, bar.left + inset, bar.bottom, bar.right - inset)
    for bank in range(banks):
        near, far = starts[bank] + width, starts[bank + 1]
        for k in range(count):
            # The free ends of one comb face the spine of the other.
            low, high = (near - width / 2, far - tip) if k % 2 else (near + tip, far + width / 2)
            draft.finger(1, first + k * rules.pitch, low, high, (near + tip, far - tip))
    if first > 40:
        _pads(stream, draft, starts, width, first - rules.gap)
    return draft.layout()


def _pads(stream: RandomStream, draft: Draft, starts: list[float], width: float, below: float) -> None:
    """A pad of metal at the end of each spine, on a wider foot of the spine's level."""
    room = starts[1] - starts[0] if len(starts) > 1 else width
    for spine in starts:
        half = min(stream.uniform(0.8, 1.6) * width, room / 2 - 6)
        middle = spine + width / 2
        foot = draft.bar("pad", 1, below - 1.6 * half, middle - half, below + width / 2, middle + half)
        inset = stream.uniform(4, 7)
        if foot.right - foot.left > 4 * inset:
            draft.bar(
                "metal", 2, foot.top + inset, foot.left + inset, foot.bottom - width / 2, foot.right - inset
            )


def cantilevers(stream: RandomStream, size: int, rules: Rules) -> DeviceLayout:
    """Beams of different lengths on a perforated anchor, over a drive electrode."""
    draft = Draft(rules)
    edge = stream.uniform(0.2, 0.36) * size
    first = stream.uniform(-rules.pitch, 0)
    longest, shortest = stream.uniform(0.5, 0.62) * size, stream.uniform(0.2, 0.4) * size
    count = math.ceil((size + OUTSIDE - first) / rules.pitch)
    where = edge + stream.uniform(0.3, 0.5) * shortest
    draft.bar("electrode", 1, -OUTSIDE, where, size + OUTSIDE, where + stream.uniform(16, 40))
    anchor = draft.bar("anchor", 2, -OUTSIDE, -OUTSIDE, size + OUTSIDE, edge)
    draft.perforate(
        replace(anchor, left=max(edge - 46, -OUTSIDE)), stream.uniform(6, 9), stream.uniform(15, 21)
    )
    period = stream.integer(4, 8)
    for k in range(count):
        reach = longest + (shortest - longest) * (k % period) / period
        draft.finger(
            2, first + k * rules.pitch, edge - 12, edge + reach, (edge, edge + shortest - rules.radius)
        )
    if stream.chance(0.6):
        draft.bar("metal", 3, -OUTSIDE, edge - stream.uniform(70, 90), size + OUTSIDE, edge - 56)
    return draft.layout()


def serpentine(stream: RandomStream, size: int, rules: Rules) -> DeviceLayout:
    """A meandering resistor or spring, with an electrode or two across it."""
    draft = Draft(rules)
    low, high = stream.uniform(0.06, 0.14) * size, stream.uniform(0.86, 0.94) * size
    first = stream.uniform(0.04, 0.2) * size
    count = max(3, int((stream.uniform(0.85, 1.1) * size - first) / rules.pitch))
    for k in range(count):
        top = first + k * rules.pitch
        draft.finger(1, top, low, high, (low + rules.line, high - rules.line))
        if k + 1 < count:
            left = high - rules.line if k % 2 else low
            draft.bar("turn", 1, top, left, top + rules.pitch + rules.line, left + rules.line)
    draft.bar("lead", 1, first, low, first + rules.line, size + OUTSIDE)
    for k in range(stream.integer(1, 2)):
        left = (0.25 + 0.35 * k + stream.uniform(0, 0.12)) * size
        bar = draft.bar("bridge", 2, -OUTSIDE, left, size + OUTSIDE, left + stream.uniform(18, 34))
        if stream.chance(0.6):
            draft.perforate(bar, stream.uniform(6, 8), stream.uniform(16, 22))
    return draft.layout()


LINES, GAPS, RADII = (8.0, 40.0), (8.0, 40.0), (1.0, 6.0)
"""Widths of lines and gaps, corner radii, HR pixels."""
REACH = 24.0
"""HR pixels beyond an edge up to which the ground knows of it."""


@dataclass(frozen=True)
class MemsProcess:
    """The device and how it was made. Lengths in HR pixels.

    Attributes:
        lines_along: ``columns`` or ``rows``.
        thickness: of each level; upper levels follow the steps of those below.
        sidewall: width over which an edge rises.
        emissions: yield of the substrate and of each level.
        grains: texture amplitude of the substrate and of each level.
        roughness: relief of the substrate and of each level.
        shadow: depth added beside an edge: what lies there sees less of the detector.
        shadow_length: where that shadow ends.
    """

    lines_along: str
    thickness: tuple[float, ...]
    sidewall: float
    emissions: tuple[float, ...]
    grains: tuple[float, ...]
    roughness: tuple[float, ...]
    shadow: float
    shadow_length: float


@dataclass(frozen=True)
class MemsScene(Scene):
    """A device.

    Attributes:
        layout: rectangles, holes and lines.
        notches: round bites out of an edge of a line, with the number of its rectangle.
        residues: particles lying on it.
    """

    size: int
    process: MemsProcess
    optics: Optics
    layout: DeviceLayout
    notches: tuple[tuple[int, Speck], ...]
    residues: tuple[Speck, ...]

    def truth(self) -> dict[str, Any]:
        """Edges of the bodies and lines in the image; the small features are notches and residues.

        ``rectangles``: for each ``index`` and edges ``top``, ``left``, ``bottom``, ``right``. ``fingers``:
        for each line its rectangle's ``index``, ``low`` and ``high`` edge across its length, their distance
        ``cd``, ``start`` and ``end`` of the stretch where it stands free, ``complete`` (both edges in the
        image) and ``notched``. ``process``: ``lines_along`` ``columns`` or ``rows``.
        """
        layout = self.layout
        rectangles = [
            {"index": n, "top": bar.top, "left": bar.left, "bottom": bar.bottom, "right": bar.right}
            for n, bar in enumerate(layout.bars)
            if bar.meets_image(self.size)
        ]
        specks = (*(notch for _, notch in self.notches), *self.residues)
        return {
            "process": {"lines_along": self.process.lines_along},
            "rectangles": rectangles,
            "fingers": [
                self._finger(finger)
                for finger in layout.fingers
                if layout.bars[finger.bar].meets_image(self.size)
            ],
            "small_features": feature_entries(specks),
        }

    def layers(self, grid: FineGrid) -> Layers:
        """Render level by level, the lowest first, then the residues."""
        process = self.process
        layers = Layers(
            emission=grid.full(process.emissions[0]),
            height=grid.full(0.0),
            distance=grid.full(REACH),
            depth=grid.full(round(sum(process.thickness), DECIMALS)),
            grain=grid.full(process.grains[0]),
            roughness=grid.full(process.roughness[0]),
        )
        for level in range(1, len(process.thickness) + 1):
            self._render_level(layers, level, grid)
        for speck in self.residues:
            ball = Ball(speck.y, speck.x, speck.diameter, 0.45 * speck.brightness)
            render_ball(layers, grid, ball, process.shadow, process.shadow_length)
        return layers

    def _render_level(self, layers: Layers, level: int, grid: FineGrid) -> None:
        process = self.process
        distance = self._level_distance(level, grid)
        everywhere = (slice(None), slice(None))
        share = coverage(distance, grid.step)
        rise = process.thickness[level - 1] * np.clip(0.5 - distance / process.sidewall, 0, 1)
        layers.height[...] += rise
        layers.depth[...] += process.shadow * shadow(distance, process.shadow_length)
        blend(layers.depth, round(sum(process.thickness[level:]), DECIMALS), share)
        put_edge(layers, everywhere, distance)
        blend(layers.emission, process.emissions[level], share)
        blend(layers.grain, process.grains[level], share)
        blend(layers.roughness, process.roughness[level], share)

    def _level_distance(self, level: int, grid: FineGrid) -> Array:
        """Signed distance to the edges of the body that the rectangles of a level form."""
        distance = grid.full(REACH)
        for bar in self.layout.bars:
            if bar.level == level:
                part = window(grid, bar.box, REACH)
                here = distance[part.span]
                np.minimum(here, bar.distance(part.y, part.x), out=here)
        for hole in self.layout.holes:
            if hole.level == level:
                part = window(grid, hole.box, REACH)
                here = distance[part.span]
                np.maximum(here, -hole.distance(part.y, part.x), out=here)
        for number, notch in self.notches:
            if self.layout.bars[number].level == level:
                part = window(grid, around(notch.y, notch.x), REACH)
                y, x = part.y - notch.y, part.x - notch.x
                here = distance[part.span]
                np.maximum(here, -ellipse_distance(y, x, notch.diameter, notch.diameter, 0.0), out=here)
        return distance

    def _finger(self, finger: Finger) -> dict[str, Any]:
        bar = self.layout.bars[finger.bar]
        along_columns = self.process.lines_along == "columns"
        low, high = (bar.top, bar.bottom) if along_columns else (bar.left, bar.right)
        return {
            "index": finger.bar,
            "low": low,
            "high": high,
            "cd": round(high - low, DECIMALS),
            "start": finger.start,
            "end": finger.end,
            "complete": low > -0.5 and high < self.size - 0.5,
            "notched": any(number == finger.bar for number, _ in self.notches),
        }


@register_scene(code=3)
def mems(stream: RandomStream, size: int) -> MemsScene:
    """A device."""
    style = stream.choice(("comb", "cantilevers", "serpentine", "electrodes"))
    # Line and gap such that several pitches are in the image.
    widest = min(LINES[1], GAPS[1], size / 10)
    line, gap = stream.log_normal(14, 1.6, LINES[0], widest), stream.log_normal(15, 1.6, GAPS[0], widest)
    rules = Rules(line, gap, round(stream.uniform(RADII[0], min(RADII[1], 0.4 * line)), DECIMALS))
    if style == "cantilevers":
        layout = cantilevers(stream, size, rules)
    elif style == "serpentine":
        layout = serpentine(stream, size, rules)
    else:
        layout = comb(stream, size, rules, perforated=style == "comb")
    along = stream.choice(("columns", "rows"))
    layout = layout if along == "columns" else layout.turned()
    thin = style in ("electrodes", "serpentine")
    process = _process(stream, thin, along, max(bar.level for bar in layout.bars))
    notches = _notches(stream, layout, along, size)
    residues = _residues(stream, layout, notches, size)
    return MemsScene(size, process, _optics(stream, thin), layout, notches, residues)


def _process(stream: RandomStream, thin: bool, along: str, levels: int) -> MemsProcess:
    # Seldom the substrate is an insulator that shines brighter than the conductors on it.
    substrate, least = (
        (stream.uniform(0.1, 0.3), 0.08) if stream.chance(0.8) else (stream.uniform(0.35, 0.45), -0.2)
    )
    return MemsProcess(
        lines_along=along,
        thickness=tuple(stream.uniform(1.5, 4) if thin else stream.uniform(4, 9) for _ in range(levels)),
        sidewall=stream.uniform(1.4, 3),
        emissions=(
            substrate,
            *(round(substrate + stream.uniform(least, least + 0.26), DECIMALS) for _ in range(levels)),
        ),
        grains=(stream.uniform(0.03, 0.12), *(stream.uniform(0.02, 0.09) for _ in range(levels))),
        roughness=(stream.uniform(0, 0.2), *(stream.uniform(0.05, 0.4) for _ in range(levels))),
        shadow=stream.uniform(5, 20),
        shadow_length=stream.uniform(4, 12),
    )


def _optics(stream: RandomStream, thin: bool) -> Optics:
    return sample_optics(
        stream,
        {
            "tilt_exponent": (0.7, 1.0) if thin else (0.5, 0.8),
            "bloom": (0.08, 0.3),
            "bloom_length": (1.5, 3.5),
            "shadow": (0.15, 0.45),
            "shadow_length": (3, 8),
            "asymmetry": (0.1, 0.5),
            "detector_angle": (0, 360),
            "shading": (0.2, 0.6),
            "shading_length": (10, 20),
            "relief_wavelength": (4, 8),
            "texture_length": (0.7, 1.4),
            "waves": (0.02, 0.06),
            "charging": lambda s: s.choice((0.0, 0.1, 0.2, 0.3)),
            "charging_length": (30, 120),
            "black": (0.03, 0.22),
            "white": (0.75, 0.97),
        },
    )


def _notches(
    stream: RandomStream, layout: DeviceLayout, along: str, size: int
) -> tuple[tuple[int, Speck], ...]:
    """Bites out of the free edges of some lines, one a line."""
    notches = []
    for finger in layout.fingers:
        bar = layout.bars[finger.bar]
        low, high = (bar.top, bar.bottom) if along == "columns" else (bar.left, bar.right)
        edge, position = stream.choice((low, high)), stream.uniform(finger.start + 5, finger.end - 5)
        diameter, bitten = stream.uniform(*SMALL), stream.chance(0.35)
        y, x = (edge, position) if along == "columns" else (position, edge)
        if bitten and min(y, x) > 5 and max(y, x) < size - 6:
            notches.append((finger.bar, Speck("notch", y, x, diameter)))
    return tuple(notches)


def _residues(
    stream: RandomStream, layout: DeviceLayout, notches: tuple[tuple[int, Speck], ...], size: int
) -> tuple[Speck, ...]:
    """Particles that lie wholly on one level, clear of all edges and notches."""
    outlines = (*layout.bars, *layout.holes)
    top, left, bottom, right, radius = (
        np.array([getattr(bar, name) for bar in outlines])
        for name in ("top", "left", "bottom", "right", "radius")
    )

    def accept(_: str, y: float, x: float, diameter: float) -> bool:
        edges = np.abs(rectangle_distance(np.asarray(y), np.asarray(x), (top, left, bottom, right), radius))
        apart = all(math.hypot(n.y - y, n.x - x) > 10 for _, n in notches)
        return apart and round(float(edges.min()), DECIMALS) > diameter / 2 + 1.5

    return scatter(stream, size, round(size * size / 4500), ("residue",), accept, gap=4.0)
