"""Edges matched within a tolerance, and their displacement: exact distances, straight edges and discs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage, special

from srbench.metrics.edges import (
    LEAST,
    Displacement,
    canny,
    displacement,
    edge_scores,
    edges_recovered,
    gradient,
    near,
    thresholds,
)

Edges = NDArray[np.bool_]


def random_edges(height: int, width: int, share: float, seed: int) -> Edges:
    return np.random.default_rng(seed).random((height, width)) < share


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 25),
    width=st.integers(1, 25),
    distance=st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0]),
    seed=st.integers(0, 99),
)
def test_near_is_the_exact_distance(height: int, width: int, distance: float, seed: int) -> None:
    edges = random_edges(height, width, 0.05, seed)
    edges[0, 0] = True
    expected = ndimage.distance_transform_edt(~edges) <= distance
    np.testing.assert_array_equal(near(edges, distance), expected)


def line(column: int, rows: int = 40) -> Edges:
    edges = np.zeros((rows, 30), dtype=bool)
    edges[:, column] = True
    return edges


def test_scores_by_hand() -> None:
    """Two lines found one pixel off, one missing, one invented."""
    hr, sr = line(5) | line(12) | line(25), line(6) | line(12) | line(18) | line(19)
    found = edge_scores(sr, hr)
    assert found.precision == 0.5 and found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    assert edge_scores(sr, hr, 0.0).precision == 0.25


def test_scores_without_edges() -> None:
    none = np.zeros((40, 30), dtype=bool)
    only_hr, only_sr, neither = (
        edge_scores(none, line(4)),
        edge_scores(line(4), none),
        edge_scores(none, none),
    )
    assert math.isnan(only_hr.precision) and only_hr.recall == only_hr.f1 == 0.0
    assert math.isnan(only_sr.recall) and only_sr.precision == only_sr.f1 == 0.0
    assert math.isnan(neither.f1)


def test_recovered_counts_what_interpolation_lacks() -> None:
    hr, bicubic = line(5) | line(12) | line(25), line(6)
    assert edges_recovered(line(13), hr, bicubic) == 0.5
    assert edges_recovered(hr, hr, bicubic) == 1.0
    assert edges_recovered(bicubic, hr, bicubic) == 0.0
    assert math.isnan(edges_recovered(hr, hr, hr))
    few = line(25, LEAST - 1)
    assert math.isnan(edges_recovered(few, few, np.zeros_like(few)))


def straight(offset: float, angle: float, sigma: float = 0.7, side: int = 64) -> NDArray[np.float64]:
    """A blurred edge; bright beyond ``offset`` along the direction of the angle."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    along = x * math.cos(angle) + y * math.sin(angle)
    edge: NDArray[np.float64] = 0.3 + 0.2 * special.erf((along - offset) / (sigma * math.sqrt(2)))
    return edge


def disc(radius: float, side: int = 96) -> NDArray[np.float64]:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    image: NDArray[np.float64] = 0.3 - 0.2 * special.erf(np.hypot(y, x) - radius)
    return image


def moved(sr: NDArray[np.float64], hr: NDArray[np.float64]) -> Displacement:
    of_sr, of_hr = gradient(sr), gradient(hr)
    lower, upper = thresholds(of_hr)
    return displacement(of_sr, of_hr, canny(hr, lower, upper), lower)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(shift=st.floats(-2.5, 2.5), angle=st.floats(0, 2 * math.pi))
def test_a_straight_edge_is_displaced_by_its_shift(shift: float, angle: float) -> None:
    """Bright lies ahead; an edge that moves ahead lets the bright region shrink.

    From 1.5 px on a few pixels of a diagonal edge lie beyond the reach of 3 px.
    """
    found = moved(straight(shift, angle), straight(0.0, angle))
    near = abs(shift) <= 1.5
    assert found.median == pytest.approx(abs(shift), abs=0.01)
    assert found.bias == pytest.approx(-shift, abs=0.03 if near else 0.08)
    assert found.share == 1.0 if near else found.share >= 0.98


@pytest.mark.parametrize("growth", [-1.0, -0.3, 0.5, 1.0, 2.0])
def test_growing_discs_grow_by_their_growth(growth: float) -> None:
    found = moved(disc(24.0 + growth), disc(24.0))
    assert found.bias == pytest.approx(growth, abs=0.03)
    assert found.median == pytest.approx(abs(growth), abs=0.03)
    assert moved(-disc(24.0 + growth), -disc(24.0)).bias == pytest.approx(-growth, abs=0.03)


@pytest.mark.parametrize("shift", [0.3, 0.7, -0.55])
def test_a_shifted_disc_is_displaced_by_the_cosine(shift: float) -> None:
    """Along the circle the displacement is shift cos(angle): median |shift| / sqrt 2, mean 0."""
    image = disc(24.0)
    along = np.exp(-2j * np.pi * np.fft.fftfreq(image.shape[1]) * shift)
    found = moved(np.fft.ifft(np.fft.fft(image, axis=1) * along, axis=1).real, image)
    assert found.median == pytest.approx(abs(shift) / math.sqrt(2), abs=0.03)
    assert found.bias == pytest.approx(0.0, abs=0.02)


def test_neither_the_opposite_polarity_nor_a_distant_edge_is_the_same_edge() -> None:
    image = straight(0.0, 0.4)
    assert moved(0.6 - image, image).share == 0.0
    far = moved(straight(8.0, 0.4), image)
    assert far.share < 0.05
    gone = moved(np.full_like(image, 0.3), image)
    assert gone.share == 0.0 and math.isnan(gone.median) and math.isnan(gone.bias)


def test_blur_does_not_move_a_straight_edge() -> None:
    found = moved(straight(0.0, 0.3, sigma=2.0), straight(0.0, 0.3))
    assert found.median < 0.03 and abs(found.bias) < 0.01
