"""Whether the same structure is there: phases, their texture and topology, and every single object.

Reference and result are segmented by Otsu's threshold after a light smoothing
(:mod:`srbench.evaluation.segmented`). Small features, where a truth lists them, are looked for one by one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.evaluation import scene_truth
from srbench.evaluation.functional import small_features as small
from srbench.evaluation.functional.objects import Agreement, agreement, betti_numbers
from srbench.evaluation.measured import border_of
from srbench.evaluation.metrics.registry import Case, MetricUnavailable, register_metric
from srbench.evaluation.segmented import clean_masks, objects, segmentation

FEWEST = 5
"""Objects, components or features of the reference below which a share of them says nothing."""
COUNT = (0.0, float("inf"))


@register_metric(
    title="Mask Dice",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Overlap of the objects in both images when each is segmented by its own threshold, as you "
    "would do it; 1 means the same pixels.",
)
def mask_dice(case: Case) -> float:
    """Dice coefficient of the object phase, each image by its own Otsu threshold."""
    from srbench.evaluation.functional.segment import dice

    masks = segmentation(case)
    return float(dice(masks.own, masks.reference))


@register_metric(
    title="Mask Dice, HR threshold",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="The same overlap with the threshold of the true image used for both: wrong grey levels cost "
    "something here.",
)
def mask_dice_same_threshold(case: Case) -> float:
    """Dice coefficient of the object phase, both images by the Otsu threshold of the reference."""
    from srbench.evaluation.functional.segment import dice

    masks = segmentation(case)
    return float(dice(masks.same, masks.reference))


@register_metric(
    title="Mask IoU",
    direction="higher",
    bounds=(0.0, 1.0),
    default=False,
    explanation="Pixels that are object in both images over those that are object in either; says the same "
    "as Dice on a stricter scale.",
)
def mask_iou(case: Case) -> float:
    """Intersection over union of the object phase, each image by its own Otsu threshold."""
    from srbench.evaluation.functional.segment import iou

    masks = segmentation(case)
    return float(iou(masks.own, masks.reference))


@register_metric(
    title="Mask IoU, HR threshold",
    direction="higher",
    bounds=(0.0, 1.0),
    default=False,
    explanation="The same share with the threshold of the true image used for both.",
)
def mask_iou_same_threshold(case: Case) -> float:
    """Intersection over union of the object phase, both images by the Otsu threshold of the reference."""
    from srbench.evaluation.functional.segment import iou

    masks = segmentation(case)
    return float(iou(masks.same, masks.reference))


@register_metric(
    title="Phase fraction error",
    direction="lower",
    bounds=(0.0, 1.0),
    explanation="How much the area share of the objects (or pores) changes, whichever way: 0.02 means two "
    "percent of the image.",
)
def phase_fraction_error(case: Case) -> float:
    """Absolute difference of the phase fractions, each image by its own Otsu threshold."""
    from srbench.evaluation.functional.segment import phase_fraction

    masks = segmentation(case)
    return abs(float(phase_fraction(masks.own)) - float(phase_fraction(masks.reference)))


@register_metric(
    title="Two-point error",
    direction="lower",
    bounds=(0.0, float("inf")),
    explanation="How much the sizes and distances of the regions change, as their two-point correlation sees "
    "them; 0 means the same statistics.",
)
def s2_error(case: Case) -> float:
    """Mean difference of the two-point correlations up to 64 px, over phi - phi^2 of the reference."""
    from srbench.evaluation.functional.correlation import REACH, correlation_error

    masks = segmentation(case)
    reach = min(REACH, min(case.hr.shape) // 4)
    return float(correlation_error(masks.own, masks.reference, reach))


@register_metric(
    title="Components error",
    direction="lower",
    bounds=COUNT,
    explanation="By which share the number of separate regions is wrong: pieces that merged or fell apart.",
)
def b0_error(case: Case) -> float:
    """Relative error of the number of 8-connected components of at least 30 pixels."""
    return _betti_error(case, 0, "separate regions")


@register_metric(
    title="Holes error",
    direction="lower",
    bounds=COUNT,
    explanation="By which share the number of enclosed holes is wrong: meshes that closed or opened.",
)
def b1_error(case: Case) -> float:
    """Relative error of the number of holes of at least 30 pixels."""
    return _betti_error(case, 1, "enclosed holes")


def _betti_error(case: Case, degree: int, what: str) -> float:
    found, wanted = case.once(
        "structure betti", lambda: tuple(betti_numbers(mask)[:2] for mask in reversed(clean_masks(case)))
    )
    if wanted[degree] < FEWEST:
        raise MetricUnavailable(
            f"the reference has {wanted[degree]} {what} of 30 pixels or more; a share needs {FEWEST}"
        )
    return abs(found[degree] - wanted[degree]) / wanted[degree]


@register_metric(
    title="Object precision",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Share of the objects in the result that are really there; the rest are invented.",
)
def object_precision(case: Case) -> float:
    """Matched over all whole objects of the SR image."""
    return _agreement(case).precision


@register_metric(
    title="Object recall",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="Share of the real objects that the result shows; the rest are lost.",
)
def object_recall(case: Case) -> float:
    """Matched over all whole objects of the HR image."""
    return _agreement(case).recall


@register_metric(
    title="Object F1",
    direction="higher",
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
    bounds=COUNT,
    explanation="How many whole objects of the true image the result does not show in their place.",
)
def objects_deleted(case: Case) -> float:
    """Whole objects of the HR image without a partner."""
    return float(_agreement(case).deleted)


@register_metric(
    title="Objects invented",
    direction="lower",
    bounds=COUNT,
    explanation="How many whole objects the result shows where the true image has none.",
)
def objects_invented(case: Case) -> float:
    """Whole objects of the SR image without a partner."""
    return float(_agreement(case).invented)


def _agreement(case: Case) -> Agreement:
    reference, found = objects(case)
    whole = int((~reference.border).sum())
    if whole < FEWEST:
        raise MetricUnavailable(
            f"the reference has {whole} whole objects of 30 pixels or more; a share needs {FEWEST}"
        )
    return case.once("structure agreement", lambda: agreement(reference, found))


@dataclass(frozen=True, eq=False)
class _Small:
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
    found = _small(case)
    return _share(found.present[found.sizes >= case.scale], "of an LR pixel or more")


@register_metric(
    title="Sub-pixel features found",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="The same for details smaller than one LR pixel, which the LR image hardly holds: a high "
    "value is either skill or a lucky guess.",
)
def sub_lr_features_found(case: Case) -> float:
    """Recall of the truth's small features that are smaller than an LR pixel."""
    found = _small(case)
    return _share(found.present[found.sizes < case.scale], "smaller than an LR pixel")


@register_metric(
    title="Small features invented",
    direction="lower",
    bounds=COUNT,
    explanation="Details in the result that look like the true ones but are not there, for each true one.",
)
def small_features_invented(case: Case) -> float:
    """Blobs as clear as the truth's small features, in places where the reference has none, per true one."""
    found = _small(case)
    return found.invented / len(found.sizes)


def _share(present: NDArray[np.bool_], which: str) -> float:
    if len(present) < FEWEST:
        raise MetricUnavailable(
            f"{len(present)} small features {which} stand out of the reference; a share needs {FEWEST}"
        )
    return float(present.mean())


def _small(case: Case) -> _Small:
    if case.truth is None:
        raise MetricUnavailable(
            "the small features of this image are not known; synthetic scenes list theirs"
        )
    found = case.once("structure small features", lambda: _look_for_small(case))
    if len(found.sizes) < FEWEST:
        raise MetricUnavailable(
            f"{len(found.sizes)} small features of the scene stand out of the reference; {FEWEST} are needed"
        )
    return found


def _look_for_small(case: Case) -> _Small:
    listed = scene_truth.small_features(case.truth or {}, border_of(case), case.hr.shape)
    reference, maps = small.contrast_maps(case.hr), small.contrast_maps(case.sr)
    seen = small.visible(reference, listed)
    features = [feature for feature, stands_out in zip(listed, seen, strict=True) if stands_out]
    return _Small(
        np.array([feature.size for feature in features]),
        small.present(maps, reference, features),
        len(small.invented(maps, reference, features)),
    )
