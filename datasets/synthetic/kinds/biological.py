"""Cells on a filter membrane, and the perforated silica shell of a diatom.

Cells are soft domes that may overlap, with wrinkles, fine feet and vesicles; the shell has a hexagonal
lattice of pores. Vesicles, granules, pits of the membrane and the finer pores have 2 to 6 HR pixels (0.5 to
1.5 LR pixels at x4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from srbench.datasets.synthetic.drawing import (
    SMALL,
    Ball,
    Box,
    Speck,
    Strip,
    blend,
    put_edge,
    render_ball,
    render_hole,
    scatter,
    shadow,
    window,
)
from srbench.datasets.synthetic.geometry import FineGrid, coverage, rotate
from srbench.datasets.synthetic.imaging import Layers, Optics, sample_optics
from srbench.datasets.synthetic.rng import DECIMALS, Array, RandomStream
from srbench.datasets.synthetic.scene import Scene, feature_entries, register_scene

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
class BiologicalCell:
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

    @cached_property
    def box(self) -> Box:
        """Smallest box with the whole outline (Hölder's inequality gives the support of a superellipse)."""
        turn, n = math.radians(self.angle), self.exponent
        cosine, sine = abs(math.cos(turn)), abs(math.sin(turn))
        a, b, dual = self.major / 2, self.minor / 2, n / (n - 1)
        tall = ((a * sine) ** dual + (b * cosine) ** dual) ** (1 / dual)
        wide = ((a * cosine) ** dual + (b * sine) ** dual) ** (1 / dual)
        y, x = self.y, self.x
        top, left, bottom, right = (round(v, DECIMALS) for v in (y - tall, x - wide, y + tall, x + wide))
        return top, left, bottom, right

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


def sample_wrinkles(stream: RandomStream, strength: float) -> tuple[Wrinkle, ...]:
    """Waves of random directions about a common one, the short ones lower."""
    grain = stream.uniform(0, 180)
    wrinkles = []
    for _ in range(WRINKLES):
        wavelength = stream.uniform(8, 26)
        amplitude = round(strength * wavelength / 26 * stream.uniform(0.6, 1.2), DECIMALS)
        wrinkles.append(
            Wrinkle(wavelength, stream.uniform(grain - 60, grain + 60), stream.uniform(0, 1), amplitude)
        )
    return tuple(wrinkles)


PITCHES, HOLES = (10.0, 18.0), (4.0, 9.0)
"""Distances of neighbouring pores and diameters of pores, HR pixels."""


@dataclass(frozen=True)
class Pore:
    """A round pore."""

    y: float
    x: float
    diameter: float


def sample_pores(stream: RandomStream, body: BiologicalCell) -> tuple[Pore, ...]:
    """A hexagonal lattice of pores that fills a body up to its rim; about one pore in 40 is closed."""
    pitch = stream.uniform(*PITCHES)
    diameter = round(min(pitch * stream.uniform(0.44, 0.6), HOLES[1] / 1.06), DECIMALS)
    turn = stream.uniform(0, 60)
    angles = [math.radians(turn + extra) for extra in (0, 60)]
    vectors = [
        (round(pitch * math.sin(angle), DECIMALS), round(pitch * math.cos(angle), DECIMALS))
        for angle in angles
    ]
    origin = tuple(round(centre + stream.uniform(-4, 4), DECIMALS) for centre in (body.y, body.x))
    reach = math.ceil(1.2 * math.hypot(body.major, body.minor) / 2 / pitch)
    steps = np.arange(-reach, reach + 1, dtype=np.float64)
    i, j = steps[:, None], steps[None, :]
    y, x = (np.round(origin[k] + i * vectors[0][k] + j * vectors[1][k], DECIMALS) for k in (0, 1))
    # At least 0.75 pitches from the outline.
    deep = np.round(body.distance(y, x), DECIMALS) < -0.75 * pitch
    pores = []
    for row, column in zip(*np.nonzero(deep), strict=True):
        if not stream.chance(1 / 40):
            hole = min(max(diameter * stream.uniform(0.95, 1.05), HOLES[0]), HOLES[1])
            pores.append(Pore(float(y[row, column]), float(x[row, column]), round(hole, DECIMALS)))
    return tuple(pores)


REACH = 24.0
"""HR pixels beyond an outline up to which the ground knows of it."""


@dataclass(frozen=True)
class Tissue:
    """The specimen. Lengths in HR pixels.

    Attributes:
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
    """Cells, the lowest first; ``pores`` are in the last one.

    Attributes:
        cells: and the shell.
        pores: of the shell; None without a shell.
        feet: filopodia that hold the cells, below all of them.
        specks: vesicles on the cells, granules and pits on the membrane.
    """

    size: int
    tissue: Tissue
    optics: Optics
    cells: tuple[BiologicalCell, ...]
    pores: tuple[Pore, ...] | None
    feet: tuple[Strip, ...]
    specks: tuple[Speck, ...]

    def truth(self) -> dict[str, Any]:
        """Vesicles, granules, pits, and the finer pores of the shell in the image."""
        inside = [p for p in self.pores or () if min(p.y, p.x) > 3 and max(p.y, p.x) < self.size - 4]
        fine = [pore for pore in inside if pore.diameter <= SMALL[1]]
        return {"small_features": feature_entries(self.specks) + feature_entries(fine, "pore")}

    def layers(self, grid: FineGrid) -> Layers:
        """Render the feet, the cells one by one, the pores of the shell, and the small things."""
        tissue = self.tissue
        layers = Layers(
            emission=grid.full(tissue.ground),
            height=grid.full(0.0),
            distance=grid.full(REACH),
            depth=grid.full(6.0),
            grain=grid.full(tissue.ground_grain),
            roughness=grid.full(tissue.ground_roughness),
        )
        self._render_feet(layers, grid)
        for number, cell in enumerate(self.cells):
            is_shell = self.pores is not None and number == len(self.cells) - 1
            self._render_cell(layers, cell, is_shell, grid)
        for pore in self.pores or ():
            hole = Speck("pore", pore.y, pore.x, pore.diameter)
            render_hole(layers, hole, 0.4 * tissue.ground, 14.0, grid)
        for speck in self.specks:
            if speck.type == "pit":
                render_hole(layers, speck, 0.4 * tissue.ground, 14.0, grid)
            else:
                ball = Ball(speck.y, speck.x, speck.diameter, tissue.emission * speck.brightness)
                render_ball(layers, grid, ball, 6.0, 5.0)
        return layers

    def _render_feet(self, layers: Layers, grid: FineGrid) -> None:
        distance = grid.full(REACH)
        for foot in self.feet:
            foot.lower(distance, grid, 8.0)
        share = coverage(distance, grid.step)
        put_edge(layers, (slice(None), slice(None)), distance)
        layers.height[...] += np.clip(-distance, 0, 2)
        blend(layers.emission, self.tissue.emission, share)
        blend(layers.depth, 3.0, share)

    def _render_cell(self, layers: Layers, cell: BiologicalCell, shell: bool, grid: FineGrid) -> None:
        tissue = self.tissue
        part = window(grid, cell.box, tissue.shadow_length)
        distance = cell.distance(part.y, part.x)
        share = coverage(distance, grid.step)
        layers.depth[part.span] += tissue.shadow * shadow(distance, tissue.shadow_length)
        put_edge(layers, part.span, distance)
        emission = (tissue.shell if shell else tissue.emission) * cell.brightness
        blend(layers.emission[part.span], emission, share)
        blend(layers.height[part.span], cell.height(part.y, part.x), share)
        blend(layers.depth[part.span], 0.0, share)
        blend(layers.grain[part.span], tissue.grain, share)
        blend(layers.roughness[part.span], tissue.roughness * (0.3 if shell else 1.0), share)


@register_scene(code=0)
def biological(stream: RandomStream, size: int) -> BiologicalScene:
    """Cells, a shell or both."""
    style = stream.choice(("cells", "cells", "diatom", "both"))
    tissue = _tissue(stream)
    cells = () if style == "diatom" else _cells(stream, size)
    pores = None
    feet = tuple(foot for cell in cells for foot in _feet(stream, cell))
    if style != "cells":
        shell = _shell(stream, size, style == "both")
        pores = sample_pores(stream, shell)
        cells = (*cells, shell)
    specks = _specks(stream, cells, pores, size)
    return BiologicalScene(size, tissue, _optics(stream, style), cells, pores, feet, specks)


def _tissue(stream: RandomStream) -> Tissue:
    ground = stream.uniform(0.16, 0.28)
    return Tissue(
        emission=round(ground + stream.uniform(0.02, 0.16), DECIMALS),
        shell=round(ground + stream.uniform(0.1, 0.24), DECIMALS),
        ground=ground,
        **stream.table(
            {
                "grain": (0.03, 0.08),
                "ground_grain": (0.05, 0.13),
                "roughness": (0.3, 1.0),
                "ground_roughness": (0.08, 0.4),
                "shadow": (6, 16),
                "shadow_length": (8, 20),
            }
        ),
    )


def _optics(stream: RandomStream, style: str) -> Optics:
    return sample_optics(
        stream,
        {
            "tilt_exponent": (0.8, 1.2),
            "bloom": (0.03, 0.12) if style == "cells" else (0.14, 0.3),
            "bloom_length": (1.5, 3.5),
            "shadow": (0.15, 0.4),
            "shadow_length": (4, 9),
            "asymmetry": (0.2, 0.45),
            "detector_angle": (-150, -30),
            "shading": (0.4, 0.7),
            "shading_length": (10, 20),
            "relief_wavelength": (4.5, 9),
            "texture_length": (0.8, 1.6),
            "waves": (0.03, 0.09),
            "spot": (0.55, 0.8),
            "charging": (0.05, 0.3),
            "charging_length": (30, 120),
            "black": (0.08, 0.22),
            "white": (0.7, 0.9),
        },
    )


def _cells(stream: RandomStream, size: int) -> tuple[BiologicalCell, ...]:
    """Three to eight cells; they overlap a little where there is no room to avoid it."""
    count = stream.integer(3, 8)
    typical = 0.8 * size / math.sqrt(count)
    cells: list[BiologicalCell] = []
    for _ in range(count):
        major = typical * stream.uniform(0.8, 1.3)
        cell = BiologicalCell(
            y=0.0,
            x=0.0,
            major=round(major, DECIMALS),
            minor=round(major * stream.uniform(0.5, 0.95), DECIMALS),
            exponent=stream.uniform(1.8, 2.8),
            angle=stream.uniform(0, 180),
            relief=stream.uniform(0.35, 0.8),
            brightness=stream.uniform(0.9, 1.1),
            wrinkles=sample_wrinkles(stream, stream.uniform(0.4, 1.8)),
        )
        cells.append(_placed(stream, cell, cells, size))
    return tuple(cells)


def _placed(
    stream: RandomStream, cell: BiologicalCell, others: list[BiologicalCell], size: int
) -> BiologicalCell:
    """The cell at the roomiest of some random positions."""
    best, most = cell, -math.inf
    for _ in range(12):
        moved = replace(cell, y=stream.uniform(0, size), x=stream.uniform(0, size))
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


def _shell(stream: RandomStream, size: int, among_cells: bool) -> BiologicalCell:
    """A diatom's shell: flat, round or boat-shaped, most of it in the image."""
    major = size * (stream.uniform(0.45, 0.7) if among_cells else stream.uniform(0.7, 1.15))
    return BiologicalCell(
        y=round(size * stream.uniform(0.35, 0.65), DECIMALS),
        x=round(size * stream.uniform(0.35, 0.65), DECIMALS),
        major=round(major, DECIMALS),
        minor=round(major * stream.choice((stream.uniform(0.9, 1.0), stream.uniform(0.35, 0.6))), DECIMALS),
        exponent=stream.uniform(1.8, 2.4),
        angle=stream.uniform(0, 180),
        relief=stream.uniform(0.15, 0.45),
        brightness=1.0,
        wrinkles=sample_wrinkles(stream, stream.uniform(0.0, 0.2)),
    )


def _feet(stream: RandomStream, cell: BiologicalCell) -> list[Strip]:
    """Filopodia: thin, slightly bent, from within the margin of a cell outwards."""
    feet = []
    for _ in range(stream.integer(0, 18)):
        turn = stream.uniform(0, 360)
        heading = math.radians(turn)
        down, right = math.sin(heading), math.cos(heading)
        edge = 1 / float(cell.radius(np.asarray(cell.y + down), np.asarray(cell.x + right)))
        bend, length, width = stream.uniform(-8, 8), stream.uniform(12, 60), stream.uniform(2.4, 4.5)
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


def _specks(
    stream: RandomStream, cells: tuple[BiologicalCell, ...], pores: tuple[Pore, ...] | None, size: int
) -> tuple[Speck, ...]:
    """Vesicles on the cells, granules and pits beside them, clear of outlines and pores."""
    centres = np.array([(pore.y, pore.x) for pore in pores or ()] or [(-99.0, -99.0)])

    def accept(kind: str, y: float, x: float, diameter: float) -> bool:
        apart = float(np.square(centres - (y, x)).sum(axis=1).min()) > (diameter / 2 + 6) ** 2
        if not apart:
            return False
        walls = [round(float(cell.distance(np.asarray(y), np.asarray(x))), DECIMALS) for cell in cells]
        clear = all(abs(wall) > diameter / 2 + 1.5 for wall in walls)
        return clear and (min(walls) < 0) == (kind == "vesicle")

    types = ("vesicle", "vesicle", "vesicle", "vesicle", "granule", "pit")
    return scatter(stream, size, round(size * size / 1500), types, accept)
