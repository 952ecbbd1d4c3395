"""Line widths and edge roughness on gratings drawn with known edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from helpers.drawn_scenes import draw_discs, draw_lines, place_discs, rough_edge
from srbench.metrics.line_edges import (
    Edges,
    Line,
    detrended,
    find_lines,
    measure_edge,
    measure_line,
    roughness,
)

ROWS, WIDTH, PITCH, CD = 384, 400, 40.0, 17.3


def grating(sigma: float = 1.2, xi: float = 12.0, hurst: float = 0.6, seed: int = 0):
    generator = np.random.default_rng(seed)
    centres = np.arange(20.4, WIDTH - 20, PITCH)
    edges = [
        np.stack([c + side * CD / 2 + rough_edge(generator, ROWS, sigma, xi, hurst) for c in centres])
        for side in (-1, 1)
    ]
    lines = [Line(c - CD / 2, c + CD / 2, 0, ROWS, CD / 2, (PITCH - CD) / 2) for c in centres]
    return edges[0], edges[1], draw_lines(edges[0], edges[1], WIDTH), lines


def positions(found: list[Edges]) -> np.ndarray:
    return np.array([side for pair in found for side in (pair.left, pair.right)])


@pytest.mark.slow
@pytest.mark.parametrize("bright", [True, False])
def test_width_and_every_edge_of_a_drawn_grating(bright: bool) -> None:
    left, right, image, lines = grating()
    if not bright:
        image = 1 - image
    for number, line in enumerate(lines):
        found = measure_line(image, line, bright)
        assert found is not None
        assert found.width.mean() == pytest.approx((right[number] - left[number]).mean(), abs=0.05)
        assert np.abs(found.left - left[number]).max() < 0.1
        assert np.abs(found.right - right[number]).max() < 0.1


@pytest.mark.slow
def test_width_under_noise() -> None:
    left, right, image, lines = grating()
    noisy = image + np.random.default_rng(1).normal(0, 0.08, image.shape)
    found = [measure_line(noisy, line) for line in lines]
    errors = [pair.width.mean() - (right[n] - left[n]).mean() for n, pair in enumerate(found)]
    assert np.mean(errors) == pytest.approx(0.0, abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("xi", [10.0, 25.0])
def test_roughness_without_the_noise(noise: float, xi: float) -> None:
    left, right, image, lines = grating(1.2, xi)
    noisy = image + np.random.default_rng(2).normal(0, noise, image.shape) if noise else image
    measured = roughness(positions([measure_line(noisy, line) for line in lines]))
    true = roughness(np.concatenate([left, right])).biased
    assert true == pytest.approx(1.2, rel=1e-6)
    assert measured.sigma == pytest.approx(true, rel=0.05)
    if noise == 0.1:
        assert measured.biased > true * 1.02  # what the noise would have added


@pytest.mark.slow
def test_denoising_lowers_roughness() -> None:
    """Pitfall: a smooth image has smooth edges, and no correction brings them back."""
    _, _, image, lines = grating(1.2, 6.0, 0.4)
    measured = [
        roughness(positions([measure_line(plane, line) for line in lines])).sigma
        for plane in (image, gaussian_filter(image, 2.0), gaussian_filter(image, 4.0))
    ]
    assert measured[0] > 1.05 * measured[1] > 1.15 * measured[2]


def test_white_noise_alone_is_no_roughness() -> None:
    edges = np.random.default_rng(3).normal(0, 0.5, (40, 512))
    found = roughness(edges)
    assert found.biased == pytest.approx(0.5, rel=0.02)
    assert found.noise == pytest.approx(0.25, rel=0.05)
    assert found.sigma < 0.12


def test_psd_holds_the_variance() -> None:
    for rows in (128, 129):
        edges = np.random.default_rng(4).normal(size=(3, rows)).cumsum(1)
        found = roughness(edges)
        twice = np.where((found.frequencies > 0) & (found.frequencies < 0.5), 2, 1)
        assert (found.psd * twice).sum() / rows == pytest.approx(found.biased**2)


def test_best_fit_line_is_that_of_polyfit() -> None:
    edges = np.random.default_rng(5).normal(size=(2, 50)) + 0.3 * np.arange(50)
    for edge, rest in zip(edges, detrended(edges), strict=True):
        fit = np.polyval(np.polyfit(np.arange(50), edge, 1), np.arange(50))
        assert rest == pytest.approx(edge - fit)


def test_windows_that_leave_the_image_or_hold_nothing() -> None:
    image = draw_lines(np.full((1, 64), 20.0), np.full((1, 64), 40.0), 80)
    assert measure_edge(image, Line(2.0, 40.0, 0, 64, 8, 8), 2.0, True) is None
    assert measure_line(image, Line(20.0, 40.0, 60, 64, 8, 8)) is None
    assert measure_line(image, Line(20.0, 40.0, 0, 64, 1, 8)) is None
    assert measure_line(np.full((64, 80), 0.5), Line(20.0, 40.0, 0, 64, 8, 8)) is None


def test_an_edge_missing_in_many_rows_is_not_measured() -> None:
    image = draw_lines(np.full((1, 64), 20.0), np.full((1, 64), 40.0), 80)
    few, many = image.copy(), image.copy()
    few[30:34] = many[20:44] = 0.2
    line = Line(20.0, 40.0, 0, 64, 8, 8)
    found = measure_line(few, line)
    assert found is not None and np.abs(found.left - 20.0).max() < 0.05
    assert measure_line(many, line) is None


@pytest.mark.slow
@pytest.mark.parametrize("bright_edges", [False, True])
def test_a_grating_is_found(bright_edges: bool) -> None:
    _, _, image, lines = grating()
    if bright_edges:
        # As in a micrograph: the lines glow at their edges and are dim in the middle.
        image = 0.2 + 0.5 * (image - gaussian_filter(image, (0, 3.0))).clip(0) * 3 + 0.3 * (image - 0.2)
    image = image + np.random.default_rng(6).normal(0, 0.03, image.shape)
    found = find_lines(image)
    assert len(found) == len(lines)
    assert [line.left for line in found] == pytest.approx([line.left for line in lines], abs=2.5)
    assert [line.right for line in found] == pytest.approx([line.right for line in lines], abs=2.5)
    assert find_lines(image.T) == []


def test_no_grating_in_other_images() -> None:
    generator = np.random.default_rng(7)
    discs = place_discs(1, generator.uniform(6, 14, 40))
    for image in (draw_discs(discs), generator.uniform(size=(200, 200)), np.full((50, 50), 0.3)):
        assert find_lines(image) == []
    # A single step holds all the variance in its mean row, but nothing repeats.
    assert find_lines(np.broadcast_to(np.arange(200) > 90, (100, 200)).astype(float)) == []
