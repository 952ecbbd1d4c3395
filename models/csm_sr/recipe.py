"""How CSM-SR is trained: encoder, then generator, then both against the discriminator.

The text (project page) gives three stages in epochs of a number of images it does not state: encoder 20 to 25
(gradient and contextual losses), generator 25 (Semantic Structural Loss, SSL), joint 75 to 100 (SSL and
adversarial). What it leaves open is chosen beside each line below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from torch import Tensor, nn

from srbench.models.csm_sr.discriminator import MultiScaleDiscriminator
from srbench.models.csm_sr.encoder import ARCHITECTURE, ConditioningEncoder, load_pretrained
from srbench.models.csm_sr.network import CSMSR, gradient_forward, gradient_image_loss
from srbench.models.losses.adversarial import discriminator_loss, generator_loss
from srbench.models.losses.perceptual import (
    POSITIONS,
    VGGContentLoss,
    VGGContextualLoss,
    patch_contextual_loss,
)
from srbench.models.losses.pixel import (
    colour_loss,
    gradient_loss,
    second_order_gradient_loss,
    structural_similarity_loss,
    texture_loss,
)
from srbench.models.recipe import (
    Batch,
    Budget,
    ConstantRate,
    CosineRate,
    LearningRate,
    LossInputs,
    LossTerm,
    Outputs,
    PixelLoss,
    Progress,
    Recipe,
    RecipeRequest,
    StageBudget,
    StepRate,
    Weight,
)

TARGET_PSNR = 37.982
"""What the authors report for their SEM set, in dB."""

FLOOR_PSNR = 26.979
"""What the same table reports for its weakest network (VDSR), in dB: a network below this has not begun."""


@dataclass(frozen=True)
class MetricFeedback:
    """A weight going from ``start`` to ``end`` as a validation metric goes from ``floor`` to ``target``.

    The text gives ``lambda = f(metric_current, metric_target)`` and neither f, nor the metric, nor the
    target; the released code moves its weights linearly with the epoch.

    ``lambda = start + (end - start) * max(attained, elapsed)``, with ``attained`` the share of the way to
    the target that the metric has come and ``elapsed`` the share of the stage that is over, both within 0
    and 1. A network that is good early moves on early. The linear ramp is what remains before the first
    validation, and on data whose noise puts the target out of reach: there, the metric alone would never
    let the game begin.

    Attributes:
        start: weight at the floor.
        end: weight at the target, and at the end of the stage.
        metric: its key in ``Progress.metrics``; higher is better.
        floor: value counted as nothing attained.
        target: value counted as all attained.
    """

    start: float
    end: float
    metric: str = "psnr"
    floor: float = FLOOR_PSNR
    target: float = TARGET_PSNR

    def __call__(self, progress: Progress) -> float:
        """The weight at this point of the stage."""
        share = max(self.attained(progress), progress.fraction)
        return self.start + (self.end - self.start) * share

    def attained(self, progress: Progress) -> float:
        """Share of the way from floor to target, 0 to 1; 0 when the metric is not (yet) known."""
        current = progress.metrics.get(self.metric, math.nan)
        if math.isnan(current):
            return 0.0
        return min(max((current - self.floor) / (self.target - self.floor), 0.0), 1.0)


TermLoss = Callable[[LossInputs], Tensor]

EARLY: Mapping[str, float] = {
    "perceptual": 0.1,
    "contextual": 0.02,
    "gradient": 1.33,
    "second_order": 0.5 / 64,
    "similarity": 1.0,
    "texture": 0.92,
    "colour": 0.92,
}
"""Weights of the SSL in the second stage and at the start of the third.

The text gives none. The released code's, divided by that of its SSIM term, but:

* *second order*: divided by 64, the square of what a second Sobel operator multiplies a derivative by, to
  have it in the unit of the gradient term. Undivided its gradient is three to four times that of the SSIM
  term (measured on bicubic x4 images of micrographs, as is the next), more than all others together.
* *contextual*: the released term has no gradient on grey images, so its weight says nothing. 0.02 gives a
  real contextual loss on patches a quarter to a half of the SSIM term's gradient.
* *perceptual*: the released features are those of images in 0 to 255, whose squares are not comparable. This
  weight lets the term begin in the range of the SSIM term.
"""

LATE: Mapping[str, float] = {
    "perceptual": 0.075,
    "contextual": 0.022,
    "gradient": 1.0,
    "second_order": 0.33 / 64,
    "similarity": 1.0,
    "texture": 1.0,
    "colour": 1.0,
}
"""Weights of the SSL at the end of the third stage: the released code's change of each."""

ADVERSARIAL = (0.0, 0.05)
"""Weight of the adversarial term at the start and at the end of the third stage.

The released weight falls with time (0.33 to 0.27), against the text's "adversarial later", and belongs to a
discriminator trained to call every image false. With 0.27 the small network lost 0.5 dB on held-out
micrographs at x8 in a last stage of 60 steps; invented structure is what this network is meant to avoid.
"""

PERCEPTUAL_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
"""The released code's five VGG-19 taps."""


def structural_losses(vgg19: Mapping[str, Tensor] | None, positions: int = POSITIONS) -> dict[str, TermLoss]:
    """The parts of the SSL by name.

    Args:
        vgg19: torchvision's VGG-19 state dict. Without it there is no perceptual part, and the contextual
            part compares image patches instead of features.
        positions: patches it compares in an image, at most.
    """
    losses: dict[str, TermLoss] = {
        "gradient": PixelLoss(gradient_loss),
        "second_order": PixelLoss(second_order_gradient_loss),
        "similarity": PixelLoss(structural_similarity_loss),
        "texture": PixelLoss(texture_loss),
        "colour": PixelLoss(colour_loss),
    }
    if vgg19 is None:
        return {"contextual": PixelLoss(partial(patch_contextual_loss, positions=positions)), **losses}
    share = 1 / len(PERCEPTUAL_LAYERS)
    perceptual = VGGContentLoss(vgg19, dict.fromkeys(PERCEPTUAL_LAYERS, share))
    return {"perceptual": perceptual, "contextual": VGGContextualLoss(vgg19), **losses}


def structural_terms(losses: Mapping[str, TermLoss], weight: Callable[[str], Weight]) -> tuple[LossTerm, ...]:
    """The SSL as terms of a stage; ``weight`` gives the weight of a part by its name."""
    return tuple(LossTerm(name, loss, weight(name)) for name, loss in losses.items())


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
    "LR size, trained by the difference of gradient maps without SPSR's second discriminator"
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
class CSMSRBudget:
    """What a variant and a budget change.

    Attributes:
        stages: encoder, generator, joint; patches in LR pixels.
        schedules: their learning rate schedules.
        perceptual: whether VGG-19 is used where its weights are at hand.
        positions: patches in an image that the contextual loss compares where it compares patches.
    """

    stages: tuple[StageBudget, StageBudget, StageBudget]
    schedules: tuple[LearningRate, LearningRate, LearningRate] = (
        CosineRate(0.1),
        CosineRate(0.1),
        CosineRate(0.01),
    )
    perceptual: bool = True
    positions: int = POSITIONS


# The text's proportion 1 : 1 : 4, an epoch counted as 2,000 iterations of 16 crops: 300,000 iterations, as
# the networks it is compared with. The released code trains on whole images one at a time, with Adam at 1e-4,
# times 0.96 every 100,000 iterations; shorter budgets use a larger rate with cosine decay.
_PAPER = CSMSRBudget(
    (
        StageBudget(50_000, 16, 48, ema=0.999),
        StageBudget(50_000, 16, 48, ema=0.999),
        StageBudget(200_000, 16, 48, ema=0.999),
    ),
    (ConstantRate(), ConstantRate(), StepRate((0.5,), 0.96)),
)
_SHORT = CSMSRBudget(
    (
        StageBudget(3_000, 16, 48, 2e-4, 0.999),
        StageBudget(3_000, 16, 48, 4e-4, 0.999),
        StageBudget(12_000, 16, 48, 2e-4, 0.999),
    )
)


def _smoke(batch: int, patch: int, *stages: tuple[int, float]) -> CSMSRBudget:
    encoder, generator, joint = (StageBudget(count, batch, patch, lr) for count, lr in stages)
    return CSMSRBudget((encoder, generator, joint), perceptual=False, positions=256)


BUDGETS: Mapping[str, Mapping[Budget, CSMSRBudget]] = {
    "published": {
        "smoke": _smoke(2, 24, (8, 5e-4), (48, 1e-3), (16, 5e-4)),
        "short": _SHORT,
        "paper": _PAPER,
    },
    GRADIENT_BRANCH: {
        "smoke": _smoke(2, 24, (6, 5e-4), (32, 1e-3), (10, 5e-4)),
        "short": _SHORT,
        "paper": _PAPER,
    },
    "tiny": {"smoke": _smoke(8, 16, (30, 1e-3), (120, 2e-3), (60, 5e-4)), "short": _SHORT, "paper": _PAPER},
}

DISCRIMINATORS: Mapping[str, Mapping[str, int]] = {
    "published": {"features": 64, "strides": 3},
    GRADIENT_BRANCH: {"features": 64, "strides": 3},
    "tiny": {"features": 16, "strides": 2},
}


def preview_forward(network: nn.Module, batch: Batch) -> Outputs:
    """The forward pass of stage 1, whose losses compare images, where the encoder gives features.

    They are compared through a head of one sub-pixel convolution on the bicubic image, which is used in no
    other stage and not at inference.
    """
    return {"sr": cast(CSMSR, network).preview(batch.lr)}


def csm_sr_recipe(request: RecipeRequest) -> Recipe:
    """The three stages within a budget, with or without pretrained VGG-19 and EfficientNet-B0."""
    budget = BUDGETS[request.variant][request.budget]
    vgg19 = request.pretrained("vgg19") if budget.perceptual else None
    efficientnet = request.pretrained(ARCHITECTURE)
    losses = structural_losses(vgg19, budget.positions)
    guided = request.variant == GRADIENT_BRANCH
    encoder, generator, joint = (
        partial(stage.stage, patch=stage.patch * request.scale, schedule=schedule)
        for stage, schedule in zip(budget.stages, budget.schedules, strict=True)
    )
    pretraining = {name: losses[name] for name in ("gradient", "contextual")}
    stages = [
        # With the encoder fixed, so that a still random generator does not drag it along.
        generator("generator", *structural_terms(losses, EARLY.__getitem__), trainable=GENERATOR),
        joint(
            "joint",
            *structural_terms(losses, lambda name: MetricFeedback(EARLY[name], LATE[name])),
            LossTerm("adversarial", generator_loss, MetricFeedback(*ADVERSARIAL)),
            trainable=ENCODER + GENERATOR,
        ).against(
            partial(MultiScaleDiscriminator, request.channels, **DISCRIMINATORS[request.variant]),
            discriminator_loss,
        ),
    ]
    if guided:
        # The gradient branch learns to draw its own image beside.
        term = LossTerm(GRADIENT_BRANCH, gradient_image_loss, GRADIENT_WEIGHT)
        stages = [
            replace(
                stage,
                forward=gradient_forward,
                terms=(*stage.terms, term),
                trainable=stage.trainable + GRADIENT_PARTS,
            )
            for stage in stages
        ]
    first = encoder(
        "encoder",
        *structural_terms(pretraining, EARLY.__getitem__),
        trainable=ENCODER + PREVIEW,
        forward=preview_forward,
    )
    return Recipe(
        stages=(first, *stages),
        source=SOURCE,
        notes=(
            *CHOICES,
            *((GUIDED,) if guided else ()),
            *_fallbacks(budget, vgg19 is None, efficientnet is None),
        ),
        initialise=None if efficientnet is None else partial(_initialise, state=efficientnet),
    )


def _initialise(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    load_pretrained(cast(ConditioningEncoder, network.encoder), state)


def _fallbacks(budget: CSMSRBudget, without_vgg: bool, without_efficientnet: bool) -> tuple[str, ...]:
    notes: list[str] = []
    if not budget.perceptual:
        notes.append("smoke budget: no VGG-19 (it costs more than the network); " + WEIGHT_FREE)
    elif without_vgg:
        notes.append("VGG-19 weights not on disk: " + WEIGHT_FREE)
    if without_efficientnet:
        notes.append(
            "EfficientNet-B0 weights not on disk: the conditioning encoder starts from random weights with "
            "normalisation statistics measured on noise, and is trained on the micrographs alone"
        )
    return tuple(notes)
