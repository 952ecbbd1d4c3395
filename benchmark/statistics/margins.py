"""Practical margins: the smallest difference in a metric that would change what somebody does.

A difference can be certain and still be of no use. "Better" therefore means beyond the margin, "equivalent"
within it. The defaults are conventions with a reason, not measurements; for a decision, set
the margin that the decision has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from srbench.statistics.lengths import quantity
from srbench.utils.errors import SrbenchError


@dataclass(frozen=True)
class Margin:
    """A margin and why it is this one.

    Attributes:
        value: in the unit in which the metric is shown, 0 where none is agreed.
        reason: one clause.
    """

    value: float
    reason: str


_SHARE = "one percentage point"
_COUNT = "two objects in a hundred"

MARGINS: Mapping[str, Margin] = {
    "psnr": Margin(0.1, "2.3 % of the mean squared error, the smallest gain usually claimed"),
    "basicsr_psnr": Margin(0.1, "as for PSNR"),
    "ssim": Margin(
        0.002, "what goes with 0.1 dB of PSNR from VDSR to EDSR: 0.0012 on Set5, 0.0035 on Urban100"
    ),
    "basicsr_ssim": Margin(0.002, "as for SSIM"),
    "ms_ssim": Margin(0.002, "as for SSIM"),
    "gmsd": Margin(0.002, "small beside the 0.03 of a mild blur"),
    "lr_psnr": Margin(0.5, "rounding and borders of the degradation move it by tenths of a decibel"),
    "lr_chi2": Margin(0.1, "a tenth of the noise"),
    "frc_cutoff": Margin(0.02, "2 % of the finest detail that LR can carry"),
    "frc_cutoff_half_bit": Margin(0.02, "2 % of the finest detail that LR can carry"),
    "gained_hf": Margin(0.05, "5 % of the power of the true detail"),
    "psd_distance": Margin(0.5, "12 % of the power at a typical detail size"),
    "shift": Margin(0.1, "a tenth of an HR pixel, what registration resolves"),
    "edge_displacement": Margin(0.1, "a tenth of an HR pixel, what a fitted outline resolves"),
    "edge_bias": Margin(0.25, "widths have two outlines: half a pixel of critical dimension"),
    "ler_bias": Margin(0.25, "half the tolerance of a critical dimension"),
    "lwr_bias": Margin(0.25, "half the tolerance of a critical dimension"),
    "b0_error": Margin(0.02, _COUNT),
    "b1_error": Margin(0.02, _COUNT),
    "small_features_invented": Margin(0.02, _COUNT),
    "objects_deleted": Margin(0.5, "one object in every second image"),
    "objects_invented": Margin(0.5, "one object in every second image"),
    "s2_error": Margin(0.01, _SHARE),
    "pore_fraction_bias": Margin(0.01, _SHARE),
    "area_fraction_hand_bias": Margin(0.01, _SHARE),
    "lpips": Margin(0.01, "a convention: networks lie about ten times as far from bicubic interpolation"),
}
"""By metric name, whatever its version."""

UNITS: Mapping[str, Margin] = {
    "dB": Margin(0.1, "2.3 % of a squared error"),
    "px": Margin(0.5, "half an HR pixel of a critical dimension"),
    "%": Margin(1.0, "one percentage point"),
}
"""For a metric without an entry of its own."""

SHARE = Margin(0.01, _SHARE)
NONE = Margin(0.0, "no margin is agreed for this metric: every certain difference counts")


def margin_of(
    metric: str, overrides: Mapping[str, float | str] | None = None, pixel_nm: float | None = None
) -> Margin:
    """The margin of a metric.

    Args:
        metric: name or id as stored (``ssim``, ``lpips-alex-0.1``, ``fancy@2``).
        overrides: name or id to a margin chosen by the user: a number in the unit of the metric, or text as
            typed (``0.3``, ``0.5px``, ``2nm``).
        pixel_nm: what one pixel is worth where lengths are shown in nm (``lengths.nm_per_px``); None where
            they are shown in pixels.

    Raises:
        SrbenchError: a chosen margin is negative, not finite, of another unit, or in nm where lengths are in
            pixels.
    """
    from srbench.metrics import registry

    try:
        registered = registry.get(metric)
        name, unit, bounds = registered.name, registered.unit, registered.bounds
    except SrbenchError:
        name, unit, bounds = metric.split("@")[0], "", (-math.inf, math.inf)
    chosen = next((key for key in (metric, name) if overrides is not None and key in overrides), None)
    if overrides is not None and chosen is not None:
        given = quantity(overrides[chosen], unit, f"The margin of {chosen!r}")
        if given.unit == "nm" and pixel_nm is None:
            raise SrbenchError(
                f"The margin of {chosen!r} is {given}, but the pixel size is not known for every image: give "
                f"it with srbench eval --pixel-size-nm, or a margin in pixels, such as {chosen}=0.5px."
            )
        margin = Margin(given.value, "chosen by the user")
        if given.unit == "nm":
            return margin
    else:
        margin = (
            MARGINS.get(name) or UNITS.get(unit) or (SHARE if not unit and bounds == (0.0, 1.0) else NONE)
        )
    if unit != "px" or pixel_nm is None:
        return margin
    reason = f"{margin.value:g} px at {pixel_nm:.4g} nm a pixel: {margin.reason}"
    return Margin(margin.value * pixel_nm, reason)
