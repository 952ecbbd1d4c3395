"""The line of noise over grey level: known settings come out of simulated recordings."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from srbench.datasets.degrade.noise import recorded_moments
from srbench.statistics.noise_curve import (
    NoiseSums,
    asks_for_a_smaller_pedestal,
    fit_line,
    settings_of,
    without_negative_noise,
)

ROUNDING = 1 / 12 / 255**2


def recorded(hr: np.ndarray, dose: float, read: float, pedestal: float, seed: int) -> np.ndarray:
    """8-bit recordings, by numpy alone."""
    draw = np.random.default_rng(seed)
    counts = draw.poisson(dose * np.clip(hr * (1 - pedestal) + pedestal, 0, None))
    shown = (counts / dose - pedestal) / (1 - pedestal) + read * draw.standard_normal(hr.shape)
    return np.asarray(np.round(np.clip(shown, 0, 1) * 255) / 255)


@pytest.mark.parametrize(
    ("dose", "read", "pedestal", "gain", "offset"),
    [(20, 0.01, 0.15, 1, 0), (60, 0.03, 0.15, 0.8, 0.1), (500, 0.01, 0.15, 1.2, -0.05), (80, 0, 0, 1, 0)],
)
def test_known_settings_are_found_clipped_as_recordings_are(
    dose: float, read: float, pedestal: float, gain: float, offset: float
) -> None:
    units = []
    draw = np.random.default_rng(3)
    for seed in range(8):
        hr = np.kron(draw.uniform(0.02, 0.85, (12, 12)), np.ones((12, 12)))
        lr = recorded(gain * hr + offset, dose, read, pedestal, seed)
        units.append(NoiseSums.of(hr, lr, hr, np.zeros_like(hr), np.ones(hr.shape, bool)).stacked())
    draws = np.random.default_rng(1).multinomial(8, np.full(8, 1 / 8), size=200).astype(float)
    line = fit_line(np.stack(units), draws, 0.15, ROUNDING)
    assert line is not None
    smaller = asks_for_a_smaller_pedestal(line, 0.15)
    assert smaller == (pedestal == 0)
    chosen = line.values[None] if smaller else without_negative_noise(line.values[None], line, 0.15)
    (found,) = settings_of(chosen, 0.15, held=not smaller)
    assert found[0] == pytest.approx(dose, rel=0.05)
    assert max(found[1], 0.0) == pytest.approx(read**2, abs=max(0.2 * read**2, 0.06 / dose))
    assert found[2] == pytest.approx(pedestal, abs=0.01)
    assert line.values[2:] == pytest.approx([gain, offset], abs=0.01)
    deviation = np.abs(line.values[2:] - [gain, offset])
    assert np.all(
        deviation < 4 * np.maximum(line.replicates.std(axis=0), np.sqrt(np.diag(line.covariance)))[2:]
    )


@pytest.mark.parametrize("pedestal", [-0.3, 0.15])
def test_moments_of_clipped_recordings_are_those_of_simulated_ones(pedestal: float) -> None:
    grey = np.array([0.05, 0.3, 0.9])
    mean, square = recorded_moments(torch.from_numpy(grey), 30.0, 0.02, pedestal)
    drawn = recorded(np.repeat(grey[:, None], 200_000, axis=1), 30.0, 0.02, pedestal, 0)
    assert mean.numpy() == pytest.approx(drawn.mean(axis=1), abs=2e-3)
    assert (square - mean**2).numpy() == pytest.approx(drawn.var(axis=1), rel=0.02, abs=1e-5)


def test_too_few_grey_levels_give_no_line() -> None:
    hr = np.full((40, 40), 0.5)
    sums = NoiseSums.of(hr, hr, hr, np.zeros_like(hr), np.ones(hr.shape, bool)).stacked()
    assert fit_line(sums[None], np.zeros((0, 1)), 0.15, ROUNDING) is None
