"""The three estimates of a blur that was put there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from helpers.drawn_scenes import draw_discs, place_discs
from srbench.measuring.sharpness import METHODS, sharpness


def blurred(sigma: float, noise: float, seed: int = 0) -> np.ndarray:
    """Discs with edges as wide as a pixel, under a Gaussian."""
    generator = np.random.default_rng(seed)
    discs = place_discs(3, generator.uniform(10.0, 24.0, 30), side=320)
    image = ndimage.gaussian_filter(draw_discs(discs, size=320), sigma)
    return np.clip(image + generator.normal(0.0, noise, image.shape), 0.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [1.5, 2.5, 4.0])
@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_methods_find_a_known_blur(sigma: float, noise: float) -> None:
    # A box of one pixel, of which the drawing is made, adds 1/12 to the variance.
    expected = np.sqrt(sigma**2 + 1 / 12)
    found = sharpness(blurred(sigma, noise))
    assert found["derivative"] == pytest.approx(expected, rel=0.07)
    assert found["contrast-to-gradient"] == pytest.approx(expected, rel=0.07)
    assert found["Fourier"] == pytest.approx(expected, rel=0.12)


def test_an_image_without_edges_has_no_sharpness() -> None:
    noise = np.random.default_rng(1).normal(0.5, 0.01, (96, 96))
    found = sharpness(noise)
    assert set(found) == set(METHODS)
    assert np.isnan(found["Fourier"])
    assert np.isnan(sharpness(np.full((64, 64), 0.5))["derivative"])
