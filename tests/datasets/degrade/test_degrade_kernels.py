"""The two bicubics of other people's LR files: OpenCV's against OpenCV, Set5's against loops over pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.datasets import degrade
from srbench.datasets.degrade import LrPosition
from srbench.datasets.images.resize import read_crop, resize


def pictures(scale):
    rows, columns = np.mgrid[0 : 30 * scale, 0 : 40 * scale]
    smooth = 127.5 + 80 * np.sin(rows / 9.0) * np.cos(columns / 7.0) + 40 * (columns > 20 * scale)
    yield np.clip(np.round(smooth), 0, 255).astype(np.uint8)
    yield np.random.default_rng(scale).integers(0, 256, (30 * scale, 40 * scale), dtype=np.uint8)
    yield ((rows // 3 + columns // 5) % 2 * 255).astype(np.uint8)


def as_tensor(pixels, dtype=np.float32):
    return torch.from_numpy(pixels.astype(dtype) / np.asarray(255, dtype))[None, None]


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_cv2_cubic_is_opencv_on_float32(scale):
    cv2 = pytest.importorskip("cv2")
    for pixels in pictures(scale):
        image = pixels.astype(np.float32) / np.float32(255)
        expected = cv2.resize(image, (40, 30), interpolation=cv2.INTER_CUBIC)
        found = degrade.get("cv2_cubic")(torch.from_numpy(image)[None, None], scale)[0, 0].numpy()
        assert np.abs(found - expected).max() < 1e-5


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_cv2_cubic_is_opencv_on_uint8_but_for_its_rounding(scale):
    """OpenCV holds 8-bit coefficients in 11 fixed bits: at an odd half, one level up or down."""
    cv2 = pytest.importorskip("cv2")
    for pixels in pictures(scale):
        expected = cv2.resize(pixels, (40, 30), interpolation=cv2.INTER_CUBIC).astype(int)
        lr = degrade.quantise(degrade.get("cv2_cubic")(as_tensor(pixels), scale))[0, 0] * 255
        difference = np.abs(lr.round().numpy().astype(int) - expected)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01


def test_cv2_cubic_enlarges_as_opencv():
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(0).random((13, 17)).astype(np.float32)
    for size in ((26, 34), (39, 51), (31, 40), (13, 20)):
        expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC)
        assert np.abs(resize(torch.from_numpy(image), size, "cv2_cubic").numpy() - expected).max() < 1e-5


def test_the_bicubics_cannot_be_taken_for_one_another():
    """Far apart on a detailed image; the 8-bit steps of the legacy one are worth half a level."""
    pixels = list(pictures(4))[1]
    lr = {
        name: degrade.get(name)(as_tensor(pixels), 4) for name in ("bicubic", "cv2_cubic", "bicubic_legacy")
    }
    assert (lr["bicubic"] - lr["cv2_cubic"]).abs().mean() > 0.1
    inside = (lr["bicubic"].clamp(0, 1) - lr["bicubic_legacy"])[..., 2:-2, 2:-2].abs()
    assert 0.1 / 255 < inside.mean() < 0.6 / 255
    assert inside.max() < 1.5 / 255


def cubic(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def shrunk_line(line, scale):
    """One line of 8-bit levels, resized and rounded: MATLAB's contributions, one pixel at a time."""
    result = []
    for index in range(len(line) // scale):
        centre = (index + 0.5) * scale - 0.5
        taps = range(math.floor(centre - 2 * scale), math.ceil(centre + 2 * scale) + 1)
        weights = [cubic((centre - tap) / scale) / scale for tap in taps]
        values = [line[min(max(tap, 0), len(line) - 1)] for tap in taps]
        total = math.fsum(w * int(v) for w, v in zip(weights, values, strict=True)) / math.fsum(weights)
        result.append(min(max(math.floor(round(total, 9) + 0.5), 0), 255))
    return result


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_legacy_is_two_rounded_passes_over_replicated_lines(scale):
    for pixels in pictures(scale):
        lower = np.array([shrunk_line(column, scale) for column in pixels.T]).T
        expected = np.array([shrunk_line(row, scale) for row in lower])
        lr = degrade.get("bicubic_legacy")(as_tensor(pixels), scale)[0, 0] * 255
        assert np.array_equal(lr.round().numpy(), expected)
        assert (lr - lr.round()).abs().max() < 1e-4


def test_bicubic_legacy_shrinks_down_the_columns_first():
    pixels = list(pictures(3))[1]
    lr = degrade.get("bicubic_legacy")
    assert not torch.equal(lr(as_tensor(pixels), 3), lr(as_tensor(pixels.T.copy()), 3).mT)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(scale=st.sampled_from([2, 3, 4]), rows=st.integers(1, 9), seed=st.integers(0, 99), dark=st.booleans())
def test_replicated_borders_need_the_size_of_the_image_only_at_its_edge(scale, rows, seed, dark):
    """Without it LR of a crop is that of the whole image except within two pixels of the image's edge."""
    pixels = np.random.default_rng(seed).integers(0, 64 if dark else 256, (rows * scale, 9 * scale), np.uint8)
    legacy = degrade.get("bicubic_legacy")
    context = legacy.context(scale)
    around = read_crop(pixels, -context, -context, rows * scale + 2 * context, 9 * scale + 2 * context)
    crop = legacy(as_tensor(around), scale)[..., 2:-2, 2:-2]
    whole = legacy(as_tensor(pixels), scale)
    assert torch.equal(crop[..., 2:-2, 2:-2], whole[..., 2:-2, 2:-2])
    place = LrPosition(torch.tensor([0]), torch.tensor([[-2, -2]]), torch.tensor([[rows, 9]]))
    assert torch.equal(legacy(as_tensor(around), scale, place)[..., 2:-2, 2:-2], whole)
