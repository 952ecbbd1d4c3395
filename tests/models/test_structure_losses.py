"""The parts of the Semantic Structural Loss against the authors' numbers where sound, else closed forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from srbench.models.losses.perceptual import (
    BLOCKS,
    VGGContentLoss,
    VGGContextualLoss,
    contextual_similarity,
    patch_contextual_loss,
)
from srbench.models.losses.pixel import (
    colour_loss,
    gradient_loss,
    second_order_gradient_loss,
    sobel,
    structural_similarity_loss,
    texture_loss,
)
from srbench.models.recipe import Batch, LossInputs
from srbench.utils.errors import ModelError

GOLDEN = Path(__file__).parents[1] / "golden"
LOSSES = {
    "gradient": gradient_loss,
    "second_order": second_order_gradient_loss,
    "texture": texture_loss,
    "colour": colour_loss,
    "similarity": structural_similarity_loss,
    "contextual": patch_contextual_loss,
}


@pytest.fixture(scope="module")
def authors() -> tuple[dict, dict[str, Tensor]]:
    values = json.loads((GOLDEN / "csmsr_losses.json").read_text())
    with np.load(GOLDEN / "csmsr_losses.npz") as arrays:
        return values, {name: torch.from_numpy(array).double() for name, array in arrays.items()}


def texture(seed: int, channels: int = 1, side: int = 40, images: int = 1) -> Tensor:
    """Smooth random pictures in [0, 1], float64."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(images, channels, side + 4, side + 4, generator=generator, dtype=torch.float64)
    smooth = F.avg_pool2d(white, 5, stride=1)
    return (0.5 + 0.8 * smooth).clamp(0, 1)


def grid(side: int = 16) -> tuple[Tensor, Tensor]:
    axis = torch.arange(side, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return y[None, None], x[None, None]


def random_vgg19(widest_block: int = 5) -> dict[str, Tensor]:
    """A state dict of VGG-19's shapes with random weights of sensible size."""
    generator = torch.Generator().manual_seed(1)
    state, index, width_in = {}, 0, 3
    for width, convolutions in BLOCKS[:widest_block]:
        for _ in range(convolutions):
            weight = torch.randn(width, width_in, 3, 3, generator=generator) * (2 / (9 * width_in)) ** 0.5
            state[f"features.{index}.weight"], state[f"features.{index}.bias"] = weight, torch.zeros(width)
            width_in, index = width, index + 2
        index += 1
    return state


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (gradient_loss, "gradient_loss"),
        (texture_loss, "texture_matching_loss"),
        (colour_loss, "color_consistency_loss"),
        (structural_similarity_loss, "structure_similarity_loss"),
    ],
)
def test_sound_losses_equal_the_authors(authors, loss, name) -> None:
    values, arrays = authors
    assert float(loss(arrays["y_pred"], arrays["y_true"])) == pytest.approx(values[name], rel=2e-5)


def test_sobel_equals_the_authors(authors) -> None:
    _, arrays = authors
    found = sobel(arrays["y_true"])
    torch.testing.assert_close(found.movedim(2, -1), arrays["sobel_true"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_equal_images_cost_least_and_others_have_a_finite_gradient(name, channels) -> None:
    loss = LOSSES[name]
    hr = texture(0, channels)
    sr = (hr + 0.05 * texture(1, channels)).requires_grad_()
    value = loss(sr, hr)
    (gradient,) = torch.autograd.grad(value, sr)
    assert value.shape == ()
    assert float(value.detach()) > float(loss(hr, hr))
    assert gradient.isfinite().all()
    assert float(gradient.abs().mean()) > 1e-7


@pytest.mark.parametrize("name", ["gradient", "second_order", "texture", "colour", "similarity"])
def test_pixelwise_losses_vanish_on_equal_images(name) -> None:
    assert float(LOSSES[name](texture(3), texture(3))) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_a_replicated_grey_image_costs_what_the_grey_image_costs(name) -> None:
    sr, hr = texture(4), texture(5)
    three = LOSSES[name](sr.expand(-1, 3, -1, -1), hr.expand(-1, 3, -1, -1))
    # The contextual loss has an absolute floor on the length of a patch vector, so it may differ a little.
    assert float(three) == pytest.approx(float(LOSSES[name](sr, hr)), rel=0.02)


@pytest.mark.slow
@given(offset=st.floats(-0.5, 0.5))
@settings(max_examples=20, deadline=None)
def test_gradients_do_not_see_a_constant(offset) -> None:
    sr, hr = texture(6), texture(7)
    for loss in (gradient_loss, texture_loss, second_order_gradient_loss):
        assert float(loss(sr + offset, hr)) == pytest.approx(float(loss(sr, hr)), rel=1e-9)


def test_a_ramp_has_gradient_eight_times_its_slope() -> None:
    y, x = grid()
    found = sobel(0.1 * x - 0.03 * y)[..., 1:-1, 1:-1]
    torch.testing.assert_close(found[:, :, 0], torch.full_like(found[:, :, 0], -0.24))
    torch.testing.assert_close(found[:, :, 1], torch.full_like(found[:, :, 1], 0.8))


@pytest.mark.slow
@given(down=st.floats(-0.1, 0.1), right=st.floats(-0.1, 0.1))
@settings(max_examples=20, deadline=None)
def test_a_plane_has_no_second_order_gradient(down, right) -> None:
    y, x = grid()
    plane = 0.2 + down * y + right * x
    assert float(second_order_gradient_loss(plane, torch.zeros_like(plane))) == pytest.approx(0.0, abs=1e-20)


@pytest.mark.parametrize("direction", ["down", "right", "mixed"])
def test_second_order_gradient_of_a_parabola(direction) -> None:
    """Each Sobel operator multiplies a derivative by 8: one of four components, for ``xy`` two, is 64 a."""
    y, x = grid()
    a = 0.01
    image, components = {
        "down": (a * y**2 / 2, 1),
        "right": (a * x**2 / 2, 1),
        "mixed": (a * x * y, 2),
    }[direction]
    expected = components * (64 * a) ** 2 / 4
    assert float(second_order_gradient_loss(image, torch.zeros_like(image))) == pytest.approx(expected)


def test_second_order_gradient_sees_every_channel() -> None:
    hr = texture(8, channels=3)
    costs = []
    for channel in range(3):
        sr = hr.clone()
        sr[:, channel] += texture(9)[:, 0]
        costs.append(float(second_order_gradient_loss(sr, hr)))
    assert costs[0] == pytest.approx(costs[1]) == pytest.approx(costs[2])
    assert costs[0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("loss", [gradient_loss, texture_loss, second_order_gradient_loss])
def test_gradient_losses_pass_gradcheck(loss) -> None:
    sr, hr = texture(10, side=7).requires_grad_(), texture(11, side=7)
    assert torch.autograd.gradcheck(lambda image: loss(image, hr), (sr,))


def test_contextual_similarity_of_a_permuted_set_of_distinct_features_is_that_of_the_set() -> None:
    vectors = torch.randn(2, 16, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    same = contextual_similarity(vectors, vectors)
    torch.testing.assert_close(contextual_similarity(vectors[..., order], vectors), same)
    assert (same > 0.95).all()


def test_contextual_similarity_falls_when_one_target_is_never_matched() -> None:
    """Of four far-apart targets, three are met: a quarter of the mean is lost (eq. 1, max then mean)."""
    targets = torch.eye(4, dtype=torch.float64)[None] * 10
    half_met = targets[..., [0, 1, 2, 2]]
    full, part = contextual_similarity(targets, targets), contextual_similarity(half_met, targets)
    assert float(full) == pytest.approx(1.0, abs=1e-3)
    assert float(part) == pytest.approx(0.75, abs=1e-3)


def test_contextual_loss_tells_grey_images_apart() -> None:
    """The authors' version gives 2.1354 for a grey image and itself as for it and any other, no gradient."""
    hr, soft = texture(12), blurred(texture(12))
    itself, softened = patch_contextual_loss(hr, hr), patch_contextual_loss(soft, hr)
    unrelated = patch_contextual_loss(texture(13), hr)
    assert float(itself) < float(softened) < float(unrelated)
    sr = soft.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(patch_contextual_loss(sr, hr), sr)
    assert float(gradient.norm()) > 1e-2


def test_contextual_loss_ignores_brightness() -> None:
    hr, sr = texture(14), texture(15)
    brighter = float(patch_contextual_loss(sr + 0.1, hr))
    assert brighter == pytest.approx(float(patch_contextual_loss(sr, hr)), rel=1e-9)


@pytest.mark.slow
def test_contextual_loss_forgives_a_shift_that_a_pixelwise_loss_punishes() -> None:
    hr = texture(14, side=38)
    inner, shifted, unrelated = hr[..., 1:37, 1:37], hr[..., 2:38, 2:38], texture(15, side=36)
    itself = float(patch_contextual_loss(inner, inner))
    forgiven, punished = (
        float(loss(shifted, inner)) - floor
        for loss, floor in ((patch_contextual_loss, itself), (colour_loss, 0.0))
    )
    assert forgiven < 0.2 * (float(patch_contextual_loss(unrelated, inner)) - itself)
    assert punished > 0.4 * float(colour_loss(unrelated, inner))


@pytest.mark.slow
def test_descending_the_contextual_loss_brings_back_the_edges_of_a_blurred_grey_image() -> None:
    """Up to contrast, to which the angle between patches is blind."""
    hr = texture(16, side=20)
    sr = blurred(hr).requires_grad_()
    edges, loss = agreement(sr, hr), float(patch_contextual_loss(sr, hr).detach())
    optimiser = torch.optim.Adam([sr], lr=0.003)
    for _ in range(30):
        optimiser.zero_grad()
        patch_contextual_loss(sr, hr).backward()
        optimiser.step()
    assert float(patch_contextual_loss(sr, hr).detach()) < 0.3 * loss
    assert agreement(sr, hr) > edges + 0.04


def blurred(image: Tensor) -> Tensor:
    return F.avg_pool2d(image, 3, 1, 1, count_include_pad=False)


def agreement(sr: Tensor, hr: Tensor) -> float:
    """Cosine of the angle between the two images' gradients."""
    return float(F.cosine_similarity(sobel(sr.detach()).flatten(), sobel(hr).flatten(), dim=0))


@pytest.mark.parametrize("positions", [16, 100, 1024])
def test_contextual_loss_bounds_its_affinity_matrix(positions, monkeypatch) -> None:
    seen = []
    original = torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda x, dim: seen.append(x.shape) or original(x, dim=dim))
    patch_contextual_loss(texture(1, side=61), texture(2, side=61), positions=positions)
    ((_, rows, columns),) = seen
    assert rows == columns <= positions
    assert rows > positions / 4


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_vgg_content_losses_work_on_grey_and_colour(channels) -> None:
    state = random_vgg19()
    content = VGGContentLoss(state, {"relu1_2": 0.5, "relu3_3": 0.5})
    contextual = VGGContextualLoss(state)
    hr = texture(17, channels, side=64).float()
    sr = blurred(hr).requires_grad_()
    for loss in (content, contextual):
        value = loss(inputs(sr, hr))
        (gradient,) = torch.autograd.grad(value, sr)
        assert float(value.detach()) > float(loss(inputs(hr, hr)))
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0
        assert not any(parameter.requires_grad for parameter in loss.parameters())


def inputs(sr: Tensor, hr: Tensor) -> LossInputs:
    return LossInputs(Batch(hr[..., ::4, ::4], hr, 4), {"sr": sr})


@pytest.mark.parametrize("name", LOSSES)
def test_different_shapes_are_refused(name) -> None:
    with pytest.raises(ModelError, match="shape"):
        LOSSES[name](torch.rand(1, 1, 20, 20), torch.rand(1, 1, 20, 21))


@pytest.mark.parametrize(
    ("name", "side"),
    [("gradient", 1), ("second_order", 4), ("texture", 1), ("contextual", 4), ("similarity", 10)],
)
def test_images_that_are_too_small_are_refused(name, side) -> None:
    with pytest.raises(ModelError, match=r"at least"):
        LOSSES[name](torch.rand(1, 1, side, side), torch.rand(1, 1, side, side))
