"""How the paper trains SRGAN: SRResNet for pixels first, then against a critic (section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.baselines.srgan_critics import Discriminator
from srbench.models.interface import RecipeRequest
from srbench.models.losses.adversarial import critic_loss, generator_loss
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.recipe import (
    Critic,
    LossInputs,
    LossTerm,
    Optimiser,
    PixelLoss,
    Recipe,
    Stage,
    StepRate,
)

CRITIC = "critic"


def fool_the_critic(inputs: LossInputs) -> Tensor:
    """``mean(-log D(sr))`` (eq. 6)."""
    return generator_loss(inputs.critics[CRITIC](inputs.sr))


def tell_apart(critic: nn.Module, inputs: LossInputs) -> Tensor:
    """``mean(-log D(hr)) + mean(-log(1 - D(sr)))`` (eq. 2)."""
    return critic_loss(critic(inputs.hr), critic(inputs.sr))


@dataclass(frozen=True)
class Plan:
    """What differs between budgets: iterations, batch, HR patch, rates, size of the critic."""

    pixels: int
    adversarial: int
    batch: int
    patch: int
    pixel_rate: float
    adversarial_rate: float
    critic_features: int = 64
    critic_hidden: int = 1024


PLANS: dict[tuple[str, str], Plan] = {
    ("smoke", "srresnet"): Plan(50, 8, 4, 48, 1e-3, 1e-4),
    ("smoke", "tiny"): Plan(300, 40, 8, 48, 2e-3, 1e-4, critic_features=8, critic_hidden=32),
    ("short", "srresnet"): Plan(16_000, 4_000, 16, 96, 2e-4, 1e-4),
    ("short", "tiny"): Plan(8_000, 2_000, 16, 96, 1e-3, 1e-4, critic_features=16, critic_hidden=64),
    ("paper", "srresnet"): Plan(1_000_000, 200_000, 16, 96, 1e-4, 1e-4),
    ("paper", "tiny"): Plan(1_000_000, 200_000, 16, 96, 1e-4, 1e-4, critic_features=16, critic_hidden=64),
}
"""Budget and variant to the plan; ``paper`` is section 3.2."""


def paper_recipe(request: RecipeRequest) -> Recipe:
    """SRResNet by mean squared error, then SRGAN from its weights (section 3.2)."""
    plan = PLANS[request.budget, request.variant]
    content, notes = _content(request)
    pixels = Stage(
        name="pixels",
        iterations=plan.pixels,
        batch=plan.batch,
        patch=plan.patch,
        terms=(LossTerm("mse", PixelLoss(F.mse_loss)),),
        optimiser=Optimiser("adam", lr=plan.pixel_rate),
    )
    return Recipe(
        stages=(pixels, _adversarial_stage(request, plan, content)),
        source="arXiv 1609.04802, section 3.2",
        notes=notes,
    )


def _adversarial_stage(request: RecipeRequest, plan: Plan, content: LossTerm) -> Stage:
    """One update of the critic for one of the generator; the second half at a tenth of the rate."""
    optimiser = Optimiser("adam", lr=plan.adversarial_rate)
    schedule = StepRate(at=(0.5,), gamma=0.1)
    build: Callable[[], nn.Module] = partial(
        Discriminator, request.channels, plan.patch, plan.critic_features, plan.critic_hidden
    )
    return Stage(
        name="adversarial",
        iterations=plan.adversarial,
        batch=plan.batch,
        patch=plan.patch,
        terms=(content, LossTerm("adversarial", fool_the_critic, weight=1e-3)),
        optimiser=optimiser,
        schedule=schedule,
        critics=(Critic(CRITIC, build, tell_apart, optimiser, schedule),),
    )


def _content(request: RecipeRequest) -> tuple[LossTerm, tuple[str, ...]]:
    """VGG features after the last activation (SRGAN-VGG54), or pixels (SRGAN-MSE) without their weights."""
    # The paper measures errors on [-1, 1], where squares are four times as large as on [0, 1].
    pixels = LossTerm("mse", PixelLoss(F.mse_loss), weight=4.0)
    if request.variant == "tiny":
        return pixels, ("Content loss: MSE (SRGAN-MSE of the paper's table 1), so that a CPU keeps up.",)
    state = request.pretrained("vgg19")
    if state is None:
        return pixels, ("Content loss: MSE (SRGAN-MSE of the paper's table 1): no VGG-19 weights on disk.",)
    vgg = VGGContentLoss(state, {"relu5_4": 1.0}, F.mse_loss, feature_scale=1 / 12.75)
    return LossTerm("vgg54", vgg), ("Content loss: VGG-19 phi_5,4 after activation, scaled by 1/12.75.",)
