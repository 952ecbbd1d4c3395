"""Segmentation: phases and objects of one case, computed once and shared by the metrics of structure.

The reference decides what is measured: which phase counts as objects and whether there are two phases at all.
The super-resolved image is then segmented as a scientist would who has nothing else, by its own threshold.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.metrics.registry import Case, MetricUnavailable
from srbench.utils.image import Plane, gaussian

Mask = NDArray[np.bool_]
Labels = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SMOOTHING = 0.8
"""Standard deviation in HR pixels: it leaves 0.35 of the standard deviation of white noise."""
LEVELS = 512
"""Bins of the histogram over [0, 1]."""
SMALLEST = 30
"""Pixels below which a region is taken for noise: a disc of 6 px across."""
MATCH_REACH = 0.5
"""Two objects are the same when their centroids are closer than this many radii of the reference object."""
SEPARATION = 0.64
"""Share of the grey-level variance that Otsu's threshold must explain: 2 / pi, that of one Gaussian phase. A
rough film, one phase with a tail, has 0.45 to 0.60."""
CONTRAST = 0.04
"""Difference of the mean grey levels of two phases: ten of 255 levels."""
SMALLEST_PHASE = 0.01
"""Share of the image that each phase must cover."""
SMALLEST_SIDE = 32
"""Pixels that either side of the image must have."""

SIMPLE = 0.93
"""``Objects.fill`` below which a region is not measured as one particle."""
NO_MASK = "no mask of objects by hand belongs to this image"
LOBED = 0.95
"""``Objects.fill`` below which a region may be several that touch: above it there is nothing to be split."""
NECK = 0.65
"""A region is split where its half width, less ``WELD``, is smaller than this share of those of both parts.
Chosen with it on training images: more splits more of the touching particles of synthetic scenes, less
fewer of the rough single ones that were drawn by hand in SEM open."""
WELD = 2.5
"""Pixels that blur and bright edges add to the sides of a neck."""
STEP = 3
"""Pixels: the side of the squares on which regions are split; finer ones cost more and split no better."""

SIZED = ("particle", "powder", "patterned")
"""Categories whose objects are particles or dots; images without a category count too."""
DARK = ("porous", "sponge")
BRIGHT = ("particle", "powder", "nanowire", "fibre", "fiber", "tip")


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of one mask.

    Attributes:
        labels: ``(H, W)``, 0 outside the objects, k + 1 in object k.
        centres: ``(K, 2)`` centroids (y, x) in pixels.
        areas: ``(K,)`` pixels.
        border: ``(K,)`` whether it touches the border of the image: its size is then unknown.
    """

    labels: Labels
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
        y, x = np.nonzero(self.labels > 0)
        which = self.labels[self.labels > 0] - 1
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
    import cv2

    labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1]
    large = np.bincount(labels.ravel()) >= smallest
    large[0] = False
    solid = large[labels]
    ground = cv2.connectedComponents(
        np.pad(~solid, 1, constant_values=True).astype(np.uint8), connectivity=4
    )[1]
    small = np.bincount(ground.ravel()) < smallest
    small[0] = False
    result: Mask = solid | small[ground[1:-1, 1:-1]]
    return result


def find_objects(mask: Mask, neck: float | None = None) -> Objects:
    """The 8-connected regions of a mask, as it comes from :func:`cleaned`.

    Args:
        mask: ``(H, W)``.
        neck: split what touches, see :func:`split_touching`; None leaves it whole.
    """
    import cv2

    regions = objects_of(cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1])
    return regions if neck is None else split_touching(regions, neck)


def objects_of(labels: Labels, smallest: int = 1) -> Objects:
    """Objects by their labels ``(H, W)``, 0 outside; those of fewer than ``smallest`` pixels are left out."""
    large = np.bincount(labels.ravel()) >= smallest
    large[0] = False
    labels = (np.cumsum(large, dtype=np.int32) * large)[labels]
    count = int(large.sum()) + 1
    y, x = np.nonzero(labels > 0)
    which = labels[labels > 0]
    areas = np.bincount(which, minlength=count)[1:].astype(np.float64)
    sums = [np.bincount(which, along, count)[1:] for along in (y, x)]
    border = np.zeros(count, dtype=bool)
    for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        border[side] = True
    return Objects(labels, np.stack(sums, axis=1) / areas[:, None], areas, border[1:])


def split_touching(regions: Objects, neck: float = NECK) -> Objects:
    """Part what touches: regions with lobes, where they narrow to a neck between two wider parts.

    The distance to the ground, less ``WELD``, has a maximum in each part; two maxima count as two where the
    saddle between them is lower than ``neck`` times the lower one: the logarithm has maxima that stand out by
    -log(neck), whatever the size of the particles. Basins of the watershed (Beucher and Lantuejoul
    1979) around them are the parts; those of fewer than ``SMALLEST`` pixels are left out. Both on squares of
    ``STEP`` pixels: the outline stays as it is, the cuts follow the squares.

    Args:
        regions: of a mask.
        neck: width of a neck over that of the narrower part, 0 to 1.
    """
    import cv2
    from skimage.measure import label
    from skimage.morphology import reconstruction
    from skimage.segmentation import watershed

    clumps = np.append(False, regions.fill < LOBED)[regions.labels]
    if not clumps.any():
        return regions
    exact = cv2.distanceTransform(clumps.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    square = np.ones((STEP, STEP), dtype=np.uint8)
    coarse = np.ascontiguousarray(cv2.dilate(exact, square, anchor=(0, 0))[::STEP, ::STEP])
    inside = coarse > 0
    # Pits and grains of the outline and the texture, a pixel or two across, make no particles.
    distance = cv2.GaussianBlur(coarse, (0, 0), 2.0 / STEP)
    height, depth = np.log(np.maximum(distance - WELD, 0.25)), -math.log(neck)
    above = height - reconstruction(height - depth, height)
    tops = label(inside & (above > 0.999 * depth), connectivity=2)
    basins = watershed(-distance, tops, mask=inside)
    rows, columns = regions.labels.shape
    parts = basins.repeat(STEP, axis=0).repeat(STEP, axis=1)[:rows, :columns]
    # Two regions may share a coarse pixel: a part is one basin in one region.
    pairs = regions.labels.astype(np.int64) * (int(basins.max()) + 1) + np.where(clumps, parts, 0)
    return objects_of(pairs, SMALLEST)


def betti_numbers(mask: Mask) -> tuple[int, int]:
    """Components (8-connected) and holes of a mask.

    A hole is a 4-connected region of the ground that does not reach the border: with these two connectivities
    their difference is the Euler characteristic.
    """
    import cv2

    ground = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    # The background counts as a label of its own; the ground around everything is no hole.
    components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    return components, cv2.connectedComponents(ground, connectivity=4)[0] - 2


def match(reference: Objects, other: Objects, reach: float = MATCH_REACH) -> Indices:
    """One-to-one pairs of objects: as many as possible, then those with the smallest distances.

    Args:
        reference: objects of the reference image.
        other: objects of the other image.
        reach: largest distance of two centroids, in radii of the reference object.

    Returns:
        ``(M, 2)`` indices into ``reference`` and ``other``, sorted.
    """
    return match_points(reference.centres, reach * reference.diameters / 2.0, other.centres)


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


def agreement(reference: Objects, other: Objects, reach: float = MATCH_REACH) -> Agreement:
    """Match two images' objects, those at the border included, and count the whole ones."""
    pairs = match(reference, other, reach)
    whole = ~reference.border[pairs[:, 0]] & ~other.border[pairs[:, 1]]
    lone = np.ones(len(reference), dtype=bool)
    lone[pairs[:, 0]] = False
    new = np.ones(len(other), dtype=bool)
    new[pairs[:, 1]] = False
    return Agreement(
        int(whole.sum()), int((lone & ~reference.border).sum()), int((new & ~other.border).sum())
    )


def smoothed(image: Plane, sigma: float = SMOOTHING) -> Plane:
    """Gaussian mean with reflected borders.

    Single noisy pixels would otherwise be objects and holes. It takes 0.6 sigma^2 / r from the diameter of a
    disc of radius r, 0.05 px at 10 px.
    """
    return gaussian(image, sigma, "mirror", math.ceil(4 * sigma))


def otsu(image: Plane, levels: int = LEVELS) -> tuple[float, float]:
    """Otsu's threshold, and how well it separates two phases.

    Where several thresholds separate equally well (no pixel lies between them) their mean is taken.
    scikit-image's function computes in single precision, which decides near ties by rounding.

    Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9(1), 1979.

    Args:
        image: ``(H, W)`` in [0, 1].
        levels: bins of the histogram over [0, 1].

    Returns:
        The threshold in (0, 1), and the share of the variance that lies between the phases, eta of Otsu's
        eq. 19: 0 for a constant image, 0.64 for Gaussian grey levels, 1 for two levels.
    """
    bins = np.clip(image * levels, 0, levels - 1).astype(np.int64).ravel()
    counts = np.bincount(bins, minlength=levels) / bins.size
    centres = (np.arange(levels) + 0.5) / levels
    share, moment = counts.cumsum()[:-1], (counts * centres).cumsum()[:-1]
    mean = counts @ centres
    variance = counts @ (centres - mean) ** 2
    between = (mean * share - moment) ** 2 / np.maximum(share * (1 - share), 1e-12)
    best = between >= between.max() * (1 - 1e-9)
    threshold = (np.arange(1, levels) / levels)[best].mean()
    return float(threshold), float(min(between.max() / max(variance, 1e-12), 1.0))


def phase_contrast(image: Plane, mask: Mask) -> float:
    """Mean grey level inside the mask minus that outside; NaN where a phase is empty."""
    return float(image[mask].mean() - image[~mask].mean()) if mask.any() and not mask.all() else math.nan


def dice(mask: Mask, reference: Mask) -> float:
    """``2 |A and B| / (|A| + |B|)`` of two masks, in [0, 1]; 1 where both are empty."""
    total = int(mask.sum()) + int(reference.sum())
    return 2.0 * int((mask & reference).sum()) / total if total else 1.0


def iou(mask: Mask, reference: Mask) -> float:
    """``|A and B| / |A or B|`` of two masks, in [0, 1]; 1 where both are empty."""
    either = int((mask | reference).sum())
    return int((mask & reference).sum()) / either if either else 1.0


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Masks ``(H, W)`` of the object phase, without the border.

    Attributes:
        reference: of the HR image, by its own Otsu threshold.
        separate: of the SR image, by its own Otsu threshold.
        same: of the SR image, by the threshold of the HR image.
        bright: whether the object phase is the brighter one.
    """

    reference: Mask
    separate: Mask
    same: Mask
    bright: bool


def segmentation(case: Case) -> Segmentation:
    """Both images of a case in two phases.

    Raises:
        MetricUnavailable: the image is too small, or the reference does not show two phases.
    """
    return case.cached("segmented masks", lambda: _segment(case))


def objects(case: Case) -> tuple[Objects, Objects]:
    """Objects of the HR and of the SR image, regions and holes of fewer than 30 pixels removed.

    Particles that touch are split, unless the protocol leaves them whole.
    """
    reference, sr = clean_masks(case)
    neck = neck_of(case)
    return case.cached("segmented objects", lambda: (find_objects(reference, neck), find_objects(sr, neck)))


def holds_particles(case: Case) -> bool:
    """Whether the objects are particles or dots: by the owner's word, else by category or where none is."""
    if case.measure:
        return "particles" in case.measure
    category = case.category.lower()
    return not category or any(name in category for name in SIZED)


def neck_of(case: Case) -> float | None:
    """``NECK`` where touching objects are to be split."""
    return NECK if case.split_touching and holds_particles(case) else None


def hand_objects(case: Case) -> Objects:
    """Objects as they were drawn by hand, those of fewer than 30 pixels left out.

    Each number of the mask stands for an object, or for a class whose 8-connected regions are the objects.
    With one number only, nothing tells objects that touch apart: they are split as in an image.

    Raises:
        MetricUnavailable: there is no mask of objects.
    """
    mask = case.mask
    if mask is None:
        raise MetricUnavailable(NO_MASK)
    return case.cached("segmented by hand", lambda: drawn_objects(mask, neck_of(case)))


def drawn_objects(mask: Labels, neck: float | None) -> Objects:
    """Objects of a mask by hand, see :func:`hand_objects`.

    Args:
        mask: ``(H, W)`` labels, 0 outside.
        neck: as in :func:`find_objects`.
    """
    from skimage.measure import label

    regions = label(mask, connectivity=2)
    drawn = objects_of(regions, SMALLEST)
    numbers = np.count_nonzero(np.bincount(mask.ravel())[1:])
    return drawn if neck is None or numbers > 1 else split_touching(drawn, neck)


def clean_masks(case: Case) -> tuple[Mask, Mask]:
    """Masks of the HR and of the SR image, regions and holes of fewer than 30 pixels removed."""
    masks = segmentation(case)
    return case.cached("segmented clean masks", lambda: (cleaned(masks.reference), cleaned(masks.separate)))


def objects_of_second(case: Case, bright: bool) -> Objects | None:
    """Objects of the second acquisition in the phase of the reference; None where there is no acquisition."""
    second = case.second
    if second is None:
        return None
    neck = neck_of(case)
    return case.cached("segmented second", lambda: find_objects(cleaned(phase(second, bright)), neck))


def phase(image: Plane, bright: bool) -> Mask:
    """One phase of an image, smoothed, by its own Otsu threshold, ``(H, W)``."""
    smooth = smoothed(image)
    above: Mask = smooth > otsu(smooth)[0]
    return above if bright else ~above


def _segment(case: Case) -> Segmentation:
    if min(case.hr.shape) < SMALLEST_SIDE:
        raise MetricUnavailable(
            f"segmentation needs at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels inside the border, found "
            f"{case.hr.shape[0]} x {case.hr.shape[1]}"
        )
    reference, sr = smoothed(case.hr), smoothed(case.sr)
    threshold, separation = otsu(reference)
    above = reference > threshold
    # Where objects were drawn by hand there are two phases, however their grey levels overlap.
    _check_phases(reference, above, separation if case.mask is None else 1.0)
    bright = is_bright(case, float(above.mean()))
    # Exclusive or turns the masks round where the objects are dark.
    return Segmentation(
        above ^ (not bright), (sr > otsu(sr)[0]) ^ (not bright), (sr > threshold) ^ (not bright), bright
    )


def _check_phases(reference: Plane, above: Mask, separation: float) -> None:
    """Refuse a reference in which a threshold would divide nothing that is there."""
    fraction = float(above.mean())
    if min(fraction, 1.0 - fraction) < SMALLEST_PHASE:
        raise MetricUnavailable(
            f"the reference shows one phase: Otsu's threshold parts {min(fraction, 1 - fraction):.1%} of its "
            f"pixels from the rest, {SMALLEST_PHASE:.0%} are needed"
        )
    contrast = phase_contrast(reference, above)
    if contrast < CONTRAST:
        raise MetricUnavailable(
            f"the reference has too little contrast for a segmentation: its phases differ by "
            f"{255 * contrast:.0f} of 255 grey levels, {255 * CONTRAST:.0f} are needed"
        )
    if separation < SEPARATION:
        raise MetricUnavailable(
            f"the grey levels of the reference do not form two phases: Otsu's threshold explains "
            f"{separation:.2f} of their variance, {SEPARATION:.2f} are needed"
        )


def is_bright(case: Case, bright_fraction: float) -> bool:
    """Whether the objects are the brighter phase.

    By the hand mask where there is one, by truth, the owner's word, category; else they are the smaller one.
    """
    if case.mask is not None and 0.0 < (drawn := case.mask > 0).mean() < 1.0:
        return phase_contrast(case.hr, drawn) > 0.0
    truth, category = case.truth or {}, case.category.lower()
    if case.measure and not truth and {"particles", "fibres", "pores"} & set(case.measure):
        return bool({"particles", "fibres"} & set(case.measure))
    if (
        truth.get("style") == "holes"
        or truth.get("phase") == "pore"
        or any(name in category for name in DARK)
    ):
        return False
    return any(name in category for name in BRIGHT) or bright_fraction <= 0.5
