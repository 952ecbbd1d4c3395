"""Whether a measurement on super-resolved images can be trusted: the verdict behind the benchmark's question.

*Trusted* is a measurement that super-resolution changes by no more than a tolerance, in the whole 95 %
interval and in most single images; *not trusted* one where an estimate lies outside or the SR images often
cannot be measured at all; *undecided* everything else. ``judge`` states the conditions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from srbench.statistics.bootstrap import SAMPLES, SEED, Groups, bootstrap_means
from srbench.statistics.interval import interval
from srbench.statistics.lengths import Quantity, common_size, quantity
from srbench.utils.errors import SrbenchError, unknown_name

Status = Literal["trusted", "not trusted", "undecided"]

FEWEST_GROUPS = 5
"""Independent images below which nothing is decided."""
MOST_LOST = 0.1
"""Share of the measurable images that may be lost in super-resolution."""
ONE_BY_ONE = 0.8
"""Share of single images that must stay within the tolerance."""
FACTOR = 2.0
"""How many times the error on HR the whole error may be."""


@dataclass(frozen=True)
class Tolerance:
    """How much a measurement may be changed.

    Attributes:
        value: largest change of the mean.
        unit: of the value.
        name: the measurement, as a sentence begins.
        why: where the value comes from.
        chosen: whether the user gave it.
    """

    value: float
    unit: str
    name: str
    why: str
    chosen: bool = False

    @property
    def text(self) -> str:
        """Value and unit."""
        return str(Quantity(self.value, self.unit))

    @property
    def origin(self) -> str:
        """Where it came from."""
        return self.why if self.chosen else f"default: {self.why}"

    @property
    def decimals(self) -> int:
        """Decimals of a value that is compared with it: two significant digits of the tolerance."""
        return max(1 - math.floor(math.log10(self.value)), 0) if self.value > 0 else 3


TOLERANCES: Mapping[str, Tolerance] = {
    "diameter_bias": Tolerance(
        0.5, "px", "The particle diameter", "5 % of the smallest particle that is measured, 10 px"
    ),
    "cd_bias": Tolerance(
        0.5, "px", "The line width (CD)", "a quarter of a pixel an edge: what a 50 % threshold resolves"
    ),
    "ler_bias": Tolerance(0.3, "px", "The line-edge roughness (3 sigma)", "10 % of a typical 3 px"),
    "lwr_bias": Tolerance(0.4, "px", "The line-width roughness (3 sigma)", "that of two independent edges"),
    "pore_fraction_bias": Tolerance(
        0.02, "", "The pore fraction", "what another choice of threshold changes"
    ),
    "fibre_diameter_bias": Tolerance(
        0.5, "px", "The fibre diameter", "a quarter of a pixel an edge, as for lines"
    ),
    "diameter_hand_bias": Tolerance(
        0.5, "px", "The particle diameter against the hand mask", "as against HR"
    ),
    "area_fraction_hand_bias": Tolerance(
        0.02, "", "The area fraction against the hand mask", "what another choice of threshold changes"
    ),
    "fibre_diameter_hand_bias": Tolerance(
        0.5, "px", "The fibre diameter against the hand mask", "as against HR"
    ),
}
"""Tolerances unless others are given: choices, not laws; state the one you used. Lengths are in HR pixels."""


def chosen_tolerances(given: Mapping[str, str | float] | None) -> dict[str, Quantity]:
    """Tolerances that a user chose, by metric name.

    Args:
        given: measurement (``diameter``, ``cd``, ``fibre_diameter``, ``diameter_hand`` and so on: the name of
            the metric without ``_bias``, all of it, or its id) to its tolerance: text as typed (``2nm``,
            ``0.5px``, ``0.01``), or a number in the unit of the metric.

    Raises:
        SrbenchError: an unknown measurement, or no tolerance.
    """
    chosen = {}
    for name, value in (given or {}).items():
        metric = f"{name.split('@')[0].removesuffix('_bias')}_bias"
        if metric not in TOLERANCES:
            raise unknown_name("measurement", name, [key.removesuffix("_bias") for key in TOLERANCES])
        chosen[metric] = quantity(value, TOLERANCES[metric].unit, f"The tolerance of {name!r}")
    return chosen


def tolerance_of(
    measurement: str, chosen: Quantity | None = None, pixel_sizes_nm: Iterable[float] = ()
) -> Tolerance:
    """The tolerance of a measurement, in the unit in which it is judged.

    A tolerance in pixels means that many pixels of each image: where all images share one pixel size it is
    the same length for all and given in nm, else it stays in pixels.

    Args:
        measurement: a key of ``TOLERANCES``.
        chosen: instead of the default.
        pixel_sizes_nm: side of an HR pixel of each image that is judged, NaN where unknown.

    Raises:
        SrbenchError: the measurement has no tolerance, or one in nm is chosen where a pixel size is unknown.
    """
    if measurement not in TOLERANCES:
        raise unknown_name("measurement", measurement, TOLERANCES)
    tolerance = TOLERANCES[measurement]
    if chosen is not None:
        tolerance = Tolerance(chosen.value, chosen.unit, tolerance.name, "chosen by the user", chosen=True)
    sizes = list(pixel_sizes_nm)
    unknown = sum(not math.isfinite(size) for size in sizes)
    if tolerance.unit == "nm" and (unknown or not sizes):
        short = measurement.removesuffix("_bias")
        which = f"{unknown} of {len(sizes)} images" if sizes else "all images"
        raise SrbenchError(
            f"A tolerance of {tolerance.text} for {short!r} needs the pixel size of every image, found none "
            f"for {which}: give it with srbench eval --pixel-size-nm, or a tolerance as {short}=0.5px."
        )
    size = common_size(sizes)
    if tolerance.unit != "px" or size is None:
        return tolerance
    why = f"{tolerance.text} at {size:.4g} nm a pixel, {tolerance.why}"
    return replace(tolerance, value=tolerance.value * size, unit="nm", why=why)


@dataclass(frozen=True)
class ToleranceVerdict:
    """The answer for one measurement and one model.

    Attributes:
        measurement: metric name.
        status: ``trusted``, ``not trusted`` or ``undecided``.
        change: mean of what super-resolution adds, bias minus error on HR.
        low: lower end of the 95 % interval of ``change``; NaN where there is none.
        high: upper end.
        bias: mean bias against the true value.
        error_hr: mean error of the same measurement on HR; NaN where it is not known.
        tolerance: largest ``|change|``.
        unit: of ``change``, ``bias``, ``error_hr`` and ``tolerance``.
        within: share of the images whose own change is within the tolerance.
        images: images with a value.
        groups: independent groups of images.
        lost: images that HR allows to measure and SR does not.
        reason: one sentence.
    """

    measurement: str
    status: Status
    change: float
    low: float
    high: float
    bias: float
    error_hr: float
    tolerance: float
    unit: str
    within: float
    images: int
    groups: int
    lost: int
    reason: str


def judge(
    measurement: str,
    bias: Sequence[float],
    error_hr: Sequence[float] | None,
    groups: Sequence[str],
    categories: Sequence[str],
    *,
    tolerance: Tolerance | float | str | None = None,
    pixel_sizes_nm: Sequence[float] | None = None,
    lost: int | None = None,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> ToleranceVerdict:
    """Judge one measurement of one model.

    With the tolerance T three conditions must hold:

    1. Super-resolution changes the measurement by no more than T: ``|bias - error on HR| <= T`` (where HR is
       the reference, its error is left out). A threshold that is off by a constant is off on both images and
       can be calibrated; what super-resolution adds cannot.
    2. The whole error is at most twice that of HR or within T: ``|bias| <= max(2 |error on HR|, T)``.
    3. Condition 1 holds in four of five single images: errors of opposite sign cancel in a mean, but not in
       a single image.

    *Trusted* needs the whole 95 % intervals of 1 and 2 inside.

    Args:
        measurement: a key of ``TOLERANCES``, such as ``cd_bias``.
        bias: one value an image, measured on SR minus true, lengths in HR pixels; NaN where there is none.
        error_hr: the same on HR, NaN where unknown; None where it is unknown for all images.
        groups: group of each image, the independent unit.
        categories: category of each image; every category counts the same in the means.
        tolerance: instead of the default: as ``tolerance_of`` gives it, a number in the metric's unit, or
            text such as ``2nm``.
        pixel_sizes_nm: side of an HR pixel of each image, NaN where unknown; None where unknown for all.
        lost: images in which HR can be measured and SR cannot; counted from the NaNs unless given.
        samples: bootstrap resamples.
        seed: seed of the resampling.

    Raises:
        SrbenchError: the measurement has no tolerance, or one in nm is given and a pixel size is unknown.
    """
    sr = np.asarray(bias, dtype=np.float64)
    hr = np.full_like(sr, np.nan) if error_hr is None else np.asarray(error_hr, dtype=np.float64)
    sizes = np.full_like(sr, np.nan)
    if pixel_sizes_nm is not None:
        sizes = np.asarray(pixel_sizes_nm, dtype=np.float64)
    if not isinstance(tolerance, Tolerance):
        given = {} if tolerance is None else {measurement: tolerance}
        chosen = next(iter(chosen_tolerances(given).values()), None)
        tolerance = tolerance_of(measurement, chosen, sizes[np.isfinite(sr) | np.isfinite(hr)])
    limit = tolerance.value
    if tolerance.unit == "nm":
        sr, hr = sr * sizes, hr * sizes
    if lost is None:
        lost = int((np.isnan(sr) & np.isfinite(hr)).sum())
    added = sr - np.where(np.isnan(hr), 0.0, hr)
    numbered = Groups(groups, categories)
    change = numbered.cluster(added)
    both = np.isfinite(hr) & np.isfinite(sr)
    whole, on_hr = (numbered.cluster(np.where(both, errors, np.nan)) for errors in (sr, hr))
    low, high, _ = interval(change)
    excess = -math.inf
    if len(whole.values) > 1:
        # The same seed draws the same groups for both, which keeps them paired.
        total, hr_part = np.abs(bootstrap_means([whole, on_hr], samples, seed)).T
        level = expanded_level(len(whole.values))
        excess = float(np.quantile(total - np.maximum(FACTOR * hr_part, limit), (1.0 + level) / 2.0))
    within = np.abs(added[np.isfinite(added)]) <= limit
    undecided = ToleranceVerdict(
        measurement,
        "undecided",
        change=change.mean,
        low=low,
        high=high,
        bias=(whole if len(whole.values) else change).mean,
        error_hr=on_hr.mean,
        tolerance=limit,
        unit=tolerance.unit,
        within=float(within.mean()) if len(within) else math.nan,
        images=change.images,
        groups=len(change.values),
        lost=lost,
        reason="",
    )
    status, reason = _decide(undecided, tolerance, excess)
    return replace(undecided, status=status, reason=reason)


def expanded_level(groups: int, level: float = 0.95) -> float:
    """Nominal level at which a percentile interval of few groups really covers ``level``.

    Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69(4), 2015,
    section 3.1: the resampled spread lacks sqrt(n / (n - 1)) and Student's tails.
    """
    from scipy.special import ndtr, stdtrit

    if groups < 2:
        return level
    student = float(stdtrit(groups - 1, (1.0 + level) / 2.0))
    return float(2.0 * ndtr(math.sqrt(groups / (groups - 1)) * student) - 1.0)


def _decide(evidence: ToleranceVerdict, tolerance: Tolerance, excess: float) -> tuple[Status, str]:
    """Status and the sentence that gives its reason.

    Args:
        evidence: the numbers of the verdict.
        tolerance: what they are judged by.
        excess: 97.5 % quantile of ``|bias| - max(2 |error on HR|, T)``: positive where the second condition
            may be broken.
    """
    limit, name, unit = tolerance.value, tolerance.name, tolerance.unit
    bias, error_hr = evidence.bias, evidence.error_hr
    measurable = evidence.images + evidence.lost

    def number(value: float) -> str:
        return f"{value:+.{tolerance.decimals}f}"

    def signed(value: float) -> str:
        return f"{number(value)} {unit}".rstrip()

    changes = (
        f"{name} changes by {signed(evidence.change)} through super-resolution (95 % interval "
        f"{number(evidence.low)} to {number(evidence.high)})"
    )
    width = f"the tolerance of {tolerance.text}"
    calibrate = ""
    if abs(error_hr) > limit:
        calibrate = f"; on HR it is off by {signed(error_hr)} already, so calibrate it"

    if measurable >= FEWEST_GROUPS and evidence.lost > MOST_LOST * measurable:
        return "not trusted", (
            f"{name} can be measured in {measurable} HR images, and in {evidence.lost} of these no longer "
            "after super-resolution."
        )
    if evidence.groups < FEWEST_GROUPS:
        return "undecided", (
            f"{name} could be measured on {evidence.groups} independent images; a verdict needs at least "
            f"{FEWEST_GROUPS}."
        )
    if abs(evidence.change) > limit:
        return "not trusted", f"{changes}, more than {width}{calibrate}."
    if math.isfinite(error_hr) and abs(bias) > max(FACTOR * abs(error_hr), limit):
        return "not trusted", (
            f"{name} is off by {signed(bias)} after super-resolution, more than twice the "
            f"{signed(error_hr)} on HR."
        )
    if evidence.within < ONE_BY_ONE:
        return "not trusted", (
            f"{changes}, but that is a mean: only {evidence.within:.0%} of the images stay within "
            f"{width}{calibrate}."
        )
    if max(abs(evidence.low), abs(evidence.high)) > limit:
        return "undecided", (
            f"{changes}: the estimate is within {width}, but these images do not rule out more; measure more "
            f"images{calibrate}."
        )
    if excess > 0.0:
        return "undecided", (
            f"{changes}, within {width}, but the whole error of {signed(bias)} may be more than twice the "
            f"{signed(error_hr)} on HR; measure more images."
        )
    return "trusted", f"{changes}, within {width}{calibrate}."
