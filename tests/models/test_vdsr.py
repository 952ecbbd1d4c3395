"""VDSR against the numbers of the reference implementation and of the paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from srbench.models import create
from srbench.models.baselines.vdsr import VDSR, half_squared_error


@pytest.fixture
def published(golden):
    network = create("vdsr", scale=2, variant="paper").network.double()
    network.load_state_dict(golden("vdsr").state())
    return network


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "_b"])
def test_reproduces_the_reference_network(golden, published, suffix):
    fixture = golden("vdsr")
    with torch.no_grad():
        output = published.refine(fixture.input(f"x{suffix}"))
    torch.testing.assert_close(output, fixture.output(f"y{suffix}"), atol=1e-6, rtol=0)


def test_has_the_reference_keys_and_parameters(golden):
    state = create("vdsr", scale=4).network.state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == golden("vdsr").spec["keys"]
    assert sum(value.numel() for value in state.values()) == 664_704


@pytest.mark.slow
def test_multiply_adds_are_the_published_612_g(golden):
    with torch.device("meta"):
        network = create("vdsr", scale=4).network
        lr = torch.empty(1, 1, 180, 320)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(lr)
    expected = golden("vdsr").spec["macs"]["GMAC"]
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_enlarges_before_refining(published):
    lr = torch.rand(1, 1, 7, 6, dtype=torch.float64)
    bicubic = create("bicubic", scale=2).network
    assert torch.equal(published(lr), published.refine(bicubic(lr)))


def test_untrained_tiny_is_bicubic():
    lr = torch.rand(1, 1, 9, 8)
    assert torch.equal(
        create("vdsr", scale=3, variant="tiny").infer(lr), create("bicubic", scale=3).infer(lr)
    )


def test_initial_weights_have_the_variance_of_he_et_al():
    network = create("vdsr", scale=2).network
    deviation = network.residual_layer[5].conv.weight.std().item()
    assert deviation == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 4])
def test_full_depth_looks_as_far_as_it_says(scale, probe):
    network = VDSR(scale, channels=1, depth=18, features=2)
    stated = create("vdsr", scale=scale).receptive_radius
    assert network.receptive_radius == stated
    assert probe(network, scale, int(stated) + 3) == stated


@pytest.mark.slow
def test_full_depth_at_x3_looks_no_farther_than_it_says(probe):
    stated = create("vdsr", scale=3).receptive_radius
    assert stated - 1 <= probe(VDSR(3, 1, features=2), 3, int(stated) + 3) <= stated


@pytest.mark.parametrize(("scale", "patch"), [(2, 42), (3, 42), (4, 44)])
def test_paper_recipe_is_section_5_2(scale, patch):
    recipe = create("vdsr", scale=scale).recipe("paper")
    (stage,) = recipe.stages
    assert (stage.iterations, stage.batch, stage.patch) == (9960, 64, patch)
    assert (stage.optimiser.name, stage.optimiser.lr, stage.optimiser.momentum) == ("sgd", 0.1, 0.9)
    assert stage.optimiser.weight_decay == 1e-4
    assert [stage.schedule(f) for f in (0, 0.3, 0.6, 0.9)] == pytest.approx([1, 0.1, 0.01, 0.001])
    assert stage.clip is not None and stage.clip.kind == "adjustable"
    assert "1511.04587" in recipe.source


def test_loss_is_half_the_squared_norm_of_each_image():
    sr, hr = torch.zeros(4, 1, 3, 5), torch.full((4, 1, 3, 5), 2.0)
    assert half_squared_error(sr, hr).item() == 0.5 * 15 * 4
