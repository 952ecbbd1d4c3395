"""One grain of a powder: a convex polyhedron seen from above.

Its outline is a convex polygon with rounded corners. A facet of its own slope rises from each side; a tilted
facet closes it at the top.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import Array
from srbench.datasets.synthetic.painting import Box
from srbench.datasets.synthetic.polygons import (
    Point,
    convex_distance,
    convex_hull,
    polygon_centroid,
    rounded_area,
    side_distances,
)


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
