"""CSM-SR's objective: the Semantic Structural Loss (SSL) as weighted terms, and the adversarial term.

The text names the parts of the SSL and gives no weights. The released code has weights, early and late in the
training; divided by that of its SSIM term they are the ones below, with these exceptions:

* *second order*: divided by 64, the square of what a second Sobel operator multiplies a derivative by, to
  have it in the unit of the gradient term. Undivided it outweighs all others together: its gradient is three
  to four times that of the SSIM term (measured on bicubic x4 images of micrographs, as is the next).
* *contextual*: the released term has no gradient on grey images, so its weight says nothing. 0.02 gives a
  real contextual loss on patches a quarter to a half of the SSIM term's gradient.
* *perceptual*: the released features are those of images on a scale of 0 to 255, and their squares are not
  comparable. Here features are torchvision's, and the weight is meant to let the term begin in the range of
  the SSIM term.
* *adversarial*: the released weight falls with time (0.33 to 0.27), against the text's "adversarial later",
  and belongs to a critic trained to call every image false. Here it rises from nothing to 0.05. With 0.27 the
  small network lost 0.5 dB on held-out micrographs at x8 in a last stage of 60 steps; invented structure is
  what this network is meant to avoid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from srbench.models.losses.adversarial import critic_loss, generator_loss
from srbench.models.losses.contextual import POSITIONS, VGGContextualLoss, patch_contextual_loss
from srbench.models.losses.gradient import gradient_loss, second_order_gradient_loss, texture_loss
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.losses.structure import colour_loss, structural_similarity_loss
from srbench.models.recipe import LossInputs, LossTerm, PixelLoss, Weight

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
"""Weights of the SSL in the second stage and at the start of the third."""

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
"""Weight of the adversarial term at the start and at the end of the third stage."""

DISCRIMINATOR = "discriminator"

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


def adversarial_loss(inputs: LossInputs) -> Tensor:
    """What the generator pays for being recognised, the mean over the critic's resolutions."""
    return generator_loss(inputs.critics[DISCRIMINATOR](inputs.sr))


def discriminator_loss(critic: nn.Module, inputs: LossInputs) -> Tensor:
    """What the critic pays for its mistakes: real images towards 1, super-resolved ones towards 0."""
    return critic_loss(critic(inputs.hr), critic(inputs.sr))
