"""What is measured on one image: particles, pores, lines or fibres, by the algorithms of the metrics.

Here no reference decides what can be measured: an image is judged by itself, as it will be when there is no
other. Lengths are in pixels of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.metrics import ground_truth
from srbench.metrics.fibre_widths import CentreLines, centre_lines
from srbench.metrics.line_edges import THRESHOLD, Edges, find_lines, measure_line, roughness
from srbench.metrics.measurements import FEWEST_LINES, SMALLEST_DIAMETER, STRETCH, THINNEST
from srbench.metrics.registry import MetricUnavailable, get
from srbench.metrics.segmentation import (
    CONTRAST,
    MATCH_REACH,
    NECK,
    SEPARATION,
    SIMPLE,
    SMALLEST_PHASE,
    SMALLEST_SIDE,
    Objects,
    cleaned,
    drawn_objects,
    find_objects,
    match_points,
    otsu,
    phase_contrast,
    smoothed,
)
from srbench.utils.image import Plane

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Outline = NDArray[np.float64]

PERCENTILES = {"D10": 10.0, "D50": 50.0, "D90": 90.0}


@dataclass(frozen=True, eq=False)
class Features:
    """What was found on one image.

    Attributes:
        centres: ``(K, 2)`` y and x.
        sizes: ``(K,)`` diameters or widths.
        reach: ``(K,)`` how far away the same thing may lie in another image of the field.
        counted: ``(K,)`` whether it is large enough to be counted; the others can only be partners.
        values: of the whole image: ``fraction`` (a share), ``LER`` and ``LWR`` (3 sigma).
        regions: objects of which these are some; None for lines.
        edges: of each line.
        across: whether the lines run across the image.
        dense: whether these are pixels of lines, which have no single partner.
    """

    centres: Floats
    sizes: Floats
    reach: Floats
    counted: NDArray[np.bool_]
    values: Mapping[str, float]
    regions: Objects | None = None
    edges: tuple[Edges, ...] = ()
    across: bool = False
    dense: bool = False

    def __len__(self) -> int:
        return int(self.counted.sum())

    def outlines(self) -> list[Outline]:
        """Closed curves ``(P, 2)`` of x and y around what is counted; dashes on centre lines."""
        if self.dense:
            dash = np.array([[-0.5, 0.0], [0.5, 0.0]])
            return [point[::-1] + dash for point in self.centres[self.counted]]
        if self.regions is None:
            return [self._around(edges) for edges in self.edges]
        import cv2
        from scipy import ndimage

        labels = self.regions.labels
        boxes = ndimage.find_objects(labels)
        curves = []
        for y, x in np.round(self.centres[self.counted]).astype(int):
            # A region this convex holds its own centre.
            rows, columns = boxes[labels[y, x] - 1]
            mask = (labels[rows, columns] == labels[y, x]).astype(np.uint8)
            rings = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
            curves.append(max(rings, key=len)[:, 0] + np.array([columns.start, rows.start], dtype=np.float64))
        return curves

    def _around(self, edges: Edges) -> Outline:
        rows = np.arange(len(edges.left), dtype=np.float64)
        sides = [np.stack([columns, rows], 1) for columns in (edges.left, edges.right)]
        curve = np.concatenate([sides[0], sides[1][::-1]])
        return curve[:, ::-1] if self.across else curve


@dataclass(frozen=True)
class Kind:
    """One kind of thing to measure.

    Attributes:
        name: as typed.
        item: one of them, in words.
        size: what its size is called.
        metric: the metric by the same algorithm; its id changes with the numbers.
        find: image and shift of the threshold to what is on it.
        of_truth: the same from the geometry of a synthetic scene; None where it does not say.
        of_mask: the same from a mask of objects by hand; None for what no mask shows.
    """

    name: str
    item: str
    size: str
    metric: str
    find: Callable[[Plane, float], Features]
    of_truth: Callable[[Mapping[str, Any], tuple[int, int]], Features | None]
    of_mask: Callable[[NDArray[np.integer[Any]]], Features] | None = None

    @property
    def algorithm(self) -> str:
        """Changes whenever the same image gives other numbers."""
        return get(self.metric).id


def _smooth_and_level(image: Plane, shift: float) -> tuple[Plane, float]:
    """The smoothed image, and Otsu's threshold moved by ``shift`` times the contrast of the two phases.

    Raises:
        MetricUnavailable: the image does not show two phases.
    """
    if min(image.shape) < SMALLEST_SIDE:
        raise MetricUnavailable(
            f"{SMALLEST_SIDE} x {SMALLEST_SIDE} pixels are needed, this image has {image.shape[0]} x "
            f"{image.shape[1]}"
        )
    smooth = smoothed(image)
    threshold, separation = otsu(smooth)
    above = smooth > threshold
    contrast, share = phase_contrast(smooth, above), float(above.mean())
    if not contrast >= CONTRAST or separation < SEPARATION or min(share, 1.0 - share) < SMALLEST_PHASE:
        raise MetricUnavailable(
            f"the image does not show two phases: Otsu's threshold explains {separation:.2f} of the variance "
            f"({SEPARATION:.2f} are needed) and parts {min(share, 1.0 - share):.1%} of the pixels"
        )
    return smooth, threshold + shift * contrast


def _round_regions(mask: NDArray[np.bool_], neck: float | None, values: Mapping[str, float]) -> Features:
    """Whole convex regions; what touches is split where ``neck`` says so."""
    return _round_objects(find_objects(cleaned(mask), neck), values)


def _round_objects(regions: Objects, values: Mapping[str, float]) -> Features:
    usable = ~regions.border & (regions.fill >= SIMPLE)
    sizes = regions.diameters[usable]
    reach = MATCH_REACH * sizes / 2.0
    return Features(regions.centres[usable], sizes, reach, sizes >= SMALLEST_DIAMETER, values, regions)


def _particles(image: Plane, shift: float) -> Features:
    smooth, level = _smooth_and_level(image, shift)
    return _round_regions(smooth > level, NECK, {})


def _pores(image: Plane, shift: float) -> Features:
    smooth, level = _smooth_and_level(image, shift)
    pores = smooth <= level
    return _round_regions(pores, None, {"fraction": float(pores.mean())})


def _fibres(image: Plane, shift: float) -> Features:
    smooth, level = _smooth_and_level(image, shift)
    return _fibre_features(centre_lines(smooth, level, cleaned(smooth > level)))


def _fibre_features(lines: CentreLines) -> Features:
    reach = MATCH_REACH * lines.widths / 2.0
    return Features(lines.points, lines.widths, reach, lines.widths >= THINNEST, {}, dense=True)


def _lines(image: Plane, shift: float) -> Features:
    for across in (False, True):
        plane = image.T if across else image
        edges = [measure_line(plane, line, threshold=THRESHOLD + shift) for line in find_lines(plane)]
        measured = tuple(line for line in edges if line is not None)
        if len(measured) >= FEWEST_LINES:
            rough = np.array([line.width for line in measured])
            sides = np.array([side for line in measured for side in (line.left, line.right)])
            values = {}
            if rough.shape[1] >= STRETCH:
                values = {"LER": 3.0 * roughness(sides).sigma, "LWR": 3.0 * roughness(rough).sigma}
            return _line_features(measured, values, across)
    raise MetricUnavailable("the image shows no grating of straight lines along its rows or columns")


def _line_features(lines: Sequence[Edges], values: Mapping[str, float], across: bool) -> Features:
    middles = np.array([(line.left.mean() + line.right.mean()) / 2.0 for line in lines])
    sizes = np.array([line.width.mean() for line in lines], dtype=np.float64)
    # A line fills the image along itself: only where it lies across counts.
    centres = np.stack([np.zeros(len(lines)), middles], axis=1)
    counted = np.ones(len(lines), dtype=bool)
    return Features(centres, sizes, sizes / 2.0, counted, values, None, tuple(lines), across)


def _known_particles(truth: Mapping[str, Any], shape: tuple[int, int]) -> Features | None:
    del shape
    particles = ground_truth.particles(truth, 0, 0.0)
    if particles is None:
        return None
    sizes = particles.diameters
    reach = MATCH_REACH * sizes / 2.0
    return Features(particles.centres, sizes, reach, sizes >= SMALLEST_DIAMETER, {})


def _drawn_particles(mask: NDArray[np.integer[Any]]) -> Features:
    return _round_objects(drawn_objects(mask, NECK), {})


def _known_fibres(truth: Mapping[str, Any], shape: tuple[int, int]) -> Features | None:
    lines = ground_truth.fibres(truth, 0, shape, THINNEST / 2.0)
    return None if lines is None else _fibre_features(lines)


def _drawn_fibres(mask: NDArray[np.integer[Any]]) -> Features:
    drawn = mask > 0
    return _fibre_features(centre_lines(smoothed(drawn.astype(np.float64)), 0.5, cleaned(drawn)))


def _known_pores(truth: Mapping[str, Any], shape: tuple[int, int]) -> Features | None:
    """The true share of the pores; their single sizes are not stored."""
    del shape
    if truth.get("phase") != "pore" or "fraction" not in truth:
        return None
    nothing = np.zeros(0)
    values = {"fraction": float(truth["fraction"])}
    return Features(np.zeros((0, 2)), nothing, nothing, np.zeros(0, dtype=bool), values)


def _known_lines(truth: Mapping[str, Any], shape: tuple[int, int]) -> Features | None:
    grating = ground_truth.grating(truth, 0, shape)
    if grating is None or not grating.edges:
        return None
    sides = np.array([side for line in grating.edges for side in (line.left, line.right)])
    # Geometry has no noise of edge detection that could be told from roughness.
    values = {
        "LER": 3.0 * roughness(sides).biased,
        "LWR": 3.0 * roughness(np.array([line.width for line in grating.edges])).biased,
    }
    return _line_features(grating.edges, values, grating.across)


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "particles",
            "particle",
            "diameter",
            "diameter_bias",
            _particles,
            _known_particles,
            _drawn_particles,
        ),
        Kind("lines", "line", "width (CD)", "cd_bias", _lines, _known_lines),
        Kind("pores", "pore", "diameter", "pore_fraction_bias", _pores, _known_pores),
        Kind(
            "fibres", "fibre pixel", "diameter", "fibre_diameter_bias", _fibres, _known_fibres, _drawn_fibres
        ),
    )
}


def statistics(sizes: Floats, values: Mapping[str, float]) -> dict[str, float]:
    """Percentiles of sizes, none where there are no sizes, beside the values of a whole field."""
    if not len(sizes):
        return dict(values)
    shares = np.percentile(sizes, list(PERCENTILES.values())).tolist()
    return {**dict(zip(PERCENTILES, shares, strict=True)), **values}


def partners(reference: Features, other: Features) -> Indices:
    """Pairs of what is the same thing on two images of one field, ``(M, 2)`` indices into both.

    One to one, but for pixels of centre lines, of which each has the nearest one as its partner.
    """
    if reference.dense:
        return _nearest(reference, other)
    return match_points(reference.centres, reference.reach, other.centres)


def _nearest(reference: Features, other: Features) -> Indices:
    from scipy.spatial import cKDTree

    if not len(reference.sizes) or not len(other.sizes):
        return np.zeros((0, 2), dtype=np.int64)
    pairs = []
    for features, target in ((reference, other), (other, reference)):
        distance, which = map(np.asarray, cKDTree(target.centres).query(features.centres))
        numbers = np.arange(len(which))
        pair = np.stack([numbers, which] if features is reference else [which, numbers], axis=1)
        pairs.append(pair[distance < reference.reach[pair[:, 0]]])
    return np.unique(np.concatenate(pairs), axis=0).astype(np.int64)
