"""How BasicSR trains its SRResNet without normalisation (MSRResNet), and the adversarial MSRGAN from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F

from srbench.models.interface import RecipeRequest
from srbench.models.recipe import CosineRestarts, LossTerm, Optimiser, PixelLoss, Recipe, Stage

BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class Plan:
    """What differs between budgets: iterations of both stages, batch, HR patch, first rate."""

    pixels: int
    adversarial: int
    batch: int
    patch: int
    pixel_rate: float = 2e-4


PLANS = {
    "smoke": Plan(40, 4, 4, 48, 5e-4),
    "short": Plan(16_000, 4_000, 16, 96),
    "paper": Plan(1_000_000, 400_000, 16, 128),
}


def basicsr_recipe(request: RecipeRequest) -> Recipe:
    """The option files of MSRResNet and MSRGAN."""
    plan = PLANS[request.budget]
    return Recipe(stages=(_pixels(plan),), source="XPixelGroup/BasicSR")


def _pixels(plan: Plan) -> Stage:
    return Stage(
        name="pixels",
        iterations=plan.pixels,
        batch=plan.batch,
        patch=96,
        terms=(LossTerm("l1", PixelLoss(F.l1_loss)),),
        optimiser=Optimiser("adam", lr=plan.pixel_rate, betas=BETAS),
        schedule=CosineRestarts(4, floor=1e-7 / 2e-4),
        ema=0.999,
    )
