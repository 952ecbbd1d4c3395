"""PSNR: how large the grey-level errors are, on average over the pixels."""

from __future__ import annotations

import math

import numpy as np

from srbench.evaluation.metrics.registry import Case, Plane, register_metric

CAP_DB = 100.0
"""PSNR of identical images. Infinity would make every mean infinite, leaving the image out would punish the
model that restored it exactly, so values stop at 100 dB, an error of 1/400 of a grey level of 8 bits."""


def psnr_of(sr: Plane, hr: Plane, data_range: float = 1.0) -> float:
    """Peak signal-to-noise ratio in dB, ``10 log10(range^2 / mean (sr - hr)^2)``, at most ``CAP_DB``.

    Args:
        sr: ``(H, W)`` float64.
        hr: the same shape.
        data_range: difference between white and black.
    """
    difference = (sr - hr).ravel()
    mean_square = float(np.dot(difference, difference)) / difference.size / data_range**2
    return CAP_DB if mean_square <= 10.0 ** (-CAP_DB / 10.0) else -10.0 * math.log10(mean_square)


@register_metric(
    title="PSNR",
    direction="higher",
    unit="dB",
    bounds=(float("-inf"), CAP_DB),
    explanation="Size of the grey-level errors; a blurred image often scores better than a sharp one.",
    family="fidelity",
)
def psnr(case: Case) -> float:
    """PSNR of the image without its border (100 dB means identical)."""
    return psnr_of(case.sr, case.hr, case.data_range)
