"""Rank stability against scipy and cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata

from srbench.evaluation.contrast import Rule, contrast, corrected
from srbench.evaluation.panel import Entry, Panel, Run
from srbench.evaluation.ranking import kendall_tau, ranking, ranks_of

HIGHER = Rule("higher", 0.1, samples=400)


def panel_of_values(values: np.ndarray, categories: int = 1) -> Panel:
    """One image a group; one entry a column."""
    names = [f"i{index:03}" for index in range(len(values))]
    runs = [Run(f"m{column}", "v", "", -1) for column in range(values.shape[1])]
    entries = tuple(Entry(run, (column,), (run,)) for column, run in enumerate(runs))
    kinds = tuple(f"c{index % categories}" for index in range(len(values)))
    return Panel(tuple(names), tuple(names), kinds, values, entries)


matrices = st.tuples(st.integers(6, 15), st.integers(2, 5), st.integers(0, 10_000)).map(
    lambda shape: np.random.default_rng(shape[2]).normal(0, 1, shape[:2]).round(1)
)


@settings(max_examples=60, deadline=None)
@given(values=matrices, categories=st.integers(1, 3))
def test_rank_intervals_hold_the_observed_rank(values: np.ndarray, categories: int) -> None:
    panel = panel_of_values(values, categories)
    found = ranking(panel, panel.entries, HIGHER)
    count = values.shape[1]
    for place in found.places:
        assert 1 <= place.low <= place.rank <= place.high <= count
        assert 1 <= place.mean_rank <= count
    assert sum(place.first for place in found.places) == pytest.approx(1.0)
    assert sum(place.rank for place in found.places) == pytest.approx(count * (count + 1) / 2)
    means = {entry: panel.clusters(entry).mean for entry in panel.entries}
    order = [means[place.entry] for place in found.places]
    assert order == sorted(order, reverse=True)


@settings(max_examples=40, deadline=None)
@given(values=matrices, data=st.data())
def test_the_order_of_images_and_models_changes_nothing(values: np.ndarray, data: st.DataObject) -> None:
    panel = panel_of_values(values)
    rows = np.array(data.draw(st.permutations(range(len(values)))))
    shuffled = Panel(
        *(tuple(names[row] for row in rows) for names in (panel.images, panel.groups, panel.categories)),
        values[rows],
        panel.entries[::-1],
    )
    one, other = (ranking(p, p.entries, HIGHER) for p in (panel, shuffled))
    assert {p.entry: (p.rank, p.low, p.high, p.first) for p in one.places} == {
        p.entry: (p.rank, p.low, p.high, p.first) for p in other.places
    }
    assert one.tau == pytest.approx(other.tau, nan_ok=True)


@settings(max_examples=60, deadline=None)
@given(values=matrices)
def test_kendalls_tau_is_that_of_scipy(values: np.ndarray) -> None:
    observed = values[0]
    expected = [kendalltau(row, observed, variant="b").statistic for row in values]
    assert kendall_tau(values, observed) == pytest.approx(expected, nan_ok=True)


def test_clear_orders_never_change() -> None:
    values = np.arange(5.0)[None] + np.random.default_rng(0).normal(0, 0.01, (20, 5))
    panel = panel_of_values(values)
    found = ranking(panel, panel.entries, HIGHER)
    assert [place.entry.run.model for place in found.places] == ["m4", "m3", "m2", "m1", "m0"]
    assert all(place.low == place.high == place.rank == place.rank_by_mean_rank for place in found.places)
    assert found.tau == found.tau_low == found.tau_rules == 1.0
    lower = ranking(panel, panel.entries, Rule("lower", 0.1, samples=100))
    assert [place.entry.run.model for place in lower.places] == ["m0", "m1", "m2", "m3", "m4"]


def test_equal_models_change_places() -> None:
    values = np.random.default_rng(3).normal(0, 1, (20, 4))
    panel = panel_of_values(values)
    found = ranking(panel, panel.entries, HIGHER)
    assert found.tau < 0.8 and found.tau_low < 0.4
    assert max(place.high - place.low for place in found.places) == 3


def test_one_outlier_sets_the_two_rules_against_each_other() -> None:
    """m0 is a little better nearly everywhere, m1 by far on one image: means and ranks disagree."""
    values = np.zeros((10, 2))
    values[:, 0] = 0.1
    values[0, 1] = 50.0
    panel = panel_of_values(values)
    found = {place.entry.run.model: place for place in ranking(panel, panel.entries, HIGHER).places}
    assert (found["m1"].rank, found["m1"].rank_by_mean_rank) == (1.0, 2.0)
    assert found["m0"].mean_rank == pytest.approx(1.1)
    assert ranking(panel, panel.entries, HIGHER).tau_rules == -1.0


def test_ties_share_ranks() -> None:
    assert ranks_of(np.array([[3.0, 1.0, 1.0]])).tolist() == [rankdata([3, 1, 1]).tolist()]
    panel = panel_of_values(np.ones((8, 3)))
    found = ranking(panel, panel.entries, HIGHER)
    assert {place.rank for place in found.places} == {2.0}
    assert [place.first for place in found.places] == pytest.approx([1 / 3] * 3)
    assert np.isnan(found.tau)  # nothing is ordered, so no order can be kept


def test_seeds_widen_rank_intervals() -> None:
    """Two methods whose groups agree, one with seeds that scatter: only the seeds can swap them."""
    generator = np.random.default_rng(0)
    base = generator.normal(0, 0.001, (12, 1))
    values = np.concatenate([base + 0.5, base + 0.0, base + 0.6, base + 1.2], axis=1)
    runs = [Run("a", "v", "", -1), *(Run("b", "v", f"w{seed}", seed) for seed in range(3))]
    names = tuple(f"i{index:02}" for index in range(12))
    entries = (Entry(runs[0], (0,), (runs[0],)), Entry(runs[1], (1, 2, 3), tuple(runs[1:])))
    panel = Panel(names, names, ("c",) * 12, values, entries)
    found = {place.entry.run.model: place for place in ranking(panel, entries, HIGHER).places}
    assert found["b"].rank == 1.0 and (found["b"].low, found["b"].high) == (1.0, 2.0)
    single = ranking(panel, [entries[0], Entry(runs[2], (2,), (runs[2],))], HIGHER)
    assert all(place.low == place.high for place in single.places)


def test_nothing_and_one_are_rankings_too() -> None:
    panel = panel_of_values(np.ones((8, 1)))
    assert ranking(panel, [], HIGHER).places == ()
    (only,) = ranking(panel, panel.entries, HIGHER).places
    assert (only.rank, only.low, only.high, only.first) == (1.0, 1.0, 1.0, 1.0)


@settings(max_examples=40, deadline=None)
@given(values=matrices, categories=st.integers(1, 2))
def test_contrasts_are_antisymmetric(values: np.ndarray, categories: int) -> None:
    panel = panel_of_values(values, categories)
    first, second = panel.entries[:2]
    there, back = contrast(panel, first, second, HIGHER), contrast(panel, second, first, HIGHER)
    assert back.difference == pytest.approx(-there.difference, abs=1e-12)
    low, high, _ = there.interval
    assert back.interval[:2] == pytest.approx((-high, -low), abs=1e-9, nan_ok=True)
    assert back.p == pytest.approx(there.p)
    assert back.improvement.value + there.improvement.value == pytest.approx(1.0)
    if there.verdict == "equivalent":
        assert -0.1 <= low <= high <= 0.1
    swapped = {"better": "worse", "worse": "better"}.get(there.verdict, there.verdict)
    assert back.verdict == swapped


def test_a_pair_compared_twice_is_one_hypothesis() -> None:
    panel = panel_of_values(np.random.default_rng(0).normal(0, 1, (10, 2)))
    one = contrast(panel, panel.entries[0], panel.entries[1], HIGHER)
    other = contrast(panel, panel.entries[1], panel.entries[0], HIGHER)
    assert [found.p_holm for found in corrected([one, other])] == pytest.approx([one.p, one.p])
