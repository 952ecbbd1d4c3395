"""Edges matched within a tolerance, and their displacement: exact distances, straight edges and discs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage, special

from srbench.evaluation.functional.canny import canny, gradient, thresholds
from srbench.evaluation.functional.edges import (
    LEAST,
    Displacement,
    displacement,
    edge_scores,
    edges_recovered,
    near,
)


def random_edges(height: int, width: int, share: float, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((1, height, width)) < share)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 25),
    width=st.integers(1, 25),
    distance=st.sampled_from([0.0, 1.0, 1.5, 2.0, 3.0]),
    seed=st.integers(0, 99),
)
def test_near_is_the_exact_distance(height: int, width: int, distance: float, seed: int) -> None:
    edges = random_edges(height, width, 0.05, seed)
    edges[0, 0, 0] = True
    expected = ndimage.distance_transform_edt(~edges[0].numpy()) <= distance
    np.testing.assert_array_equal(near(edges, distance)[0], expected)


def line(column: int, rows: int = 40) -> torch.Tensor:
    edges = torch.zeros(1, rows, 30, dtype=torch.bool)
    edges[0, :, column] = True
    return edges


def test_scores_by_hand() -> None:
    """Two lines found one pixel off, one missing, one invented."""
    hr, sr = line(5) | line(12) | line(25), line(6) | line(12) | line(18) | line(19)
    found = edge_scores(sr, hr)
    assert float(found.precision) == 0.5 and float(found.recall) == pytest.approx(2 / 3)
    assert float(found.f1) == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    assert float(edge_scores(sr, hr, 0.0).precision) == 0.25


def test_scores_without_edges() -> None:
    none = torch.zeros(1, 40, 30, dtype=torch.bool)
    only_hr, only_sr, neither = (
        edge_scores(none, line(4)),
        edge_scores(line(4), none),
        edge_scores(none, none),
    )
    assert bool(only_hr.precision.isnan()) and float(only_hr.recall) == float(only_hr.f1) == 0.0
    assert bool(only_sr.recall.isnan()) and float(only_sr.precision) == float(only_sr.f1) == 0.0
    assert bool(neither.f1.isnan())


def test_recovered_counts_what_interpolation_lacks() -> None:
    hr, bicubic = line(5) | line(12) | line(25), line(6)
    assert float(edges_recovered(line(13), hr, bicubic)) == 0.5
    assert float(edges_recovered(hr, hr, bicubic)) == 1.0
    assert float(edges_recovered(bicubic, hr, bicubic)) == 0.0
    assert bool(edges_recovered(hr, hr, hr).isnan())
    few = line(25, LEAST - 1)
    assert bool(edges_recovered(few, few, torch.zeros_like(few)).isnan())


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
    of_sr, of_hr = (gradient(torch.from_numpy(image)[None]) for image in (sr, hr))
    lower, upper = thresholds(of_hr)
    return displacement(of_sr, of_hr, canny(of_hr, lower, upper), lower)


@settings(max_examples=25, deadline=None)
@given(shift=st.floats(-2.5, 2.5), angle=st.floats(0, 2 * math.pi))
def test_a_straight_edge_is_displaced_by_its_shift(shift: float, angle: float) -> None:
    """Bright lies ahead; an edge that moves ahead lets the bright region shrink."""
    found = moved(straight(shift, angle), straight(0.0, angle))
    assert float(found.median) == pytest.approx(abs(shift), abs=0.03)
    assert float(found.bias) == pytest.approx(-shift, abs=0.03)
    assert float(found.found) == 1.0


@pytest.mark.parametrize("growth", [-1.0, -0.3, 0.5, 1.0, 2.0])
def test_growing_discs_grow_by_their_growth(growth: float) -> None:
    found = moved(disc(24.0 + growth), disc(24.0))
    assert float(found.bias) == pytest.approx(growth, abs=0.03)
    assert float(found.median) == pytest.approx(abs(growth), abs=0.03)
    assert float(moved(-disc(24.0 + growth), -disc(24.0)).bias) == pytest.approx(-growth, abs=0.03)


@pytest.mark.parametrize("shift", [0.3, 0.7, -0.55])
def test_a_shifted_disc_is_displaced_by_the_cosine(shift: float) -> None:
    """Along the circle the displacement is shift cos(angle): median |shift| / sqrt 2, mean 0."""
    image = disc(24.0)
    along = np.exp(-2j * np.pi * np.fft.fftfreq(image.shape[1]) * shift)
    found = moved(np.fft.ifft(np.fft.fft(image, axis=1) * along, axis=1).real, image)
    assert float(found.median) == pytest.approx(abs(shift) / math.sqrt(2), abs=0.03)
    assert float(found.bias) == pytest.approx(0.0, abs=0.02)


def test_neither_the_opposite_polarity_nor_a_distant_edge_is_the_same_edge() -> None:
    image = straight(0.0, 0.4)
    assert float(moved(0.6 - image, image).found) == 0.0
    far = moved(straight(8.0, 0.4), image)
    assert float(far.found) < 0.05
    gone = moved(np.full_like(image, 0.3), image)
    assert float(gone.found) == 0.0 and bool(gone.median.isnan()) and bool(gone.bias.isnan())


def test_blur_does_not_move_a_straight_edge() -> None:
    found = moved(straight(0.0, 0.3, sigma=2.0), straight(0.0, 0.3))
    assert float(found.median) < 0.03 and abs(float(found.bias)) < 0.01


def test_batches_give_what_single_images_give_and_float32_nearly() -> None:
    sr = torch.from_numpy(np.stack([disc(25.0), np.full((96, 96), 0.3), disc(22.5)]))
    hr = torch.from_numpy(np.stack([disc(24.0)] * 3))
    of_sr, of_hr = gradient(sr), gradient(hr)
    lower, upper = thresholds(of_hr)
    whole = displacement(of_sr, of_hr, canny(of_hr, lower, upper), lower)
    for index in range(3):
        single = moved(sr[index].numpy(), hr[index].numpy())
        np.testing.assert_allclose(whole.median[index], single.median[0], equal_nan=True)
        np.testing.assert_allclose(whole.bias[index], single.bias[0], equal_nan=True)
    narrow_sr, narrow_hr = gradient(sr.float()), gradient(hr.float())
    low, high = thresholds(narrow_hr)
    narrow = displacement(narrow_sr, narrow_hr, canny(narrow_hr, low, high), low)
    np.testing.assert_allclose(narrow.bias, whole.bias, atol=2e-3, equal_nan=True)
