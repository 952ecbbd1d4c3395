"""How CSM-SR is trained: encoder, then generator, then both against the discriminator.

The text (project page) gives three stages in epochs of a number of images it does not state: encoder 20 to
25 (gradient and contextual losses), generator 25 (SSL only), joint 75 to 100 (SSL and adversarial). What it
leaves open, and what was chosen:

* *Length*: the proportion 1 : 1 : 4 is kept; an epoch counts as 2,000 iterations of 16 crops of 48x48 LR
  pixels, so that ``paper`` has the 300,000 iterations of the networks it is compared with. The released
  code trains on whole images one at a time.
* *Stage 1*: gradient and contextual losses compare images, and the encoder gives features. They are
  compared through a head of one sub-pixel convolution on the bicubic image (``CSMSR.preview``), which is
  used in no other stage and not at inference.
* *Stage 2* keeps the encoder fixed, so that "generator pre-training" is what it says and the encoder is not
  dragged along by a still random generator; *stage 3*, "joint", trains both.
* *Optimiser*: Adam at 1e-4, times 0.96 every 100,000 iterations, as released (``paper``); shorter budgets
  use a larger rate with cosine decay.
* *Gradient branch* (variant ``gradient_branch``): trained with the generator, and in addition to draw the
  gradient map of HR, with the weight that SPSR gives that loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, cast

from torch import Tensor, nn

from srbench.models.csm_sr.discriminator import MultiScaleDiscriminator
from srbench.models.csm_sr.encoder import ARCHITECTURE, ConditioningEncoder
from srbench.models.csm_sr.gradient_branch import gradient_forward, gradient_image_loss
from srbench.models.csm_sr.objective import (
    ADVERSARIAL,
    DISCRIMINATOR,
    EARLY,
    LATE,
    TermLoss,
    adversarial_loss,
    discriminator_loss,
    structural_losses,
    structural_terms,
)
from srbench.models.csm_sr.pretrained import load_pretrained
from srbench.models.csm_sr.schedule import MetricFeedback
from srbench.models.interface import RecipeRequest
from srbench.models.losses.contextual import POSITIONS
from srbench.models.recipe import (
    Batch,
    Budget,
    ConstantRate,
    CosineRate,
    Critic,
    LearningRate,
    LossTerm,
    Optimiser,
    Outputs,
    Recipe,
    Stage,
    StepRate,
)

SOURCE = (
    "CSM-SR project page, https://github.com/aaivu/CSM-SR (docs/index.html): the stages and the parts of the "
    "loss; its code at c89569b: optimiser, relative loss weights; the rest is srbench's choice, see the notes"
)

CHOICES = (
    "conditions on the LR image only; the released code feeds features of the HR image, at test time too",
    "widths, depths, loss weights, crops and iterations are srbench's choices: the published text gives none",
    "the network adds to the bicubic image; the released network has no such skip and the text mentions none",
    "stage 1 trains the encoder through a one-convolution image head that is not used afterwards",
    "squeeze-and-excitation pools over a window of 24 LR pixels to each side instead of the whole image",
)
GUIDED = (
    "the gradient branch is srbench's extension after SPSR (arXiv 2003.13081): signed Sobel maps, fused at "
    "LR size, trained by the difference of gradient maps without SPSR's second critic"
)
WEIGHT_FREE = "no perceptual loss, and the contextual loss compares normalised image patches"

ENCODER = ("encoder.",)
PREVIEW = ("preview_head.",)
GENERATOR = ("shallow.", "branches.", "fusion.", "reconstruction.")
GRADIENT_PARTS = ("gradient_branch.", "join.", "gradient_reconstruction.")

GRADIENT_BRANCH = "gradient_branch"
GRADIENT_WEIGHT = 0.5
"""Of the gradient image's L1 distance (SPSR's code, ``train_spsr.json``)."""


@dataclass(frozen=True)
class Plan:
    """What a variant and a budget change. Triples are for the three stages.

    Attributes:
        iterations: generator updates.
        batch: crops in a batch.
        patch: LR side of a crop; times the scale for HR.
        rates: learning rates; the discriminator has the generator's.
        schedules: learning rate schedules.
        ema: decay of the averaged weights.
        perceptual: whether VGG-19 is used where its weights are at hand.
        positions: patches in an image that the contextual loss compares where it compares patches.
    """

    iterations: tuple[int, int, int]
    batch: int
    patch: int
    rates: tuple[float, float, float]
    schedules: tuple[LearningRate, LearningRate, LearningRate]
    ema: float | None = 0.999
    perceptual: bool = True
    positions: int = POSITIONS


_PAPER = Plan(
    iterations=(50_000, 50_000, 200_000),
    batch=16,
    patch=48,
    rates=(1e-4, 1e-4, 1e-4),
    schedules=(ConstantRate(), ConstantRate(), StepRate((0.5,), 0.96)),
)
_COSINE = (CosineRate(0.1), CosineRate(0.1), CosineRate(0.01))
_SHORT = Plan((3_000, 3_000, 12_000), 16, 48, (2e-4, 4e-4, 2e-4), _COSINE)
_SMOKE = Plan((8, 48, 16), 2, 24, (5e-4, 1e-3, 5e-4), _COSINE, ema=None, perceptual=False, positions=256)
_GUIDED_SMOKE = replace(_SMOKE, iterations=(6, 32, 10))
_TINY_SMOKE = Plan(
    (30, 120, 60), 8, 16, (1e-3, 2e-3, 5e-4), _COSINE, ema=None, perceptual=False, positions=256
)

PLANS: Mapping[str, Mapping[Budget, Plan]] = {
    "published": {"smoke": _SMOKE, "short": _SHORT, "paper": _PAPER},
    GRADIENT_BRANCH: {"smoke": _GUIDED_SMOKE, "short": _SHORT, "paper": _PAPER},
    "tiny": {"smoke": _TINY_SMOKE, "short": _SHORT, "paper": _PAPER},
}

CRITICS: Mapping[str, Mapping[str, int]] = {
    "published": {"features": 64, "strides": 3},
    GRADIENT_BRANCH: {"features": 64, "strides": 3},
    "tiny": {"features": 16, "strides": 2},
}


class Previewing(Protocol):
    """A network with an image-making head on its encoder."""

    def preview(self, lr: Tensor) -> Tensor:
        """LR to SR through the encoder alone."""


def preview_forward(network: nn.Module, batch: Batch) -> Outputs:
    """The forward pass of stage 1: the image the encoder makes without the generator."""
    return {"sr": cast(Previewing, network).preview(batch.lr)}


def csm_sr_recipe(request: RecipeRequest) -> Recipe:
    """The three stages within a budget, with or without pretrained VGG-19 and EfficientNet-B0."""
    plan = PLANS[request.variant][request.budget]
    vgg19 = request.pretrained("vgg19") if plan.perceptual else None
    efficientnet = request.pretrained(ARCHITECTURE)
    losses = structural_losses(vgg19, plan.positions)
    guided = request.variant == GRADIENT_BRANCH
    generator, joint = _generator_stage(plan, request, losses), _joint_stage(plan, request, losses)
    if guided:
        generator, joint = _with_gradient(generator), _with_gradient(joint)
    return Recipe(
        stages=(_encoder_stage(plan, request, losses), generator, joint),
        source=SOURCE,
        notes=(
            *CHOICES,
            *((GUIDED,) if guided else ()),
            *_fallbacks(plan, vgg19 is None, efficientnet is None),
        ),
        initialise=None if efficientnet is None else partial(_initialise, state=efficientnet),
    )


def _encoder_stage(plan: Plan, request: RecipeRequest, losses: Mapping[str, TermLoss]) -> Stage:
    pretraining = {name: losses[name] for name in ("gradient", "contextual")}
    terms = structural_terms(pretraining, EARLY.__getitem__)
    return replace(
        _stage("encoder", 0, plan, request, terms), trainable=ENCODER + PREVIEW, forward=preview_forward
    )


def _generator_stage(plan: Plan, request: RecipeRequest, losses: Mapping[str, TermLoss]) -> Stage:
    terms = structural_terms(losses, EARLY.__getitem__)
    return replace(_stage("generator", 1, plan, request, terms), trainable=GENERATOR)


def _joint_stage(plan: Plan, request: RecipeRequest, losses: Mapping[str, TermLoss]) -> Stage:
    terms = structural_terms(losses, lambda name: MetricFeedback(EARLY[name], LATE[name]))
    adversarial = LossTerm("adversarial", adversarial_loss, MetricFeedback(*ADVERSARIAL))
    stage = _stage("joint", 2, plan, request, (*terms, adversarial))
    critic = Critic(
        name=DISCRIMINATOR,
        build=partial(MultiScaleDiscriminator, request.channels, **CRITICS[request.variant]),
        loss=discriminator_loss,
        optimiser=stage.optimiser,
        schedule=stage.schedule,
    )
    return replace(stage, trainable=ENCODER + GENERATOR, critics=(critic,))


def _with_gradient(stage: Stage) -> Stage:
    """The stage for a network with a gradient branch, which learns its own image beside."""
    term = LossTerm(GRADIENT_BRANCH, gradient_image_loss, GRADIENT_WEIGHT)
    return replace(
        stage,
        forward=gradient_forward,
        terms=(*stage.terms, term),
        trainable=stage.trainable + GRADIENT_PARTS,
    )


def _stage(name: str, index: int, plan: Plan, request: RecipeRequest, terms: tuple[LossTerm, ...]) -> Stage:
    return Stage(
        name=name,
        iterations=plan.iterations[index],
        batch=plan.batch,
        patch=plan.patch * request.scale,
        terms=terms,
        optimiser=Optimiser(lr=plan.rates[index]),
        schedule=plan.schedules[index],
        ema=plan.ema,
    )


def _initialise(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    load_pretrained(cast(ConditioningEncoder, network.encoder), state)


def _fallbacks(plan: Plan, without_vgg: bool, without_efficientnet: bool) -> tuple[str, ...]:
    notes: list[str] = []
    if not plan.perceptual:
        notes.append("smoke budget: no VGG-19 (it costs more than the network); " + WEIGHT_FREE)
    elif without_vgg:
        notes.append("VGG-19 weights not on disk: " + WEIGHT_FREE)
    if without_efficientnet:
        notes.append(
            "EfficientNet-B0 weights not on disk: the conditioning encoder starts from random weights with "
            "normalisation statistics measured on noise, and is trained on the micrographs alone"
        )
    return tuple(notes)
