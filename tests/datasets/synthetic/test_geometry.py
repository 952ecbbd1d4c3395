"""Distances, areas and curves against closed forms and qhull."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from scipy.special import i0, i1

from srbench.datasets.synthetic.geometry import (
    MARGIN,
    SUPERSAMPLING,
    FineGrid,
    area_average,
    b_spline,
    convex_distance,
    convex_hull,
    coverage,
    crossings,
    ellipse_distance,
    level_set_distance,
    polygon_centroid,
    rounded_area,
    von_mises,
)
from srbench.datasets.synthetic.rng import RandomStream

GRID = FineGrid(48)
Y, X = GRID.axis[:, None], GRID.axis[None, :]


def test_axis_has_pixel_centres_at_whole_numbers():
    pixels = GRID.axis.reshape(-1, SUPERSAMPLING).mean(axis=1)
    np.testing.assert_allclose(pixels, np.arange(-MARGIN, 48 + MARGIN), atol=1e-12)


@pytest.mark.slow
@given(st.floats(-70, 70), st.floats(0, 40))
def test_span_selects_exactly_the_points_between_its_ends(low, extent):
    expected = np.flatnonzero((GRID.axis >= low - 1e-9) & (GRID.axis <= low + extent + 1e-9))
    found = np.arange(GRID.side)[GRID.span(low, low + extent)]
    assert len(np.setxor1d(found, expected)) <= 1


def test_area_average_is_the_mean_of_each_pixel():
    fine = np.random.default_rng(0).random((12, 18))
    expected = fine.reshape(4, 3, 6, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(area_average(fine), expected, rtol=1e-14)


@pytest.mark.slow
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


def test_a_spline_through_collinear_control_points_is_straight():
    line = b_spline(np.stack([np.arange(6.0) * 9, np.arange(6.0) * 12], axis=1))
    np.testing.assert_allclose(line[:, 0] * 4, line[:, 1] * 3, atol=1e-3)
    np.testing.assert_allclose(line[[0, -1]], [[9, 12], [36, 48]], atol=1e-4)


def test_a_spline_has_the_curvature_of_its_control_circle():
    turn = np.radians(np.arange(0, 360, 10))
    line = b_spline(100 * np.stack([np.sin(turn), np.cos(turn)], axis=1))
    radii = np.hypot(*line.T)
    # A uniform cubic B-spline of a circle is one of radius (2 + cos(step)) / 3.
    np.testing.assert_allclose(radii, 100 * (2 + math.cos(math.radians(10))) / 3, rtol=1e-4)


def test_crossings_of_known_lines():
    first, second = np.array([[0.0, 0.0], [10.0, 10.0]]), np.array([[0.0, 10.0], [10.0, 0.0]])
    assert crossings(first, second) == [(5.0, 5.0)]
    assert crossings(first, first + np.array([0, 1])) == []
    assert crossings(first, second + np.array([0, 30])) == []


@pytest.mark.slow
@pytest.mark.parametrize("kappa", [0.5, 4.0, 40.0])
def test_angles_have_the_concentration_asked_for(kappa):
    """The mean resultant length of a von Mises distribution is I1(kappa) / I0(kappa)."""
    stream = RandomStream(3, 1)
    angles = np.radians([von_mises(stream, 70, kappa) for _ in range(4000)])
    mean = np.exp(1j * angles).mean()
    assert abs(mean) == pytest.approx(i1(kappa) / i0(kappa), abs=0.03)
    assert np.degrees(np.angle(mean)) == pytest.approx(70, abs=5)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), min_size=4, max_size=12, unique=True))
def test_hulls_and_their_areas_are_those_of_qhull(points):
    if np.linalg.matrix_rank(np.array(points[1:]) - points[0]) < 2:
        return
    hull = convex_hull([(float(y), float(x)) for y, x in points])
    known = ConvexHull(np.array(points))
    assert set(hull) == {tuple(map(float, points[n])) for n in known.vertices}
    assert rounded_area(hull, 0.0) == pytest.approx(known.volume)
    around = known.area
    assert rounded_area(hull, 2.0) == pytest.approx(known.volume + 2 * around + 4 * math.pi)


def test_distances_of_a_square_in_closed_form():
    square = [(0.0, 0.0), (0.0, 4.0), (4.0, 4.0), (4.0, 0.0)]
    y, x = np.array([[2.0], [-3.0], [7.0]]), np.array([[2.0, -4.0]])
    np.testing.assert_allclose(convex_distance(y, x, square, 9.0), [[-2, 4], [3, 5], [3, 5]])


def test_the_centroid_is_that_of_the_triangles():
    """Of a square with a roof, by its parts."""
    house = [(0.0, 0.0), (0.0, 2.0), (2.0, 2.0), (3.0, 1.0), (2.0, 0.0)]
    assert polygon_centroid(house) == pytest.approx(((4 * 1 + 1 * (2 + 1 / 3)) / 5, 1.0))
