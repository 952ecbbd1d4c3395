"""The parts of the loop on their own: averages, optimisers, clipping, frozen parts, random streams."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers.training_fakes import GAN, PIXEL, TinySR
from srbench.models.recipe import (
    Clip,
    CosineRate,
    LossInputs,
    LossTerm,
    Optimiser,
    PixelLoss,
    Recipe,
    StepRate,
)
from srbench.training import reproducibility as rng
from srbench.training.loop import Meter
from srbench.training.manifest import describe, differences
from srbench.training.reproducibility import repeatable
from srbench.training.stage import (
    build_optimiser,
    check_recipe,
    clip_gradients,
    move_loss_modules,
    select_parameters,
    set_lr,
    set_modes,
)
from srbench.training.state import AveragedWeights
from srbench.utils.errors import SrbenchError


def test_average_follows_its_recursion_for_parameters_and_buffers():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    average = AveragedWeights(network)
    expected = {name: tensor.clone().double() for name, tensor in network.state_dict().items()}
    for step in range(5):
        with torch.no_grad():
            for tensor in network.state_dict().values():
                tensor.add_(step + 1)
        average.update(network, 0.3)
        decay = min(0.3, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
    for name, tensor in average.average.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-5)
    assert average.average["1.num_batches_tracked"] == network.state_dict()["1.num_batches_tracked"]


def test_applied_average_is_taken_back_even_after_an_error():
    network = nn.Linear(2, 2)
    average = AveragedWeights(network)
    with torch.no_grad():
        network.weight.add_(1.0)
    own = network.weight.clone()
    with pytest.raises(RuntimeError), average.applied(network):
        assert torch.equal(network.weight, average.average["weight"])
        raise RuntimeError
    assert torch.equal(network.weight, own)


@pytest.mark.parametrize(
    ("clip", "rate", "expected"),
    [
        (None, 0.1, [3.0, -4.0]),
        (Clip("norm", 1.0), 0.1, [0.6, -0.8]),
        (Clip("norm", 10.0), 0.1, [3.0, -4.0]),
        (Clip("value", 3.5), 0.1, [3.0, -3.5]),
        (Clip("adjustable", 0.1), 0.1, [1.0, -1.0]),
        (Clip("adjustable", 0.1), 0.05, [2.0, -2.0]),
    ],
)
def test_clipping_against_hand_computed_gradients(clip, rate, expected):
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, -4.0])
    assert clip_gradients([parameter], clip, rate) == pytest.approx(5.0)
    torch.testing.assert_close(parameter.grad, torch.tensor(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_norm_of_a_bad_gradient_is_not_finite(bad):
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([0.0, bad, 1.0])
    assert not clip_gradients([parameter], Clip("value", 1.0), 0.1).isfinite()


def test_learning_rate_is_a_function_of_the_fraction():
    spec = Optimiser("adamw", 0.2, weight_decay=0.5)
    optimiser = build_optimiser(spec, [nn.Parameter(torch.zeros(1))])
    assert isinstance(optimiser, torch.optim.AdamW) and optimiser.param_groups[0]["weight_decay"] == 0.5
    assert set_lr(optimiser, spec, CosineRate(0.0), 0.5) == pytest.approx(0.1)
    assert set_lr(optimiser, spec, StepRate((0.5,), 0.1), 0.49) == pytest.approx(0.2)
    assert set_lr(optimiser, spec, StepRate((0.5,), 0.1), 0.5) == pytest.approx(0.02)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.02)


def test_only_named_parts_learn_and_what_the_network_froze_stays_frozen():
    network = TinySR(2, 1)
    network.tail.bias.requires_grad_(False)
    learnable = frozenset(name for name, p in network.named_parameters() if p.requires_grad)
    chosen = select_parameters(network, replace(PIXEL, trainable=("tail.",)), learnable)
    assert [id(p) for p in chosen] == [id(network.tail.weight)]
    assert not any(p.requires_grad for p in network.head.parameters())
    select_parameters(network, PIXEL, learnable)
    assert network.head[0].weight.requires_grad and not network.tail.bias.requires_grad


def test_a_misspelt_part_is_refused():
    network = TinySR(2, 1)
    names = frozenset(name for name, _ in network.named_parameters())
    with pytest.raises(SrbenchError, match=r"'tial\.'.*It has: head, tail"):
        select_parameters(network, replace(PIXEL, trainable=("head.", "tial.")), names)


def test_frozen_parts_are_in_evaluation_mode():
    network = TinySR(2, 1)
    set_modes(network, replace(PIXEL, trainable=("tail.",)))
    assert network.training and network.tail.training
    assert not any(module.training for module in network.head.modules())
    set_modes(network, replace(PIXEL, trainable=("head.1",)))
    assert network.head[1].training and not network.head[0].training
    set_modes(network, PIXEL)
    assert all(module.training for module in network.modules())


@dataclass(frozen=True)
class Weighted:
    network: nn.Module

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        return self.network(sr).mean()


class Holder:
    def __init__(self, network: nn.Module) -> None:
        self.network = network

    def loss(self, inputs: LossInputs) -> Tensor:
        return self.network(inputs.sr).mean()


def test_networks_inside_losses_are_moved_wherever_they_hide():
    networks = [nn.Linear(1, 1) for _ in range(5)]

    def closed(inputs: LossInputs) -> Tensor:
        return networks[2](inputs.sr).mean()

    inner = networks[4]
    terms = (
        LossTerm("module", networks[0]),
        LossTerm("field", PixelLoss(Weighted(networks[1]))),
        LossTerm("closure", closed),
        LossTerm("method", Holder(networks[3]).loss),
        LossTerm("partial", functools.partial(lambda inputs, net: net(inputs.sr).mean(), net=inner)),
    )
    move_loss_modules(Recipe((replace(PIXEL, terms=terms),), "tests"), torch.device("meta"))
    assert [network.weight.device.type for network in networks] == ["meta"] * 5


def test_a_recipe_that_cannot_run_is_refused_with_everything_wrong():
    stages = (replace(PIXEL, patch=15), replace(PIXEL, batch=5))
    with pytest.raises(SrbenchError) as raised:
        check_recipe(Recipe(stages, "tests"), 2, 2)
    message = str(raised.value)
    assert "patch 15 is not a multiple of the scale 2; --set stages.pixel.patch=16" in message
    assert "batch 5 cannot be shared by 2 processes; --set stages.pixel.batch=6" in message
    assert "must be unique, found pixel, pixel" in message


def test_random_streams_come_back_as_they_were():
    def draw() -> tuple[object, ...]:
        return random.gauss(0, 1), float(np.random.standard_normal()), float(torch.rand(()))

    rng.seed_streams(3, 1)
    draw()
    kept = rng.capture()
    first = [draw() for _ in range(3)]
    rng.restore(kept)
    assert [draw() for _ in range(3)] == first
    rng.seed_streams(3, 2)
    assert draw() != first[0]


def test_the_callers_streams_and_switches_are_left_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    before = torch.are_deterministic_algorithms_enabled()
    with rng.preserved(), repeatable(True, 2):
        rng.seed_streams(0)
        torch.rand(7)
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 2
    assert torch.equal(torch.rand(3), expected)
    assert torch.are_deterministic_algorithms_enabled() == before and torch.get_num_threads() == 1


def test_a_description_is_plain_and_differences_name_the_place():
    first = describe(Recipe((PIXEL, GAN), "tests"))
    assert first["stages"][0]["terms"][0]["loss"] == {"call": "PixelLoss", "function": "l1_loss"}
    changed = replace(GAN, discriminators=(replace(GAN.discriminators[0], steps=3),), patch=20)
    second = describe(Recipe((PIXEL, changed), "tests"))
    assert differences(first, second) == [
        "stages.gan.patch: was 16, is 20",
        "stages.gan.discriminators.discriminator.steps: was 2, is 3",
    ]
    assert differences(first, describe(Recipe((PIXEL, GAN), "tests"))) == []
    assert "0x" not in str(first)


def test_moved_and_renamed_functions_are_the_same_functions():
    def identity(loss, stages="critics"):
        return {"dataset": "a.b/c", "recipe": {"notes": [loss], stages: [{"name": "critic", "loss": loss}]}}

    old = identity("srbench.models.losses.linear_adversarial.tell_apart")
    for new in ("linear_discriminator_loss", "discriminator_loss"):
        assert differences(old, identity(new, "discriminators")) == []
    assert differences(identity("a.b.Net.forward"), identity("c.Net.forward")) == []
    assert differences(identity("a.UNetCritic"), identity("UNetDiscriminator")) == []
    assert differences(identity("linear_discriminator_loss"), identity("discriminator_loss"))
    for other in ("other_loss", "srbench.models.baselines.srgan_recipe.Tell_apart", "x.discriminator_loss.y"):
        assert len(differences(old, identity(other))) == 1, other
    assert differences({"dataset": "sem"}, {"dataset": "folder:/data/a.b"})
    assert differences({"seed": 1}, {"seed": "1"}) and not differences({"lr": 1}, {"lr": 1.0})


def test_the_meter_gives_means_and_starts_again():
    meter = Meter()
    meter.add({"a": torch.tensor(1.0), "b": 4.0})
    meter.add({"a": torch.tensor(3.0)})
    assert meter.means_and_reset() == {"a": 2.0, "b": 4.0}
    assert meter.means_and_reset() == {}
