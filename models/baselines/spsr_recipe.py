"""How SPSR is trained: ESRGAN's game on the image and a second one on its gradient map.

Numbers are those of Maclory/SPSR@881e781 ``options/train/train_spsr.json``. The authors start from a network
trained for pixels, RRDB_PSNR_x4; a recipe has no such file, hence a stage of that kind comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.baselines.esrgan_recipe import (
    HALVED_EVERY_FIFTH,
    patch_for,
    perceptual_term,
    scale_notes,
)
from srbench.models.baselines.spsr_network import restore
from srbench.models.baselines.vgg_critic import BiasedVGGCritic
from srbench.models.interface import RecipeRequest
from srbench.models.losses.gradient import gradient_map
from srbench.models.losses.relativistic import RelativisticCritic, RelativisticGenerator, View
from srbench.models.recipe import (
    Batch,
    ConstantRate,
    Critic,
    LearningRate,
    LossInputs,
    LossTerm,
    Optimiser,
    Outputs,
    PixelLoss,
    Recipe,
    Stage,
    StepRate,
)

IMAGE_CRITIC = "image_critic"
GRADIENT_CRITIC = "gradient_critic"


def wide_gradient_map(image: Tensor) -> Tensor:
    """The gradient map that losses compare: one pixel more on every side, 130 for 128."""
    return gradient_map(image, padding=2)


def guided_forward(network: nn.Module, batch: Batch) -> Outputs:
    """The image and the gradient map that the branch predicts."""
    restored = restore(network, batch.lr)
    return {"sr": restored.sr, "gradient_sr": restored.gradient_sr}


def branch_loss(inputs: LossInputs) -> Tensor:
    """L1 between the predicted gradient map and that of the HR image."""
    return F.l1_loss(inputs.outputs["gradient_sr"], gradient_map(inputs.hr))


def gradient_pixel_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean squared error of the gradient maps of two images, as in the released code."""
    return F.mse_loss(wide_gradient_map(sr), wide_gradient_map(hr))


BRANCH = LossTerm("branch", branch_loss, weight=0.5)


@dataclass(frozen=True)
class Plan:
    """What differs between budgets: iterations of the stages, batches, HR patch, rates, size of critics."""

    pixels: int
    fusion: int
    adversarial: int
    pixel_batch: int
    batch: int
    patch: int
    pixel_rate: float
    rate: float
    critic_features: int = 64
    critic_hidden: int = 100


PLANS: dict[tuple[str, str], Plan] = {
    ("smoke", "paper"): Plan(24, 3, 4, 2, 2, 32, 2e-4, 1e-4),
    ("smoke", "tiny"): Plan(320, 4, 12, 4, 4, 32, 5e-3, 1e-4, critic_features=8, critic_hidden=16),
    ("short", "paper"): Plan(8_000, 200, 3_000, 16, 16, 128, 2e-4, 1e-4),
    ("short", "tiny"): Plan(8_000, 100, 2_000, 16, 16, 128, 1e-3, 1e-4, critic_features=16, critic_hidden=32),
    ("paper", "paper"): Plan(1_000_000, 5_000, 495_000, 16, 30, 128, 2e-4, 1e-4),
    ("paper", "tiny"): Plan(
        1_000_000, 5_000, 495_000, 16, 30, 128, 2e-4, 1e-4, critic_features=16, critic_hidden=32
    ),
}
"""Budget and variant to the plan; ``paper`` is the released option file, its first stage ESRGAN's."""


def spsr_recipe(request: RecipeRequest) -> Recipe:
    """Pixels; then all losses on the layers that join the branches; then all losses on everything."""
    plan = PLANS[request.budget, request.variant]
    perceptual, notes = perceptual_term(request)
    guided = partial(_guided_stage, request, plan, perceptual)
    joining = "body.f_" if request.variant == "tiny" else "f_"
    stages = (
        _pixel_stage(request, plan),
        guided("fusion", plan.fusion, ConstantRate(), (joining,)),
        guided("adversarial", plan.adversarial, halved_on_the_way(plan), ("",)),
    )
    return Recipe(
        stages=stages,
        source="arXiv 2003.13081, section 3.3; Maclory/SPSR@881e781 code/options/train/train_spsr.json and "
        "code/models/SPSR_model.py",
        notes=(*notes, *scale_notes(request.scale, plan.patch), _START),
    )


_START = (
    "The authors start from RRDB_PSNR_x4; here the whole network is first trained for pixels (L1) and for "
    "its gradient branch, in the paper budget as long as RRDB_PSNR_x4 was."
)


def _pixel_stage(request: RecipeRequest, plan: Plan) -> Stage:
    """ESRGAN's first stage (arXiv 1809.00219, section 4.1), with the branch's own loss."""
    return Stage(
        name="pixels",
        iterations=plan.pixels,
        batch=plan.pixel_batch,
        patch=patch_for(plan.patch, request.scale),
        terms=(LossTerm("l1", PixelLoss(F.l1_loss)), BRANCH),
        optimiser=Optimiser("adam", lr=plan.pixel_rate),
        schedule=HALVED_EVERY_FIFTH,
        forward=guided_forward,
    )


def _guided_stage(
    request: RecipeRequest,
    plan: Plan,
    perceptual: LossTerm,
    name: str,
    iterations: int,
    schedule: LearningRate,
    trainable: tuple[str, ...],
) -> Stage:
    """Every loss of the option file; one update of each critic for one of the generator."""
    optimiser = Optimiser("adam", lr=plan.rate)
    patch = patch_for(plan.patch, request.scale)
    terms = (
        LossTerm("l1", PixelLoss(F.l1_loss), weight=1e-2),
        perceptual,
        LossTerm("adversarial", RelativisticGenerator(IMAGE_CRITIC), weight=5e-3),
        LossTerm("gradient", PixelLoss(gradient_pixel_loss), weight=1e-2),
        LossTerm(
            "gradient_adversarial", RelativisticGenerator(GRADIENT_CRITIC, wide_gradient_map), weight=5e-3
        ),
        BRANCH,
    )

    def critic(of: str, view: View | None, side: int) -> Critic:
        build: Callable[[], nn.Module] = partial(
            BiasedVGGCritic, request.channels, side, plan.critic_features, plan.critic_hidden
        )
        return Critic(of, build, RelativisticCritic(view), optimiser, schedule)

    return Stage(
        name=name,
        iterations=iterations,
        batch=plan.batch,
        patch=patch,
        terms=terms,
        optimiser=optimiser,
        schedule=schedule,
        critics=(
            critic(IMAGE_CRITIC, None, patch),
            critic(GRADIENT_CRITIC, wide_gradient_map, patch + 2),
        ),
        trainable=trainable,
        forward=guided_forward,
    )


def halved_on_the_way(plan: Plan) -> StepRate:
    """Halved after 50k, 100k, 200k and 300k of 500k iterations, those of the fusion stage included."""
    total = plan.fusion + plan.adversarial
    milestones = (0.1 * total, 0.2 * total, 0.4 * total, 0.6 * total)
    return StepRate(tuple((milestone - plan.fusion) / plan.adversarial for milestone in milestones), 0.5)
