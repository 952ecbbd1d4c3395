"""SSIM, MS-SSIM and GMSD: closed forms, other libraries' numbers, sizes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter
from skimage.metrics import structural_similarity

from srbench.metrics.fidelity import GMSD_CONSTANT, SCALE_WEIGHTS, gmsd, ms_ssim, psnr, ssim
from srbench.metrics.registry import MetricUnavailable
from srbench.models.losses.pixel import ssim as ssim_loss
from srbench.utils.image import Plane

Patterned = Callable[[int, int, float], tuple[Plane, Plane]]
EVERY = [ssim, ms_ssim, gmsd]

REFERENCES = {
    (192, 256, 20.0): (32.578492874038, 0.928920901488, 0.993271736122, 0.011292846049),
    (192, 256, 120.0): (17.120530384629, 0.281521783907, 0.852035027126, 0.124110746483),
    (176, 208, 60.0): (23.048221313594, 0.600703641355, 0.948779074283, 0.068006936002),
}
"""PSNR and SSIM by basicsr 1.4.2, MS-SSIM and GMSD by piq 0.8.0 in float64; SSIM also by
piq(downsample=False) and by scikit-image 0.26.0 without its padded border, all to the digits given.
torchmetrics 1.9.0 differs by at most 6.5e-6 in MS-SSIM (it takes the coarsest SSIM over its padding too),
pyiqa 0.1.16 by at most 4e-5 (it cuts off negative values pixel by pixel, not in the mean)."""

ODD = (177, 211, 60.0)
ODD_GMSD = 0.067632896464
ODD_MS_SSIM = {"piq": 0.948703049171, "torchmetrics": 0.948762165872, "pyiqa": 0.948701022103}
"""Sides that cannot be halved evenly: piq repeats the first row, torchmetrics drops the last, pyiqa adds
zeros all around. Wang's own code mirrors the last, as ours does."""


def smooth_plane(seed: int, side: int = 180) -> Plane:
    noise = np.random.default_rng(seed).random((side, side))
    return (uniform_filter(noise, 5) - 0.3) * 2.0


@pytest.mark.parametrize("which", REFERENCES)
def test_numbers_are_those_of_other_libraries(which: tuple[int, int, float], patterned: Patterned) -> None:
    sr, hr = patterned(*which)
    found = [function(sr, hr) for function in (psnr, ssim, ms_ssim, gmsd)]
    assert found == pytest.approx(REFERENCES[which], abs=1e-10)


def test_odd_sides_are_halved_as_the_authors_do(patterned: Patterned) -> None:
    sr, hr = patterned(*ODD)
    assert gmsd(sr, hr) == pytest.approx(ODD_GMSD, abs=1e-10)
    for other in ODD_MS_SSIM.values():
        assert 1e-6 < abs(ms_ssim(sr, hr) - other) < 5e-5


def test_ms_ssim_of_odd_sides_is_that_of_the_image_with_its_last_lines_mirrored(patterned: Patterned) -> None:
    """A loop over Wang's definition, with numpy and scikit-image alone."""
    sr, hr = patterned(*ODD)
    expected = 1.0
    x, y = sr.copy(), hr.copy()
    for index, weight in enumerate(SCALE_WEIGHTS):
        expected *= mean_similarity(x, y, luminance=index == 4) ** weight
        x, y = (np.pad(p, [(0, side % 2) for side in p.shape], mode="symmetric") for p in (x, y))
        x, y = (p.reshape(p.shape[0] // 2, 2, p.shape[1] // 2, 2).mean(axis=(1, 3)) for p in (x, y))
    assert ms_ssim(sr, hr) == pytest.approx(expected, abs=1e-10)


def mean_similarity(x: Plane, y: Plane, luminance: bool) -> float:
    """Mean SSIM, or mean contrast-structure term: SSIM over its luminance term, from scikit-image."""
    from scipy.ndimage import gaussian_filter

    options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, whole = structural_similarity(x, y, full=True, **options)
    mean_x, mean_y = (gaussian_filter(p, 1.5, radius=5) for p in (x, y))
    term = (2.0 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
    wanted = whole if luminance else whole / term
    return float(wanted[5:-5, 5:-5].mean())


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(11, 60), width=st.integers(11, 60), noise=st.floats(0.01, 0.5), seed=st.integers(0, 99)
)
def test_the_training_loss_computes_the_same(height: int, width: int, noise: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    hr = generator.random((height, width))
    sr = np.clip(hr + generator.normal(0.0, noise, hr.shape), 0.0, 1.0)
    loss = ssim_loss(*(torch.from_numpy(plane)[None, None] for plane in (sr, hr)))
    assert ssim(sr, hr) == pytest.approx(loss.item(), abs=1e-10)


@pytest.mark.parametrize("function", EVERY)
def test_another_data_range_is_another_unit(function: Callable[..., float]) -> None:
    sr, hr = smooth_plane(0), smooth_plane(1)
    assert function(sr * 255.0, hr * 255.0, 255.0) == pytest.approx(function(sr, hr), abs=1e-10)


@pytest.mark.parametrize(("function", "best"), [(ssim, 1.0), (ms_ssim, 1.0), (gmsd, 0.0)])
def test_identical_images_are_perfect_and_order_does_not_matter(
    function: Callable[..., float], best: float
) -> None:
    sr, hr = smooth_plane(0), smooth_plane(1)
    assert function(hr, hr) == pytest.approx(best, abs=1e-9)
    assert function(sr, hr) == pytest.approx(function(hr, sr), abs=1e-12)


@pytest.mark.parametrize(
    ("function", "smallest", "title"), [(ssim, 11, "SSIM"), (ms_ssim, 176, "MS-SSIM"), (gmsd, 6, "GMSD")]
)
def test_too_small_images_say_so(function: Callable[..., float], smallest: int, title: str) -> None:
    enough = np.random.default_rng(0).random((smallest, smallest + 3))
    assert math.isfinite(function(enough, enough * 0.9))
    small = enough[: smallest - 1]
    found = rf"{smallest - 1} x {smallest + 3}"
    message = rf"{title} needs at least {smallest} x {smallest} pixels inside the border, found {found}"
    with pytest.raises(MetricUnavailable, match=message):
        function(small, small)


def test_flat_images_have_the_luminance_term_and_nothing_else() -> None:
    dark, bright = np.full((192, 192), 0.3), np.full((192, 192), 0.6)
    luminance = (2 * 0.3 * 0.6 + 1e-4) / (0.3**2 + 0.6**2 + 1e-4)
    assert ssim(dark, bright) == pytest.approx(luminance, abs=1e-9)
    assert ms_ssim(dark, bright) == pytest.approx(luminance ** SCALE_WEIGHTS[-1], abs=1e-9)


def test_opposite_patterns_have_ms_ssim_zero_not_nan() -> None:
    hr = smooth_plane(0)
    assert ssim(1.0 - hr, hr) < 0.0
    assert ms_ssim(1.0 - hr, hr) == 0.0


def test_gmsd_is_the_deviation_that_its_formula_gives(patterned: Patterned) -> None:
    """A loop over the pixels of a small image."""
    sr, hr = (plane[:10, :13] for plane in patterned(10, 13, 40.0))
    similarities = []
    planes = [np.pad(np.pad(p, ((0, 0), (0, 1))).reshape(5, 2, 7, 2).mean(axis=(1, 3)), 1) for p in (sr, hr)]
    for row in range(1, 6):
        for column in range(1, 8):
            g, h = (gradient(plane[row - 1 : row + 2, column - 1 : column + 2]) for plane in planes)
            similarities.append((2 * g * h + GMSD_CONSTANT) / (g * g + h * h + GMSD_CONSTANT))
    assert gmsd(sr, hr) == pytest.approx(float(np.std(similarities)), abs=1e-12)


def gradient(window: Plane) -> float:
    """Prewitt over 3 in the middle of a 3 x 3 window."""
    return math.hypot(*((window[2] - window[0]).sum() / 3.0, (window[:, 2] - window[:, 0]).sum() / 3.0))
