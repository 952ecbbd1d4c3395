"""Otsu's threshold, smoothing and overlap against scikit-image, scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.filters import threshold_otsu

from srbench.evaluation.functional.segment import (
    LEVELS,
    SMOOTHING,
    dice,
    iou,
    otsu,
    phase_contrast,
    phase_fraction,
    smoothed,
)

NOISE = np.random.default_rng(0)


@pytest.mark.parametrize("sigma", [SMOOTHING, 2.0])
def test_smoothing_is_scipys(sigma: float) -> None:
    images = NOISE.uniform(size=(2, 40, 33))
    wanted = np.stack([gaussian_filter(image, sigma, mode="mirror") for image in images])
    # scipy rounds the radius, here it is rounded up.
    assert np.abs(smoothed(torch.from_numpy(images), sigma).numpy() - wanted).max() < 2e-4


def test_smoothing_of_nothing() -> None:
    images = torch.rand(1, 20, 20)
    assert torch.equal(smoothed(images, 0.0), images)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_threshold_is_that_of_scikit_image(share: float) -> None:
    modes = np.where(NOISE.uniform(size=(120, 100)) < share, 0.7, 0.3)
    image = np.clip(modes + NOISE.normal(0, 0.09, modes.shape), 0, 1)
    threshold, _ = otsu(torch.from_numpy(image)[None])
    # scikit-image gives the centre of the last bin below.
    assert abs(float(threshold) - threshold_otsu(image, nbins=LEVELS)) < 1.5 / LEVELS


def test_threshold_of_two_levels_lies_midway() -> None:
    image = torch.full((1, 20, 20), 0.25)
    image[:, :5] = 0.75
    threshold, separation = otsu(image)
    assert float(threshold) == pytest.approx(0.5, abs=1 / LEVELS)
    assert float(separation) == pytest.approx(1.0, abs=1e-4)


def test_one_gaussian_phase_separates_like_two_over_pi() -> None:
    image = torch.from_numpy(NOISE.normal(0.5, 0.1, (1, 600, 600)))
    assert float(otsu(image)[1]) == pytest.approx(2 / np.pi, abs=0.005)


def test_batch_is_one_by_one_and_single_precision_agrees() -> None:
    images = torch.from_numpy(NOISE.uniform(size=(3, 50, 40)))
    together = otsu(images)
    for number in range(3):
        alone = otsu(images[number : number + 1])
        assert all(float(a[0]) == float(b[number]) for a, b in zip(alone, together, strict=True))
    assert otsu(images.float())[0].dtype == torch.float32
    assert torch.allclose(otsu(images.float())[0].double(), together[0], atol=2 / LEVELS)


def test_a_constant_image_has_a_threshold_and_no_phases() -> None:
    threshold, separation = otsu(torch.full((1, 10, 10), 0.4))
    assert 0 < float(threshold) < 1
    assert float(separation) == 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=12, max_size=12), st.lists(st.booleans(), min_size=12, max_size=12))
def test_overlap_by_counting(one: list[bool], other: list[bool]) -> None:
    a, b = (torch.tensor(mask).view(1, 3, 4) for mask in (one, other))
    both, either = sum(x and y for x, y in zip(one, other, strict=True)), sum(map(max, one, other))
    wanted_dice = 2 * both / (sum(one) + sum(other)) if either else 1.0
    wanted_iou = both / either if either else 1.0
    assert float(dice(a, b)) == float(dice(b, a)) == pytest.approx(wanted_dice)
    assert float(iou(a, b)) == pytest.approx(wanted_iou)
    assert float(iou(a, b)) == pytest.approx(float(dice(a, b)) / (2 - float(dice(a, b))))


def test_fraction_and_contrast() -> None:
    image = torch.tensor([[[0.1, 0.1], [0.5, 0.9]]], dtype=torch.float64)
    mask = image > 0.3
    assert float(phase_fraction(mask)) == 0.5
    assert float(phase_contrast(image, mask)) == pytest.approx(0.6)
