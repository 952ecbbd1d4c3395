"""Recovered, invented and gained detail: what each error moves and what it leaves alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from srbench.evaluation.functional.rings import ring_sums, spectrum
from srbench.evaluation.functional.spectrum import BandSplit, band_split


def textured(count: int, seed: int, sigma: float = 0.8) -> torch.Tensor:
    white = np.random.default_rng(seed).normal(size=(count, 128, 160))
    return torch.from_numpy(ndimage.gaussian_filter(white, (0, sigma, sigma), mode="wrap"))


def blurred(images: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(images.numpy(), (0, sigma, sigma), mode="wrap"))


def split(sr: torch.Tensor, hr: torch.Tensor, scale: int = 2) -> BandSplit:
    return band_split(ring_sums(spectrum(sr), spectrum(hr)), scale)


def test_the_truth_itself() -> None:
    truth = textured(2, 0)
    found = split(truth, truth)
    np.testing.assert_allclose(found.recovered, 1.0, atol=1e-9)
    np.testing.assert_allclose(found.hallucinated, 0.0, atol=1e-9)
    np.testing.assert_allclose(found.gained, 1.0, atol=1e-9)


def test_blur_takes_detail_away_and_invents_none() -> None:
    truth = textured(4, 0)
    powers = [split(blurred(truth, sigma), truth) for sigma in (0.5, 0.8, 1.1)]
    gains = [float(found.gained.mean()) for found in powers]
    assert gains[0] > gains[1] > gains[2] > 0.0 and gains[2] < 0.1
    assert all(float(found.hallucinated.max()) < 0.02 for found in powers)


def test_detail_below_the_rounding_of_the_result_is_not_recovered() -> None:
    """A strong blur leaves nothing that 8 bits hold, so that R falls as well."""
    truth = 0.5 + 0.1 * textured(2, 0)
    mild, strong = (torch.round(blurred(truth, sigma) * 255) / 255 for sigma in (0.6, 2.5))
    assert float(split(mild, truth).recovered.min()) > 0.97
    assert float(split(strong, truth).recovered.max()) < 0.3


def test_invented_texture_of_the_right_power() -> None:
    found = split(textured(4, 1), textured(4, 0))
    np.testing.assert_allclose(found.gained, 1.0, atol=0.05)
    assert float(found.hallucinated.min()) > 0.98 and float(found.recovered.max()) < 0.02


@pytest.mark.parametrize("amount", [0.5, 1.0, 2.0])
def test_known_mixture(amount: float) -> None:
    """Truth plus independent texture of a times its power: H = a / (1 + a), R = 1 / (1 + a), G = 1 + a."""
    truth, other = textured(6, 0), textured(6, 1)
    found = split(truth + math.sqrt(amount) * other, truth)
    assert float(found.hallucinated.mean()) == pytest.approx(amount / (1 + amount), abs=0.02)
    assert float(found.recovered.mean()) == pytest.approx(1 / (1 + amount), abs=0.02)
    assert float(found.gained.mean()) == pytest.approx(1 + amount, rel=0.03)


def test_detail_of_inverted_contrast_is_invented() -> None:
    truth = textured(1, 0)
    found = split(-truth, truth)
    assert float(found.hallucinated) == pytest.approx(1.0) and float(found.recovered) == 0.0


def test_only_the_band_above_the_lr_nyquist_frequency_counts() -> None:
    truth = textured(1, 0)
    coarse = blurred(textured(1, 5), 8.0) * 100.0
    found, alone = split(truth + coarse, truth, 2), split(truth, truth, 2)
    assert float(found.gained) == pytest.approx(float(alone.gained), abs=0.01)
    assert float(split(truth + coarse, truth, 16).gained) > 2.0


def test_without_detail_there_is_no_share_of_it() -> None:
    truth = textured(1, 0)
    flat = torch.zeros_like(truth)
    found = split(flat, truth)
    assert float(found.recovered) == float(found.gained) == 0.0 and bool(found.hallucinated.isnan())
    assert not bool(split(truth, flat).gained.isfinite())


@pytest.mark.parametrize("invented", [0.0, 0.5])
@pytest.mark.parametrize("noise", [0.15, 0.3])
def test_two_noisy_recordings_tell_what_the_truth_would(invented: float, noise: float) -> None:
    truth = textured(8, 0)
    sr = blurred(truth, 0.5) + invented * blurred(textured(8, 1), 0.5)
    generator = torch.Generator().manual_seed(2)
    first, second = (
        truth + noise * torch.randn(truth.shape, dtype=torch.float64, generator=generator) for _ in "ab"
    )
    seen = band_split(
        ring_sums(spectrum(sr), spectrum(second)), 2, ring_sums(spectrum(first), spectrum(second))
    )
    known = split(sr, truth)
    for name in ("recovered", "hallucinated", "gained"):
        difference = (getattr(seen, name) - getattr(known, name)).mean()
        assert abs(float(difference)) < 0.05, name


def test_the_noise_of_a_recording_counts_as_invented() -> None:
    truth = textured(6, 0, sigma=0.4)
    generator = torch.Generator().manual_seed(2)
    scans = [truth + 0.5 * torch.randn(truth.shape, dtype=torch.float64, generator=generator) for _ in "abc"]
    spectra = [spectrum(scan) for scan in scans]
    found = band_split(ring_sums(spectra[0], spectra[2]), 2, ring_sums(spectra[1], spectra[2]))
    known = split(scans[0], truth)
    assert float(found.hallucinated.mean()) == pytest.approx(float(known.hallucinated.mean()), abs=0.06)
    assert float(found.hallucinated.mean()) > 0.2


def test_recordings_that_agree_on_nothing_say_nothing() -> None:
    a, b, sr = textured(1, 0), textured(1, 1), textured(1, 2)
    found = band_split(ring_sums(spectrum(sr), spectrum(b)), 2, ring_sums(spectrum(a), spectrum(b)))
    assert bool(found.recovered.isnan()) and not bool(found.gained.isfinite())
