"""SPSR against the numbers of the authors' code: three outputs, names, gradient maps, losses, stages."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import create
from srbench.models.baselines.spsr import (
    CONFIGS,
    SPSR,
    GradientMap,
    gradient_pixel_loss,
    guided_forward,
    restore,
    to_published_names,
    wide_gradient_map,
)
from srbench.models.discriminators import BiasedVGGDiscriminator
from srbench.models.layers import BicubicResidual
from srbench.models.losses.pixel import gradient_map
from srbench.models.recipe import Batch, LossInputs

ALIAS = {f"model.8.{kind}": f"HR_conv0_new.0.{kind}" for kind in ("weight", "bias")}
KERNELS = {"get_g_nopadding.weight_h", "get_g_nopadding.weight_v"}


def on_meta(scale=4, channels=3, variant="paper"):
    with torch.device("meta"):
        return create("spsr", scale=scale, channels=channels, variant=variant).network


def close_to(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-6 * max(1.0, expected.std().item()), rtol=0)


@pytest.fixture(scope="module")
def published(golden):
    """The full network with the fixture's weights; the gradient kernels stay as constructed."""
    network = create("spsr", scale=4, channels=3).network
    state = {**to_published_names(golden("spsr_x4").state()), **kernels(network)}
    network.load_state_dict(state)
    return network.double()


def kernels(network):
    return {key: value for key, value in network.state_dict().items() if key in KERNELS}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "_b"])
def test_all_three_outputs_are_the_authors(golden, published, suffix):
    fixture = golden("spsr_x4")
    with torch.no_grad():
        restored = published.restore(fixture.input(f"x{suffix}"))
    close_to(restored.sr, fixture.output(f"y{suffix}_sr"))
    close_to(restored.gradient_sr, fixture.output(f"y{suffix}_grad_branch"))
    torch.testing.assert_close(restored.lr_gradient, fixture.output(f"y{suffix}_lr_grad"), atol=1e-7, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("gradients", [True, False])
def test_forward_is_the_image_of_restore(gradients):
    network, lr = SPSR(4, 1, CONFIGS["tiny"]).double(), torch.rand(2, 1, 6, 5, dtype=torch.float64)
    with torch.set_grad_enabled(gradients):
        assert torch.equal(network(lr), network.restore(lr).sr)
    torch.testing.assert_close(network(lr), network.restore(lr).sr.detach(), atol=1e-13, rtol=0)


@pytest.mark.slow
def test_keys_and_counts_are_the_authors(golden):
    spec = golden("spsr_x4").spec
    network = on_meta()
    state = network.state_dict()
    own = {key: list(value.shape) for key, value in state.items()}
    assert own == {key: shape for key, shape in spec["keys"].items() if key not in ALIAS}
    assert sum(value.numel() for value in state.values()) == spec["params"] == 24_796_248
    learned = [parameter.numel() for parameter in network.parameters() if parameter.requires_grad]
    assert sum(learned) == spec["params_trainable"] == spec["params"] - 18


@pytest.mark.slow
def test_multiply_adds_are_the_authors(golden):
    lr = torch.empty(1, 3, 180, 320, device="meta")
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        on_meta().restore(lr)
    # The authors find the gradient of each colour by two 3x3 convolutions.
    gradient_kernels = 2 * 9 * lr.numel()
    expected = golden("spsr_x4").spec["macs"]["G"]
    assert (counter.get_total_flops() / 2 + gradient_kernels) / 1e9 == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_a_file_with_both_names_loads_strictly(scale):
    """In the authors' files the last layer of ``model`` is stored a second time, as ``HR_conv0_new``."""
    network = SPSR(scale, 1, CONFIGS["tiny"])
    number = {2: 5, 3: 5, 4: 8, 8: 11}[scale]
    layer = network.HR_conv0_new[0]
    second = {f"model.{number}.weight": layer.weight, f"model.{number}.bias": layer.bias}
    state = network.state_dict()
    assert to_published_names(state) == dict(state)
    assert to_published_names({**state, **second}).keys() == state.keys()
    one_name = {key: value for key, value in state.items() if not key.startswith("HR_conv0_new")}
    for file in ({**state, **second}, {**one_name, **second}, {**second, **one_name}):
        fresh = SPSR(scale, 1, CONFIGS["tiny"])
        fresh.load_state_dict(to_published_names(file))
        assert all(torch.equal(value, state[key]) for key, value in fresh.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), [("spsr", "tiny"), ("esrgan", "paper"), ("edsr", "tiny")])
def test_what_is_no_other_layout_comes_back_as_it_is(name, variant):
    with torch.device("meta"):
        state = create(name, scale=4, variant=variant).network.state_dict()
    assert to_published_names(state) == dict(state)
    old_esrgan = {"model.0.weight": torch.zeros(1), "model.8.weight": torch.zeros(1)}
    assert to_published_names(old_esrgan) == old_esrgan


@pytest.mark.parametrize("padding", [1, 2])
def test_gradient_map_is_the_authors(golden_gradient, padding):
    image = torch.from_numpy(golden_gradient["x"]).double()
    expected = torch.from_numpy(golden_gradient[f"y_pad{padding}"]).double()
    torch.testing.assert_close(gradient_map(image, padding), expected, atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def golden_gradient():
    from pathlib import Path

    with np.load(Path(__file__).parents[1] / "golden" / "spsr_gradient.npz") as arrays:
        return dict(arrays)


def test_gradient_map_equals_the_stored_kernels():
    """The constants that the authors' files carry are those that the map is computed with."""
    operator = GradientMap().double()
    image = torch.rand(2, 3, 9, 7, dtype=torch.float64)
    h, v = (
        F.conv2d(image.flatten(0, 1)[:, None], kernel, padding=1).view_as(image)
        for kernel in (operator.weight_h, operator.weight_v)
    )
    torch.testing.assert_close(operator(image), torch.sqrt(h**2 + v**2 + 1e-6), atol=1e-14, rtol=0)
    assert not list(operator.parameters())


def test_gradient_map_of_a_ramp_and_of_a_constant():
    ramp = 0.1 * torch.arange(8.0).expand(1, 1, 8, 8)
    torch.testing.assert_close(gradient_map(ramp)[..., 1:-1, 1:-1], torch.full((1, 1, 6, 6), 0.2000025))
    flat = gradient_map(torch.full((1, 1, 8, 8), 0.5, requires_grad=True))
    torch.testing.assert_close(flat[..., 1:-1, 1:-1], torch.full((1, 1, 6, 6), 1e-3))
    assert gradient_map(ramp).shape == (1, 1, 8, 8) and gradient_map(ramp, 2).shape == (1, 1, 10, 10)


@pytest.mark.slow
def test_gradient_map_has_a_finite_gradient_on_flat_images():
    flat = torch.full((1, 1, 6, 6), 0.5, requires_grad=True)
    (of_image,) = torch.autograd.grad(gradient_map(flat, 2).sum(), flat)
    assert of_image.isfinite().all()
    image = torch.rand(1, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: gradient_map(x, 2), (image,))


@pytest.mark.slow
def test_grey_images_have_one_gradient_map():
    restored = SPSR(4, 1, CONFIGS["tiny"]).restore(torch.rand(2, 1, 6, 5))
    assert [tuple(output.shape) for output in restored] == [(2, 1, 24, 20), (2, 1, 24, 20), (2, 1, 6, 5)]


@pytest.mark.slow
def test_untrained_tiny_is_bicubic_and_predicts_a_gradient_map():
    model, lr = create("spsr", scale=4, variant="tiny"), torch.rand(1, 1, 9, 8)
    bicubic = create("bicubic", scale=4).infer(lr)
    torch.testing.assert_close(model.infer(lr), bicubic)
    restored = restore(model.network, lr)
    torch.testing.assert_close(restored.sr.clamp(0, 1), bicubic)
    assert isinstance(model.network, BicubicResidual) and restored.gradient_sr.std() > 0


@pytest.mark.slow
def test_image_branch_is_the_generator_of_the_old_esrgan(golden):
    """What RRDB_PSNR_x4 would initialise: the authors load it by name, as far as names agree."""
    theirs, ours = golden("esrgan_x4").spec, on_meta().state_dict()
    common = {old: theirs["keys"][own] for own, old in theirs["old_arch_keys"].items() if old in ours}
    assert len(common) == 702 - 4  # all but HR_conv and the last layer
    assert all(list(ours[key].shape) == shape for key, shape in common.items())


def test_paper_recipe_is_the_released_option_file():
    recipe = create("spsr", scale=4, channels=3, variant="tiny").recipe("paper")
    pixels, fusion, adversarial = recipe.stages
    assert (pixels.iterations, pixels.batch, pixels.patch) == (1_000_000, 16, 128)
    assert {term.name: term.weight for term in pixels.terms} == {"l1": 1.0, "branch": 0.5}
    assert (fusion.iterations, adversarial.iterations) == (5_000, 495_000)
    for stage in (fusion, adversarial):
        assert (stage.batch, stage.patch) == (30, 128)
        assert (stage.optimiser.lr, stage.optimiser.betas) == (1e-4, (0.9, 0.999))
        weights = [("l1", 1e-2), ("pixels", 1), ("adversarial", 5e-3), ("gradient", 1e-2)]
        weights += [("gradient_adversarial", 5e-3), ("branch", 0.5)]
        assert [(term.name, term.weight) for term in stage.terms] == weights
        assert [discriminator.name for discriminator in stage.discriminators] == [
            "image_discriminator",
            "gradient_discriminator",
        ]
        assert all(
            discriminator.optimiser == stage.optimiser and discriminator.steps == 1
            for discriminator in stage.discriminators
        )
    steps = [5_000, 49_999, 50_001, 100_001, 200_001, 300_001, 500_000]
    rates = [adversarial.schedule((step - 5_000) / 495_000) for step in steps]
    assert rates == [1, 1, 0.5, 0.25, 0.125, 0.0625, 0.0625]
    assert any("RRDB_PSNR_x4" in note for note in recipe.notes)


@pytest.mark.slow
def test_fusion_trains_the_layers_whose_names_hold_f_():
    network = on_meta()
    for variant in ("paper", "tiny"):
        network = on_meta(variant=variant)
        recipe = create("spsr", scale=4, variant=variant).recipe("smoke")
        (prefix,) = recipe.stages[1].trainable
        names = [name for name, _ in network.named_parameters()]
        assert [name for name in names if name.startswith(prefix)] == [name for name in names if "f_" in name]
        assert {name.removeprefix("body.").split(".")[0] for name in names if name.startswith(prefix)} == {
            "f_block",
            "f_concat",
            "f_HR_conv0",
            "f_HR_conv1",
        }


@pytest.mark.slow
def test_discriminators_of_the_paper_see_the_image_and_a_gradient_map_of_130():
    stage = create("spsr", scale=4, channels=3).recipe("paper").stages[2]
    for discriminator, side in zip(stage.discriminators, (128, 130), strict=True):
        with torch.device("meta"):
            network = discriminator.build()
        assert isinstance(network, BiasedVGGDiscriminator)
        assert sum(parameter.numel() for parameter in network.parameters()) == 14_502_281
        assert network.patch == side
    assert wide_gradient_map(torch.rand(1, 3, 128, 128)).shape == (1, 3, 130, 130)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["paper", "tiny"])
@pytest.mark.parametrize("budget", ["smoke", "short", "paper"])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_discriminators_of_every_recipe_judge_its_patches(scale, budget, variant):
    with torch.device("meta"):
        stage = create("spsr", scale=scale, variant=variant).recipe(budget).stages[2]
        assert stage.patch % scale == 0
        for discriminator, view in zip(
            stage.discriminators, (lambda image: image, wide_gradient_map), strict=True
        ):
            image = torch.empty(2, 1, stage.patch, stage.patch)
            assert discriminator.build()(view(image)).shape == (2, 1)


@pytest.mark.slow
def test_losses_are_those_of_the_option_file():
    """Every term derived again, with torch's own losses and gradient maps by convolution."""
    stage = create("spsr", scale=4, variant="tiny").recipe("smoke").stages[2]
    side = stage.patch
    hr, sr, gradient_sr = (torch.rand(3, 1, side, side) for _ in range(3))
    discriminators = {
        discriminator.name: discriminator.build().eval() for discriminator in stage.discriminators
    }
    batch = Batch(hr[..., ::4, ::4], hr, 4)
    inputs = LossInputs(batch, {"sr": sr, "gradient_sr": gradient_sr}, discriminators)
    found = {term.name: term.loss(inputs) for term in stage.terms}
    maps = {name: by_convolution(image, 2) for name, image in (("hr", hr), ("sr", sr))}
    expected = {
        "l1": F.l1_loss(sr, hr),
        "pixels": F.l1_loss(sr, hr),
        "adversarial": relativistic(discriminators["image_discriminator"], hr, sr, 0.0),
        "gradient": F.mse_loss(maps["sr"], maps["hr"]),
        "gradient_adversarial": relativistic(
            discriminators["gradient_discriminator"], maps["hr"], maps["sr"], 0.0
        ),
        "branch": F.l1_loss(gradient_sr, by_convolution(hr, 1)),
    }
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient_pixel_loss(sr, hr), expected["gradient"])
    seen = {"image_discriminator": (hr, sr), "gradient_discriminator": (maps["hr"], maps["sr"])}
    for discriminator in stage.discriminators:
        loss = discriminator.loss(discriminators[discriminator.name], inputs)
        torch.testing.assert_close(
            loss, relativistic(discriminators[discriminator.name], *seen[discriminator.name], 1.0)
        )


def by_convolution(image, padding):
    row = torch.tensor([[0.0, 0, 0], [-1, 0, 1], [0, 0, 0]])[None, None]
    h, v = (F.conv2d(image, kernel, padding=padding) for kernel in (row, row.mT))
    return (h**2 + v**2 + 1e-6).sqrt()


def relativistic(discriminator, real, fake, label_of_real):
    """SPSR's ``GANLoss`` of both differences, halved."""
    real, fake = discriminator(real), discriminator(fake)
    labels = torch.full_like(real, label_of_real)
    entropy = F.binary_cross_entropy_with_logits
    return (entropy(real - fake.mean(), labels) + entropy(fake - real.mean(), 1 - labels)) / 2


@pytest.mark.slow
def test_training_forward_gives_image_and_gradient():
    model = create("spsr", scale=4, variant="tiny")
    batch = Batch(torch.rand(2, 1, 5, 4), torch.rand(2, 1, 20, 16), 4)
    outputs = guided_forward(model.network, batch)
    assert outputs.keys() == {"sr", "gradient_sr"}
    assert torch.equal(outputs["sr"], model.network(batch.lr))


@pytest.mark.slow
def test_perceptual_loss_falls_back_to_pixels_and_says_so(vgg_state):
    def terms(pretrained):
        recipe = create("spsr", scale=4).recipe("short", pretrained=pretrained)
        return recipe.stages[2].terms[1], recipe.notes

    term, notes = terms(lambda name: None)
    assert term.name == "pixels" and any("no VGG-19 weights" in note for note in notes)
    term, notes = terms({"vgg19": vgg_state}.get)
    assert list(term.loss.vgg.layers.values()) == ["conv5_4"] and term.weight == 1.0
    assert any("before activation" in note for note in notes)


@pytest.mark.slow
@pytest.mark.parametrize(("index", "moved"), [(1, "f_"), (2, "")])
def test_guided_stages_move_what_they_should_and_both_discriminators(index, moved, scenes, train):
    model, data = create("spsr", scale=4, variant="tiny"), scenes(4)
    recipe = model.recipe("smoke")
    stage = replace(recipe.stages[index], iterations=2, batch=2)
    for name, parameter in model.network.named_parameters():
        parameter.requires_grad_(name.startswith(stage.trainable))
    made = {}

    def remembering(discriminator):
        def build():
            made[discriminator.name] = discriminator.build()
            made[f"{discriminator.name} before"] = copy.deepcopy(made[discriminator.name])
            return made[discriminator.name]

        return replace(discriminator, build=build)

    before = copy.deepcopy(model.network)
    stage = replace(stage, discriminators=tuple(map(remembering, stage.discriminators)))
    losses = train(model, replace(recipe, stages=(stage,)), data).losses[stage.name]
    assert np.isfinite(losses).all()
    names = [name for name, _ in model.network.named_parameters()]
    assert changed(before, model.network) == [name for name in names if f".{moved}" in f".{name}"]
    for discriminator in stage.discriminators:
        network = made[discriminator.name]
        # What is added to every logit cancels in a relativistic loss.
        learned = {name for name, _ in network.named_parameters()} - {"classifier.2.bias"}
        assert set(changed(made[f"{discriminator.name} before"], network)) >= learned


def changed(before, after):
    pairs = zip(before.named_parameters(), after.parameters(), strict=True)
    return [name for (name, old), new in pairs if not torch.equal(old, new)]


@pytest.mark.slow
def test_tiny_smoke_run_beats_bicubic_on_a_scene_it_has_not_seen(smoke, scenes):
    model, data = smoke("spsr", falls=0.7), scenes(4)
    lr, hr = data.degrade(data.held_out), data.held_out
    gradient = restore(model.network.eval(), lr).gradient_sr
    of_bicubic = gradient_map(create("bicubic", scale=4).infer(lr))
    assert F.l1_loss(gradient, gradient_map(hr)) < F.l1_loss(of_bicubic, gradient_map(hr))
