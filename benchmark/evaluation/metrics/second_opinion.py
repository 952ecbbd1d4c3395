"""PSNR and SSIM as BasicSR computes them, for those who want its numbers beside ours (extra ``basicsr``)."""

from __future__ import annotations

import math
from collections.abc import Callable

from srbench import basicsr_adapter
from srbench.evaluation.metrics.registry import Case, MetricUnavailable, Plane, register_metric


@register_metric(
    title="PSNR (BasicSR)",
    direction="higher",
    unit="dB",
    explanation="The same as PSNR, computed by BasicSR's code: a check of ours.",
    family="fidelity",
    default=False,
)
def basicsr_psnr(case: Case) -> float:
    """``basicsr.metrics.calculate_psnr``; missing for identical images, where BasicSR gives infinity."""
    value = _ask(basicsr_adapter.psnr, case)
    if math.isinf(value):
        raise MetricUnavailable("BasicSR gives infinity for identical images.")
    return value


@register_metric(
    title="SSIM (BasicSR)",
    direction="higher",
    bounds=(-1.0, 1.0),
    explanation="The same as SSIM, computed by BasicSR's code: a check of ours.",
    family="fidelity",
    default=False,
)
def basicsr_ssim(case: Case) -> float:
    """``basicsr.metrics.calculate_ssim``."""
    return _ask(basicsr_adapter.ssim, case)


def _ask(function: Callable[[Plane, Plane], float], case: Case) -> float:
    """Call BasicSR on the 0..255 scale it expects."""
    if not basicsr_adapter.available():
        raise MetricUnavailable(
            "basicsr is not installed: pip install 'srbench[basicsr]' in a fresh environment."
        )
    return function(case.sr * 255.0 / case.data_range, case.hr * 255.0 / case.data_range)
