"""Strips along polylines with a width at each of their points: cracks, filopodia."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from srbench.datasets.synthetic.curves import length_inside
from srbench.datasets.synthetic.draws import DECIMALS
from srbench.datasets.synthetic.geometry import Array, FineGrid
from srbench.datasets.synthetic.painting import window
from srbench.datasets.synthetic.polygons import Point, segment_distance


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
