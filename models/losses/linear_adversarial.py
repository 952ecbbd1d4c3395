"""The adversarial game played on probabilities without logarithms, as the ports of SRGAN play it.

The critic gives probabilities (a sigmoid is its last layer) and both sides pay linearly for what they miss.
Unlike with cross entropy (``adversarial``), the gradient fades where the critic is certain.
"""

from __future__ import annotations

from torch import Tensor, nn

from srbench.models.recipe import LossInputs

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
