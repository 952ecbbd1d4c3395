"""The adversarial games: cross entropy, its linear form on probabilities, and the relativistic average one.

Goodfellow et al. (2014), "Generative adversarial nets", with the non-saturating generator loss that every
super-resolution GAN uses. A game is a pair: ``*generator_loss`` is the loss of a recipe's term,
``*discriminator_loss`` that of its :class:`~srbench.models.recipe.DiscriminatorSpec`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.recipe import LossInputs

DISCRIMINATOR = "discriminator"
"""Key in ``LossInputs.discriminators`` where a recipe has one discriminator."""


def cross_entropy(logits: Tensor | Sequence[Tensor], *, real: bool) -> Tensor:
    """Mean of ``-log D`` for images said to be real, of ``-log(1 - D)`` for the others.

    Args:
        logits: of any shape, or one such tensor a resolution (a multi-scale PatchGAN); resolutions count
            equally, so that a loss weight means the same for any number of them.
        real: what the logits should say.

    Returns:
        Scalar, at least 0; log 2 when the discriminator is undecided.
    """
    scales = (logits,) if isinstance(logits, Tensor) else logits
    return torch.stack([F.softplus(-scale if real else scale).mean() for scale in scales]).mean()


def generator_loss(inputs: LossInputs) -> Tensor:
    """``mean(-log D(sr))`` (SRGAN, arXiv 1609.04802, eq. 6, as a mean instead of a sum over the batch)."""
    return cross_entropy(inputs.discriminators[DISCRIMINATOR](inputs.sr), real=True)


def discriminator_loss(discriminator: nn.Module, inputs: LossInputs) -> Tensor:
    """``mean(-log D(hr)) + mean(-log(1 - D(sr)))`` (SRGAN, arXiv 1609.04802, eq. 2)."""
    real = cross_entropy(discriminator(inputs.hr), real=True)
    return real + cross_entropy(discriminator(inputs.sr), real=False)


def linear_generator_loss(inputs: LossInputs) -> Tensor:
    """``mean(1 - D(sr))``, in [0, 1], for a discriminator that gives probabilities.

    Unlike with cross entropy, the gradient fades where the discriminator is certain.

    Source:
        leftthomas/SRGAN@7ddfdf2 loss.py; Koushik0901/Swift-SRGAN@cd2414f swift-srgan/loss.py.
    """
    fake: Tensor = inputs.discriminators[DISCRIMINATOR](inputs.sr)
    return 1 - fake.mean()


def linear_discriminator_loss(discriminator: nn.Module, inputs: LossInputs) -> Tensor:
    """``1 - mean D(hr) + mean D(sr)``, in [0, 2]; 1 where it is undecided. Source: the same, train.py."""
    real: Tensor = discriminator(inputs.hr)
    fake: Tensor = discriminator(inputs.sr)
    return 1 - real.mean() + fake.mean()


View = Callable[[Tensor], Tensor]
"""What a discriminator is shown of an image."""


def relativistic_discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """``(BCE(C(hr) - mean C(sr), 1) + BCE(C(sr) - mean C(hr), 0)) / 2``.

    Which of two images is more real than the other on average? (Jolicoeur-Martineau 2018, arXiv 1807.00734.)
    The two halves are averaged, as in the released code of ESRGAN and SPSR.

    Args:
        real_logits: the discriminator's logits for HR images, any shape; the mean is over all of them.
        fake_logits: its logits for super-resolved images.

    Returns:
        Scalar, at least 0; log 2 when the discriminator is undecided.

    Source:
        ESRGAN (arXiv 1809.00219), eq. 1, halved.
    """
    higher = F.softplus(fake_logits.mean() - real_logits).mean()
    return 0.5 * (higher + F.softplus(fake_logits - real_logits.mean()).mean())


@dataclass(frozen=True)
class RelativisticGenerator:
    """:func:`relativistic_discriminator_loss` with the sides swapped, as the loss of a term (eq. 2).

    Attributes:
        discriminator: its name.
        view: what it is shown of an image; None for the image itself.
    """

    discriminator: str
    view: View | None = None

    def __call__(self, inputs: LossInputs) -> Tensor:
        discriminator = inputs.discriminators[self.discriminator]
        with torch.no_grad():
            real: Tensor = discriminator(_shown(inputs.hr, self.view))
        return relativistic_discriminator_loss(discriminator(_shown(inputs.sr, self.view)), real)


@dataclass(frozen=True)
class RelativisticDiscriminator:
    """:func:`relativistic_discriminator_loss` of a batch; ``view`` as of :class:`RelativisticGenerator`."""

    view: View | None = None

    def __call__(self, discriminator: nn.Module, inputs: LossInputs) -> Tensor:
        real = discriminator(_shown(inputs.hr, self.view))
        return relativistic_discriminator_loss(real, discriminator(_shown(inputs.sr, self.view)))


def _shown(image: Tensor, view: View | None) -> Tensor:
    return image if view is None else view(image)
