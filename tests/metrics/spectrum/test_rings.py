"""Rings: every sample of the plane in its place, against a loop over all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal.windows import tukey as scipy_tukey

from srbench.metrics.spectrum import RingSums, ring_layout, ring_sums, tukey, windowed_spectrum
from srbench.utils.image import Plane

SIZES = [(32, 32), (33, 33), (32, 47), (45, 34), (40, 33)]


def noise(height: int, width: int, seed: int = 0) -> Plane:
    return np.random.default_rng(seed).normal(0.5, 0.2, (height, width))


def sums(a: Plane, b: Plane) -> RingSums:
    return ring_sums(windowed_spectrum(a), windowed_spectrum(b), a.shape[1])


def windowed(image: Plane) -> NDArray[np.float64]:
    window = np.outer(tukey(image.shape[0]), tukey(image.shape[1]))
    return (image - (image * window).sum() / window.sum()) * window


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_sums_equal_a_loop_over_the_whole_plane(height: int, width: int) -> None:
    a, b = noise(height, width), noise(height, width, seed=1)
    fa, fb = np.fft.fft2(windowed(a)), np.fft.fft2(windowed(b))
    shorter = min(height, width)
    cross, power, count = (np.zeros(shorter // 2 + 1) for _ in range(3))
    for row, fy in enumerate(np.fft.fftfreq(height)):
        for column, fx in enumerate(np.fft.fftfreq(width)):
            ring = math.floor(math.hypot(fy, fx) * shorter + 0.5)
            if ring <= shorter // 2:
                cross[ring] += (fa[row, column] * fb[row, column].conj()).real
                power[ring] += abs(fa[row, column]) ** 2
                count[ring] += 1
    found = sums(a, b)
    np.testing.assert_allclose(found.cross, cross, atol=1e-9)
    np.testing.assert_allclose(found.power_a, power, rtol=1e-10, atol=1e-9)
    np.testing.assert_array_equal(found.layout.samples, count)
    np.testing.assert_allclose(found.layout.frequency, np.arange(shorter // 2 + 1) / shorter)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 160), (161, 64)])
@pytest.mark.parametrize("angle", [0.0, 35.0, 90.0])
def test_one_detail_size_is_one_ring_in_every_direction(height: int, width: int, angle: float) -> None:
    frequency = 0.2
    fy, fx = frequency * math.sin(math.radians(angle)), frequency * math.cos(math.radians(angle))
    y, x = np.mgrid[:height, :width]
    wave = np.cos(2 * np.pi * (fy * y + fx * x))
    found = sums(wave, wave)
    peak = found.layout.frequency[found.power_a.argmax()]
    assert float(peak) == pytest.approx(frequency, abs=1.0 / min(height, width))


@pytest.mark.parametrize("length", [32, 33, 200])
def test_window_is_tukeys(length: int) -> None:
    """Between the samples of scipy's window with one more point, which starts at zero."""
    ours, theirs = tukey(length), scipy_tukey(2 * length + 1, 0.25)[1::2]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert ours.max() == 1.0 and ours.min() > 0.0


def test_moved_windows_move_with_their_image() -> None:
    """Content and window moved together by whole pixels: the same power, turned phases."""
    image = noise(64, 72)
    image[:12] = image[-12:] = 0.5
    image[:, :12] = image[:, -12:] = 0.5
    here, there = windowed_spectrum(image), windowed_spectrum(np.roll(image, (3, -2), (0, 1)), (3.0, -2.0))
    np.testing.assert_allclose(np.abs(there), np.abs(here), rtol=1e-2, atol=0.02)
    assert tukey(64, 3.0)[:3].max() == 0.0


def test_brightness_leaves_no_trace() -> None:
    image = noise(40, 56)
    np.testing.assert_allclose(windowed_spectrum(image + 3.0), windowed_spectrum(image), atol=1e-11)
    assert np.abs(windowed_spectrum(np.full((40, 56), 0.3))).max() == 0.0


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 120)])
def test_noise_power_is_variance_times_window_energy(height: int, width: int) -> None:
    layout = ring_layout(height, width)
    power = np.mean([sums(*[noise(height, width, seed)] * 2).power_a for seed in range(60)], axis=0)
    expected = 0.2**2 * layout.window_energy
    assert (power[2:] / layout.samples[2:]).mean() == pytest.approx(expected, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(64, 64), (97, 130), (64, 200)])
def test_independent_samples_predict_chance_from_above(height: int, width: int) -> None:
    """The mean square of a correlation by chance is one over their number."""
    stacks = [np.random.default_rng(seed).normal(0.5, 0.2, (300, height, width)) for seed in (0, 1)]
    results = [sums(a, b) for a, b in zip(*stacks, strict=True)]
    chance = [(result.cross**2)[2:] / (result.power_a * result.power_b)[2:] for result in results]
    ratio = np.mean(chance, axis=0) * results[0].layout.independent[2:]
    assert 0.85 < ratio.mean() <= 1.02
