"""The adversarial game in its plain form: binary cross entropy on logits.

Goodfellow et al. (2014), "Generative adversarial nets", with the non-saturating generator loss that every
super-resolution GAN uses. A critic may give one logit tensor (one score an image, or a map of patch scores)
or a sequence of them (one a resolution, as a multi-scale PatchGAN); resolutions count equally, so that a
loss weight means the same for any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.recipe import LossInputs

Logits = Tensor | Sequence[Tensor]


def generator_loss(fake_logits: Logits) -> Tensor:
    """``mean(-log D(sr))``: what the generator pays for being recognised.

    Args:
        fake_logits: the critic's logits for super-resolved images, any shape, or a sequence of them.

    Returns:
        Scalar, at least 0; log 2 when the critic is undecided.

    Source:
        SRGAN (arXiv 1609.04802), eq. 6, as a mean instead of a sum over the batch.
    """
    return _mean_over_scales([_cross_entropy(logits, real=True) for logits in _as_scales(fake_logits)])


def critic_loss(real_logits: Logits, fake_logits: Logits) -> Tensor:
    """``mean(-log D(hr)) + mean(-log(1 - D(sr)))``: what the critic pays for its mistakes.

    Args:
        real_logits: the critic's logits for HR images, any shape, or a sequence of them.
        fake_logits: its logits for super-resolved images, in the same form.

    Returns:
        Scalar, at least 0; 2 log 2 when the critic is undecided.

    Source:
        SRGAN (arXiv 1609.04802), eq. 2.
    """
    real = [_cross_entropy(logits, real=True) for logits in _as_scales(real_logits)]
    fake = [_cross_entropy(logits, real=False) for logits in _as_scales(fake_logits)]
    return _mean_over_scales(real) + _mean_over_scales(fake)


def _cross_entropy(logits: Tensor, *, real: bool) -> Tensor:
    return F.softplus(-logits if real else logits).mean()


def _as_scales(logits: Logits) -> Sequence[Tensor]:
    return (logits,) if isinstance(logits, Tensor) else logits


def _mean_over_scales(losses: list[Tensor]) -> Tensor:
    return torch.stack(losses).mean()


# The adversarial game played on probabilities without logarithms, as the ports of SRGAN play it.
#
# The critic gives probabilities (a sigmoid is its last layer) and both sides pay linearly for what they miss.
# Unlike with cross entropy (``adversarial``), the gradient fades where the critic is certain.

CRITIC = "critic"
"""Key of the critic in ``LossInputs.critics``."""


def linear_generator_loss(fake: Tensor) -> Tensor:
    """``mean(1 - D(sr))``.

    Args:
        fake: the critic's probabilities that super-resolved images are real, any shape.

    Returns:
        Scalar in [0, 1].

    Source:
        leftthomas/SRGAN@7ddfdf2 loss.py; Koushik0901/Swift-SRGAN@cd2414f swift-srgan/loss.py.
    """
    return 1 - fake.mean()


def linear_critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """``1 - mean D(hr) + mean D(sr)``.

    Args:
        real: the critic's probabilities for HR images, any shape.
        fake: its probabilities for super-resolved images.

    Returns:
        Scalar in [0, 2]; 1 for a critic that cannot tell.

    Source:
        The same repositories, train.py.
    """
    return 1 - real.mean() + fake.mean()


def fool_the_critic(inputs: LossInputs) -> Tensor:
    """The generator's loss against the critic of this name, as the loss of a term."""
    return linear_generator_loss(inputs.critics[CRITIC](inputs.sr))


def tell_apart(critic: nn.Module, inputs: LossInputs) -> Tensor:
    """The loss of that critic."""
    return linear_critic_loss(critic(inputs.hr), critic(inputs.sr))


# The relativistic average adversarial game: which of the two is more real than the other on average?
#
# Jolicoeur-Martineau 2018, "The relativistic discriminator: a key element missing from standard GAN", arXiv
# 1807.00734, as ESRGAN (arXiv 1809.00219, section 3.2) uses it. Both players look at real and super-resolved
# images; the two halves of each loss are averaged, as in the released code of ESRGAN and SPSR.

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
