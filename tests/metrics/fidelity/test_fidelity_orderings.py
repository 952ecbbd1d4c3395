"""What PSNR, SSIM, MS-SSIM and GMSD see and what they do not: the claims of docs/metrics.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from srbench.metrics import registry
from srbench.metrics.fidelity import gmsd, psnr, ssim

pytestmark = pytest.mark.slow


def score(metric: str, scene: Any, candidate: str) -> float:
    return registry.get(metric).compute(scene.case(candidate))


BLURS_AND_LIE = ("interpolated", "16 wrong particles", "strong blur")
PERFECT = [("psnr", 100.0), ("ssim", 1.0), ("ms_ssim", 1.0), ("gmsd", 0.0)]


@pytest.mark.parametrize(("metric", "best"), PERFECT)
def test_the_truth_is_perfect_and_the_scale_goes_downhill(metric: str, best: float, scene: Any) -> None:
    sign = -1.0 if registry.get(metric).direction == "lower" else 1.0
    falling = ["same", "mild blur", "strong blur", "sharp liar"]
    values = [sign * score(metric, scene, name) for name in falling]
    assert values[0] == pytest.approx(sign * best, abs=1e-9)
    assert values == sorted(values, reverse=True) and len(set(values)) == len(values)


def test_a_liar_that_looks_sharp_is_worse_than_honest_interpolation(scene: Any) -> None:
    for metric in ("psnr", "ssim", "ms_ssim"):
        assert score(metric, scene, "sharp liar") < score(metric, scene, "interpolated")
    assert score("gmsd", scene, "sharp liar") > score("gmsd", scene, "interpolated")


def test_ssim_prefers_sixteen_wrong_particles_to_a_shift_and_to_interpolation(scene: Any) -> None:
    wrong = score("ssim", scene, "16 wrong particles")
    assert wrong > 0.98
    assert wrong > score("ssim", scene, "mild blur") - 0.01
    for honest in ("one pixel shift", "interpolated"):
        assert wrong > score("ssim", scene, honest) + 0.03


def test_psnr_takes_sixteen_wrong_particles_for_a_shift(scene: Any) -> None:
    wrong = score("psnr", scene, "16 wrong particles")
    assert score("psnr", scene, "strong blur") < wrong < score("psnr", scene, "one pixel shift") < wrong + 2.0


@pytest.mark.parametrize("metric", ["ms_ssim", "gmsd"])
def test_two_metrics_see_them_but_take_them_for_a_blur(metric: str, scene: Any) -> None:
    """Worse than interpolation, better than a blur of 2.5 pixels: the number does not say which it was."""
    wrong = score(metric, scene, "16 wrong particles")
    assert wrong == sorted(score(metric, scene, name) for name in BLURS_AND_LIE)[1]
    if metric == "ms_ssim":
        assert wrong > 0.94


def test_ms_ssim_forgives_what_ssim_punishes_in_the_finest_pixels(scene: Any) -> None:
    for name in ("noisy", "interpolated", "strong blur"):
        assert 1.0 - score("ms_ssim", scene, name) < 0.55 * (1.0 - score("ssim", scene, name))


def test_gmsd_prefers_sixteen_wrong_particles_to_all_of_them_one_pixel_larger(scene: Any) -> None:
    assert score("gmsd", scene, "16 wrong particles") < score("gmsd", scene, "dilated")


def test_gmsd_and_ssim_hardly_see_a_uniform_offset_psnr_does(scene: Any) -> None:
    assert score("gmsd", scene, "brighter") < 0.005
    assert score("ssim", scene, "brighter") > 0.98 and score("ms_ssim", scene, "brighter") > 0.995
    assert score("psnr", scene, "brighter") < score("psnr", scene, "strong blur")


def test_gmsd_does_not_see_the_finest_octave() -> None:
    """A grid of pixels, every second one brighter, vanishes in the mean over 2 x 2."""
    hr = np.full((64, 64), 0.5)
    rows, columns = np.mgrid[:64, :64]
    grid = 0.3 * (1.0 - 2.0 * ((rows + columns) % 2))
    assert gmsd(hr + grid, hr) == pytest.approx(0.0, abs=1e-9)
    assert ssim(hr + grid, hr) < 0.1
    assert psnr(hr + grid, hr) < 11.0


def test_gmsd_does_not_see_that_all_edges_lost_the_same_share() -> None:
    """A slope at two fifths of its steepness: every pixel equally wrong, the deviation only the border's."""
    columns = np.tile(np.arange(256.0), (256, 1))
    slope = columns / 320.0
    uneven = np.where(columns < 128, 0.4 * slope, slope)
    assert gmsd(0.4 * slope, slope) < 0.5 * gmsd(uneven, slope)
    assert ssim(0.4 * slope, slope) < 0.8


def test_metrics_of_the_file_are_listed_behind_psnr_and_ssim() -> None:
    names = [metric.name for metric in registry.list_metrics() if metric.family == "fidelity"]
    assert names[:2] == ["psnr", "ssim"] and {"ms_ssim", "gmsd"} < set(names)
    for name in ("ms_ssim", "gmsd", "lr_chi2"):
        assert registry.get(name).default and registry.get(name).id == name
    assert registry.get("psnr").id == "psnr" and registry.get("ssim").id == "ssim"
