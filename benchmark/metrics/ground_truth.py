"""Ground truth for the measurements: particles, lines and small features in the pixels of the cut plane.

A truth is a JSON-like mapping as the synthetic scenes store it; coordinates are those of the whole HR image
(y = row, x = column, pixel centres at whole numbers). ``cut`` pixels are subtracted: the border a metric does
not see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.metrics.fibre_widths import CentreLines
from srbench.metrics.line_edges import Edges, Line
from srbench.metrics.small_features import Feature

Floats = NDArray[np.float64]
Truth = Mapping[str, Any]

DARK_FEATURES = frozenset({"pinhole", "pit", "pore", "break", "notch"})
"""Types of small features that are darker than their surroundings."""
ATTACHED_FEATURES = frozenset({"cap", "asperity"})
"""Types that sit on the end or the outline of something else: without them an edge of about the same contrast
is left in their place, so contrast cannot tell whether they are there."""
CLEAR_ROWS = 24
"""Length in pixels of the shortest stretch over which a finger is measured."""
CORNER = 8
"""Pixels kept from the ends of such a stretch and from what crosses it."""
FINGER_REACH = 8.0
"""Pixels on either side of a finger's edge that are looked at."""
FIBRE_GAP = 2.0
"""Pixels that a clear stretch of a fibre keeps from every other fibre."""


@dataclass(frozen=True, eq=False)
class Particles:
    """Particles, dots or holes whose size can be measured.

    Attributes:
        centres: ``(K, 2)`` y and x.
        diameters: ``(K,)`` of the circles of equal area, in pixels.
        neighbours: ``(L, 2)`` centres of everything, small and touching things included: a region with two of
            them is not one particle.
    """

    centres: Floats
    diameters: Floats
    neighbours: Floats


@dataclass(frozen=True, eq=False)
class Grating:
    """Lines to be measured.

    Attributes:
        lines: where they are, in an image in which they run down.
        widths: ``(K,)`` true mean widths in pixels.
        edges: true edges row by row, for rough lines; else empty.
        across: whether they run across the image, which must be transposed before.
    """

    lines: tuple[Line, ...]
    widths: Floats
    edges: tuple[Edges, ...]
    across: bool


def particles(truth: Truth, cut: int, smallest: float) -> Particles | None:
    """Whole particles (or regular dots and holes) of at least ``smallest`` pixels across.

    None where the scene has none of these kinds.
    """
    entries = truth.get("particles") if truth.get("kind") == "particles" else truth.get("dots")
    if not entries:
        return None
    usable = [
        entry
        for entry in entries
        if not (entry["border"] or entry.get("defective")) and entry["diameter"] >= smallest
    ]
    return Particles(
        _centres(usable) - cut,
        np.array([entry["diameter"] for entry in usable], dtype=np.float64),
        np.unique(_centres([*entries, *truth.get("small_features", ())]), axis=0) - cut,
    )


def _centres(entries: Sequence[Truth]) -> Floats:
    return np.array([(entry["y"], entry["x"]) for entry in entries], dtype=np.float64).reshape(-1, 2)


def fibres(truth: Truth, cut: int, shape: tuple[int, int], thinnest: float) -> CentreLines | None:
    """Clear stretches of fibres or wires of at least ``thinnest`` pixels across, a point each pixel.

    Clear of other fibres, of their own beads and caps, and of the border. None where the scene has neither.

    Args:
        truth: of the scene.
        cut: pixels that were cut off on every side.
        shape: height and width of what is left.
        thinnest: smallest width.
    """
    from scipy.spatial import cKDTree

    lines = [_fibre(entry) for entry in truth.get("fibres", ())] + [
        _wire(entry) for entry in truth.get("wires", ())
    ]
    if not lines:
        return None
    # Thin ones are never measured: together they are one thing to keep away from.
    thick = [line for line in lines if line[1].max() >= thinnest]
    thin = [line for line in lines if line[1].max() < thinnest]
    bodies = [(cKDTree(line), width) for line, width, _ in thick]
    if thin:
        bodies.append(
            (cKDTree(np.concatenate([line[0] for line in thin])), np.concatenate([line[1] for line in thin]))
        )
    points, widths = [np.zeros((0, 2))], [np.zeros(0)]
    for number, (line, width, usable) in enumerate(thick):
        at = line - cut
        inside = np.minimum(at, np.array(shape) - 1 - at).min(1) > width
        clear = usable & inside & (width >= thinnest)
        for other, (tree, across) in enumerate(bodies):
            reach = (width.max() + across.max()) / 2.0 + FIBRE_GAP
            apart = (tree.mins - reach > line.max(0)) | (tree.maxes + reach < line.min(0))
            if other != number and clear.any() and not apart.any():
                distance, nearest = tree.query(line[clear], distance_upper_bound=reach)
                # The index of one that is farther away is the number of points.
                beside = np.append(across, 0.0)[nearest]
                clear[clear] = distance > (width[clear] + beside) / 2.0 + FIBRE_GAP
        points.append(at[clear])
        widths.append(width[clear])
    return CentreLines(np.concatenate(points), np.concatenate(widths))


def _fibre(entry: Truth) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Points of a centre line a pixel apart, the width there, and whether it is that of the fibre itself."""
    vertices = np.asarray(entry["line"], dtype=np.float64)
    arcs = np.append(0.0, np.hypot(*np.diff(vertices, axis=0).T).cumsum())
    along = np.arange(0.0, arcs[-1])
    line = np.stack([np.interp(along, arcs, vertices[:, axis]) for axis in (0, 1)], axis=1)
    plain = np.ones(len(along), dtype=bool)
    for bead in entry["beads"]:
        plain &= np.abs(along - bead["along"]) > bead["length"] / 2.0 + FIBRE_GAP
    return line, np.full(len(along), float(entry["width"])), plain


def _wire(entry: Truth) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """The same of a straight tapered wire with a cap around its tip."""
    base, tip = (np.asarray(entry[end], dtype=np.float64) for end in ("base", "tip"))
    length = float(np.linalg.norm(tip - base))
    along = np.arange(0.0, length)
    share = (along / length)[:, None]
    width = entry["base_width"] + (entry["tip_width"] - entry["base_width"]) * share[:, 0]
    return base + share * (tip - base), width, along < length - entry["cap"] / 2.0 - FIBRE_GAP


def grating(truth: Truth, cut: int, shape: tuple[int, int]) -> Grating | None:
    """The lines of a grating or the fingers of a device; None where the scene has neither.

    Args:
        truth: of the scene.
        cut: pixels that were cut off on every side.
        shape: height and width of what is left.
    """
    if truth.get("lines"):
        return _rough_lines(truth, cut, shape[0])
    if truth.get("fingers"):
        return _fingers(truth, cut, shape)
    return None


def _rough_lines(truth: Truth, cut: int, rows: int) -> Grating:
    """Whole lines without a defect, over all rows."""
    usable = [line for line in truth["lines"] if line["complete"] and not line["defective"]]
    reach = (truth["cd"] / 2.0, (truth["pitch"] - truth["cd"]) / 2.0)
    edges = tuple(
        Edges(
            *(np.asarray(line[side], dtype=np.float64)[cut : cut + rows] - cut for side in ("left", "right"))
        )
        for line in usable
    )
    lines = tuple(Line(float(pair.left.mean()), float(pair.right.mean()), 0, rows, *reach) for pair in edges)
    return Grating(lines, np.array([pair.width.mean() for pair in edges]), edges, across=False)


def _fingers(truth: Truth, cut: int, shape: tuple[int, int]) -> Grating:
    """Straight fingers over their longest stretch that nothing crosses."""
    across = truth["process"]["lines_along"] == "columns"
    length = shape[1] if across else shape[0]
    lines, widths = [], []
    for finger in truth["fingers"]:
        start, end = _clear_stretch(finger, truth["rectangles"], across, cut + length)
        if finger["complete"] and not finger["notched"] and end - start >= CLEAR_ROWS:
            first, space = max(start - cut, 0), _space(finger, truth["fingers"]) / 2.0
            edges = finger["low"] - cut, finger["high"] - cut
            lines.append(Line(*edges, first, end - cut, finger["cd"] / 2.0, space))
            widths.append(finger["cd"])
    return Grating(tuple(lines), np.array(widths, dtype=np.float64), (), across)


def _space(finger: Truth, fingers: Sequence[Truth]) -> float:
    """Distance in pixels to the nearest other finger, whatever lies between."""
    gaps = [max(other["low"] - finger["high"], finger["low"] - other["high"]) for other in fingers]
    return min((gap for gap in gaps if gap > 0), default=2 * FINGER_REACH)


def _clear_stretch(finger: Truth, rectangles: Sequence[Truth], across: bool, end: int) -> tuple[int, int]:
    """First and last pixel, along the finger, of its longest stretch clear of other bodies."""
    low, high = finger["low"] - FINGER_REACH, finger["high"] + FINGER_REACH
    sides = ("left", "right", "top", "bottom") if across else ("top", "bottom", "left", "right")
    bars = [[bar[side] for side in sides] for bar in rectangles if bar["index"] != finger["index"]]
    crossing = sorted((bar[0], bar[1]) for bar in bars if bar[2] < high and bar[3] > low)
    best, start = (0, 0), max(finger["start"], 0)
    for first, last in [*crossing, (min(finger["end"], end), end)]:
        stop = min(first, finger["end"])
        if stop - start > best[1] - best[0]:
            best = (start, stop)
        start = max(start, last)
    return int(best[0]) + CORNER, int(best[1]) - CORNER


def small_features(truth: Truth, cut: int, shape: tuple[int, int]) -> list[Feature]:
    """Small features whose presence contrast can tell, wholly in the plane."""
    features = []
    for entry in truth.get("small_features", ()):
        size = float(entry.get("diameter", entry.get("length", 0.0)))
        is_hole = truth.get("style") == "holes" and entry["type"].endswith("dot")
        bright = entry["type"] not in DARK_FEATURES and not is_hole
        feature = Feature(entry["y"] - cut, entry["x"] - cut, size, bright)
        margin = size / 2.0 + 2.0
        inside = margin <= feature.y <= shape[0] - 1 - margin and margin <= feature.x <= shape[1] - 1 - margin
        if inside and entry["type"] not in ATTACHED_FEATURES:
            features.append(feature)
    return features
