"""How the five-block port trains SRGAN, and Swift-SRGAN after it: everything at once, from scratch.

The generator minimises ``MSE + 1e-3 mean(1 - D(sr)) + 6e-3 perceptual + 2e-8 TV`` and its critic
``1 - mean D(hr) + mean D(sr)``, in one stage at a constant rate. The two differ in the features of the
perceptual term, in the critic and in the optimiser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import nn

from srbench.models.baselines.srgan_critics import PooledDiscriminator
from srbench.models.interface import RecipeRequest
from srbench.models.losses.linear_adversarial import CRITIC, fool_the_critic, tell_apart
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.losses.variation import variation_of_sr
from srbench.models.recipe import Critic, LossTerm, Optimiser, PixelLoss, Recipe, Stage


@dataclass(frozen=True)
class Plan:
    """What differs between budgets: iterations, batch, HR patch (rounded down to a multiple of the scale)."""

    iterations: int
    batch: int
    patch: int


def joint_stage(
    plan: Plan, scale: int, perceptual: LossTerm | None, build: Callable[[], nn.Module], optimiser: Optimiser
) -> Stage:
    """The stage that both ports consist of.

    Args:
        plan: its size.
        scale: magnification.
        perceptual: the term of the ImageNet features, None without their weights.
        build: makes the critic, which gives probabilities.
        optimiser: of the generator and of the critic.
    """
    terms = [
        LossTerm("mse", PixelLoss(F.mse_loss)),
        LossTerm("adversarial", fool_the_critic, weight=1e-3),
        LossTerm("variation", variation_of_sr, weight=2e-8),
    ]
    return Stage(
        name="adversarial",
        iterations=plan.iterations,
        batch=plan.batch,
        patch=plan.patch - plan.patch % scale,
        terms=tuple(terms if perceptual is None else [*terms, perceptual]),
        optimiser=optimiser,
        critics=(Critic(CRITIC, build, tell_apart, optimiser),),
    )


PLANS = {"smoke": Plan(30, 4, 48), "short": Plan(8_000, 16, 88), "paper": Plan(26_100, 64, 88)}
"""Budget to the plan; ``paper`` is 100 epochs of 16,700 images in batches of 64."""


def port_recipe(request: RecipeRequest) -> Recipe:
    """The recipe of leftthomas/SRGAN."""
    perceptual, note = _vgg16(request)
    build = partial(PooledDiscriminator, request.channels)
    optimiser = Optimiser("adam", lr=1e-3)
    return Recipe(
        stages=(joint_stage(PLANS[request.budget], request.scale, perceptual, build, optimiser),),
        source="leftthomas/SRGAN@7ddfdf2 train.py and loss.py, README (VOC2012)",
        notes=(note, "Patches of 88 pixels are rounded down to a multiple of the scale, as there."),
    )


def _vgg16(request: RecipeRequest) -> tuple[LossTerm | None, str]:
    """All of VGG-16's convolutional part, on images that are not normalised."""
    state = request.pretrained("vgg16")
    if state is None:
        return None, "No perceptual term: no VGG-16 weights on disk."
    loss = VGGContentLoss(state, {"pool5": 1.0}, F.mse_loss, network="vgg16", normalise=False)
    return LossTerm("vgg16", loss, weight=6e-3), "Perceptual term: VGG-16 up to its last pooling, MSE, 6e-3."
