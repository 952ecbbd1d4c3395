"""CSM-SR's recipe executed: gradients reach what a stage trains, and training pays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from srbench.models import create
from srbench.models.layers import InterpolationUpsample
from srbench.models.recipe import Batch, LossInputs, Progress, Stage


def stage_loss(stage: Stage, network: nn.Module, batch: Batch, discriminators, progress: Progress) -> Tensor:
    inputs = LossInputs(batch, stage.forward(network, batch), discriminators)
    return sum(term.weight_at(progress) * term.loss(inputs) for term in stage.terms)


def let_learn(network: nn.Module, stage: Stage) -> dict[str, nn.Parameter]:
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(stage.trainable))
        parameter.grad = None
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_parameter_a_stage_trains_gets_a_gradient_and_no_other(index, channels) -> None:
    model = create("csm_sr", scale=4, channels=channels, variant="tiny")
    network, stage = model.network, model.recipe("smoke").stages[index]
    for last in (network.reconstruction[-1], network.preview_head[0]):
        nn.init.normal_(last.weight, std=0.01)
    hr = torch.rand(2, channels, stage.patch, stage.patch)
    discriminators = {discriminator.name: discriminator.build() for discriminator in stage.discriminators}
    learning = let_learn(network, stage)
    batch = Batch(torch.nn.functional.avg_pool2d(hr, 4), hr, 4)
    stage_loss(stage, network.train(), batch, discriminators, Progress(1, 2)).backward()
    silent = [name for name, p in learning.items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    assert all(p.grad is None for name, p in network.named_parameters() if name not in learning)
    for discriminator in stage.discriminators:
        fake = {"sr": network(batch.lr).detach()}
        discriminators[discriminator.name].zero_grad()
        discriminator.loss(
            discriminators[discriminator.name], LossInputs(batch, fake, discriminators)
        ).backward()
        assert all(
            p.grad is not None and p.grad.abs().sum() > 0
            for p in discriminators[discriminator.name].parameters()
        )


def run_stage(
    stage: Stage, network: nn.Module, scenes, rng, enough: Callable[[list[float], list[float]], bool]
) -> tuple[list[float], list[float]]:
    """Plain training; the generator's loss of each step without the adversarial part, and its opponent's.

    It ends when what is claimed of both lists, ``enough``, holds: asked every ten steps.
    """
    optimiser = torch.optim.Adam(let_learn(network, stage).values(), lr=stage.optimiser.lr)
    discriminators = {discriminator.name: discriminator.build() for discriminator in stage.discriminators}
    of_discriminators = {
        name: torch.optim.Adam(discriminator.parameters(), lr=1e-3)
        for name, discriminator in discriminators.items()
    }
    losses, games = [], []
    for step in range(stage.iterations):
        progress = Progress(step, stage.iterations)
        optimiser.param_groups[0]["lr"] = stage.optimiser.lr * stage.schedule(progress.fraction)
        batch = scenes.batch(rng, stage, 1)
        outputs = stage.forward(network, batch)
        inputs = LossInputs(batch, outputs, discriminators)
        values = {term.name: term.weight_at(progress) * term.loss(inputs) for term in stage.terms}
        optimiser.zero_grad()
        sum(values.values()).backward()
        optimiser.step()
        losses.append(float(sum(v.detach() for name, v in values.items() if name != "adversarial")))
        for discriminator in stage.discriminators:
            fake = LossInputs(batch, {"sr": outputs["sr"].detach()}, discriminators)
            of_discriminators[discriminator.name].zero_grad()
            game = discriminator.loss(discriminators[discriminator.name], fake)
            game.backward()
            of_discriminators[discriminator.name].step()
            games.append(float(game.detach()))
        if len(losses) % 10 == 0 and enough(losses, games):
            break
    return losses, games


def structural_loss(model, scenes) -> float:
    """The second stage's loss on the held-out image."""
    stage = model.recipe("smoke").stages[1]
    lr = scenes.degrade(scenes.held_out)
    inputs = LossInputs(Batch(lr, scenes.held_out, model.scale), {"sr": model.infer(lr)})
    return float(sum(term.weight_at(Progress(0, 1)) * term.loss(inputs) for term in stage.terms))


@pytest.mark.slow
@pytest.mark.parametrize("scale", [4])
def test_the_smoke_recipe_beats_bicubic_on_scenes_it_has_not_seen(scale, scenes, psnr) -> None:
    torch.manual_seed(0)
    model, data = create("csm_sr", scale=scale, variant="tiny"), scenes(scale)
    rng = np.random.default_rng(0)
    bicubic = InterpolationUpsample("bicubic", scale)(data.degrade(data.held_out)).clamp(0, 1)
    held_out, fixed = structural_loss(model, data), {}

    def is_better() -> bool:
        sr = model.infer(data.degrade(data.held_out))
        return (
            structural_loss(model, data) < 0.85 * held_out
            and psnr(sr, data.held_out) > psnr(bicubic, data.held_out) + 0.5
        )

    claims = {
        "encoder": lambda losses, games: True,
        "generator": lambda losses, games: np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10]) and is_better(),
        "joint": lambda losses, games: np.mean(games[-5:]) < games[0] and is_better(),
    }
    for stage in model.recipe("smoke").stages:
        frozen = {
            n: p.clone() for n, p in model.network.named_parameters() if not n.startswith(stage.trainable)
        }
        losses, games = run_stage(stage, model.network, data, rng, claims[stage.name])
        fixed[stage.name] = all(
            torch.equal(dict(model.network.named_parameters())[n], p) for n, p in frozen.items()
        )
        assert all(np.isfinite(losses))
        assert bool(games) == bool(stage.discriminators) == (stage.name == "joint")
        if stage.name != "encoder":
            assert claims[stage.name](losses, games)
    assert fixed == {"encoder": True, "generator": True, "joint": True}


@pytest.mark.slow
def test_the_encoder_stage_lowers_its_loss_through_the_preview(scenes) -> None:
    torch.manual_seed(0)
    model, data = create("csm_sr", scale=4, variant="tiny"), scenes(4)
    stage = model.recipe("smoke").stages[0]
    lr = data.degrade(data.held_out)
    batch = Batch(lr, data.held_out, 4)

    def held_out() -> float:
        with torch.no_grad():
            return float(stage_loss(stage, model.network, batch, {}, Progress(0, 1)))

    before = held_out()
    run_stage(stage, model.network, data, np.random.default_rng(0), lambda *_: held_out() < before)
    assert held_out() < before
    bicubic = InterpolationUpsample("bicubic", 4)(lr)
    torch.testing.assert_close(model.network(lr), bicubic)
