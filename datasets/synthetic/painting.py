"""Objects put on top of each other, one by one, each in its own window of the maps.

The maps of ``Layers`` describe what the beam sees: an object put on another one hides it, has a bright edge
of its own and shades what lies around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import (
    MARGIN,
    SUPERSAMPLING,
    Array,
    FineGrid,
    Point,
    arc_lengths,
    coverage,
    ellipse_distance,
    length_inside,
    segment_distance,
)
from srbench.datasets.synthetic.imaging import Layers

DistanceFunction = Callable[[Array, Array], Array]
"""Rows ``(n, 1)`` and columns ``(1, m)`` to signed distances ``(n, m)``."""
Box = tuple[float, float, float, float]
"""Smallest row and column, largest row and column, HR pixels."""


@dataclass(frozen=True)
class Window:
    """A rectangle of a fine grid: its place in the maps and the coordinates of its points in HR pixels."""

    place: tuple[slice, slice]
    y: Array
    x: Array

    def within(self, larger: Window) -> tuple[slice, slice]:
        """Where it is in an array over a larger window that holds it."""
        rows, columns = (
            slice(own.start - other.start, own.stop - other.start)
            for own, other in zip(self.place, larger.place, strict=True)
        )
        return rows, columns


def window(grid: FineGrid, box: Box, margin: float) -> Window:
    """The points in a box, or at most ``margin`` beside it."""
    top, left, bottom, right = box
    rows, columns = grid.span(top - margin, bottom + margin), grid.span(left - margin, right + margin)
    return Window((rows, columns), grid.axis[rows, None], grid.axis[None, columns])


def around(y: float, x: float, reach: float = 0.0) -> Box:
    """The box of a circle."""
    return y - reach, x - reach, y + reach, x + reach


def blend(background: Array, value: Array | float, share: Array) -> None:
    """Mix ``value`` into ``background``, in place, by ``share``."""
    background += share * (value - background)


def put_edge(layers: Layers, place: tuple[slice, slice], distance: Array) -> None:
    """Give an object put on top its own edge; bare ground learns how far away the object is."""
    below = layers.distance[place]
    outside = np.where(below > 0, np.minimum(below, distance), below)
    layers.distance[place] = np.where(distance < 0, distance, outside)


def cut_edge(layers: Layers, place: tuple[slice, slice], distance: Array) -> None:
    """Give what surrounds a hole an edge at its rim; ``distance`` is negative in the hole."""
    layers.distance[place] = np.maximum(layers.distance[place], -distance)


def visible_areas(size: int, outlines: Sequence[tuple[Box, DistanceFunction]]) -> list[float]:
    """Area of each object in the image that no later one hides, in HR pixels.

    Args:
        size: side of the image.
        outlines: box and signed distance of each object, the lowest first.
    """
    grid = FineGrid(size)
    free = grid.full(0.0)
    grid.interior(free)[...] = 1.0
    areas = []
    for box, distance in reversed(outlines):
        part = window(grid, box, 1.0)
        share = coverage(distance(part.y, part.x), grid.step)
        areas.append(float((share * free[part.place]).sum()) * grid.step**2)
        free[part.place] *= 1 - share
    return areas[::-1]


Indices = NDArray[np.intp]
Window = tuple[slice, slice]
SHADOW_REACH = 16.0
"""HR pixels beyond its outline up to which a tube may cast a shadow."""


@dataclass(frozen=True)
class Band:
    """The points of a fine grid near a curve, each ``(points,)``.

    Attributes:
        where: their numbers in the flattened map.
        offset: distance to the curve in HR pixels.
        along: distance along the curve, from its first vertex, of the nearest point of the curve.
    """

    where: Indices
    offset: Array
    along: Array


class BandFinder:
    """Finds the points near curves, segment by segment, each in its own window.

    Args:
        grid: the fine grid; two maps of its size are kept for all curves.
    """

    def __init__(self, grid: FineGrid) -> None:
        self._grid = grid
        self._axis = grid.axis
        self._square = grid.full(np.inf)
        self._along = grid.full(0.0)

    def near(self, curve: Array, reach: float) -> Band:
        """The points less than ``reach`` from the curve."""
        arcs = arc_lengths(curve)
        windows = [
            window
            for start, end, arc in zip(curve[:-1], curve[1:], arcs[:-1], strict=True)
            if (window := self._visit(start, end, float(arc), reach))
        ]
        parts = [self._collect(window, reach * reach) for window in windows]
        if not parts:
            return Band(np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0))
        where, square, along = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Band(where, np.sqrt(square), along)

    def _visit(self, start: Array, end: Array, arc: float, reach: float) -> Window | None:
        """Note the points for which this segment is the nearest yet."""
        low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
        rows, columns = self._grid.span(low[0], high[0]), self._grid.span(low[1], high[1])
        step = end - start
        length = float(np.sqrt(np.square(step).sum()))
        if rows.start >= rows.stop or columns.start >= columns.stop or length == 0:
            return None
        down, right = (step / length).tolist()
        y, x = self._axis[rows, None] - start[0], self._axis[None, columns] - start[1]
        along, across = y * down + x * right, y * right - x * down
        foot = np.clip(along, 0, length)
        square = across * across + np.square(along - foot)
        closer = square < self._square[rows, columns]
        np.copyto(self._square[rows, columns], square, where=closer)
        np.copyto(self._along[rows, columns], foot + arc, where=closer)
        return rows, columns

    def _collect(self, window: Window, limit: float) -> tuple[Indices, Array, Array]:
        """Take the near points out of a window and clear it; windows overlap, but no point is taken twice."""
        square = self._square[window]
        row, column = np.nonzero(square < limit)
        where = (row + window[0].start) * self._grid.side + column + window[1].start
        found = square[row, column], self._along[window][row, column]
        square[...] = np.inf
        return where, *found


Profile = Callable[[Array, Array, Array], Array]
"""Half width, distance to the centre line and distance along it to the height above the axis."""


def round_profile(radius: Array, offset: Array, along: Array) -> Array:
    """A circular cross-section."""
    height: Array = np.sqrt(np.maximum(radius * radius - offset * offset, 0))
    return height


def faceted_profile(radius: Array, offset: Array, along: Array) -> Array:
    """A hexagonal cross-section lying on one of its sides: a flat top between two steep facets."""
    height: Array = np.clip(1.7 * (radius - offset), 0, 0.85 * radius)
    return height


@dataclass(frozen=True)
class Coat:
    """How a tube looks. Lengths in HR pixels.

    Attributes:
        emission: yield of the material.
        grain: texture amplitude.
        roughness: random relief.
        base: height of the axis above the ground.
        depth: how far it lies below the top of the scene; may vary from point to point of the band.
        shadow: depth added beside the outline: what lies there sees less of the detector.
        shadow_length: where the shadow ends, at most ``SHADOW_REACH``.
        profile: shape of the cross-section.
    """

    emission: float
    grain: float
    roughness: float
    base: float
    depth: Array | float
    shadow: float
    shadow_length: float
    profile: Profile = round_profile


def paint_tube(layers: Layers, band: Band, radius: Array, coat: Coat, step: float) -> None:
    """Paint one tube over what has been painted.

    Args:
        layers: maps to paint on.
        band: the points near its centre line.
        radius: half width of the tube at each of these points.
        coat: how it looks.
        step: distance of points of the fine grid.
    """
    distance = band.offset - radius
    share = coverage(distance, step)
    depth = _taken(layers.depth, band) + coat.shadow * shadow(distance, coat.shadow_length)
    height = coat.base + coat.profile(radius, band.offset, band.along)
    _put(layers.depth, band, depth + share * (coat.depth - depth))
    _blend(layers.height, band, height, share)
    _blend(layers.emission, band, coat.emission, share)
    _blend(layers.grain, band, coat.grain, share)
    _blend(layers.roughness, band, coat.roughness, share)
    below = _taken(layers.distance, band)
    # What lies below keeps its own edge; the empty ground learns how far the tube is.
    outside = np.where(below < 0, below, np.minimum(below, distance))
    _put(layers.distance, band, np.where(distance < 0, distance, outside))


def shadow(distance: Array, length: float) -> Array:
    """A parabola from 1 at an outline to exactly 0 at ``length`` outside it."""
    return np.square(np.clip(1 - np.maximum(distance, 0) / length, 0, 1))


def _taken(fine: Array, band: Band) -> Array:
    values: Array = fine.reshape(-1)[band.where]
    return values


def _put(fine: Array, band: Band, values: Array) -> None:
    fine.reshape(-1)[band.where] = values


def _blend(fine: Array, band: Band, value: Array | float, share: Array) -> None:
    under = _taken(fine, band)
    _put(fine, band, under + share * (value - under))


@dataclass(frozen=True)
class Stack:
    """Which of several objects, painted one over the other, is seen where.

    Attributes:
        top: number of the object on top of each point of the image, -1 on the ground: ``SUPERSAMPLING``
            points to a pixel, without margin.
        points: how many of these points each object covers.
        visible: share of each object's area in the image that is seen; 0 for one outside the image.
        overlaps: pairs (lower, upper) of objects whose areas in the image overlap.
    """

    top: NDArray[np.int32]
    points: tuple[int, ...]
    visible: tuple[float, ...]
    overlaps: tuple[tuple[int, int], ...]


def stack(grid: FineGrid, areas: Iterable[Indices]) -> Stack:
    """Pile up objects, each given by the points it covers, the lowest first."""
    top = np.full(grid.side * grid.side, -1, dtype=np.int32)
    covered = [area[_in_image(grid, area)] for area in areas]
    for number, area in enumerate(covered):
        top[area] = number
    cut = slice(MARGIN * SUPERSAMPLING, grid.side - MARGIN * SUPERSAMPLING)
    shown = top.reshape(grid.side, grid.side)[cut, cut]
    seen = np.bincount(shown.reshape(-1) + 1, minlength=len(covered) + 1)[1:]
    visible = tuple(
        round(int(count) / max(area.size, 1), 6) for count, area in zip(seen, covered, strict=True)
    )
    points = tuple(int(area.size) for area in covered)
    return Stack(shown, points, visible, _overlapping(covered, top.size))


def _in_image(grid: FineGrid, area: Indices) -> NDArray[np.bool_]:
    low, high = MARGIN * SUPERSAMPLING, grid.side - MARGIN * SUPERSAMPLING
    row, column = area // grid.side, area % grid.side
    inside: NDArray[np.bool_] = (row >= low) & (row < high) & (column >= low) & (column < high)
    return inside


def _overlapping(covered: list[Indices], points: int) -> tuple[tuple[int, int], ...]:
    """Pairs that share at least one point: the entries of the product of the incidence matrix with itself."""
    starts = np.concatenate([[0], np.cumsum([area.size for area in covered])]).astype(np.int64)
    columns = np.concatenate(covered) if covered else np.zeros(0, dtype=np.intp)
    ones = np.ones(columns.size, dtype=np.int32)
    incidence = sparse.csr_array((ones, columns, starts), shape=(len(covered), points))
    shared = sparse.coo_array(incidence.dot(incidence.transpose()))
    pairs = zip(shared.row.tolist(), shared.col.tolist(), strict=True)
    return tuple(sorted((lower, upper) for lower, upper in pairs if lower < upper))


RIM = 10.0
"""HR pixels around a hole in which its rim is the nearest edge."""


@dataclass(frozen=True)
class Speck:
    """A round bump or hole; ``type`` says what it is called, ``brightness`` multiplies its yield."""

    type: str
    y: float
    x: float
    diameter: float
    brightness: float = 1.0

    def as_truth(self) -> dict[str, Any]:
        """Its entry among the small features."""
        return {"type": self.type, "y": self.y, "x": self.x, "diameter": self.diameter}


Accept = Callable[[str, float, float, float], bool]
"""Type, y, x and diameter to whether a speck may lie there."""


def scatter(
    draws: Draws, size: int, count: int, types: Sequence[str], accept: Accept, gap: float = 3.0
) -> tuple[Speck, ...]:
    """Up to ``count`` specks wholly in the image, at least ``gap`` apart, where ``accept`` lets them be."""
    specks: list[Speck] = []
    for _ in range(12 * count):
        kind, diameter = draws.choice(types), draws.uniform(*SMALL)
        y, x = draws.uniform(4, size - 5), draws.uniform(4, size - 5)
        speck = Speck(kind, y, x, diameter, draws.uniform(0.9, 1.3))
        if accept(kind, y, x, diameter) and _is_apart(speck, specks, gap):
            specks.append(speck)
        if len(specks) == count:
            break
    return tuple(specks)


def _is_apart(speck: Speck, others: Sequence[Speck], gap: float) -> bool:
    return all(
        math.hypot(speck.y - other.y, speck.x - other.x) > (speck.diameter + other.diameter) / 2 + gap
        for other in others
    )


def draw_hole(layers: Layers, speck: Speck, emission: float, depth: float, grid: FineGrid) -> None:
    """Cut a hole of ``depth`` HR pixels with a bottom of yield ``emission``."""
    rim, hole = (window(grid, around(speck.y, speck.x, speck.diameter / 2), extra) for extra in (RIM, 1.0))
    cut_edge(layers, rim.place, _round(speck, rim))
    share = coverage(_round(speck, hole), grid.step)
    blend(layers.emission[hole.place], emission, share)
    blend(layers.roughness[hole.place], 0.0, share)
    blend(layers.depth[hole.place], depth, share)


def _round(speck: Speck, part: Window) -> Array:
    """Signed distance to the outline."""
    return ellipse_distance(part.y - speck.y, part.x - speck.x, speck.diameter, speck.diameter, 0.0)


SMALL = (2.0, 6.0)
"""Sizes of small features, HR pixels: 0.5 to 1.5 LR pixels at x4."""


@dataclass(frozen=True)
class Ball:
    """A ball half sunk in what lies below; ``emission`` is its yield."""

    y: float
    x: float
    diameter: float
    emission: float


def paint_ball(layers: Layers, grid: FineGrid, ball: Ball, shade: float, shade_length: float) -> None:
    """Paint one ball.

    Args:
        layers: maps to paint on.
        grid: the fine grid.
        ball: the ball.
        shade: depth added beside its outline.
        shade_length: HR pixels over which this shadow fades.
    """
    reach = ball.diameter / 2 + shade_length
    window = (grid.span(ball.y - reach, ball.y + reach), grid.span(ball.x - reach, ball.x + reach))
    y, x = grid.axis[window[0], None] - ball.y, grid.axis[None, window[1]] - ball.x
    distance = ellipse_distance(y, x, ball.diameter, ball.diameter, 0.0)
    share = coverage(distance, grid.step)
    layers.height[window] += np.sqrt(np.maximum((ball.diameter / 2) ** 2 - y * y - x * x, 0))
    layers.depth[window] += shade * shadow(distance, shade_length)
    blend(layers.depth[window], 0.0, share)
    blend(layers.emission[window], ball.emission, share)
    blend(layers.roughness[window], 0.0, share)
    put_edge(layers, window, distance)


@dataclass(frozen=True)
class Strip:
    """A band along a polyline; between its points (y, x) the width changes linearly. Lengths in HR pixels."""

    points: tuple[Point, ...]
    widths: tuple[float, ...]

    def length(self, size: int) -> float:
        """Length of the centre line in the image."""
        return length_inside(np.array(self.points), size)

    def mean_width(self, size: int) -> float:
        """Mean of the widths at the points in the image, 0 if there is none."""
        inside = [
            width
            for (y, x), width in zip(self.points, self.widths, strict=True)
            if min(y, x) > -0.5 and max(y, x) < size - 0.5
        ]
        return round(math.fsum(inside) / max(len(inside), 1), DECIMALS)

    def as_truth(self, size: int) -> dict[str, Any]:
        """Its entry in the truth of an image of side ``size``."""
        return {
            "centre_line": [list(point) for point in self.points],
            "widths": list(self.widths),
            "mean_width": self.mean_width(size),
            "length": self.length(size),
        }

    def lower(self, distance: Array, grid: FineGrid, reach: float) -> None:
        """Lower a map of distances to the nearest strip, up to ``reach`` from this one, in place."""
        segments = zip(self.points, self.points[1:], self.widths, self.widths[1:], strict=False)
        for start, end, first, last in segments:
            rows, columns = sorted((start[0], end[0])), sorted((start[1], end[1]))
            part = window(grid, (rows[0], columns[0], rows[1], columns[1]), reach)
            width = first + (last - first) * _along(part.y, part.x, start, end)
            here = distance[part.place]
            np.minimum(here, segment_distance(part.y, part.x, start, end) - width / 2, out=here)


def _along(y: Array, x: Array, start: Point, end: Point) -> Array:
    """Position of the nearest point of a segment, 0 at its start, 1 at its end."""
    down, right = end[0] - start[0], end[1] - start[1]
    result: Array = np.clip(
        ((y - start[0]) * down + (x - start[1]) * right) / (down * down + right * right), 0, 1
    )
    return result
