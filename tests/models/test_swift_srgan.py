"""Swift-SRGAN against the numbers of the authors' code, its loss, and its training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import card, create
from srbench.models.baselines.swift_srgan import (
    LinearGenerator,
    PoolTo,
    SwiftDiscriminator,
    UnusedSlope,
)
from srbench.models.losses.perceptual import MobileNetContentLoss
from srbench.models.recipe import Batch, LossInputs


def load(network, state):
    """Load weights; BatchNorm's batch counters are integers the fixtures leave out."""
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return network.double().eval()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "_b"])
def test_generator_reproduces_the_authors_network(golden, suffix):
    fixture = golden("swiftsrgan_x4")
    network = load(create("swift_srgan", scale=4, channels=3).network, fixture.state())
    with torch.no_grad():
        output = network(fixture.input(f"x{suffix}"))
    expected = fixture.output(f"y{suffix}")
    assert expected.std() > 0.04
    torch.testing.assert_close(output, expected, atol=1e-7, rtol=0)


def numbers(state):
    """What the authors count as parameters: everything but the statistics of batch normalisation."""
    return sum(value.numel() for key, value in state.items() if "running" not in key and "num_b" not in key)


@pytest.mark.slow
def test_generator_has_the_authors_keys_and_size(golden):
    spec = golden("swiftsrgan_x4").spec
    network = create("swift_srgan", scale=4, channels=3).network
    state = network.state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == spec["keys"]
    assert numbers(state) == spec["params"] == 201_209
    unused = [module for module in network.modules() if isinstance(module, UnusedSlope)]
    assert sum(module.weight.numel() for module in unused) == 17 * 64
    assert sum(parameter.numel() for parameter in network.parameters()) == 201_209 - 17 * 64
    assert numbers(create("swift_srgan", scale=2, channels=3).network.state_dict()) == 183_865


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "expected"), [(4, 18.7445952), (2, 44.5)])
def test_generator_multiply_adds_at_720p(scale, expected):
    with torch.device("meta"):
        network = create("swift_srgan", scale=scale, channels=3).network
        lr = torch.empty(1, 3, 720 // scale, 1280 // scale)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(lr)
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=1e-9 if scale == 4 else 2e-3)


@pytest.mark.slow
def test_discriminator_reproduces_the_authors_network(golden):
    fixture = golden("swiftsrgan_d")
    discriminator = load(SwiftDiscriminator(3), fixture.state())
    with torch.no_grad():
        probabilities = discriminator(fixture.input())
    torch.testing.assert_close(probabilities, fixture.output(), atol=1e-7, rtol=0)
    assert {key: list(value.shape) for key, value in discriminator.state_dict().items()} == fixture.spec[
        "keys"
    ]
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 19_413_279


@pytest.mark.parametrize("side", [3, 6, 7, 12])
def test_pooling_is_adaptive_average_pooling(side):
    x = torch.rand(2, 3, side, side)
    assert torch.equal(PoolTo(6)(x), F.adaptive_avg_pool2d(x, 6))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_full_depth_looks_as_far_as_it_says(scale, probe):
    narrow = LinearGenerator(scale, channels=1, features=1)  # a saturated tanh would hide what it sees
    stated = create("swift_srgan", scale=scale).receptive_radius
    assert narrow.receptive_radius == stated
    assert probe(narrow, scale, int(stated) + 2) == stated


def test_x8_enlarges_by_eight_not_sixteen():
    assert len(create("swift_srgan", scale=8).network.upsampler) == 3


@pytest.mark.slow
def test_output_needs_no_clamping():
    network = create("swift_srgan", scale=2).network.eval()
    with torch.no_grad():
        network.final_conv.pointwise.bias.fill_(100.0)
        assert network(torch.rand(1, 1, 8, 8)).max() <= 1
        network.final_conv.pointwise.bias.fill_(-100.0)
        assert network(torch.rand(1, 1, 8, 8)).min() >= 0


def test_untrained_tiny_is_bicubic():
    lr = torch.rand(1, 1, 9, 8)
    assert torch.equal(
        create("swift_srgan", scale=4, variant="tiny").infer(lr), create("bicubic", scale=4).infer(lr)
    )


@pytest.fixture(scope="module")
def mobilenet_state():
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    network = mobilenet_v2(weights=None).train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # statistics are the mean over batches, so that the network sees
    with torch.no_grad():
        network(torch.rand(16, 3, 64, 64))
    return network.state_dict()


@pytest.mark.slow
def test_paper_recipe_is_the_released_script(mobilenet_state):
    asked = []

    def pretrained(name):
        asked.append(name)
        return mobilenet_state

    recipe = create("swift_srgan", scale=4, channels=3).recipe("paper", pretrained)
    (stage,) = recipe.stages
    (discriminator,) = stage.discriminators
    assert asked == ["mobilenet_v2"]
    assert stage.patch == 96
    for optimiser in (stage.optimiser, discriminator.optimiser):
        assert (optimiser.name, optimiser.lr, optimiser.weight_decay) == ("adamw", 1e-3, 1e-2)
    assert stage.schedule(0.99) == discriminator.schedule(0.99) == 1
    assert {term.name: term.weight for term in stage.terms} == {
        "mse": 1.0,
        "adversarial": 1e-3,
        "variation": 2e-8,
        "mobilenet_v2": 6e-3,
    }
    assert isinstance(stage.terms[-1].loss, MobileNetContentLoss)
    assert sum(parameter.numel() for parameter in discriminator.build().parameters()) == 19_413_279
    assert any("batch size" in note for note in recipe.notes)


def test_without_mobilenet_there_is_no_perceptual_term_and_a_note():
    recipe = create("swift_srgan", scale=4).recipe("paper", lambda name: None)
    assert [term.name for term in recipe.stages[0].terms] == ["mse", "adversarial", "variation"]
    assert any("no MobileNetV2 weights" in note for note in recipe.notes)


@pytest.mark.slow
def test_losses_are_the_released_ones(mobilenet_state):
    """Every term derived once more, by hand, from the features of torchvision's own network."""
    from torchvision.models import mobilenet_v2

    stage = create("swift_srgan", scale=4, channels=3).recipe("paper", lambda _: mobilenet_state).stages[0]
    discriminator = stage.discriminators[0].build().eval()
    hr, sr = torch.rand(2, 3, 96, 96), torch.rand(2, 3, 96, 96)
    inputs = LossInputs(Batch(hr[..., ::4, ::4], hr, 4), {"sr": sr}, {"discriminator": discriminator})
    network = mobilenet_v2(weights=None).eval()
    network.load_state_dict(mobilenet_state)
    with torch.no_grad():
        found = sum(term.weight * term.loss(inputs) for term in stage.terms)
        of_discriminator = stage.discriminators[0].loss(discriminator, inputs)
        real, fake = discriminator(hr), discriminator(sr)
        features = F.mse_loss(network.features(sr), network.features(hr))
    assert 6e-3 * features > 1e-4
    down = (sr[:, :, 1:] - sr[:, :, :-1]).pow(2).sum() / (3 * 95 * 96)
    right = (sr[..., 1:] - sr[..., :-1]).pow(2).sum() / (3 * 96 * 95)
    expected = (sr - hr).pow(2).mean() + 1e-3 * (1 - fake).mean() + 6e-3 * features
    expected = expected + 2e-8 * 2 * (down + right) / 2
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(of_discriminator, 1 - real.mean() + fake.mean())


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("budget", ["smoke", "short", "paper"])
@pytest.mark.parametrize("variant", ["paper", "tiny"])
def test_discriminator_of_every_recipe_judges_its_patches(scale, budget, variant):
    (stage,) = create("swift_srgan", scale=scale, variant=variant).recipe(budget).stages
    with torch.device("meta"):
        discriminator = stage.discriminators[0].build()
        assert discriminator(torch.empty(2, 1, stage.patch, stage.patch)).shape == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("budget", ["short", "paper"])
def test_longer_recipes_leave_nothing_to_pool(scale, budget):
    assert create("swift_srgan", scale=scale).recipe(budget).stages[0].patch == 96


def test_released_weights_fit_what_is_offered():
    assert {(entry.variant, entry.scale) for entry in card("swift_srgan").released} == {
        ("paper", 2),
        ("paper", 4),
    }


@pytest.mark.slow
def test_discriminator_learns_to_tell_the_two_apart(scenes, train):
    model, data = create("swift_srgan", scale=4, variant="tiny"), scenes(4)
    recipe = model.recipe("smoke")
    made = []

    def build():
        made.append(discriminator.build())
        return made[-1]

    hr = data.train[..., :96, :96]
    (stage,) = recipe.stages
    (discriminator,) = stage.discriminators
    stage = replace(stage, iterations=40, discriminators=(replace(discriminator, build=build),))
    fresh = discriminator.build()

    @torch.no_grad()
    def has_learned():
        inputs = LossInputs(Batch(data.degrade(hr), hr, 4), {"sr": model.infer(data.degrade(hr))})
        return discriminator.loss(made[0], inputs) < discriminator.loss(fresh, inputs) - 0.02

    train(
        model,
        replace(recipe, stages=(stage,)),
        data,
        lambda _, losses: len(losses) % 5 == 0 and has_learned(),
    )
    assert has_learned()
