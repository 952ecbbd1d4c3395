"""ESRGAN against the numbers of the authors' code and of BasicSR's: layouts, magnifications, stages."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import create
from srbench.models.baselines.esrgan import (
    CONFIGS,
    RRDB,
    ESRGANConfig,
    ResidualDenseBlock,
    RRDBNet,
    to_published_names,
)
from srbench.models.discriminators import VGGDiscriminator
from srbench.models.losses.perceptual import VGGContentLoss, VGGFeatures
from srbench.models.recipe import Batch, LossInputs

SMALL = ESRGANConfig(2, 32, 16)
"""That of the small fixture."""


def on_meta(scale=4, variant="paper"):
    with torch.device("meta"):
        return create("esrgan", scale=scale, channels=3, variant=variant).network


def close_to(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-6 * max(1.0, expected.std().item()), rtol=0)


@pytest.fixture(scope="module")
def published(golden):
    """The full network with the fixture's weights."""
    network = create("esrgan", scale=4, channels=3).network
    network.load_state_dict(golden("esrgan_x4").state())
    return network.double()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "_b"])
def test_generator_reproduces_the_authors(golden, published, suffix):
    fixture = golden("esrgan_x4")
    with torch.no_grad():
        close_to(published(fixture.input(f"x{suffix}")), fixture.output(f"y{suffix}"))


@pytest.mark.slow
@pytest.mark.parametrize("gradients", [True, False])
def test_small_generator_reproduces_basicsr_with_and_without_gradients(golden, gradients):
    fixture = golden("esrgan_tiny_x4")
    network = RRDBNet(4, 3, SMALL)
    network.load_state_dict(to_published_names(fixture.state()))
    with torch.set_grad_enabled(gradients):
        close_to(network.double()(fixture.input()), fixture.output())


@pytest.mark.slow
def test_keys_and_size_are_the_authors(golden):
    spec = golden("esrgan_x4").spec
    state = on_meta().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == spec["keys"]
    assert sum(value.numel() for value in state.values()) == spec["params"] == 16_697_987


@pytest.mark.slow
def test_size_at_x2_is_that_of_basicsr():
    assert sum(value.numel() for value in on_meta(2).state_dict().values()) == 16_703_171


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "expected"), [(4, 1032.5864448), (2, 1032.9)])
def test_multiply_adds_at_720p(scale, expected):
    with torch.device("meta"):
        lr = torch.empty(1, 3, 720 // scale, 1280 // scale)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        on_meta(scale)(lr)
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=1e-9 if scale == 4 else 5e-5)


@pytest.mark.parametrize("layout", ["old_arch_keys", "basicsr_keys"])
def test_other_layouts_are_renamed(golden, layout):
    fixture = golden("esrgan_x4")
    renamed = fixture.spec[layout]
    state = {own: torch.empty(shape, device="meta") for own, shape in fixture.spec["keys"].items()}
    foreign = {renamed[own]: value for own, value in state.items()}
    assert len(foreign) == 702
    converted = to_published_names(foreign)
    assert converted.keys() == state.keys()
    assert all(converted[own] is state[own] for own in state)


@pytest.mark.parametrize(("scale", "numbers"), [(3, (3, 5, 7)), (4, (3, 6, 8, 10)), (8, (3, 6, 9, 11, 13))])
def test_layers_of_the_old_code_are_told_apart_at_every_scale(scale, numbers):
    """The old code counted layers in a row; its indices follow from the number of steps."""
    ours = RRDBNet(scale, 1, CONFIGS["tiny"]).state_dict()
    ends = [key for key in ours if key.startswith(("upconv", "HRconv", "conv_last")) and "weight" in key]
    foreign = {}
    for key, value in ours.items():
        part, _, kind = key.partition(".")
        if f"{part}.weight" in ends:
            foreign[f"model.{numbers[ends.index(f'{part}.weight')]}.{kind}"] = value
        elif part == "RRDB_trunk":
            foreign[f"model.1.sub.{kind.replace('.weight', '.0.weight').replace('.bias', '.0.bias')}"] = value
        else:
            foreign[{"conv_first": "model.0.", "trunk_conv": "model.1.sub.1."}[part] + kind] = value
    converted = to_published_names(foreign)
    assert {key: id(value) for key, value in converted.items()} == {key: id(v) for key, v in ours.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant"), [("esrgan", "paper"), ("esrgan", "tiny"), ("spsr", "paper"), ("srgan", "tiny")]
)
def test_what_is_no_other_layout_comes_back_as_it_is(name, variant):
    with torch.device("meta"):
        state = create(name, scale=4, variant=variant).network.state_dict()
    assert to_published_names(state) == dict(state)


def test_every_released_file_fits_what_is_offered():
    card = create("esrgan", scale=4, variant="tiny").card
    assert {weights.scale for weights in card.released} == {2, 4}
    for weights in card.released:
        assert weights.variant in card.variants and weights.channels in card.channels
        assert weights.direct == weights.url.endswith(weights.file)


def test_buffer_without_gradients_gives_the_same_numbers():
    block = RRDB(8, 4).double()
    for x in (torch.rand(2, 8, 9, 7, dtype=torch.float64), torch.rand(1, 8, 5, 6, dtype=torch.float64)):
        for layout in (torch.contiguous_format, torch.channels_last):
            given = x.contiguous(memory_format=layout)
            before = given.clone()
            with torch.no_grad():
                found = block(given)
            assert torch.equal(given, before)
            torch.testing.assert_close(found, block(given), atol=1e-14, rtol=0)


def test_dense_block_is_the_formula_of_the_paper():
    block = ResidualDenseBlock(6, 3).double()
    x = torch.rand(2, 6, 8, 5, dtype=torch.float64)
    seen = [x]
    for convolution in (block.conv1, block.conv2, block.conv3, block.conv4):
        seen.append(F.leaky_relu(convolution(torch.cat(seen, 1)), 0.2))
    expected = 0.2 * block.conv5(torch.cat(seen, 1)) + x
    torch.testing.assert_close(block(x), expected, atol=1e-14, rtol=0)


@pytest.mark.slow
def test_gradients_are_right():
    network = RRDBNet(2, 1, ESRGANConfig(1, 2, 2)).double()
    lr = torch.rand(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (lr,), atol=1e-6)


def test_dense_blocks_start_small():
    block = ResidualDenseBlock(64, 32)
    assert block.conv5.weight.std().item() == pytest.approx(0.1 * (2 / (9 * 192)) ** 0.5, rel=0.02)
    assert not block.conv5.bias.any()


@pytest.mark.slow
def test_x2_is_the_x4_network_on_an_unshuffled_image():
    """The channel order of BasicSR's ``pixel_unshuffle``: colour, row within the cell, column within it."""
    network = RRDBNet(2, 3, SMALL).double()
    as_x4 = RRDBNet(4, 12, SMALL).double()
    as_x4.load_state_dict({**as_x4.state_dict(), **without(network.state_dict(), "conv_last")})
    as_x4.conv_last = network.conv_last
    lr = torch.rand(1, 3, 8, 6, dtype=torch.float64)
    cells = [lr[:, colour, row::2, column::2] for colour in range(3) for row in (0, 1) for column in (0, 1)]
    torch.testing.assert_close(network(lr), as_x4(torch.stack(cells, dim=1)), atol=1e-12, rtol=0)


def without(state, part):
    return {key: value for key, value in state.items() if not key.startswith(part)}


def test_x2_takes_images_of_odd_size():
    model = create("esrgan", scale=2, variant="tiny")
    assert model.size_multiple == 2
    assert model.infer(torch.rand(1, 1, 7, 9)).shape == (1, 1, 14, 18)


@pytest.mark.parametrize("scale", [3, 8])
def test_our_own_magnifications_repeat_pixels_between_convolutions(scale):
    network = RRDBNet(scale, 1, ESRGANConfig(1, 4, 2)).double()
    lr = torch.rand(1, 1, 5, 4, dtype=torch.float64)
    x = network.conv_first(lr)
    x = x + network.trunk_conv(network.RRDB_trunk(x))
    for step, layer in {3: [(3, "upconv1")], 8: [(2, f"upconv{i}") for i in (1, 2, 3)]}[scale]:
        x = x.repeat_interleave(step, -1).repeat_interleave(step, -2)
        x = F.leaky_relu(getattr(network, layer)(x), 0.2)
    expected = network.conv_last(F.leaky_relu(network.HRconv(x), 0.2))
    torch.testing.assert_close(network(lr), expected, atol=1e-13, rtol=0)


def test_untrained_tiny_is_bicubic():
    lr = torch.rand(1, 1, 9, 8)
    bicubic = create("bicubic", scale=4).infer(lr)
    torch.testing.assert_close(create("esrgan", scale=4, variant="tiny").infer(lr), bicubic)


def test_paper_recipe_is_section_4_1():
    pixels, adversarial = create("esrgan", scale=4, channels=3, variant="tiny").recipe("paper").stages
    assert (pixels.iterations, pixels.batch, pixels.patch) == (1_000_000, 16, 128)
    assert (pixels.optimiser.lr, pixels.optimiser.betas) == (2e-4, (0.9, 0.999))
    steps = [0, 199_999, 200_000, 400_000, 999_999]
    halved_every_200k = [pixels.schedule(step / 1_000_000) for step in steps]
    assert halved_every_200k == [1, 1, 0.5, 0.25, 0.0625]
    assert not pixels.discriminators and [term.name for term in pixels.terms] == ["l1"]
    assert (adversarial.iterations, adversarial.batch, adversarial.patch) == (400_000, 16, 128)
    assert adversarial.optimiser.lr == 1e-4
    steps = [0, 49_999, 50_000, 100_000, 200_000, 300_000]
    assert [adversarial.schedule(step / 400_000) for step in steps] == [1, 1, 0.5, 0.25, 0.125, 0.0625]
    assert [term.weight for term in adversarial.terms] == [1, 5e-3, 1e-2]
    (discriminator,) = adversarial.discriminators
    assert (discriminator.steps, discriminator.optimiser) == (1, adversarial.optimiser)


@pytest.mark.slow
def test_paper_discriminator_is_the_published_one():
    stage = create("esrgan", scale=4, channels=3).recipe("paper").stages[1]
    with torch.device("meta"):
        discriminator = stage.discriminators[0].build()
    assert isinstance(discriminator, VGGDiscriminator)
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 14_499_401


@pytest.mark.slow
def test_perceptual_loss_falls_back_to_pixels_and_says_so():
    recipe = create("esrgan", scale=4).recipe("short", pretrained=lambda name: None)
    assert [term.name for term in recipe.stages[1].terms] == ["pixels", "adversarial", "l1"]
    assert any("no VGG-19 weights" in note for note in recipe.notes)


@pytest.mark.slow
def test_perceptual_loss_is_l1_on_conv5_4_before_activation(vgg_state):
    asked = []

    def pretrained(name):
        asked.append(name)
        return vgg_state

    recipe = create("esrgan", scale=4).recipe("short", pretrained=pretrained)
    term = recipe.stages[1].terms[0]
    assert asked == ["vgg19"]
    assert isinstance(term.loss, VGGContentLoss)
    sr, hr = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    features = VGGFeatures(vgg_state, ("conv5_4",))
    of_sr, of_hr = features(sr)["conv5_4"], features(hr)["conv5_4"]
    assert of_sr.min() < 0  # not rectified
    found = term.loss(LossInputs(Batch(hr, hr, 1), {"sr": sr}))
    torch.testing.assert_close(found, (of_sr - of_hr).abs().mean())
    assert any("before activation" in note for note in recipe.notes)


@pytest.mark.slow
@pytest.mark.parametrize("variant", [pytest.param("paper", marks=pytest.mark.slow), "tiny"])
@pytest.mark.parametrize("budget", ["smoke", "short", "paper"])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_discriminator_of_every_recipe_judges_its_patches(scale, budget, variant):
    with torch.device("meta"):
        model = create("esrgan", scale=scale, variant=variant)
        stage = model.recipe(budget).stages[1]
        discriminator = stage.discriminators[0].build()
        assert discriminator(torch.empty(2, 1, stage.patch, stage.patch)).shape == (2, 1)
    assert stage.patch % (scale * model.size_multiple) == 0


@pytest.mark.slow
def test_other_magnifications_are_noted():
    assert not any("Published for x4" in note for note in create("esrgan", scale=4).recipe("smoke").notes)
    model = create("esrgan", scale=3, variant="tiny")
    assert any("129 instead of 128" in note for note in model.recipe("paper").notes)


@pytest.mark.slow
def test_the_adversarial_stage_moves_generator_and_discriminator(scenes, train):
    model, data = create("esrgan", scale=4, variant="tiny"), scenes(4)
    recipe = model.recipe("smoke")
    stage = replace(recipe.stages[1], iterations=3)
    (discriminator,) = stage.discriminators
    made = []

    def build():
        made.append(discriminator.build())
        made.append(copy.deepcopy(made[0]))
        return made[0]

    before = copy.deepcopy(model.network)
    stage = replace(stage, discriminators=(replace(discriminator, build=build),))
    losses = train(model, replace(recipe, stages=(stage,)), data).losses["adversarial"]
    assert torch.tensor(losses).isfinite().all()
    assert still(before, model.network) == []
    assert set(still(*made)) <= {"linear2.bias"}  # added to every logit, it cancels in a relativistic loss


def still(before, after):
    pairs = zip(before.named_parameters(), after.parameters(), strict=True)
    return [name for (name, old), new in pairs if torch.equal(old, new)]
