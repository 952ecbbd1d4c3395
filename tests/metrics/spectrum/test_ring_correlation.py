"""Ring correlation, its thresholds and its cut-off: closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srbench.metrics.spectrum import (
    RingSums,
    binned,
    coherence,
    cut_off,
    half_bit,
    power_distance,
    radial_frequency,
    ring_correlation,
    ring_sums,
    smooth,
    windowed_spectrum,
)
from srbench.utils.image import Plane

FREQUENCY = np.arange(65) / 128


def noise(seed: int = 0, height: int = 96, width: int = 128) -> Plane:
    return np.random.default_rng(seed).normal(size=(height, width))


def sums(a: Plane, b: Plane) -> RingSums:
    return ring_sums(windowed_spectrum(a), windowed_spectrum(b), a.shape[1])


def low_passed(image: Plane, width: float) -> Plane:
    response = np.exp(-0.5 * (radial_frequency(*image.shape) / width) ** 2)
    return np.fft.irfft2(np.fft.rfft2(image) * response, s=image.shape)


def mean_correlation(pairs: list[tuple[Plane, Plane]]) -> Plane:
    return np.mean([ring_correlation(sums(a, b)) for a, b in pairs], axis=0)


def test_identical_images_correlate_fully() -> None:
    image = noise(0, 61, 90)
    np.testing.assert_allclose(ring_correlation(sums(image, image)), 1.0, atol=1e-12)
    assert cut_off(FREQUENCY, np.ones(65), 0.5) == 0.5


def test_gain_and_offset_change_nothing_and_inversion_the_sign() -> None:
    a, b = noise(), noise(1) + noise()
    correlation = ring_correlation(sums(a, b))
    np.testing.assert_allclose(ring_correlation(sums(0.1 * a + 4.0, b)), correlation, atol=1e-9)
    np.testing.assert_allclose(ring_correlation(sums(-a, b))[1:], -correlation[1:], atol=1e-12)


@pytest.mark.slow
def test_independent_noise_correlates_by_chance_only() -> None:
    results = [sums(noise(seed), noise(seed + 1000)) for seed in range(100)]
    correlation = np.array([ring_correlation(result)[1:] for result in results])
    spread = correlation.std(0) * np.sqrt(results[0].layout.samples[1:])
    assert abs(correlation.mean()) < 0.01
    assert 0.95 < spread.mean() < 1.15


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [0.2, 1.0, 5.0])
def test_known_signal_to_noise_gives_the_theoretical_curve(ratio: float) -> None:
    """Signal with a Gaussian spectrum, white noise of its own in each recording: S / (S + N) in each ring."""
    pairs = []
    for seed in range(60):
        signal = low_passed(noise(3 * seed), 0.12)
        pairs.append(tuple(signal + math.sqrt(1.0 / ratio) * 0.3 * noise(3 * seed + n) for n in (1, 2)))
    power = np.exp(-((sums(*pairs[0]).layout.frequency / 0.12) ** 2))
    expected = power / (power + 0.09 / ratio)
    np.testing.assert_allclose(mean_correlation(pairs)[2:], expected[2:], atol=0.03)


@pytest.mark.slow
def test_against_a_clean_truth_one_half_is_what_one_seventh_is_between_recordings() -> None:
    between, mean_of_both = [], []
    for seed in range(60):
        signal = noise(3 * seed)
        a, b = (signal + math.sqrt(6.0) * noise(3 * seed + n) for n in (1, 2))
        between.append((a, b))
        mean_of_both.append((0.5 * (a + b), signal))
    assert mean_correlation(between)[2:].mean() == pytest.approx(1.0 / 7.0, abs=0.01)
    assert mean_correlation(mean_of_both)[2:].mean() == pytest.approx(0.5, abs=0.01)


def test_an_empty_image_agrees_on_nothing() -> None:
    correlation = ring_correlation(sums(np.full((64, 64), 0.4), noise(0, 64, 64)))
    assert np.abs(correlation[1:]).max() == 0.0


@pytest.mark.slow
@given(cut=st.floats(0.03, 0.47), threshold=st.floats(0.1, 0.9))
def test_cut_off_lies_between_the_rings(cut: float, threshold: float) -> None:
    """A straight line from 1 at frequency 0 through the threshold at the cut is met exactly."""
    curve = 1.0 - FREQUENCY / cut * (1.0 - threshold)
    assert cut_off(FREQUENCY, curve, threshold) == pytest.approx(cut, abs=1e-9)


def test_cut_off_is_the_first_of_several_and_zero_for_nothing() -> None:
    dips, nothing = np.ones(65), np.ones(65)
    dips[20:23] = 0.0
    nothing[1:] = -1e-9
    assert cut_off(FREQUENCY, dips, 0.5) == pytest.approx(FREQUENCY[19] + 0.5 / 128)
    assert 0.0 < cut_off(FREQUENCY, nothing, 0.5) < 1.0 / 128


def test_half_bit_threshold() -> None:
    """By hand for 100 samples; for very many it falls to 0.2071 / 1.2071."""
    expected = [0.39812 / 1.29812, 0.2071 / 1.2071]
    np.testing.assert_allclose(half_bit(np.array([100.0, 1e12])), expected, atol=1e-5)


def test_smoothing_keeps_straight_lines_inside_and_ring_zero() -> None:
    line = np.linspace(1.0, 0.0, 65)
    smoothed = smooth(line)
    np.testing.assert_allclose(smoothed[3:-2], line[3:-2], atol=1e-12)
    assert smoothed[0] == 1.0
    np.testing.assert_allclose(smoothed[1], line[1:4].mean())


def test_coherence_of_chance_is_near_zero_and_of_inversion_zero() -> None:
    independent = np.full(50, 64.0)
    draws = np.random.default_rng(0).normal(size=(4000, 50)) / 8.0
    assert coherence(draws, independent).mean() < 0.5 / 64
    assert coherence(np.full(50, -0.9), independent).max() == 0.0
    np.testing.assert_allclose(coherence(np.ones(50), independent), 1.0)


@pytest.mark.slow
def test_coherence_of_a_known_share_is_that_share() -> None:
    shares = []
    for seed in range(200):
        signal, other = noise(2 * seed, 64, 64), noise(2 * seed + 1, 64, 64)
        result = sums(signal + other, signal)
        shares.append(coherence(ring_correlation(result), result.layout.independent)[4:].mean())
    assert np.mean(shares) == pytest.approx(0.5, abs=0.01)


def test_power_distance_is_a_gain_in_decibels_and_blind_to_phases() -> None:
    image = noise()
    assert power_distance(sums(2.0 * image, image), 0.0) == pytest.approx(20.0 * math.log10(2.0))
    assert power_distance(sums(noise(9), image), 0.0) < 1.5
    assert power_distance(sums(1e-5 * image, 3e-5 * image), 1e-4) < 0.01


@pytest.mark.parametrize("side", [32, 33, 64, 101, 616])
def test_bins_hold_every_ring_once(side: int) -> None:
    frequency = np.arange(side // 2 + 1) / side
    bins = binned(frequency, frequency, 16)
    for index in range(16):
        inside = [f for f in frequency.tolist()[1:] if index / 32 + 1e-6 < f <= (index + 1) / 32 + 1e-6]
        np.testing.assert_allclose(bins[index], np.mean(inside), atol=1e-12)
    assert np.isnan(binned(FREQUENCY[:9] * 4, np.ones(9), 16)).any()
