"""How Swift-SRGAN is trained: the five-block port's stage with MobileNetV2 features and AdamW."""

from __future__ import annotations

from functools import partial

from srbench.models.baselines.srgan_port_recipe import Plan, joint_stage
from srbench.models.baselines.swift_srgan_networks import SwiftDiscriminator
from srbench.models.interface import RecipeRequest
from srbench.models.losses.mobilenet import MobileNetContentLoss
from srbench.models.recipe import LossTerm, Optimiser, Recipe

PLANS: dict[tuple[str, str], Plan] = {
    ("smoke", "paper"): Plan(50, 4, 48),
    ("smoke", "tiny"): Plan(300, 6, 48),
    ("short", "paper"): Plan(10_000, 16, 96),
    ("short", "tiny"): Plan(6_000, 16, 96),
    ("paper", "paper"): Plan(23_000, 16, 96),
    ("paper", "tiny"): Plan(23_000, 16, 96),
}
"""Budget and variant to the plan; ``paper`` is 100 epochs of 3,669 images in batches of 16."""

CRITICS = {"paper": (64, 1024), "tiny": (8, 32)}
"""Variant to the width and the hidden width of the critic."""


def swift_srgan_recipe(request: RecipeRequest) -> Recipe:
    """The authors' released training script."""
    perceptual, note = _mobilenet(request)
    features, hidden = CRITICS[request.variant]
    build = partial(SwiftDiscriminator, request.channels, features, hidden)
    optimiser = Optimiser("adamw", lr=1e-3, weight_decay=1e-2)
    plan = PLANS[request.budget, request.variant]
    return Recipe(
        stages=(joint_stage(plan, request.scale, perceptual, build, optimiser),),
        source="Koushik0901/Swift-SRGAN@cd2414f swift-srgan/train.py and loss.py; arXiv 2111.14320",
        notes=(
            note,
            "The released script never defines its batch size; here 16 in the longer budgets. "
            "The number of images (DIV2K and Flickr2K, 3,669) is a third party's account of the paper.",
        ),
    )


def _mobilenet(request: RecipeRequest) -> tuple[LossTerm | None, str]:
    """All of MobileNetV2's convolutional part, on images that are not normalised."""
    if request.variant == "tiny":
        return None, "No perceptual term, so that a CPU keeps up."
    state = request.pretrained("mobilenet_v2")
    if state is None:
        return None, "No perceptual term: no MobileNetV2 weights on disk."
    return (
        LossTerm("mobilenet_v2", MobileNetContentLoss(state), weight=6e-3),
        "Perceptual term: last feature maps of MobileNetV2, MSE, 6e-3.",
    )
