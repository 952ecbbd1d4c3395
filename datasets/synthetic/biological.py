"""Cells on a filter membrane, and the perforated silica shell of a diatom.

Cells are soft domes that may overlap, with wrinkles, fine feet and vesicles; the shell has a hexagonal
lattice of pores. Vesicles, granules, pits of the membrane and the finer pores have 2 to 6 HR pixels (0.5 to
1.5 LR pixels at x4).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import Array, FineGrid, Point, coverage, rotate
from srbench.datasets.synthetic.imaging import Layers, Optics
from srbench.datasets.synthetic.painting import (
    SMALL,
    Ball,
    Box,
    Speck,
    Strip,
    blend,
    draw_hole,
    paint_ball,
    put_edge,
    scatter,
    shadow,
    visible_areas,
    window,
)
from srbench.datasets.synthetic.records import record
from srbench.datasets.synthetic.scene import Scene, register_scene

WRINKLES = 6
"""Cosines that make up the wrinkles of a cell."""


@dataclass(frozen=True)
class Wrinkle:
    """A cosine of height ``amplitude``; lengths in HR pixels, ``angle`` of its normal in degrees."""

    wavelength: float
    angle: float
    phase: float
    amplitude: float

    def wave(self, y: Array, x: Array) -> Array:
        """Its height at rows ``(n, 1)`` and columns ``(1, m)``, by the addition theorem."""
        turn, number = math.radians(self.angle), 2 * math.pi / self.wavelength
        down = number * math.sin(turn) * y + 2 * math.pi * self.phase
        right = number * math.cos(turn) * x
        result: Array = self.amplitude * (np.cos(down) * np.cos(right) - np.sin(down) * np.sin(right))
        return result


@dataclass(frozen=True)
class Cell:
    """A cell with the outline |u / (major/2)|^n + |v / (minor/2)|^n = 1. Lengths in HR pixels.

    Attributes:
        y: row of the centre.
        x: column of the centre.
        major: full length along ``angle``.
        minor: full length across.
        exponent: n: 2 is an ellipse, larger is squarer.
        angle: in degrees from columns towards rows.
        relief: height over the half width.
        brightness: factor of the yield.
        wrinkles: waves of the membrane.
    """

    y: float
    x: float
    major: float
    minor: float
    exponent: float
    angle: float
    relief: float
    brightness: float
    wrinkles: tuple[Wrinkle, ...]

    @property
    def area(self) -> float:
        """Area of the superellipse (Dirichlet's integral)."""
        n = self.exponent
        share = math.gamma(1 + 1 / n) ** 2 / math.gamma(1 + 2 / n)
        return round(self.major * self.minor * share, DECIMALS)

    @cached_property
    def box(self) -> Box:
        """Smallest box with the whole outline (Hölder's inequality gives the support of a superellipse)."""
        turn, n = math.radians(self.angle), self.exponent
        cosine, sine = abs(math.cos(turn)), abs(math.sin(turn))
        a, b, dual = self.major / 2, self.minor / 2, n / (n - 1)
        tall = ((a * sine) ** dual + (b * cosine) ** dual) ** (1 / dual)
        wide = ((a * cosine) ** dual + (b * sine) ** dual) ** (1 / dual)
        box = self.y - tall, self.x - wide, self.y + tall, self.x + wide
        return (
            round(box[0], DECIMALS),
            round(box[1], DECIMALS),
            round(box[2], DECIMALS),
            round(box[3], DECIMALS),
        )

    def radius(self, y: Array, x: Array) -> Array:
        """Distance from the centre over that of the outline in the same direction: 1 on the outline."""
        u, v = self._scaled(y, x)
        radius: Array = (u**self.exponent + v**self.exponent) ** (1 / self.exponent)
        return radius

    def distance(self, y: Array, x: Array) -> Array:
        """Signed distance to the outline, first order: exact on it, good near it."""
        u, v = self._scaled(y, x)
        u, v = np.maximum(u, 1e-9), np.maximum(v, 1e-9)
        un, vn = u**self.exponent, v**self.exponent
        radius = (un + vn) ** (1 / self.exponent)
        # The gradient of the radius is constant along rays from the centre.
        scale = radius / (un + vn)
        slope_u, slope_v = un / u * scale / (self.major / 2), vn / v * scale / (self.minor / 2)
        distance: Array = (radius - 1) / np.sqrt(slope_u * slope_u + slope_v * slope_v)
        return distance

    def height(self, y: Array, x: Array) -> Array:
        """Dome and wrinkles of points ``(n, 1)`` and ``(1, m)``; 0 outside."""
        radius = self.radius(y, x)
        inside = np.maximum(1 - radius * radius, 0)
        dome = self.relief * self.minor / 2 * np.sqrt(inside)
        waves = np.zeros_like(radius)
        for wrinkle in self.wrinkles:
            waves += wrinkle.wave(y - self.y, x - self.x)
        result: Array = dome + waves * np.minimum(4 * inside, 1)
        return result

    def _scaled(self, y: Array, x: Array) -> tuple[Array, Array]:
        u, v = rotate(y - self.y, x - self.x, math.radians(self.angle))
        return np.abs(u) / (self.major / 2), np.abs(v) / (self.minor / 2)


def draw_wrinkles(draws: Draws, strength: float) -> tuple[Wrinkle, ...]:
    """Waves of random directions about a common one, the short ones lower."""
    grain = draws.uniform(0, 180)
    wrinkles = []
    for _ in range(WRINKLES):
        wavelength = draws.uniform(8, 26)
        amplitude = round(strength * wavelength / 26 * draws.uniform(0.6, 1.2), DECIMALS)
        wrinkles.append(
            Wrinkle(wavelength, draws.uniform(grain - 60, grain + 60), draws.uniform(0, 1), amplitude)
        )
    return tuple(wrinkles)


PITCHES, HOLES = (10.0, 18.0), (4.0, 9.0)
"""Distances of neighbouring pores and diameters of pores, HR pixels."""


@dataclass(frozen=True)
class Pore:
    """A round pore; ``i`` and ``j`` count lattice vectors from the origin."""

    i: int
    j: int
    y: float
    x: float
    diameter: float


@dataclass(frozen=True)
class Lattice:
    """Pores at ``origin`` + i ``first`` + j ``second``. Lengths in HR pixels, vectors (y, x).

    Attributes:
        pitch: distance of neighbours.
        diameter: mean diameter of the pores.
        origin: place of pore (0, 0).
        first: lattice vector.
        second: lattice vector, turned by 60 degrees.
        pores: those that are open.
        missing: places (i, j, y, x) of pores that are closed.
    """

    pitch: float
    diameter: float
    origin: Point
    first: Point
    second: Point
    pores: tuple[Pore, ...]
    missing: tuple[tuple[int, int, float, float], ...]

    def as_truth(self) -> dict[str, Any]:
        """Vectors, pores and what is missing."""
        return {
            "pitch": self.pitch,
            "mean_diameter": self.diameter,
            "origin": list(self.origin),
            "vectors": [list(self.first), list(self.second)],
            "count": len(self.pores),
            "pores": [asdict(pore) for pore in self.pores],
            "missing": [{"i": i, "j": j, "y": y, "x": x} for i, j, y, x in self.missing],
        }


def draw_lattice(draws: Draws, body: Cell) -> Lattice:
    """A lattice that fills a body up to its rim; about one pore in 40 is closed."""
    pitch = draws.uniform(*PITCHES)
    diameter = round(min(pitch * draws.uniform(0.44, 0.6), HOLES[1] / 1.06), DECIMALS)
    turn = draws.uniform(0, 60)
    first, second = (_vector(pitch, turn + extra) for extra in (0, 60))
    origin = (round(body.y + draws.uniform(-4, 4), DECIMALS), round(body.x + draws.uniform(-4, 4), DECIMALS))
    pores, missing = [], []
    for i, j, y, x in _places(body, pitch, origin, first, second):
        if draws.chance(1 / 40):
            missing.append((i, j, y, x))
        else:
            size = min(max(diameter * draws.uniform(0.95, 1.05), HOLES[0]), HOLES[1])
            pores.append(Pore(i, j, y, x, round(size, DECIMALS)))
    return Lattice(pitch, diameter, origin, first, second, tuple(pores), tuple(missing))


def _vector(length: float, degrees: float) -> Point:
    angle = math.radians(degrees)
    return round(length * math.sin(angle), DECIMALS), round(length * math.cos(angle), DECIMALS)


def _places(
    body: Cell, pitch: float, origin: Point, first: Point, second: Point
) -> list[tuple[int, int, float, float]]:
    """Lattice points of a body, at least 0.75 pitches from its outline."""
    reach = math.ceil(1.2 * math.hypot(body.major, body.minor) / 2 / pitch)
    steps = np.arange(-reach, reach + 1, dtype=np.float64)
    i, j = steps[:, None], steps[None, :]
    y = np.round(origin[0] + i * first[0] + j * second[0], DECIMALS)
    x = np.round(origin[1] + i * first[1] + j * second[1], DECIMALS)
    deep = np.round(body.distance(y, x), DECIMALS) < -0.75 * pitch
    return [
        (int(row) - reach, int(column) - reach, float(y[row, column]), float(x[row, column]))
        for row, column in zip(*np.nonzero(deep), strict=True)
    ]


REACH = 24.0
"""HR pixels beyond an outline up to which the ground knows of it."""


@dataclass(frozen=True)
class Tissue:
    """The specimen. Lengths in HR pixels.

    Attributes:
        style: ``cells``, ``diatom`` or ``both``.
        emission: yield of the cells.
        shell: yield of the shell.
        ground: yield of the membrane below.
        grain: texture amplitude of the cells.
        ground_grain: texture amplitude of the membrane.
        roughness: ruffles of the cells.
        ground_roughness: relief of the membrane.
        shadow: depth added beside a cell: what lies there sees less of the detector.
        shadow_length: where that shadow ends.
    """

    style: str
    emission: float
    shell: float
    ground: float
    grain: float
    ground_grain: float
    roughness: float
    ground_roughness: float
    shadow: float
    shadow_length: float


@dataclass(frozen=True)
class BiologicalScene(Scene):
    """Cells, the lowest first; ``lattice`` is in the last one.

    Attributes:
        cells: and the shell.
        lattice: of the shell; None without a shell.
        feet: filopodia that hold the cells, below all of them.
        specks: vesicles on the cells, granules and pits on the membrane.
    """

    size: int
    tissue: Tissue
    optics: Optics
    cells: tuple[Cell, ...]
    lattice: Lattice | None
    feet: tuple[Strip, ...]
    specks: tuple[Speck, ...]

    def truth(self) -> dict[str, Any]:
        """Cells in z-order, the lattice of the shell, and all small things.

        ``cells``: for each ``y``, ``x``, ``major``, ``minor`` (full lengths), ``exponent``, ``angle``, exact
        ``area``, ``visible_area`` (in the image, not hidden by later cells; small features are not deducted),
        ``border`` (may reach out of the image) and ``shell``. ``lattice``: pitch, ``vectors`` (y, x),
        ``count``, every pore with its diameter, and the ``missing`` ones; None without a shell. ``feet``:
        centre lines, widths and lengths of the filopodia (what cells hide of them is not deducted).
        """
        return {
            "style": self.tissue.style,
            "tissue": record(self.tissue),
            "cells": self._cell_entries(),
            "lattice": self.lattice.as_truth() if self.lattice else None,
            "feet": [foot.as_truth(self.size) for foot in self.feet],
            "small_features": [
                *(speck.as_truth() for speck in self.specks),
                *(
                    {"type": "pore", "y": pore.y, "x": pore.x, "diameter": pore.diameter}
                    for pore in self._fine_pores()
                ),
            ],
        }

    def without(self, feature: int) -> BiologicalScene:
        """The scene lacking one vesicle, granule, pit or fine pore."""
        gone = (*self.specks, *self._fine_pores())[feature]
        specks = tuple(speck for speck in self.specks if speck is not gone)
        lattice = self.lattice and replace(
            self.lattice, pores=tuple(pore for pore in self.lattice.pores if pore is not gone)
        )
        return replace(self, specks=specks, lattice=lattice)

    def layers(self, grid: FineGrid) -> Layers:
        """Draw the feet, the cells one by one, the pores of the shell, and the small things."""
        tissue = self.tissue
        layers = Layers(
            emission=grid.full(tissue.ground),
            height=grid.full(0.0),
            distance=grid.full(REACH),
            depth=grid.full(6.0),
            grain=grid.full(tissue.ground_grain),
            roughness=grid.full(tissue.ground_roughness),
        )
        self._draw_feet(layers, grid)
        for number, cell in enumerate(self.cells):
            self._draw_cell(layers, cell, self._is_shell(number), grid)
        for pore in self.lattice.pores if self.lattice else ():
            hole = Speck("pore", pore.y, pore.x, pore.diameter)
            draw_hole(layers, hole, 0.4 * tissue.ground, 14.0, grid)
        for speck in self.specks:
            self._draw_speck(layers, speck, grid)
        return layers

    def _draw_feet(self, layers: Layers, grid: FineGrid) -> None:
        distance = grid.full(REACH)
        for foot in self.feet:
            foot.lower(distance, grid, 8.0)
        share = coverage(distance, grid.step)
        put_edge(layers, (slice(None), slice(None)), distance)
        layers.height[...] += np.clip(-distance, 0, 2)
        blend(layers.emission, self.tissue.emission, share)
        blend(layers.depth, 3.0, share)

    def _draw_cell(self, layers: Layers, cell: Cell, shell: bool, grid: FineGrid) -> None:
        tissue = self.tissue
        part = window(grid, cell.box, tissue.shadow_length)
        distance = cell.distance(part.y, part.x)
        share = coverage(distance, grid.step)
        layers.depth[part.place] += tissue.shadow * shadow(distance, tissue.shadow_length)
        put_edge(layers, part.place, distance)
        emission = (tissue.shell if shell else tissue.emission) * cell.brightness
        blend(layers.emission[part.place], emission, share)
        blend(layers.height[part.place], cell.height(part.y, part.x), share)
        blend(layers.depth[part.place], 0.0, share)
        blend(layers.grain[part.place], tissue.grain, share)
        blend(layers.roughness[part.place], tissue.roughness * (0.3 if shell else 1.0), share)

    def _draw_speck(self, layers: Layers, speck: Speck, grid: FineGrid) -> None:
        tissue = self.tissue
        if speck.type == "pit":
            draw_hole(layers, speck, 0.4 * tissue.ground, 14.0, grid)
        else:
            ball = Ball(speck.y, speck.x, speck.diameter, tissue.emission * speck.brightness)
            paint_ball(layers, grid, ball, 6.0, 5.0)

    def _is_shell(self, number: int) -> bool:
        return self.lattice is not None and number == len(self.cells) - 1

    def _fine_pores(self) -> list[Pore]:
        """Pores of the shell that are small features and lie in the image."""
        if self.lattice is None:
            return []
        inside = [p for p in self.lattice.pores if min(p.y, p.x) > 3 and max(p.y, p.x) < self.size - 4]
        return [pore for pore in inside if pore.diameter <= SMALL[1]]

    def _cell_entries(self) -> list[dict[str, Any]]:
        seen = visible_areas(self.size, [(cell.box, cell.distance) for cell in self.cells])
        return [
            {
                "z": z,
                **{name: getattr(cell, name) for name in _OUTLINE},
                "area": cell.area,
                "visible_area": min(round(area, DECIMALS), cell.area),
                "border": min(cell.box) < -0.5 or max(cell.box) > self.size - 0.5,
                "shell": self._is_shell(z),
            }
            for z, (cell, area) in enumerate(zip(self.cells, seen, strict=True))
        ]


_OUTLINE = ("y", "x", "major", "minor", "exponent", "angle")


@register_scene(code=0)
def biological(draws: Draws, size: int) -> BiologicalScene:
    """Draw cells, a shell or both."""
    style = draws.choice(("cells", "cells", "diatom", "both"))
    tissue = _tissue(draws, style)
    cells = () if style == "diatom" else _cells(draws, size)
    lattice = None
    feet = tuple(foot for cell in cells for foot in _feet(draws, cell))
    if style != "cells":
        shell = _shell(draws, size, style == "both")
        lattice = draw_lattice(draws, shell)
        cells = (*cells, shell)
    specks = _specks(draws, cells, lattice, size)
    return BiologicalScene(size, tissue, _optics(draws, style), cells, lattice, feet, specks)


def _tissue(draws: Draws, style: str) -> Tissue:
    ground = draws.uniform(0.16, 0.28)
    return Tissue(
        style=style,
        emission=round(ground + draws.uniform(0.02, 0.16), DECIMALS),
        shell=round(ground + draws.uniform(0.1, 0.24), DECIMALS),
        ground=ground,
        grain=draws.uniform(0.03, 0.08),
        ground_grain=draws.uniform(0.05, 0.13),
        roughness=draws.uniform(0.3, 1.0),
        ground_roughness=draws.uniform(0.08, 0.4),
        shadow=draws.uniform(6, 16),
        shadow_length=draws.uniform(8, 20),
    )


def _optics(draws: Draws, style: str) -> Optics:
    return Optics(
        tilt_exponent=draws.uniform(0.8, 1.2),
        bloom=draws.uniform(0.03, 0.12) if style == "cells" else draws.uniform(0.14, 0.3),
        bloom_length=draws.uniform(1.5, 3.5),
        shadow=draws.uniform(0.15, 0.4),
        shadow_length=draws.uniform(4, 9),
        asymmetry=draws.uniform(0.2, 0.45),
        detector_angle=draws.uniform(-150, -30),
        shading=draws.uniform(0.4, 0.7),
        shading_length=draws.uniform(10, 20),
        relief_wavelength=draws.uniform(4.5, 9),
        texture_length=draws.uniform(0.8, 1.6),
        waves=draws.uniform(0.03, 0.09),
        spot=draws.uniform(0.55, 0.8),
        astigmatism=draws.uniform(1, 1.25),
        spot_angle=draws.uniform(0, 180),
        charging=draws.uniform(0.05, 0.3),
        charging_length=draws.uniform(30, 120),
        black=draws.uniform(0.08, 0.22),
        white=draws.uniform(0.7, 0.9),
    )


def _cells(draws: Draws, size: int) -> tuple[Cell, ...]:
    """Three to eight cells; they overlap a little where there is no room to avoid it."""
    count = draws.integer(3, 8)
    typical = 0.8 * size / math.sqrt(count)
    cells: list[Cell] = []
    for _ in range(count):
        major = typical * draws.uniform(0.8, 1.3)
        cell = Cell(
            y=0.0,
            x=0.0,
            major=round(major, DECIMALS),
            minor=round(major * draws.uniform(0.5, 0.95), DECIMALS),
            exponent=draws.uniform(1.8, 2.8),
            angle=draws.uniform(0, 180),
            relief=draws.uniform(0.35, 0.8),
            brightness=draws.uniform(0.9, 1.1),
            wrinkles=draw_wrinkles(draws, draws.uniform(0.4, 1.8)),
        )
        cells.append(_placed(draws, cell, cells, size))
    return tuple(cells)


def _placed(draws: Draws, cell: Cell, others: list[Cell], size: int) -> Cell:
    """The roomiest of some random places."""
    best, most = cell, -math.inf
    for _ in range(12):
        moved = replace(cell, y=draws.uniform(0, size), x=draws.uniform(0, size))
        room = min(
            (
                math.hypot(moved.y - other.y, moved.x - other.x) - (moved.major + other.major) / 2
                for other in others
            ),
            default=0.0,
        )
        if round(room, DECIMALS) > most:
            best, most = moved, round(room, DECIMALS)
    return best


def _shell(draws: Draws, size: int, among_cells: bool) -> Cell:
    """A diatom's shell: flat, round or boat-shaped, most of it in the image."""
    major = size * (draws.uniform(0.45, 0.7) if among_cells else draws.uniform(0.7, 1.15))
    return Cell(
        y=round(size * draws.uniform(0.35, 0.65), DECIMALS),
        x=round(size * draws.uniform(0.35, 0.65), DECIMALS),
        major=round(major, DECIMALS),
        minor=round(major * draws.choice((draws.uniform(0.9, 1.0), draws.uniform(0.35, 0.6))), DECIMALS),
        exponent=draws.uniform(1.8, 2.4),
        angle=draws.uniform(0, 180),
        relief=draws.uniform(0.15, 0.45),
        brightness=1.0,
        wrinkles=draw_wrinkles(draws, draws.uniform(0.0, 0.2)),
    )


def _feet(draws: Draws, cell: Cell) -> list[Strip]:
    """Filopodia: thin, slightly bent, from within the margin of a cell outwards."""
    feet = []
    for _ in range(draws.integer(0, 18)):
        turn = draws.uniform(0, 360)
        heading = math.radians(turn)
        down, right = math.sin(heading), math.cos(heading)
        edge = 1 / float(cell.radius(np.asarray(cell.y + down), np.asarray(cell.x + right)))
        bend, length, width = draws.uniform(-8, 8), draws.uniform(12, 60), draws.uniform(2.4, 4.5)
        y, x = cell.y + (edge - 4) * down, cell.x + (edge - 4) * right
        points = [(y, x)]
        for k in range(1, 5):
            angle = math.radians(turn + k * bend)
            y, x = y + length / 4 * math.sin(angle), x + length / 4 * math.cos(angle)
            points.append((y, x))
        rounded = tuple((round(y, DECIMALS), round(x, DECIMALS)) for y, x in points)
        widths = tuple(round(max(width * (1 - 0.1 * k), 2.0), DECIMALS) for k in range(5))
        feet.append(Strip(rounded, widths))
    return feet


def _specks(draws: Draws, cells: tuple[Cell, ...], lattice: Lattice | None, size: int) -> tuple[Speck, ...]:
    """Vesicles on the cells, granules and pits beside them, clear of outlines and pores."""
    pores = np.array([(pore.y, pore.x) for pore in lattice.pores] if lattice else [(-99.0, -99.0)])

    def accept(kind: str, y: float, x: float, diameter: float) -> bool:
        apart = float(np.square(pores - (y, x)).sum(axis=1).min()) > (diameter / 2 + 6) ** 2
        if not apart:
            return False
        place = np.asarray(y), np.asarray(x)
        walls = [round(float(cell.distance(*place)), DECIMALS) for cell in cells]
        clear = all(abs(wall) > diameter / 2 + 1.5 for wall in walls)
        return clear and (min(walls) < 0) == (kind == "vesicle")

    types = ("vesicle", "vesicle", "vesicle", "vesicle", "granule", "pit")
    return scatter(draws, size, round(size * size / 1500), types, accept)
