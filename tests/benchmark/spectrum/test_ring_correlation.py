"""Ring correlation, its thresholds and its cut-off: closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srbench.evaluation.functional.rings import RingSums, radial_frequency, ring_sums, spectrum
from srbench.evaluation.functional.spectrum import (
    binned,
    coherence,
    cut_off,
    half_bit,
    power_distance,
    ring_correlation,
    smooth,
)

FREQUENCY = torch.arange(65, dtype=torch.float64) / 128


def noise(count: int, height: int = 96, width: int = 128, seed: int = 0) -> torch.Tensor:
    return torch.randn(
        count, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )


def sums(a: torch.Tensor, b: torch.Tensor) -> RingSums:
    return ring_sums(spectrum(a), spectrum(b))


def low_passed(images: torch.Tensor, width: float) -> torch.Tensor:
    height, columns = images.shape[1:]
    response = torch.exp(-0.5 * (radial_frequency(height, columns) / width).square())
    return torch.fft.irfft2(torch.fft.rfft2(images) * response, s=(height, columns))


def test_identical_images_correlate_fully() -> None:
    image = noise(2, 61, 90)
    found = ring_correlation(sums(image, image))
    np.testing.assert_allclose(found, 1.0, atol=1e-12)
    np.testing.assert_allclose(cut_off(FREQUENCY, torch.ones(2, 65, dtype=torch.float64), 0.5), 0.5)


def test_gain_and_offset_change_nothing_and_inversion_the_sign() -> None:
    a, b = noise(1), noise(1, seed=1) + noise(1)
    found = ring_correlation(sums(a, b))
    np.testing.assert_allclose(ring_correlation(sums(0.1 * a + 4.0, b)), found, atol=1e-9)
    np.testing.assert_allclose(ring_correlation(sums(-a, b))[:, 1:], -found[:, 1:], atol=1e-12)


def test_independent_noise_correlates_by_chance_only() -> None:
    found = sums(noise(100), noise(100, seed=1))
    correlation = ring_correlation(found)[:, 1:]
    spread = correlation.std(0) * found.layout.samples[1:].sqrt()
    assert abs(float(correlation.mean())) < 0.01
    assert 0.95 < float(spread.mean()) < 1.15


@pytest.mark.parametrize("ratio", [0.2, 1.0, 5.0])
def test_known_signal_to_noise_gives_the_theoretical_curve(ratio: float) -> None:
    """Signal with a Gaussian spectrum, white noise of its own in each recording: S / (S + N) in each ring."""
    signal = low_passed(noise(60, seed=30), 0.12)
    a = signal + math.sqrt(1.0 / ratio) * 0.3 * noise(60, seed=31)
    b = signal + math.sqrt(1.0 / ratio) * 0.3 * noise(60, seed=32)
    found = sums(a, b)
    power = torch.exp(-(found.layout.frequency / 0.12).square())
    expected = power / (power + 0.09 / ratio)
    np.testing.assert_allclose(ring_correlation(found).mean(0)[2:], expected[2:], atol=0.03)


def test_against_a_clean_truth_one_half_is_what_one_seventh_is_between_recordings() -> None:
    signal = noise(60)
    a, b = (signal + math.sqrt(6.0) * noise(60, seed=seed) for seed in (1, 2))
    between = ring_correlation(sums(a, b))[:, 2:].mean()
    mean_of_both = ring_correlation(sums(0.5 * (a + b), signal))[:, 2:].mean()
    assert float(between) == pytest.approx(1.0 / 7.0, abs=0.01)
    assert float(mean_of_both) == pytest.approx(0.5, abs=0.01)


def test_an_empty_image_agrees_on_nothing() -> None:
    flat = torch.full((1, 64, 64), 0.4, dtype=torch.float64)
    found = ring_correlation(sums(flat, noise(1, 64, 64)))
    assert float(found[:, 1:].abs().max()) == 0.0


@given(cut=st.floats(0.03, 0.47), threshold=st.floats(0.1, 0.9))
def test_cut_off_lies_between_the_rings(cut: float, threshold: float) -> None:
    """A straight line from 1 at frequency 0 through the threshold at the cut is met exactly."""
    curve = 1.0 - FREQUENCY[None] / cut * (1.0 - threshold)
    assert float(cut_off(FREQUENCY, curve, threshold)) == pytest.approx(cut, abs=1e-9)


def test_cut_off_is_the_first_of_several_and_zero_for_nothing() -> None:
    dip = torch.ones(2, 65, dtype=torch.float64)
    dip[0, 20:23] = 0.0
    dip[1, 1:] = -1e-9
    found = cut_off(FREQUENCY, dip, 0.5)
    assert float(found[0]) == pytest.approx(float(FREQUENCY[19]) + 0.5 / 128)
    assert 0.0 < float(found[1]) < 1.0 / 128


def test_half_bit_threshold() -> None:
    """By hand for 100 samples; for very many it falls to 0.2071 / 1.2071."""
    found = half_bit(torch.tensor([100.0, 1e12], dtype=torch.float64))
    np.testing.assert_allclose(found, [0.39812 / 1.29812, 0.2071 / 1.2071], atol=1e-5)


def test_smoothing_keeps_straight_lines_inside_and_ring_zero() -> None:
    line = torch.linspace(1.0, 0.0, 65, dtype=torch.float64)[None]
    found = smooth(line)
    np.testing.assert_allclose(found[:, 3:-2], line[:, 3:-2], atol=1e-12)
    assert float(found[0, 0]) == 1.0
    np.testing.assert_allclose(found[0, 1], line[0, 1:4].mean())


def test_coherence_of_chance_is_near_zero_and_of_inversion_zero() -> None:
    independent = torch.full((50,), 64.0, dtype=torch.float64)
    draws = torch.randn(4000, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 8.0
    assert float(coherence(draws, independent).mean()) < 0.5 / 64
    assert float(coherence(torch.full((1, 50), -0.9, dtype=torch.float64), independent).max()) == 0.0
    np.testing.assert_allclose(coherence(torch.ones(1, 50, dtype=torch.float64), independent), 1.0)


def test_coherence_of_a_known_share_is_that_share() -> None:
    signal, other = noise(200, 64, 64), noise(200, 64, 64, seed=1)
    found = sums(signal + other, signal)
    share = coherence(ring_correlation(found), found.layout.independent)[:, 4:].mean()
    assert float(share) == pytest.approx(0.5, abs=0.01)


def test_power_distance_is_a_gain_in_decibels_and_blind_to_phases() -> None:
    image = noise(1)
    assert float(power_distance(sums(2.0 * image, image), 0.0)) == pytest.approx(20.0 * math.log10(2.0))
    assert float(power_distance(sums(noise(1, seed=9), image), 0.0)) < 1.5
    assert float(power_distance(sums(1e-5 * image, 3e-5 * image), 1e-4)) < 0.01


@pytest.mark.parametrize("side", [32, 33, 64, 101, 616])
def test_bins_hold_every_ring_once(side: int) -> None:
    frequency = torch.arange(side // 2 + 1, dtype=torch.float64) / side
    found = binned(frequency, frequency[None], 16)[0]
    for index in range(16):
        inside = [f for f in frequency.tolist()[1:] if index / 32 + 1e-6 < f <= (index + 1) / 32 + 1e-6]
        np.testing.assert_allclose(found[index], np.mean(inside), atol=1e-12)
    assert bool(binned(FREQUENCY[:9] * 4, torch.ones(1, 9, dtype=torch.float64), 16).isnan().any())
