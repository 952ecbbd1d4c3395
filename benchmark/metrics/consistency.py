"""Data consistency: whether the super-resolved image, degraded again, gives the LR image back.

Necessary, not sufficient: interpolation passes it. An LR image without counting noise has LR-PSNR. With noise
that would reward copying it, so chi square takes its place, whose target the noise sets.
"""

from __future__ import annotations

import numpy as np

from srbench.metrics.fidelity import CAP_DB, psnr
from srbench.metrics.registry import Case, MetricUnavailable, register_metric
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Plane

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
    return psnr(degraded, case.lr, case.data_range)


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
    degraded = _degraded(case, "full_sr")
    if case.lr_variance is None:
        raise MetricUnavailable("how noisy the LR image is, is not known")
    if not _is_noisy(case):
        raise MetricUnavailable("the LR image holds no counting noise; see lr_psnr")
    return chi_square(degraded, case.lr, _variance(case))


def chi_square(degraded: Plane, lr: Plane, variance: Plane) -> float:
    """Chi square a pixel, ``mean (degraded - lr)^2 / variance``.

    The mean over n pixels whose noise is independent and near Gaussian scatters around its expectation of 1
    with standard deviation ``sqrt(2 / n)``.

    Args:
        degraded: ``(h, w)`` what the result would have been recorded as at infinite dose.
        lr: what was recorded, the same shape.
        variance: expected square of the difference between the recording and the truth's ``degraded``, the
            same shape, above 0. Take it at the *truth*: taken at the result it would forgive what is drawn
            too bright, where counting noise is larger, and weigh the pixels of every model differently.

    Returns:
        1 where the difference is all noise, far below 1 where the noise was copied, above 1 where the result
        contradicts the recording.

    Raises:
        SrbenchError: shapes differ, or a variance is not above 0.
    """
    if not degraded.shape == lr.shape == variance.shape:
        raise SrbenchError(
            f"Expected three planes of one shape, found {degraded.shape}, {lr.shape} and {variance.shape}."
        )
    if not (variance > 0.0).all():
        raise SrbenchError(f"Expected variances above 0, found {float(variance.min()):g}.")
    return float(np.mean((degraded - lr) ** 2 / variance))


def _is_noisy(case: Case) -> bool:
    """Whether anything but rounding separates the LR image from its expectation."""
    return float(_variance(case).max()) > 1.001 * ROUNDING_VARIANCE


def _variance(case: Case) -> Plane:
    """Variance of the LR image around the degraded reference, from which it was made."""
    variance = case.lr_variance
    assert variance is not None
    return case.cached("consistency variance", lambda: variance(_degraded(case, "full_hr")))


def _degraded(case: Case, name: str) -> Plane:
    """The SR or HR image as it would have been recorded at infinite dose."""
    degrade = case.degrade
    if degrade is None:
        raise MetricUnavailable("the degradation that made the LR image is unknown")
    return case.cached(f"consistency {name}", lambda: degrade(getattr(case, name)))
