"""How SwinIR is trained: by L1 regression; the real-world variant then also perceptually, against a critic.

Numbers are those of arXiv 2108.10257, sections 4.1 and 4.2, and of the authors' training code, KAIR
(cszn/KAIR, options/swinir: classical and gan@4614f66, lightweight@70ccf76, psnr@12ad147), with BasicSR's
second Adam coefficient for the first two variants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.baselines.swinir_critic import UNetCritic
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

HALVED_LATE = StepRate(at=(0.5, 0.8, 0.9, 0.95), gamma=0.5)
"""At 250k, 400k, 450k and 475k of 500k iterations; of 1M for ``real``, the same fractions."""

HALVED_LATER = StepRate(at=(4 / 6, 5 / 6, 5.5 / 6, 5.75 / 6), gamma=0.5)
"""At 400k, 500k, 550k and 575k of 600k iterations."""

FEATURE_WEIGHTS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}
"""Layers of VGG-19 before their activation that the perceptual loss compares."""


@dataclass(frozen=True)
class Plan:
    """What differs between budgets and variants: iterations, batch, LR side of a patch, rate, averaging."""

    iterations: int
    batch: int
    lr_patch: int
    rate: float = 2e-4
    ema: float | None = 0.999
    adversarial: int = 0
    critic_features: int = 64


PLANS: dict[tuple[str, str], Plan] = {
    ("smoke", "classical"): Plan(20, 2, 16, ema=None),
    ("smoke", "light"): Plan(40, 4, 16, rate=1e-3, ema=None),
    ("smoke", "real"): Plan(16, 2, 16, ema=None, adversarial=3, critic_features=16),
    ("smoke", "tiny"): Plan(500, 12, 8, rate=1e-3, ema=None),
    ("short", "classical"): Plan(4_000, 16, 48),
    ("short", "light"): Plan(10_000, 16, 64, rate=5e-4),
    ("short", "real"): Plan(3_200, 16, 48, adversarial=800),
    ("short", "tiny"): Plan(10_000, 16, 48, rate=1e-3),
    ("paper", "classical"): Plan(500_000, 32, 48),
    ("paper", "light"): Plan(500_000, 64, 64),
    ("paper", "real"): Plan(1_000_000, 32, 64, adversarial=600_000),
    ("paper", "tiny"): Plan(500_000, 64, 64),
}
"""Budget and variant to the plan."""


def swinir_recipe(request: RecipeRequest) -> Recipe:
    """L1 on pixels; for the variant ``real`` L1, perceptual and adversarial loss from these weights on."""
    plan = PLANS[request.budget, request.variant]
    stages = [_regression(request, plan)]
    notes = ["Every magnification starts from scratch; the authors start x3, x4 and x8 from x2."]
    if plan.adversarial:
        perceptual, about = _perceptual(request)
        stages.append(_adversarial(request, plan, perceptual))
        notes += [*about, *REAL_NOTES]
    return Recipe(
        stages=tuple(stages),
        source="arXiv 2108.10257, sections 4.1 and 4.2; cszn/KAIR options/swinir (classical@4614f66, "
        "lightweight@70ccf76, realworld psnr@12ad147 and gan@4614f66)",
        notes=tuple(notes),
    )


REAL_NOTES = (
    "LR images are degraded as the run's settings say; the random degradations of BSRGAN are not applied.",
    "The authors train at x4; other magnifications are trained alike, with LR patches of the same size.",
)


def _regression(request: RecipeRequest, plan: Plan) -> Stage:
    second = 0.999 if request.variant == "real" else 0.99
    return Stage(
        name="regression",
        iterations=plan.iterations,
        batch=plan.batch,
        patch=plan.lr_patch * request.scale,
        terms=(LossTerm("l1", PixelLoss(F.l1_loss)),),
        optimiser=Optimiser("adam", lr=plan.rate, betas=(0.9, second)),
        schedule=HALVED_LATE,
        ema=plan.ema,
    )


def _adversarial(request: RecipeRequest, plan: Plan, perceptual: LossTerm) -> Stage:
    """``L1 + perceptual + 0.1 * adversarial``; one update of the critic for one of the generator."""
    optimiser = Optimiser("adam", lr=1e-4)
    build: Callable[[], nn.Module] = partial(UNetCritic, request.channels, plan.critic_features)
    return Stage(
        name="adversarial",
        iterations=plan.adversarial,
        batch=plan.batch,
        patch=plan.lr_patch * request.scale,
        terms=(
            LossTerm("l1", PixelLoss(F.l1_loss)),
            perceptual,
            LossTerm("adversarial", fool_the_critic, weight=0.1),
        ),
        optimiser=optimiser,
        schedule=HALVED_LATER,
        critics=(Critic(CRITIC, build, tell_apart, optimiser, HALVED_LATER),),
        ema=plan.ema,
    )


def _perceptual(request: RecipeRequest) -> tuple[LossTerm, tuple[str, ...]]:
    """L1 on five layers of VGG-19, on pixels without its weights; what to note."""
    state = request.pretrained("vgg19")
    if state is None:
        fallback = LossTerm("perceptual", PixelLoss(F.l1_loss))
        return fallback, ("Perceptual loss: L1 on pixels in its place: no VGG-19 weights on disk.",)
    loss = VGGContentLoss(state, FEATURE_WEIGHTS, F.l1_loss)
    return LossTerm("perceptual", loss), ("Perceptual loss: L1 on five layers of VGG-19 before activation.",)


def fool_the_critic(inputs: LossInputs) -> Tensor:
    """``mean(-log D(sr))`` over pixels."""
    return generator_loss(inputs.critics[CRITIC](inputs.sr))


def tell_apart(critic: nn.Module, inputs: LossInputs) -> Tensor:
    """``mean(-log D(hr)) + mean(-log(1 - D(sr)))`` over pixels."""
    return critic_loss(critic(inputs.hr), critic(inputs.sr))
