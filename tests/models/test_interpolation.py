"""Interpolation inside networks equals MATLAB's imresize, written out as a dense matrix, and torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.models import ModelError, create
from srbench.models.layers import InterpolationUpsample, PixelShuffleUpsampler, receptive_radius

SCALES = (2, 3, 4, 8)


def cubic(x):
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


def lanczos3(x):
    return np.sinc(x) * np.sinc(x / 3) * (np.abs(x) < 3)


DENSE_KERNELS = {
    "nearest": (lambda x: ((x >= -0.5) & (x < 0.5)).astype(float), 1),
    "bilinear": (lambda x: np.clip(1 - np.abs(x), 0, None), 2),
    "bicubic": (cubic, 4),
    "lanczos": (lanczos3, 6),
}


def imresize_matrix(length: int, scale: int, kernel: str) -> np.ndarray:
    """MATLAB's ``contributions``, 1-based as there, indices mirrored, as a dense ``(out, in)`` matrix."""
    function, width = DENSE_KERNELS[kernel]
    u = np.arange(1, length * scale + 1) / scale + 0.5 * (1 - 1 / scale)
    left = np.floor(u - width / 2)
    indices = left[:, None] + np.arange(width + 2)
    weights = function(u[:, None] - indices)
    weights /= weights.sum(1, keepdims=True)
    mirror = np.concatenate([np.arange(length), np.arange(length)[::-1]])
    matrix = np.zeros((length * scale, length))
    for row in range(length * scale):
        np.add.at(matrix[row], mirror[np.mod(indices[row].astype(int) - 1, 2 * length)], weights[row])
    return matrix


def imresize(image: np.ndarray, scale: int, kernel: str) -> np.ndarray:
    rows, columns = (imresize_matrix(side, scale, kernel) for side in image.shape[-2:])
    return rows @ image @ columns.T


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kernel", DENSE_KERNELS)
@pytest.mark.parametrize("shape", [(2, 1, 11, 7), (1, 3, 2, 5), (1, 1, 1, 1)])
def test_equals_matlab(kernel, scale, shape):
    image = torch.rand(shape, dtype=torch.float64)
    ours = InterpolationUpsample(kernel, scale)(image)
    np.testing.assert_allclose(ours, imresize(image.numpy(), scale, kernel), atol=1e-12)
    in_float32 = InterpolationUpsample(kernel, scale)(image.float())
    assert in_float32.dtype == torch.float32
    np.testing.assert_allclose(in_float32, ours, atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_equals_torch_away_from_its_different_border(kernel, scale):
    image = torch.rand(1, 2, 12, 9, dtype=torch.float64)
    mirrored = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="symmetric"))
    size = [side * scale for side in mirrored.shape[-2:]]
    theirs = F.interpolate(mirrored, size=size, mode=kernel, antialias=True, align_corners=False)
    border = slice(4 * scale, -4 * scale)
    torch.testing.assert_close(
        InterpolationUpsample(kernel, scale)(image), theirs[..., border, border], atol=1e-7, rtol=0
    )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kernel", DENSE_KERNELS)
def test_equals_the_resize_of_the_data_side(kernel, scale):
    from srbench.datasets.images.resize import resize

    image = torch.rand(1, 1, 17, 23, dtype=torch.float64)
    ours = InterpolationUpsample(kernel, scale)(image)
    torch.testing.assert_close(ours, resize(image, (17 * scale, 23 * scale), kernel), atol=1e-12, rtol=0)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    kernel=st.sampled_from(sorted(DENSE_KERNELS)),
    scale=st.sampled_from(SCALES),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    grey=st.floats(0, 1),
)
def test_flat_images_stay_flat_and_orientation_does_not_matter(kernel, scale, height, width, grey):
    upsample = InterpolationUpsample(kernel, scale)
    flat = torch.full((1, 1, height, width), grey, dtype=torch.float64)
    assert torch.allclose(upsample(flat), torch.full((), grey, dtype=torch.float64), atol=1e-12)
    image = torch.rand(1, 1, height, width, dtype=torch.float64)
    enlarged = upsample(image)
    assert torch.allclose(upsample(image.transpose(-1, -2)), enlarged.transpose(-1, -2), atol=1e-12)
    assert torch.allclose(upsample(image.flip(-1)), enlarged.flip(-1), atol=1e-12)


def test_gradient_is_right():
    image = torch.rand(1, 1, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(InterpolationUpsample("bicubic", 2), (image,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_only_once(dtype):
    image = torch.rand(1, 1, 6, 6).to(dtype)
    upsample = InterpolationUpsample("bicubic", 4)
    assert torch.equal(upsample(image), upsample(image.float()).to(dtype))


def test_autocast_changes_nothing():
    image = torch.rand(1, 1, 6, 6)
    upsample = InterpolationUpsample("lanczos", 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(upsample(image), upsample.float()(image))
        assert upsample(image).dtype == torch.float32


@pytest.mark.parametrize("name", DENSE_KERNELS)
def test_registered_models_interpolate(name):
    model = create(name, scale=3, channels=3)
    lr = torch.rand(1, 3, 5, 4)
    expected = imresize(lr.double().numpy(), 3, name).clip(0, 1)
    np.testing.assert_allclose(model.infer(lr), expected, atol=1e-6)
    assert not model.network.state_dict()
    assert not model.card.trainable
    with pytest.raises(ModelError, match="no parameters to train"):
        model.recipe("smoke")


@pytest.mark.parametrize("name", DENSE_KERNELS)
@pytest.mark.parametrize("scale", SCALES)
def test_stated_radius_is_the_measured_one(name, scale, probe):
    radius = DENSE_KERNELS[name][1] // 2
    model = create(name, scale=scale)
    assert model.receptive_radius == radius
    assert probe(model.network, scale, 6) == radius


@pytest.mark.parametrize("name", DENSE_KERNELS)
def test_at_magnification_one_the_image_itself_comes_back(name):
    lr = torch.rand(1, 1, 9, 12)
    torch.testing.assert_close(create(name, scale=1).infer(lr), lr, atol=1e-7, rtol=0)


def test_unknown_kernel_lists_the_known_ones():
    with pytest.raises(ModelError, match="bilinear, bicubic"):
        InterpolationUpsample("cubic", 2)


def test_subpixel_upsampling_by_five_is_refused():
    with pytest.raises(ModelError, match="2, 3, 4, 8"):
        PixelShuffleUpsampler(4, 5)


def test_receptive_radius_of_a_chain_written_out():
    # One 3x3 convolution after x4: pixel 0 looks at -1, which lies in LR pixel -1.
    assert receptive_radius((0, 1), (4,)) == 1
    # Radius 5 after x4: pixels -5 and 8 lie in LR pixels -2 and 2.
    assert receptive_radius((3, 5), (4,)) == 5
    # x2, radius 1, x2, radius 4: pixel 0 looks at -4 -> -2 -> -3 -> LR pixel -2.
    assert receptive_radius((0, 1, 4), (2, 2)) == 2
