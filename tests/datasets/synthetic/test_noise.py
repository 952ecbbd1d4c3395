"""Noise statistics against the Poisson law."""

import numpy as np
import pytest
from scipy import stats

from srbench.datasets.synthetic.imaging import (
    acquire,
    noise_variance,
    poisson_distribution,
    poisson_of_levels,
)
from srbench.datasets.synthetic.rng import RandomStream


@pytest.mark.parametrize("dose", [150.0, 600.0])
@pytest.mark.parametrize("level", [77, 128, 179])
def test_mean_and_variance_follow_the_dose(dose, level):
    flat = np.full((300, 300), level, dtype=np.uint8)
    scan = acquire(flat, RandomStream(1, level), dose) / 255
    expected = float(noise_variance(np.array(level / 255), dose)) + 1 / (12 * 255**2)
    assert scan.mean() == pytest.approx(level / 255, abs=4 * np.sqrt(expected / scan.size))
    assert scan.var() == pytest.approx(expected, rel=0.03)


def test_variance_formula_is_poisson_plus_electronics():
    """At full signal: 1/dose, stretched by the brightness setting, plus the square of the read noise."""
    assert noise_variance(np.array(1.0), 100.0) == pytest.approx(0.01 / 0.85**2 + 1e-4)


@pytest.mark.parametrize("mean", [2.5, 22.5, 150.0, 600.0])
def test_distribution_function_is_that_of_scipy(mean):
    found = poisson_distribution(mean)
    np.testing.assert_allclose(found, stats.poisson.cdf(np.arange(found.size), mean), atol=1e-12)
    assert found[-1] == pytest.approx(1, abs=1e-12)


def test_counts_follow_the_poisson_law():
    levels = np.full((200, 200), 255, dtype=np.uint8)
    counts = poisson_of_levels(levels, 60.0, RandomStream(4).uniforms(200, 200)).ravel()
    edges = stats.poisson.ppf([0.1, 0.3, 0.5, 0.7, 0.9], 60.0)
    observed = np.bincount(np.digitize(counts, edges, right=True), minlength=6)
    expected = counts.size * np.diff(np.concatenate([[0], stats.poisson.cdf(edges, 60.0), [1]]))
    assert stats.chisquare(observed, expected).pvalue > 0.01


@pytest.mark.slow
def test_two_acquisitions_share_the_signal_and_nothing_else():
    truth = (np.add.outer(np.arange(300), np.arange(300)) % 140 + 60).astype(np.uint8)
    first, second = (acquire(truth, RandomStream(5, stage)).astype(float) - truth for stage in (0, 1))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / 300


def test_noise_of_neighbouring_pixels_is_independent():
    flat = np.full((400, 400), 120, dtype=np.uint8)
    noise = acquire(flat, RandomStream(6)).astype(float) - 120
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 5 / 400
