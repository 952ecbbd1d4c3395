"""Recovered, invented and gained detail: what each error moves and what it leaves alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from srbench.metrics.spectrum import (
    BandSplit,
    RingSums,
    band_split,
    detail_of_two,
    ring_sums,
    windowed_spectrum,
)
from srbench.utils.image import Plane


def textured(seed: int, sigma: float = 0.8) -> Plane:
    white = np.random.default_rng(seed).normal(size=(128, 160))
    return ndimage.gaussian_filter(white, sigma, mode="wrap")


def blurred(image: Plane, sigma: float) -> Plane:
    return ndimage.gaussian_filter(image, sigma, mode="wrap")


def sums(a: Plane, b: Plane) -> RingSums:
    return ring_sums(windowed_spectrum(a), windowed_spectrum(b), a.shape[1])


def split(sr: Plane, hr: Plane, scale: int = 2) -> BandSplit:
    return band_split(sums(sr, hr), 0.5 / scale)


def mean_of(splits: list[BandSplit], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in splits]))


def test_the_truth_itself() -> None:
    truth = textured(0)
    result = split(truth, truth)
    assert (result.recovered, result.hallucinated, result.gained) == pytest.approx((1.0, 0.0, 1.0), abs=1e-9)


def test_blur_takes_detail_away_and_invents_none() -> None:
    truth = textured(0)
    results = [split(blurred(truth, sigma), truth) for sigma in (0.5, 0.8, 1.1)]
    gains = [result.gained for result in results]
    assert gains[0] > gains[1] > gains[2] > 0.0 and gains[2] < 0.1
    assert all(result.hallucinated < 0.02 for result in results)


def test_detail_below_the_rounding_of_the_result_is_not_recovered() -> None:
    """A strong blur leaves nothing that 8 bits hold, so that R falls as well."""
    truth = 0.5 + 0.1 * textured(0)
    mild, strong = (np.round(blurred(truth, sigma) * 255) / 255 for sigma in (0.6, 2.5))
    assert split(mild, truth).recovered > 0.97
    assert split(strong, truth).recovered < 0.3


def test_invented_texture_of_the_right_power() -> None:
    result = split(textured(1), textured(0))
    assert result.gained == pytest.approx(1.0, abs=0.05)
    assert result.hallucinated > 0.98 and result.recovered < 0.02


@pytest.mark.parametrize("amount", [0.5, 1.0, 2.0])
def test_known_mixture(amount: float) -> None:
    """Truth plus independent texture of a times its power: H = a / (1 + a), R = 1 / (1 + a), G = 1 + a."""
    results = []
    for seed in range(6):
        truth = textured(2 * seed)
        results.append(split(truth + math.sqrt(amount) * textured(2 * seed + 1), truth))
    assert mean_of(results, "hallucinated") == pytest.approx(amount / (1 + amount), abs=0.02)
    assert mean_of(results, "recovered") == pytest.approx(1 / (1 + amount), abs=0.02)
    assert mean_of(results, "gained") == pytest.approx(1 + amount, rel=0.03)


def test_detail_of_inverted_contrast_is_invented() -> None:
    truth = textured(0)
    result = split(-truth, truth)
    assert result.hallucinated == pytest.approx(1.0) and result.recovered == 0.0


def test_only_the_band_above_the_lr_nyquist_frequency_counts() -> None:
    truth = textured(0)
    coarse = blurred(textured(5), 8.0) * 100.0
    assert split(truth + coarse, truth, 2).gained == pytest.approx(split(truth, truth, 2).gained, abs=0.01)
    assert split(truth + coarse, truth, 16).gained > 2.0


def test_without_detail_there_is_no_share_of_it() -> None:
    truth = textured(0)
    flat = np.zeros_like(truth)
    result = split(flat, truth)
    assert result.recovered == result.gained == 0.0 and math.isnan(result.hallucinated)
    assert not math.isfinite(split(truth, flat).gained)


@pytest.mark.slow
@pytest.mark.parametrize("invented", [0.0, 0.5])
@pytest.mark.parametrize("noise", [0.15, 0.3])
def test_two_noisy_recordings_tell_what_the_truth_would(invented: float, noise: float) -> None:
    generator = np.random.default_rng(2)
    seen, expected = [], []
    for seed in range(8):
        truth = textured(2 * seed)
        sr = blurred(truth, 0.5) + invented * blurred(textured(2 * seed + 1), 0.5)
        first, second = (truth + noise * generator.normal(size=truth.shape) for _ in "ab")
        seen.append(band_split(sums(sr, second), 0.25, detail_of_two(sums(first, second))))
        expected.append(split(sr, truth))
    for name in ("recovered", "hallucinated", "gained"):
        assert mean_of(seen, name) == pytest.approx(mean_of(expected, name), abs=0.05), name


def test_the_noise_of_a_recording_counts_as_invented() -> None:
    generator = np.random.default_rng(2)
    seen, expected = [], []
    for seed in range(6):
        truth = textured(seed, sigma=0.4)
        a, b, c = (truth + 0.5 * generator.normal(size=truth.shape) for _ in "abc")
        seen.append(band_split(sums(a, c), 0.25, detail_of_two(sums(b, c))))
        expected.append(split(a, truth))
    assert mean_of(seen, "hallucinated") == pytest.approx(mean_of(expected, "hallucinated"), abs=0.06)
    assert mean_of(seen, "hallucinated") > 0.2


def test_recordings_that_agree_on_nothing_say_nothing() -> None:
    a, b, sr = textured(0), textured(1), textured(2)
    result = band_split(sums(sr, b), 0.25, detail_of_two(sums(a, b)))
    assert math.isnan(result.recovered) and not math.isfinite(result.gained)
