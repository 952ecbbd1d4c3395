"""One measurement made on the SR image and, by the same algorithm, on the best image there is.

The true value is known geometry where the case has a truth, otherwise what HR gives. The bias is that of the
SR image; ``error_hr`` is what the algorithm does to an image that is as good as it gets: to HR where geometry
is known, else to a second acquisition where there is one. Both are means over the same particles or lines,
those that can be measured in both images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from srbench.evaluation.metrics.registry import Case, MetricUnavailable

Floats = NDArray[np.float64]

LOST = "lost in the super-resolved image: "
"""Starts the reason of a measurement that the reference allows and the result does not."""


@dataclass(frozen=True)
class Measured:
    """What one measurement gives for one case.

    Attributes:
        bias: measured on the SR image minus true value; NaN where ``lost``.
        error_hr: measured on HR (or the second acquisition) minus true value; None where neither geometry
            nor a second acquisition is known.
        lost: why the SR image cannot be measured although the reference can; else empty.
    """

    bias: float
    error_hr: float | None
    lost: str = ""


def pair(errors: Sequence[Floats], fewest: int, what: str) -> Measured:
    """Mean errors over the items that can be measured in all images.

    Args:
        errors: for the SR image and, where there is one, the image to judge it by: ``(K,)`` measured minus
            true value of each item, NaN where it cannot be measured.
        fewest: items that a mean needs.
        what: names the items in reasons.

    Raises:
        MetricUnavailable: there are too few items, or too few can be measured even where they should be.
    """
    best = errors[-1] if len(errors) > 1 else np.zeros_like(errors[0])
    measurable = np.isfinite(best)
    if measurable.sum() < fewest:
        raise MetricUnavailable(
            f"{measurable.sum()} {what} can be measured in the reference, {fewest} are needed"
        )
    common = measurable & np.isfinite(errors[0])
    if common.sum() < fewest:
        lost = f"{common.sum()} of {measurable.sum()} {what} can be measured in it, {fewest} are needed"
        return Measured(float("nan"), float(best[measurable].mean()) if len(errors) > 1 else None, lost)
    return Measured(float(errors[0][common].mean()), float(best[common].mean()) if len(errors) > 1 else None)


def bias_of(measured: Measured) -> float:
    """The bias as a metric's value.

    Raises:
        MetricUnavailable: the SR image cannot be measured.
    """
    if measured.lost:
        raise MetricUnavailable(LOST + measured.lost)
    return measured.bias


def error_of(measured: Measured) -> float:
    """The error on HR as a metric's value.

    Raises:
        MetricUnavailable: nothing is known that HR could be compared with.
    """
    if measured.error_hr is None:
        raise MetricUnavailable(
            "HR is the reference itself: its error needs known geometry or a second acquisition"
        )
    return measured.error_hr


def border_of(case: Case) -> int:
    """Pixels that were cut from every side of the whole image."""
    return int(case.full_hr.shape[0] - case.hr.shape[0]) // 2
