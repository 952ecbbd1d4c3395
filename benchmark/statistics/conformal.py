"""Intervals for a measurement from its errors on calibration fields (split conformal prediction).

The median error of a size bin is the correction; the (n+1)-quantile of what is left, without sign, is the
half width (Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005; by bin: Mondrian).
Items of one group share a specimen and a scan, so groups are what is counted, split and left out. A
correction does not travel from one session to another; :func:`in_session` takes it from fields of the new
one. Pure arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL = 0.9
"""Nominal share of the items whose true value lies inside."""
FEWEST_GROUPS = 10
"""Groups without which a bin has no interval."""
FEWEST_REFERENCE = 5
"""Groups of the new session without which its correction is not known."""
BINS = 3
FEWEST_ITEMS = 30
"""Items of a bin, where there are several."""
SPLITS = 400
_SHARES = (0.5, 0.75, 0.9)
_DRAWS = 200
_SEED = 20_260


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors of one quantity on fields whose true or reference values are known.

    Attributes:
        measured: ``(K,)`` values as measured.
        errors: ``(K,)`` measured minus reference value.
        groups: ``(K,)`` number of the group of each.
    """

    measured: Floats
    errors: Floats
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.errors)

    def where(self, chosen: NDArray[np.bool_]) -> Errors:
        """Some of the items."""
        return Errors(self.measured[chosen], self.errors[chosen], self.groups[chosen])

    @property
    def group_count(self) -> int:
        """Independent groups."""
        return len(np.unique(self.groups))


@dataclass(frozen=True)
class SizeBin:
    """What holds for values measured from ``low`` to ``high``.

    Attributes:
        low: smallest measured value.
        high: largest measured value.
        correction: median error, to be subtracted from a measured value.
        half_width: of the interval around the corrected value.
        items: errors behind it.
        groups: groups behind it.
    """

    low: float
    high: float
    correction: float
    half_width: float
    items: int
    groups: int


@dataclass(frozen=True)
class Coverage:
    """How often intervals covered in repeated random splits by group.

    Attributes:
        mean: share covered, mean over the splits.
        low: 5 % quantile over the splits.
        high: 95 % quantile.
        groups: that calibrated in a split.
        splits: that were counted.
    """

    mean: float
    low: float
    high: float
    groups: int
    splits: int


@dataclass(frozen=True)
class Session:
    """The bins of a bank brought to a session by its reference fields.

    Attributes:
        bins: corrected by the errors seen in the session; half widths allow for how few fields that are.
        shift: what was added to the corrections of the bank.
        covered: share of the reference items inside these intervals.
        items: reference items.
        groups: their groups.
    """

    bins: tuple[SizeBin, ...]
    shift: float
    covered: float
    items: int
    groups: int


def half_width(residuals: Floats, level: float = LEVEL) -> float:
    """The ``ceil((n + 1) level)``-th smallest of n ``|residuals|``: infinite where n is too small for it."""
    rank = math.ceil((len(residuals) + 1) * level - 1e-9)
    if rank > len(residuals):
        return math.inf
    return float(np.partition(np.abs(residuals), rank - 1)[rank - 1])


def calibrate(errors: Errors, level: float = LEVEL, bins: int = BINS) -> tuple[SizeBin, ...]:
    """Corrections and half widths by measured value; nothing with fewer than ``FEWEST_GROUPS`` groups.

    Args:
        errors: of the calibration fields.
        level: nominal coverage.
        bins: most bins of about equal numbers of items; as many are made as have enough groups and items.
    """
    for count in range(bins, 0, -1):
        edges = np.quantile(errors.measured, np.linspace(0.0, 1.0, count + 1)) if len(errors) else np.zeros(2)
        parts = [errors.where(bin_of(errors.measured, edges) == number) for number in range(count)]
        fewest = FEWEST_ITEMS if count > 1 else 1
        if all(part.group_count >= FEWEST_GROUPS and len(part) >= fewest for part in parts):
            corrections = [float(np.median(part.errors)) for part in parts]
            return tuple(
                SizeBin(
                    float(low),
                    float(high),
                    correction,
                    half_width(part.errors - correction, level),
                    len(part),
                    part.group_count,
                )
                for low, high, correction, part in zip(edges, edges[1:], corrections, parts, strict=False)
            )
    return ()


def bin_of(measured: Floats, edges: Floats) -> NDArray[np.int64]:
    """Number of the bin of each value, the outer ones without end, ``(K,)``."""
    return np.searchsorted(edges[1:-1], measured, side="right").astype(np.int64)


def find_bin(bins: Sequence[SizeBin], value: float) -> SizeBin | None:
    """The bin of a measured value; None outside of what was calibrated."""
    if not bins or not bins[0].low <= value <= bins[-1].high:
        return None
    return next(part for part in reversed(bins) if value >= part.low)


def in_session(
    errors: Errors, bins: Sequence[SizeBin], reference: Errors, level: float = LEVEL
) -> Session | None:
    """Bins for a new session: widths from the bank, one shift of all corrections from reference fields.

    The half width is that of bank items about a correction taken from as many other groups of the bank as the
    session has reference groups, so that it contains the uncertainty of so short a calibration.

    Args:
        errors: of the bank.
        bins: as :func:`calibrate` gives them for ``errors``.
        reference: errors on fields of the new session.
        level: nominal coverage.

    Returns:
        None with fewer than ``FEWEST_REFERENCE`` reference groups, or where the bank has no bins.
    """
    if not bins or reference.group_count < FEWEST_REFERENCE:
        return None
    edges = np.array([bins[0].low, *(part.high for part in bins)])
    corrections = np.array([part.correction for part in bins])
    number = bin_of(reference.measured, edges)
    residuals = reference.errors - corrections[number]
    shift = float(np.median(residuals))
    widths = _widths_after_shift(errors, edges, corrections, reference.group_count, level)
    moved = tuple(
        replace(part, correction=part.correction + shift, half_width=float(width))
        for part, width in zip(bins, widths, strict=True)
    )
    covered = float((np.abs(residuals - shift) <= widths[number]).mean())
    return Session(moved, shift, covered, len(reference), reference.group_count)


def _widths_after_shift(
    errors: Errors, edges: Floats, corrections: Floats, groups: int, level: float
) -> Floats:
    """Half width of each bin about a correction that is shifted by the median of ``groups`` other groups."""
    number = bin_of(errors.measured, edges)
    residuals = errors.errors - corrections[number]
    names = np.unique(errors.groups)
    # Half of the bank must remain to be measured.
    drawn_groups = min(groups, len(names) // 2)
    generator = np.random.default_rng(_SEED)
    left = np.empty((_DRAWS, len(errors)))
    for row in range(_DRAWS):
        drawn = np.isin(errors.groups, generator.choice(names, drawn_groups, replace=False))
        left[row] = np.where(drawn, np.nan, np.abs(residuals - np.median(residuals[drawn])))
    widths = np.empty(len(corrections))
    for part in range(len(corrections)):
        values = left[:, number == part]
        share = min(math.ceil((values.shape[1] + 1) * level - 1e-9) / values.shape[1], 1.0)
        widths[part] = np.nanquantile(values, share)
    return widths


def cross_validated(
    errors: Errors,
    level: float = LEVEL,
    bins: int = BINS,
    *,
    reference_groups: int = 0,
    splits: int = SPLITS,
    seed: int = _SEED,
) -> tuple[Coverage, ...]:
    """Coverage of each bin where some of the groups, drawn at random, calibrate for the others.

    One half calibrates, or three quarters or nine tenths where a half has too few groups for all bins.

    Args:
        errors: all there are.
        level: nominal coverage.
        bins: as in :func:`calibrate`.
        reference_groups: groups of the others that give the correction, as in a session; they are not
            counted. 0: the correction is that of the calibration.
        splits: how many.
        seed: of the splits.

    Returns:
        One a bin of :func:`calibrate`; nothing where there are too few groups to leave some out.
    """
    names = np.unique(errors.groups)
    whole = len(calibrate(errors, level, bins))
    for share in _SHARES if whole else ():
        first = math.ceil(share * len(names))
        generator = np.random.default_rng(seed)
        tried = [
            _covered(errors, generator.permutation(names), first, level, whole, reference_groups)
            for _ in range(splits)
        ]
        columns = np.array([shares for shares in tried if shares is not None])
        if len(columns) >= splits / 2:
            ends = np.nanquantile(columns, (0.05, 0.95), axis=0).T.tolist()
            means = np.nanmean(columns, axis=0).tolist()
            return tuple(
                Coverage(mean, low, high, first, len(columns))
                for mean, (low, high) in zip(means, ends, strict=True)
            )
    return ()


def _covered(
    errors: Errors,
    order: NDArray[np.int64],
    first: int,
    level: float,
    count: int,
    reference_groups: int,
) -> list[float] | None:
    """Share covered in each of ``count`` bins; None where the first groups do not make as many."""
    fitted = errors.where(np.isin(errors.groups, order[:first]))
    parts = calibrate(fitted, level, count)
    if len(parts) != count:
        return None
    left = order[first:]
    if reference_groups:
        session = in_session(
            fitted, parts, errors.where(np.isin(errors.groups, left[:reference_groups])), level
        )
        if session is None:
            return None
        parts, left = session.bins, left[reference_groups:]
    tested = errors.where(np.isin(errors.groups, left))
    number = bin_of(tested.measured, np.array([parts[0].low, *(part.high for part in parts)]))
    residuals = np.abs(tested.errors - np.array([part.correction for part in parts])[number])
    inside = residuals <= np.array([part.half_width for part in parts])[number]
    return [float(inside[number == k].mean()) if (number == k).any() else math.nan for k in range(count)]
