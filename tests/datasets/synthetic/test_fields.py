"""Random fields and rough edges against their spectra."""

import numpy as np
import pytest
from scipy import integrate

from srbench.datasets.synthetic.kinds.films import self_affine_spectrum
from srbench.datasets.synthetic.rng import (
    RandomStream,
    banded_spectrum,
    edge_psd,
    gaussian_field,
    rough_edge,
    smooth_spectrum,
)

STEP = 1 / 3


def edges(count, sigma=1.2, xi=10.0, hurst=0.5, points=900):
    return np.stack([rough_edge(RandomStream(11, k), points, STEP, sigma, xi, hurst) for k in range(count)])


def test_field_has_zero_mean_and_unit_variance():
    field = gaussian_field(RandomStream(1), 240, STEP, smooth_spectrum(3.0))
    assert field.mean() == pytest.approx(0, abs=1e-8)
    assert field.std() == pytest.approx(1, abs=1e-8)
    assert np.array_equal(field, np.round(field, 9))


@pytest.mark.slow
def test_smooth_field_has_the_gaussian_autocorrelation():
    fields = np.stack(
        [gaussian_field(RandomStream(2, k), 480, STEP, smooth_spectrum(3.0)) for k in range(30)]
    )
    for lag in (3, 9, 18):
        found = (fields * np.roll(fields, lag, axis=2)).mean()
        assert found == pytest.approx(np.exp(-((lag * STEP) ** 2) / (2 * 9)), abs=0.03)


def test_banded_field_has_its_power_at_the_wavelength():
    field = gaussian_field(RandomStream(3), 300, STEP, banded_spectrum(20.0, 0.2))
    power = np.abs(np.fft.fft2(field)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(300, STEP), np.fft.fftfreq(300, STEP)))
    assert (power * frequency).sum() / power.sum() == pytest.approx(1 / 20, rel=0.05)
    assert power[np.abs(frequency * 20 - 1) > 0.7].sum() < 0.01 * power.sum()


@pytest.mark.parametrize("hurst", [0.4, 0.5, 0.9])
def test_edge_psd_integrates_to_the_variance(hurst):
    total, _ = integrate.quad(lambda f: float(edge_psd(np.array(f), 1.3, 12.0, hurst)), 0, np.inf, limit=500)
    assert 2 * total == pytest.approx(1.3**2, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("sigma", "xi", "hurst"), [(0.4, 8.0, 0.5), (1.5, 25.0, 0.8)])
def test_edges_have_the_sigma_asked_for(sigma, xi, hurst):
    found = edges(300, sigma, xi, hurst)
    assert np.sqrt((found**2).mean()) == pytest.approx(sigma, rel=0.05)
    assert abs(found.mean()) < 0.1 * sigma


@pytest.mark.slow
def test_edges_of_hurst_one_half_have_an_exponential_autocorrelation():
    found = edges(400, xi=10.0)
    variance = (found**2).mean()
    for distance in (5.0, 10.0, 20.0):
        lag = round(distance / STEP)
        correlation = (found[:, :-lag] * found[:, lag:]).mean() / variance
        assert correlation == pytest.approx(np.exp(-distance / 10.0), abs=0.05)


@pytest.mark.slow
def test_edges_are_rougher_at_short_distance_for_a_smaller_hurst_exponent():
    """Structure function ~ distance^(2 H) below xi: its log slope gives H back."""
    for hurst in (0.4, 0.7):
        found = edges(150, xi=40.0, hurst=hurst, points=1500)
        short, longer = ((found[:, lag:] - found[:, :-lag]) ** 2 for lag in (3, 12))
        slope = np.log(longer.mean() / short.mean()) / np.log(4)
        assert slope / 2 == pytest.approx(hurst, abs=0.1)


@pytest.mark.slow
def test_the_two_ends_of_an_edge_are_not_tied_together():
    found = edges(400, xi=10.0, points=300)
    correlation = np.corrcoef(found[:, 0], found[:, -1])[0, 1]
    assert abs(correlation) < 0.15


@pytest.mark.slow
@pytest.mark.parametrize(("xi", "hurst"), [(6.0, 0.4), (15.0, 0.7), (40.0, 0.9)])
def test_the_relief_has_the_spectrum_of_a_self_affine_surface(xi, hurst):
    """Periodogram of many fields, ring by ring, over 1 / (1 + (2 pi f xi)^2)^(1 + H): constant."""
    side, power = 192, 0
    for seed in range(24):
        field = gaussian_field(RandomStream(5, seed), side, 1.0, self_affine_spectrum(xi, hurst))
        power = power + np.abs(np.fft.fft2(field)) ** 2
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    expected = 1 / (1 + (2 * np.pi * frequency * xi) ** 2) ** (1 + hurst)
    rings = [
        (frequency >= low) & (frequency < low + 0.05) & (frequency > 0) for low in np.arange(0, 0.45, 0.05)
    ]
    ratios = [(power[ring] / expected[ring]).mean() for ring in rings]
    np.testing.assert_allclose(ratios / np.mean(ratios), 1, atol=0.12)
