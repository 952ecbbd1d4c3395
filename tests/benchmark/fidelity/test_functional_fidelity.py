"""PSNR and chi square on batches: closed forms, the plane-by-plane PSNR, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from srbench.evaluation.functional.fidelity import chi_square, psnr
from srbench.evaluation.metrics.psnr import CAP_DB, psnr_of


def batch(count: int = 3, height: int = 20, width: int = 31, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((count, height, width)))


@given(error=st.floats(1e-4, 1.0), data_range=st.sampled_from([1.0, 219.0 / 255.0, 255.0]))
def test_psnr_of_a_constant_error_is_its_logarithm(error: float, data_range: float) -> None:
    hr = batch(1)
    expected = -20.0 * math.log10(error / data_range)
    found = psnr(hr + error, hr, data_range).item()
    assert found == pytest.approx(min(expected, CAP_DB), abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), noise=st.floats(1e-3, 0.5))
def test_psnr_of_a_batch_is_that_of_its_planes(seed: int, noise: float) -> None:
    hr = batch(seed=seed)
    sr = (hr + noise * batch(seed=seed + 100)).clamp(0.0, 1.0)
    singly = [psnr_of(one.numpy(), other.numpy()) for one, other in zip(sr, hr, strict=True)]
    assert psnr(sr, hr).tolist() == pytest.approx(singly, abs=1e-10)


def test_identical_images_get_the_cap_and_the_others_of_the_batch_their_own() -> None:
    hr = batch(2)
    sr = hr.clone()
    sr[1] += 0.1
    assert psnr(sr, hr).tolist() == pytest.approx([CAP_DB, 20.0], abs=1e-9)


def test_float32_is_near_float64() -> None:
    hr, sr = batch(), batch(seed=1)
    single = psnr(sr.float(), hr.float())
    assert single.dtype == torch.float32
    assert (single.double() - psnr(sr, hr)).abs().max() < 1e-4


def test_chi_square_of_noise_with_the_stated_variance_is_one() -> None:
    generator = torch.Generator().manual_seed(0)
    expected = batch(4, 64, 64)
    variance = 0.001 + 0.01 * expected
    noise = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    found = chi_square(expected, expected + variance.sqrt() * noise, variance)
    assert found.tolist() == pytest.approx([1.0] * 4, abs=5.0 * math.sqrt(2.0 / 64**2))
    assert len(set(found.tolist())) == 4


def test_chi_square_of_copied_noise_is_zero_and_of_a_known_error_its_square() -> None:
    lr = batch()
    variance = torch.full_like(lr, 0.04)
    assert chi_square(lr, lr, variance).tolist() == [0.0] * 3
    assert chi_square(lr + 0.6, lr, variance).tolist() == pytest.approx([9.0] * 3, abs=1e-9)


def test_inputs_are_left_as_they_were() -> None:
    sr, hr, variance = batch(), batch(seed=1), batch(seed=2) + 0.1
    before = [tensor.clone() for tensor in (sr, hr, variance)]
    psnr(sr, hr)
    chi_square(sr, hr, variance)
    assert all(torch.equal(*pair) for pair in zip(before, (sr, hr, variance), strict=True))


@pytest.mark.parametrize(
    ("sr", "hr", "message"),
    [
        (torch.zeros(1, 4, 4), torch.zeros(1, 4, 5), r"one shape, found \(1, 4, 4\) and \(1, 4, 5\)"),
        (torch.zeros(4, 4), torch.zeros(4, 4), r"\(N, H, W\)"),
        (torch.zeros(0, 4, 4), torch.zeros(0, 4, 4), r"\(N, H, W\)"),
        (torch.zeros(1, 4, 4), torch.zeros(1, 4, 4).double(), "torch.float32 and torch.float64"),
        (torch.zeros(1, 4, 4).byte(), torch.zeros(1, 4, 4).byte(), "floating-point"),
    ],
)
def test_what_is_no_pair_is_refused(sr: Tensor, hr: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        psnr(sr, hr)


def test_a_variance_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="variances above 0"):
        chi_square(batch(), batch(), torch.zeros_like(batch()))


@pytest.mark.gpu
def test_a_gpu_gives_the_same() -> None:
    sr, hr, variance = batch(), batch(seed=1), batch(seed=2) + 0.1
    near = pytest.approx(psnr(sr, hr).tolist(), abs=1e-10)
    assert psnr(sr.cuda(), hr.cuda()).tolist() == near
    near = pytest.approx(chi_square(sr, hr, variance).tolist(), rel=1e-10)
    assert chi_square(sr.cuda(), hr.cuda(), variance.cuda()).tolist() == near
