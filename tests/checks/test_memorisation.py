"""The guard of undecidable twins: fair to whoever guesses, hard on whoever knows, by however little."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from srbench import datasets
from srbench.checks.memorisation import (
    BY_CHANCE,
    TwinWatch,
    by_chance,
    leaning,
    same_lr,
    scenes_needed,
)
from srbench.datasets import degrade
from srbench.datasets.synthetic.suite import SyntheticScene

SCALE = 4
Pixels8 = NDArray[np.uint8]
Scenes = tuple[tuple[Pixels8, Pixels8], ...]
Enlarge = Callable[..., Pixels8]


def watched(scenes: Scenes, results: list[Pixels8]) -> TwinWatch:
    watch = TwinWatch(SCALE, degrade.get("bicubic"))
    for number, (sr, (hr, twin)) in enumerate(zip(results, scenes, strict=True)):
        watch.look(f"scene {number}", sr, hr, twin)
    return watch


def test_hr_itself_its_twin_and_their_mean_lie_where_they_must(
    scenes: Scenes,
) -> None:
    hr, twin = scenes[0]
    assert leaning(hr, hr, twin, SCALE) == 1.0
    assert leaning(twin, hr, twin, SCALE) == -1.0
    assert leaning(((hr.astype(int) + twin) // 2).astype(np.uint8), hr, twin, SCALE) == pytest.approx(
        0, abs=1e-9
    )
    assert leaning(hr, hr, hr, SCALE) == 0.0


@given(st.integers(0, 2**32 - 1))
def test_twins_that_change_places_change_the_sign_and_nothing_else(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sr, hr, twin = generator.integers(0, 256, (3, 24, 24), dtype=np.uint8)
    assert leaning(sr, hr, twin, SCALE) == -leaning(sr, twin, hr, SCALE)


def test_the_right_phase_is_found_and_the_twin_itself_is_not_held_against_a_model(
    scenes: Scenes,
) -> None:
    found = watched(scenes, [hr for hr, _ in scenes]).finding()
    assert found.status == "failed"
    assert "20 of 20 scenes" in found.detail
    assert watched(scenes, [twin for _, twin in scenes]).finding().status == "passed"


@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_interpolations_guess(kernel: str, scenes: Scenes, to_lr: Enlarge, enlarge: Enlarge) -> None:
    watch = watched(scenes, [enlarge(to_lr(hr), SCALE, kernel) for hr, _ in scenes])
    assert watch.finding().status == "passed"
    assert 3 <= sum(one > 0 for one in watch.leanings.values()) <= 17


def test_a_share_of_hr_in_the_output_is_found(scenes: Scenes, to_lr: Enlarge, enlarge: Enlarge) -> None:
    def mixed(share: float) -> TwinWatch:
        honest = [enlarge(to_lr(hr)) for hr, _ in scenes]
        parts = zip(honest, scenes, strict=True)
        return watched(
            scenes, [np.rint(sr + share * (hr - 1.0 * sr)).astype(np.uint8) for sr, (hr, _) in parts]
        )

    assert mixed(0.0).finding().status == "passed"
    assert mixed(0.1).finding().status == "failed"
    # Over 20 scenes 5 % shows, and is not beyond all chance; over the 60 of sem_synthetic it is (1 in 1e9).
    assert by_chance(list(mixed(0.05).leanings.values())) < 0.05


@pytest.mark.slow
def test_a_model_that_draws_one_phase_with_confidence_is_as_right_as_the_published_lots() -> None:
    suite = datasets.open("sem_synthetic:small")
    truths = [suite.truth(image.id) for image in suite.split("test")]
    for scale in (2, 3, 4):
        patches = [patch for truth in truths if truth for patch in truth["undecidable"]]
        lots = [(patch["axis"], patch["phase"]) for patch in patches if patch["scale"] == scale]
        assert len(lots) == 20
        for rows, columns in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            taste = {"rows": rows, "columns": columns}
            assert by_chance([float(taste[axis] * phase) for axis, phase in lots]) > 0.05


def test_two_thousand_honest_guessers_are_hardly_ever_accused() -> None:
    # Every guesser draws lamellae of full contrast in phases by lot: |leaning| 1, right by chance alone.
    generator = np.random.default_rng(3)
    hr, twin = np.full((8, 8), 120, np.uint8), np.full((8, 8), 120, np.uint8)
    hr[::2], twin[1::2] = 130, 130
    accused = 0
    for _ in range(2000):
        watch = TwinWatch(SCALE)
        for scene, right in enumerate(generator.random(20) < 0.5):
            watch.look(str(scene), hr if right else twin, hr, twin)
        accused += watch.finding().status == "failed"
    # 18 of 20 happens by chance in 0.02 % of cases and is let pass; 19 in 0.002 %, which is not.
    assert accused <= 1
    assert by_chance([1.0] * 19 + [-1.0]) < BY_CHANCE < by_chance([1.0] * 18 + [-1.0] * 2)


def test_honest_leanings_of_all_sizes_are_below_the_limit_as_rarely_as_it_says() -> None:
    generator = np.random.default_rng(11)
    for scenes in (14, 40):
        leanings = generator.standard_cauchy((1000, scenes))
        chances = np.array([by_chance(list(one)) for one in leanings])
        assert (chances < BY_CHANCE).sum() <= 1
        # Not only rare: as frequent at every limit as that limit says, up to the steps of small samples.
        for limit in (0.5, 0.1):
            assert 0.8 * limit < (chances < limit).mean() < limit + 0.03


@given(st.integers(1, 60), st.data())
def test_of_equal_leanings_it_is_the_binomial_test(scenes: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, scenes))
    leanings = [0.3] * right + [-0.3] * (scenes - right)
    assert by_chance(leanings) == pytest.approx(float(stats.binom.sf(right - 1, scenes, 0.5)), rel=1e-9)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=30, unique=True), st.randoms())
def test_of_different_leanings_it_is_scipys_exact_test(sizes: list[int], lots: random.Random) -> None:
    leanings = [size * lots.choice((-1.0, 1.0)) for size in sizes]
    known = stats.wilcoxon(leanings, alternative="greater", method="exact")
    assert by_chance(leanings) == pytest.approx(float(known.pvalue), rel=1e-9)


def test_knowing_some_of_the_scenes_is_enough_though_the_others_go_wrong_half_of_the_time() -> None:
    knowing = [1.0 - 0.01 * scene for scene in range(15)]
    guessing = [0.03, -0.05, 0.02, -0.04, -0.06]
    assert by_chance(knowing + guessing) < BY_CHANCE < stats.binom.sf(16, 20, 0.5)
    assert by_chance([-one for one in knowing] + guessing) > 0.99


def test_fewer_than_fourteen_scenes_prove_nothing() -> None:
    assert scenes_needed() == 14 == math.ceil(-math.log2(BY_CHANCE))
    hr, twin = np.full((8, 8), 100, np.uint8), np.full((8, 8), 110, np.uint8)
    watch = TwinWatch(SCALE)
    for scene in range(13):
        watch.look(str(scene), hr, hr, twin)
    assert watch.finding().status == "unchecked"
    watch.look("13", hr, hr, twin)
    assert watch.finding().status == "failed"


def test_who_takes_no_side_is_neither_right_nor_wrong() -> None:
    hr, twin = np.full((8, 8), 120, np.uint8), np.full((8, 8), 120, np.uint8)
    hr[::2], twin[1::2] = 130, 130
    watch = TwinWatch(SCALE)
    for scene in range(40):
        watch.look(f"blank {scene}", np.full((8, 8), 90, np.uint8), hr, twin)
    found = watch.finding()
    assert (found.status, "in 0 scenes" in found.detail) == ("unchecked", True)
    for scene in range(14):
        watch.look(f"known {scene}", hr, hr, twin)
    assert "14 of 14" in watch.finding().detail


def test_twins_count_only_where_their_lr_is_one(
    scenes: Scenes,
) -> None:
    hr, twin = scenes[0]
    for name in ("bicubic", "area"):
        assert TwinWatch.valid_for(degrade.get(name))
        assert same_lr(hr, twin, degrade.get(name), SCALE)
    noisy = degrade.get("sem_pixel")
    assert not TwinWatch.valid_for(noisy)
    watch = TwinWatch(SCALE, noisy)
    watch.look("a", hr, hr, twin)
    assert (watch.finding().status, "sem_pixel" in watch.finding().detail) == ("unchecked", True)


def test_a_twin_whose_lr_differs_is_noticed_and_nobody_accused() -> None:
    image = SyntheticScene("films", 0, 96).pixels()
    other = image.copy()
    other[40:48, 40:48] += 30
    watch = TwinWatch(SCALE, degrade.get("bicubic"))
    for scene in range(20):
        watch.look(f"scene {scene}", image, image, other)
    found = watch.finding()
    assert (found.status, "scene 0 differs" in found.detail) == ("unchecked", True)
