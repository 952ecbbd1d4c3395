"""Data consistency: whether the super-resolved image, degraded again, gives the LR image back.

The cheapest alarm for invented content. Necessary, not sufficient: interpolation passes it. Against a noisy
LR image the noise bounds the value: the HR image itself gets ``10 log10(1 / mean variance)``, about 21 dB
where 60 electrons make white and the mean is mid-grey. A higher value means that noise was copied.
"""

from __future__ import annotations

from srbench.evaluation.metrics.psnr import CAP_DB, psnr_of
from srbench.evaluation.metrics.registry import Case, MetricUnavailable, register_metric


@register_metric(
    title="LR-PSNR",
    direction="higher",
    unit="dB",
    bounds=(float("-inf"), CAP_DB),
    explanation="Agreement with the recorded LR image when the result is degraded again; "
    "a low value means the result contradicts the recording (noise in the LR image bounds the value).",
    family="consistency",
)
def lr_psnr(case: Case) -> float:
    """PSNR between the degraded SR image and the LR image, both whole.

    The degraded SR image is the expected one, without noise and not rounded; the rounding of the LR image to
    8 bits alone allows about 59 dB, its noise (``Case.lr_variance``) mostly far less.
    """
    if case.degrade is None:
        raise MetricUnavailable("the degradation that made the LR image is unknown")
    return psnr_of(case.degrade(case.full_sr), case.lr, case.data_range)
