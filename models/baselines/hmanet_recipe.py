"""How HMANet is trained: by L1 regression twice, on many images first, then at a low rate on good ones.

Numbers are those of the authors' option files (korouuuuu/HMA@406f24f, options/train) and arXiv 2405.05001,
section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F

from srbench.models.interface import RecipeRequest
from srbench.models.recipe import LearningRate, LossTerm, Optimiser, PixelLoss, Recipe, Stage, StepRate

PRETRAINING_RATE = StepRate(at=(300 / 800, 500 / 800, 650 / 800, 700 / 800, 750 / 800), gamma=0.5)
FINE_TUNING_RATE = StepRate(at=(125 / 250, 200 / 250, 225 / 250, 240 / 250), gamma=0.5)


@dataclass(frozen=True)
class Plan:
    """What differs between budgets: iterations of both stages, batch, LR side of a patch, rates, EMA."""

    pretraining: int
    fine_tuning: int
    batch: int
    lr_patch: int
    rate: float = 2e-4
    fine_rate: float = 5e-6
    ema: float | None = 0.999


PLANS: dict[tuple[str, str], Plan] = {
    ("smoke", "paper"): Plan(8, 2, 1, 16, ema=None),
    ("smoke", "tiny"): Plan(440, 60, 12, 8, rate=1e-3, fine_rate=1e-4, ema=None),
    ("short", "paper"): Plan(1_500, 500, 4, 64),
    ("short", "tiny"): Plan(6_000, 2_000, 16, 48, rate=1e-3, fine_rate=1e-4),
    ("paper", "paper"): Plan(800_000, 250_000, 32, 64),
    ("paper", "tiny"): Plan(800_000, 250_000, 32, 64),
}
"""Budget and variant to the plan."""


def hmanet_recipe(request: RecipeRequest) -> Recipe:
    """The authors' two stages, or the same schedules over fewer and smaller batches."""
    plan = PLANS[request.budget, request.variant]
    return Recipe(
        stages=(
            _stage("pretraining", request, plan, plan.pretraining, plan.rate, PRETRAINING_RATE),
            _stage("fine_tuning", request, plan, plan.fine_tuning, plan.fine_rate, FINE_TUNING_RATE),
        ),
        source="korouuuuu/HMA@406f24f options/train; arXiv 2405.05001, section 4.1",
        notes=(
            "Both stages see the run's data set; the authors pre-train on ImageNet, fine-tune on DF2K.",
            "Fine-tuning crops are LR 64x64 as in the paper; the released option file has 32x32.",
            "Every magnification starts from scratch, as in the released options; the paper's best numbers "
            "pre-train across magnifications.",
        ),
    )


def _stage(
    name: str, request: RecipeRequest, plan: Plan, iterations: int, rate: float, schedule: LearningRate
) -> Stage:
    return Stage(
        name=name,
        iterations=iterations,
        batch=plan.batch,
        patch=plan.lr_patch * request.scale,
        terms=(LossTerm("l1", PixelLoss(F.l1_loss)),),
        optimiser=Optimiser("adam", lr=rate, betas=(0.9, 0.99)),
        schedule=schedule,
        ema=plan.ema,
    )
