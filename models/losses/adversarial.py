"""The adversarial game in its plain form: binary cross entropy on logits.

Goodfellow et al. (2014), "Generative adversarial nets", with the non-saturating generator loss that every
super-resolution GAN uses. A critic may give one logit tensor (one score an image, or a map of patch scores)
or a sequence of them (one a resolution, as a multi-scale PatchGAN); resolutions count equally, so that a
loss weight means the same for any number of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

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
