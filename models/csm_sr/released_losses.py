"""The losses of CSM-SR's released code, mistakes included: what ``released*`` and ``oracle`` train with.

Facts: aaivu/CSM-SR at c89569b, ``CSM-SR/loss_functions``. All images are in [0, 1]. Where the released code
computes what the text names, the function of ``losses`` is used; this file has the rest:

* second order: the colour axis is taken for the axis of directions, so that red and green count alone;
* contextual: no features, no best match, a softmax that was never one; on grey images a constant;
* adversarial: a function of (real logits, fake logits) is called with labels for logits, so that the
  discriminator learns to call every image fake.

``objective`` has the losses as the text means them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.csm_sr.objective import DISCRIMINATOR, PERCEPTUAL_LAYERS
from srbench.models.interface import ModelError
from srbench.models.losses.gradient import sobel, texture_loss
from srbench.models.losses.perceptual import VGGContentLoss
from srbench.models.losses.structure import colour_loss
from srbench.models.recipe import LossInputs

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


def released_critic_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """``softplus(-1) + BCE(real, 0) + log 2 + BCE(fake, 0)``: lowest where every image is called fake."""
    ones, zeros = torch.ones_like(real_logits), torch.zeros_like(real_logits)
    return misused_adversarial_loss(ones, real_logits) + misused_adversarial_loss(zeros, fake_logits)


def adversarial_term(inputs: LossInputs) -> Tensor:
    """:func:`released_generator_loss` of a batch."""
    critic = inputs.critics[DISCRIMINATOR]
    with torch.no_grad():
        real = critic(inputs.hr)
    return released_generator_loss(real, critic(inputs.sr))


def critic_term(critic: nn.Module, inputs: LossInputs) -> Tensor:
    """:func:`released_critic_loss` of a batch."""
    return released_critic_loss(critic(inputs.hr), critic(inputs.sr))


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
