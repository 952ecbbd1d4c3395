"""The test of two phases with one LR: fair to whoever guesses, hard on whoever knows, by however little."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from srbench import datasets
from srbench.checks.memorisation import (
    BY_CHANCE,
    MemorisationTest,
    by_chance,
    preference,
    same_lr,
    scenes_needed,
)
from srbench.datasets import degrade

SCALE = 4
Pixels8 = NDArray[np.uint8]
Scenes = tuple[tuple[Pixels8, Pixels8], ...]
Enlarge = Callable[..., Pixels8]


def watched(scenes: Scenes, results: list[Pixels8]) -> MemorisationTest:
    test = MemorisationTest(SCALE, degrade.get("bicubic"))
    for number, (sr, (hr, opposite)) in enumerate(zip(results, scenes, strict=True)):
        test.add(f"scene {number}", sr, hr, opposite)
    return test


@pytest.mark.slow
def test_hr_itself_its_twin_and_their_mean_lie_where_they_must(
    scenes: Scenes,
) -> None:
    hr, opposite = scenes[0]
    assert preference(hr, hr, opposite, SCALE) == 1.0
    assert preference(opposite, hr, opposite, SCALE) == -1.0
    assert preference(
        ((hr.astype(int) + opposite) // 2).astype(np.uint8), hr, opposite, SCALE
    ) == pytest.approx(0, abs=1e-9)
    assert preference(hr, hr, hr, SCALE) == 0.0


@pytest.mark.slow
@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_twins_that_change_places_change_the_sign_and_nothing_else(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sr, hr, opposite = generator.integers(0, 256, (3, 24, 24), dtype=np.uint8)
    assert preference(sr, hr, opposite, SCALE) == -preference(sr, opposite, hr, SCALE)


def test_the_right_phase_is_found_and_the_twin_itself_is_not_held_against_a_model(
    scenes: Scenes,
) -> None:
    found = watched(scenes, [hr for hr, _ in scenes]).result()
    assert found.status == "failed"
    assert "20 of 20 scenes" in found.detail
    assert watched(scenes, [opposite for _, opposite in scenes]).result().status == "passed"


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_interpolations_guess(kernel: str, scenes: Scenes, to_lr: Enlarge, enlarge: Enlarge) -> None:
    test = watched(scenes, [enlarge(to_lr(hr), SCALE, kernel) for hr, _ in scenes])
    assert test.result().status == "passed"
    assert 3 <= sum(one > 0 for one in test.preferences.values()) <= 17


@pytest.mark.slow
def test_a_share_of_hr_in_the_output_is_found(scenes: Scenes, to_lr: Enlarge, enlarge: Enlarge) -> None:
    def mixed(share: float) -> MemorisationTest:
        honest = [enlarge(to_lr(hr)) for hr, _ in scenes]
        parts = zip(honest, scenes, strict=True)
        return watched(
            scenes, [np.rint(sr + share * (hr - 1.0 * sr)).astype(np.uint8) for sr, (hr, _) in parts]
        )

    assert mixed(0.0).result().status == "passed"
    assert mixed(0.1).result().status == "failed"
    # Over 20 scenes 5 % shows, and is not beyond all chance; over the 60 of sem_synthetic it is (1 in 1e9).
    assert by_chance(list(mixed(0.05).preferences.values())) < 0.05


@pytest.mark.slow
def test_a_model_that_draws_one_phase_with_confidence_is_as_right_as_the_published_lots() -> None:
    suite = datasets.open("sem_synthetic:small")
    truths = [suite.truth(image.id) for image in suite.split("test")]
    for scale in (2, 3, 4):
        patches = [patch for truth in truths if truth for patch in truth["ambiguous"]]
        lots = [(patch["axis"], patch["phase"]) for patch in patches if patch["scale"] == scale]
        assert len(lots) == 20
        for rows, columns in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            constant = {"rows": rows, "columns": columns}
            assert by_chance([float(constant[axis] * phase) for axis, phase in lots]) > 0.05


@pytest.mark.slow
def test_of_honest_guessers_at_most_one_in_ten_thousand_is_accused() -> None:
    # A guesser draws lamellae of full contrast in phases by lot: |preference| 1, right by chance alone.
    hr, opposite = np.full((8, 8), 120, np.uint8), np.full((8, 8), 120, np.uint8)
    hr[::2], opposite[1::2] = 130, 130
    accused = []
    for right in range(21):
        test = MemorisationTest(SCALE)
        for scene in range(20):
            test.add(str(scene), hr if scene < right else opposite, hr, opposite)
        accused += [right] if test.result().status == "failed" else []
    # 18 of 20 happens by chance in 0.02 % of cases and is let pass; 19 in 0.002 %, which is not.
    assert accused == [19, 20]
    assert stats.binom.pmf(accused, 20, 0.5).sum() < BY_CHANCE < stats.binom.sf(17, 20, 0.5)


@pytest.mark.slow
def test_honest_leanings_of_all_sizes_are_below_the_limit_as_rarely_as_it_says() -> None:
    generator = np.random.default_rng(11)
    for scenes in (14, 40):
        preferences = generator.standard_cauchy((1000, scenes))
        chances = np.array([by_chance(list(one)) for one in preferences])
        assert (chances < BY_CHANCE).sum() <= 1
        # Not only rare: as frequent at every limit as that limit says, up to the steps of small samples.
        for limit in (0.5, 0.1):
            assert 0.8 * limit < (chances < limit).mean() < limit + 0.03


@pytest.mark.slow
@settings(max_examples=40)
@given(st.integers(1, 60), st.data())
def test_of_equal_leanings_it_is_the_binomial_test(scenes: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, scenes))
    preferences = [0.3] * right + [-0.3] * (scenes - right)
    assert by_chance(preferences) == pytest.approx(float(stats.binom.sf(right - 1, scenes, 0.5)), rel=1e-9)


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=30, unique=True), st.randoms())
def test_of_different_leanings_it_is_scipys_exact_test(sizes: list[int], lots: random.Random) -> None:
    preferences = [size * lots.choice((-1.0, 1.0)) for size in sizes]
    known = stats.wilcoxon(preferences, alternative="greater", method="exact")
    assert by_chance(preferences) == pytest.approx(float(known.pvalue), rel=1e-9)


def test_knowing_some_of_the_scenes_is_enough_though_the_others_go_wrong_half_of_the_time() -> None:
    knowing = [1.0 - 0.01 * scene for scene in range(15)]
    guessing = [0.03, -0.05, 0.02, -0.04, -0.06]
    assert by_chance(knowing + guessing) < BY_CHANCE < stats.binom.sf(16, 20, 0.5)
    assert by_chance([-one for one in knowing] + guessing) > 0.99


def test_fewer_than_fourteen_scenes_prove_nothing() -> None:
    assert scenes_needed() == 14 == math.ceil(-math.log2(BY_CHANCE))
    hr, opposite = np.full((8, 8), 100, np.uint8), np.full((8, 8), 110, np.uint8)
    test = MemorisationTest(SCALE)
    for scene in range(13):
        test.add(str(scene), hr, hr, opposite)
    assert test.result().status == "unchecked"
    test.add("13", hr, hr, opposite)
    assert test.result().status == "failed"


def test_who_takes_no_side_is_neither_right_nor_wrong() -> None:
    hr, opposite = np.full((8, 8), 120, np.uint8), np.full((8, 8), 120, np.uint8)
    hr[::2], opposite[1::2] = 130, 130
    test = MemorisationTest(SCALE)
    for scene in range(40):
        test.add(f"blank {scene}", np.full((8, 8), 90, np.uint8), hr, opposite)
    found = test.result()
    assert (found.status, "in 0 scenes" in found.detail) == ("unchecked", True)
    for scene in range(14):
        test.add(f"known {scene}", hr, hr, opposite)
    assert "14 of 14" in test.result().detail


def test_twins_count_only_where_their_lr_is_one(
    scenes: Scenes,
) -> None:
    hr, opposite = scenes[0]
    for name in ("bicubic", "area"):
        assert MemorisationTest.valid_for(degrade.get(name))
        assert same_lr(hr, opposite, degrade.get(name), SCALE)
    noisy = degrade.get("sem_pixel")
    assert not MemorisationTest.valid_for(noisy)
    test = MemorisationTest(SCALE, noisy)
    test.add("a", hr, hr, opposite)
    assert (test.result().status, "sem_pixel" in test.result().detail) == ("unchecked", True)


def test_a_twin_whose_lr_differs_is_noticed_and_nobody_accused() -> None:
    image = np.random.default_rng(0).integers(60, 190, (48, 48), dtype=np.uint8)
    other = image.copy()
    other[40:48, 40:48] += 30  # a square of four LR pixels
    test = MemorisationTest(SCALE, degrade.get("bicubic"))
    for scene in range(20):
        test.add(f"scene {scene}", image, image, other)
    found = test.result()
    assert (found.status, "scene 0 differs" in found.detail) == ("unchecked", True)
