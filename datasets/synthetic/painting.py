"""Objects put on top of each other, one by one, each in its own window of the maps.

The maps of ``Layers`` describe what the beam sees: an object put on another one hides it, has a bright edge
of its own and shades what lies around it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from srbench.datasets.synthetic.geometry import Array, FineGrid, coverage
from srbench.datasets.synthetic.scene import Layers

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
