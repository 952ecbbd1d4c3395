"""The resize against BasicSR's port of MATLAB's imresize, torch's antialiased bicubic and closed forms."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from srbench.datasets.images.resize import KERNELS, Kernel, resize, resize_by, weight_matrix
from srbench.utils.errors import DatasetError

FIXTURE = np.load(Path(__file__).parents[1] / "fixtures" / "basicsr_imresize.npz")
CASES = sorted(name for name in FIXTURE.files if "_" in name)


@pytest.mark.parametrize("case", CASES)
def test_equals_basicsr_imresize(case):
    expected = FIXTURE[case]
    name, factor = case.split("_")
    found = resize(torch.from_numpy(FIXTURE[name]), expected.shape)
    # BasicSR computes positions in float32, which thirds do not fit; torch below is the judge of those.
    tolerance = 1e-5 if factor.startswith(("3.", "0.75")) else 1e-6
    assert found.dtype == torch.float32
    assert np.abs(found.numpy() - expected).max() < tolerance


@pytest.mark.slow
def test_equals_installed_basicsr():
    transforms = pytest.importorskip("torchvision.transforms._functional_tensor")
    sys.modules.setdefault("torchvision.transforms.functional_tensor", transforms)
    matlab = pytest.importorskip("basicsr.utils.matlab_functions")
    image = np.random.default_rng(0).random((60, 84)).astype(np.float32)
    for factor in (1 / 2, 1 / 3, 1 / 4, 3):
        expected = matlab.imresize(image, factor)
        tolerance = 1e-5 if factor == 3 else 1e-6
        found = resize(torch.from_numpy(image), expected.shape).numpy()
        assert np.abs(found - expected).max() < tolerance


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_equals_torch_bicubic_after_a_symmetric_pad(scale):
    image = torch.rand(2, 1, 48, 72, dtype=torch.float64, generator=torch.Generator().manual_seed(scale))
    pad = 4 * scale
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="symmetric")
    size = (48 // scale + 8, 72 // scale + 8)
    wide = F.interpolate(torch.from_numpy(padded), size, mode="bicubic", antialias=True)
    found = resize(image, (48 // scale, 72 // scale))
    assert torch.allclose(found, wide[..., 4:-4, 4:-4], rtol=0, atol=1e-12)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_enlarging_equals_torch_after_a_symmetric_pad(scale):
    image = torch.rand(1, 1, 12, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(scale))
    padded = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="symmetric"))
    size = (20 * scale, 28 * scale)
    wide = F.interpolate(padded, size, mode="bicubic", antialias=True)
    inside = slice(4 * scale, -4 * scale)
    assert torch.allclose(resize_by(image, scale), wide[..., inside, inside], rtol=0, atol=1e-12)


def test_torch_without_the_pad_differs_at_the_border_only():
    image = torch.rand(1, 1, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = F.interpolate(image, (16, 16), mode="bicubic", antialias=True)
    difference = (resize(image, (16, 16)) - plain).abs()
    assert difference.max() > 1e-3
    assert difference[..., 2:-2, 2:-2].max() < 1e-12


@pytest.mark.parametrize(("border", "mode"), [("mirror", "symmetric"), ("replicate", "edge")])
@pytest.mark.parametrize("kernel", ["bicubic", "lanczos", "cv2_cubic"])
def test_a_border_is_what_numpy_pads(border, mode, kernel):
    image = torch.rand(2, 24, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    padded = torch.from_numpy(np.pad(image.numpy(), ((0, 0), (24, 24), (36, 36)), mode=mode))
    found = resize(image, (8, 12), kernel, border)
    assert torch.allclose(found, resize(padded, (24, 36), kernel)[..., 8:16, 12:24], rtol=0, atol=1e-13)
    named = "replicate" if kernel == "cv2_cubic" else "mirror"
    assert torch.equal(resize(image, (8, 12), kernel), resize(image, (8, 12), kernel, named))


def test_a_kernel_of_ones_own_is_stretched_and_normalised():
    box = Kernel(lambda x: (np.abs(x) < 0.5) * 7.0, 1.0)
    image = torch.rand(1, 1, 24, 36, dtype=torch.float64)
    assert torch.allclose(resize(image, (6, 9), box), F.avg_pool2d(image, 4), atol=1e-14)


def test_cubic_weights_of_a_halving_are_keys():
    # Keys 1981 with a = -1/2 at distances 1/4, 3/4, 5/4, 7/4 of the stretched kernel, in 256ths.
    row = weight_matrix(64, 32)[10]
    expected = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
    assert np.allclose(row[17:25], expected, atol=1e-15)
    assert np.count_nonzero(row) == 8


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_area_is_the_block_mean(scale):
    image = torch.rand(1, 1, 24, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = resize(image, (24 // scale, 36 // scale), "area")
    assert torch.allclose(found, F.avg_pool2d(image, scale), atol=1e-14)


def test_area_weighs_pixels_cut_by_a_boundary():
    assert np.allclose(weight_matrix(3, 2, "area"), [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]])


def test_nearest_repeats_pixels():
    image = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert torch.equal(
        resize_by(image, 3, "nearest"), image.repeat_interleave(3, -1).repeat_interleave(3, -2)
    )


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    old=st.integers(1, 40),
    new=st.integers(1, 40),
    kernel=st.sampled_from(KERNELS),
)
def test_any_ratio_keeps_constants_and_symmetry(old, new, kernel):
    matrix = weight_matrix(old, new, kernel)
    assert np.allclose(matrix.sum(axis=1), 1.0)
    if kernel != "nearest":  # which breaks ties to one side
        assert np.allclose(matrix, matrix[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
def test_enlarging_keeps_a_ramp(kernel):
    ramp = torch.linspace(0, 1, 40, dtype=torch.float64).expand(1, 1, 8, 40)
    enlarged = resize_by(ramp, 4, kernel)[0, 0, 16, 12:-12]
    steps = enlarged.diff()
    assert torch.allclose(steps, torch.full_like(steps, 1 / 39 / 4), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_is_the_transpose(kernel):
    image = torch.rand(1, 1, 7, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resize(x, (4, 12), kernel), image)


def test_weights_first_made_in_inference_mode_still_train():
    with torch.inference_mode():
        resize(torch.rand(1, 1, 53, 59), (11, 13))
    image = torch.rand(1, 1, 53, 59, requires_grad=True)
    resize(image, (11, 13)).sum().backward()
    assert image.grad is not None and image.grad.sum() == pytest.approx(11 * 13, rel=1e-5)


def test_float32_is_as_good_as_float32_can_be():
    image = torch.rand(3, 1, 96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    exact = resize(image, (24, 24))
    assert (resize(image.float(), (24, 24)).double() - exact).abs().max() < 1.2e-7


def test_autocast_does_not_touch_the_sums():
    image = torch.rand(1, 1, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = resize(image, (8, 8))
    assert torch.equal(inside, resize(image, (8, 8)))


def test_leading_dimensions_are_free():
    image = torch.rand(2, 3, 4, 12, 12)
    assert resize(image, (6, 3)).shape == (2, 3, 4, 6, 3)
    assert torch.allclose(resize(image[1, 2, 3], (6, 3)), resize(image, (6, 3))[1, 2, 3])


@pytest.mark.parametrize(
    ("image", "size", "kernel", "words"),
    [
        (torch.rand(8, 8), (4, 4), "bicubik", "did you mean 'bicubic'"),
        (torch.zeros(8, 8, dtype=torch.uint8), (4, 4), "bicubic", "floating-point"),
        (torch.rand(8, 8), (0, 4), "bicubic", "at least 1 px"),
    ],
)
def test_refusals_say_what_to_do(image, size, kernel, words):
    with pytest.raises(DatasetError, match=words):
        resize(image, size, kernel)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_equals_cpu_with_tf32_allowed():
    image = torch.rand(2, 1, 256, 320, generator=torch.Generator().manual_seed(3))
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        found = resize(image.cuda(), (64, 80)).cpu()
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    assert (found - resize(image, (64, 80))).abs().max() < 1.2e-7
