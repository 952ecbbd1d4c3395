"""Bootstrap intervals against scipy, closed forms and each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm

from srbench.statistics.bootstrap import (
    BCA_GROUPS,
    GroupMeans,
    Seeds,
    acceleration,
    bca,
    bootstrap_means,
    cluster,
    interval,
    jackknife,
    seed_shares,
)


def even(values: np.ndarray, strata: int = 1) -> GroupMeans:
    """Groups of equal weight, dealt to the strata in turn."""
    count = len(values)
    return GroupMeans(values, np.full(count, 1 / count), np.arange(count) % strata, count)


def skewed(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(0, 1, count)


@pytest.mark.parametrize("seed", range(5))
def test_bca_is_that_of_scipy_on_scipys_own_resamples(seed: int) -> None:
    values = skewed(seed, 40)
    reference = bootstrap(
        (values,), np.mean, method="BCa", n_resamples=2000, random_state=np.random.default_rng(seed)
    )
    found = bca(reference.bootstrap_distribution, float(values.mean()), jackknife(even(values)))
    assert found == pytest.approx(tuple(reference.confidence_interval), rel=1e-9)


def test_bca_of_two_samples_is_that_of_scipy() -> None:
    """A stratified mean with fixed shares is scipy's several-sample statistic."""
    first, second = skewed(1, 25), skewed(2, 40)

    def statistic(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
        return (x.mean(axis=axis) + y.mean(axis=axis)) / 2

    reference = bootstrap(
        (first, second), statistic, method="BCa", n_resamples=2000, random_state=np.random.default_rng(3)
    )
    weights = np.concatenate([np.full(25, 0.5 / 25), np.full(40, 0.5 / 40)])
    strata = np.repeat([0, 1], [25, 40])
    clusters = GroupMeans(np.concatenate([first, second]), weights, strata, 65)
    found = bca(reference.bootstrap_distribution, clusters.mean, jackknife(clusters))
    assert found == pytest.approx(tuple(reference.confidence_interval), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_whole_interval_agrees_with_scipys(seed: int) -> None:
    values = skewed(seed, 150)
    own = interval(even(values), samples=20_000)
    reference = bootstrap(
        (values,), np.mean, method="BCa", n_resamples=20_000, random_state=np.random.default_rng(0)
    )
    theirs = reference.confidence_interval
    assert own.kind == "bca"
    width = theirs.high - theirs.low
    assert own.low == pytest.approx(theirs.low, abs=0.02 * width)
    assert own.high == pytest.approx(theirs.high, abs=0.02 * width)


def test_acceleration_of_a_mean_is_a_sixth_of_its_skewness() -> None:
    """Efron 1987, sec. 7: a = skewness / (6 sqrt n) for the mean."""
    values = skewed(0, 50)
    centred = values - values.mean()
    expected = np.sum(centred**3) / (6 * np.sum(centred**2) ** 1.5)
    assert acceleration(jackknife(even(values))) == pytest.approx(expected)
    assert acceleration([np.ones(5)]) == 0.0


def test_the_kind_follows_the_number_of_groups() -> None:
    assert interval(even(skewed(0, BCA_GROUPS - 1))).kind == "percentile"
    assert interval(even(skewed(0, BCA_GROUPS))).kind == "bca"
    assert interval(even(np.ones(1))).kind == "none"
    low, high, kind = interval(even(np.full(40, 0.3)))
    assert (low, high) == pytest.approx((0.3, 0.3)) and kind == "bca"


def test_an_outlier_moves_the_interval_to_its_side() -> None:
    values = np.concatenate([np.zeros(59), [1.0]])
    low, high, kind = interval(even(values))
    assert kind == "bca" and 0.0 <= low < 1 / 60 < high
    assert high - 1 / 60 > 2 * (1 / 60 - low)


def test_a_pole_of_the_correction_gives_no_interval() -> None:
    """Of a mean the acceleration stays below 1/6, so the pole needs a level far beyond 95 %."""
    lopsided = [np.concatenate([np.zeros(99), [-1.0]])]
    assert acceleration(lopsided) == pytest.approx(1 / 6, rel=0.02)
    assert bca(np.arange(100.0), 50.0, lopsided, level=0.95) is not None
    assert bca(np.arange(100.0), 50.0, lopsided, level=1 - 1e-10) is None


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 5])
def test_small_strata_keep_the_standard_error(size: int) -> None:
    """The variance of a stratified mean is sum W_s^2 s_s^2 / n_s with the unbiased s_s^2."""
    generator = np.random.default_rng(0)
    strata = 12
    values = generator.normal(0, 1, size * strata)
    clusters = even(values, strata)
    parts = [values[clusters.strata == s] for s in range(strata)]
    expected = sum(part.var(ddof=1) / size for part in parts) / strata**2
    found = bootstrap_means([clusters], samples=20_000).var()
    assert found == pytest.approx(expected, rel=0.05)  # n draws instead of n - 1 would give (n - 1) / n of it


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.floats(-10, 10), min_size=2, max_size=40),
    strata=st.integers(1, 3),
    seeds=st.integers(1, 4),
)
def test_the_interval_of_the_negative_is_the_negative_interval(
    values: list[float], strata: int, seeds: int
) -> None:
    base = np.array(values)
    # at least two groups a stratum
    plain = even(base, max(1, min(strata, len(base) // 2)))
    members = base[None] + np.linspace(-1, 1, seeds)[:, None]
    sides = (Seeds(7, members),) if seeds > 1 else ()
    one = GroupMeans(members.mean(0), plain.weights, plain.strata, plain.images, sides)
    flipped = tuple(Seeds(side.key, -side.values) for side in sides)
    other = GroupMeans(-one.values, one.weights, one.strata, one.images, flipped)
    low, high, kind = interval(one, samples=300)
    mirrored = interval(other, samples=300)
    assert kind == mirrored.kind
    assert (-mirrored.high, -mirrored.low) == pytest.approx((low, high), abs=1e-9)


def test_seeds_are_resampled_from_three_on() -> None:
    assert np.all(seed_shares(2, 5, 100) == 0.5)
    shares = seed_shares(3, 5, 2000)
    assert shares.sum(axis=1) == pytest.approx(1.0)
    assert set(np.unique(shares)) == {0.0, 0.5, 1.0}
    assert shares.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.03)
    assert not np.array_equal(shares, seed_shares(3, 6, 2000))  # another model draws its own seeds


def test_the_variance_holds_both_seeds_and_groups() -> None:
    """Crossed effects: var = s_seeds^2 / S + s_groups^2 / G, where a mean over seeds alone has the second."""
    generator = np.random.default_rng(1)
    seeds, groups = 5, 25
    by_seed, by_group = generator.normal(0, 0.2, seeds), generator.normal(0, 0.5, groups)
    members = by_seed[:, None] + by_group[None]
    flat = even(members.mean(0))
    hierarchical = GroupMeans(flat.values, flat.weights, flat.strata, flat.images, (Seeds(3, members),))
    expected = by_seed.var(ddof=1) / seeds + by_group.var(ddof=1) / groups
    assert bootstrap_means([hierarchical], 20_000).var() == pytest.approx(expected, rel=0.05)
    assert bootstrap_means([flat], 20_000).var() == pytest.approx(by_group.var(ddof=1) / groups, rel=0.05)


def test_one_huge_seed_spread_reaches_the_interval() -> None:
    values = np.random.default_rng(2).normal(0, 0.1, 40)
    members = np.stack([values - 1, values, values + 1])
    flat = even(values)
    wide = interval(GroupMeans(values, flat.weights, flat.strata, 40, (Seeds(1, members),)))
    narrow = interval(flat)
    assert wide.kind == narrow.kind == "bca"
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)
    half = norm.ppf(0.975) / np.sqrt(3)
    assert wide.high - wide.low == pytest.approx(2 * half, rel=0.5)


def test_tiles_of_one_image_are_one_unit() -> None:
    clusters = cluster(np.arange(12.0), ["g"] * 6 + ["h"] * 6, ["a"] * 12)
    assert list(clusters.values) == [2.5, 8.5] and clusters.images == 12
