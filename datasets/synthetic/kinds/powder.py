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

from srbench.datasets.synthetic.drawing import SMALL, Box, blend, put_edge, shadow, window
from srbench.datasets.synthetic.geometry import (
    MARGIN,
    FineGrid,
    Point,
    convex_distance,
    convex_hull,
    coverage,
    polygon_centroid,
    rounded_area,
    side_distances,
)
from srbench.datasets.synthetic.imaging import Layers, Optics, sample_optics
from srbench.datasets.synthetic.rng import DECIMALS, Array, RandomStream, Spread
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
    def diameter(self) -> float:
        """Diameter of the circle of equal area."""
        return round(math.sqrt(4 * rounded_area(self.vertices, self.rounding) / math.pi), DECIMALS)

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


def random_outline(
    stream: RandomStream, feret: float, rounding: float, corners: tuple[int, int], elongation: float
) -> tuple[Point, ...]:
    """A random convex polygon about the origin whose outline, rounding included, is ``feret`` wide.

    Args:
        stream: random numbers.
        feret: greatest width of the outline.
        rounding: radius of its corners, less than half of ``feret``.
        corners: least and greatest number before the convex hull is taken.
        elongation: largest ratio of the axes.
    """
    count, stretch = stream.integer(*corners), stream.uniform(1, elongation)
    turn, phase = stream.uniform(0, 2 * math.pi), stream.uniforms(1)[0]
    points = []
    for k in range(count):
        angle = 2 * math.pi * (k + phase + stream.uniform(-0.36, 0.36)) / count
        radius = stream.uniform(0.75, 1.0)
        u, v = radius * stretch * math.cos(angle), radius * math.sin(angle)
        points.append(
            (u * math.sin(turn) + v * math.cos(turn), u * math.cos(turn) - v * math.sin(turn)),
        )
    hull = convex_hull([(round(y, DECIMALS), round(x, DECIMALS)) for y, x in points])
    scale = (feret - 2 * rounding) / max(math.dist(a, b) for a in hull for b in hull)
    return tuple((round(y * scale, DECIMALS), round(x * scale, DECIMALS)) for y, x in hull)


SIZES = (10.0, 60.0)
"""Greatest widths of the grains, HR pixels."""
COUNTS = (100, 400)
"""Grains in 384 x 384 HR pixels."""


@dataclass(frozen=True)
class PowderBatch:
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


STYLES = ("crystals", "grit", "flakes")
"""Smooth and sharp; crushed and rough; flat plates."""
_MEDIANS = ((18, 38), (16, 34), (24, 40))
_COVERED = ((0.7, 2.4), (0.9, 2.6), (0.9, 2.4))
"""Share of the image that the grains, laid side by side, would cover."""
_CORNERS = ((4, 7), (6, 9), (6, 9))
_SLOPES = ((0.35, 2.2), (0.5, 1.8), (1.5, 3.0))
_BATCHES: dict[str, tuple[Spread, Spread, Spread]] = {
    "gsd": ((1.25, 1.5), (1.4, 1.7), (1.25, 1.5)),
    "elongation": ((1.2, 2.2), (1.4, 2.2), (1.3, 2.0)),
    "rounding": ((0.01, 0.03), (0.06, 0.14), (0.02, 0.06)),
    "flatness": ((0.3, 0.5), (0.3, 0.45), (0.06, 0.12)),
    "tilt": ((0.25, 0.5), (0.2, 0.4), (0.3, 0.6)),
    "clumping": ((0.0, 0.6), (0.0, 0.5), (0.0, 0.4)),
    "ridge": ((0.02, 0.1), (0.0, 0.03), (0.02, 0.06)),
    "depth": ((20, 40), (20, 40), (15, 30)),
    "shadow": ((18, 45), (18, 45), (18, 45)),
    "shadow_length": ((5, 10), (5, 10), (5, 10)),
    "emission": ((0.36, 0.5), (0.36, 0.48), (0.34, 0.46)),
    "ground": ((0.08, 0.2), (0.06, 0.15), (0.06, 0.16)),
    "grain": ((0.02, 0.05), (0.06, 0.12), (0.03, 0.06)),
    "roughness": ((0.05, 0.18), (0.4, 0.8), (0.1, 0.25)),
}


def sample_batch(stream: RandomStream) -> PowderBatch:
    """One of the kinds of powder."""
    k = stream.integer(0, len(STYLES) - 1)
    median = stream.uniform(*_MEDIANS[k])
    density = stream.uniform(*_COVERED[k]) * 384**2 / (0.75 * median**2)
    return PowderBatch(
        style=STYLES[k],
        density=min(max(round(density), COUNTS[0]), COUNTS[1]),
        median=median,
        corners=_CORNERS[k],
        slope=_SLOPES[k],
        **stream.table({name: styles[k] for name, styles in _BATCHES.items()}),
    )


def _optics(stream: RandomStream, batch: PowderBatch) -> Optics:
    return sample_optics(
        stream,
        {
            "tilt_exponent": (0.35, 0.6),
            "bloom": (0.14, 0.28) if batch.style == "flakes" else (0.08, 0.2),
            "bloom_length": (1.2, 2.2),
            "shadow": (0.35, 0.65),
            "shadow_length": (2, 4.5),
            "asymmetry": (0.25, 0.5),
            "detector_angle": (-150, -30),
            "shading": (0.5, 0.75),
            "shading_length": (18, 30),
            "relief_wavelength": (4, 7),
            "texture_length": (0.7, 1.3),
            "waves": (0.02, 0.07),
            "charging": lambda s: s.choice((0.0, 0.0, 0.08, 0.15)),
            "charging_length": (30, 100),
            "black": (0.03, 0.1),
            "white": (0.86, 0.96),
        },
    )


def sample_pile(stream: RandomStream, batch: PowderBatch, size: int) -> tuple[Crystal, ...]:
    """Throw the grains, the deep ones first; some fall into clumps."""
    around = MARGIN + SIZES[1] / 2
    side = size + 2 * around
    count = round(batch.density * (side / 384) ** 2)
    clumps = [
        (stream.uniform(0, size), stream.uniform(0, size), stream.uniform(size / 10, size / 4))
        for _ in range(stream.integer(2, 5))
    ]
    largest = min(SIZES[1], size / 4)
    grains = []
    for z in range(count):
        feret = stream.log_normal(batch.median, batch.gsd, SIZES[0], largest)
        depth = round(batch.depth * 0.9 * (1 - (z + 1) / count), DECIMALS)
        y, x = stream.uniform(-around, size + around), stream.uniform(-around, size + around)
        if stream.chance(batch.clumping):
            centre_y, centre_x, spread = stream.choice(clumps)
            off_y, off_x = stream.normals(2)
            y, x = centre_y + spread * float(off_y), centre_x + spread * float(off_x)
        grains.append(_grain(stream, batch, feret, depth).moved(y, x))
    return tuple(grains)


def _grain(stream: RandomStream, batch: PowderBatch, feret: float, depth: float) -> Crystal:
    rounding = round(batch.rounding * feret, DECIMALS)
    vertices = random_outline(stream, feret, rounding, batch.corners, batch.elongation)
    height = round(batch.flatness * feret * stream.uniform(0.6, 1.2), DECIMALS)
    tilt = batch.tilt
    return Crystal(
        vertices=vertices,
        rounding=rounding,
        slopes=tuple(stream.uniform(*batch.slope) for _ in vertices),
        top=(height, stream.uniform(-tilt, tilt), stream.uniform(-tilt, tilt)),
        brightness=stream.uniform(0.85, 1.15),
        depth=depth,
    )


def sample_fines(stream: RandomStream, batch: PowderBatch, size: int) -> tuple[Crystal, ...]:
    """Fines on top of everything, apart from each other."""
    fines: list[Crystal] = []
    for _ in range(round(size * size / 1800 * stream.uniform(0.7, 1.3))):
        fine = replace(
            _grain(stream, batch, stream.uniform(SMALL[0] + 0.5, SMALL[1]), 0.0),
            brightness=stream.uniform(0.95, 1.4),
            small=True,
        ).moved(stream.uniform(4, size - 5), stream.uniform(4, size - 5))
        apart = all(math.dist(fine.centre, other.centre) > 10 for other in fines)
        if apart and SMALL[0] <= fine.diameter <= SMALL[1]:
            fines.append(fine)
    return tuple(fines)


REACH = 24.0
"""HR pixels beyond an outline up to which the ground knows of it."""


@dataclass(frozen=True)
class PowderScene(Scene):
    """Grains, the lowest first, and the fines on top of them."""

    size: int
    batch: PowderBatch
    optics: Optics
    grains: tuple[Crystal, ...]
    fines: tuple[Crystal, ...]

    def truth(self) -> dict[str, Any]:
        """The fines."""
        fines = [
            {"type": "fine", "y": fine.centre[0], "x": fine.centre[1], "diameter": fine.diameter}
            for fine in self.fines
        ]
        return {"small_features": fines}

    def layers(self, grid: FineGrid) -> Layers:
        """Render the grains one by one, each in its own window."""
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
            _render_crystal(layers, crystal, batch, grid)
        return layers


def _render_crystal(layers: Layers, crystal: Crystal, batch: PowderBatch, grid: FineGrid) -> None:
    near = window(grid, crystal.box, batch.shadow_length)
    distance = crystal.distance(near.y, near.x)
    layers.depth[near.span] += batch.shadow * shadow(distance, batch.shadow_length)
    put_edge(layers, near.span, distance)
    part = window(grid, crystal.box, 1.0)
    share = coverage(distance[part.within(near)], grid.step)
    height, ridge = crystal.facets(part.y, part.x)
    emission = batch.emission * crystal.brightness + batch.ridge * np.exp(-ridge / 1.2)
    blend(layers.emission[part.span], emission, share)
    blend(layers.height[part.span], height, share)
    blend(layers.depth[part.span], crystal.depth, share)
    blend(layers.grain[part.span], batch.grain, share)
    blend(layers.roughness[part.span], 0.0 if crystal.small else batch.roughness, share)


@register_scene(code=8)
def powder(stream: RandomStream, size: int) -> PowderScene:
    """A powder."""
    batch = sample_batch(stream)
    optics = _optics(stream, batch)
    grains = sample_pile(stream, batch, size)
    return PowderScene(size, batch, optics, grains, sample_fines(stream, batch, size))
