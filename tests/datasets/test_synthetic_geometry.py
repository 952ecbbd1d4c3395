"""Distances, areas and topology against closed forms and scikit-image."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage import measure

from srbench.datasets.synthetic.geometry import (
    MARGIN,
    SUPERSAMPLING,
    FineGrid,
    area_average,
    betti_numbers,
    coverage,
    ellipse_distance,
    level_set_distance,
)

GRID = FineGrid(48)
Y, X = GRID.axis[:, None], GRID.axis[None, :]


def test_axis_has_pixel_centres_at_whole_numbers():
    pixels = GRID.axis.reshape(-1, SUPERSAMPLING).mean(axis=1)
    np.testing.assert_allclose(pixels, np.arange(-MARGIN, 48 + MARGIN), atol=1e-12)


@given(st.floats(-70, 70), st.floats(0, 40))
def test_span_selects_exactly_the_points_between_its_ends(low, extent):
    expected = np.flatnonzero((GRID.axis >= low - 1e-9) & (GRID.axis <= low + extent + 1e-9))
    found = np.arange(GRID.side)[GRID.span(low, low + extent)]
    assert len(np.setxor1d(found, expected)) <= 1


def test_area_average_is_the_mean_of_each_pixel():
    fine = np.random.default_rng(0).random((12, 18))
    expected = fine.reshape(4, 3, 6, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(area_average(fine), expected, rtol=1e-14)


@settings(deadline=None, max_examples=60)
@given(
    minor=st.floats(2, 30),
    ratio=st.floats(1, 2),
    angle=st.floats(0, 180),
    y=st.floats(22, 26),
    x=st.floats(22, 26),
)
def test_area_of_an_ellipse(minor, ratio, angle, y, x):
    """The equal-area diameter is drawn to a thirtieth of a pixel, also for the finest features."""
    major = min(minor * ratio, 44)
    share = coverage(ellipse_distance(Y - y, X - x, major, minor, math.radians(angle)), GRID.step)
    diameter = math.sqrt(share.sum() * GRID.step**2 * 4 / math.pi)
    assert diameter == pytest.approx(math.sqrt(major * minor), abs=0.033)


def test_distance_to_a_circle_is_exact():
    found = ellipse_distance(Y - 20.3, X - 21.7, 17.0, 17.0, 0.4)
    np.testing.assert_allclose(found, np.hypot(Y - 20.3, X - 21.7) - 8.5, atol=1e-9)


def test_distance_to_an_ellipse_near_its_outline():
    turn = np.linspace(0, 2 * np.pi, 20_000)
    u, v = 12 * np.cos(turn), 8 * np.sin(turn)
    angle = math.radians(30)
    outline = np.stack(
        [24 + u * math.sin(angle) + v * math.cos(angle), 24 + u * math.cos(angle) - v * math.sin(angle)]
    )
    found = ellipse_distance(Y - 24, X - 24, 24.0, 16.0, angle)
    near = np.argwhere(np.abs(found) < 1.0)[::37]
    for row, column in near:
        expected = np.hypot(outline[0] - GRID.axis[row], outline[1] - GRID.axis[column]).min()
        assert abs(found[row, column]) == pytest.approx(expected, abs=0.06)


def test_level_set_distance_of_a_bowl_is_that_of_a_circle():
    radius = 14.2
    field = np.exp(-((Y - 24) ** 2 + (X - 23) ** 2) / 200)
    found = level_set_distance(field, math.exp(-(radius**2) / 200), GRID.step)
    expected = np.hypot(Y - 24, X - 23) - radius
    near = np.abs(expected) < 1.5 * GRID.step
    assert np.abs(found - expected)[near].max() < 0.12
    assert np.abs(found - expected).max() < GRID.step
    area = coverage(found, GRID.step).sum() * GRID.step**2
    assert area == pytest.approx(math.pi * radius**2, rel=0.003)


@settings(deadline=None, max_examples=150)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_betti_numbers_agree_with_scikit_image(mask):
    components, holes = betti_numbers(mask)
    assert components == measure.label(mask, connectivity=2).max()
    assert components - holes == measure.euler_number(mask, connectivity=2)


def test_a_ring_has_one_component_and_one_hole():
    ring = np.ones((5, 5), dtype=bool)
    ring[2, 2] = False
    assert betti_numbers(ring) == (1, 1)
