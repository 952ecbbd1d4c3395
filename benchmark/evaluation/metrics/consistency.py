"""Data consistency: whether the super-resolved image, degraded again, gives the LR image back.

The cheapest alarm for invented content. Necessary, not sufficient: interpolation passes it. Each LR image has
one of two numbers. Without counting noise it is LR-PSNR. With it LR-PSNR would rank backwards (who copies the
noise wins, and the noisy image itself gets 100 dB at magnification 1), so chi square takes its place, whose
target the noise sets. For a noise-free LR image chi square would only be LR-PSNR in other units,
``10^((58.92 - LR-PSNR) / 10)``.
"""

from __future__ import annotations

import numpy as np

from srbench.evaluation.metrics.psnr import CAP_DB, psnr_of
from srbench.evaluation.metrics.registry import Case, MetricUnavailable, Plane, register_metric

ROUNDING_VARIANCE = 1.0 / 12.0 / 255.0**2
"""Variance that rounding to 8 bits adds, in units of the squared grey range."""


@register_metric(
    title="LR-PSNR",
    direction="higher",
    unit="dB",
    bounds=(float("-inf"), CAP_DB),
    explanation="Agreement with the recorded LR image when the result is degraded again; "
    "a low value means the result contradicts the recording (only for LR images without counting noise).",
    family="consistency",
)
def lr_psnr(case: Case) -> float:
    """PSNR between the degraded SR image and the LR image, both whole.

    The degraded SR image is not rounded; the rounding of the LR image to 8 bits alone allows about 59 dB.
    """
    degraded = _degraded(case, "full_sr")
    if case.lr_variance is not None and _is_noisy(case):
        raise MetricUnavailable(
            "the LR image holds counting noise, and LR-PSNR would reward copying it; see lr_chi2"
        )
    return psnr_of(degraded, case.lr, case.data_range)


@register_metric(
    title="LR chi2",
    direction="none",
    bounds=(0.0, float("inf")),
    explanation="Disagreement with the noisy LR image in units of its noise: 1 is what noise explains, "
    "far below 1 the noise was copied, above 1 the result contradicts the recording.",
    family="consistency",
)
def lr_chi2(case: Case) -> float:
    """Mean of ``(D(S) - L)^2 / variance`` over the LR image, the variance taken at the degraded reference."""
    import torch

    from srbench.evaluation.functional.fidelity import chi_square

    degraded = _degraded(case, "full_sr")
    if case.lr_variance is None:
        raise MetricUnavailable("how noisy the LR image is, is not known")
    if not _is_noisy(case):
        raise MetricUnavailable("the LR image holds no counting noise; see lr_psnr")
    planes = (degraded, case.lr, _variance(case))
    batches = (torch.from_numpy(np.ascontiguousarray(plane))[None].to(case.device) for plane in planes)
    return float(chi_square(*batches))


def _is_noisy(case: Case) -> bool:
    """Whether anything but rounding separates the LR image from its expectation."""
    return float(_variance(case).max()) > 1.001 * ROUNDING_VARIANCE


def _variance(case: Case) -> Plane:
    """Variance of the LR image around the degraded reference, from which it was made."""
    known = case.lr_variance
    assert known is not None
    return case.once("consistency variance", lambda: known(_degraded(case, "full_hr")))


def _degraded(case: Case, name: str) -> Plane:
    """The SR or HR image as it would have been recorded at infinite dose."""
    degrade = case.degrade
    if degrade is None:
        raise MetricUnavailable("the degradation that made the LR image is unknown")
    return case.once(f"consistency {name}", lambda: degrade(getattr(case, name)))
