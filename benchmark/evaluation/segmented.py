"""The segmentations of one case, made once and shared by the metrics that look at structure.

The reference decides what is measured: which phase counts as objects and whether there are two phases at all.
The super-resolved image is then segmented as a scientist would who has nothing else, by its own threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from srbench.evaluation.functional.objects import Mask, Objects, cleaned, find_objects
from srbench.evaluation.metrics.registry import Case, MetricUnavailable

if TYPE_CHECKING:
    from torch import Tensor

SEPARATION = 0.64
"""Share of the grey-level variance that Otsu's threshold must explain: 2 / pi, that of one Gaussian phase. A
rough film, one phase with a tail, has 0.45 to 0.60."""
CONTRAST = 0.04
"""Difference of the mean grey levels of two phases: ten of 255 levels."""
SMALLEST_PHASE = 0.01
"""Share of the image that each phase must cover."""
SMALLEST_SIDE = 32
"""Pixels that either side of the image must have."""

DARK = ("porous", "sponge")
BRIGHT = ("particle", "powder", "nanowire", "fibre", "tip")


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Masks ``(1, H, W)`` of the object phase, without the border.

    Attributes:
        reference: of the HR image, by its own Otsu threshold.
        own: of the SR image, by its own Otsu threshold.
        same: of the SR image, by the threshold of the HR image.
        bright: whether the object phase is the brighter one.
    """

    reference: Tensor
    own: Tensor
    same: Tensor
    bright: bool


def segmentation(case: Case) -> Segmentation:
    """Both images of a case in two phases.

    Raises:
        MetricUnavailable: the image is too small, or the reference does not show two phases.
    """
    return case.once("segmented masks", lambda: _segment(case))


def objects(case: Case) -> tuple[Objects, Objects]:
    """Objects of the HR and of the SR image, regions and holes of fewer than 30 pixels removed."""
    reference, own = clean_masks(case)
    return case.once("segmented objects", lambda: (find_objects(reference), find_objects(own)))


def clean_masks(case: Case) -> tuple[Mask, Mask]:
    """Masks of the HR and of the SR image, regions and holes of fewer than 30 pixels removed."""
    masks = segmentation(case)
    return case.once(
        "segmented clean masks",
        lambda: (cleaned(masks.reference[0].cpu().numpy()), cleaned(masks.own[0].cpu().numpy())),
    )


def objects_of_second(case: Case, bright: bool) -> Objects | None:
    """Objects of the second acquisition in the phase of the reference; None where there is no acquisition."""
    if case.second is None:
        return None
    return case.once(
        "segmented second",
        lambda: find_objects(cleaned(phase(case.tensor("second"), bright)[0].cpu().numpy())),
    )


def phase(images: Tensor, bright: bool) -> Tensor:
    """One phase of smoothed images by their own Otsu thresholds, ``(N, H, W)`` bool."""
    from srbench.evaluation.functional.segment import otsu, smoothed

    smooth = smoothed(images)
    above = smooth > otsu(smooth)[0][:, None, None]
    return above if bright else ~above


def _segment(case: Case) -> Segmentation:
    from srbench.evaluation.functional.segment import otsu, smoothed

    if min(case.hr.shape) < SMALLEST_SIDE:
        raise MetricUnavailable(
            f"segmentation needs at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels inside the border, found "
            f"{case.hr.shape[0]} x {case.hr.shape[1]}"
        )
    reference, sr = smoothed(case.tensor("hr")), smoothed(case.tensor("sr"))
    (threshold, separation), (own, _) = otsu(reference), otsu(sr)
    above = reference > threshold
    _check_phases(reference, above, float(separation))
    bright = is_bright(case, float(above.double().mean()))
    # Exclusive or turns the masks round where the objects are dark.
    return Segmentation(
        above ^ (not bright), (sr > own) ^ (not bright), (sr > threshold) ^ (not bright), bright
    )


def _check_phases(reference: Tensor, above: Tensor, separation: float) -> None:
    """Refuse a reference in which a threshold would divide nothing that is there."""
    from srbench.evaluation.functional.segment import phase_contrast, phase_fraction

    fraction = float(phase_fraction(above))
    if min(fraction, 1.0 - fraction) < SMALLEST_PHASE:
        raise MetricUnavailable(
            f"the reference shows one phase: Otsu's threshold parts {min(fraction, 1 - fraction):.1%} of its "
            f"pixels from the rest, {SMALLEST_PHASE:.0%} are needed"
        )
    contrast = float(phase_contrast(reference, above))
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
    """Whether the objects are the brighter phase: by truth, by category, else whichever covers less."""
    truth, category = case.truth or {}, case.category.lower()
    if (
        truth.get("style") == "holes"
        or truth.get("phase") == "pore"
        or any(name in category for name in DARK)
    ):
        return False
    return any(name in category for name in BRIGHT) or bright_fraction <= 0.5
