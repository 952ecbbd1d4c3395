"""Rings: every sample of the plane in its place, against a loop over all of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.signal.windows import tukey as scipy_tukey

from srbench.evaluation.functional.rings import Layout, RingSums, ring_layout, ring_sums, spectrum, tukey

SIZES = [(32, 32), (33, 33), (32, 47), (45, 34), (40, 33)]


def images(height: int, width: int, count: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0.5, 0.2, (count, height, width)))


def sums(a: torch.Tensor, b: torch.Tensor) -> RingSums:
    return ring_sums(spectrum(a), spectrum(b))


def layout(height: int, width: int) -> Layout:
    return ring_layout(height, width, torch.device("cpu"), torch.float64)


def windowed(image: torch.Tensor) -> NDArray[np.float64]:
    window = np.outer(tukey(image.shape[0]).numpy(), tukey(image.shape[1]).numpy())
    pixels = image.numpy()
    return (pixels - (pixels * window).sum() / window.sum()) * window


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_sums_equal_a_loop_over_the_whole_plane(height: int, width: int) -> None:
    a, b = images(height, width), images(height, width, seed=1)
    fa, fb = np.fft.fft2(windowed(a[0])), np.fft.fft2(windowed(b[0]))
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
    np.testing.assert_allclose(found.cross[0], cross, atol=1e-9)
    np.testing.assert_allclose(found.power_a[0], power, rtol=1e-10, atol=1e-9)
    np.testing.assert_array_equal(found.layout.samples, count)
    np.testing.assert_allclose(found.layout.frequency, np.arange(shorter // 2 + 1) / shorter)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 160), (161, 64)])
@pytest.mark.parametrize("angle", [0.0, 35.0, 90.0])
def test_one_detail_size_is_one_ring_in_every_direction(height: int, width: int, angle: float) -> None:
    frequency = 0.2
    fy, fx = frequency * math.sin(math.radians(angle)), frequency * math.cos(math.radians(angle))
    y, x = np.mgrid[:height, :width]
    wave = torch.from_numpy(np.cos(2 * np.pi * (fy * y + fx * x)))[None]
    found = sums(wave, wave)
    peak = found.layout.frequency[found.power_a[0].argmax()]
    assert float(peak) == pytest.approx(frequency, abs=1.0 / min(height, width))


@pytest.mark.parametrize("length", [32, 33, 200])
def test_window_is_tukeys(length: int) -> None:
    """Between the samples of scipy's window with one more point, which starts at zero."""
    ours, theirs = tukey(length).numpy(), scipy_tukey(2 * length + 1, 0.25)[1::2]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert ours.max() == 1.0 and ours.min() > 0.0


def test_moved_windows_move_with_their_image() -> None:
    """Content and window moved together by whole pixels: the same power, turned phases."""
    image = images(64, 72)
    image[:, :12] = image[:, -12:] = 0.5
    image[:, :, :12] = image[:, :, -12:] = 0.5
    along = torch.tensor([[3.0, -2.0]], dtype=torch.float64)
    here, there = spectrum(image), spectrum(torch.roll(image, (3, -2), (1, 2)), along)
    np.testing.assert_allclose(there.values.abs(), here.values.abs(), rtol=1e-2, atol=0.02)
    assert float(tukey(64, along[:, 0])[0, :3].max()) == 0.0


def test_brightness_leaves_no_trace() -> None:
    one = images(40, 56)
    np.testing.assert_allclose(spectrum(one + 3.0).values, spectrum(one).values, atol=1e-11)
    assert float(spectrum(torch.full((1, 40, 56), 0.3, dtype=torch.float64)).values.abs().max()) == 0.0


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 120)])
def test_noise_power_is_variance_times_window_energy(height: int, width: int) -> None:
    found = sums(images(height, width, 60), images(height, width, 60, seed=1))
    per_sample = found.power_a[:, 2:].mean(0) / found.layout.samples[2:]
    expected = 0.2**2 * layout(height, width).window_energy
    assert float(per_sample.mean()) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (97, 130), (64, 200)])
def test_independent_samples_predict_chance_from_above(height: int, width: int) -> None:
    """The mean square of a correlation by chance is one over their number."""
    found = sums(images(height, width, 300), images(height, width, 300, seed=1))
    chance = (found.cross.square() / (found.power_a * found.power_b)).mean(0)
    ratio = (chance * found.layout.independent)[2:]
    assert 0.85 < float(ratio.mean()) <= 1.02


def test_batches_give_what_single_images_give() -> None:
    a, b = images(37, 50, 5), images(37, 50, 5, seed=1)
    whole = sums(a, b)
    for index in range(5):
        single = sums(a[index : index + 1], b[index : index + 1])
        np.testing.assert_allclose(whole.cross[index], single.cross[0], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(whole.power_b[index], single.power_b[0], rtol=1e-12, atol=1e-12)


def test_float32_stays_float32_and_agrees() -> None:
    a, b = images(48, 64), images(48, 64, seed=1)
    single, double = sums(a.float(), b.float()), sums(a, b)
    assert single.cross.dtype == single.layout.frequency.dtype == torch.float32
    np.testing.assert_allclose(single.power_a, double.power_a, rtol=1e-4, atol=1e-6)
