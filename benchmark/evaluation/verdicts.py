"""Whether a measurement on super-resolved images can be trusted: the verdict behind the benchmark's question.

For each image there is the bias of the SR image and, where it is known, the error that the same algorithm has
on HR itself (:mod:`srbench.evaluation.measured`). Three conditions must hold:

1. Super-resolution changes the measurement by no more than the tolerance T: ``|bias - error on HR| <= T``
   (where HR is the reference, its error is left out). A threshold that is off by a constant is off on both
   images and can be calibrated; what super-resolution adds cannot.
2. The whole error is at most twice that of HR or within the tolerance: ``|bias| <= max(2 |error on HR|, T)``.
3. Condition 1 holds in four of five single images: errors of opposite sign cancel in a mean, but not for
   whoever has one image.

The verdict is *trusted* only if the whole 95 % intervals of 1 and 2 lie inside, *not trusted* if an estimate
lies outside or the SR images often cannot be measured at all, and *undecided* else: estimates inside,
intervals not, or too few images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from srbench.errors import unknown
from srbench.evaluation.bootstrap import SAMPLES, SEED, Clusters, Floats, bootstrap_means, cluster
from srbench.evaluation.intervals import interval

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
    """

    value: float
    unit: str
    name: str
    why: str


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
}
"""Tolerances unless others are given: choices, not laws; state the one you used."""


@dataclass(frozen=True)
class Verdict:
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
    tolerance: float | None = None,
    lost: int | None = None,
    samples: int = SAMPLES,
    seed: int = SEED,
) -> Verdict:
    """Judge one measurement of one model.

    Args:
        measurement: a key of ``TOLERANCES``, such as ``cd_bias``.
        bias: one value an image, measured on SR minus true; NaN where there is none.
        error_hr: the same on HR, NaN where unknown; None where it is unknown for all images.
        groups: group of each image, the independent unit.
        categories: category of each image; every category counts the same in the means.
        tolerance: instead of the default.
        lost: images in which HR can be measured and SR cannot; counted from the NaNs unless given.
        samples: bootstrap resamples.
        seed: seed of the resampling.

    Raises:
        SrbenchError: the measurement has no tolerance.
    """
    if measurement not in TOLERANCES:
        raise unknown("measurement", measurement, TOLERANCES)
    known = TOLERANCES[measurement]
    limit = known.value if tolerance is None else tolerance
    sr = np.asarray(bias, dtype=np.float64)
    hr = np.full_like(sr, np.nan) if error_hr is None else np.asarray(error_hr, dtype=np.float64)
    if lost is None:
        lost = int((np.isnan(sr) & np.isfinite(hr)).sum())
    evidence = _evidence(sr, hr, groups, categories, limit, samples, seed)
    status, reason = _decide(evidence, known, limit, lost)
    ends = evidence.ends
    return Verdict(
        measurement,
        status,
        evidence.change.mean,
        ends[0],
        ends[1],
        evidence.bias.mean,
        evidence.error_hr,
        limit,
        evidence.within,
        evidence.change.images,
        len(evidence.change.values),
        lost,
        reason,
    )


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What the images say.

    Attributes:
        change: groups of what super-resolution adds.
        bias: groups of the whole error, over the images whose error on HR is known.
        error_hr: its mean; NaN where it is known for no image.
        ends: 95 % interval of the mean change.
        excess: 97.5 % quantile of ``|bias| - max(2 |error on HR|, T)``: positive where the second condition
            may be broken.
        within: share of images within the tolerance.
    """

    change: Clusters
    bias: Clusters
    error_hr: float
    ends: tuple[float, float]
    excess: float
    within: float

    @property
    def bias_is_known(self) -> bool:
        """Whether the error on HR, hence the second condition, is known for any image."""
        return math.isfinite(self.error_hr)


def _evidence(
    sr: Floats,
    hr: Floats,
    groups: Sequence[str],
    categories: Sequence[str],
    limit: float,
    samples: int,
    seed: int,
) -> _Evidence:
    added = sr - np.where(np.isnan(hr), 0.0, hr)
    change = cluster(added, groups, categories)
    known = np.isfinite(hr) & np.isfinite(sr)
    whole = cluster(np.where(known, sr, np.nan), groups, categories)
    on_hr = cluster(np.where(known, hr, np.nan), groups, categories)
    level = expanded_level(len(change.values))
    low, high, _ = interval(change, level, samples, seed)
    excess = -math.inf
    if len(whole.values) > 1:
        # The same seed draws the same groups for both, which keeps them paired.
        total, own = (np.abs(bootstrap_means(some, samples, seed)) for some in (whole, on_hr))
        excess = float(np.quantile(total - np.maximum(FACTOR * own, limit), (1.0 + level) / 2.0))
    within = np.abs(added[np.isfinite(added)]) <= limit
    share = float(within.mean()) if len(within) else math.nan
    return _Evidence(change, whole if len(whole.values) else change, on_hr.mean, (low, high), excess, share)


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


def _decide(evidence: _Evidence, known: Tolerance, limit: float, lost: int) -> tuple[Status, str]:
    """Status and the sentence that gives its reason."""
    change, count = evidence.change, len(evidence.change.values)
    words = _Words(evidence, known, limit)
    measurable = change.images + lost
    if measurable >= FEWEST_GROUPS and lost > MOST_LOST * measurable:
        return "not trusted", words.lost(lost, measurable)
    if count < FEWEST_GROUPS:
        return "undecided", words.too_few(count)
    if abs(change.mean) > limit:
        return "not trusted", words.beyond()
    if evidence.bias_is_known and abs(evidence.bias.mean) > max(FACTOR * abs(evidence.error_hr), limit):
        return "not trusted", words.worse_than_hr()
    if evidence.within < ONE_BY_ONE:
        return "not trusted", words.scattered()
    if max(map(abs, evidence.ends)) > limit:
        return "undecided", words.open()
    if evidence.excess > 0.0:
        return "undecided", words.perhaps_worse_than_hr()
    return "trusted", words.inside()


@dataclass(frozen=True, eq=False)
class _Words:
    """Sentences about the evidence."""

    evidence: _Evidence
    known: Tolerance
    limit: float

    def lost(self, lost: int, measurable: int) -> str:
        """Too many images could not be measured."""
        return (
            f"{self.known.name} can be measured in {measurable} HR images, and in {lost} of these no longer "
            "after super-resolution."
        )

    def too_few(self, count: int) -> str:
        """Nothing can be said."""
        return (
            f"{self.known.name} could be measured on {count} independent images; a verdict needs at least "
            f"{FEWEST_GROUPS}."
        )

    def beyond(self) -> str:
        """The first condition is broken."""
        return f"{self._changes()}, more than the tolerance of {self._length(self.limit)}{self._calibrate()}."

    def worse_than_hr(self) -> str:
        """The second condition is broken."""
        return (
            f"{self.known.name} is off by {self._signed(self.evidence.bias.mean)} after super-resolution, "
            f"more than twice the {self._signed(self.evidence.error_hr)} on HR."
        )

    def scattered(self) -> str:
        """The third condition is broken."""
        return (
            f"{self._changes()}, but that is a mean: only {self.evidence.within:.0%} of the images stay "
            f"within the tolerance of {self._length(self.limit)}{self._calibrate()}."
        )

    def inside(self) -> str:
        """All conditions hold."""
        return f"{self._changes()}, within the tolerance of {self._length(self.limit)}{self._calibrate()}."

    def open(self) -> str:
        """The estimates are inside, the interval of the change is not."""
        return (
            f"{self._changes()}: the estimate is within the tolerance of {self._length(self.limit)}, but "
            f"these images do not rule out more; measure more images{self._calibrate()}."
        )

    def perhaps_worse_than_hr(self) -> str:
        """The change is safe, the second condition is not."""
        return (
            f"{self._changes()}, within the tolerance of {self._length(self.limit)}, but the whole error of "
            f"{self._signed(self.evidence.bias.mean)} may be more than twice the "
            f"{self._signed(self.evidence.error_hr)} on HR; measure more images."
        )

    def _changes(self) -> str:
        low, high = self.evidence.ends
        return (
            f"{self.known.name} changes by {self._signed(self.evidence.change.mean)} through super-resolution"
            f" (95 % interval {self._number(low)} to {self._number(high)})"
        )

    def _calibrate(self) -> str:
        error = self.evidence.error_hr
        if not abs(error) > self.limit:  # also where it is not known
            return ""
        return f"; on HR it is off by {self._signed(error)} already, so calibrate it"

    def _signed(self, value: float) -> str:
        return f"{self._number(value)} {self.known.unit}".rstrip()

    def _length(self, value: float) -> str:
        return f"{value:g} {self.known.unit}".rstrip()

    def _number(self, value: float) -> str:
        return f"{value:+.2f}" if self.known.unit else f"{value:+.3f}"
