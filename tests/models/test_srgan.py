"""SRGAN against the numbers of a paper-faithful implementation, and its two stages."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import ModelError, create
from srbench.models.baselines.srgan import SRResNet
from srbench.models.discriminators import SRGANDiscriminator
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.recipe import Batch, LossInputs


def load(network, state):
    """Load weights; BatchNorm's batch counters are integers the fixtures leave out."""
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return network.double().eval()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "_b"])
def test_generator_reproduces_the_reference(golden, suffix):
    fixture = golden("srresnet_x4")
    network = load(create("srgan", scale=4, channels=3, variant="srresnet").network, fixture.state())
    with torch.no_grad():
        output = network(fixture.input(f"x{suffix}"))
    torch.testing.assert_close(output, fixture.output(f"y{suffix}_preclamp"), atol=3e-6, rtol=0)


@pytest.mark.slow
def test_inference_clamps_as_the_reference(golden):
    fixture = golden("srresnet_x4")
    model = create("srgan", scale=4, channels=3, variant="srresnet")
    load(model.network, fixture.state())
    torch.testing.assert_close(model.infer(fixture.input()), fixture.output("y_clamped"), atol=3e-6, rtol=0)


@pytest.mark.slow
def test_generator_has_the_reference_keys_and_size(golden):
    spec = golden("srresnet_x4").spec
    network = create("srgan", scale=4, channels=3).network
    assert {key: list(value.shape) for key, value in network.state_dict().items()} == spec["keys"]
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_547_350
    at_x2 = create("srgan", scale=2, channels=3).network
    assert sum(parameter.numel() for parameter in at_x2.parameters()) == 1_399_637


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "expected"), [(4, 127.7669376), (2, 332.2)])
def test_generator_multiply_adds_at_720p(scale, expected):
    with torch.device("meta"):
        network = create("srgan", scale=scale, channels=3).network
        lr = torch.empty(1, 3, 720 // scale, 1280 // scale)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(lr)
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=2e-4)


@pytest.mark.slow
def test_discriminator_reproduces_the_reference(golden):
    fixture = golden("srgan_d96")
    discriminator = load(SRGANDiscriminator(3), fixture.state())
    with torch.no_grad():
        logits = discriminator(fixture.input())
    torch.testing.assert_close(logits, fixture.output(), atol=1e-8, rtol=0)
    assert {key: list(value.shape) for key, value in discriminator.state_dict().items()} == fixture.spec[
        "keys"
    ]
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 23_563_649


@pytest.mark.slow
@pytest.mark.parametrize("patch", [16, 48, 96])
def test_discriminator_gives_one_logit_an_image(patch):
    discriminator = SRGANDiscriminator(1, patch, features=4, hidden=8)
    assert discriminator(torch.rand(3, 1, patch, patch)).shape == (3, 1)


@pytest.mark.parametrize("patch", [0, 8, 50])
def test_discriminator_refuses_patches_it_cannot_halve(patch):
    with pytest.raises(ModelError, match="multiple of 16"):
        SRGANDiscriminator(1, patch)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_full_depth_looks_as_far_as_it_says(scale, probe):
    narrow = SRResNet(scale, channels=1, features=1)
    stated = create("srgan", scale=scale).receptive_radius
    assert narrow.receptive_radius == stated
    assert probe(narrow, scale, int(stated) + 2) == stated


def test_untrained_tiny_is_bicubic():
    lr = torch.rand(1, 1, 9, 8)
    assert torch.equal(
        create("srgan", scale=4, variant="tiny").infer(lr), create("bicubic", scale=4).infer(lr)
    )


@pytest.mark.slow
def test_paper_recipe_is_section_3_2():
    recipe = create("srgan", scale=4, channels=3).recipe("paper")
    pixels, adversarial = recipe.stages
    assert (pixels.iterations, pixels.batch, pixels.patch) == (1_000_000, 16, 96)
    assert pixels.optimiser.lr == 1e-4 and pixels.optimiser.betas[0] == 0.9
    assert not pixels.discriminators
    assert adversarial.iterations == 200_000
    assert [adversarial.schedule(f) for f in (0, 0.49, 0.5, 1)] == pytest.approx([1, 1, 0.1, 0.1])
    assert {term.name: term.weight for term in adversarial.terms}["adversarial"] == 1e-3
    (discriminator,) = adversarial.discriminators
    assert discriminator.steps == 1
    assert sum(parameter.numel() for parameter in discriminator.build().parameters()) == 23_563_649


def test_content_falls_back_to_pixels_and_says_so():
    recipe = create("srgan", scale=4).recipe("paper", pretrained=lambda name: None)
    assert [term.name for term in recipe.stages[1].terms] == ["mse", "adversarial"]
    assert any("SRGAN-MSE" in note for note in recipe.notes)


@pytest.mark.slow
def test_content_uses_vgg_features_where_there_are_weights(vgg_state):
    asked = []

    def pretrained(name):
        asked.append(name)
        return vgg_state

    recipe = create("srgan", scale=4).recipe("short", pretrained=pretrained)
    content = recipe.stages[1].terms[0].loss
    assert asked == ["vgg19"]
    assert isinstance(content, VGGContentLoss)
    assert content.feature_scale == 1 / 12.75
    assert list(content.vgg.layers.values()) == ["relu5_4"]
    assert any("VGG-19" in note for note in recipe.notes)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("budget", ["smoke", "short", "paper"])
@pytest.mark.parametrize("variant", ["srresnet", "tiny"])
def test_discriminator_of_every_recipe_judges_its_patches(scale, budget, variant):
    recipe = create("srgan", scale=scale, variant=variant).recipe(budget)
    stage = recipe.stages[1]
    assert stage.patch % scale == 0
    with torch.device("meta"):
        discriminator = stage.discriminators[0].build()
        assert discriminator(torch.empty(2, 1, stage.patch, stage.patch)).shape == (2, 1)


@pytest.mark.slow
def test_adversarial_terms_pull_in_opposite_directions():
    stage = create("srgan", scale=4, variant="tiny").recipe("smoke").stages[1]
    discriminator = stage.discriminators[0].build()
    hr = torch.rand(2, 1, stage.patch, stage.patch)
    sr = (0.5 * hr).requires_grad_()
    inputs = LossInputs(Batch(hr[..., ::4, ::4], hr, 4), {"sr": sr}, {"discriminator": discriminator.eval()})
    adversarial = {term.name: term.loss for term in stage.terms}["adversarial"]
    of_generator = torch.autograd.grad(adversarial(inputs), sr)[0]
    of_discriminator = torch.autograd.grad(stage.discriminators[0].loss(discriminator, inputs), sr)[0]
    cosine = torch.nn.functional.cosine_similarity(of_generator.flatten(), of_discriminator.flatten(), dim=0)
    assert cosine < -0.99
