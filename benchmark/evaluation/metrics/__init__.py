"""Metrics: functions on numpy planes ``(H, W)``, and the registry of what an evaluation computes.

From a notebook: ``ssim(sr, hr, data_range=1.0)``, ``psnr(sr, hr)``, ``luma(red, green, blue)``. A metric is one
decorated function in a file of this package; each file is imported when one of its names is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srbench.evaluation.functional.detail_maps import hallucination_map, omission_map
    from srbench.evaluation.metrics.consistency import chi_square
    from srbench.evaluation.metrics.curve import list_curves, register_curve
    from srbench.evaluation.metrics.edges import (
        canny,
        displacement,
        edge_scores,
        gradient,
        registration_shift,
        thresholds,
    )
    from srbench.evaluation.metrics.psnr import gmsd, ms_ssim, psnr, ssim
    from srbench.evaluation.metrics.registry import (
        Case,
        Metric,
        MetricUnavailable,
        get,
        list_metrics,
        register_metric,
    )
    from srbench.evaluation.metrics.spectrum import (
        band_split,
        cut_off,
        ring_correlation,
        ring_sums,
        smooth,
        spectrum,
    )
    from srbench.evaluation.metrics.structure import correlation_error, two_point_correlation
    from srbench.evaluation.protocol import luma
    from srbench.evaluation.segmented import cleaned, dice, find_objects, iou, otsu, smoothed

_MODULES = {
    "srbench.evaluation.functional.detail_maps": ("hallucination_map", "omission_map"),
    "srbench.evaluation.metrics.consistency": ("chi_square",),
    "srbench.evaluation.metrics.curve": ("list_curves", "register_curve"),
    "srbench.evaluation.metrics.edges": (
        "canny",
        "displacement",
        "edge_scores",
        "gradient",
        "registration_shift",
        "thresholds",
    ),
    "srbench.evaluation.metrics.psnr": ("gmsd", "ms_ssim", "psnr", "ssim"),
    "srbench.evaluation.metrics.registry": (
        "Case",
        "Metric",
        "MetricUnavailable",
        "get",
        "list_metrics",
        "register_metric",
    ),
    "srbench.evaluation.metrics.spectrum": (
        "band_split",
        "cut_off",
        "ring_correlation",
        "ring_sums",
        "smooth",
        "spectrum",
    ),
    "srbench.evaluation.metrics.structure": ("correlation_error", "two_point_correlation"),
    "srbench.evaluation.protocol": ("luma",),
    "srbench.evaluation.segmented": ("cleaned", "dice", "find_objects", "iou", "otsu", "smoothed"),
}
