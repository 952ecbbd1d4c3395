"""Conformal intervals against their definition, and against simulations whose coverage is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from srbench.statistics.conformal import (
    Errors,
    calibrate,
    cross_validated,
    find_bin,
    half_width,
    in_session,
)


def simulated(
    seed: int,
    groups: int = 40,
    each: int = 30,
    *,
    bias: float = -2.0,
    shared: float = 0.0,
    spread: tuple[float, float] = (3.0, 1.0),
) -> Errors:
    """Sizes of 50 to 350; errors whose spread falls with the size, with a part that a group shares."""
    generator = np.random.default_rng(seed)
    number = np.repeat(np.arange(groups), each)
    sizes = generator.uniform(50.0, 350.0, len(number))
    sigma = np.interp(sizes, (50.0, 350.0), spread)
    errors = (
        bias + sigma * generator.normal(size=len(number)) + shared * generator.normal(size=groups)[number]
    )
    return Errors(sizes, errors, number)


def test_the_half_width_is_the_order_statistic_of_its_definition() -> None:
    residuals = np.array([-9.0, 1.0, -2.0, 3.0, 4.0, -5.0, 6.0, 7.0, -8.0])
    assert half_width(residuals, 0.9) == 9.0  # ceil(10 x 0.9) = 9th of 9
    assert half_width(residuals, 0.5) == 5.0
    assert half_width(residuals[:8], 0.9) == math.inf


def test_exchangeable_residuals_are_covered_as_the_theorem_says() -> None:
    """With n residuals the coverage of the next is exactly ceil((n + 1) level) / (n + 1)."""
    generator = np.random.default_rng(1)
    draws = generator.standard_t(2, size=(4000, 25))
    covered = [abs(row[-1]) <= half_width(row[:-1], 0.9) for row in draws]
    assert np.mean(covered) == pytest.approx(23 / 25, abs=4 * math.sqrt(0.08 * 0.92 / 4000))


@pytest.mark.parametrize(("groups", "bins"), [(9, 0), (10, 3), (40, 3)])
def test_fewer_than_ten_groups_have_no_interval(groups: int, bins: int) -> None:
    assert len(calibrate(simulated(2, groups))) == bins


def test_few_items_are_not_divided_into_bins() -> None:
    assert len(calibrate(simulated(3, groups=12, each=1))) == 1
    assert calibrate(Errors(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))) == ()


def test_bins_have_the_bias_and_the_width_of_their_sizes() -> None:
    bins = calibrate(simulated(4, groups=200))
    assert [part.correction for part in bins] == pytest.approx([-2.0] * 3, abs=0.15)
    # Uniform sizes: thirds at 150 and 250, in which sigma is 2.67, 2 and 1.33 on average.
    assert [bins[0].high, bins[1].high] == pytest.approx([150.0, 250.0], rel=0.03)
    widths = [part.half_width for part in bins]
    assert widths == pytest.approx([1.645 * sigma for sigma in (8 / 3, 2.0, 4 / 3)], rel=0.06)


def test_a_size_outside_of_the_calibration_has_no_bin() -> None:
    bins = calibrate(simulated(5))
    assert find_bin(bins, 20.0) is None
    assert find_bin(bins, 400.0) is None
    assert find_bin(bins, bins[0].low) == bins[0]
    assert find_bin(bins, bins[2].high) == bins[2]
    assert find_bin((), 100.0) is None


def test_bins_cover_where_one_width_for_all_sizes_does_not() -> None:
    errors = simulated(6, groups=60, shared=0.3)
    binned = cross_validated(errors, splits=60)
    assert [part.mean for part in binned] == pytest.approx([0.9] * 3, abs=0.03)
    pooled = calibrate(errors, bins=1)[0]
    inside = np.abs(errors.errors - pooled.correction) <= pooled.half_width
    assert inside[errors.measured < 150].mean() < 0.84
    assert inside[errors.measured > 250].mean() > 0.95


def test_another_session_is_covered_with_its_reference_fields_and_not_without() -> None:
    bank = simulated(7, groups=60, shared=0.3)
    bins = calibrate(bank)
    session = simulated(8, groups=60, bias=-0.2, shared=0.3)
    reference = session.where(session.groups < 5)
    brought = in_session(bank, bins, reference)
    assert brought is not None
    assert brought.shift == pytest.approx(1.8, abs=0.5)
    assert brought.covered > 0.8

    def covers(parts: tuple[object, ...]) -> float:
        later = session.where(session.groups >= 5)
        found = [find_bin(parts, value) for value in later.measured]  # type: ignore[arg-type]
        inside = [
            abs(error - part.correction) <= part.half_width
            for part, error in zip(found, later.errors, strict=True)
            if part
        ]
        return float(np.mean(inside))

    assert covers(bins) < 0.8
    assert covers(brought.bins) == pytest.approx(0.9, abs=0.04)


def test_a_short_reference_makes_intervals_wider() -> None:
    """What groups share is in the correction that five of them give."""
    bank = simulated(9, groups=60, shared=2.0)
    bins = calibrate(bank)
    few = in_session(bank, bins, bank.where(bank.groups < 5))
    many = in_session(bank, bins, bank.where(bank.groups < 30))
    assert few is not None and many is not None
    wide, narrow = (np.mean([part.half_width for part in found.bins]) for found in (few, many))
    assert wide > 1.03 * narrow


def test_a_session_needs_five_groups_and_a_bank() -> None:
    bank = simulated(10)
    assert in_session(bank, calibrate(bank), bank.where(bank.groups < 4)) is None
    assert in_session(bank, (), bank) is None


def test_a_bank_that_does_not_hold_is_seen_on_the_reference() -> None:
    bank = simulated(11)
    other = simulated(12, spread=(12.0, 9.0))
    session = in_session(bank, calibrate(bank), other.where(other.groups < 8))
    assert session is not None
    assert session.covered < 0.6


@pytest.mark.parametrize(("groups", "calibrating"), [(40, 20), (16, 12), (12, 11), (10, None)])
def test_as_many_groups_calibrate_as_the_bins_need(groups: int, calibrating: int | None) -> None:
    columns = cross_validated(simulated(13, groups=groups), splits=10)
    assert {column.groups for column in columns} == ({calibrating} if calibrating else set())


@pytest.mark.slow
@pytest.mark.parametrize("reference_groups", [0, 5])
def test_coverage_over_many_data_sets_is_that_of_the_level(reference_groups: int) -> None:
    means = [
        np.mean(
            [
                part.mean
                for part in cross_validated(
                    simulated(seed, groups=40, each=15, shared=0.5),
                    reference_groups=reference_groups,
                    splits=4,
                )
            ]
        )
        for seed in range(10)
    ]
    assert np.mean(means) == pytest.approx(0.9, abs=0.025)
