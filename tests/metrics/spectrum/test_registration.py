"""Registration: known sub-pixel shifts, and what may not disturb it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data

from srbench.metrics.edges import registration_shift

Floats = NDArray[np.float64]


def moved(image: Floats, dy: float, dx: float) -> Floats:
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])
    turned: Floats = np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * (fy * dy + fx * dx))).real
    return turned


def texture(height: int = 160, width: int = 200, seed: int = 0) -> Floats:
    white = np.random.default_rng(seed).normal(size=(height, width))
    smooth: Floats = ndimage.gaussian_filter(white, 1.5, mode="wrap")
    return smooth


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(dy=st.floats(-6, 6), dx=st.floats(-6, 6), rim=st.integers(8, 12))
def test_known_shift_of_a_field_that_goes_on_outside(dy: float, dx: float, rim: int) -> None:
    image = texture()
    inside = (slice(rim, -rim), slice(rim, -8))
    y, x = registration_shift(moved(image, dy, dx)[inside], image[inside])
    assert y == pytest.approx(dy, abs=0.02) and x == pytest.approx(dx, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(128, 128), (101, 140)])
def test_a_photograph_with_any_whitening(whitening: float, shape: tuple[int, int]) -> None:
    image, shift = data.camera()[60:260, 80:290] / 255.0, (1.37, -2.81)
    inside = (slice(20, 20 + shape[0]), slice(30, 30 + shape[1]))
    sr, hr = moved(image, *shift)[inside], image[inside]
    result = registration_shift(sr, hr, max_frequency=1.0, whitening=whitening)
    np.testing.assert_allclose(result, shift, atol=0.02)


@pytest.mark.slow
def test_smooth_images_are_not_held_back_by_the_window() -> None:
    """Grains of 6 px in 280 px: with a fixed window the peak lies at 1.25 of 1.3 px."""
    white = np.random.default_rng(2).normal(size=(300, 300))
    image = ndimage.gaussian_filter(white, 6.0, mode="wrap")
    inside = (slice(10, -10), slice(10, -10))
    y, x = registration_shift(moved(image, 1.3, -1.3)[inside], image[inside])
    assert y == pytest.approx(1.3, abs=0.02) and x == pytest.approx(-1.3, abs=0.02)


@pytest.mark.slow
def test_identical_images_are_not_shifted_and_order_gives_the_sign() -> None:
    image = texture(81, 64)
    assert registration_shift(image, image) == (0.0, 0.0)
    ahead, back = (
        registration_shift(moved(image, 2.3, -0.4), image),
        registration_shift(image, moved(image, 2.3, -0.4)),
    )
    np.testing.assert_allclose(ahead, [2.3, -0.4], atol=0.02)
    np.testing.assert_allclose(back, [-2.3, 0.4], atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blur", "dilated", "swapped", "liar", "bicubic", "second"])
def test_other_errors_are_not_taken_for_shifts(constructed: Any, name: str) -> None:
    y, x = registration_shift(constructed.images[name], constructed.images["truth"], max_frequency=1 / 8)
    assert abs(y) < 0.15 and abs(x) < 0.15


@pytest.mark.slow
def test_noise_beyond_the_highest_frequency_plays_no_part() -> None:
    image = texture(seed=1)
    white = np.random.default_rng(5).normal(size=image.shape)
    fine = white - ndimage.gaussian_filter(white, 1.5, mode="wrap")
    y, x = registration_shift(moved(image, 0.6, 1.2) + fine, image, max_frequency=0.1)
    assert y == pytest.approx(0.6, abs=0.1) and x == pytest.approx(1.2, abs=0.1)


def test_a_grating_with_some_grain_is_not_taken_for_its_neighbour() -> None:
    """A grating alone fits at every period; a hundredth of texture tells which."""
    grating = np.tile(np.sin(2 * np.pi * np.arange(160) / 8.0), (128, 1)) + 0.01 * texture(128, 160)
    y, x = registration_shift(moved(grating, 0.0, 1.5), grating)
    assert y == pytest.approx(0.0, abs=0.05) and x == pytest.approx(1.5, abs=0.05)


def test_an_even_grey_has_no_place() -> None:
    y, x = registration_shift(np.full((64, 64), 0.5), texture(64, 64))
    assert np.isnan(y) and np.isnan(x)
