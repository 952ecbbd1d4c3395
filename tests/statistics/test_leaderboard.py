"""The leaderboard's statistics against closed forms, scipy, and a simulation where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.statistics.bootstrap import bootstrap_means, cluster
from srbench.statistics.interval import interval
from srbench.statistics.leaderboard import LeaderboardRow, leaderboard, to_frame
from srbench.statistics.paired_tests import holm
from srbench.store import COLUMNS, RUN
from srbench.utils.errors import SrbenchError

Value = Callable[[int], float]


def rows(model: str, value: Value, images: Iterable[int] = range(12), **changes: Any) -> list[dict[str, Any]]:
    """One PSNR row an image: image ``i`` is of group ``i // 2`` and of category ``a`` or ``b``."""
    shared = {
        "model": model,
        "variant": "v",
        "weights": "",
        "seed": -1,
        "dataset": "d",
        "split": "test",
        "degradation": "bicubic@1",
        "scale": 4,
        "metric": "psnr",
        "protocol": "sem-grey-1",
        "reason": "",
    }
    return [
        {
            **shared,
            "image": f"i{i:03}",
            "group": f"g{i // 2}",
            "category": "ab"[i // 2 % 2],
            "value": value(i),
            **changes,
        }
        for i in images
    ]


def frame(*parts: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame([row for part in parts for row in part])
    assert set(table.columns) <= {*COLUMNS, "data"}
    return table


def row_of(table: list[LeaderboardRow], model: str) -> LeaderboardRow:
    return next(row for row in table if row.run.model == model)


def models(table: list[LeaderboardRow]) -> list[str]:
    return [row.run.model for row in table]


def noise(seed: int, size: int = 100) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(0, 0.05, size)]


@pytest.mark.slow
def test_rows_make_a_frame_of_their_values() -> None:
    table = frame(rows("bicubic", float))
    (row,) = leaderboard(table, "psnr")
    (record,) = to_frame([row]).itertuples()
    assert (record.model, record.mean, record.note) == (row.run.model, row.mean, row.note)
    empty = to_frame(leaderboard(table, "ssim"))
    assert list(empty.columns)[:4] == RUN and list(empty.columns) == list(to_frame([row]).columns)


def test_means_go_from_tile_to_image_to_group_to_category() -> None:
    def one(image: str, group: str, category: str, value: float) -> list[dict[str, Any]]:
        return rows("m", lambda _: value, [0], image=image, group=group, category=category)

    table = frame(
        one("i1", "g1", "a", 10.0),
        one("i1", "g1", "a", 30.0),  # a second tile of the same image: i1 is 20
        one("i2", "g1", "a", 40.0),  # group g1 is 30
        one("i3", "g2", "a", 50.0),  # category a is 40
        one("i4", "g3", "b", 100.0),  # category b is 100
    )
    found = row_of(leaderboard(table, "psnr"), "m")
    assert found.mean == pytest.approx(70.0)
    assert (found.n_images, found.n_groups) == (4, 3)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    places=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 2), st.floats(-50, 50)), min_size=1, max_size=30
    )
)
def test_cluster_weights_reproduce_the_macro_average(places: list[tuple[int, int, float]]) -> None:
    groups, categories, values = zip(*places, strict=True)
    clusters = cluster(np.array(values), [f"g{g}" for g in groups], [f"c{c}" for c in categories])
    table = pd.DataFrame({"group": groups, "category": categories, "value": values})
    by_category = table.groupby(["category", "group"])["value"].mean().groupby("category").mean()
    assert clusters.mean == pytest.approx(by_category.mean(), abs=1e-9)
    assert clusters.weights.sum() == pytest.approx(1.0)


@pytest.mark.slow
def test_the_interval_matches_the_standard_error_of_independent_groups() -> None:
    values = np.random.default_rng(0).normal(30, 2, 400)
    names = [f"g{index}" for index in range(400)]
    low, high, _ = interval(cluster(values, names, ["a"] * 400))
    standard_error = values.std(ddof=1) / 20
    assert (high - low) / (2 * 1.96 * standard_error) == pytest.approx(1.0, abs=0.05)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.2 * standard_error)


def test_copies_of_an_image_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).normal(30, 2, 20)
    names = [f"g{index}" for index in range(20)]
    once = interval(cluster(values, names, ["a"] * 20))
    copied = interval(cluster(np.repeat(values, 50), list(np.repeat(names, 50)), ["a"] * 1000))
    assert copied == pytest.approx(once, abs=1e-12)


def test_single_groups_in_their_categories_still_have_an_interval() -> None:
    values = np.array([20.0, 24.0, 31.0, 28.0, 35.0, 22.0])
    names = [f"g{index}" for index in range(6)]
    low, high, _ = interval(cluster(values, names, [f"c{index}" for index in range(6)]))
    assert high - low > 3.0  # stratifying by category would leave exactly zero


def test_categories_are_kept_when_resampling() -> None:
    values = np.array([10.0] * 5 + [50.0] * 5)
    names = [f"g{index}" for index in range(10)]
    means = bootstrap_means([cluster(values, names, ["a"] * 5 + ["b"] * 5)], samples=200)
    assert means == pytest.approx(30.0)  # the spread between categories is no uncertainty


@pytest.mark.slow
def test_the_same_seed_gives_the_same_table() -> None:
    table = frame(rows("bicubic", float, range(40)), rows("m", lambda i: i + noise(1)[i], range(40)))
    first, second = leaderboard(table, "psnr"), leaderboard(table, "psnr")
    pd.testing.assert_frame_equal(to_frame(first), to_frame(second))
    other = leaderboard(table, "psnr", seed=1, samples=501)
    assert row_of(other, "m").low == row_of(first, "m").low  # only ranks are resampled


@pytest.mark.slow
def test_the_order_of_rows_changes_nothing() -> None:
    table = frame(rows("bicubic", float), rows("m", lambda i: i + noise(1)[i]))
    shuffled = table.sample(frac=1.0, random_state=0)
    ordered, other = (to_frame(leaderboard(part, "psnr")) for part in (table, shuffled))
    pd.testing.assert_frame_equal(ordered, other)


@pytest.mark.slow
def test_differences_are_paired() -> None:
    table = frame(rows("bicubic", lambda i: 10.0 * i), rows("m", lambda i: 10.0 * i + 0.5 + noise(2)[i]))
    found = row_of(leaderboard(table, "psnr"), "m")
    assert found.diff == pytest.approx(0.5, abs=0.05)
    assert 0.4 < found.diff_low < found.diff_high < 0.6  # the means themselves spread over 110 dB
    assert found.high - found.low > 20
    own = row_of(leaderboard(table, "psnr"), "bicubic")
    assert np.isnan(own.diff) and np.isnan(own.p_holm)


def test_holm_is_the_step_down_procedure() -> None:
    # Worked by hand: 4 x .01, 3 x .02 (below .04 it would not fall), 2 x .03, 1 x .5.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([float("nan"), 0.04])[1] == pytest.approx(0.04)
    assert np.isnan(holm([float("nan"), 0.04])[0])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


@pytest.mark.slow
def test_p_values_are_corrected_over_the_whole_table() -> None:
    def model(name: str) -> list[dict[str, Any]]:
        return rows(name, lambda i: i + 1.0 + noise(3)[i], range(24))

    base = rows("bicubic", float, range(24))
    alone = row_of(leaderboard(frame(base, model("m1")), "psnr"), "m1")
    among = row_of(leaderboard(frame(base, model("m1"), model("m2"), model("m3")), "psnr"), "m1")
    # One comparison alone, since the next model is bicubic too. Among them three with bicubic and two of
    # neighbours; the third neighbour is bicubic again.
    assert among.p_holm == pytest.approx(5 * alone.p_holm)


def bests(table: pd.DataFrame, **options: Any) -> list[str]:
    return [row.run.model for row in leaderboard(table, "psnr", **options) if row.best]


@pytest.mark.slow
def test_best_needs_a_paired_test_against_every_other_model() -> None:
    base = rows("bicubic", float, range(40))
    clear = rows("clear", lambda i: i + 1 + noise(1)[i], range(40))
    close = rows("close", lambda i: i + 1 + noise(4)[i], range(40))
    assert bests(frame(base, clear)) == ["clear"]
    assert bests(frame(base, clear, close)) == []
    assert bests(frame(base)) == []


@pytest.mark.slow
def test_best_follows_the_direction() -> None:
    table = frame(rows("bicubic", float, range(40)), rows("m", lambda i: i + 1 + noise(1)[i], range(40)))
    assert bests(table, direction="lower") == ["bicubic"]
    assert bests(table, direction="none") == []
    assert models(leaderboard(table, "psnr", direction="lower")) == ["bicubic", "m"]
    assert models(leaderboard(table, "psnr")) == ["m", "bicubic"]


@pytest.mark.slow
def test_leaking_variants_and_the_noise_ceiling_are_never_best_and_spoil_nobodys_rank() -> None:
    table = frame(
        rows("bicubic", float, range(40)),
        rows("m", lambda i: i + 1 + noise(1)[i], range(40)),
        rows("csm_sr", lambda i: i + 9.0, range(40), variant="oracle"),
        rows("noise_ceiling", lambda i: i + 19.0, range(40)),
    )
    assert bests(table, unranked=[("csm_sr", "oracle")]) == ["m"]
    found = leaderboard(table, "psnr", unranked=[("csm_sr", "oracle")])
    assert [row.ranked for row in found] == [False, False, True, True]


@pytest.mark.slow
def test_seeds_of_one_model_do_not_compete_with_each_other() -> None:
    table = frame(
        rows("bicubic", float, range(40)),
        rows("m", lambda i: i + 1.00 + noise(1)[i], range(40), seed=0, weights="aa"),
        rows("m", lambda i: i + 1.01 + noise(2)[i], range(40), seed=1, weights="bb"),
    )
    assert bests(table) == ["m"]


@pytest.mark.slow
def test_missing_values_are_left_out_counted_and_explained() -> None:
    good = rows("m", lambda i: i + 1 + noise(1)[i], range(40))
    for row in good[:3]:
        row.update(value=float("nan"), reason="too small")
    table = frame(rows("bicubic", float, range(40)), good)
    found = row_of(leaderboard(table, "psnr"), "m")
    assert found.n_images == 37 and "scored on 37 of 40 images" in found.note
    assert not found.best  # the leader must be scored on every image
    assert found.diff == pytest.approx(1.0, abs=0.05)
    assert found.reason == "too small (3 images)"


def test_a_model_without_any_value_stands_last_without_numbers() -> None:
    failed = rows("m", lambda i: float("nan"), range(20), reason="weights missing")
    found = leaderboard(frame(rows("bicubic", float, range(20)), failed), "psnr")
    assert models(found) == ["bicubic", "m"]
    assert (
        np.isnan(found[1].mean)
        and found[1].n_images == 0
        and found[1].reason == "weights missing (20 images)"
    )


@pytest.mark.slow
def test_one_group_has_no_interval_and_says_why() -> None:
    found = row_of(leaderboard(frame(rows("m", float, range(2))), "psnr"), "m")
    assert np.isnan(found.low) and np.isnan(found.high)
    assert "at least 2 are needed" in found.note
    few = row_of(leaderboard(frame(rows("m", float, range(8))), "psnr"), "m")
    assert not np.isnan(few.low) and "only 4 groups" in few.note


@pytest.mark.parametrize("column", ["protocol", "dataset", "split", "degradation", "scale"])
def test_mixed_conditions_are_refused(column: str) -> None:
    table = frame(rows("bicubic", float), rows("m", float, **{column: 3 if column == "scale" else "other"}))
    with pytest.raises(SrbenchError, match=rf"mix 2 values of '{column}'.*Select one"):
        leaderboard(table, "psnr")


def test_two_states_of_a_dataset_are_refused() -> None:
    with_data = frame(rows("bicubic", float, data="aa"), rows("m", float, data="bb"))
    with pytest.raises(SrbenchError, match="mix 2 values of 'data'"):
        leaderboard(with_data, "psnr")
    moved = frame(rows("bicubic", float), rows("m", float, group="elsewhere"))
    with pytest.raises(SrbenchError, match="scored under two groups"):
        leaderboard(moved, "psnr")


def test_another_metric_of_another_protocol_does_not_disturb() -> None:
    table = frame(rows("bicubic", float), rows("bicubic", float, metric="ssim", protocol="other"))
    assert len(leaderboard(table, "psnr")) == 1


def test_properties_of_the_model_are_no_scores() -> None:
    cost = rows("m", lambda _: 1500.0, [0], image="", group="", category="", metric="params")
    assert leaderboard(frame(rows("m", float), cost), "params") == []
