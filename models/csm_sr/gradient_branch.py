"""CSM-SR with a branch for the gradients of the image, beside the one for its brightness.

The idea is SPSR's (arXiv 2003.13081, section 3.2): a second branch starts from the gradient map of the LR
image, takes in the features of the main branch as they develop, learns to draw the gradient map of the HR
image, and its features guide the main branch's reconstruction. What is different here, and why:

* *Map*: Sobel derivatives down and right (``losses.gradient``), signed, instead of their magnitude. The sign
  tells the bright side of an edge from the dark one, and there is no root to differentiate at zero.
* *Exchange*: after each RRDB of the LR-size branch, 64 and 64 channels become 64 by a convolution before the
  RRDB of the gradient branch; SPSR's runs at 128.
* *Fusion* at LR size, before the upsampling, instead of at HR size after it: SPSR spends most of its 3,018 G
  multiply-adds there. What the gradient branch has found is added to the fused features through a convolution
  that starts at zero, so that the network starts as ``published`` does.
* *Gradient image*: its reconstruction adds to the gradient of the bicubic image. It is computed in training
  only.

All of it is local: the network's ``receptive_radius`` is finite and tiles equal the whole image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.csm_sr.blocks import RRDB, keep_variance, kernel_radius
from srbench.models.csm_sr.generator import CSMSR, GeneratorSize, Reconstruction
from srbench.models.interface import pad_to_multiple
from srbench.models.layers import set_zero
from srbench.models.losses.gradient import sobel
from srbench.models.recipe import Batch, LossInputs, Outputs

SLOPE_UNIT = 8.0
"""Sobel derivative of a ramp that rises by one a pixel."""

GRADIENT = "gradient_sr"
"""Key of the gradient image in the outputs of a training forward pass."""


def sobel_map(image: Tensor) -> Tensor:
    """Sobel derivatives of each channel, down then right: ``(N, C, H, W)`` to ``(N, 2C, H, W)``."""
    return sobel(image).flatten(1, 2)


class GradientBranch(nn.Module):
    """Features of the gradient map, fed by those of the main branch.

    Args:
        channels: image channels.
        size: widths and depths of the main branch; this one has as many RRDBs.
    """

    def __init__(self, channels: int, size: GeneratorSize) -> None:
        super().__init__()
        self.first = nn.Conv2d(2 * channels, size.features, 3, padding=1)
        self.exchange = nn.ModuleList(
            nn.Conv2d(2 * size.features, size.features, 3, padding=1) for _ in range(size.depth)
        )
        self.blocks = nn.ModuleList(
            RRDB(size.features, size.growth, size.blocks, size.layers) for _ in range(size.depth)
        )
        keep_variance(self.first, self.exchange)

    def forward(self, gradient: Tensor, snapshots: Sequence[Tensor]) -> Tensor:
        """Gradient map ``(N, 2C, H, W)`` and the main branch's features after each RRDB, to features."""
        start: Tensor = self.first(gradient / SLOPE_UNIT)
        x = start
        for exchange, block, snapshot in zip(self.exchange, self.blocks, snapshots, strict=True):
            x = block(exchange(torch.cat((x, snapshot), dim=1)))
        return x + start

    def reach(self, shallow: int) -> int:
        """LR pixels to each side, where the main branch's first features look ``shallow`` pixels far."""
        radius, main = 2, shallow
        for block in self.blocks:
            main += kernel_radius(block)
            radius = max(radius, main) + 1 + kernel_radius(block)
        return radius


class GradientGuidedCSMSR(CSMSR):
    """The generator with a gradient branch.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels.
        size: widths and depths.
    """

    def __init__(self, scale: int, channels: int, size: GeneratorSize) -> None:
        super().__init__(scale, channels, size)
        self.gradient_branch = GradientBranch(channels, size)
        self.join = nn.Conv2d(2 * size.features, size.features, 3, padding=1)
        self.gradient_reconstruction = Reconstruction(size.features, 2 * channels, scale)
        set_zero(self.join)
        at_lr = self.receptive_radius - self.reconstruction.receptive_radius
        joined = max(at_lr, self.gradient_branch.reach(1)) + 1
        self.receptive_radius = joined + self.reconstruction.receptive_radius

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)``; any H and W (padded inside)."""
        guided, _ = self._features(lr)
        return self._on_bicubic(lr, self.reconstruction(guided))

    def with_gradient(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """The SR image and what the gradient branch takes for its gradient map.

        Args:
            lr: ``(N, C, H, W)`` in [0, 1].

        Returns:
            ``(N, C, scale*H, scale*W)`` as :meth:`forward` gives it, and ``(N, 2C, scale*H, scale*W)`` in the
            unit of :func:`sobel_map`.
        """
        guided, guidance = self._features(lr)
        start = sobel_map(cast(Tensor, self.bicubic(lr)))
        correction = self.gradient_reconstruction(guidance)
        gradient = start + correction[..., : start.shape[-2], : start.shape[-1]]
        return self._on_bicubic(lr, self.reconstruction(guided)), gradient

    def _features(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """Fused features with the guidance in them, and the guidance."""
        padded = pad_to_multiple(lr, self.size_multiple)
        multi_scale, snapshots = self.branches.with_snapshots(self.shallow(padded))
        fused = self.fusion(multi_scale, self.encoder(padded))
        guidance: Tensor = self.gradient_branch(sobel_map(padded), snapshots)
        guided: Tensor = fused + self.join(torch.cat((fused, guidance), dim=1))
        return guided, guidance


class Guided(Protocol):
    """A network that draws the gradient map beside the image."""

    def with_gradient(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """LR to SR and its gradient map."""


def gradient_forward(network: nn.Module, batch: Batch) -> Outputs:
    """The training forward pass: ``sr`` and ``gradient_sr``."""
    sr, gradient = cast(Guided, network).with_gradient(batch.lr)
    return {"sr": sr, GRADIENT: gradient}


def gradient_image_loss(inputs: LossInputs) -> Tensor:
    """Mean absolute difference of the gradient image and the gradient map of HR (SPSR, eq. 10)."""
    return F.l1_loss(inputs.outputs[GRADIENT], sobel_map(inputs.hr))
