"""The relativistic average adversarial game: which of the two is more real than the other on average?

Jolicoeur-Martineau 2018, "The relativistic discriminator: a key element missing from standard GAN", arXiv
1807.00734, as ESRGAN (arXiv 1809.00219, section 3.2) uses it. Both players look at real and super-resolved
images; the two halves of each loss are averaged, as in the released code of ESRGAN and SPSR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.recipe import LossInputs

View = Callable[[Tensor], Tensor]
"""What a critic is shown of an image."""


def relativistic_critic_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """``(BCE(C(hr) - mean C(sr), 1) + BCE(C(sr) - mean C(hr), 0)) / 2``.

    Args:
        real_logits: the critic's logits for HR images, any shape; the mean is over all of them.
        fake_logits: its logits for super-resolved images.

    Returns:
        Scalar, at least 0; log 2 when the critic is undecided.

    Source:
        arXiv 1809.00219, eq. 1, halved.
    """
    return 0.5 * _cross_entropies(real_logits, fake_logits)


def relativistic_generator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """``(BCE(C(hr) - mean C(sr), 0) + BCE(C(sr) - mean C(hr), 1)) / 2``: the critic's loss, sides swapped.

    Arguments and result as of :func:`relativistic_critic_loss`. Gradients flow into both arguments; detach
    the real logits where the generator cannot move them.

    Source:
        arXiv 1809.00219, eq. 2, halved.
    """
    return 0.5 * _cross_entropies(fake_logits, real_logits)


@dataclass(frozen=True)
class RelativisticGenerator:
    """:func:`relativistic_generator_loss` as the loss of a recipe's term.

    Attributes:
        critic: name of the critic.
        view: what it is shown of an image; None for the image itself.
    """

    critic: str
    view: View | None = None

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The loss of one batch, a scalar."""
        critic = inputs.critics[self.critic]
        with torch.no_grad():
            real: Tensor = critic(_seen(inputs.hr, self.view))
        return relativistic_generator_loss(real, critic(_seen(inputs.sr, self.view)))


@dataclass(frozen=True)
class RelativisticCritic:
    """:func:`relativistic_critic_loss` as the loss of a recipe's critic; ``view`` as of the generator's."""

    view: View | None = None

    def __call__(self, critic: nn.Module, inputs: LossInputs) -> Tensor:
        """The loss of one batch, a scalar."""
        real, fake = critic(_seen(inputs.hr, self.view)), critic(_seen(inputs.sr, self.view))
        return relativistic_critic_loss(real, fake)


def _seen(image: Tensor, view: View | None) -> Tensor:
    return image if view is None else view(image)


def _cross_entropies(above: Tensor, below: Tensor) -> Tensor:
    """Cost of ``above`` not being above the mean of ``below``, and the other way round."""
    higher = F.softplus(below.mean() - above).mean()
    return higher + F.softplus(below - above.mean()).mean()
