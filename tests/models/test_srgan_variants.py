"""SRGAN's other networks, BasicSR's and the five-block port, against their code's numbers; their recipes."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import card, create
from srbench.models.baselines import srgan
from srbench.models.baselines.srgan import FiveBlockSRResNet, MSRResNet
from srbench.models.discriminators import PooledDiscriminator
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.recipe import Batch, CosineRestarts, LossInputs
from srbench.weights import identify, read_state
from srbench.weights import load as load_weights


def load(network, state):
    """Load weights; BatchNorm's batch counters are integers the fixtures leave out."""
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    return network.double().eval()


def shapes(network):
    return {key: list(value.shape) for key, value in network.state_dict().items()}


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def giga_multiply_adds(variant, scale):
    with torch.device("meta"):
        network = create("srgan", scale=scale, channels=3, variant=variant).network
        lr = torch.empty(1, 3, 720 // scale, 1280 // scale)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(lr)
    return counter.get_total_flops() / 2e9


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("suffix", ["", "_b"])
def test_msrresnet_reproduces_basicsr(golden, scale, suffix):
    fixture = golden(f"msrresnet_x{scale}")
    network = load(create("srgan", scale=scale, channels=3, variant="msrresnet").network, fixture.state())
    with torch.no_grad():
        output = network(fixture.input(f"x{suffix}"))
    expected = fixture.output(f"y{suffix}")
    torch.testing.assert_close(output, expected, atol=1e-6 * expected.std().item(), rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "count", "macs"), [(2, 1_369_859, 341.72928), (4, 1_517_571, 146.0809728)])
def test_msrresnet_has_basicsrs_keys_and_size(golden, scale, count, macs):
    network = create("srgan", scale=scale, channels=3, variant="msrresnet").network
    assert shapes(network) == golden(f"msrresnet_x{scale}").spec["keys"]
    assert parameters(network) == count
    assert giga_multiply_adds("msrresnet", scale) == pytest.approx(macs, rel=1e-9)


@pytest.mark.slow
def test_x8_is_one_more_doubling_of_msrresnet():
    keys = {scale: create("srgan", scale=scale, variant="msrresnet").network.state_dict() for scale in (4, 8)}
    assert set(keys[8]) - set(keys[4]) == {"upconv3.weight", "upconv3.bias"}


@pytest.mark.slow
def test_msrresnet_starts_close_to_the_bilinear_image():
    lr = torch.rand(1, 1, 12, 12)
    sr = create("srgan", scale=4, variant="msrresnet").infer(lr)
    bilinear = F.interpolate(lr, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(sr, bilinear, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_msrresnet_is_initialised_a_tenth_of_he():
    network = create("srgan", scale=4, channels=3, variant="msrresnet").network
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            assert module.weight.std().item() == pytest.approx(0.1 * (2 / fan_in) ** 0.5, rel=0.12)
            assert not module.bias.any()


@pytest.mark.slow
def test_small5_reproduces_the_port(golden):
    fixture = golden("srgan_leftthomas_x4")
    network = load(create("srgan", scale=4, channels=3, variant="small5").network, fixture.state())
    with torch.no_grad():
        output = network(fixture.input())
    torch.testing.assert_close(output, fixture.output(), atol=3e-7, rtol=0)


@pytest.mark.slow
def test_small5_has_the_ports_keys_and_size(golden):
    fixture = golden("srgan_leftthomas_x4")
    network = create("srgan", scale=4, channels=3, variant="small5").network
    assert shapes(network) == fixture.spec["keys"]
    assert parameters(network) == 734_219
    assert giga_multiply_adds("small5", 4) == pytest.approx(fixture.spec["macs"]["GMAC"], rel=1e-9)


def published_tensors():
    """The published x4 checkpoint of the port; drawn tensors of its names and shapes where it is not here."""
    folder = os.environ.get("SRBENCH_TEST_WEIGHTS")
    if folder:
        return read_state(Path(folder, "srgan5_leftthomas_x4_b0323c6.pth"))
    shapes = {"block1.0": (64, 3, 9, 9), "block7.0": (64, 64, 3, 3), "block8.2": (3, 64, 9, 9)}
    shapes |= {f"block{n}.conv{i}": (64, 64, 3, 3) for n in range(2, 7) for i in (1, 2)}
    shapes |= {f"block8.{n}.conv": (256, 64, 3, 3) for n in (0, 1)}
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = draw(*shape) / math.sqrt(math.prod(shape[1:]))
        state[f"{name}.bias"] = 0.1 * draw(shape[0])
    for name in [f"block{n}.bn{i}" for n in range(2, 7) for i in (1, 2)]:
        state |= {f"{name}.weight": 1 + 0.1 * draw(64), f"{name}.bias": 0.1 * draw(64)}
        state |= {f"{name}.running_mean": 0.1 * draw(64), f"{name}.running_var": draw(64).square() + 0.1}
    slopes = ["block1.1", "block7.1", "block8.0.prelu", "block8.1.prelu"]
    slopes += [f"block{n}.prelu" for n in range(2, 7)]
    return state | {f"{name}.weight": draw(1).abs() for name in slopes}


@pytest.mark.slow
def test_published_weights_of_the_port_load_whole_and_compute_what_their_layout_says(tmp_path):
    """Restated with torch's functions on the tensors alone; every one of them matters to the result."""
    state = published_tensors()
    assert len(state) == 79 and sum(tensor.numel() for tensor in state.values()) == 735_372
    path = tmp_path / "netG_epoch_4_100.pth"
    torch.save(state, path)
    assert identify(path, model="srgan").network == ("srgan", "small5_prelu", 4, 3)
    model = create("srgan", scale=4, channels=3, variant="small5_prelu")
    load_weights(model, path)
    for name, tensor in state.items():
        assert torch.equal(model.network.state_dict()[name], tensor)

    def conv(x, name, padding=1):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding)

    def prelu(x, name):
        return torch.where(x > 0, x, state[f"{name}.weight"] * x)

    def norm(x, name):
        of = {part: state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")}
        return F.batch_norm(x, *of.values())

    lr = torch.rand(1, 3, 9, 11, generator=torch.Generator().manual_seed(1))
    shallow = x = prelu(conv(lr, "block1.0", 4), "block1.1")
    for number in range(2, 7):
        block = f"block{number}"
        inner = prelu(norm(conv(x, f"{block}.conv1"), f"{block}.bn1"), f"{block}.prelu")
        x = x + norm(conv(inner, f"{block}.conv2"), f"{block}.bn2")
    x = shallow + prelu(conv(x, "block7.0"), "block7.1")
    for step in (0, 1):
        x = prelu(F.pixel_shuffle(conv(x, f"block8.{step}.conv"), 2), f"block8.{step}.prelu")
    expected = (torch.tanh(conv(x, "block8.2", 4)) + 1) / 2
    torch.testing.assert_close(model.infer(lr), expected, atol=2e-5, rtol=0)


@pytest.mark.slow
def test_pooled_discriminator_reproduces_the_port(golden):
    fixture = golden("srgan_leftthomas_d")
    discriminator = load(PooledDiscriminator(3), fixture.state())
    with torch.no_grad():
        probabilities = discriminator(fixture.input())
    torch.testing.assert_close(probabilities, fixture.output(), atol=1e-7, rtol=0)
    assert shapes(discriminator) == fixture.spec["keys"]
    assert parameters(discriminator) == 5_215_425


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize(("variant", "build"), [("msrresnet", MSRResNet), ("small5", FiveBlockSRResNet)])
def test_full_depth_looks_as_far_as_it_says(variant, build, scale, probe, monkeypatch):
    # a saturated tanh would hide what the network sees
    monkeypatch.setattr(srgan, "unit_tanh", lambda x: x)
    narrow = build(scale, channels=1, features=1)
    stated = create("srgan", scale=scale, variant=variant).receptive_radius
    assert narrow.receptive_radius == stated
    assert probe(narrow, scale, int(stated) + 2) == stated


@pytest.mark.slow
def test_paper_recipe_of_msrresnet_is_basicsrs_option_files(vgg_state):
    recipe = create("srgan", scale=4, channels=3, variant="msrresnet").recipe(
        "paper", {"vgg19": vgg_state}.get
    )
    pixels, adversarial = recipe.stages
    assert (pixels.iterations, pixels.batch, pixels.patch) == (1_000_000, 16, 128)
    assert (pixels.optimiser.lr, pixels.optimiser.betas) == (2e-4, (0.9, 0.99))
    assert pixels.ema == adversarial.ema == 0.999
    assert pixels.optimiser.lr * pixels.schedule(249_999 / 1e6) == pytest.approx(1e-7, rel=1e-3)
    assert pixels.schedule(250_000 / 1e6) == 1
    assert (adversarial.iterations, adversarial.optimiser.lr) == (400_000, 1e-4)
    assert [adversarial.schedule(step / 400) for step in (49, 50, 100, 200, 300)] == [
        1,
        0.5,
        0.25,
        0.125,
        0.0625,
    ]
    assert {term.name: term.weight for term in adversarial.terms} == {
        "l1": 1e-2,
        "perceptual": 1.0,
        "adversarial": 5e-3,
    }
    content = adversarial.terms[1].loss
    assert isinstance(content, VGGContentLoss)
    assert list(content.vgg.layers.values()) == ["conv5_4"] and content.distance is F.l1_loss
    assert set(adversarial.discriminators[0].build().state_dict()) >= {
        "conv0_0.weight",
        "bn4_1.weight",
        "linear2.bias",
    }


@pytest.mark.slow
def test_msrgan_losses_are_cross_entropy_and_absolute_differences():
    recipe = create("srgan", scale=4, variant="msrresnet").recipe("smoke")
    stage = recipe.stages[1]
    discriminator = stage.discriminators[0].build().eval()
    hr, sr = torch.rand(2, 1, stage.patch, stage.patch), torch.rand(2, 1, stage.patch, stage.patch)
    inputs = LossInputs(Batch(hr[..., ::4, ::4], hr, 4), {"sr": sr}, {"discriminator": discriminator})
    with torch.no_grad():
        found = sum(term.weight * term.loss(inputs) for term in stage.terms)
        fake, real = discriminator(sr), discriminator(hr)
        of_discriminator = stage.discriminators[0].loss(discriminator, inputs)
    yes, no = torch.ones(2, 1), torch.zeros(2, 1)
    fooled = F.binary_cross_entropy_with_logits(fake, yes)
    torch.testing.assert_close(found, 1.01 * (sr - hr).abs().mean() + 5e-3 * fooled)
    expected = F.binary_cross_entropy_with_logits(real, yes) + F.binary_cross_entropy_with_logits(fake, no)
    torch.testing.assert_close(of_discriminator, expected)
    assert any("no VGG-19 weights" in note for note in recipe.notes)


@pytest.mark.parametrize("cycles", [1, 4])
def test_cosine_restarts_equal_torchs(cycles):
    steps, period = 40, 40 // cycles
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, period, eta_min=0.05)
    ours = CosineRestarts(cycles, floor=0.05)
    for step in range(steps):
        assert ours(step / steps) == pytest.approx(theirs.get_last_lr()[0])
        optimiser.step()
        theirs.step()
    assert ours(1.0) == pytest.approx(0.05)


@pytest.fixture(scope="module")
def vgg16_state():
    from torchvision.models.vgg import cfgs, make_layers

    torch.manual_seed(0)
    layers = make_layers(cfgs["D"])
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return {f"features.{key}": value for key, value in layers.state_dict().items()}


@pytest.mark.slow
def test_paper_recipe_of_small5_is_the_ports_script(vgg16_state):
    recipe = create("srgan", scale=4, channels=3, variant="small5").recipe(
        "paper", {"vgg16": vgg16_state}.get
    )
    (stage,) = recipe.stages
    (discriminator,) = stage.discriminators
    assert (stage.iterations, stage.batch, stage.patch) == (26_100, 64, 88)
    assert stage.optimiser == discriminator.optimiser
    assert (stage.optimiser.name, stage.optimiser.lr) == ("adam", 1e-3)
    assert {term.name: term.weight for term in stage.terms} == {
        "mse": 1.0,
        "adversarial": 1e-3,
        "variation": 2e-8,
        "vgg16": 6e-3,
    }
    assert parameters(discriminator.build()) == 5_215_425


@pytest.mark.slow
def test_losses_of_small5_are_the_ports(vgg16_state):
    """Every term once more, by hand, from torchvision's VGG-16 on images that are not normalised."""
    from torchvision.models.vgg import cfgs, make_layers

    model = create("srgan", scale=4, channels=3, variant="small5")
    stage = model.recipe("short", {"vgg16": vgg16_state}.get).stages[0]
    discriminator = stage.discriminators[0].build().eval()
    hr, sr = torch.rand(2, 3, 64, 48), torch.rand(2, 3, 64, 48)
    inputs = LossInputs(Batch(hr[..., ::4, ::4], hr, 4), {"sr": sr}, {"discriminator": discriminator})
    vgg = make_layers(cfgs["D"])
    vgg.load_state_dict({key.removeprefix("features."): value for key, value in vgg16_state.items()})
    with torch.no_grad():
        terms = {term.name: term.loss(inputs).item() for term in stage.terms}
        of_discriminator = stage.discriminators[0].loss(discriminator, inputs)
        real, fake = discriminator(hr), discriminator(sr)
        features = F.mse_loss(vgg[:31](sr), vgg[:31](hr)).item()
    assert features > 1e-3
    down = (sr[:, :, 1:] - sr[:, :, :-1]).pow(2).sum() / (3 * 63 * 48)
    right = (sr[..., 1:] - sr[..., :-1]).pow(2).sum() / (3 * 64 * 47)
    assert terms == {
        "mse": pytest.approx((sr - hr).pow(2).mean().item()),
        "adversarial": pytest.approx((1 - fake).mean().item()),
        "variation": pytest.approx((2 * (down + right) / 2).item()),
        "vgg16": pytest.approx(features, rel=1e-4),
    }
    torch.testing.assert_close(of_discriminator, 1 - real.mean() + fake.mean())


def test_small5_without_vgg_has_no_perceptual_term_and_a_note():
    recipe = create("srgan", scale=4, variant="small5").recipe("paper", lambda name: None)
    assert [term.name for term in recipe.stages[0].terms] == ["mse", "adversarial", "variation"]
    assert any("no VGG-16 weights" in note for note in recipe.notes)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("budget", ["smoke", "short", "paper"])
@pytest.mark.parametrize("variant", ["msrresnet", "small5"])
def test_discriminator_of_every_recipe_judges_its_patches(scale, budget, variant):
    stage = create("srgan", scale=scale, variant=variant).recipe(budget).stages[-1]
    assert stage.patch % scale == 0
    with torch.device("meta"):
        discriminator = stage.discriminators[0].build()
        assert discriminator(torch.empty(2, 1, stage.patch, stage.patch)).shape[0] == 2


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["msrresnet", "small5"])
def test_smoke_run_lowers_the_loss(variant, scenes, train):
    model, data = create("srgan", scale=4, variant=variant), scenes(4)
    recipe = model.recipe("smoke")
    stage = replace(recipe.stages[0], iterations=12, batch=2)
    losses = train(model, replace(recipe, stages=(stage,)), data).losses[stage.name]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_released_weights_fit_what_is_offered():
    srgan = card("srgan")
    assert all(entry.variant in srgan.variants and entry.scale in srgan.scales for entry in srgan.released)
    assert len({entry.file for entry in srgan.released}) == len(srgan.released)
    assert {entry.variant for entry in srgan.released} == {"srresnet", "msrresnet", "small5_prelu"}
