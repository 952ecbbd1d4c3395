"""Canny's edges lie where a drawn outline is, and their thresholds come from the reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special
from skimage import data

from srbench.metrics.edges import FLOOR, SIGMA, canny, gradient, thresholds

Floats = NDArray[np.float64]


def edges_of(image: Floats, sigma: float = SIGMA) -> tuple[NDArray[np.bool_], float, float]:
    lower, upper = thresholds(gradient(image, sigma))
    return canny(image, lower, upper, sigma), lower, upper


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(angle=st.floats(0, 2 * math.pi), offset=st.floats(-8, 8), sigma=st.sampled_from([1.0, SIGMA, 1.5]))
def test_a_straight_edge_is_a_line_of_pixels_on_it(angle: float, offset: float, sigma: float) -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    along = y * math.sin(angle) + x * math.cos(angle) - offset
    edges, _, _ = edges_of(0.3 + 0.2 * special.erf(along), sigma)
    assert np.abs(along[edges]).max() < 1.0
    crossed = np.abs(along) < 0.5
    crossed[[0, 1, -2, -1]] = crossed[:, [0, 1, -2, -1]] = False
    lines = crossed.any(axis=1) if abs(math.cos(angle)) > abs(math.sin(angle)) else crossed.any(axis=0)
    hits = edges.any(axis=1) if abs(math.cos(angle)) > abs(math.sin(angle)) else edges.any(axis=0)
    assert hits[lines].all()


@pytest.mark.parametrize("radius", [8.0, 14.3, 22.0])
def test_an_outline_is_found_all_around(radius: float) -> None:
    y, x = np.mgrid[:64, :64] - 31.5
    distance = np.hypot(y, x) - radius
    edges, _, _ = edges_of(0.3 - 0.2 * special.erf(distance))
    assert np.abs(distance[edges]).max() < 1.0
    directions = np.unique(np.round(np.degrees(np.arctan2(y[edges], x[edges])) / 12))
    assert len(directions) >= 30


@pytest.mark.parametrize("slope", [0.01, -0.03])
def test_gradient_of_a_ramp_is_its_slope(slope: float) -> None:
    y, x = np.mgrid[:40, :50]
    result = gradient(slope * x + 2 * slope * y)
    np.testing.assert_allclose(result.x[8:-8, 8:-8], slope, atol=1e-12)
    np.testing.assert_allclose(result.y[8:-8, 8:-8], 2 * slope, atol=1e-12)


@pytest.mark.slow
def test_thresholds_are_a_quantile_of_the_reference_and_half_of_it() -> None:
    result = gradient(data.camera()[100:357, 60:301] / 255.0)
    lower, upper = thresholds(result)
    assert (result.magnitude < upper).mean() == pytest.approx(0.93, abs=1e-4) and lower == upper / 2


def test_thresholds_are_slopes_per_pixel() -> None:
    """An edge stays while the lower threshold lies below its steepest slope, and goes beyond it."""
    _, x = np.mgrid[:40, :50] - 24.5
    image = 0.3 + 0.2 * special.erf(x / 3.0)
    steepest = gradient(image).magnitude.max()
    assert canny(image, 0.98 * steepest, 0.98 * steepest).any()
    assert not canny(image, 1.02 * steepest, 1.02 * steepest).any()


def test_rounding_to_eight_bits_makes_no_edges() -> None:
    """A slow ramp in steps of one grey level: the floor of the threshold lies above the steps."""
    ramp = np.floor(np.tile(np.linspace(100, 110, 200), (60, 1)) + 0.5) / 255.0
    edges, _, upper = edges_of(ramp)
    assert upper == FLOOR and not edges.any()


def test_weak_chains_stay_only_where_they_lead_to_a_strong_pixel() -> None:
    step = np.zeros((60, 60))
    step[:, 30:] = np.linspace(0.1, 1.0, 60)[:, None]
    step[10:20, 5:12] = 0.15
    edges, alone = canny(step, 0.02, 0.2), canny(step, 0.02, 0.02)
    assert edges[5:55, 28:32].any(axis=1).all() and alone[5:55, 28:32].any(axis=1).all()
    assert not edges[:, :20].any() and alone[:, :20].any()


def test_an_even_grey_has_no_edges_and_the_rim_none_either() -> None:
    assert not edges_of(np.full((30, 40), 0.5))[0].any()
    bright_rim = np.zeros((20, 20))
    bright_rim[0] = 1.0
    assert not canny(bright_rim, 0.01, 0.01)[0].any()
