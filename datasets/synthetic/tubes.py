"""Tubes along curves, one over the other: which points of the fine grid they cover, and how they are painted.

The half width may vary along a tube. The distance to its outline is then |p - c| - r with c the nearest point
of the centre line and r the half width there: exactly zero at r across from the centre line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from srbench.datasets.synthetic.curves import arc_lengths
from srbench.datasets.synthetic.geometry import MARGIN, SUPERSAMPLING, Array, FineGrid, coverage
from srbench.datasets.synthetic.scene import Layers

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
