"""The fine grid on which scenes are drawn, and exact distances, areas and topology.

Coordinates are HR pixels with pixel centres at whole numbers (row y, column x), as in scikit-image: an image
of side n covers [-0.5, n - 0.5]. Distances are signed: negative inside the feature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SUPERSAMPLING = 3
MARGIN = 8
"""HR pixels drawn around the image, so that blur and shadows at the border know what is outside."""


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


def betti_numbers(mask: Mask) -> tuple[int, int]:
    """Components (8-connected) and holes (4-connected background components that miss the border)."""
    eight = np.ones((3, 3), dtype=int)
    components = int(ndimage.label(mask, structure=eight)[1])
    padded = np.pad(~mask, 1, constant_values=True)
    return components, int(ndimage.label(padded)[1]) - 1
