"""Otsu's threshold, smoothing and overlap against the definition, scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from srbench.metrics.segmentation import (
    LEVELS,
    SMOOTHING,
    dice,
    iou,
    otsu,
    phase_contrast,
    smoothed,
)
from srbench.utils.image import Plane

NOISE = np.random.default_rng(0)


@pytest.mark.parametrize("sigma", [SMOOTHING, 2.0])
def test_smoothing_is_scipys(sigma: float) -> None:
    image = NOISE.uniform(size=(40, 33))
    # scipy rounds the radius, here it is rounded up.
    assert np.abs(smoothed(image, sigma) - gaussian_filter(image, sigma, mode="mirror")).max() < 2e-4


def two_phases(share: float) -> Plane:
    modes = np.where(NOISE.uniform(size=(120, 100)) < share, 0.7, 0.3)
    return np.clip(modes + NOISE.normal(0, 0.09, modes.shape), 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_no_other_threshold_separates_better(share: float) -> None:
    """Otsu's definition, tried at every edge of a bin."""
    image = two_phases(share)
    threshold, separation = otsu(image)
    between = {}
    for edge in np.arange(1, LEVELS) / LEVELS:
        above = image > edge
        if above.any() and not above.all():
            difference = image[above].mean() - image[~above].mean()
            between[edge] = above.mean() * (~above).mean() * difference**2 / image.var()
    best = max(between.values())
    assert between[threshold] == pytest.approx(best, rel=1e-4)
    assert separation == pytest.approx(best, abs=2e-3)


def test_threshold_of_two_levels_lies_between_them() -> None:
    image = np.full((20, 20), 0.25)
    image[:5] = 0.75
    threshold, separation = otsu(image)
    assert 0.25 < threshold < 0.75
    assert separation == pytest.approx(1.0, abs=1e-4)


def test_one_gaussian_phase_separates_like_two_over_pi() -> None:
    assert otsu(NOISE.normal(0.5, 0.1, (600, 600)))[1] == pytest.approx(2 / np.pi, abs=0.005)


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_a_constant_image_has_a_threshold_and_no_phases(level: float) -> None:
    threshold, separation = otsu(np.full((10, 10), level))
    assert 0 < threshold <= 1
    assert separation == 0


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=12, max_size=12), st.lists(st.booleans(), min_size=12, max_size=12))
def test_overlap_by_counting(one: list[bool], other: list[bool]) -> None:
    a, b = (np.array(mask).reshape(3, 4) for mask in (one, other))
    both, either = sum(x and y for x, y in zip(one, other, strict=True)), sum(map(max, one, other))
    assert dice(a, b) == dice(b, a) == pytest.approx(2 * both / (sum(one) + sum(other)) if either else 1.0)
    assert iou(a, b) == pytest.approx(both / either if either else 1.0)
    assert iou(a, b) == pytest.approx(dice(a, b) / (2 - dice(a, b)))


def test_contrast() -> None:
    image = np.array([[0.1, 0.1], [0.5, 0.9]])
    assert phase_contrast(image, image > 0.3) == pytest.approx(0.6)
    assert np.isnan(phase_contrast(image, image > 2.0))
