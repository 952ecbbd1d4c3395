"""LR-PSNR without counting noise, chi square with it: never both, and neither rewards copying noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from srbench.datasets import degrade
from srbench.datasets.degrade import Degradation, LrPosition, noise_key, quantise
from srbench.evaluation.scorer import measure
from srbench.metrics import registry
from srbench.metrics.consistency import ROUNDING_VARIANCE
from srbench.metrics.protocol import named
from srbench.metrics.registry import Case, MetricUnavailable
from srbench.utils.image import Plane


def eight_bits(plane: Plane) -> np.ndarray:
    return np.round(np.clip(plane, 0.0, 1.0) * 255.0).astype(np.uint8)


def apply(function: Callable[[Tensor], Tensor], plane: Plane) -> Plane:
    result: Plane = function(torch.from_numpy(np.ascontiguousarray(plane))[None, None])[0, 0].numpy()
    return result


def recording(made: Degradation, hr: Plane, scale: int, key: int = 0) -> Plane:
    place = LrPosition.whole(noise_key("scene", key))
    return apply(lambda plane: quantise(made(plane, scale, place)), hr)


def case(
    name: str, sr: Plane, hr: Plane, scale: int = 4, protocol: str = "sem-grey", lr: Plane | None = None
) -> Case:
    made = degrade.get(name)
    noise, place = made.noise, LrPosition.whole(noise_key("scene", 0))

    def variance(plane: Plane) -> Plane:
        rounding = np.full_like(plane, ROUNDING_VARIANCE)
        return rounding if noise is None else apply(lambda one: noise.spread(one, place), plane) + rounding

    return named(protocol).case(
        eight_bits(sr),
        eight_bits(hr),
        eight_bits(recording(made, hr, scale) if lr is None else lr),
        scale,
        degrade=lambda plane: apply(lambda hr: made.expected(hr, scale, place), plane),
        lr_variance=variance,
    )


def chi(one: Case) -> float:
    return registry.get("lr_chi2").compute(one)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("name", ["sem_pixel:dose=20", "sem_pixel", "sem_defocus:dose=150"])
def test_chi_square_of_the_truth_is_one_in_dark_scenes_too(name: str, scale: int, scene: Any) -> None:
    """The darker one is black over a third of its area, where half of the noise is cut off."""
    for hr in (scene.truth, np.clip(scene.truth - 64.0 / 255.0, 0.0, 1.0)):
        one = case(name, hr, hr, scale)
        # Clipped noise has heavier tails than a Gaussian: one pixel scatters by up to 2.5, not by 1.41.
        assert chi(one) == pytest.approx(1.0, abs=4 * 2.5 / math.sqrt(one.lr.size))


@pytest.mark.slow
def test_the_truth_is_one_whatever_the_luma_of_the_protocol(scene: Any) -> None:
    values = [chi(case("sem_pixel", scene.truth, scene.truth, protocol=p)) for p in ("sem-grey", "matlab-y")]
    assert values[1] == pytest.approx(values[0], rel=1e-4)


@pytest.mark.slow
def test_copied_noise_is_far_below_one_and_a_contradiction_above(scene: Any) -> None:
    hr = scene.truth
    lr = recording(degrade.get("sem_pixel:dose=150"), hr, 4)
    enlarged = lr.repeat(4, 0).repeat(4, 1)
    truth = chi(case("sem_pixel:dose=150", hr, hr))
    assert chi(case("sem_pixel:dose=150", enlarged, hr)) < 0.5 * truth
    assert chi(case("sem_pixel:dose=150", scene.candidates["16 wrong particles"], hr)) > 1.2 * truth
    assert chi(case("sem_pixel:dose=150", scene.candidates["brighter"], hr)) > 1.3 * truth


def test_at_magnification_one_the_noisy_image_itself_has_chi_square_zero(scene: Any) -> None:
    """The finding behind it: LR-PSNR would give it 100 dB, and a perfect restoration far less."""
    name, hr = "sem_lowdose:dose=20", scene.truth[:128, :128]
    noisy = recording(degrade.get(name), hr, 1)
    copied, perfect = (case(name, sr, hr, 1, lr=noisy) for sr in (noisy, hr))
    assert chi(copied) == 0.0
    assert chi(perfect) == pytest.approx(1.0, abs=0.06)
    assert 0.1 < chi(case(name, ndimage.gaussian_filter(noisy, 0.6), hr, 1, lr=noisy)) < 0.9
    assert all(math.isnan(measure(registry.get("lr_psnr"), one)[0]) for one in (copied, perfect))


@pytest.mark.slow
def test_a_result_cannot_buy_forgiveness_by_being_bright(scene: Any) -> None:
    """Counting noise grows with the grey level: at the result, too bright would weigh less than too dark."""
    hr = np.clip(scene.truth + 0.1, 0.15, 0.7)
    darker, brighter = (chi(case("sem_pixel:dose=20", hr + by, hr)) for by in (-0.12, 0.12))
    assert darker == pytest.approx(brighter, rel=0.1)


@pytest.mark.parametrize(
    ("name", "scale", "there", "reason"),
    [
        ("bicubic", 4, "lr_psnr", r"holds no counting noise; see lr_psnr"),
        ("sem_pixel:dose=inf", 2, "lr_psnr", r"holds no counting noise; see lr_psnr"),
        ("sem_pixel", 4, "lr_chi2", r"holds counting noise, .* reward copying it; see lr_chi2"),
        ("sem_pixel:dose=100000", 4, "lr_chi2", r"holds counting noise"),
        ("sem_lowdose", 1, "lr_chi2", r"holds counting noise"),
    ],
)
@pytest.mark.parametrize("protocol", ["sem-grey", "matlab-y"])
def test_every_lr_image_has_exactly_one_of_the_two(
    name: str, scale: int, there: str, reason: str, protocol: str, scene: Any
) -> None:
    hr = scene.truth[:128, :128]
    one = case(name, hr, hr, scale, protocol)
    (missing,) = {"lr_psnr", "lr_chi2"} - {there}
    assert math.isfinite(registry.get(there).compute(one))
    with pytest.raises(MetricUnavailable, match=reason):
        registry.get(missing).compute(one)


def test_without_noise_chi_square_would_be_lr_psnr_in_other_units(scene: Any) -> None:
    one = case("bicubic", scene.candidates["mild blur"], scene.truth)
    assert one.degrade is not None
    decibel = registry.get("lr_psnr").compute(one)
    chi_square = np.mean((one.degrade(one.full_sr) - one.lr) ** 2) / ROUNDING_VARIANCE
    assert chi_square == pytest.approx(10.0 ** ((58.92 - decibel) / 10.0), rel=1e-3)


def test_where_the_noise_is_unknown_lr_psnr_stays_and_chi_square_says_why(scene: Any) -> None:
    one = case("bicubic", scene.truth, scene.truth)
    unknown = Case(one.sr, one.hr, one.full_sr, one.full_hr, one.lr, 4, degrade=one.degrade)
    assert registry.get("lr_psnr").compute(unknown) > 50.0
    with pytest.raises(MetricUnavailable, match="is not known"):
        registry.get("lr_chi2").compute(unknown)
    nothing = Case(one.sr, one.hr, one.full_sr, one.full_hr, one.lr, 4)
    for name in ("lr_psnr", "lr_chi2"):
        with pytest.raises(MetricUnavailable, match="degradation"):
            registry.get(name).compute(nothing)


def test_degrading_is_shared_by_the_metrics_of_a_case(scene: Any) -> None:
    one = case("sem_pixel", scene.truth[:128, :128], scene.truth[:128, :128])
    calls: list[int] = []
    known = one.degrade
    assert known is not None
    counted = Case(
        one.sr,
        one.hr,
        one.full_sr,
        one.full_hr,
        one.lr,
        4,
        degrade=lambda plane: (calls.append(1), known(plane))[1],
        lr_variance=one.lr_variance,
    )
    for name in ("lr_psnr", "lr_chi2", "lr_chi2"):
        measure(registry.get(name), counted)
    assert len(calls) == 2
