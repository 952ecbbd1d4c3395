"""Likeness of local patterns at several scales, and how unevenly gradients were changed."""

from __future__ import annotations

from srbench.evaluation.metrics.registry import Case, register_metric


@register_metric(
    title="MS-SSIM",
    direction="higher",
    bounds=(0.0, 1.0),
    explanation="SSIM over five magnifications of the same image: forgives what only the finest pixels show, "
    "and takes invented or missing particles for a blur.",
    family="fidelity",
)
def ms_ssim(case: Case) -> float:
    """Multi-scale SSIM of the image without its border."""
    from srbench.evaluation.functional import similarity

    return float(similarity.ms_ssim(case.tensor("sr"), case.tensor("hr"), case.data_range))


@register_metric(
    title="GMSD",
    direction="lower",
    bounds=(0.0, 0.5),
    explanation="How unevenly edges lost or gained strength over the image; 0 means everywhere alike, "
    "not everywhere right.",
    family="fidelity",
)
def gmsd(case: Case) -> float:
    """Gradient magnitude similarity deviation of the image without its border."""
    from srbench.evaluation.functional import similarity

    return float(similarity.gmsd(case.tensor("sr"), case.tensor("hr"), case.data_range))
