"""Micromachined devices from above: combs, cantilevers, serpentines and electrodes of two or three levels.

All edges are upright and exactly known. Residues and notches ("mouse bites") of 2 to 6 HR pixels (0.5 to
1.5 LR pixels at x4) are added.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import Array, FineGrid, coverage, ellipse_distance
from srbench.datasets.synthetic.imaging import Optics
from srbench.datasets.synthetic.manhattan import Bar, Finger, Layout, Rules, cantilevers, comb, serpentine
from srbench.datasets.synthetic.painting import around, blend, put_edge, window
from srbench.datasets.synthetic.polygons import rectangle_distance
from srbench.datasets.synthetic.records import record
from srbench.datasets.synthetic.scene import Layers, Scene, register_scene
from srbench.datasets.synthetic.specks import Speck, scatter
from srbench.datasets.synthetic.spots import SMALL, Ball, paint_ball
from srbench.datasets.synthetic.tubes import shadow

LINES, GAPS, RADII = (8.0, 40.0), (8.0, 40.0), (1.0, 6.0)
"""Widths of lines and gaps, corner radii, HR pixels."""
REACH = 24.0
"""HR pixels beyond an edge up to which the ground knows of it."""


@dataclass(frozen=True)
class Process:
    """The device and how it was made. Lengths in HR pixels.

    Attributes:
        style: ``comb``, ``cantilevers``, ``serpentine`` or ``electrodes``.
        lines_along: ``columns`` or ``rows``.
        rules: width of lines, of gaps, corner radius.
        thickness: of each level; upper levels follow the steps of those below.
        sidewall: width over which an edge rises.
        emissions: yield of the substrate and of each level.
        grains: texture amplitude of the substrate and of each level.
        roughness: relief of the substrate and of each level.
        shadow: depth added beside an edge: what lies there sees less of the detector.
        shadow_length: where that shadow ends.
    """

    style: str
    lines_along: str
    rules: Rules
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
    process: Process
    optics: Optics
    layout: Layout
    notches: tuple[tuple[int, Speck], ...]
    residues: tuple[Speck, ...]

    def truth(self) -> dict[str, Any]:
        """All edges, widths and gaps, exact.

        ``levels``: ``thickness`` of each. ``rectangles``: for each that meets the image ``index``, ``role``,
        ``level``, edges ``top``, ``left``, ``bottom``, ``right``, corner ``radius`` and ``border`` (not
        wholly in the image); those of one level form one body. ``holes``: the release holes, the same way.
        ``fingers``: for each line in the image its rectangle ``index``, ``low`` and ``high`` edge across its
        length, ``cd`` between them, ``start`` and ``end`` of the stretch where it stands free, ``complete``
        (both edges in the image) and ``notched``. ``gaps``: pairs of neighbouring lines, edges and ``width``.
        """
        layout = self.layout
        present = [(n, bar) for n, bar in enumerate(layout.bars) if bar.meets_image(self.size)]
        seen = [finger for finger in layout.fingers if layout.bars[finger.bar].meets_image(self.size)]
        fingers = [self._finger(finger) for finger in seen]
        return {
            "style": self.process.style,
            "process": record(self.process),
            "levels": [{"level": n + 1, "thickness": t} for n, t in enumerate(self.process.thickness)],
            "rectangles": [{"index": n, **self._rectangle(bar)} for n, bar in present],
            "holes": [self._rectangle(hole) for hole in layout.holes if hole.meets_image(self.size)],
            "fingers": fingers,
            "gaps": _gaps(fingers),
            "small_features": [speck.as_truth() for speck in self._specks()],
        }

    def without(self, feature: int) -> MemsScene:
        """The scene lacking one notch or residue."""
        gone = self._specks()[feature]
        return replace(
            self,
            notches=tuple(pair for pair in self.notches if pair[1] is not gone),
            residues=tuple(speck for speck in self.residues if speck is not gone),
        )

    def layers(self, grid: FineGrid) -> Layers:
        """Draw level by level, the lowest first, then the residues."""
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
            self._draw_level(layers, level, grid)
        for speck in self.residues:
            ball = Ball(speck.y, speck.x, speck.diameter, 0.45 * speck.brightness)
            paint_ball(layers, grid, ball, process.shadow, process.shadow_length)
        return layers

    def _draw_level(self, layers: Layers, level: int, grid: FineGrid) -> None:
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
                here = distance[part.place]
                np.minimum(here, bar.distance(part.y, part.x), out=here)
        for hole in self.layout.holes:
            if hole.level == level:
                part = window(grid, hole.box, REACH)
                here = distance[part.place]
                np.maximum(here, -hole.distance(part.y, part.x), out=here)
        for number, notch in self.notches:
            if self.layout.bars[number].level == level:
                part = window(grid, around(notch.y, notch.x), REACH)
                y, x = part.y - notch.y, part.x - notch.x
                here = distance[part.place]
                np.maximum(here, -ellipse_distance(y, x, notch.diameter, notch.diameter, 0.0), out=here)
        return distance

    def _specks(self) -> tuple[Speck, ...]:
        return (*(notch for _, notch in self.notches), *self.residues)

    def _rectangle(self, bar: Bar) -> dict[str, Any]:
        return {**asdict(bar), "border": not bar.inside_image(self.size)}

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


def _gaps(fingers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Spaces between lines that follow each other over a common stretch."""
    gaps = []
    for one, other in pairwise(fingers):
        start, end = max(one["start"], other["start"]), min(one["end"], other["end"])
        if other["low"] > one["high"] and end > start:
            width = round(other["low"] - one["high"], DECIMALS)
            gaps.append(
                {
                    "between": [one["index"], other["index"]],
                    "low": one["high"],
                    "high": other["low"],
                    "width": width,
                    "start": start,
                    "end": end,
                }
            )
    return gaps


@register_scene(code=3)
def mems(draws: Draws, size: int) -> MemsScene:
    """Draw a device."""
    style = draws.choice(("comb", "cantilevers", "serpentine", "electrodes"))
    rules = _rules(draws, size)
    layout = _layout(draws, style, rules, size)
    along = draws.choice(("columns", "rows"))
    layout = layout if along == "columns" else layout.turned()
    levels = max(bar.level for bar in layout.bars)
    process = _process(draws, style, along, rules, levels)
    notches = _notches(draws, layout, along, size)
    residues = _residues(draws, layout, notches, size)
    return MemsScene(size, process, _optics(draws, style), layout, notches, residues)


def _rules(draws: Draws, size: int) -> Rules:
    """Line and gap such that several pitches are in the image."""
    widest = min(LINES[1], GAPS[1], size / 10)
    line, gap = draws.log_normal(14, 1.6, LINES[0], widest), draws.log_normal(15, 1.6, GAPS[0], widest)
    return Rules(line, gap, round(draws.uniform(RADII[0], min(RADII[1], 0.4 * line)), DECIMALS))


def _layout(draws: Draws, style: str, rules: Rules, size: int) -> Layout:
    if style == "cantilevers":
        return cantilevers(draws, size, rules)
    if style == "serpentine":
        return serpentine(draws, size, rules)
    return comb(draws, size, rules, perforated=style == "comb")


def _process(draws: Draws, style: str, along: str, rules: Rules, levels: int) -> Process:
    thin = style in ("electrodes", "serpentine")
    # Seldom the substrate is an insulator that shines brighter than the conductors on it.
    substrate, least = (
        (draws.uniform(0.1, 0.3), 0.08) if draws.chance(0.8) else (draws.uniform(0.35, 0.45), -0.2)
    )
    return Process(
        style=style,
        lines_along=along,
        rules=rules,
        thickness=tuple(draws.uniform(1.5, 4) if thin else draws.uniform(4, 9) for _ in range(levels)),
        sidewall=draws.uniform(1.4, 3),
        emissions=(
            substrate,
            *(round(substrate + draws.uniform(least, least + 0.26), DECIMALS) for _ in range(levels)),
        ),
        grains=(draws.uniform(0.03, 0.12), *(draws.uniform(0.02, 0.09) for _ in range(levels))),
        roughness=(draws.uniform(0, 0.2), *(draws.uniform(0.05, 0.4) for _ in range(levels))),
        shadow=draws.uniform(5, 20),
        shadow_length=draws.uniform(4, 12),
    )


def _optics(draws: Draws, style: str) -> Optics:
    thin = style in ("electrodes", "serpentine")
    return Optics(
        tilt_exponent=draws.uniform(0.7, 1.0) if thin else draws.uniform(0.5, 0.8),
        bloom=draws.uniform(0.08, 0.3),
        bloom_length=draws.uniform(1.5, 3.5),
        shadow=draws.uniform(0.15, 0.45),
        shadow_length=draws.uniform(3, 8),
        asymmetry=draws.uniform(0.1, 0.5),
        detector_angle=draws.uniform(0, 360),
        shading=draws.uniform(0.2, 0.6),
        shading_length=draws.uniform(10, 20),
        relief_wavelength=draws.uniform(4, 8),
        texture_length=draws.uniform(0.7, 1.4),
        waves=draws.uniform(0.02, 0.06),
        spot=draws.uniform(0.5, 0.75),
        astigmatism=draws.uniform(1, 1.25),
        spot_angle=draws.uniform(0, 180),
        charging=draws.choice((0.0, 0.1, 0.2, 0.3)),
        charging_length=draws.uniform(30, 120),
        black=draws.uniform(0.03, 0.22),
        white=draws.uniform(0.75, 0.97),
    )


def _notches(draws: Draws, layout: Layout, along: str, size: int) -> tuple[tuple[int, Speck], ...]:
    """Bites out of the free edges of some lines, one a line."""
    notches = []
    for finger in layout.fingers:
        bar = layout.bars[finger.bar]
        low, high = (bar.top, bar.bottom) if along == "columns" else (bar.left, bar.right)
        edge, place = draws.choice((low, high)), draws.uniform(finger.start + 5, finger.end - 5)
        diameter, wanted = draws.uniform(*SMALL), draws.chance(0.35)
        y, x = (edge, place) if along == "columns" else (place, edge)
        if wanted and min(y, x) > 5 and max(y, x) < size - 6:
            notches.append((finger.bar, Speck("notch", y, x, diameter)))
    return tuple(notches)


def _residues(
    draws: Draws, layout: Layout, notches: tuple[tuple[int, Speck], ...], size: int
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

    return scatter(draws, size, round(size * size / 4500), ("residue",), accept, gap=4.0)
