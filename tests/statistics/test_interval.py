"""Intervals and tests of a mean against scipy, closed forms and what they must have in common."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstat, t, ttest_1samp, ttest_ind

from srbench.statistics.bootstrap import GroupMeans, Seeds, cluster
from srbench.statistics.interval import Spread, interval, mean_p


def even(values: np.ndarray, strata: int = 1) -> GroupMeans:
    """Groups of equal weight, dealt to the strata in turn."""
    count = len(values)
    return GroupMeans(values, np.full(count, 1 / count), np.arange(count) % strata, count)


def spread_of(clusters: GroupMeans) -> Spread:
    spread = Spread.of(clusters)
    assert spread is not None
    return spread


def mirrored(seed: int, count: int) -> np.ndarray:
    """As many values above as below their mean: no skewness."""
    half = np.random.default_rng(seed).normal(0, 1, count // 2)
    return np.concatenate([half, -half])


@pytest.mark.parametrize("count", [4, 12, 60])
def test_without_skewness_it_is_students(count: int) -> None:
    values = mirrored(count, count) + 0.4
    reference = ttest_1samp(values, 0.0)
    low, high, df = interval(even(values))
    assert (low, high) == pytest.approx(tuple(reference.confidence_interval()), rel=1e-9)
    assert df == pytest.approx(count - 1) and mean_p(even(values)) == pytest.approx(reference.pvalue)


def test_of_two_categories_it_is_welchs() -> None:
    """The headline mean of x and -y is half the difference of two samples."""
    first, second = 0.5 * mirrored(1, 10) + 1.0, 2.0 * mirrored(2, 16) + 0.3
    names = [f"g{index:02}" for index in range(26)]
    clusters = cluster(np.concatenate([first, -second]), names, ["a"] * 10 + ["b"] * 16)
    reference = ttest_ind(first, second, equal_var=False)
    assert interval(clusters).df == pytest.approx(reference.df)
    assert mean_p(clusters) == pytest.approx(reference.pvalue)
    low, high, _ = interval(clusters)
    assert (2 * low, 2 * high) == pytest.approx(tuple(reference.confidence_interval()))


def test_the_skewness_is_that_of_the_unbiased_cumulants() -> None:
    values = np.random.default_rng(0).lognormal(0, 1, 20)
    expected = kstat(values, 3) / 20**2 / (kstat(values, 2) / 20) ** 1.5 / 6.0
    spread = spread_of(even(values))
    assert spread.skewness == pytest.approx(expected)
    # Hall 1992: the ends are where T + 2 a T^2 + 4/3 a^2 T^3 + a is Student's quantile.
    for end, sign in zip(spread.ends(0.95), (1, -1), strict=True):
        ratio = (spread.mean - end) / spread.error
        transformed = ratio + expected * (1 + 2 * ratio**2) + 4 / 3 * expected**2 * ratio**3
        beyond = sign * max(sign * ratio, sign * transformed)
        # One of the two is at the quantile, the other inside.
        assert min(abs(ratio - beyond), abs(transformed - beyond)) == 0.0
        assert sign * t.ppf(0.975, 19) == pytest.approx(
            ratio if abs(ratio - sign * t.ppf(0.975, 19)) < 1e-9 else transformed
        )


layouts = st.tuples(st.integers(0, 10_000), st.integers(2, 30), st.integers(1, 4), st.booleans())


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(layout=layouts, level=st.floats(0.5, 0.999))
def test_the_p_value_is_where_an_end_reaches_zero(layout: tuple[int, int, int, bool], level: float) -> None:
    seed, count, kinds, alone = layout
    generator = np.random.default_rng(seed)
    values = generator.lognormal(0, 1, count + alone) - 1.0
    categories = [f"c{index % kinds}" for index in range(count)] + ["alone"] * alone
    clusters = cluster(values, [f"g{index:02}" for index in range(len(values))], categories)
    spread = spread_of(clusters)
    p = spread.p()
    assert 0.0 < p <= 1.0
    low, high = spread.ends(level)
    assert low <= spread.mean <= high
    assert (low > 0.0 or high < 0.0) == (p < 1.0 - level) or p == pytest.approx(1.0 - level)
    if 1e-9 < p < 0.999:
        ends = spread.ends(1.0 - p)
        assert min(map(abs, ends)) < 1e-6 * max(1.0, *map(abs, ends))
    # The negative has the negative interval, and ten times the values ten times the interval.
    flipped = spread_of(cluster(-10.0 * values, [f"g{i:02}" for i in range(len(values))], categories))
    assert flipped.p() == pytest.approx(p, rel=1e-6)
    assert flipped.ends(level) == pytest.approx((-10.0 * high, -10.0 * low), rel=1e-9, abs=1e-9)


def test_the_only_group_of_a_category_counts_by_its_distance() -> None:
    values = np.concatenate([mirrored(3, 8), [2.0]])
    names = [f"g{index}" for index in range(9)]
    clusters = cluster(values, names, ["a"] * 8 + ["b"])
    assert clusters.strata[-1] == clusters.alone
    spread = spread_of(clusters)
    known, unknown = values[:8].var(ddof=1) / 8 / 4, 2.0**2 / 4
    assert spread.error**2 == pytest.approx(known + unknown)
    share = unknown / (known + unknown)
    assert spread.quantile(0.025) == pytest.approx(share * t.ppf(0.975, 1) + (1 - share) * t.ppf(0.975, 7))
    # Among themselves several such groups show their spread.
    several = cluster(np.append(values, -1.0), [*names, "h"], ["a"] * 8 + ["b", "c"])
    expected = (values[:8].var(ddof=1) / 8 + 2 * np.var([2.0, -1.0], ddof=1)) / 9
    assert spread_of(several).error ** 2 == pytest.approx(expected)


def test_the_variance_holds_both_seeds_and_groups() -> None:
    """Crossed effects: var = s_seeds^2 / S + s_groups^2 / G, where a mean over seeds alone has the second."""
    generator = np.random.default_rng(1)
    by_seed, by_group = generator.normal(0, 0.2, 5), generator.normal(0, 0.5, 25)
    members = by_seed[:, None] + by_group[None]
    flat = even(members.mean(0))
    crossed = GroupMeans(flat.values, flat.weights, flat.strata, flat.images, (Seeds(3, members),))
    parts = by_group.var(ddof=1) / 25, by_seed.var(ddof=1) / 5
    assert spread_of(flat).error ** 2 == pytest.approx(parts[0])
    assert spread_of(crossed).error ** 2 == pytest.approx(sum(parts))
    df = sum(parts) ** 2 / (parts[0] ** 2 / 24 + parts[1] ** 2 / 4)
    assert spread_of(crossed).df == pytest.approx(df)
    two = GroupMeans(flat.values, flat.weights, flat.strata, flat.images, (Seeds(3, members[:2]),))
    assert spread_of(two).error ** 2 == pytest.approx(parts[0])


def test_what_never_varies_and_what_stands_alone() -> None:
    same = even(np.full(12, 0.3))
    assert interval(same)[:2] == pytest.approx((0.3, 0.3)) and mean_p(same) < 1e-9
    zero = even(np.zeros(12))
    assert interval(zero)[:2] == (0.0, 0.0) and mean_p(zero) == 1.0
    assert np.isnan(interval(even(np.ones(1)))).all() and np.isnan(mean_p(even(np.ones(1))))


def test_an_outlier_moves_the_interval_to_its_side() -> None:
    values = np.concatenate([np.zeros(59), [1.0]])
    low, high, _ = interval(even(values))
    assert high - 1 / 60 > 2 * (1 / 60 - low) > 0.0


def test_a_tail_that_no_float_holds_is_a_p_of_next_to_nothing() -> None:
    spread = Spread(1e7, 1.0, 100.0, 0.0, ((0.99, 2000), (0.01, 40)))
    assert 0.0 <= spread.p() < 1e-200
