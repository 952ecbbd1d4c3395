"""Metrics: functions on numpy planes ``(H, W)``, and the registry of what an evaluation computes.

From a notebook: ``ssim(sr, hr, data_range=1.0)``, ``psnr(sr, hr)``, ``luma(red, green, blue)``. A metric is
one decorated function in a file of this package; a file is imported when one of its names is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srbench.metrics.consistency import chi_square
    from srbench.metrics.curve import list_curves, register_curve
    from srbench.metrics.detail_maps import hallucination_map, omission_map, unmeasured_detail
    from srbench.metrics.edges import (
        canny,
        displacement,
        edge_scores,
        gradient,
        registration_shift,
        thresholds,
    )
    from srbench.metrics.fidelity import gmsd, ms_ssim, psnr, ssim
    from srbench.metrics.registry import Case, Metric, MetricUnavailable, get, list_metrics, register_metric
    from srbench.metrics.segmentation import cleaned, dice, find_objects, iou, otsu, smoothed
    from srbench.metrics.spectrum import (
        band_split,
        cut_off,
        ring_correlation,
        ring_sums,
        smooth,
        windowed_spectrum,
    )
    from srbench.metrics.structure import correlation_error, two_point_correlation
    from srbench.utils.image import luma

__all__ = [
    "Case",
    "Metric",
    "MetricUnavailable",
    "band_split",
    "canny",
    "chi_square",
    "cleaned",
    "correlation_error",
    "cut_off",
    "dice",
    "displacement",
    "edge_scores",
    "find_objects",
    "get",
    "gmsd",
    "gradient",
    "hallucination_map",
    "iou",
    "list_curves",
    "list_metrics",
    "luma",
    "ms_ssim",
    "omission_map",
    "otsu",
    "psnr",
    "register_curve",
    "register_metric",
    "registration_shift",
    "ring_correlation",
    "ring_sums",
    "smooth",
    "smoothed",
    "ssim",
    "thresholds",
    "two_point_correlation",
    "unmeasured_detail",
    "windowed_spectrum",
]

_MODULES = (
    "srbench.metrics.registry",
    "srbench.metrics.fidelity",
    "srbench.metrics.consistency",
    "srbench.metrics.spectrum",
    "srbench.metrics.curve",
    "srbench.metrics.edges",
    "srbench.metrics.structure",
    "srbench.metrics.segmentation",
    "srbench.metrics.detail_maps",
    "srbench.utils.image",
)
"""None of them imports anything heavy at its top."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in map(importlib.import_module, _MODULES):
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
