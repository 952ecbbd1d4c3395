"""Local thickness of fibres and wires: the width of a bright or dark band at every pixel of its centre line.

The centre line is the skeleton of the phase, without its crossings. A width is the distance between the
nearest points of the outline on either side: twice the distance transform on the centre line, but
interpolated between pixels and over both sides, as the skeleton lies up to half a pixel beside the middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.utils.image import Plane

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

CROSSING = 1.5
"""Distance from a branching of the skeleton, in half widths there, up to which there is no single fibre."""


@dataclass(frozen=True, eq=False)
class CentreLines:
    """Pixels of the centre lines of fibres.

    Attributes:
        points: ``(N, 2)`` y and x.
        widths: ``(N,)`` width of the fibre there, in pixels.
    """

    points: Floats
    widths: Floats


def centre_lines(image: Plane, threshold: float, mask: Mask) -> CentreLines:
    """Centre lines of the fibres of an image and their widths.

    Left out are crossings, what is nearer to the border of the image than to its own outline, and pieces that
    are no longer than wide.

    Args:
        image: ``(H, W)``, smoothed.
        threshold: grey level of the outlines.
        mask: the phase of the fibres, without specks and pinholes, ``(H, W)``.
    """
    import cv2
    from scipy.spatial import cKDTree
    from skimage.morphology import skeletonize

    skeleton = skeletonize(mask)
    points = np.argwhere(skeleton).astype(np.float64)
    outline = _outline(image, threshold, mask)
    if not len(points) or not len(outline):
        return CentreLines(np.zeros((0, 2)), np.zeros(0))
    tree = cKDTree(outline)
    half, nearest = map(np.asarray, tree.query(points))
    # Beyond the point lies the opposite side, as far away.
    offset, opposite = map(np.asarray, tree.query(2.0 * points - outline[nearest]))
    widths = np.linalg.norm(outline[opposite] - outline[nearest], axis=1)
    y, x = points.astype(np.int64).T
    rows, columns = mask.shape
    clear = np.minimum.reduce([y, x, rows - 1 - y, columns - 1 - x]) > half
    clear &= offset < half
    neighbours = cv2.filter2D(skeleton.astype(np.uint8), -1, np.ones((3, 3)), borderType=cv2.BORDER_CONSTANT)
    branching = neighbours[y, x] > 3
    if branching.any():
        distance, which = map(np.asarray, cKDTree(points[branching]).query(points))
        clear &= distance > CROSSING * half[branching][which]
    left = np.zeros(mask.shape, dtype=np.uint8)
    left[y[clear], x[clear]] = 1
    piece = cv2.connectedComponents(left, connectivity=8)[1][y, x]
    # Steps between pixels are up to sqrt(2) long: a count of pixels is the least that a length may be.
    lengths = np.bincount(piece)
    clear &= (lengths > np.bincount(piece, widths) / np.maximum(lengths, 1))[piece]
    return CentreLines(points[clear], widths[clear])


def _outline(image: Plane, threshold: float, mask: Mask) -> Floats:
    """Points (y, x) where a row or a column of the image crosses the threshold at the edge of the mask."""
    above = image > threshold
    crossings = []
    for axis in (0, 1):
        before, after = (slice(None, -1), slice(1, None)) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
        at = np.argwhere((mask[before] != mask[after]) & (above[before] != above[after])).astype(np.float64)
        y, x = at.astype(np.int64).T
        low, high = image[before][y, x], image[after][y, x]
        at[:, axis] += (threshold - low) / (high - low)
        crossings.append(at)
    return np.concatenate(crossings)


def width_errors(reference: CentreLines, lines: CentreLines, reach: float) -> Floats:
    """Found minus reference width at each point of the reference, ``(N,)``; NaN where no centre line is near.

    Args:
        reference: where fibres are and how wide.
        lines: centre lines of an image.
        reach: how far the centre line may lie from the point, in half widths.
    """
    from scipy.spatial import cKDTree

    errors = np.full(len(reference.points), math.nan)
    if len(lines.points) and len(errors):
        distance, which = map(np.asarray, cKDTree(lines.points).query(reference.points))
        near = distance < reach * reference.widths / 2.0
        errors[near] = lines.widths[which[near]] - reference.widths[near]
    return errors
