"""How SwinIR is trained: the published numbers, the discriminator and losses of the real-world variant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from srbench.models import ModelError, create
from srbench.models.discriminators import UNetDiscriminator
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.recipe import Batch, LossInputs


def recipe(variant, budget, scale=4, **sources):
    with torch.device("meta"):
        model = create("swinir", scale=scale, variant=variant)
    return model.recipe(budget, **sources)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "batch", "lr_patch"), [("classical", 32, 48), ("light", 64, 64)])
def test_paper_recipe_is_the_published_one(variant, batch, lr_patch):
    (stage,) = recipe(variant, "paper").stages
    assert (stage.iterations, stage.batch, stage.patch) == (500_000, batch, 4 * lr_patch)
    assert (stage.optimiser.lr, stage.optimiser.betas, stage.ema) == (2e-4, (0.9, 0.99), 0.999)
    before_and_after = [at / 500 for at in (249, 250, 399, 400, 449, 450, 474, 475)]
    assert [stage.schedule(f) for f in before_and_after] == [
        1,
        1 / 2,
        1 / 2,
        1 / 4,
        1 / 4,
        1 / 8,
        1 / 8,
        1 / 16,
    ]


@pytest.mark.slow
def test_real_world_recipe_is_the_authors_two_option_files():
    pixels, adversarial = recipe("real", "paper").stages
    assert (pixels.iterations, pixels.batch, pixels.patch, pixels.optimiser.lr) == (1_000_000, 32, 256, 2e-4)
    assert [pixels.schedule(at / 1000) for at in (499, 500, 800, 900, 950)] == [
        1,
        1 / 2,
        1 / 4,
        1 / 8,
        1 / 16,
    ]
    assert (adversarial.iterations, adversarial.batch, adversarial.patch) == (600_000, 32, 256)
    assert [adversarial.schedule(at / 600) for at in (399, 401, 501, 551, 576)] == [
        1,
        1 / 2,
        1 / 4,
        1 / 8,
        1 / 16,
    ]
    assert {term.name: term.weight for term in adversarial.terms} == {
        "l1": 1,
        "perceptual": 1,
        "adversarial": 0.1,
    }
    (discriminator,) = adversarial.discriminators
    assert discriminator.optimiser.lr == adversarial.optimiser.lr == 1e-4
    assert (
        sum(parameter.numel() for parameter in discriminator.build().parameters()) == 4_375_745
    )  # one channel


@pytest.mark.slow
def test_perceptual_loss_compares_the_authors_layers_or_says_that_it_cannot(vgg_state):
    with_vgg = recipe("real", "short", pretrained=lambda name: vgg_state if name == "vgg19" else None)
    (loss,) = (term.loss for term in with_vgg.stages[1].terms if term.name == "perceptual")
    assert isinstance(loss, VGGContentLoss) and loss.distance is F.l1_loss
    # Indices 2, 7, 16, 25, 34 of torchvision's vgg19().features.
    assert loss.vgg.layers == {2: "conv1_2", 7: "conv2_2", 16: "conv3_4", 25: "conv4_4", 34: "conv5_4"}
    assert list(loss.weights.values()) == [0.1, 0.1, 1, 1, 1]
    without = recipe("real", "short")
    assert any("no VGG-19 weights" in note for note in without.notes)
    assert any("BSRGAN" in note for note in without.notes)


@pytest.mark.slow
def test_discriminator_has_the_published_size_and_judges_every_pixel():
    discriminator = UNetDiscriminator(3)
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 4_376_897
    assert UNetDiscriminator(1, 4)(torch.rand(2, 1, 16, 24)).shape == (2, 1, 16, 24)
    with pytest.raises(ModelError, match="multiples of 8"):
        discriminator(torch.rand(1, 3, 16, 20))


@pytest.mark.slow
def test_discriminator_normalises_all_but_its_first_and_last_layer():
    discriminator = UNetDiscriminator(1, 4).train()
    for _ in range(300):  # each pass refines the estimate of the largest singular value
        discriminator(torch.rand(1, 1, 8, 8))
    discriminator.eval()
    for number in range(1, 9):
        weight = discriminator.get_submodule(f"conv{number}").weight
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-3)
    assert {name for name, _ in discriminator.named_parameters() if "parametrizations" not in name} == {
        "conv0.weight",
        "conv0.bias",
        "conv9.weight",
        "conv9.bias",
    }


def test_discriminator_adds_what_was_there_before_at_each_size():
    """With the way back up silenced, only the skip connection at full size is left."""
    discriminator = UNetDiscriminator(1, 4).eval()
    image = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        for number in (4, 5, 6):
            silent = discriminator.get_submodule(f"conv{number}")
            torch.nn.utils.parametrize.remove_parametrizations(silent, "weight").weight.zero_()
        x = F.leaky_relu(discriminator.conv0(image), 0.2)
        for number in (7, 8):
            x = F.leaky_relu(discriminator.get_submodule(f"conv{number}")(x), 0.2)
        torch.testing.assert_close(discriminator(image), discriminator.conv9(x))


@pytest.mark.slow
def test_discriminator_learns_to_tell_apart():
    (discriminator,) = recipe("real", "smoke").stages[1].discriminators
    network = discriminator.build()
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    hr = torch.rand(4, 1, 24, 24)
    sr = 0.5 * hr
    inputs = LossInputs(Batch(hr[..., ::4, ::4], hr, 4), {"sr": sr})
    losses = []
    for _ in range(120):
        optimiser.zero_grad()
        loss = discriminator.loss(network, inputs)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if losses[-1] < 0.5 * losses[0]:
            break
    assert losses[0] == pytest.approx(2 * np.log(2), abs=0.1)
    assert losses[-1] < 0.5 * losses[0]
    assert network(hr).mean() > network(sr).mean()


@pytest.mark.slow
def test_generator_is_paid_for_fooling_the_discriminator():
    stage = recipe("real", "smoke").stages[1]
    discriminator = stage.discriminators[0].build().eval()
    hr = torch.rand(2, 1, 32, 32)
    sr = (0.5 * hr).requires_grad_()
    inputs = LossInputs(Batch(hr[..., ::4, ::4], hr, 4), {"sr": sr}, {"discriminator": discriminator})
    adversarial = {term.name: term.loss for term in stage.terms}["adversarial"]
    of_generator = torch.autograd.grad(adversarial(inputs), sr)[0]
    of_discriminator = torch.autograd.grad(stage.discriminators[0].loss(discriminator, inputs), sr)[0]
    assert F.cosine_similarity(of_generator.flatten(), of_discriminator.flatten(), dim=0) < -0.99


@pytest.mark.slow
def test_adversarial_stage_moves_generator_and_discriminator(scenes, train):
    model = create("swinir", scale=4, variant="tiny")
    real = recipe("real", "smoke")
    stage = replace(real.stages[1], iterations=2, patch=32)
    discriminator = stage.discriminators[0]
    made = []

    def build():
        made.append(discriminator.build())
        made.append([parameter.clone() for parameter in made[0].parameters()])
        return made[0]

    before = {key: value.clone() for key, value in model.network.named_parameters()}
    stage = replace(stage, discriminators=(replace(discriminator, build=build),))
    losses = train(model, replace(real, stages=(stage,)), scenes(4)).losses["adversarial"]
    assert np.isfinite(losses).all()
    assert not torch.equal(model.network.body.conv_last.weight, before["body.conv_last.weight"])
    assert not any(map(torch.equal, made[0].parameters(), made[1]))
