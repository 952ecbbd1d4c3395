"""Back-projection: what it gives shrinks to what it was given, and it reaches as far as it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from srbench.datasets.images.resize import resize, weight_matrix
from srbench.models import ModelError, create
from srbench.models.baselines.back_projection import ITERATIONS, BackProjection

SCALES = (2, 3, 4, 8)


def smooth_lr(seed: int, height: int = 24, width: int = 29) -> torch.Tensor:
    """Detail of a few LR pixels, inside the grey range, float64."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(1, 1, height + 2, width + 2, dtype=torch.float64, generator=generator)
    return torch.nn.functional.avg_pool2d(noise, 3, 1) * 0.6 + 0.2


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_is_the_iteration_written_with_the_resize_of_the_data_side(scale):
    lr = torch.rand(1, 1, 9, 7, dtype=torch.float64)
    size = (9 * scale, 7 * scale)
    expected = resize(lr, size).clamp(0, 1)
    for _ in range(ITERATIONS):
        expected = (expected + resize(lr - resize(expected, (9, 7)), size)).clamp(0, 1)
    found = create("back_projection", scale=scale, channels=1).network(lr)
    torch.testing.assert_close(found, expected, atol=1e-6 if scale == 3 else 1e-12, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_shrinks_to_the_lr_image_where_bicubic_does_not(scale):
    lr = smooth_lr(scale)
    size = lr.shape[-2:]
    sharpened = create("back_projection", scale=scale, channels=1).infer(lr)
    bicubic = create("bicubic", scale=scale, channels=1).infer(lr)
    assert psnr(resize(sharpened, size), lr) > psnr(resize(bicubic, size), lr) + 20
    rounded = (sharpened * 255).round() / 255
    assert psnr(resize(rounded, size), lr) > 58.9


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_the_limit_is_the_exact_solution(scale):
    """In the range of grey the iteration ends at U (D U)^-1 lr, which a linear system gives at once."""
    lr = smooth_lr(7, 11, 13)
    enlarge = [weight_matrix(side, side * scale) for side in (11, 13)]
    shrink = [weight_matrix(side * scale, side) for side in (11, 13)]
    inverse = [np.linalg.inv(down @ up) for up, down in zip(enlarge, shrink, strict=True)]
    coefficients = inverse[0] @ lr[0, 0].numpy() @ inverse[1].T
    exact = enlarge[0] @ coefficients @ enlarge[1].T
    assert exact.min() > 0 and exact.max() < 1
    found = BackProjection(scale, iterations=200)(lr)[0, 0].numpy()
    np.testing.assert_allclose(found, exact, atol=1e-6 if scale == 3 else 1e-10)


@pytest.mark.parametrize("scale", SCALES)
def test_iterations_contract_as_stated(scale):
    once = weight_matrix(24 * scale, 24) @ weight_matrix(24, 24 * scale)
    values = np.linalg.eigvals(once).real
    # Rows and columns are separable: the eigenvalues of the plane are products.
    assert 1 - values.min() ** 2 < (0.78 if scale == 2 else 0.766)
    assert values.max() < 1 + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_reaches_as_far_as_it_says(scale):
    network = create("back_projection", scale=scale, channels=1).network
    radius = network.receptive_radius
    assert radius == 2 + 3 * ITERATIONS
    lr = torch.full((1, 1, 3, 2 * radius + 7), 0.5, dtype=torch.float64, requires_grad=True)
    centre = radius + 3
    network(lr)[..., centre * scale : (centre + 1) * scale].sum().backward()
    seen = lr.grad.abs().sum((0, 1, 2)).nonzero()[:, 0] - centre
    assert (int(seen.min()), int(seen.max())) == (-radius, radius)


def test_stays_in_range_and_gives_flat_images_back():
    step = torch.zeros(1, 1, 12, 12)
    step[..., 6:] = 1.0
    sr = create("back_projection", scale=4, channels=1).network(step)
    assert sr.min() >= 0 and sr.max() <= 1
    flat = torch.full((1, 1, 6, 5), 0.3)
    enlarged = create("back_projection", scale=3, channels=1).network(flat)
    torch.testing.assert_close(enlarged, torch.full((1, 1, 18, 15), 0.3), atol=1e-6, rtol=0)


def test_half_precision_is_rounded_only_once():
    lr = torch.rand(1, 1, 8, 8).bfloat16()
    network = BackProjection(4)
    assert torch.equal(network(lr), network(lr.float()).bfloat16())


def test_has_nothing_to_learn():
    model = create("back_projection", scale=2, channels=3)
    assert not model.network.state_dict()
    assert not list(model.network.parameters())
    with pytest.raises(ModelError, match="no parameters to train"):
        model.recipe("smoke")
