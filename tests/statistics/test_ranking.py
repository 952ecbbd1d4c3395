"""Rank stability against scipy and cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.statistics.paired_tests import ComparisonSettings, compare_pair, corrected
from srbench.statistics.ranking import ranking
from srbench.statistics.score_matrix import Method, ScoreMatrix
from srbench.store import Run

HIGHER = ComparisonSettings("higher", 0.1, samples=400)


def matrix_of_values(values: np.ndarray, categories: int = 1) -> ScoreMatrix:
    """One image a group; one method a column."""
    names = [f"i{index:03}" for index in range(len(values))]
    runs = [Run(f"m{column}", "v", "", -1) for column in range(values.shape[1])]
    methods = tuple(Method(run, (column,), (run,)) for column, run in enumerate(runs))
    kinds = tuple(f"c{index % categories}" for index in range(len(values)))
    return ScoreMatrix(tuple(names), tuple(names), kinds, values, methods)


matrices = st.tuples(st.integers(6, 11), st.integers(2, 5), st.integers(0, 10_000)).map(
    lambda shape: np.random.default_rng(shape[2]).normal(0, 1, shape[:2]).round(1)
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(values=matrices, categories=st.integers(1, 3))
def test_rank_intervals_hold_the_observed_rank(values: np.ndarray, categories: int) -> None:
    matrix = matrix_of_values(values, categories)
    found = ranking(matrix, matrix.methods, HIGHER)
    count = values.shape[1]
    for entry in found:
        assert 1 <= entry.low <= entry.rank <= entry.high <= count
    assert sum(entry.rank for entry in found) == pytest.approx(count * (count + 1) / 2)
    means = {method: matrix.clusters(method).mean for method in matrix.methods}
    order = [means[entry.method] for entry in found]
    assert order == sorted(order, reverse=True)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(values=matrices, data=st.data())
def test_the_order_of_images_and_models_changes_nothing(values: np.ndarray, data: st.DataObject) -> None:
    matrix = matrix_of_values(values)
    rows = np.array(data.draw(st.permutations(range(len(values)))))
    shuffled = ScoreMatrix(
        *(tuple(names[row] for row in rows) for names in (matrix.images, matrix.groups, matrix.categories)),
        values[rows],
        matrix.methods[::-1],
    )
    one, other = (ranking(p, p.methods, HIGHER) for p in (matrix, shuffled))
    assert {p.method: (p.rank, p.low, p.high) for p in one} == {
        p.method: (p.rank, p.low, p.high) for p in other
    }


def test_clear_orders_never_change() -> None:
    values = np.arange(5.0)[None] + np.random.default_rng(0).normal(0, 0.01, (20, 5))
    matrix = matrix_of_values(values)
    found = ranking(matrix, matrix.methods, HIGHER)
    assert [entry.method.run.model for entry in found] == ["m4", "m3", "m2", "m1", "m0"]
    assert all(entry.low == entry.high == entry.rank for entry in found)
    lower = ranking(matrix, matrix.methods, ComparisonSettings("lower", 0.1, samples=100))
    assert [entry.method.run.model for entry in lower] == ["m0", "m1", "m2", "m3", "m4"]


def test_equal_models_change_places() -> None:
    values = np.random.default_rng(3).normal(0, 1, (20, 4))
    matrix = matrix_of_values(values)
    found = ranking(matrix, matrix.methods, HIGHER)
    assert max(entry.high - entry.low for entry in found) == 3


def test_ties_share_ranks() -> None:
    matrix = matrix_of_values(np.ones((8, 3)))
    found = ranking(matrix, matrix.methods, HIGHER)
    assert {entry.rank for entry in found} == {2.0}


def test_seeds_widen_rank_intervals() -> None:
    """Two methods whose groups agree, one with seeds that scatter: only the seeds can swap them."""
    generator = np.random.default_rng(0)
    base = generator.normal(0, 0.001, (12, 1))
    values = np.concatenate([base + 0.5, base + 0.0, base + 0.6, base + 1.2], axis=1)
    runs = [Run("a", "v", "", -1), *(Run("b", "v", f"w{seed}", seed) for seed in range(3))]
    names = tuple(f"i{index:02}" for index in range(12))
    methods = (Method(runs[0], (0,), (runs[0],)), Method(runs[1], (1, 2, 3), tuple(runs[1:])))
    matrix = ScoreMatrix(names, names, ("c",) * 12, values, methods)
    found = {entry.method.run.model: entry for entry in ranking(matrix, methods, HIGHER)}
    assert found["b"].rank == 1.0 and (found["b"].low, found["b"].high) == (1.0, 2.0)
    single = ranking(matrix, [methods[0], Method(runs[2], (2,), (runs[2],))], HIGHER)
    assert all(entry.low == entry.high for entry in single)


def test_nothing_and_one_are_rankings_too() -> None:
    matrix = matrix_of_values(np.ones((8, 1)))
    assert ranking(matrix, [], HIGHER) == []
    (only,) = ranking(matrix, matrix.methods, HIGHER)
    assert (only.rank, only.low, only.high) == (1.0, 1.0, 1.0)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(values=matrices, categories=st.integers(1, 2))
def test_contrasts_are_antisymmetric(values: np.ndarray, categories: int) -> None:
    matrix = matrix_of_values(values, categories)
    first, second = matrix.methods[:2]
    there, back = compare_pair(matrix, first, second, HIGHER), compare_pair(matrix, second, first, HIGHER)
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
    matrix = matrix_of_values(np.random.default_rng(0).normal(0, 1, (10, 2)))
    one = compare_pair(matrix, matrix.methods[0], matrix.methods[1], HIGHER)
    other = compare_pair(matrix, matrix.methods[1], matrix.methods[0], HIGHER)
    assert [found.p_holm for found in corrected([one, other])] == pytest.approx([one.p, one.p])
