"""Resampled means against closed forms and each other."""

from __future__ import annotations

import numpy as np
import pytest

from srbench.statistics.bootstrap import GroupMeans, Seeds, bootstrap_means, cluster, seed_shares


def even(values: np.ndarray, strata: int = 1) -> GroupMeans:
    """Groups of equal weight, dealt to the strata in turn."""
    count = len(values)
    return GroupMeans(values, np.full(count, 1 / count), np.arange(count) % strata, count)


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


def test_tiles_of_one_image_are_one_unit() -> None:
    clusters = cluster(np.arange(12.0), ["g"] * 6 + ["h"] * 6, ["a"] * 12)
    assert list(clusters.values) == [2.5, 8.5] and clusters.images == 12
