"""How ESRGAN is trained: for pixels first, then perceptually against a relativistic average critic.

Numbers are those of arXiv 1809.00219, section 4.1, and of BasicSR's option files where the paper is silent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import nn

from srbench.models.baselines.vgg_critic import VGGCritic
from srbench.models.interface import RecipeRequest
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.losses.relativistic import RelativisticCritic, RelativisticGenerator
from srbench.models.recipe import (
    Critic,
    LossTerm,
    Optimiser,
    PixelLoss,
    Recipe,
    Stage,
    StepRate,
)

CRITIC = "critic"

HALVED_EVERY_FIFTH = StepRate(at=(0.2, 0.4, 0.6, 0.8), gamma=0.5)
"""Every 200k of 1M iterations."""


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
    critic_hidden: int = 100


PLANS: dict[tuple[str, str], Plan] = {
    ("smoke", "paper"): Plan(40, 6, 2, 32, 2e-4, 1e-4),
    ("smoke", "tiny"): Plan(400, 40, 8, 48, 3e-3, 1e-4, critic_features=8, critic_hidden=16),
    ("short", "paper"): Plan(16_000, 4_000, 16, 128, 2e-4, 1e-4),
    ("short", "tiny"): Plan(8_000, 2_000, 16, 128, 1e-3, 1e-4, critic_features=16, critic_hidden=32),
    ("paper", "paper"): Plan(1_000_000, 400_000, 16, 128, 2e-4, 1e-4),
    ("paper", "tiny"): Plan(1_000_000, 400_000, 16, 128, 2e-4, 1e-4, critic_features=16, critic_hidden=32),
}
"""Budget and variant to the plan; ``paper`` is section 4.1."""


def esrgan_recipe(request: RecipeRequest) -> Recipe:
    """L1 on pixels, then ``L_percep + 5e-3 * L_RaGAN + 1e-2 * L1`` from those weights (eq. 3)."""
    plan = PLANS[request.budget, request.variant]
    patch = patch_for(plan.patch, request.scale)
    pixels = Stage(
        name="pixels",
        iterations=plan.pixels,
        batch=plan.batch,
        patch=patch,
        terms=(LossTerm("l1", PixelLoss(F.l1_loss)),),
        optimiser=Optimiser("adam", lr=plan.pixel_rate),
        schedule=HALVED_EVERY_FIFTH,
    )
    perceptual, notes = perceptual_term(request)
    return Recipe(
        stages=(pixels, _adversarial_stage(request, plan, patch, perceptual)),
        source="arXiv 1809.00219, sections 3.2, 3.3 and 4.1; XPixelGroup/BasicSR@8d56e3a "
        "options/train/ESRGAN: 1M and 400k iterations",
        notes=(*notes, *scale_notes(request.scale, plan.patch)),
    )


def _adversarial_stage(request: RecipeRequest, plan: Plan, patch: int, perceptual: LossTerm) -> Stage:
    """One update of the critic for one of the generator; rates halved at 50k, 100k, 200k and 300k of 400k."""
    optimiser = Optimiser("adam", lr=plan.adversarial_rate)
    schedule = StepRate(at=(1 / 8, 1 / 4, 1 / 2, 3 / 4), gamma=0.5)
    build: Callable[[], nn.Module] = partial(
        VGGCritic, request.channels, patch, plan.critic_features, plan.critic_hidden
    )
    return Stage(
        name="adversarial",
        iterations=plan.adversarial,
        batch=plan.batch,
        patch=patch,
        terms=(
            perceptual,
            LossTerm("adversarial", RelativisticGenerator(CRITIC), weight=5e-3),
            LossTerm("l1", PixelLoss(F.l1_loss), weight=1e-2),
        ),
        optimiser=optimiser,
        schedule=schedule,
        critics=(Critic(CRITIC, build, RelativisticCritic(), optimiser, schedule),),
    )


def perceptual_term(request: RecipeRequest) -> tuple[LossTerm, tuple[str, ...]]:
    """L1 on VGG-19 conv5_4 before activation (section 3.3), on pixels without its weights; what to note."""
    pixels = LossTerm("pixels", PixelLoss(F.l1_loss))
    if request.variant == "tiny":
        return pixels, ("Perceptual loss: L1 on pixels in its place, so that a CPU keeps up.",)
    state = request.pretrained("vgg19")
    if state is None:
        return pixels, ("Perceptual loss: L1 on pixels in its place: no VGG-19 weights on disk.",)
    loss = VGGContentLoss(state, {"conv5_4": 1.0}, F.l1_loss)
    return LossTerm("perceptual", loss), ("Perceptual loss: L1 on VGG-19 conv5_4 before activation.",)


def patch_for(patch: int, scale: int) -> int:
    """``patch`` rounded up, so that LR crops are whole at x3 and can be unshuffled at x2."""
    multiple = 4 if scale == 2 else scale
    return math.ceil(patch / multiple) * multiple


def scale_notes(scale: int, patch: int) -> tuple[str, ...]:
    """What is not published about this magnification."""
    if scale == 4:
        return ()
    rounded = patch_for(patch, scale)
    detail = f", HR patches of {rounded} instead of {patch}" if rounded != patch else ""
    return (f"Published for x4 only; x{scale} is trained alike{detail}.",)
