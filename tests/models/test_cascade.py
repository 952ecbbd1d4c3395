"""The cascade: its size by hand, its residuals in closed form, what its blocks do after training."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from srbench.datasets.images.resize import resize, resize_by
from srbench.models import create
from srbench.models.baselines import cascade as module
from srbench.models.baselines.cascade import (
    CONFIGS,
    UNIT,
    Cascade,
    CascadeBlock,
    CascadeConfig,
    cycled_resolutions,
)
from srbench.models.losses.pixel import ssim
from srbench.models.recipe import Batch, LossInputs

SCALES = (2, 4, 8)
COUNTS = {(2, 1): 2_946_868, (4, 1): 3_624_328, (8, 1): 5_781_136}
COUNTS |= {(2, 3): 3_822_492, (4, 3): 5_854_872, (8, 3): 12_325_296}
GIGA_MULTIPLY_ADDS = {2: 678.4, 4: 208.6, 8: 83.2}


def convolutions(scale, channels):
    """Channels in and out of every 3x3 convolution, from the description alone."""
    cycle = {2: [2], 4: [4, 2], 8: [8, 4, 2]}[scale]
    layers, maps = [(channels, 512), (512, 128), (128, 128)], 0
    for block in range(12):
        image = channels * cycle[block % len(cycle)] ** 2
        maps += image
        layers += [(128, image), (128 + maps + channels, 128)]
    return [*layers, (128, channels * scale**2)]


def draw_small_weights(network):
    """Small weights everywhere, so that no correction is zero."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.5 / max(parameter[0].numel(), 4) ** 0.5)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", SCALES)
def test_parameters_are_those_of_the_description(scale, channels):
    with torch.device("meta"):
        network = create("cascade", scale=scale, channels=channels).network
    expected = sum(9 * inside * outside + outside for inside, outside in convolutions(scale, channels))
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
    assert expected == COUNTS[scale, channels]
    assert f"{expected:,}" in module.Cascade.__doc__


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_multiply_adds_are_those_of_the_description(scale):
    height, width = 720 // scale, 1280 // scale
    with torch.device("meta"):
        network = create("cascade", scale=scale).network
        lr = torch.empty(1, 1, height, width)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(lr)
    expected = height * width * sum(9 * inside * outside for inside, outside in convolutions(scale, 1))
    assert counter.get_total_flops() == 2 * expected
    assert expected / 1e9 == pytest.approx(GIGA_MULTIPLY_ADDS[scale], abs=0.05)
    assert f"{GIGA_MULTIPLY_ADDS[scale]} G" in module.Cascade.__doc__


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "cycle"), [(2, (2,) * 12), (4, (4, 2) * 6), (8, (8, 4, 2) * 4)], ids=["x2", "x4", "x8"]
)
def test_resolutions_are_cycled(scale, cycle):
    assert cycled_resolutions(scale, 12) == cycle
    network = create("cascade", scale=scale).network
    assert tuple(block.enlarge.shuffle.upscale_factor for block in network.blocks) == cycle


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["paper", "tiny"])
@pytest.mark.parametrize("scale", SCALES)
def test_untrained_network_is_bicubic(scale, variant):
    lr = torch.rand(1, 1, 6, 7)
    sr = create("cascade", scale=scale, variant=variant).network(lr)
    assert torch.equal(sr, create("bicubic", scale=scale).network(lr))


@pytest.mark.parametrize("scale", SCALES)
def test_residual_is_zero_where_the_estimate_shrinks_to_lr(scale):
    block = CascadeBlock(4, 1, 2, scale, 4)
    sr = torch.rand(2, 1, 5 * scale, 7 * scale, dtype=torch.float64)
    lr = resize(sr, (5, 7))
    assert block.residual(lr, sr).abs().max() < 1e-14
    off = torch.rand_like(lr)
    torch.testing.assert_close(block.residual(lr + off, sr), off)


@pytest.mark.parametrize(("scale", "resolution"), [(2, 2), (4, 4), (4, 2), (8, 2)])
def test_block_adds_its_band_and_passes_on_what_is_left(scale, resolution):
    """Written out with the resize of the data side, torch's pixel shuffle and plain convolutions."""
    before = 3
    block = draw_small_weights(CascadeBlock(5, 1, resolution, scale, before + resolution**2)).double()
    lr, features = torch.rand(2, 1, 6, 4).double(), torch.randn(2, 5, 6, 4).double()
    sr, maps = torch.rand(2, 1, 6 * scale, 4 * scale).double(), torch.randn(2, before, 6, 4).double()
    new_sr, new_features, new_maps = block(lr, sr, features, (maps,))

    added = F.conv2d(features, block.enlarge.predict.weight, block.enlarge.predict.bias, padding=1)
    band = UNIT * resize_by(F.pixel_shuffle(added, resolution), scale // resolution)
    torch.testing.assert_close(new_sr, sr + band)
    left = (lr - resize(sr + band, (6, 4))) / UNIT
    stacked = torch.cat((features, maps, added, left), dim=1)
    compressed = F.conv2d(stacked, block.compress.weight, block.compress.bias, padding=1)
    torch.testing.assert_close(new_features, features + compressed.clamp(min=0))
    assert [part.shape[1] for part in new_maps] == [before, resolution**2]


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["paper", "tiny"])
@pytest.mark.parametrize("scale", SCALES)
def test_full_depth_looks_as_far_as_it_says(scale, variant, probe):
    narrow = Cascade(scale, 1, CascadeConfig(CONFIGS[variant].blocks, 1, 1))
    with torch.device("meta"):
        stated = create("cascade", scale=scale, variant=variant).receptive_radius
    assert narrow.receptive_radius == stated
    assert probe(narrow, scale, int(stated) + 2) == stated


def test_estimate_stays_fine_grained_under_autocast():
    network = draw_small_weights(create("cascade", scale=2, variant="tiny").network)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sr = network(torch.rand(1, 1, 16, 16))
    assert sr.dtype == torch.float32
    assert (sr != sr.bfloat16().float()).float().mean() > 0.5


def test_loss_is_mse_and_dssim():
    stage = create("cascade", scale=4, variant="tiny").recipe("smoke").stages[0]
    hr = torch.rand(2, 1, 24, 24, dtype=torch.float64)
    sr = (hr + 0.1 * torch.randn_like(hr)).clamp(0, 1)
    inputs = LossInputs(Batch(hr[..., ::4, ::4], hr, 4), {"sr": sr})
    values = {term.name: term.loss(inputs).item() for term in stage.terms}
    assert [term.weight for term in stage.terms] == [1, 1]
    assert values["mse"] == pytest.approx((sr - hr).square().mean().item())
    assert values["dssim"] == pytest.approx(1 - ssim(sr, hr).item())


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_paper_recipe_is_the_description(scale):
    with torch.device("meta"):
        recipe = create("cascade", scale=scale).recipe("paper")
    (stage,) = recipe.stages
    assert (stage.iterations, stage.batch, stage.patch) == (40 * 800, 16, 64 * scale)
    optimiser = stage.optimiser
    assert (optimiser.name, optimiser.lr, optimiser.betas) == ("adam", 1e-4, (0.9, 0.999))
    rates = [stage.schedule(800 * epoch / stage.iterations) for epoch in (0, 29, 30, 39)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1])
    assert any("no weights" in note for note in recipe.notes)


def mean_residuals(model, lr):
    """Mean absolute residual of the bicubic image and after each block."""
    block = model.network.blocks[0]
    estimates = []
    handles = [
        each.register_forward_hook(lambda _, given, output: estimates.append((given[1], output[0])))
        for each in model.network.blocks
    ]
    model.infer(lr)
    for handle in handles:
        handle.remove()
    images = [estimates[0][0], *(after for _, after in estimates)]
    return [block.residual(lr, image).abs().mean().item() for image in images]


@pytest.mark.slow
def test_training_makes_the_image_consistent_block_by_block(scenes, train, psnr):
    model, data = create("cascade", scale=4, variant="tiny"), scenes(4)
    lr, hr = data.degrade(data.held_out), data.held_out
    untrained = mean_residuals(model, lr)
    assert untrained == [untrained[0]] * 5  # nothing corrects the bicubic image yet
    wanted = psnr(create("bicubic", scale=4).infer(lr), hr) + 0.5

    def is_consistent(losses):
        trained = mean_residuals(model, lr)
        return (
            sum(losses[-20:]) < 0.8 * sum(losses[:20])
            and trained[0] == untrained[0]
            and trained[-1] < 0.75 * trained[0]
            and all(later < 1.05 * earlier for earlier, later in itertools.pairwise(trained))
            and psnr(model.infer(lr), hr) > wanted
        )

    losses = train(
        model, model.recipe("smoke"), data, lambda _, losses: len(losses) % 10 == 0 and is_consistent(losses)
    ).losses["regression"]
    assert is_consistent(losses)


@pytest.mark.slow
def test_default_variant_smoke_run_lowers_the_loss(scenes, train):
    model, data = create("cascade", scale=4), scenes(4)
    recipe = model.recipe("smoke")
    batch = Batch(data.degrade(data.train), data.train, 4)

    def loss() -> float:
        inputs = LossInputs(batch, {"sr": model.infer(batch.lr)})
        return sum(term.loss(inputs).item() for term in recipe.stages[0].terms)

    wanted = 0.999 * loss()
    train(model, recipe, data, lambda _, losses: len(losses) % 20 == 0 and loss() < wanted)
    assert loss() < wanted
