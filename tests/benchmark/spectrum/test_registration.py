"""Registration: known sub-pixel shifts, scikit-image, and what may not disturb it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data
from skimage.registration import phase_cross_correlation

from srbench.evaluation.functional.registration import registration_shift
from srbench.evaluation.functional.rings import tukey

Floats = NDArray[np.float64]


def moved(image: Floats, dy: float, dx: float) -> Floats:
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])
    turned: Floats = np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * (fy * dy + fx * dx))).real
    return turned


def texture(height: int = 160, width: int = 200, seed: int = 0) -> Floats:
    white = np.random.default_rng(seed).normal(size=(height, width))
    smooth: Floats = ndimage.gaussian_filter(white, 1.5, mode="wrap")
    return smooth


def of(image: Floats) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None]


def found(sr: Floats, hr: Floats, **options: Any) -> tuple[float, float]:
    y, x = registration_shift(of(sr), of(hr), **options)[0].tolist()
    return y, x


@settings(max_examples=20, deadline=None)
@given(dy=st.floats(-6, 6), dx=st.floats(-6, 6), rim=st.integers(8, 12))
def test_known_shift_of_a_field_that_goes_on_outside(dy: float, dx: float, rim: int) -> None:
    image = texture()
    inside = (slice(rim, -rim), slice(rim, -8))
    y, x = found(moved(image, dy, dx)[inside], image[inside])
    assert y == pytest.approx(dy, abs=0.02) and x == pytest.approx(dx, abs=0.02)


def windowed(image: Floats, offset: tuple[float, float]) -> Floats:
    sides = (tukey(n, torch.tensor([by]))[0] for n, by in zip(image.shape, offset, strict=True))
    window = np.outer(*(side.numpy() for side in sides))
    faded: Floats = (image - (image * window).sum() / window.sum()) * window
    return faded


@pytest.mark.parametrize(("whitening", "normalization"), [(1.0, "phase"), (0.0, None)])
@pytest.mark.parametrize("shape", [(128, 128), (101, 140)])
def test_equals_scikit_image_on_what_the_windows_show(
    whitening: float, normalization: Any, shape: tuple[int, int]
) -> None:
    """With windows in their place scikit-image falls short of the shift, moved along they agree."""
    image, shift = data.camera()[60:260, 80:290] / 255.0, np.array([1.37, -2.81])
    inside = (slice(20, 20 + shape[0]), slice(30, 30 + shape[1]))
    hr, sr = image[inside], moved(image, *shift)[inside]
    ours = found(sr, hr, max_frequency=1.0, whitening=whitening)

    def theirs(half: tuple[float, float]) -> Floats:
        pictures = windowed(hr, (-half[0], -half[1])), windowed(sr, half)
        back, _, _ = phase_cross_correlation(*pictures, upsample_factor=100, normalization=normalization)
        return -back

    np.testing.assert_allclose(ours, theirs((0.5 * ours[0], 0.5 * ours[1])), atol=0.011)
    np.testing.assert_allclose(ours, shift, atol=0.02)
    assert np.abs(theirs((0.0, 0.0)) - shift).max() > np.abs(np.array(ours) - shift).max() - 1e-9


def test_smooth_images_are_not_held_back_by_the_window() -> None:
    """Grains of 6 px in 280 px: with a fixed window the peak lies at 1.25 of 1.3 px."""
    white = np.random.default_rng(2).normal(size=(300, 300))
    image = ndimage.gaussian_filter(white, 6.0, mode="wrap")
    inside = (slice(10, -10), slice(10, -10))
    y, x = found(moved(image, 1.3, -1.3)[inside], image[inside])
    assert y == pytest.approx(1.3, abs=0.02) and x == pytest.approx(-1.3, abs=0.02)


def test_identical_images_are_not_shifted_and_order_gives_the_sign() -> None:
    image = texture(81, 64)
    assert found(image, image) == (0.0, 0.0)
    ahead, back = found(moved(image, 2.3, -0.4), image), found(image, moved(image, 2.3, -0.4))
    np.testing.assert_allclose(ahead, [2.3, -0.4], atol=0.02)
    np.testing.assert_allclose(back, [-2.3, 0.4], atol=0.02)


@pytest.mark.parametrize("name", ["blur", "dilated", "swapped", "liar", "bicubic", "second"])
def test_other_errors_are_not_taken_for_shifts(constructed: Any, name: str) -> None:
    y, x = found(constructed.images[name], constructed.images["truth"], max_frequency=1 / 8)
    assert abs(y) < 0.15 and abs(x) < 0.15


def test_noise_beyond_the_highest_frequency_plays_no_part() -> None:
    image = texture(seed=1)
    white = np.random.default_rng(5).normal(size=image.shape)
    fine = white - ndimage.gaussian_filter(white, 1.5, mode="wrap")
    y, x = found(moved(image, 0.6, 1.2) + fine, image, max_frequency=0.1)
    assert y == pytest.approx(0.6, abs=0.1) and x == pytest.approx(1.2, abs=0.1)


def test_a_grating_is_registered_within_reach() -> None:
    """A shift by one period is no shift for a grating; within reach the near one is found."""
    grating = np.tile(np.sin(2 * np.pi * np.arange(160) / 8.0), (128, 1)) + 0.01 * texture(128, 160)
    y, x = found(moved(grating, 0.0, 1.5), grating, reach=4.0)
    assert y == pytest.approx(0.0, abs=0.05) and x == pytest.approx(1.5, abs=0.05)


def test_an_even_grey_has_no_place() -> None:
    y, x = found(np.full((64, 64), 0.5), texture(64, 64))
    assert np.isnan(y) and np.isnan(x)


def test_batches_and_float32() -> None:
    image = texture(90, 75)
    batch = torch.from_numpy(np.stack([moved(image, 0.5, 0.25), image, moved(image, -3.0, 7.5)]))
    same = torch.from_numpy(np.stack([image] * 3))
    whole = registration_shift(batch, same)
    for index in range(3):
        single = registration_shift(batch[index : index + 1], same[:1])
        np.testing.assert_allclose(whole[index], single[0], atol=1e-12)
    narrow = registration_shift(batch.float(), same.float())
    np.testing.assert_allclose(narrow, whole, atol=0.011)
