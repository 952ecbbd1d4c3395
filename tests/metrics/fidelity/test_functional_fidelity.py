"""PSNR and chi square of planes: closed forms and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srbench.metrics.consistency import chi_square
from srbench.metrics.fidelity import CAP_DB, gmsd, ms_ssim, psnr, ssim
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Plane


def plane(height: int = 20, width: int = 31, seed: int = 0) -> Plane:
    return np.random.default_rng(seed).random((height, width))


@pytest.mark.slow
@given(error=st.floats(1e-4, 1.0), data_range=st.sampled_from([1.0, 219.0 / 255.0, 255.0]))
def test_psnr_of_a_constant_error_is_its_logarithm(error: float, data_range: float) -> None:
    hr = plane()
    expected = -20.0 * math.log10(error / data_range)
    assert psnr(hr + error, hr, data_range) == pytest.approx(min(expected, CAP_DB), abs=1e-9)


def test_chi_square_of_noise_with_the_stated_variance_is_one() -> None:
    expected = plane(64, 64)
    variance = 0.001 + 0.01 * expected
    noise = np.random.default_rng(1).normal(size=expected.shape)
    value = chi_square(expected, expected + np.sqrt(variance) * noise, variance)
    assert value == pytest.approx(1.0, abs=5.0 * math.sqrt(2.0 / 64**2))


def test_chi_square_of_copied_noise_is_zero_and_of_a_known_error_its_square() -> None:
    lr = plane()
    variance = np.full_like(lr, 0.04)
    assert chi_square(lr, lr, variance) == 0.0
    assert chi_square(lr + 0.6, lr, variance) == pytest.approx(9.0, abs=1e-9)


def test_inputs_are_left_as_they_were() -> None:
    sr, hr, variance = plane(), plane(seed=1), plane(seed=2) + 0.1
    before = [array.copy() for array in (sr, hr, variance)]
    psnr(sr, hr)
    ssim(sr, hr)
    gmsd(sr, hr)
    chi_square(sr, hr, variance)
    assert all(np.array_equal(*pair) for pair in zip(before, (sr, hr, variance), strict=True))


@pytest.mark.parametrize("function", [psnr, ssim, ms_ssim, gmsd])
@pytest.mark.parametrize(
    ("sr", "hr", "message"),
    [
        (np.zeros((4, 4)), np.zeros((4, 5)), r"one shape, found \(4, 4\) and \(4, 5\)"),
        (np.zeros((4, 4, 3)), np.zeros((4, 4, 3)), "luma"),
        (np.zeros((0, 4)), np.zeros((0, 4)), r"\(H, W\)"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), "255 for uint8"),
    ],
)
def test_what_is_no_pair_is_refused(function: Callable[..., float], sr: Any, hr: Any, message: str) -> None:
    with pytest.raises(SrbenchError, match=message):
        function(sr, hr)


@pytest.mark.parametrize("function", [psnr, ssim, gmsd])
def test_integers_with_their_range_are_what_floats_are(function: Callable[..., float]) -> None:
    sr, hr = (np.random.default_rng(seed).integers(0, 256, (40, 50), np.uint8) for seed in (0, 1))
    assert function(sr, hr, 255) == pytest.approx(function(sr / 255.0, hr / 255.0), abs=1e-10)
    assert function((sr / 255).tolist(), hr / 255.0) == pytest.approx(function(sr, hr, 255), abs=1e-10)


def test_a_variance_of_zero_is_refused() -> None:
    with pytest.raises(SrbenchError, match="variances above 0"):
        chi_square(plane(), plane(), np.zeros((20, 31)))
    with pytest.raises(SrbenchError, match="one shape"):
        chi_square(plane(), plane(), plane(21))
