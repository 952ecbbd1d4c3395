"""Distances to and areas of outlines made of straight lines: convex polygons, rectangles, polylines.

Points are (y, x) in HR pixels; the corners of a polygon go round from columns towards rows. Distances are
signed, negative inside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from srbench.datasets.synthetic.geometry import Array

Point = tuple[float, float]
Number = Array | float


def sides(corners: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """Each side of a closed polygon as (start, end)."""
    return zip(corners, [*corners[1:], corners[0]], strict=True)


def side_distances(y: Array, x: Array, corners: Sequence[Point]) -> Iterator[Array]:
    """Signed distance to the line through each side of a convex polygon, positive on its outer side.

    Args:
        y: rows ``(n, 1)``.
        x: columns ``(1, m)``.
        corners: of the polygon.

    Yields:
        ``(n, m)`` for each side.
    """
    for (y0, x0), (y1, x1) in sides(corners):
        length = math.hypot(y1 - y0, x1 - x0)
        down, right = (x0 - x1) / length, (y1 - y0) / length
        yield (y - y0) * down + (x - x0) * right


def convex_distance(y: Array, x: Array, corners: Sequence[Point], exact: float) -> Array:
    """Signed distance to a convex polygon.

    Exact inside and up to ``exact`` outside; farther away the distance to the farthest side's line, which is
    shorter than the distance to a corner: shadows do not need more.

    Args:
        y: rows ``(n, 1)``.
        x: columns ``(1, m)``.
        corners: of the polygon.
        exact: HR pixels.
    """
    distance = np.full((y.shape[0], x.shape[1]), -np.inf)
    for side in side_distances(y, x, corners):
        np.maximum(distance, side, out=distance)
    row, column = np.nonzero((distance > 0) & (distance < exact))
    distance[row, column] = polyline_distance(y[row, 0], x[0, column], [*corners, corners[0]])
    return distance


def polyline_distance(y: Array, x: Array, points: Sequence[Point]) -> Array:
    """Distance to the nearest point of a polyline."""
    nearest: Array = np.full(np.broadcast_shapes(y.shape, x.shape), np.inf)
    for start, end in pairwise(points):
        np.minimum(nearest, segment_distance(y, x, start, end), out=nearest)
    return nearest


def segment_distance(y: Array, x: Array, start: Point, end: Point) -> Array:
    """Distance to a straight segment."""
    down, right = end[0] - start[0], end[1] - start[1]
    y, x = y - start[0], x - start[1]
    along = np.clip((y * down + x * right) / (down * down + right * right), 0, 1)
    y, x = y - along * down, x - along * right
    result: Array = np.sqrt(y * y + x * x)
    return result


def rectangle_distance(
    y: Array, x: Array, box: tuple[Number, Number, Number, Number], radius: Number
) -> Array:
    """Signed distance to an upright rectangle with rounded corners, exact everywhere.

    Args:
        y: rows, broadcastable with all other arguments.
        x: columns.
        box: smallest row, smallest column, largest row, largest column.
        radius: of the corners, at most half the shorter side.
    """
    top, left, bottom, right = box
    rows = np.abs(y - (top + bottom) / 2) - (bottom - top) / 2 + radius
    columns = np.abs(x - (left + right) / 2) - (right - left) / 2 + radius
    down, across = np.maximum(rows, 0), np.maximum(columns, 0)
    result: Array = np.sqrt(down * down + across * across) + np.minimum(np.maximum(rows, columns), 0) - radius
    return result


def polygon_area(corners: Sequence[Point]) -> float:
    """Area of a polygon (Gauss's shoelace formula), positive for corners in the order of this module."""
    return math.fsum(x0 * y1 - x1 * y0 for (y0, x0), (y1, x1) in sides(corners)) / 2


def polygon_centroid(corners: Sequence[Point]) -> Point:
    """Centre of gravity of a polygon."""
    oy, ox = corners[0]
    shifted = [(y - oy, x - ox) for y, x in corners]
    moments = [(x0 * y1 - x1 * y0, y0 + y1, x0 + x1) for (y0, x0), (y1, x1) in sides(shifted)]
    area = math.fsum(cross for cross, _, _ in moments) / 2
    return (
        oy + math.fsum(cross * y for cross, y, _ in moments) / (6 * area),
        ox + math.fsum(cross * x for cross, _, x in moments) / (6 * area),
    )


def rounded_area(corners: Sequence[Point], radius: float) -> float:
    """Area within ``radius`` of a convex polygon, the polygon included (Steiner's formula)."""
    around = math.fsum(math.dist(start, end) for start, end in sides(corners))
    return polygon_area(corners) + around * radius + math.pi * radius * radius


def convex_hull(points: Sequence[Point]) -> list[Point]:
    """Corners of the convex hull (Andrew's monotone chain), in the order of this module."""
    ordered = sorted((x, y) for y, x in set(points))
    lower, upper = _chain(ordered), _chain(ordered[::-1])
    return [(y, x) for x, y in lower[:-1] + upper[:-1]]


def _chain(points: Sequence[Point]) -> list[Point]:
    """Half a hull of points (x, y)."""
    chain: list[Point] = []
    for x, y in points:
        while len(chain) > 1:
            (x0, y0), (x1, y1) = chain[-2:]
            if (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) > 0:
                break
            chain.pop()
        chain.append((x, y))
    return chain
