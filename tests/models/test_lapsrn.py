"""LapSRN against the numbers of its PyTorch port and of the paper, its pyramid and its training."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from srbench.datasets.images.resize import resize
from srbench.models import create
from srbench.models.baselines.lapsrn import (
    CONFIGS,
    LapSRN,
    LapSRNConfig,
    PyramidLoss,
    bilinear_kernel,
    pyramid_forward,
)
from srbench.models.recipe import Batch, LossInputs

SCALES = (2, 4, 8)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "_b"], ids=["square", "odd"])
def test_both_levels_reproduce_the_reference_network(golden, suffix):
    fixture = golden("lapsrn_x4")
    network = create("lapsrn", scale=4).network.double()
    network.load_state_dict(fixture.state())
    with torch.no_grad():
        levels = network.pyramid(fixture.input(f"x{suffix}"))
    for output, level in zip(levels, ("x2", "x4"), strict=True):
        torch.testing.assert_close(output, fixture.output(f"y{suffix}_{level}"), atol=1e-6, rtol=0)


def test_has_the_reference_keys_and_parameters(golden):
    state = create("lapsrn", scale=4).network.state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == golden("lapsrn_x4").spec["keys"]
    assert sum(value.numel() for value in state.values()) == 870_112


def test_three_by_three_enlargement_would_have_the_812_k_of_the_tables():
    """What the authors' own code has; see the module's docstring."""
    network = create("lapsrn", scale=4).network
    fewer = 2 * 64 * 64 * (4 * 4 - 3 * 3)
    assert sum(parameter.numel() for parameter in network.parameters()) - fewer == 812_768


@pytest.mark.slow
def test_multiply_adds_are_those_of_the_reference(golden):
    with torch.device("meta"):
        network = create("lapsrn", scale=4).network
        lr = torch.empty(1, 1, 180, 320)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(lr)
    expected = golden("lapsrn_x4").spec["macs"]["GMAC"]
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_levels_double_and_the_last_is_the_output(scale):
    network = create("lapsrn", scale=scale, channels=3, variant="tiny").network
    lr = torch.rand(2, 3, 5, 7)
    levels = network.pyramid(lr)
    assert [tuple(image.shape[-2:]) for image in levels] == [
        (5 * 2**level, 7 * 2**level) for level in range(1, int(math.log2(scale)) + 1)
    ]
    assert torch.equal(network(lr), levels[-1])


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", SCALES)
def test_untrained_tiny_is_bilinear_doubling(scale, channels):
    lr = torch.rand(1, channels, 8, 9)
    expected = lr
    for _ in range(int(math.log2(scale))):
        # Zero padding, as transposed convolutions have; torch's bilinear replicates the edge instead.
        expected = F.interpolate(F.pad(expected, (1, 1, 1, 1)), scale_factor=2, mode="bilinear")[
            ..., 2:-2, 2:-2
        ]
    sr = create("lapsrn", scale=scale, channels=channels, variant="tiny").network(lr)
    torch.testing.assert_close(sr, expected)


@pytest.mark.slow
def test_untrained_paper_network_is_nearly_bilinear():
    lr = torch.rand(1, 1, 16, 16)
    start = create("lapsrn", scale=4, variant="tiny").network(lr)
    assert (create("lapsrn", scale=4).network(lr) - start).abs().max() < 0.02


def test_initial_weights_are_the_authors():
    network = create("lapsrn", scale=2, channels=3).network
    deviation = math.sqrt(2 / (9 * 64))
    assert network.convt_F1[0].cov_block[4].weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert network.convt_F1[0].cov_block[20].weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert network.conv_input.weight.std().item() == pytest.approx(1e-3, rel=0.1)
    image_branch = network.convt_I1.weight
    assert torch.equal(image_branch, torch.eye(3)[:, :, None, None] * bilinear_kernel())


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["paper", "tiny"])
@pytest.mark.parametrize("scale", SCALES)
def test_full_depth_looks_as_far_as_it_says(variant, scale, probe):
    narrow = LapSRN(scale, 1, LapSRNConfig(CONFIGS[variant].depth, 1))
    stated = create("lapsrn", scale=scale, variant=variant).receptive_radius
    assert narrow.receptive_radius == stated
    assert probe(narrow, scale, int(stated) + 2) == stated


@pytest.mark.parametrize("scale", SCALES)
def test_loss_compares_every_level_with_hr_at_its_size(scale):
    hr = torch.rand(2, 1, 8 * scale, 8 * scale, dtype=torch.float64)
    outputs, expected = {"sr": torch.rand_like(hr)}, 0.0
    for factor in (2, 4, 8):
        target = resize(hr, (8 * factor, 8 * factor)) if factor < scale else hr
        if factor < scale:
            outputs[f"x{factor}"] = torch.rand_like(target)
        if factor <= scale:
            output = outputs.get(f"x{factor}", outputs["sr"])
            expected += ((output - target) ** 2 + 1e-6).sqrt().sum().item() / 2
    loss = PyramidLoss(scale)(LossInputs(Batch(hr, hr, scale), outputs))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("scale", SCALES)
def test_training_sees_every_level_under_its_name(scale):
    network = create("lapsrn", scale=scale, variant="tiny").network
    lr = torch.rand(1, 1, 6, 6)
    outputs = pyramid_forward(network, Batch(lr, lr, scale))
    assert set(outputs) == {"sr"} | {f"x{factor}" for factor in (2, 4) if factor < scale}
    for name, image in zip(("x2", "x4", "x8"), network.pyramid(lr), strict=False):
        assert torch.equal(outputs.get(name, outputs["sr"]), image)


def test_paper_recipe_is_section_3_4_and_the_authors_options():
    with torch.device("meta"):
        recipe = create("lapsrn", scale=4).recipe("paper")
    (stage,) = recipe.stages
    assert (stage.iterations, stage.batch, stage.patch) == (1_000_000, 64, 128)
    optimiser = stage.optimiser
    assert (optimiser.name, optimiser.lr, optimiser.momentum) == ("sgd", 1e-5, 0.9)
    assert optimiser.weight_decay == 1e-4
    epochs = (0, 49, 50, 99, 100, 150, 199, 200, 999)
    rates = [stage.schedule(1000 * epoch / stage.iterations) for epoch in epochs]
    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.125, 0.125, 0.1, 0.1]
    assert any("1000 iterations" in note for note in recipe.notes)


@pytest.mark.slow
def test_a_published_step_lowers_the_loss(scenes, train):
    """The paper's rate on the paper's sum over pixels: neither standstill nor divergence."""
    model, data = create("lapsrn", scale=4), scenes(4)
    recipe = model.recipe("paper").replace_stages(iterations=16, batch=1)
    batch = Batch(data.degrade(data.train), data.train, 4)
    (stage,) = recipe.stages

    def loss() -> float:
        with torch.no_grad():
            return stage.terms[0].loss(LossInputs(batch, stage.forward(model.network, batch))).item()

    before = loss()
    train(model, recipe, data)
    assert loss() < 0.99 * before


def has_fallen(_, losses):
    return len(losses) >= 20 and sum(losses[-10:]) < 0.9 * sum(losses[:10])


@pytest.mark.slow
def test_start_of_the_tiny_smoke_run_lowers_the_loss(scenes, train):
    model = create("lapsrn", scale=4, variant="tiny")
    recipe = model.recipe("smoke").replace_stages(iterations=80)
    assert has_fallen("", train(model, recipe, scenes(4), has_fallen).losses["pyramid"])


@pytest.mark.slow
def test_default_variant_smoke_run_lowers_the_loss(scenes, train):
    model = create("lapsrn", scale=4)
    assert has_fallen("", train(model, model.recipe("smoke"), scenes(4), has_fallen).losses["pyramid"])
