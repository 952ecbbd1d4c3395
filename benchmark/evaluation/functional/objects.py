"""Objects of a mask: found, measured, and matched one to one between two images.

Labelling and matching are loops over pixels and pairs that a GPU does not help: numpy, OpenCV and scipy on a
CPU, one image at a time. An object is an 8-connected region of at least ``SMALLEST`` pixels.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SMALLEST = 30
"""Pixels below which a region is taken for noise: a disc of 6 px across."""
REACH = 0.5
"""Two objects are the same when their centroids are closer than this many radii of the reference object."""


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one mask.

    Attributes:
        labels: ``(H, W)``, 0 outside the objects, k + 1 in object k.
        centres: ``(K, 2)`` centroids (y, x) in pixels.
        areas: ``(K,)`` pixels.
        border: ``(K,)`` whether it touches the border of the image: its size is then unknown.
    """

    labels: NDArray[np.int32]
    centres: Floats
    areas: Floats
    border: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.areas)

    @property
    def diameters(self) -> Floats:
        """Diameters of the circles of equal area, ``2 sqrt(A / pi)``, in pixels."""
        return np.asarray(2.0 * np.sqrt(self.areas / math.pi), dtype=np.float64)

    @functools.cached_property
    def fill(self) -> Floats:
        """Area over that of the ellipse with the same second moments, ``(K,)``, at most about 1.

        1 for an ellipse, 0.95 for a rectangle, 0.89 for two equal discs that touch.
        """
        y, x = np.nonzero(self.labels)
        which = self.labels[y, x] - 1
        down, right = y - self.centres[which, 0], x - self.centres[which, 1]
        # A pixel is a square: its own second moment is 1/12.
        moments = [
            np.bincount(which, product, len(self)) / self.areas
            for product in (down * down, right * right, down * right)
        ]
        determinant = (moments[0] + 1 / 12) * (moments[1] + 1 / 12) - moments[2] ** 2
        return np.asarray(self.areas / (4.0 * math.pi * np.sqrt(determinant)), dtype=np.float64)


def cleaned(mask: Mask, smallest: int = SMALLEST) -> Mask:
    """The mask without objects and without holes of fewer than ``smallest`` pixels.

    Args:
        mask: ``(H, W)``.
        smallest: pixels of the smallest region that is kept.
    """
    labels, areas, _ = _regions(mask, 8)
    kept = areas >= smallest
    kept[0] = False
    solid = kept[labels]
    ground, sizes, _ = _regions(np.pad(~solid, 1, constant_values=True), 4)
    small = sizes < smallest
    small[0] = False
    result: Mask = solid | small[ground[1:-1, 1:-1]]
    return result


def find_objects(mask: Mask) -> Objects:
    """The 8-connected regions of a mask, as it comes from :func:`cleaned`."""
    labels, areas, centres = _regions(mask, 8)
    touching = np.zeros(len(areas), dtype=bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touching[side] = True
    return Objects(labels, centres[1:, ::-1], areas[1:], touching[1:])


def _regions(mask: Mask, connectivity: int) -> tuple[NDArray[np.int32], Floats, Floats]:
    """Labels, and for each label from 0 on its pixels and its centroid (x, y)."""
    import cv2

    found = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    _, labels, table, centres = found
    return labels, table[:, cv2.CC_STAT_AREA].astype(np.float64), centres


def betti_numbers(mask: Mask) -> tuple[int, int]:
    """Components (8-connected) and holes of a mask.

    A hole is a 4-connected region of the ground that does not reach the border: with these two connectivities
    their difference is the Euler characteristic.
    """
    import cv2

    components = int(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0]) - 1
    ground = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    return components, int(cv2.connectedComponents(ground, connectivity=4)[0]) - 2


def match(reference: Objects, found: Objects, reach: float = REACH) -> Indices:
    """One-to-one pairs of objects: as many as possible, then those with the smallest distances.

    Args:
        reference: objects of the reference image.
        found: objects of the other image.
        reach: largest distance of two centroids, in radii of the reference object.

    Returns:
        ``(M, 2)`` indices into ``reference`` and ``found``, sorted.
    """
    return match_points(reference.centres, reach * reference.diameters / 2.0, found.centres)


def match_points(centres: Floats, limits: Floats, points: Floats) -> Indices:
    """One-to-one pairs of points closer than a limit: as many as possible, then the nearest.

    Args:
        centres: ``(K, 2)``.
        limits: ``(K,)`` largest distance (exclusive) at which a point belongs to each centre.
        points: ``(L, 2)``.

    Returns:
        ``(M, 2)`` indices into ``centres`` and ``points``, sorted.
    """
    from scipy.spatial import cKDTree

    if not len(centres) or not len(points):
        return np.zeros((0, 2), dtype=np.int64)
    near = cKDTree(points).query_ball_point(centres, limits)
    pairs = np.array([(k, point) for k, some in enumerate(near) for point in some], dtype=np.int64)
    if not len(pairs):
        return np.zeros((0, 2), dtype=np.int64)
    distances = np.linalg.norm(centres[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    close = distances < limits[pairs[:, 0]]
    return _assign(pairs[close], distances[close])


def _assign(pairs: Indices, distances: Floats) -> Indices:
    """The largest one-to-one choice among the pairs, of least total distance."""
    chosen = [_assign_cluster(pairs[part], distances[part]) for part in _clusters(pairs)]
    result = np.concatenate(chosen) if chosen else np.zeros((0, 2), dtype=np.int64)
    return result[np.argsort(result[:, 0], kind="stable")]


def _clusters(pairs: Indices) -> list[Indices]:
    """Pairs that share no object with pairs of another cluster can be decided by themselves."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return []
    first = int(pairs[:, 0].max()) + 1
    size = first + int(pairs[:, 1].max()) + 1
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], first + pairs[:, 1])), shape=(size, size))
    _, cluster = connected_components(graph, directed=False)
    of_pair = cluster[pairs[:, 0]]
    order = np.argsort(of_pair, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(of_pair[order])) + 1)


def _assign_cluster(pairs: Indices, distances: Floats) -> Indices:
    from scipy.optimize import linear_sum_assignment

    if len(pairs) == 1:
        return pairs
    rows, row = np.unique(pairs[:, 0], return_inverse=True)
    columns, column = np.unique(pairs[:, 1], return_inverse=True)
    forbidden = 1.0 + 2.0 * float(distances.sum())
    cost = np.full((len(rows), len(columns)), forbidden)
    cost[row, column] = distances
    picked = linear_sum_assignment(cost)
    allowed = cost[picked] < forbidden
    return np.stack([rows[picked[0][allowed]], columns[picked[1][allowed]]], axis=1)


@dataclass(frozen=True)
class Agreement:
    """How the objects of an image agree with those of the reference.

    An object at the border is no evidence: it is neither counted nor, where it is the partner of a whole
    object of the other image, held against that one.

    Attributes:
        matched: whole objects that both images have.
        deleted: whole objects of the reference that the image lacks.
        invented: whole objects of the image that the reference lacks.
    """

    matched: int
    deleted: int
    invented: int

    @property
    def precision(self) -> float:
        """Share of the image's objects that are real; 0 where it has none: left out, it would gain."""
        return self.matched / max(self.matched + self.invented, 1)

    @property
    def recall(self) -> float:
        """Share of the real objects that the image has."""
        return self.matched / max(self.matched + self.deleted, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return 2.0 * self.matched / max(2 * self.matched + self.deleted + self.invented, 1)


def agreement(reference: Objects, found: Objects, reach: float = REACH) -> Agreement:
    """Match two images' objects, those at the border included, and count the whole ones."""
    pairs = match(reference, found, reach)
    whole = ~reference.border[pairs[:, 0]] & ~found.border[pairs[:, 1]]
    lone = np.ones(len(reference), dtype=bool)
    lone[pairs[:, 0]] = False
    new = np.ones(len(found), dtype=bool)
    new[pairs[:, 1]] = False
    return Agreement(
        int(whole.sum()), int((lone & ~reference.border).sum()), int((new & ~found.border).sum())
    )
