"""How CSM-SR's released code trains: its discriminator, its losses with their mistakes, its schedule."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models import ModelError, create
from srbench.models.csm_sr.recipe import PERCEPTUAL_LAYERS
from srbench.models.csm_sr.released.network import ReleasedDiscriminator, pad_same
from srbench.models.csm_sr.released.recipe import (
    WEIGHTS,
    EpochRamp,
    adversarial_term,
    auxiliary_loss,
    caffe_perceptual_loss,
    discriminator_term,
    misused_adversarial_loss,
    pixel_cosine_loss,
    red_green_second_order_loss,
    released_discriminator_loss,
    released_generator_loss,
    staircase,
)
from srbench.models.losses.adversarial import DISCRIMINATOR
from srbench.models.losses.pixel import colour_loss, gradient_loss, structural_similarity_loss, texture_loss
from srbench.models.recipe import Batch, LossInputs, Progress

GOLDEN = Path(__file__).parents[1] / "golden"
RELEASED = ("released", "released_arch8", "released_arch7", "oracle")
EXPECTED = json.loads((GOLDEN / "csmsr_losses.json").read_text())


@pytest.fixture(scope="module")
def images() -> dict[str, Tensor]:
    """The authors' images and logits, in double precision."""
    with np.load(GOLDEN / "csmsr_losses.npz") as arrays:
        return {name: torch.from_numpy(values).double() for name, values in arrays.items()}


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("gradient_loss", gradient_loss),
        ("second_order_gradient_loss", red_green_second_order_loss),
        ("structure_similarity_loss", structural_similarity_loss),
        ("color_consistency_loss", colour_loss),
        ("texture_matching_loss", texture_loss),
        ("contextual_loss", pixel_cosine_loss),
        ("auxiliary_loss", auxiliary_loss),
    ],
)
def test_a_loss_has_the_value_the_authors_code_gives(images, name, loss):
    found = float(loss(images["y_pred"], images["y_true"]))
    # TensorFlow computed in float32.
    assert found == pytest.approx(EXPECTED[name], rel=2e-6)


def test_the_adversarial_losses_have_the_values_the_authors_code_gives(images):
    expected = EXPECTED["adv"]
    real, fake = images["d_real"], images["d_fake"]
    assert float(released_generator_loss(real, fake)) == pytest.approx(expected["gen_adv_term"], rel=1e-6)
    assert float(released_discriminator_loss(real, fake)) == pytest.approx(expected["disc_loss"], rel=1e-6)
    rightly_used = float(misused_adversarial_loss(real, fake))
    assert rightly_used == pytest.approx(expected["adversarial_loss(real,fake) used correctly"], rel=1e-6)


def test_the_discriminator_pays_for_being_right_and_not_for_calling_all_false():
    high, low = torch.full((2, 1, 3, 2), 10.0), torch.full((2, 1, 3, 2), -10.0)
    right = EXPECTED["disc_loss for a confident-correct D (real=+10,fake=-10)"]
    all_false = EXPECTED["disc_loss for D = -10 everywhere"]
    assert float(released_discriminator_loss(high, low)) == pytest.approx(right, rel=1e-6)
    assert float(released_discriminator_loss(low, low)) == pytest.approx(all_false, rel=1e-6)


def test_the_second_order_loss_ignores_blue_and_takes_grey_for_all_colours():
    sr, hr = torch.rand(2, 2, 3, 9, 8)
    blue = sr.clone()
    blue[:, 2] = torch.rand(2, 9, 8)
    assert torch.equal(red_green_second_order_loss(blue, hr), red_green_second_order_loss(sr, hr))
    blue[:, 1] = 0
    assert not torch.equal(red_green_second_order_loss(blue, hr), red_green_second_order_loss(sr, hr))
    grey_sr, grey_hr = sr[:, :1], hr[:, :1]
    of_colour = red_green_second_order_loss(grey_sr.expand(-1, 3, -1, -1), grey_hr.expand(-1, 3, -1, -1))
    torch.testing.assert_close(red_green_second_order_loss(grey_sr, grey_hr), of_colour)
    with pytest.raises(ModelError, match="1 or 3"):
        red_green_second_order_loss(sr[:, :2], hr[:, :2])


def test_the_contextual_loss_is_a_constant_on_grey_images():
    sr, other = torch.rand(2, 2, 1, 24, 32, dtype=torch.float64)
    sr.requires_grad_()
    loss = pixel_cosine_loss(sr, other)
    assert float(loss.detach()) == pytest.approx(EXPECTED["contextual_loss:gray_vs_other_gray"], rel=1e-6)
    assert float(pixel_cosine_loss(other, other)) == pytest.approx(float(loss.detach()), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, sr)
    assert float(gradient.abs().max()) < 1e-9


@pytest.mark.slow
def test_the_perceptual_loss_prepares_images_as_keras_does(vgg_state):
    loss = caffe_perceptual_loss(vgg_state)
    sr, hr = torch.rand(2, 1, 3, 32, 32)

    def features(image: Tensor) -> dict[str, Tensor]:
        x = 255 * image - torch.tensor([123.68, 116.779, 103.939]).view(1, 3, 1, 1)
        found = {}
        for index, layer in enumerate(loss.vgg.features):
            x = layer(x)
            if index in loss.vgg.layers:
                found[loss.vgg.layers[index]] = x
        return found

    of_sr, of_hr = features(sr), features(hr)
    assert tuple(of_sr) == PERCEPTUAL_LAYERS
    expected = sum(F.mse_loss(of_sr[name], of_hr[name]) for name in PERCEPTUAL_LAYERS) / 5
    inputs = LossInputs(Batch(hr, hr, 1), {"sr": sr})
    torch.testing.assert_close(loss(inputs), expected, rtol=1e-3, atol=0)


def load(discriminator: nn.Module, state) -> nn.Module:
    missing, unexpected = discriminator.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return discriminator.double().eval()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "_b"])
def test_the_discriminator_reproduces_the_authors(golden, suffix):
    fixture = golden("csmsr_discriminator")
    discriminator = load(ReleasedDiscriminator(3), fixture.state())
    with torch.no_grad():
        logits = discriminator(fixture.input(f"x{suffix}"))
    rounding = fixture.spec["outputs"][f"y{suffix}"]["max_abs_diff_fp32_vs_fp64"]
    torch.testing.assert_close(logits, fixture.output(f"y{suffix}"), atol=2 * rounding, rtol=0)


@pytest.mark.slow
def test_the_discriminator_has_the_canonical_keys_and_the_released_size(golden):
    discriminator = ReleasedDiscriminator(3)
    state = {k: list(v.shape) for k, v in discriminator.state_dict().items() if "num_batches" not in k}
    assert state == golden("csmsr_discriminator").spec["keys"]
    trainable = sum(parameter.numel() for parameter in discriminator.parameters())
    statistics = sum(value.numel() for key, value in discriminator.named_buffers() if "running" in key)
    assert (trainable, trainable + statistics) == (2_864_865, 2_866_785)
    assert {layer.momentum for layer in discriminator.modules() if isinstance(layer, nn.BatchNorm2d)} == {
        0.01
    }


@pytest.mark.parametrize("kernel", [3, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [5, 6, 9])
def test_same_padding_gives_ceil_of_the_share_and_the_odd_pixel_behind(kernel, stride, side):
    ones = torch.ones(1, 1, side, side)
    padded = pad_same(ones, kernel, stride)
    found = F.conv2d(padded, torch.ones(1, 1, kernel, kernel), stride=stride)
    assert found.shape[-2:] == (math.ceil(side / stride),) * 2
    before = int((padded[0, 0].amax(1) > 0).nonzero()[0])
    after = padded.shape[-1] - side - before
    assert after - before in (0, 1)


@pytest.mark.slow
def test_the_discriminator_refuses_sides_it_cannot_quarter():
    with pytest.raises(ModelError, match="multiples of 4"):
        ReleasedDiscriminator(1)(torch.rand(1, 1, 24, 26))


@pytest.mark.slow
def test_trained_as_released_the_discriminator_calls_everything_fake():
    discriminator = ReleasedDiscriminator(1, base=16, widths=(8, 16))
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(60):
        hr = torch.rand(4, 1, 16, 16, generator=generator)
        sr = F.avg_pool2d(hr, 3, 1, 1)
        loss = discriminator_term(discriminator, LossInputs(Batch(hr, hr, 1), {"sr": sr}))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    real, fake = discriminator(hr).detach(), discriminator(sr).detach()
    assert float(real.mean()) < -1 and float(fake.mean()) < -1


@pytest.mark.slow
def test_the_generator_is_still_pushed_towards_what_the_discriminator_calls_real():
    discriminator = ReleasedDiscriminator(1, base=16, widths=(8, 16)).eval()
    hr, sr = torch.rand(2, 2, 1, 16, 16)
    sr.requires_grad_()
    inputs = LossInputs(Batch(hr, hr, 1), {"sr": sr}, {DISCRIMINATOR: discriminator})
    (found,) = torch.autograd.grad(adversarial_term(inputs), sr)
    (expected,) = torch.autograd.grad(F.softplus(-discriminator(sr)).mean(), sr)
    torch.testing.assert_close(found, expected)


def test_weights_are_refreshed_every_fifth_of_two_hundred_epochs():
    weight = EpochRamp(100.0, 80.0)
    steps = 400_000
    assert weight(Progress(0, steps)) == weight(Progress(9_999, steps)) == 100.0
    assert weight(Progress(10_000, steps)) == pytest.approx(99.5)
    assert weight(Progress(200_000, steps)) == pytest.approx(90.0)
    assert weight(Progress(steps - 1, steps)) == pytest.approx(80.5)
    assert len({weight(Progress(step, steps)) for step in range(0, steps, 1000)}) == 40


def test_the_rate_falls_in_steps_of_a_hundred_thousand():
    rate = staircase(400_000)
    values = [rate(step / 400_000) for step in (0, 99_999, 100_000, 200_000, 399_999)]
    assert values == pytest.approx([1, 1, 0.96, 0.96**2, 0.96**3])
    assert staircase(3_000)(1.0) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("variant", RELEASED)
def test_the_paper_recipe_is_the_released_one(variant, vgg_state):
    model = create("csm_sr", scale=4, variant=variant)
    recipe = model.recipe("paper", lambda name: vgg_state if name == "vgg19" else None)
    (stage,) = recipe.stages
    (discriminator,) = stage.discriminators
    assert (stage.batch, stage.patch, stage.ema) == (1, 192, None)
    assert (stage.optimiser.name, stage.optimiser.lr, stage.optimiser.eps) == ("adam", 1e-4, 1e-7)
    assert discriminator.optimiser == stage.optimiser
    weights = {term.name: term.weight for term in stage.terms}
    assert {name: (ramp.start, ramp.end) for name, ramp in weights.items()} == WEIGHTS
    assert isinstance(discriminator.build(), ReleasedDiscriminator)
    notes = " ".join(recipe.notes)
    assert "call every image fake" in notes
    assert ("HR image, at test time" in notes) == (variant == "oracle")
    assert ("EfficientNet-B7 weights not on disk" in notes) == (variant != "released_arch7")
    assert "VGG-19 weights not on disk" not in notes


@pytest.mark.slow
def test_without_weights_there_is_no_perceptual_part_and_the_notes_say_so():
    recipe = create("csm_sr", scale=2, variant="released_arch7").recipe("short")
    assert {term.name for term in recipe.stages[0].terms} == set(WEIGHTS) - {"perceptual"}
    notes = " ".join(recipe.notes)
    assert "no perceptual loss" in notes
    assert "EfficientNet" not in notes
    assert "x4" in notes


@pytest.mark.slow
def test_imagenet_weights_reach_the_encoder_through_the_recipe():
    model = create("csm_sr", scale=4, variant="released_arch8")
    own = model.network.encoder.state_dict()
    given = {name: value * 0.5 for name, value in own.items() if "tracked" not in name}
    recipe = model.recipe("smoke", lambda name: given if name == "efficientnet_b7" else None)
    assert "EfficientNet-B7 weights not on disk" not in " ".join(recipe.notes)
    recipe.initialise(model.network)
    stem = "features.0.0.weight"
    assert torch.equal(model.network.encoder.state_dict()[stem], given[stem])


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["released_arch8", "oracle"])
def test_training_moves_generator_and_discriminator_and_leaves_the_encoder(variant, scenes, train):
    model = create("csm_sr", scale=4, variant=variant)
    recipe = model.recipe("smoke")
    (stage,) = recipe.stages
    (discriminator,) = stage.discriminators
    built = []
    stage = replace(
        stage,
        iterations=2,
        discriminators=(
            replace(discriminator, build=lambda: built.append(discriminator.build()) or built[0]),
        ),
    )
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    torch.manual_seed(3)
    fresh = discriminator.build()
    torch.manual_seed(3)
    losses = train(model, replace(recipe, stages=(stage,)), scenes(4)).losses["released"]
    assert np.isfinite(losses).all()
    after = model.network.state_dict()
    moved = {key for key in before if not torch.equal(after[key], before[key])}
    assert not any(key.startswith("encoder.") for key in moved)
    assert {"stem.weight", "out.weight", "merge.weight"} <= moved
    assert not torch.equal(built[0].out.weight, fresh.out.weight)


@pytest.mark.slow
def test_a_smoke_run_brings_an_unseen_image_closer(scenes, train):
    """No more than that: from random weights the released graphs are nearly constant for a long time."""
    model, data = create("csm_sr", scale=4, variant="released_arch7"), scenes(4)
    lr = data.degrade(data.held_out)

    def distance():
        return float(F.mse_loss(model.infer(lr), data.held_out))

    before = distance()
    train(model, model.recipe("smoke"), data, lambda _, losses: len(losses) % 4 == 0 and distance() < before)
    assert distance() < before
