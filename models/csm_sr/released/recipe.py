"""How CSM-SR's released code trains its generators, as it is: one stage, no game with the discriminator.

Facts: aaivu/CSM-SR at c89569b, ``train.py``, ``config`` and ``loss_functions``: Adam at 1e-4 for both
networks, times 0.96 every 100,000 updates; batches of one image; 200 epochs; loss weights linear in the epoch
and refreshed every fifth. The three stages of the text exist there as comments only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.csm_sr.recipe import PERCEPTUAL_LAYERS
from srbench.models.csm_sr.released.network import NETWORK, EfficientNetFeatures, ReleasedDiscriminator
from srbench.models.losses.adversarial import DISCRIMINATOR
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.losses.pixel import (
    colour_loss,
    gradient_loss,
    sobel,
    structural_similarity_loss,
    texture_loss,
)
from srbench.models.recipe import (
    Batch,
    Budget,
    LossInputs,
    LossTerm,
    Optimiser,
    Outputs,
    PixelLoss,
    Progress,
    Recipe,
    RecipeRequest,
    StageBudget,
    StepRate,
    plain_forward,
)
from srbench.utils.errors import ModelError

CAFFE_MEAN = (123.68, 116.779, 103.939)
"""Mean of red, green and blue that Keras takes off images in 0 to 255 before VGG-19."""

PATCH = 3
SUM_FLOOR = 1e-5
LOG_FLOOR = 1e-10
LENGTH_FLOOR = 1e-12


def red_green_second_order_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean square of the difference of the Sobel gradients of the Sobel gradients of red and of green.

    Args:
        sr: ``(N, 1 or 3, H, W)``, H and W at least 2. The authors' code fails on grey images; here grey
            stands for red, green and blue.
        hr: same shape.

    Returns:
        Scalar.

    Raises:
        ModelError: the shapes differ or have another number of channels.
    """
    if sr.shape != hr.shape or sr.ndim != 4 or sr.shape[1] not in (1, 3):
        raise ModelError(
            f"The second-order loss expects two (N, 1 or 3, H, W) batches of one shape, found "
            f"{tuple(sr.shape)} and {tuple(hr.shape)}."
        )
    red_and_green = (sr - hr).expand(-1, 3, -1, -1)[:, :2]
    return sobel(sobel(red_and_green)).square().mean()


def pixel_cosine_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """The released code's "contextual" loss.

    Every 3x3 patch, the border padded with zeros: cosine between the colours of its pixels, divided by the
    sum over each row of three, ``-log``, mean. It compares colours, not contexts: about log 3 for any images
    whose colours point the same way, -log 1e-10 at the padding, on grey images a constant without gradient.

    Args:
        sr: ``(N, C, H, W)``.
        hr: same shape.

    Returns:
        Scalar.
    """
    images, _, height, width = sr.shape
    cosine = (_colour_directions(sr) * _colour_directions(hr)).sum(dim=1)
    rows = cosine.view(images, PATCH, PATCH, height * width)
    share = rows / (rows.sum(dim=2, keepdim=True) + SUM_FLOOR)
    return -share.clamp(LOG_FLOOR, 1.0).log().mean()


def auxiliary_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """``0.5 * colour + 0.5 * texture + 0.25 * contextual``; arguments as :func:`pixel_cosine_loss`."""
    return 0.5 * colour_loss(sr, hr) + 0.5 * texture_loss(sr, hr) + 0.25 * pixel_cosine_loss(sr, hr)


def misused_adversarial_loss(first: Tensor, second: Tensor) -> Tensor:
    """``BCE(first, 1) + BCE(second, 0)`` on logits: right for (real, fake), and called otherwise below."""
    return F.softplus(-first).mean() + F.softplus(second).mean()


def released_generator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """``BCE(real, 1) + softplus(1) + BCE(fake, 1) + log 2``: usable, since the rest is constant."""
    ones, zeros = torch.ones_like(fake_logits), torch.zeros_like(fake_logits)
    return misused_adversarial_loss(real_logits, ones) + misused_adversarial_loss(fake_logits, zeros)


def released_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """``softplus(-1) + BCE(real, 0) + log 2 + BCE(fake, 0)``: lowest where every image is called fake."""
    ones, zeros = torch.ones_like(real_logits), torch.zeros_like(real_logits)
    return misused_adversarial_loss(ones, real_logits) + misused_adversarial_loss(zeros, fake_logits)


def adversarial_term(inputs: LossInputs) -> Tensor:
    """:func:`released_generator_loss` of a batch."""
    discriminator = inputs.discriminators[DISCRIMINATOR]
    with torch.no_grad():
        real = discriminator(inputs.hr)
    return released_generator_loss(real, discriminator(inputs.sr))


def discriminator_term(discriminator: nn.Module, inputs: LossInputs) -> Tensor:
    """:func:`released_discriminator_loss` of a batch."""
    return released_discriminator_loss(discriminator(inputs.hr), discriminator(inputs.sr))


def caffe_perceptual_loss(vgg19: Mapping[str, Tensor]) -> VGGContentLoss:
    """Mean over five layers of VGG-19 of the mean square of the difference of features.

    Images are prepared as Keras prepares them: 0 to 255, the mean of each colour taken off, no division by a
    deviation. Keras turns the colours around because its weights were trained so; these weights were not.

    Args:
        vgg19: torchvision's state dict.
    """
    share = 1 / len(PERCEPTUAL_LAYERS)
    loss = VGGContentLoss(vgg19, dict.fromkeys(PERCEPTUAL_LAYERS, share))
    loss.vgg.mean.copy_(torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1) / 255)
    loss.vgg.std.fill_(1 / 255)
    return loss


def _colour_directions(image: Tensor) -> Tensor:
    """``(N, C, 9, H*W)``: the pixels of each patch as vectors of unit length, zero at the padding."""
    images, channels, height, width = image.shape
    patches = F.unfold(image, PATCH, padding=PATCH // 2).view(images, channels, PATCH**2, height * width)
    square = patches.square().sum(dim=1, keepdim=True)
    return patches * square.clamp_min(LENGTH_FLOOR).rsqrt()


SOURCE = "CSM-SR's code, https://github.com/aaivu/CSM-SR at c89569b (train.py, config, loss_functions)"
EPOCHS = 200
REFRESH = 5
DECAY = 0.96
DECAY_EVERY = 100_000
ORACLE = "oracle"
UNCONDITIONED = "released_arch7"

WEIGHTS: Mapping[str, tuple[float, float]] = {
    "adversarial": (100.0, 80.0),
    "perceptual": (2.0, 1.5),
    "gradient": (400.0, 300.0),
    "second_order": (150.0, 100.0),
    "structure": (300.0, 300.0),
    "auxiliary": (550.0, 600.0),
}
"""Of each part of the loss, in the first epoch and where the line ends after the last."""

DEFECTS = (
    "as released, the discriminator is trained to call every image fake, real ones too: there is no game",
    "as released, the second-order loss sees red and green only (grey stands for all three colours, on which "
    "the released code fails) and the contextual loss compares colours of pixels: a constant on grey images",
)
DEPARTURES = (
    "crops in random order instead of whole images in a fixed one; at full length, 2,000 of 48x48 LR pixels "
    "are one of the 200 epochs, shorter budgets spread the epochs over what they have",
    "starts from random weights (Keras's defaults); the authors start from a generator they did not publish",
    "no half precision of the authors' kind (mixed float16 without loss scaling)",
)
LR_CONDITION = (
    "EfficientNet-B7 sees the LR image, enlarged by bicubic interpolation to four times its size; the "
    "authors feed the HR image (variant oracle)"
)
HR_CONDITION = "EfficientNet-B7 sees the HR image, at test time too, as in the released code: never ranked"
NORMALISED = (
    "EfficientNet-B7 sees images normalised as its weights expect; the authors feed [0, 1] to a network that "
    "expects 0 to 255"
)


_SHORT = StageBudget(3_000, 8, 32)
# 200 epochs: the authors' code selects the class "Fibres" (162 images, of which 60 % are 97) and shows whole
# images, 256x192 LR pixels; that is 414,000 times 48x48 LR pixels.
_PAPER = StageBudget(400_000, 1, 48)
_LIGHT: Mapping[Budget, StageBudget] = {"smoke": StageBudget(16, 2, 12), "short": _SHORT, "paper": _PAPER}
_HEAVY: Mapping[Budget, StageBudget] = {"smoke": StageBudget(6, 1, 12), "short": _SHORT, "paper": _PAPER}

RELEASED_BUDGETS: Mapping[str, Mapping[Budget, StageBudget]] = {
    "released": _HEAVY,
    "released_arch8": _LIGHT,
    "released_arch7": _LIGHT,
    ORACLE: _HEAVY,
}
"""Patches in LR pixels."""


@dataclass(frozen=True)
class EpochRamp:
    """A loss weight linear in the epoch, refreshed every few epochs.

    Attributes:
        start: in the first epoch.
        end: what the line reaches when all epochs are over.
        epochs: that the stage is divided into.
        refresh: epochs between changes.
    """

    start: float
    end: float
    epochs: int = EPOCHS
    refresh: int = REFRESH

    def __call__(self, progress: Progress) -> float:
        """The weight at this point of the stage."""
        epoch = min(progress.step * self.epochs // max(progress.total, 1), self.epochs)
        return self.start + (self.end - self.start) * (epoch - epoch % self.refresh) / self.epochs


def oracle_forward(network: nn.Module, batch: Batch) -> Outputs:
    """``sr = network(lr, hr)``: the network sees the answer."""
    return {"sr": network(batch.lr, batch.hr)}


def released_recipe(request: RecipeRequest) -> Recipe:
    """The released code's training, for the variants ``released*`` and ``oracle``."""
    budget = RELEASED_BUDGETS[request.variant][request.budget]
    vgg19 = request.pretrained("vgg19")
    efficientnet = None if request.variant == UNCONDITIONED else request.pretrained(NETWORK)
    stage = budget.stage(
        "released",
        *released_terms(vgg19),
        patch=budget.patch * request.scale,
        # Keras's Adam has another epsilon than torch's.
        optimiser=Optimiser(lr=1e-4, eps=1e-7),
        schedule=staircase(budget.iterations),
        forward=oracle_forward if request.variant == ORACLE else plain_forward,
    )
    return Recipe(
        stages=(stage.against(partial(ReleasedDiscriminator, request.channels), discriminator_term),),
        source=SOURCE,
        notes=_notes(request, vgg19 is None, efficientnet is None),
        initialise=None if efficientnet is None else partial(_initialise, state=efficientnet),
    )


def released_terms(vgg19: Mapping[str, Tensor] | None) -> tuple[LossTerm, ...]:
    """The generator's loss; without VGG-19's weights it has no perceptual part."""
    losses: dict[str, Callable[[LossInputs], Tensor]] = {
        "adversarial": adversarial_term,
        "gradient": PixelLoss(gradient_loss),
        "second_order": PixelLoss(red_green_second_order_loss),
        "structure": PixelLoss(structural_similarity_loss),
        "auxiliary": PixelLoss(auxiliary_loss),
    }
    if vgg19 is not None:
        losses["perceptual"] = caffe_perceptual_loss(vgg19)
    return tuple(LossTerm(name, loss, EpochRamp(*WEIGHTS[name])) for name, loss in losses.items())


def staircase(iterations: int) -> StepRate:
    """Times 0.96 after every 100,000 updates of so many."""
    return StepRate(tuple(step / iterations for step in range(DECAY_EVERY, iterations, DECAY_EVERY)), DECAY)


def _initialise(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    cast(EfficientNetFeatures, network.encoder).load_imagenet(state)


def _notes(request: RecipeRequest, without_vgg: bool, without_efficientnet: bool) -> tuple[str, ...]:
    notes = [*DEFECTS, *DEPARTURES]
    if request.variant != UNCONDITIONED:
        notes += [HR_CONDITION if request.variant == ORACLE else LR_CONDITION, NORMALISED]
        if without_efficientnet:
            notes.append(
                "EfficientNet-B7 weights not on disk: the condition comes from a frozen random network, the "
                "same for everybody, with normalisation statistics measured on noise"
            )
    if without_vgg:
        notes.append("VGG-19 weights not on disk: no perceptual loss")
    if request.scale != 4:
        notes.append(f"the released graph is x4; for x{request.scale} its last steps are repeated or dropped")
    return tuple(notes)
