"""How far clipped recordings lie from their expectation: simulation, quadrature, limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from srbench.datasets import degrade
from srbench.datasets.degrade import LrPosition
from srbench.datasets.degrade.noise import GAUSSIAN_DOSE, SPREAD_NODES, DoseNoise, clipped_spread

GREYS = [0.0, 0.003, 0.1, 0.3333, 0.5, 0.8, 0.97, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize("pedestal", [0.0, 0.15])
@pytest.mark.parametrize("read", [0.0, 0.05])
@pytest.mark.parametrize("dose", [3.0, 20.0, 60.0, 400.0])
def test_it_is_what_simulated_recordings_scatter(dose: float, read: float, pedestal: float) -> None:
    generator = np.random.default_rng(0)
    found = clipped_spread(torch.tensor(GREYS, dtype=torch.float64), dose, read, pedestal)
    for grey, spread in zip(GREYS, found.tolist(), strict=True):
        counts = generator.poisson(dose * (grey * (1.0 - pedestal) + pedestal), 200_000)
        shown = (counts / dose - pedestal) / (1.0 - pedestal) + read * generator.standard_normal(200_000)
        squares = (np.clip(shown, 0.0, 1.0) - grey) ** 2
        error = squares.std() / math.sqrt(squares.size)
        assert spread == pytest.approx(squares.mean(), abs=5.0 * error + 2e-6)


@pytest.mark.parametrize("dose", [1.01 * GAUSSIAN_DOSE, 1e5])
def test_many_electrons_are_gaussian(dose: float) -> None:
    grey, read, pedestal = 0.01, 0.02, 0.15
    variance = (grey * (1 - pedestal) + pedestal) / (dose * (1 - pedestal) ** 2) + read**2
    law = stats.norm(grey, math.sqrt(variance))
    inside, _ = integrate.quad(lambda x: (x - grey) ** 2 * law.pdf(x), 0.0, 1.0, points=[grey, 0.1])
    expected = inside + grey**2 * law.cdf(0.0) + (1 - grey) ** 2 * law.sf(1.0)
    found = clipped_spread(torch.tensor([grey], dtype=torch.float64), dose, read, pedestal).item()
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_the_two_ways_of_counting_meet() -> None:
    greys = torch.linspace(0.0, 1.0, 37, dtype=torch.float64)
    counted, gaussian = (
        clipped_spread(greys, dose, 0.01, 0.15) for dose in (GAUSSIAN_DOSE, GAUSSIAN_DOSE * 1.0001)
    )
    assert torch.allclose(counted, gaussian, rtol=0.01)


def test_away_from_black_and_white_it_is_the_variance() -> None:
    noise = DoseNoise(150.0, 0.01, 0.15)
    inside, edges = (
        torch.tensor([list(g)], dtype=torch.float64) for g in (np.linspace(0.45, 0.55, 11), (0.0, 1.0))
    )
    position = LrPosition.whole(1)
    assert torch.allclose(noise.spread(inside, position), noise.variance(inside, position), rtol=1e-4)
    assert torch.allclose(noise.spread(edges, position), 0.5 * noise.variance(edges, position), rtol=0.1)


def test_what_is_beyond_black_and_white_counts_as_they_do() -> None:
    values = torch.tensor([-0.2, 0.0, 1.0, 1.3], dtype=torch.float64)
    found = clipped_spread(values, 20.0, 0.0, 0.15).tolist()
    assert found[0] == found[1] and found[2] == found[3]


def test_between_the_nodes_of_the_table_it_hardly_errs() -> None:
    """Half way between two nodes, against the sum over all counts."""
    grey, dose, pedestal = 17.5 / (SPREAD_NODES - 1), 20.0, 0.15
    counts = np.arange(200)
    chances = stats.poisson(dose * (grey * (1 - pedestal) + pedestal)).pmf(counts)
    shown = np.clip((counts / dose - pedestal) / (1 - pedestal), 0.0, 1.0)
    expected = float(chances @ (shown - grey) ** 2)
    found = clipped_spread(torch.tensor([grey], dtype=torch.float64), dose, 0.0, pedestal).item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_shape_dtype_and_the_named_degradations() -> None:
    made = degrade.get("sem_pixel:dose=20")
    assert made.noise is not None
    image = torch.rand(2, 1, 5, 7)
    found = made.noise.spread(image, LrPosition.whole(1, 2))
    assert found.shape == image.shape and found.dtype == torch.float32 and (found > 0.0).all()
