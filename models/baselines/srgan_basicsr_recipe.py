"""How BasicSR trains its SRResNet without normalisation (MSRResNet), and the adversarial MSRGAN from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F

from srbench.models.baselines.srgan_recipe import CRITIC, fool_the_critic, tell_apart
from srbench.models.baselines.vgg_critic import VGGCritic
from srbench.models.interface import RecipeRequest
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.recipe import (
    CosineRestarts,
    Critic,
    LossTerm,
    Optimiser,
    PixelLoss,
    Recipe,
    Stage,
    StepRate,
)

BETAS = (0.9, 0.99)
RATE, LAST_RATE = 2e-4, 1e-7
"""Of the first stage, at the start and at the end of every cycle."""

PATCH_AT_X3 = 96
"""The largest patch at x3, where 128 is no multiple of the scale."""


@dataclass(frozen=True)
class Plan:
    """What differs between budgets: iterations of both stages, batch, HR patch, and the first's schedule."""

    pixels: int
    adversarial: int
    batch: int
    patch: int
    pixel_rate: float = RATE
    cycles: int = 1


PLANS = {
    "smoke": Plan(40, 4, 4, 48, pixel_rate=1e-3),
    "short": Plan(16_000, 4_000, 16, 96),
    "paper": Plan(1_000_000, 400_000, 16, 128, cycles=4),
}


def basicsr_recipe(request: RecipeRequest) -> Recipe:
    """The option files of MSRResNet and MSRGAN."""
    plan = PLANS[request.budget]
    patch = min(plan.patch, PATCH_AT_X3) if request.scale == 3 else plan.patch
    perceptual, notes = _perceptual(request)
    return Recipe(
        stages=(_pixels(plan, patch), _adversarial(request, plan, patch, perceptual)),
        source="XPixelGroup/BasicSR@8d56e3a options/train/SRResNet_SRGAN, MSRResNet_x4 and MSRGAN_x4",
        notes=(
            *notes,
            "Every magnification starts from scratch and has both stages; BasicSR starts x2 and x3 from x4, "
            "and publishes the adversarial stage for x4 only.",
        ),
    )


def _pixels(plan: Plan, patch: int) -> Stage:
    return Stage(
        name="pixels",
        iterations=plan.pixels,
        batch=plan.batch,
        patch=patch,
        terms=(LossTerm("l1", PixelLoss(F.l1_loss)),),
        optimiser=Optimiser("adam", lr=plan.pixel_rate, betas=BETAS),
        schedule=CosineRestarts(plan.cycles, floor=LAST_RATE / RATE),
        ema=0.999,
    )


def _adversarial(request: RecipeRequest, plan: Plan, patch: int, perceptual: LossTerm) -> Stage:
    """Rates halved at 50k, 100k, 200k and 300k of 400k iterations."""
    optimiser = Optimiser("adam", lr=1e-4, betas=BETAS)
    schedule = StepRate(at=(1 / 8, 1 / 4, 1 / 2, 3 / 4), gamma=0.5)
    build = partial(VGGCritic, request.channels, patch)
    return Stage(
        name="adversarial",
        iterations=plan.adversarial,
        batch=plan.batch,
        patch=patch,
        terms=(
            LossTerm("l1", PixelLoss(F.l1_loss), weight=1e-2),
            perceptual,
            LossTerm("adversarial", fool_the_critic, weight=5e-3),
        ),
        optimiser=optimiser,
        schedule=schedule,
        critics=(Critic(CRITIC, build, tell_apart, optimiser, schedule),),
        ema=0.999,
    )


def _perceptual(request: RecipeRequest) -> tuple[LossTerm, tuple[str, ...]]:
    """VGG-19 features before the last activation, or pixels without their weights."""
    state = request.pretrained("vgg19")
    if state is None:
        pixels = LossTerm("pixels", PixelLoss(F.l1_loss))
        return pixels, ("Perceptual term: L1 on pixels in its place: no VGG-19 weights on disk.",)
    loss = VGGContentLoss(state, {"conv5_4": 1.0}, F.l1_loss)
    return LossTerm("perceptual", loss), ("Perceptual term: L1 on VGG-19 conv5_4 before activation.",)
