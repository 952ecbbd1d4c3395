"""CSM-SR with a gradient branch: what it adds, what it sees, how it is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srbench.models import create
from srbench.models.csm_sr.network import (
    CSMSR,
    GRADIENT,
    CSMSRConfig,
    GradientGuidedCSMSR,
    gradient_forward,
    gradient_image_loss,
    sobel_map,
)
from srbench.models.layers import InterpolationUpsample
from srbench.models.recipe import Batch, LossInputs

SMALL = CSMSRConfig(features=8, growth=4, depth=2, blocks=1, layers=2, encoder_stages=2)


def network(scale: int = 4, channels: int = 1, untrained: bool = False) -> GradientGuidedCSMSR:
    """A small one, at full structure, whose output depends on all of it."""
    made = GradientGuidedCSMSR(scale, channels, SMALL)
    if not untrained:
        for last in (made.reconstruction[-1], made.gradient_reconstruction[-1], made.join):
            nn.init.normal_(last.weight, std=0.05)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_untrained_it_gives_the_bicubic_image_and_its_gradient(scale, channels):
    lr = torch.rand(2, channels, 13, 18)
    bicubic = InterpolationUpsample("bicubic", scale)(lr)
    made = network(scale, channels, untrained=True)
    sr, gradient = made.with_gradient(lr)
    torch.testing.assert_close(sr, bicubic)
    torch.testing.assert_close(gradient, sobel_map(bicubic))
    assert gradient.shape == (2, 2 * channels, 13 * scale, 18 * scale)
    torch.testing.assert_close(made(lr), sr)


def test_the_gradient_map_is_signed_down_then_right():
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    found = sobel_map((0.1 * y - 0.2 * x).expand(1, 1, 6, 7))[..., 1:-1, 1:-1]
    torch.testing.assert_close(found[:, 0], torch.full((1, 4, 5), 0.8))
    torch.testing.assert_close(found[:, 1], torch.full((1, 4, 5), -1.6))


@pytest.mark.slow
def test_inference_and_training_give_the_same_image():
    made = network()
    lr = torch.rand(1, 1, 11, 9)
    outputs = gradient_forward(made, Batch(lr, torch.rand(1, 1, 44, 36), 4))
    assert set(outputs) == {"sr", GRADIENT}
    torch.testing.assert_close(outputs["sr"], made(lr))


@pytest.mark.slow
def test_the_branches_exchange_features_both_ways():
    made = network()
    lr = torch.rand(1, 1, 12, 12)
    sr, gradient = made.with_gradient(lr)
    with torch.no_grad():
        made.gradient_branch.first.weight.add_(0.1)
    guided, _ = made.with_gradient(lr)
    assert float((guided - sr).detach().abs().max()) > 1e-6
    with torch.no_grad():
        made.gradient_branch.first.weight.sub_(0.1)
        made.branches.same_size[0].chain[0].fuse.weight.add_(0.1)
    _, other = made.with_gradient(lr)
    assert float((other - gradient).detach().abs().max()) > 1e-6


@pytest.mark.slow
def test_snapshots_are_the_features_after_each_block():
    made = network()
    shallow = torch.rand(1, 8, 8, 8)
    merged, snapshots = made.branches.with_snapshots(shallow)
    torch.testing.assert_close(merged, made.branches(shallow))
    assert len(snapshots) == SMALL.depth
    torch.testing.assert_close(snapshots[0], made.branches.same_size[0](shallow))
    torch.testing.assert_close(snapshots[-1], made.branches.same_size(shallow))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 3])
def test_it_looks_no_farther_than_it_says(scale, probe):
    made = GradientGuidedCSMSR(scale, 1, SMALL)
    stated = made.receptive_radius
    assert probe(made, scale, int(stated) + 2) <= stated


@pytest.mark.slow
def test_the_gradient_branch_alone_looks_as_far_as_it_says(probe):
    """Everything but the guidance is silenced, so that its own reach shows."""

    class Guidance(nn.Module):
        def __init__(self, whole: GradientGuidedCSMSR) -> None:
            super().__init__()
            self.whole, self.size_multiple = whole, whole.size_multiple

        def forward(self, lr):
            return self.whole._features(lr)[1].sum(1, keepdim=True)

    whole = GradientGuidedCSMSR(2, 1, SMALL)
    stated = whole.gradient_branch.reach(1)
    guidance = Guidance(whole)
    found = probe(guidance, 1, stated + 3)
    assert found == stated


@pytest.mark.slow
def test_tiles_equal_the_whole_image():
    made = network(2).double().eval()
    halo = -(-int(made.receptive_radius) // made.size_multiple) * made.size_multiple
    side = 2 * halo + 8
    lr = torch.rand(1, 1, 16, side + 16, dtype=torch.float64)
    with torch.no_grad():
        whole, tile = made(lr), made(lr[..., 8 : 8 + side])
    middle = slice(2 * halo, 2 * (halo + 8))
    expected = whole[..., 16 + 2 * halo : 16 + 2 * (halo + 8)]
    torch.testing.assert_close(tile[..., middle], expected)


@pytest.mark.slow
def test_its_size_is_published_and_the_branch():
    with torch.device("meta"):
        model = create("csm_sr", scale=4, variant="gradient_branch")
        published = create("csm_sr", scale=4, variant="published")
    own = {name for name, _ in model.network.named_parameters()}
    parts = ("gradient_branch.", "join.", "gradient_reconstruction.")
    assert {name for name, _ in published.network.named_parameters()} == {
        name for name in own if not name.startswith(parts)
    }
    assert sum(parameter.numel() for parameter in model.network.parameters()) == 7_722_709
    assert type(published.network) is CSMSR


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["smoke", "short", "paper"])
def test_its_recipe_is_the_published_one_and_the_gradient_image(budget):
    guided = create("csm_sr", scale=4, variant="gradient_branch").recipe(budget)
    published = create("csm_sr", scale=4, variant="published").recipe(budget)
    assert [stage.name for stage in guided.stages] == [stage.name for stage in published.stages]
    for index, (ours, theirs) in enumerate(zip(guided.stages, published.stages, strict=True)):
        added = {term.name for term in ours.terms} - {term.name for term in theirs.terms}
        assert added == (set() if index == 0 else {"gradient_branch"})
        assert (ours.forward is gradient_forward) == (index > 0)
    assert any("SPSR" in note for note in guided.notes)
    assert not any("SPSR" in note for note in published.notes)


def test_the_gradient_loss_compares_gradient_maps():
    hr = torch.rand(2, 1, 16, 16)
    drawn = torch.rand(2, 2, 16, 16)
    inputs = LossInputs(Batch(hr[..., ::4, ::4], hr, 4), {"sr": hr, GRADIENT: drawn})
    torch.testing.assert_close(gradient_image_loss(inputs), F.l1_loss(drawn, sobel_map(hr)))
    exact = LossInputs(inputs.batch, {"sr": 0 * hr, GRADIENT: sobel_map(hr)})
    assert float(gradient_image_loss(exact)) == 0


@pytest.mark.slow
def test_a_few_steps_bring_the_gradient_image_closer_and_use_it(scenes):
    data, stage = scenes(4), create("csm_sr", scale=4, variant="gradient_branch").recipe("smoke").stages[1]
    made = network(4, untrained=True)
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-3)
    rng, held_out = np.random.default_rng(0), data.held_out[..., :96, :96]
    batch = Batch(data.degrade(held_out), held_out, 4)

    def distance() -> float:
        with torch.no_grad():
            return float(gradient_image_loss(LossInputs(batch, gradient_forward(made, batch))))

    before = distance()
    for _ in range(70):
        drawn = data.batch(rng, stage, 1)
        inputs = LossInputs(drawn, gradient_forward(made, drawn))
        loss = gradient_image_loss(inputs) + F.l1_loss(inputs.sr, inputs.hr)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert distance() < 0.97 * before
    assert float(made.join.weight.detach().abs().max()) > 0
