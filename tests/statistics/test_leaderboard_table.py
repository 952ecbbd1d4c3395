"""What the leaderboard says beyond means: runner-up, verdicts, ranks, seeds, who is not ranked and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.statistics.bootstrap import cluster
from srbench.statistics.interval import mean_p
from srbench.statistics.leaderboard import ALONE, LeaderboardRow, leaderboard, to_frame
from srbench.statistics.paired_tests import holm
from srbench.statistics.score_matrix import duplicate_runs
from srbench.store import Run
from srbench.utils.errors import SrbenchError

IMAGES = 24


def rows(model: str, value: Callable[[int], float], **changes: Any) -> list[dict[str, Any]]:
    """One PSNR row an image, every image a group of its own, two categories."""
    shared = {"model": model, "variant": "v", "weights": "", "seed": -1, "dataset": "d", "data": "f"}
    shared |= {"split": "test", "degradation": "bicubic@1", "scale": 4, "metric": "psnr"}
    shared |= {"protocol": "sem-grey-1", "reason": ""}
    return [
        {
            **shared,
            "image": f"i{i:02}",
            "group": f"g{i:02}",
            "category": "ab"[i % 2],
            "value": value(i),
            **changes,
        }
        for i in range(IMAGES)
    ]


def gain(size: float, seed: int) -> Callable[[int], float]:
    """A value an image that spreads over the images, raised by ``size`` with a little noise."""
    noise = np.random.default_rng(seed).normal(0, 0.05, IMAGES)
    return lambda i: 20.0 + i + size + float(noise[i])


def frame(*parts: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame([row for part in parts for row in part])


def of(table: list[LeaderboardRow], model: str) -> LeaderboardRow:
    return next(row for row in table if row.run.model == model)


def models(table: list[LeaderboardRow]) -> list[str]:
    return [row.run.model for row in table]


@pytest.fixture
def three() -> pd.DataFrame:
    return frame(rows("bicubic", gain(0, 0)), rows("good", gain(1, 1)), rows("close", gain(0.97, 2)))


@pytest.mark.slow
def test_every_ranked_row_is_compared_with_the_next(three: pd.DataFrame) -> None:
    table = leaderboard(three, "psnr")
    assert models(table) == ["good", "close", "bicubic"]
    assert [row.next for row in table] == ["close:v", "bicubic:v", ""]
    first, _, last = table
    assert (first.verdict, first.verdict_next) == ("better", "equivalent")
    assert last.verdict_next == ""
    assert not any(row.best for row in table)  # equivalent to the runner-up, so nobody is best


@pytest.mark.slow
def test_holm_counts_every_different_comparison_once(three: pd.DataFrame) -> None:
    table = leaderboard(three, "psnr")
    values = {model: part.set_index("image")["value"] for model, part in three.groupby("model")}
    # Each with bicubic, and good with close; close with its next is the pair with bicubic again.
    pairs = (("good", "bicubic"), ("close", "bicubic"), ("good", "close"))
    names, kinds = [f"g{i:02}" for i in range(IMAGES)], ["ab"[i % 2] for i in range(IMAGES)]
    differences = [(values[a] - values[b]).to_numpy() for a, b in pairs]
    adjusted = holm([mean_p(cluster(difference, names, kinds)) for difference in differences])
    assert [of(table, model).p_holm for model in ("good", "close")] == pytest.approx(adjusted[:2])


@pytest.mark.slow
def test_the_margin_decides_and_can_be_chosen(three: pd.DataFrame) -> None:
    assert of(leaderboard(three, "psnr", margin=2.0), "good").verdict == "equivalent"
    edge = float(of(leaderboard(three, "psnr"), "good").diff)
    assert of(leaderboard(three, "psnr", margin=edge), "good").verdict == "undecided"
    pair = frame(rows("bicubic", gain(0, 0)), rows("good", gain(0.15, 1)))
    assert of(leaderboard(pair, "psnr", margin=0.0), "good").best
    assert of(leaderboard(pair, "psnr"), "good").best
    assert not of(leaderboard(pair, "psnr", margin=0.14), "good").best
    with pytest.raises(SrbenchError, match="margin"):
        leaderboard(pair, "psnr", margin=-1.0)


@pytest.mark.slow
def test_a_lower_metric_turns_everything_round(three: pd.DataFrame) -> None:
    table = leaderboard(three, "psnr", direction="lower")
    assert models(table) == ["bicubic", "close", "good"]
    assert [row.rank for row in table] == [1.0, 2.0, 3.0]
    assert of(table, "good").verdict == "worse"
    assert of(table, "bicubic").best and of(table, "bicubic").verdict_next == "better"


@pytest.mark.slow
def test_a_metric_without_a_better_side_has_no_ranks_and_only_equivalence(three: pd.DataFrame) -> None:
    table = leaderboard(three, "psnr", direction="none")
    assert all(np.isnan(row.rank) and not row.best and not row.next for row in table)
    assert of(table, "good").verdict == ""
    wide = leaderboard(three, "psnr", direction="none", margin=5.0)
    assert of(wide, "good").verdict == "equivalent"


@pytest.mark.slow
def test_what_lacks_an_image_is_shown_but_not_ranked() -> None:
    short = [row for row in rows("short", gain(9, 3)) if row["image"] >= "i04"]
    table = leaderboard(frame(rows("bicubic", gain(0, 0)), rows("m", gain(1, 1)), short), "psnr")
    found = of(table, "short")
    assert not found.ranked and np.isnan(found.rank) and "scored on 20 of 24 images, not ranked" in found.note
    assert found.mean > of(table, "m").mean  # shown where its mean puts it
    assert found.diff == pytest.approx(9, abs=0.1)  # on the common images
    assert of(table, "m").best and of(table, "m").rank == 1.0
    assert of(table, "m").next == "bicubic:v"


@pytest.mark.slow
def test_an_image_without_a_value_for_anybody_is_nobodys_omission() -> None:
    both = [rows("bicubic", gain(0, 0)), rows("m", gain(1, 1))]
    for part in both:
        part[0].update(value=float("nan"), reason="no geometry")
    ceiling = rows("noise_ceiling", gain(5, 2))
    table = leaderboard(frame(*both, ceiling), "psnr")
    assert of(table, "m").ranked and "scored on" not in of(table, "m").note
    assert not of(table, "noise_ceiling").ranked


@pytest.mark.slow
def test_one_output_under_two_names_is_flagged() -> None:
    table = frame(rows("bicubic", gain(0, 0)), rows("copy", gain(0, 0)), rows("m", gain(1, 1)))
    found = leaderboard(table, "psnr")
    assert "the same scores as bicubic:v" in of(found, "copy").note
    assert "same scores" not in of(found, "m").note + of(found, "bicubic").note
    other = rows("bicubic", gain(0, 0), metric="ssim") + rows("copy", gain(0, 7), metric="ssim")
    assert duplicate_runs(pd.concat([table, frame(other)])) == {}  # another metric tells them apart


@pytest.mark.slow
def test_counts_that_agree_are_no_evidence_of_one_output() -> None:
    counts = frame(rows("a", lambda i: float(i % 3)), rows("b", lambda i: float(i % 3)))
    assert duplicate_runs(counts) == {}
    assert duplicate_runs(frame(rows("a", gain(0, 0)), rows("b", gain(0, 0)))) == {
        Run("b", "v", "", -1): Run("a", "v", "", -1)
    }


def seeded(spread: float, count: int) -> tuple[pd.DataFrame, dict[Run, str]]:
    shifts = np.linspace(-spread, spread, count)
    parts = [rows("m", gain(1 + shifts[s], s), seed=s, weights=f"{s}" * 64) for s in range(count)]
    trainings = {Run("m", "v", f"{s}" * 64, s): "paper" for s in range(count)}
    return frame(rows("bicubic", gain(0, 9)), *parts), trainings


@pytest.mark.slow
def test_seeds_of_a_training_become_one_row() -> None:
    table, trainings = seeded(0.3, 3)
    assert len(leaderboard(table, "psnr")) == 4
    found = of(leaderboard(table, "psnr", trainings=trainings), "m")
    assert (found.run.seed, found.n_seeds, found.run.weights) == (-1, 3, "00000000+11111111+22222222")
    assert found.seed_sd == pytest.approx(0.3, abs=0.02)
    assert found.diff == pytest.approx(1.0, abs=0.03)
    # The seeds' spread, SD / sqrt 3 = 0.17 with two degrees of freedom, is what is uncertain: 2 x 4.3 x 0.17.
    assert found.diff_high - found.diff_low == pytest.approx(1.49, abs=0.15)


@pytest.mark.slow
def test_two_seeds_are_averaged_and_not_resampled() -> None:
    table, trainings = seeded(0.3, 2)
    found = of(leaderboard(table, "psnr", trainings=trainings), "m")
    assert found.n_seeds == 2 and found.seed_sd == pytest.approx(0.42, abs=0.02)
    assert found.diff_high - found.diff_low < 0.1


@pytest.mark.slow
def test_ranks_come_with_intervals(three: pd.DataFrame) -> None:
    table = leaderboard(three, "psnr")
    assert [row.rank for row in table] == [1.0, 2.0, 3.0]
    last = of(table, "bicubic")
    assert (last.rank_low, last.rank_high) == (3.0, 3.0)


def test_mixed_conditions_name_who_stands_where(three: pd.DataFrame) -> None:
    mixed = pd.concat([three, frame(rows("late", gain(0, 5), protocol="sem-grey-2"))])
    with pytest.raises(SrbenchError, match=r"sem-grey-1: bicubic, close, good; sem-grey-2: late"):
        leaderboard(mixed, "psnr")


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(
    sizes=st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=4),
    order=st.randoms(use_true_random=False),
    margin=st.floats(0.0, 0.3),
)
def test_properties_of_every_table(sizes: list[float], order: Any, margin: float) -> None:
    parts = [rows("bicubic", gain(0, 99))]
    parts += [rows(f"m{index}", gain(size, index)) for index, size in enumerate(sizes)]
    table = leaderboard(frame(*parts), "psnr", margin=margin, samples=300)
    shuffled = [row for part in parts for row in part]
    order.shuffle(shuffled)
    again = leaderboard(frame(shuffled), "psnr", margin=margin, samples=300)
    pd.testing.assert_frame_equal(to_frame(table), to_frame(again))
    assert all(row.rank_low <= row.rank <= row.rank_high for row in table)
    assert sum(row.best for row in table) <= 1
    for row in table:
        assert row.verdict != "equivalent" or -margin <= row.diff_low <= row.diff_high <= margin
        assert row.verdict != "better" or row.diff_low > margin
        assert not row.best or (row.verdict_next == "better" and row.rank == 1.0)


def test_a_category_with_a_single_group_is_named_in_the_note() -> None:
    def alone(part: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "category": "c" if row["image"] == "i00" else row["category"]} for row in part]

    parts = rows("bicubic", gain(0, 0)), rows("m", gain(1, 1))
    usual = of(leaderboard(frame(*parts), "psnr", samples=50), "m")
    table = leaderboard(frame(*map(alone, parts)), "psnr", samples=50)
    assert ALONE in of(table, "m").note and ALONE not in usual.note
    assert of(table, "m").high - of(table, "m").low > 2 * (usual.high - usual.low)
