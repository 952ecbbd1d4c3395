"""Objects put on top of each other in the maps of ``Layers``: tubes, holes, balls, strips.

An object put on another one hides it, has a bright edge of its own and shades what lies around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.synthetic.geometry import (
    FineGrid,
    Point,
    arc_lengths,
    coverage,
    ellipse_distance,
    segment_distance,
)
from srbench.datasets.synthetic.imaging import Layers
from srbench.datasets.synthetic.rng import Array, RandomStream

Indices = NDArray[np.intp]
Span = tuple[slice, slice]
"""A rectangle of a map: its rows and columns."""
Box = tuple[float, float, float, float]
"""Smallest row and column, largest row and column, HR pixels."""


@dataclass(frozen=True)
class GridWindow:
    """A rectangle of a fine grid: its rows and columns, and the coordinates of its points in HR pixels."""

    span: Span
    y: Array
    x: Array

    def within(self, larger: GridWindow) -> Span:
        """Where it is in an array over a larger window that holds it."""
        rows, columns = (
            slice(inner.start - outer.start, inner.stop - outer.start)
            for inner, outer in zip(self.span, larger.span, strict=True)
        )
        return rows, columns


def window(grid: FineGrid, box: Box, margin: float) -> GridWindow:
    """The points in a box, or at most ``margin`` beside it."""
    top, left, bottom, right = box
    rows, columns = grid.span(top - margin, bottom + margin), grid.span(left - margin, right + margin)
    return GridWindow((rows, columns), grid.axis[rows, None], grid.axis[None, columns])


def around(y: float, x: float, reach: float = 0.0) -> Box:
    """The box of a circle."""
    return y - reach, x - reach, y + reach, x + reach


def blend(background: Array, value: Array | float, share: Array) -> None:
    """Mix ``value`` into ``background``, in place, by ``share``."""
    background += share * (value - background)


def put_edge(layers: Layers, span: Span, distance: Array) -> None:
    """Give an object put on top its own edge; bare ground learns how far away the object is."""
    below = layers.distance[span]
    outside = np.where(below > 0, np.minimum(below, distance), below)
    layers.distance[span] = np.where(distance < 0, distance, outside)


def cut_edge(layers: Layers, span: Span, distance: Array) -> None:
    """Give what surrounds a hole an edge at its rim; ``distance`` is negative in the hole."""
    layers.distance[span] = np.maximum(layers.distance[span], -distance)


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
        spans = [
            span
            for start, end, arc in zip(curve[:-1], curve[1:], arcs[:-1], strict=True)
            if (span := self._visit(start, end, float(arc), reach))
        ]
        parts = [self._collect(span, reach * reach) for span in spans]
        if not parts:
            return Band(np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0))
        where, square, along = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Band(where, np.sqrt(square), along)

    def _visit(self, start: Array, end: Array, arc: float, reach: float) -> Span | None:
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

    def _collect(self, span: Span, limit: float) -> tuple[Indices, Array, Array]:
        """The near points of a window, which is cleared: windows overlap, and no point may come twice."""
        square = self._square[span]
        row, column = np.nonzero(square < limit)
        where = (row + span[0].start) * self._grid.side + column + span[1].start
        near, along = square[row, column], self._along[span][row, column]
        square[...] = np.inf
        return where, near, along


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


def render_tube(layers: Layers, band: Band, radius: Array, coat: Coat, step: float) -> None:
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
    depth = layers.depth.reshape(-1)[band.where] + coat.shadow * shadow(distance, coat.shadow_length)
    height = coat.base + coat.profile(radius, band.offset, band.along)
    layers.depth.reshape(-1)[band.where] = depth + share * (coat.depth - depth)
    values: tuple[Array | float, ...] = (height, coat.emission, coat.grain, coat.roughness)
    maps = (layers.height, layers.emission, layers.grain, layers.roughness)
    for fine, value in zip(maps, values, strict=True):
        under = fine.reshape(-1)[band.where]
        fine.reshape(-1)[band.where] = under + share * (value - under)
    below = layers.distance.reshape(-1)[band.where]
    # What lies below keeps its own edge; the empty ground learns how far the tube is.
    outside = np.where(below < 0, below, np.minimum(below, distance))
    layers.distance.reshape(-1)[band.where] = np.where(distance < 0, distance, outside)


def shadow(distance: Array, length: float) -> Array:
    """A parabola from 1 at an outline to exactly 0 at ``length`` outside it."""
    return np.square(np.clip(1 - np.maximum(distance, 0) / length, 0, 1))


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


Accept = Callable[[str, float, float, float], bool]
"""Type, y, x and diameter to whether a speck may lie there."""


def scatter(
    stream: RandomStream, size: int, count: int, types: Sequence[str], accept: Accept, gap: float = 3.0
) -> tuple[Speck, ...]:
    """Up to ``count`` specks wholly in the image, at least ``gap`` apart, where ``accept`` lets them be."""
    specks: list[Speck] = []
    for _ in range(12 * count):
        kind, diameter = stream.choice(types), stream.uniform(*SMALL)
        y, x = stream.uniform(4, size - 5), stream.uniform(4, size - 5)
        speck = Speck(kind, y, x, diameter, stream.uniform(0.9, 1.3))
        apart = all(
            math.hypot(y - other.y, x - other.x) > (diameter + other.diameter) / 2 + gap for other in specks
        )
        if accept(kind, y, x, diameter) and apart:
            specks.append(speck)
        if len(specks) == count:
            break
    return tuple(specks)


def render_hole(layers: Layers, speck: Speck, emission: float, depth: float, grid: FineGrid) -> None:
    """Cut a hole of ``depth`` HR pixels with a bottom of yield ``emission``."""
    rim, hole = (window(grid, around(speck.y, speck.x, speck.diameter / 2), extra) for extra in (RIM, 1.0))
    to_rim, to_hole = (
        ellipse_distance(part.y - speck.y, part.x - speck.x, speck.diameter, speck.diameter, 0.0)
        for part in (rim, hole)
    )
    cut_edge(layers, rim.span, to_rim)
    share = coverage(to_hole, grid.step)
    blend(layers.emission[hole.span], emission, share)
    blend(layers.roughness[hole.span], 0.0, share)
    blend(layers.depth[hole.span], depth, share)


SMALL = (2.0, 6.0)
"""Sizes of small features, HR pixels: 0.5 to 1.5 LR pixels at x4."""


@dataclass(frozen=True)
class Ball:
    """A ball half sunk in what lies below; ``emission`` is its yield."""

    y: float
    x: float
    diameter: float
    emission: float


def render_ball(layers: Layers, grid: FineGrid, ball: Ball, shade: float, shade_length: float) -> None:
    """Paint one ball.

    Args:
        layers: maps to paint on.
        grid: the fine grid.
        ball: the ball.
        shade: depth added beside its outline.
        shade_length: HR pixels over which this shadow fades.
    """
    part = window(grid, around(ball.y, ball.x, ball.diameter / 2), shade_length)
    y, x = part.y - ball.y, part.x - ball.x
    distance = ellipse_distance(y, x, ball.diameter, ball.diameter, 0.0)
    share = coverage(distance, grid.step)
    layers.height[part.span] += np.sqrt(np.maximum((ball.diameter / 2) ** 2 - y * y - x * x, 0))
    layers.depth[part.span] += shade * shadow(distance, shade_length)
    blend(layers.depth[part.span], 0.0, share)
    blend(layers.emission[part.span], ball.emission, share)
    blend(layers.roughness[part.span], 0.0, share)
    put_edge(layers, part.span, distance)


@dataclass(frozen=True)
class Strip:
    """A band along a polyline; between its points (y, x) the width changes linearly. Lengths in HR pixels."""

    points: tuple[Point, ...]
    widths: tuple[float, ...]

    def lower(self, distance: Array, grid: FineGrid, reach: float) -> None:
        """Lower a map of distances to the nearest strip, up to ``reach`` from this one, in place."""
        segments = zip(self.points, self.points[1:], self.widths, self.widths[1:], strict=False)
        for start, end, first, last in segments:
            rows, columns = sorted((start[0], end[0])), sorted((start[1], end[1]))
            part = window(grid, (rows[0], columns[0], rows[1], columns[1]), reach)
            width = first + (last - first) * _along(part.y, part.x, start, end)
            here = distance[part.span]
            np.minimum(here, segment_distance(part.y, part.x, start, end) - width / 2, out=here)


def _along(y: Array, x: Array, start: Point, end: Point) -> Array:
    """Position of the nearest point of a segment, 0 at its start, 1 at its end."""
    down, right = end[0] - start[0], end[1] - start[1]
    result: Array = np.clip(
        ((y - start[0]) * down + (x - start[1]) * right) / (down * down + right * right), 0, 1
    )
    return result
