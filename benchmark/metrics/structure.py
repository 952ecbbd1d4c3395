"""Whether the same structure is there: phases, their texture and topology, and every single object.

Reference and result are segmented by Otsu's threshold after a light smoothing
(:mod:`srbench.metrics.segmentation`). Small features, where a truth lists them, are looked for one by one.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.metrics import ground_truth
from srbench.metrics.registry import Case, MetricUnavailable, register_metric
from srbench.metrics.segmentation import (
    Agreement,
    Mask,
    agreement,
    betti_numbers,
    clean_masks,
    dice,
    hand_objects,
    iou,
    objects,
    segmentation,
)
from srbench.metrics.small_features import contrast_maps, invented, present, visible

FEWEST = 5
"""Objects, components or features of the reference below which a share of them says nothing."""
COUNT = (0.0, float("inf"))

CORRELATION_REACH = 64
"""Largest distance of the two-point correlation in pixels; in a small image a quarter of its shorter side."""


def two_point_correlation(mask: Mask, reach: int = CORRELATION_REACH) -> NDArray[np.float64]:
    """``S2(r)`` for r = 0 .. ``reach``, radially averaged.

    The probability that two points at distance r both lie in the phase: the phase fraction at r = 0, its
    square far away (Torquato, "Random Heterogeneous Materials", 2002, section 2.2). Every displacement
    (dy, dx) is averaged over the pairs of pixels that both lie in the image (no periodic border), then the
    displacements with the same rounded length are averaged.

    Args:
        mask: ``(H, W)``, both sides larger than ``reach``.
        reach: largest distance in pixels.

    Returns:
        ``(reach + 1,)`` in [0, 1].
    """
    from scipy import fft

    height, width = mask.shape
    # Zeros of the width of the reach keep the far side from coming round.
    size = [fft.next_fast_len(side + reach, real=True) for side in (height, width)]
    transform = fft.rfft2(mask.astype(np.float64), size)
    pairs = fft.irfft2(transform.real**2 + transform.imag**2, size)
    dy, dx = np.arange(reach + 1), np.arange(-reach, reach + 1)
    possible = (height - dy)[:, None] * (width - np.abs(dx))
    rings, counts = _correlation_rings(reach)
    lags = pairs[dy][:, dx] / possible
    sums = np.bincount(rings, lags.ravel(), minlength=reach + 2)
    return np.asarray(sums[: reach + 1] / counts, dtype=np.float64)


def correlation_error(mask: Mask, reference: Mask, reach: int = CORRELATION_REACH) -> float:
    """``e_S2 = mean_{r <= reach} |S2(r) - S2_ref(r)| / (phi_ref - phi_ref^2)``.

    The divisor is the range over which the reference's S2 falls. NaN where the reference has one phase.

    Args:
        mask: ``(H, W)``.
        reference: the same shape.
        reach: largest distance in pixels.
    """
    expected = two_point_correlation(reference, reach)
    difference = np.abs(two_point_correlation(mask, reach) - expected).mean()
    spread = expected[0] - expected[0] ** 2
    return float(difference / spread) if 0.0 < reference.mean() < 1.0 else float("nan")


@functools.lru_cache(maxsize=8)
def _correlation_rings(reach: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ring of every displacement (those too long in ring ``reach + 1``) and displacements a ring.

    Rows begin at 0: (-dy, -dx) is the same displacement as (dy, dx).
    """
    lengths = np.hypot(np.arange(reach + 1)[:, None], np.arange(-reach, reach + 1))
    rings = np.minimum(np.round(lengths).astype(np.int64), reach + 1).ravel()
    return rings, np.bincount(rings, minlength=reach + 2)[: reach + 1]


@register_metric(
    title="Mask Dice",
    direction="higher",
    version=2,
    bounds=(0.0, 1.0),
    explanation="Overlap of the objects in both images when each is segmented by its own threshold, as you "
    "would do it; 1 means the same pixels.",
)
def mask_dice(case: Case) -> float:
    """Dice coefficient of the object phase, each image by its own Otsu threshold."""
    masks = segmentation(case)
    return dice(masks.separate, masks.reference)


@register_metric(
    title="Mask Dice, HR threshold",
    direction="higher",
    version=2,
    bounds=(0.0, 1.0),
    explanation="The same overlap with the threshold of the true image used for both: wrong grey levels cost "
    "something here.",
)
def mask_dice_same_threshold(case: Case) -> float:
    """Dice coefficient of the object phase, both images by the Otsu threshold of the reference."""
    masks = segmentation(case)
    return dice(masks.same, masks.reference)


@register_metric(
    title="Mask IoU",
    direction="higher",
    version=2,
    bounds=(0.0, 1.0),
    default=False,
    explanation="Pixels that are object in both images over those that are object in either; says the same "
    "as Dice on a stricter scale.",
)
def mask_iou(case: Case) -> float:
    """Intersection over union of the object phase, each image by its own Otsu threshold."""
    masks = segmentation(case)
    return iou(masks.separate, masks.reference)


@register_metric(
    title="Mask IoU, HR threshold",
    direction="higher",
    version=2,
    bounds=(0.0, 1.0),
    default=False,
    explanation="The same share with the threshold of the true image used for both.",
)
def mask_iou_same_threshold(case: Case) -> float:
    """Intersection over union of the object phase, both images by the Otsu threshold of the reference."""
    masks = segmentation(case)
    return iou(masks.same, masks.reference)


@register_metric(
    title="Phase fraction error",
    direction="lower",
    bounds=(0.0, 1.0),
    explanation="How much the area share of the objects (or pores) changes, whichever way: 0.02 means two "
    "percent of the image.",
)
def phase_fraction_error(case: Case) -> float:
    """Absolute difference of the phase fractions, each image by its own Otsu threshold."""
    masks = segmentation(case)
    return abs(float(masks.separate.mean()) - float(masks.reference.mean()))


@register_metric(
    title="Two-point error",
    direction="lower",
    version=2,
    bounds=(0.0, float("inf")),
    explanation="How much the sizes and distances of the regions change, as their two-point correlation sees "
    "them; 0 means the same statistics.",
)
def s2_error(case: Case) -> float:
    """Mean difference of the two-point correlations up to 64 px, over phi - phi^2 of the reference."""
    masks = segmentation(case)
    reach = min(CORRELATION_REACH, min(case.hr.shape) // 4)
    return correlation_error(masks.separate, masks.reference, reach)


@register_metric(
    title="Components error",
    direction="lower",
    version=2,
    bounds=COUNT,
    explanation="By which share the number of separate regions is wrong: pieces that merged or fell apart.",
)
def b0_error(case: Case) -> float:
    """Relative error of the number of 8-connected components of at least 30 pixels."""
    return _betti_error(case, 0, "separate regions")


@register_metric(
    title="Holes error",
    direction="lower",
    version=2,
    bounds=COUNT,
    explanation="By which share the number of enclosed holes is wrong: meshes that closed or opened.",
)
def b1_error(case: Case) -> float:
    """Relative error of the number of holes of at least 30 pixels."""
    return _betti_error(case, 1, "enclosed holes")


def _betti_error(case: Case, degree: int, what: str) -> float:
    expected, counted = case.cached(
        "structure betti", lambda: tuple(betti_numbers(mask) for mask in clean_masks(case))
    )
    if expected[degree] < FEWEST:
        raise MetricUnavailable(
            f"the reference has {expected[degree]} {what} of 30 pixels or more; a share needs {FEWEST}"
        )
    return float(abs(counted[degree] - expected[degree]) / expected[degree])


@register_metric(
    title="Object precision",
    direction="higher",
    version=2,
    bounds=(0.0, 1.0),
    explanation="Share of the objects in the result that are really there; the rest are invented.",
)
def object_precision(case: Case) -> float:
    """Matched over all whole objects of the SR image."""
    return _agreement(case).precision


@register_metric(
    title="Object recall",
    direction="higher",
    version=2,
    bounds=(0.0, 1.0),
    explanation="Share of the real objects that the result shows; the rest are lost.",
)
def object_recall(case: Case) -> float:
    """Matched over all whole objects of the HR image."""
    return _agreement(case).recall


@register_metric(
    title="Object F1",
    direction="higher",
    version=2,
    bounds=(0.0, 1.0),
    explanation="Precision and recall of the objects in one number; 1 means every object is there and none "
    "was invented.",
)
def object_f1(case: Case) -> float:
    """Harmonic mean of object precision and recall."""
    return _agreement(case).f1


@register_metric(
    title="Objects lost",
    direction="lower",
    version=2,
    bounds=COUNT,
    explanation="How many whole objects of the true image the result does not show in their place.",
)
def objects_deleted(case: Case) -> float:
    """Whole objects of the HR image without a partner."""
    return float(_agreement(case).deleted)


@register_metric(
    title="Objects invented",
    direction="lower",
    version=2,
    bounds=COUNT,
    explanation="How many whole objects the result shows where the true image has none.",
)
def objects_invented(case: Case) -> float:
    """Whole objects of the SR image without a partner."""
    return float(_agreement(case).invented)


def _agreement(case: Case) -> Agreement:
    reference, result = objects(case)
    whole = int((~reference.border).sum())
    if whole < FEWEST:
        raise MetricUnavailable(
            f"the reference has {whole} whole objects of 30 pixels or more; a share needs {FEWEST}"
        )
    return case.cached("structure agreement", lambda: agreement(reference, result))


@register_metric(
    title="Object precision (hand)",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Share of the objects found in the result that were drawn by hand.",
)
def object_precision_hand(case: Case) -> float:
    """Matched over all whole objects of the SR image, against a mask."""
    return _hand_agreement(case)[1].precision


@register_metric(
    title="Object precision (hand) on HR",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="The same share on the true HR image: what the algorithm finds, not the network.",
)
def object_precision_hand_hr(case: Case) -> float:
    """Matched over all whole objects of the HR image, against a mask."""
    return _hand_agreement(case)[0].precision


@register_metric(
    title="Object recall (hand)",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Share of the objects drawn by hand that are found in the result.",
)
def object_recall_hand(case: Case) -> float:
    """Matched over all whole objects of a mask, on the SR image."""
    return _hand_agreement(case)[1].recall


@register_metric(
    title="Object recall (hand) on HR",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Share of the objects drawn by hand that are found on the true HR image.",
)
def object_recall_hand_hr(case: Case) -> float:
    """Matched over all whole objects of a mask, on the HR image."""
    return _hand_agreement(case)[0].recall


def _hand_agreement(case: Case) -> tuple[Agreement, ...]:
    """How the objects of HR and of SR agree with those drawn by hand."""
    drawn = hand_objects(case)
    whole = int((~drawn.border).sum())
    if whole < FEWEST:
        raise MetricUnavailable(
            f"the mask has {whole} whole objects of 30 pixels or more; a share needs {FEWEST}"
        )
    return case.cached("structure by hand", lambda: tuple(agreement(drawn, some) for some in objects(case)))


@dataclass(frozen=True, eq=False)
class SmallFeatures:
    """The small features that stand out of the reference.

    Attributes:
        sizes: ``(K,)`` pixels across.
        present: ``(K,)`` which of them the result shows.
        invented: number of blobs that are none of them.
    """

    sizes: NDArray[np.float64]
    present: NDArray[np.bool_]
    invented: int


@register_metric(
    title="Small features found",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Share of the true details of one to one and a half LR pixels that the result shows with at "
    "least half of their contrast.",
)
def small_features_found(case: Case) -> float:
    """Recall of the truth's small features that are no smaller than an LR pixel."""
    features = _small_features(case)
    return _share_of(features.present[features.sizes >= case.scale], "of an LR pixel or more")


@register_metric(
    title="Sub-pixel features found",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="The same for details smaller than one LR pixel, which the LR image hardly holds: a high "
    "value may be a guess that happens to be right.",
)
def sub_lr_features_found(case: Case) -> float:
    """Recall of the truth's small features that are smaller than an LR pixel."""
    features = _small_features(case)
    return _share_of(features.present[features.sizes < case.scale], "smaller than an LR pixel")


@register_metric(
    title="Small features invented",
    direction="lower",
    bounds=COUNT,
    explanation="Details in the result that look like the true ones but are not there, for each true one.",
)
def small_features_invented(case: Case) -> float:
    """Blobs as clear as the truth's small features, in places where the reference has none, per true one."""
    features = _small_features(case)
    return features.invented / len(features.sizes)


def _share_of(shown: NDArray[np.bool_], which: str) -> float:
    if len(shown) < FEWEST:
        raise MetricUnavailable(
            f"{len(shown)} small features {which} stand out of the reference; a share needs {FEWEST}"
        )
    return float(shown.mean())


def _small_features(case: Case) -> SmallFeatures:
    truth = case.truth
    if truth is None:
        raise MetricUnavailable(
            "the small features of this image are not known; synthetic scenes list theirs"
        )

    def compute() -> SmallFeatures:
        listed = ground_truth.small_features(truth, case.border, case.hr.shape)
        reference, maps = contrast_maps(case.hr), contrast_maps(case.sr)
        stands_out = visible(reference, listed)
        features = [feature for feature, clear in zip(listed, stands_out, strict=True) if clear]
        return SmallFeatures(
            np.array([feature.size for feature in features]),
            present(maps, reference, features),
            len(invented(maps, reference, features)),
        )

    features = case.cached("structure small features", compute)
    if len(features.sizes) < FEWEST:
        raise MetricUnavailable(
            f"{len(features.sizes)} small features of the scene stand out of the reference; "
            f"{FEWEST} are needed"
        )
    return features
