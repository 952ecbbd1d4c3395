"""Paired differences: against scipy's tests, brute force and closed forms."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from srbench.metrics import registry
from srbench.statistics import paired_tests as paired
from srbench.statistics.bootstrap import GroupMeans, Seeds
from srbench.statistics.margins import MARGINS, margin_of
from srbench.statistics.paired_tests import (
    ComparisonSettings,
    compare_pair,
    corrected,
    hodges_lehmann,
    holm,
    probability_of_improvement,
    verdict,
)
from srbench.statistics.score_matrix import Method, ScoreMatrix
from srbench.store import Run
from srbench.utils.errors import SrbenchError

differences = st.lists(st.floats(-20, 20), min_size=1, max_size=40).map(np.array)


def even(values: list[float] | np.ndarray) -> GroupMeans:
    array = np.array(values, dtype=np.float64)
    return GroupMeans(array, np.full(len(array), 1 / len(array)), np.zeros(len(array), np.int64), len(array))


def brute_force(values: np.ndarray) -> float:
    return float(np.median([(x + y) / 2 for i, x in enumerate(values) for y in values[i:]]))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(values=differences)
def test_the_median_difference_is_that_of_all_pairwise_means(values: np.ndarray) -> None:
    found = hodges_lehmann(values)
    assert found.value == pytest.approx(brute_force(values), abs=1e-12)
    assert math.isnan(found.low) == (len(values) < 6)
    if len(values) >= 6:
        assert found.low <= found.value <= found.high


@pytest.mark.parametrize(("count", "seed"), [(6, 0), (9, 1), (15, 2), (25, 3), (50, 4)])
def test_its_interval_holds_exactly_what_the_exact_test_accepts(count: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.4, 1, count)
    _, low, high = hodges_lehmann(values)
    nudge = 1e-9
    for shift, accepted in (
        (low + nudge, True),
        (low - nudge, False),
        (high - nudge, True),
        (high + nudge, False),
    ):
        p = wilcoxon(values - shift, method="exact").pvalue
        assert (p > 0.05) == accepted


def test_the_published_interval_of_the_depression_data() -> None:
    """Hollander and Wolfe, table 3.1: the estimate -0.46 is published; the interval is R's wilcox.test."""
    before = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
    after = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
    found = hodges_lehmann(after - before)
    assert found.value == pytest.approx(-0.46, abs=0.001)
    assert (found.low, found.high) == pytest.approx((-0.786, -0.010), abs=0.001)


def test_signs_at_random_give_the_null_distribution() -> None:
    ranks = np.arange(1, 9)
    sums = [
        int(sum(r for r, sign in zip(ranks, signs, strict=True) if sign))
        for signs in product((0, 1), repeat=8)
    ]
    expected = np.bincount(sums, minlength=37) / 256
    assert paired._signed_rank(8) == pytest.approx(expected)


def test_many_groups_take_the_search_and_the_normal_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0.2, 1, 180)
    exact = hodges_lehmann(values)
    monkeypatch.setattr(paired, "_ALL_PAIRS", 10)
    assert hodges_lehmann(values) == pytest.approx(exact, abs=1e-12)
    monkeypatch.setattr(paired, "_EXACT", 10)
    assert hodges_lehmann(values) == pytest.approx(exact, abs=0.01)


def test_the_search_copes_with_ties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paired, "_ALL_PAIRS", 1)
    values = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 2.0, -3.0])
    assert hodges_lehmann(values).value == brute_force(values)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(values=differences)
def test_swapping_the_models_mirrors_everything(values: np.ndarray) -> None:
    one, other = hodges_lehmann(values), hodges_lehmann(-values)
    assert other.value == pytest.approx(-one.value, abs=1e-12)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-12, nan_ok=True)
    p, q = probability_of_improvement(even(values)), probability_of_improvement(even(-values))
    assert p.value + q.value == pytest.approx(1.0)
    assert p.low + q.high == pytest.approx(1.0) and p.high + q.low == pytest.approx(1.0)


def test_probability_of_improvement_by_hand() -> None:
    found = probability_of_improvement(even([1.0, 2.0, -1.0, 0.0]))
    assert found.value == pytest.approx(2.5 / 4)  # a tie counts half
    # Wilson's interval for 8 of 10: 0.4902 to 0.9433 (Newcombe 1998, method 3).
    wilson = probability_of_improvement(even([1.0] * 8 + [-1.0] * 2))
    assert (wilson.low, wilson.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    sure = probability_of_improvement(even(np.ones(24)))
    assert sure.value == sure.high == 1.0 and 0.8 < sure.low < 0.9  # never without width


def test_probability_of_improvement_counts_pairs_of_seeds() -> None:
    first = np.array([[3.0, 1.0], [5.0, 1.0]])
    second = -np.array([[4.0, 1.0], [2.0, 2.0]])
    whole = even((first.mean(0) + second.mean(0)).tolist())
    seeded = GroupMeans(whole.values, whole.weights, whole.strata, 2, (Seeds(1, first), Seeds(2, second)))
    # group 0: 3>4 no, 3>2, 5>4, 5>2 yes: 3/4; group 1: two ties, two losses: 1/4
    assert probability_of_improvement(seeded).value == pytest.approx(0.5)


def test_every_attempt_of_a_run_counts_against_it_alone() -> None:
    runs = [Run(name, "v", "", -1) for name in ("base", "first_try", "tenth_try")]
    values = np.random.default_rng(5).normal([30.0, 30.4, 30.4], 0.3, (24, 3))
    names = tuple(f"i{number}" for number in range(24))
    methods = tuple(Method(run, (column,), (run,)) for column, run in enumerate(runs))
    matrix = ScoreMatrix(names, names, ("a",) * 24, values, methods)
    judged = ComparisonSettings("higher", 0.0, attempts={runs[2]: 10})
    compared = [compare_pair(matrix, method, methods[0], judged) for method in methods[1:]]
    p = [comparison.p for comparison in compared]
    adjusted = [comparison.p_holm for comparison in corrected(compared)]
    assert adjusted == pytest.approx(holm([p[0], 10 * p[1]])) and 10 * p[1] < 1
    # A method that was chosen of many, against one that was chosen of more.
    judged = ComparisonSettings("higher", 0.0, attempts={runs[1]: 3, runs[2]: 10})
    (pair,) = corrected([compare_pair(matrix, methods[1], methods[2], judged)])
    assert pair.p_holm == pytest.approx(min(1.0, 10 * pair.p))


bounds = st.tuples(st.floats(-2, 2), st.floats(0, 2)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(ends=bounds, margin=st.floats(0, 1), p=st.floats(0, 1), groups=st.integers(0, 40))
def test_a_verdict_means_what_it_says(
    ends: tuple[float, float], margin: float, p: float, groups: int
) -> None:
    low, high = ends
    found = verdict(low, high, margin, p, groups)
    if found == "equivalent":
        assert -margin <= low <= high <= margin
    if found == "better":
        assert low > margin and p < 0.05
    if found == "worse":
        assert high < -margin and p < 0.05
    if groups < 6:
        assert found == "undecided"
    mirrored = {"better": "worse", "worse": "better"}.get(found, found)
    assert verdict(-high, -low, margin, p, groups) == mirrored


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (0.2, 0.4, 0.01, "better"),
        (0.2, 0.4, 0.06, "undecided"),  # the test does not support it
        (0.05, 0.4, 0.01, "undecided"),  # certain, but perhaps within the margin
        (0.01, 0.09, 0.001, "equivalent"),  # certain and of no use
        (-0.4, -0.2, 0.01, "worse"),
        (-0.09, 0.09, 0.9, "equivalent"),
        (-0.3, 0.3, 0.9, "undecided"),
        (float("nan"), float("nan"), 0.01, "undecided"),
    ],
)
def test_verdicts_at_a_margin_of_a_tenth(low: float, high: float, p: float, expected: str) -> None:
    assert verdict(low, high, 0.1, p, 20) == expected


def test_margins_have_defaults_reasons_and_overrides() -> None:
    assert margin_of("psnr").value == 0.1
    assert margin_of("psnr", {"psnr": 0.3}).value == 0.3
    assert margin_of("unheard_of@2").value == 0.0
    assert margin_of("unheard_of@2", {"unheard_of": 2.0}).value == 2.0
    assert all(margin.value > 0 and margin.reason for margin in MARGINS.values())
    for bad in (-0.1, float("nan"), float("inf")):
        with pytest.raises(SrbenchError, match="finite number"):
            margin_of("psnr", {"psnr": bad})


def test_every_margin_is_of_a_metric_that_exists() -> None:
    assert set(MARGINS) <= {metric.name for metric in registry.list_metrics()}


def test_the_margin_of_psnr_is_the_share_of_the_error_it_says() -> None:
    assert pytest.approx(0.023, abs=0.0005) == 10 ** (0.1 / 10) - 1
