"""A powder: angular grains lying on each other, each facet shaded by its own tilt.

Grains are convex polyhedra of 10 to 60 HR pixels, drawn in z-order: later ones hide earlier ones. Fines of
2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4) lie on top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import (
    MARGIN,
    Array,
    FineGrid,
    Point,
    convex_distance,
    convex_hull,
    coverage,
    polygon_centroid,
    rounded_area,
    side_distances,
)
from srbench.datasets.synthetic.imaging import Layers, Optics
from srbench.datasets.synthetic.painting import SMALL, Box, blend, put_edge, shadow, visible_areas, window
from srbench.datasets.synthetic.records import record
from srbench.datasets.synthetic.scene import Scene, register_scene


@dataclass(frozen=True)
class Crystal:
    """A grain. Lengths in HR pixels.

    Attributes:
        vertices: corners (y, x) of the polygon; the outline is what lies within ``rounding`` of it.
        rounding: radius of the outline's corners.
        slopes: rise of the facet at each side, per HR pixel.
        top: height of the top facet at the centre, and its slopes along rows and columns.
        brightness: factor of the yield.
        depth: how far below the topmost grains it lies.
        small: whether it is one of the fines.
    """

    vertices: tuple[Point, ...]
    rounding: float
    slopes: tuple[float, ...]
    top: tuple[float, float, float]
    brightness: float
    depth: float
    small: bool = False

    @cached_property
    def centre(self) -> Point:
        """Centre of gravity of the polygon."""
        y, x = polygon_centroid(self.vertices)
        return round(y, DECIMALS), round(x, DECIMALS)

    @property
    def area(self) -> float:
        """Area of the outline, hidden parts included."""
        return round(rounded_area(self.vertices, self.rounding), DECIMALS)

    @property
    def diameter(self) -> float:
        """Diameter of the circle of equal area."""
        return round(math.sqrt(4 * rounded_area(self.vertices, self.rounding) / math.pi), DECIMALS)

    @property
    def feret(self) -> float:
        """Greatest width of the outline."""
        return round(_widest(self.vertices) + 2 * self.rounding, DECIMALS)

    @property
    def box(self) -> Box:
        """Smallest row and column and largest row and column of the outline."""
        y, x = zip(*self.vertices, strict=True)
        r = self.rounding
        return min(y) - r, min(x) - r, max(y) + r, max(x) + r

    def distance(self, y: Array, x: Array) -> Array:
        """Signed distance to the outline, exact near it (see ``convex_distance``)."""
        return convex_distance(y, x, self.vertices, self.rounding + 1) - self.rounding

    def facets(self, y: Array, x: Array) -> tuple[Array, Array]:
        """Height of the polyhedron, and how far below the next facet's plane it is: 0 at a ridge."""
        cy, cx = self.centre
        height, rise_y, rise_x = self.top
        lowest = (height + rise_y * (y - cy)) + rise_x * (x - cx)
        second = np.full(lowest.shape, np.inf)
        planes = side_distances(y, x, self.vertices)
        for slope, side in zip(self.slopes, planes, strict=True):
            plane = slope * (self.rounding - side)
            np.minimum(second, np.maximum(lowest, plane), out=second)
            np.minimum(lowest, plane, out=lowest)
        return np.maximum(lowest, 0), second - lowest

    def moved(self, y: float, x: float) -> Crystal:
        """The same grain with its vertices shifted."""
        corners = tuple((round(v + y, DECIMALS), round(u + x, DECIMALS)) for v, u in self.vertices)
        return replace(self, vertices=corners)


def _widest(points: tuple[Point, ...]) -> float:
    return max(math.dist(a, b) for a in points for b in points)


def random_outline(
    draws: Draws, feret: float, rounding: float, corners: tuple[int, int], elongation: float
) -> tuple[Point, ...]:
    """A random convex polygon about the origin whose outline, rounding included, is ``feret`` wide.

    Args:
        draws: random numbers.
        feret: greatest width of the outline.
        rounding: radius of its corners, less than half of ``feret``.
        corners: least and greatest number before the convex hull is taken.
        elongation: largest ratio of the axes.
    """
    count, stretch = draws.integer(*corners), draws.uniform(1, elongation)
    turn, phase = draws.uniform(0, 2 * math.pi), draws.uniforms(1)[0]
    points = []
    for k in range(count):
        angle = 2 * math.pi * (k + phase + draws.uniform(-0.36, 0.36)) / count
        radius = draws.uniform(0.75, 1.0)
        u, v = radius * stretch * math.cos(angle), radius * math.sin(angle)
        points.append(
            (u * math.sin(turn) + v * math.cos(turn), u * math.cos(turn) - v * math.sin(turn)),
        )
    hull = convex_hull([(round(y, DECIMALS), round(x, DECIMALS)) for y, x in points])
    scale = (feret - 2 * rounding) / _widest(tuple(hull))
    return tuple((round(y * scale, DECIMALS), round(x * scale, DECIMALS)) for y, x in hull)


SIZES = (10.0, 60.0)
"""Greatest widths of the grains, HR pixels."""
COUNTS = (100, 400)
"""Grains in 384 x 384 HR pixels."""


@dataclass(frozen=True)
class Batch:
    """What kind of powder it is. Lengths in HR pixels.

    Attributes:
        style: ``crystals`` (smooth, sharp), ``grit`` (crushed, rough) or ``flakes`` (flat plates).
        density: grains in 384 x 384 HR pixels.
        median: median of the greatest widths.
        gsd: their geometric standard deviation.
        corners: least and greatest number of corners.
        elongation: largest ratio of the axes.
        rounding: radius of a corner over the width.
        slope: least and greatest rise of the facets.
        flatness: height of a grain over its width.
        tilt: largest slope of a top facet.
        clumping: share of the grains that lie in clumps.
        ridge: brightening at the ridges between facets.
        depth: of the ground below the topmost grains.
        shadow: depth added beside a grain: what lies there sees less of the detector.
        shadow_length: where that shadow ends.
        emission: yield of the grains.
        ground: yield of the ground.
        grain: texture amplitude of the grains.
        roughness: relief on the facets.
    """

    style: str
    density: int
    median: float
    gsd: float
    corners: tuple[int, int]
    elongation: float
    rounding: float
    slope: tuple[float, float]
    flatness: float
    tilt: float
    clumping: float
    ridge: float
    depth: float
    shadow: float
    shadow_length: float
    emission: float
    ground: float
    grain: float
    roughness: float


def draw_batch(draws: Draws) -> Batch:
    """One of the kinds of powder."""
    return draws.choice((_crystals, _grit, _flakes))(draws)


def _amounts(draws: Draws, low: float, high: float, covered: tuple[float, float]) -> tuple[int, float]:
    """Density and median width for which the grains, laid side by side, cover a share of the image."""
    median = draws.uniform(low, high)
    wanted = draws.uniform(*covered) * 384**2 / (0.75 * median**2)
    return min(max(round(wanted), COUNTS[0]), COUNTS[1]), median


def _crystals(draws: Draws) -> Batch:
    density, median = _amounts(draws, 18, 38, (0.7, 2.4))
    return Batch(
        style="crystals",
        density=density,
        median=median,
        gsd=draws.uniform(1.25, 1.5),
        corners=(4, 7),
        elongation=draws.uniform(1.2, 2.2),
        rounding=draws.uniform(0.01, 0.03),
        slope=(0.35, 2.2),
        flatness=draws.uniform(0.3, 0.5),
        tilt=draws.uniform(0.25, 0.5),
        clumping=draws.uniform(0.0, 0.6),
        ridge=draws.uniform(0.02, 0.1),
        depth=draws.uniform(20, 40),
        shadow=draws.uniform(18, 45),
        shadow_length=draws.uniform(5, 10),
        emission=draws.uniform(0.36, 0.5),
        ground=draws.uniform(0.08, 0.2),
        grain=draws.uniform(0.02, 0.05),
        roughness=draws.uniform(0.05, 0.18),
    )


def _grit(draws: Draws) -> Batch:
    density, median = _amounts(draws, 16, 34, (0.9, 2.6))
    return Batch(
        style="grit",
        density=density,
        median=median,
        gsd=draws.uniform(1.4, 1.7),
        corners=(6, 9),
        elongation=draws.uniform(1.4, 2.2),
        rounding=draws.uniform(0.06, 0.14),
        slope=(0.5, 1.8),
        flatness=draws.uniform(0.3, 0.45),
        tilt=draws.uniform(0.2, 0.4),
        clumping=draws.uniform(0.0, 0.5),
        ridge=draws.uniform(0.0, 0.03),
        depth=draws.uniform(20, 40),
        shadow=draws.uniform(18, 45),
        shadow_length=draws.uniform(5, 10),
        emission=draws.uniform(0.36, 0.48),
        ground=draws.uniform(0.06, 0.15),
        grain=draws.uniform(0.06, 0.12),
        roughness=draws.uniform(0.4, 0.8),
    )


def _flakes(draws: Draws) -> Batch:
    density, median = _amounts(draws, 24, 40, (0.9, 2.4))
    return Batch(
        style="flakes",
        density=density,
        median=median,
        gsd=draws.uniform(1.25, 1.5),
        corners=(6, 9),
        elongation=draws.uniform(1.3, 2.0),
        rounding=draws.uniform(0.02, 0.06),
        slope=(1.5, 3.0),
        flatness=draws.uniform(0.06, 0.12),
        tilt=draws.uniform(0.3, 0.6),
        clumping=draws.uniform(0.0, 0.4),
        ridge=draws.uniform(0.02, 0.06),
        depth=draws.uniform(15, 30),
        shadow=draws.uniform(18, 45),
        shadow_length=draws.uniform(5, 10),
        emission=draws.uniform(0.34, 0.46),
        ground=draws.uniform(0.06, 0.16),
        grain=draws.uniform(0.03, 0.06),
        roughness=draws.uniform(0.1, 0.25),
    )


def draw_optics(draws: Draws, batch: Batch) -> Optics:
    """How a powder is imaged."""
    flat = batch.style == "flakes"
    return Optics(
        tilt_exponent=draws.uniform(0.35, 0.6),
        bloom=draws.uniform(0.14, 0.28) if flat else draws.uniform(0.08, 0.2),
        bloom_length=draws.uniform(1.2, 2.2),
        shadow=draws.uniform(0.35, 0.65),
        shadow_length=draws.uniform(2, 4.5),
        asymmetry=draws.uniform(0.25, 0.5),
        detector_angle=draws.uniform(-150, -30),
        shading=draws.uniform(0.5, 0.75),
        shading_length=draws.uniform(18, 30),
        relief_wavelength=draws.uniform(4, 7),
        texture_length=draws.uniform(0.7, 1.3),
        waves=draws.uniform(0.02, 0.07),
        spot=draws.uniform(0.5, 0.75),
        astigmatism=draws.uniform(1, 1.25),
        spot_angle=draws.uniform(0, 180),
        charging=draws.choice((0.0, 0.0, 0.08, 0.15)),
        charging_length=draws.uniform(30, 100),
        black=draws.uniform(0.03, 0.1),
        white=draws.uniform(0.86, 0.96),
    )


def draw_pile(draws: Draws, batch: Batch, size: int) -> tuple[Crystal, ...]:
    """Throw the grains, the deep ones first; some fall into clumps."""
    around = MARGIN + SIZES[1] / 2
    side = size + 2 * around
    count = round(batch.density * (side / 384) ** 2)
    clumps = [
        (draws.uniform(0, size), draws.uniform(0, size), draws.uniform(size / 10, size / 4))
        for _ in range(draws.integer(2, 5))
    ]
    largest = min(SIZES[1], size / 4)
    grains = []
    for z in range(count):
        feret = draws.log_normal(batch.median, batch.gsd, SIZES[0], largest)
        depth = round(batch.depth * 0.9 * (1 - (z + 1) / count), DECIMALS)
        y, x = draws.uniform(-around, size + around), draws.uniform(-around, size + around)
        if draws.chance(batch.clumping):
            centre_y, centre_x, spread = draws.choice(clumps)
            off_y, off_x = draws.normals(2)
            y, x = centre_y + spread * float(off_y), centre_x + spread * float(off_x)
        grains.append(_grain(draws, batch, feret, depth).moved(y, x))
    return tuple(grains)


def _grain(draws: Draws, batch: Batch, feret: float, depth: float) -> Crystal:
    rounding = round(batch.rounding * feret, DECIMALS)
    vertices = random_outline(draws, feret, rounding, batch.corners, batch.elongation)
    height = round(batch.flatness * feret * draws.uniform(0.6, 1.2), DECIMALS)
    tilt = batch.tilt
    return Crystal(
        vertices=vertices,
        rounding=rounding,
        slopes=tuple(draws.uniform(*batch.slope) for _ in vertices),
        top=(height, draws.uniform(-tilt, tilt), draws.uniform(-tilt, tilt)),
        brightness=draws.uniform(0.85, 1.15),
        depth=depth,
    )


def draw_fines(draws: Draws, batch: Batch, size: int) -> tuple[Crystal, ...]:
    """Fines on top of everything, apart from each other."""
    fines: list[Crystal] = []
    for _ in range(round(size * size / 1800 * draws.uniform(0.7, 1.3))):
        fine = replace(
            _grain(draws, batch, draws.uniform(SMALL[0] + 0.5, SMALL[1]), 0.0),
            brightness=draws.uniform(0.95, 1.4),
            small=True,
        ).moved(draws.uniform(4, size - 5), draws.uniform(4, size - 5))
        apart = all(math.dist(fine.centre, other.centre) > 10 for other in fines)
        if apart and SMALL[0] <= fine.diameter <= SMALL[1]:
            fines.append(fine)
    return tuple(fines)


REACH = 24.0
"""HR pixels beyond an outline up to which the ground knows of it."""
SEEN = 10.0
"""Visible area in HR pixels from which on a grain counts as visible."""


@dataclass(frozen=True)
class PowderScene(Scene):
    """Grains, the lowest first, and the fines on top of them."""

    size: int
    batch: Batch
    optics: Optics
    grains: tuple[Crystal, ...]
    fines: tuple[Crystal, ...]

    def truth(self) -> dict[str, Any]:
        """The grains that meet the image, in z-order, the lowest first.

        ``grains``: for each ``z``, ``vertices`` and ``rounding`` (the outline is what lies within
        ``rounding`` of the polygon), ``y`` and ``x`` (centre of the polygon), exact ``area``, ``diameter`` of
        the circle of equal area, ``feret`` (greatest width), ``visible_area`` (in the image, not hidden by
        other grains; fines are not deducted), ``visible`` (that area is at least ``SEEN``) and ``border``
        (not wholly in the image). ``count``, ``count_visible``; ``coverage``: share of the image covered.
        """
        entries = self._entries()
        small = [
            {"type": "fine", "y": fine.centre[0], "x": fine.centre[1], "diameter": fine.diameter}
            for fine in self.fines
        ]
        covered = math.fsum(entry["visible_area"] for entry in entries) / self.size**2
        return {
            "style": self.batch.style,
            "batch": record(self.batch),
            "count": len(entries),
            "count_visible": sum(entry["visible"] for entry in entries),
            "coverage": round(covered, DECIMALS),
            "grains": entries,
            "small_features": small,
        }

    def without(self, feature: int) -> PowderScene:
        """The scene lacking one of the fines."""
        gone = self.fines[feature]
        return replace(self, fines=tuple(fine for fine in self.fines if fine is not gone))

    def layers(self, grid: FineGrid) -> Layers:
        """Draw the grains one by one, each in its own window."""
        batch = self.batch
        layers = Layers(
            emission=grid.full(batch.ground),
            height=grid.full(0.0),
            distance=grid.full(REACH),
            depth=grid.full(batch.depth),
            grain=grid.full(0.15),
            roughness=grid.full(0.3),
        )
        for crystal in (*self.grains, *self.fines):
            _draw_crystal(layers, crystal, batch, grid)
        return layers

    def _entries(self) -> list[dict[str, Any]]:
        seen = visible_areas(self.size, [(crystal.box, crystal.distance) for crystal in self.grains])
        present = [
            (crystal, area)
            for crystal, area in zip(self.grains, seen, strict=True)
            if _meets_image(crystal, self.size)
        ]
        return [_entry(z, crystal, area, self.size) for z, (crystal, area) in enumerate(present)]


def _entry(z: int, crystal: Crystal, visible: float, size: int) -> dict[str, Any]:
    top, left, bottom, right = crystal.box
    return {
        "z": z,
        "vertices": [list(corner) for corner in crystal.vertices],
        "rounding": crystal.rounding,
        "y": crystal.centre[0],
        "x": crystal.centre[1],
        "area": crystal.area,
        "diameter": crystal.diameter,
        "feret": crystal.feret,
        "visible_area": min(round(visible, DECIMALS), crystal.area),
        "visible": visible >= SEEN,
        "border": min(top, left) < -0.5 or max(bottom, right) > size - 0.5,
    }


def _meets_image(crystal: Crystal, size: int) -> bool:
    """Whether any of it is in the image, looked up on the fine grid where that is in doubt."""
    if min(crystal.centre) >= 0 and max(crystal.centre) <= size - 1:
        return True
    grid = FineGrid(size)
    part = window(grid, crystal.box, 1.0)
    inside_y, inside_x = ((axis > -0.5) & (axis < size - 0.5) for axis in (part.y, part.x))
    return bool(((crystal.distance(part.y, part.x) < 0) & inside_y & inside_x).any())


def _draw_crystal(layers: Layers, crystal: Crystal, batch: Batch, grid: FineGrid) -> None:
    near = window(grid, crystal.box, batch.shadow_length)
    distance = crystal.distance(near.y, near.x)
    layers.depth[near.place] += batch.shadow * shadow(distance, batch.shadow_length)
    put_edge(layers, near.place, distance)
    part = window(grid, crystal.box, 1.0)
    share = coverage(distance[part.within(near)], grid.step)
    height, ridge = crystal.facets(part.y, part.x)
    emission = batch.emission * crystal.brightness + batch.ridge * np.exp(-ridge / 1.2)
    blend(layers.emission[part.place], emission, share)
    blend(layers.height[part.place], height, share)
    blend(layers.depth[part.place], crystal.depth, share)
    blend(layers.grain[part.place], batch.grain, share)
    blend(layers.roughness[part.place], 0.0 if crystal.small else batch.roughness, share)


@register_scene(code=8)
def powder(draws: Draws, size: int) -> PowderScene:
    """Draw a powder."""
    batch = draw_batch(draws)
    optics = draw_optics(draws, batch)
    grains = draw_pile(draws, batch, size)
    return PowderScene(size, batch, optics, grains, draw_fines(draws, batch, size))
