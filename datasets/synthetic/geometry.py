"""The fine grid on which scenes are rendered, exact distances to and areas of outlines, and smooth curves.

Coordinates are HR pixels with pixel centres at whole numbers (row y, column x), as in scikit-image: an image
of side n covers [-0.5, n - 0.5]. Distances are signed: negative inside the feature. The corners of a polygon
go round from columns towards rows; a curve is a polyline ``(points, 2)``, itself exact and rounded to
``DECIMALS``, no approximation of something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from srbench.datasets.synthetic.rng import DECIMALS, Array, RandomStream

Mask = NDArray[np.bool_]

SUPERSAMPLING = 3
MARGIN = 8
"""HR pixels rendered around the image, so that blur and shadows at the border know what is outside."""


@dataclass(frozen=True)
class FineGrid:
    """``SUPERSAMPLING`` squared points to an HR pixel of a square image, and a margin around it.

    Attributes:
        size: side of the image in HR pixels, without the margin.
    """

    size: int

    @property
    def side(self) -> int:
        """Points to a side, margin included."""
        return (self.size + 2 * MARGIN) * SUPERSAMPLING

    @property
    def step(self) -> float:
        """Distance of neighbouring points in HR pixels."""
        return 1.0 / SUPERSAMPLING

    @property
    def axis(self) -> Array:
        """Coordinates of the points along either axis, ``(side,)``, in HR pixels."""
        points: Array = (np.arange(self.side, dtype=np.float64) + 0.5) * self.step - MARGIN - 0.5
        return points

    def full(self, value: float) -> Array:
        """A constant map."""
        return np.full((self.side, self.side), value)

    def span(self, low: float, high: float) -> slice:
        """The points of an axis with coordinates in [low, high]; may be empty."""
        first = int(np.ceil((low + MARGIN + 0.5) * SUPERSAMPLING - 0.5))
        last = int(np.floor((high + MARGIN + 0.5) * SUPERSAMPLING - 0.5))
        return slice(min(max(first, 0), self.side), min(max(last + 1, 0), self.side))

    def interior(self, fine: Array) -> Array:
        """The part of a fine map that lies in the image."""
        cut = slice(MARGIN * SUPERSAMPLING, self.side - MARGIN * SUPERSAMPLING)
        return fine[cut, cut]


def area_average(fine: Array) -> Array:
    """Mean over the ``SUPERSAMPLING`` x ``SUPERSAMPLING`` points of each pixel.

    Adds in a fixed order, so that the result does not depend on how a library groups its sums.
    """
    parts = [
        fine[i::SUPERSAMPLING, j::SUPERSAMPLING] for i in range(SUPERSAMPLING) for j in range(SUPERSAMPLING)
    ]
    total: Array = parts[0].copy()
    for part in parts[1:]:
        total += part
    return np.divide(total, len(parts))


def coverage(distance: Array, step: float) -> Array:
    """Share of a point's cell inside the feature, the edge taken as straight (second order in step)."""
    return np.clip(0.5 - distance / step, 0.0, 1.0)


def ellipse_distance(y: Array, x: Array, major: float, minor: float, angle: float) -> Array:
    """Signed distance to an ellipse around the origin: exact for a circle, first order near an ellipse.

    Uses q(q-1)/|grad|, q = |(u/a, v/b)|, which has the right sign everywhere and unit slope at the edge.

    Args:
        y: row offsets, broadcastable with ``x``.
        x: column offsets.
        major: full length along ``angle``.
        minor: full length across.
        angle: from the column axis towards growing rows, radians.
    """
    u, v = rotate(y, x, angle)
    u, v = u / (major / 2), v / (minor / 2)
    q = np.sqrt(u * u + v * v)
    slope = np.sqrt((u / (major / 2)) ** 2 + (v / (minor / 2)) ** 2)
    distance: Array = (q - 1) * q / np.maximum(slope, 1e-9)
    return np.where(q < 1e-6, -minor / 2, distance)


def rotate(y: Array, x: Array, angle: float) -> tuple[Array, Array]:
    """Offsets along and across the direction ``angle`` (radians, from columns towards rows)."""
    cosine, sine = round(float(np.cos(angle)), 12), round(float(np.sin(angle)), 12)
    return x * cosine + y * sine, y * cosine - x * sine


def level_set_distance(field: Array, level: float, step: float) -> Array:
    """Signed distance to the contour ``field == level``, negative where the field is above it.

    Within a point of the contour it is (level - field)/|grad field| (second-order accurate); farther away the
    Euclidean distance transform of the thresholded map.
    """
    above = field > level
    outside = ndimage.distance_transform_edt(~above) - 0.5
    inside = ndimage.distance_transform_edt(above) - 0.5
    euclidean = np.where(above, -inside, outside) * step
    rows, columns = np.gradient(field, step)
    slope = np.maximum(np.sqrt(rows * rows + columns * columns), 1e-9)
    near = np.clip((level - field) / slope, -1.5 * step, 1.5 * step)
    result: Array = np.where(np.abs(euclidean) < 1.2 * step, near, euclidean)
    return result


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


SPACING = 5.0
"""Distance of vertices at most, HR pixels: at a bend of radius 40 px they deviate by less than 0.1 px."""


def von_mises(stream: RandomStream, mean: float, kappa: float) -> float:
    """An angle in degrees about ``mean`` with concentration ``kappa`` (Best & Fisher 1979, rejection)."""
    if kappa < 1e-3:
        return round(mean + stream.uniform(-180, 180), DECIMALS)
    tau = 1 + math.sqrt(1 + 4 * kappa * kappa)
    rho = (tau - math.sqrt(2 * tau)) / (2 * kappa)
    r = (1 + rho * rho) / (2 * rho)
    for _ in range(1000):
        first, second, third = (float(u) for u in stream.uniforms(3))
        z = math.cos(math.pi * first)
        f = (1 + r * z) / (r + z)
        c = kappa * (r - f)
        if c * (2 - c) > second or math.log(c / second) + 1 >= c:
            turn = math.degrees(math.acos(max(-1.0, min(1.0, f))))
            return round(mean + math.copysign(turn, third - 0.5), DECIMALS)
    raise ValueError(f"No angle of concentration {kappa} was accepted in 1000 trials.")


def b_spline(controls: Array) -> Array:
    """The uniform cubic B-spline of ``(n, 2)`` control points, n >= 4, as a polyline."""
    gap = float(np.sqrt(np.square(np.diff(controls, axis=0)).sum(axis=1)).max())
    count = max(2, math.ceil(gap / SPACING))
    t = np.arange(count, dtype=np.float64)[:, None] / count
    # The basis functions of de Boor, A Practical Guide to Splines (1978), chapter 9, on one span.
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    spans = []
    for k in range(len(controls) - 3):
        first, second, third, fourth = (weight * controls[k + n] for n, weight in enumerate(basis))
        spans.append((first + second + third + fourth) / 6)
    last = (controls[-3] + 4 * controls[-2] + controls[-1]) / 6
    return np.round(np.vstack([*spans, last[None]]), DECIMALS)


def wandering(
    stream: RandomStream, start: tuple[float, float], heading: float, steps: int, gap: float, bend: float
) -> Array:
    """A smooth curve that keeps its heading in the long run.

    Args:
        stream: random numbers.
        start: first control point (y, x).
        heading: mean direction in degrees, from columns towards rows.
        steps: control points beyond the first three.
        gap: distance of control points in HR pixels.
        bend: standard deviation of the direction in degrees, correlated over about three control points.
    """
    deviation = bend * float(stream.normals(1)[0])
    controls: list[Array] = [np.array(start)]
    for shock in stream.normals(steps + 2):
        deviation = 0.7 * deviation + math.sqrt(1 - 0.7**2) * bend * float(shock)
        angle = math.radians(heading + deviation)
        controls.append(controls[-1] + gap * np.array([math.sin(angle), math.cos(angle)]))
    return b_spline(np.stack(controls).round(DECIMALS))


def arc_lengths(curve: Array) -> Array:
    """Distance along the curve from its first vertex to each vertex."""
    steps = np.diff(curve, axis=0)
    return np.concatenate([[0.0], np.cumsum(np.sqrt(np.square(steps).sum(axis=1)))])


def near_image(curve: Array, size: int, reach: float) -> Array:
    """The stretch from the first to the last vertex less than ``reach`` outside the image; may be empty."""
    inside = np.flatnonzero(((curve > -reach) & (curve < size + reach)).all(axis=1))
    return curve[inside[0] : inside[-1] + 1] if inside.size else curve[:0]


def crossings(first: Array, second: Array) -> list[tuple[float, float]]:
    """The points (y, x) where two curves cross."""
    if (first.max(axis=0) < second.min(axis=0)).any() or (second.max(axis=0) < first.min(axis=0)).any():
        return []
    start, step = first[:-1, None], np.diff(first, axis=0)[:, None]
    offset, along = second[None, :-1] - start, np.diff(second, axis=0)[None]
    slope = _cross(step, along)
    parallel = slope == 0
    safe = np.where(parallel, 1.0, slope)
    s, t = _cross(offset, along) / safe, _cross(offset, step) / safe
    hits = ~parallel & (s >= 0) & (s < 1) & (t >= 0) & (t < 1)
    points = (start + s[..., None] * step)[hits]
    return [(round(float(y), DECIMALS), round(float(x), DECIMALS)) for y, x in points]


def _cross(first: Array, second: Array) -> Array:
    product: Array = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    return product


def distance_to_curve(y: float, x: float, curve: Array) -> float:
    """Distance of one point to the curve."""
    start, step = curve[:-1], np.diff(curve, axis=0)
    offset = np.array([y, x]) - start
    t = np.clip((offset * step).sum(axis=1) / np.maximum(np.square(step).sum(axis=1), 1e-12), 0, 1)
    return float(np.sqrt(np.square(offset - t[:, None] * step).sum(axis=1).min()))


def in_image(points: Array, size: int, border: float = 0.0) -> Mask:
    """Which of the points ``(n, 2)`` lie in the image, at least ``border`` from its edges."""
    low, high = border - 0.5, size - 0.5 - border
    inside: Mask = np.all((points > low) & (points < high), axis=1)
    return inside
