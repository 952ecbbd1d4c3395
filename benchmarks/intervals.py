"""How often intervals of ``srbench calibrate`` cover: within a bank, and from one bank to another.

``OMP_NUM_THREADS=1 python benchmarks/intervals.py BANK.json ...`` prints for each bank and size bin the
coverage over 400 random half splits by group, with the correction of the same half and with that of five
groups of the other half. For each pair of banks of one measurement it prints how often intervals of the
first cover items of the second (of one half of a bank: of its other half): as they are, and with the
correction of five groups of the second, 100 times drawn; and how often these five let the bank pass.

``... intervals.py scenes MODEL MEASURE KIND DEGRADATION COUNT BANK.json`` makes a bank of that many scenes of
one kind that are in no suite (of 384 x 384 pixels, x4, exact truth).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from srbench.datasets.synthetic.numbered import NumberedScenes
from srbench.measuring import calibration
from srbench.measuring.bank import Bank, read_bank
from srbench.measuring.calibration import SINGLE
from srbench.measuring.measure import WORST_COVERED
from srbench.statistics.conformal import (
    FEWEST_REFERENCE,
    LEVEL,
    Errors,
    SizeBin,
    bin_of,
    calibrate,
    cross_validated,
    in_session,
)

DRAWS = 100
SCALE = 4


def covers(bins: tuple[SizeBin, ...], errors: Errors) -> float:
    """Share of the items of calibrated size whose reference value lies inside."""
    inside = (errors.measured >= bins[0].low) & (errors.measured <= bins[-1].high)
    known = errors.where(inside)
    number = bin_of(known.measured, np.array([bins[0].low, *(part.high for part in bins)]))
    residuals = np.abs(known.errors - np.array([part.correction for part in bins])[number])
    return float((residuals <= np.array([part.half_width for part in bins])[number]).mean())


def within(name: str, bank: Bank) -> None:
    """Coverage inside of one bank, every quantity and bin."""
    size = bank.conditions.pixel_size_nm or 1.0
    for quantity, stored in bank.quantities.items():
        errors = stored.arrays
        unit = (size if stored.unit else 1.0, "nm" if bank.conditions.pixel_size_nm and stored.unit else "px")
        own = cross_validated(errors)
        few = cross_validated(errors, reference_groups=FEWEST_REFERENCE, splits=DRAWS)
        for index, part in enumerate(calibrate(errors)):
            low, high, correction, width = (
                value * unit[0] for value in (part.low, part.high, -part.correction, part.half_width)
            )
            shares = [
                f"{column[index].mean:.3f} ({column[index].low:.3f}-{column[index].high:.3f})"
                if column
                else "-"
                for column in (own, few)
            ]
            print(
                f"{name} {quantity:9s} {low:8.4g} to {high:8.4g}: {correction:+.3f} +- {width:.3f} "
                f"{unit[1] if stored.unit else ''}, {part.items} in {part.groups}; covers {shares[0]}; "
                f"5 groups {shares[1]}"
            )


def across(names: tuple[str, str], banks: tuple[Bank, Bank]) -> None:
    """Coverage of intervals of the first bank on items of the second; of one half of it on its other half."""
    first, second = (bank.quantities[SINGLE].arrays for bank in banks)
    generator = np.random.default_rng(0)
    plain, brought, passed = [], [], 0
    for _ in range(DRAWS):
        left, fitted = generator.permutation(np.unique(second.groups)), first
        if names[0] == names[1]:
            fitted = first.where(np.isin(first.groups, left[: len(left) // 2]))
            left = left[len(left) // 2 :]
        bins = calibrate(fitted)
        session = in_session(fitted, bins, second.where(np.isin(second.groups, left[:FEWEST_REFERENCE])))
        tested = second.where(np.isin(second.groups, left[FEWEST_REFERENCE:]))
        if session is not None:
            plain.append(covers(bins, tested))
            brought.append(covers(session.bins, tested))
            passed += session.covered >= LEVEL - WORST_COVERED
    if not plain:
        print(f"{names[0]} on {names[1]}: too few groups")
        return
    print(
        f"{names[0]} on {names[1]}: as it is {np.mean(plain):.3f}; with 5 reference groups "
        f"{np.mean(brought):.3f} ({np.quantile(brought, 0.05):.3f}-{np.quantile(brought, 0.95):.3f}), and "
        f"the reference lets {passed} of {len(plain)} pass"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["scenes"]:
        model, measure, kind, degradation, count, path = sys.argv[2:]
        scenes = NumberedScenes(kind, int(count))
        calibration.calibrate(
            model, scenes, measure, scale=SCALE, degradation=degradation, split="all"
        ).write(Path(path))
        sys.exit()
    read = {Path(path).stem: read_bank(Path(path)) for path in sys.argv[1:]}
    for label, content in read.items():
        within(label, content)
    for label, content in read.items():
        for other, another in read.items():
            if content.conditions.measure == another.conditions.measure:
                across((label, other), (content, another))
