"""CSM-SR's generator: shallow features, three branches at three resolutions, fusion, reconstruction.

``F0 = H_SF(lr)``; ``F_MS = merge(same_size(F0), half_size(F0), double_size(F0))``; ``F_ENC = FCEN(lr)``;
``F = alpha F_MS + beta F_ENC``; ``sr = bicubic(lr) + H_REC(F)`` (CSM-SR project page, module names ours).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.base import pad_to_multiple
from srbench.models.csm_sr.blocks import (
    CSMRRDB,
    SLOPE,
    AdaptiveFusion,
    keep_variance,
    kernel_radius,
    start_without_lattice,
)
from srbench.models.csm_sr.encoder import ConditioningEncoder
from srbench.models.layers import (
    InterpolationUpsample,
    PixelShuffleUpsampler,
    receptive_radius,
    set_zero,
    upsampling_steps,
)
from srbench.models.losses.pixel import sobel
from srbench.models.recipe import Batch, LossInputs, Outputs


@dataclass(frozen=True)
class CSMSRConfig:
    """How large a generator is.

    Attributes:
        features: channels of every branch, a multiple of 4.
        growth: channels each dense layer adds.
        depth: RRDBs in a branch.
        blocks: SRDBs in an RRDB.
        layers: dense layers in an SRDB.
        encoder_stages: stages of EfficientNet-B0 in the conditioning encoder.
    """

    features: int
    growth: int
    depth: int
    blocks: int
    layers: int
    encoder_stages: int


# The text gives no sizes. ``published`` has the width and depth of the released ``architecture_8`` with the
# growth of the released final network: 5.5 M parameters and 585 G multiply-adds for a 1280x720 image at x4,
# between EDSR's baseline and ESRGAN. The released final network (59 M, 5.9 T) is out of proportion to every
# other.
CONFIGS = {
    "published": CSMSRConfig(features=64, growth=32, depth=3, blocks=3, layers=4, encoder_stages=3),
    "gradient_branch": CSMSRConfig(features=64, growth=32, depth=3, blocks=3, layers=4, encoder_stages=3),
    "tiny": CSMSRConfig(features=24, growth=12, depth=1, blocks=2, layers=2, encoder_stages=2),
}


class MultiScale(nn.Module):
    """``F_MS``: RRDBs at LR size, at half and at twice it, merged by a convolution.

    As in the released code, channels pay for resolution on the way (pixel shuffle); each branch has one
    width.

    Args:
        config: widths and depths.
    """

    def __init__(self, config: CSMSRConfig) -> None:
        super().__init__()
        features, shuffled = config.features, config.features // 4
        self.same_size = _rrdbs(config)
        self.half_size = nn.Sequential(nn.AvgPool2d(2), _rrdbs(config), nn.PixelShuffle(2))
        widen = nn.Conv2d(shuffled, features, 3, padding=1)
        self.double_size = nn.Sequential(nn.PixelShuffle(2), widen, _rrdbs(config), nn.AvgPool2d(2))
        self.merge = nn.Conv2d(features + shuffled + features, features, 3, padding=1)
        keep_variance(widen, self.merge)
        reaches = (
            kernel_radius(self.same_size),
            2 * kernel_radius(self.half_size) + 1,
            kernel_radius(self.double_size) // 2 + 1,
        )
        self.receptive_radius = max(reaches) + 1

    def forward(self, shallow: Tensor) -> Tensor:
        """``(N, features, H, W)``, H and W even, to the same shape."""
        return self.with_snapshots(shallow)[0]

    def with_snapshots(self, shallow: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The result, and the features of the LR-size branch after each of its RRDBs."""
        snapshots: list[Tensor] = []
        same = shallow
        for block in self.same_size:
            same = block(same)
            snapshots.append(same)
        branches = (same, self.half_size(shallow), self.double_size(shallow))
        merged: Tensor = self.merge(torch.cat(branches, dim=1))
        return merged, snapshots


def _rrdbs(config: CSMSRConfig) -> nn.Sequential:
    return nn.Sequential(
        *(CSMRRDB(config.features, config.growth, config.blocks, config.layers) for _ in range(config.depth))
    )


class Reconstruction(nn.Sequential):
    """``H_REC``: progressive sub-pixel upsampling, then two convolutions; adds nothing before it is trained.

    Args:
        features: channels in.
        channels: image channels out.
        scale: 2, 3, 4 or 8.
    """

    def __init__(self, features: int, channels: int, scale: int) -> None:
        last = nn.Conv2d(features, channels, 3, padding=1)
        upsampling = PixelShuffleUpsampler(features, scale)
        super().__init__(
            upsampling,
            nn.Conv2d(features, features, 3, padding=1),
            nn.LeakyReLU(SLOPE, inplace=True),
            last,
        )
        keep_variance(self)
        start_without_lattice(upsampling)
        set_zero(last)
        steps = upsampling_steps(scale)
        self.receptive_radius = receptive_radius([1] * len(steps) + [2], steps)


class Preview(nn.Sequential):
    """The encoder's own image: what stage 1 trains the encoder through (see ``recipe``); unused afterwards.

    Args:
        features: channels in.
        channels: image channels out.
        scale: magnification.
    """

    def __init__(self, features: int, channels: int, scale: int) -> None:
        last = nn.Conv2d(features, channels * scale**2, 3, padding=1)
        set_zero(last)
        super().__init__(last, nn.PixelShuffle(scale))


class CSMSR(nn.Module):
    """The generator, LR to SR.

    Images are in [0, 1] and the output is linear, instead of tanh on [-1, 1], whose flat ends dim the
    extremes. The network adds to the bicubic image and its last layer starts at zero, so that it spends its
    capacity on what interpolation lacks; the released code has no such skip and the text mentions none.

    The operator is local: ``receptive_radius`` is finite because the encoder's poolings are windowed, so a
    tile with that much surroundings, cut on the grid of ``size_multiple``, equals the same part of the
    whole image.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels.
        config: widths and depths.
    """

    def __init__(self, scale: int, channels: int, config: CSMSRConfig) -> None:
        super().__init__()
        self.scale = scale
        self.shallow = nn.Conv2d(channels, config.features, 3, padding=1)
        keep_variance(self.shallow)
        self.branches = MultiScale(config)
        self.encoder = ConditioningEncoder(config.features, config.encoder_stages)
        self.fusion = AdaptiveFusion(config.features)
        self.reconstruction = Reconstruction(config.features, channels, scale)
        self.preview_head = Preview(config.features, channels, scale)
        self.bicubic = InterpolationUpsample("bicubic", scale)
        self.size_multiple = math.lcm(2, self.encoder.size_multiple)
        reaches = (1 + self.branches.receptive_radius, self.encoder.receptive_radius)
        self.receptive_radius = max(reaches) + self.reconstruction.receptive_radius

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)``; any H and W (padded inside)."""
        padded = pad_to_multiple(lr, self.size_multiple)
        fused = self.fusion(self.branches(self.shallow(padded)), self.encoder(padded))
        return self._on_bicubic(lr, self.reconstruction(fused))

    def preview(self, lr: Tensor) -> Tensor:
        """The SR image from the conditioning features alone; shapes as :meth:`forward`."""
        padded = pad_to_multiple(lr, self.size_multiple)
        return self._on_bicubic(lr, self.preview_head(self.encoder(padded)))

    def _on_bicubic(self, lr: Tensor, residual: Tensor) -> Tensor:
        enlarged = cast(Tensor, self.bicubic(lr))
        return enlarged + residual[..., : enlarged.shape[-2], : enlarged.shape[-1]]


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
        config: widths and depths of the main branch; this one has as many RRDBs.
    """

    def __init__(self, channels: int, config: CSMSRConfig) -> None:
        super().__init__()
        self.first = nn.Conv2d(2 * channels, config.features, 3, padding=1)
        self.exchange = nn.ModuleList(
            nn.Conv2d(2 * config.features, config.features, 3, padding=1) for _ in range(config.depth)
        )
        self.blocks = nn.ModuleList(
            CSMRRDB(config.features, config.growth, config.blocks, config.layers) for _ in range(config.depth)
        )
        keep_variance(self.first, self.exchange)

    def forward(self, gradient: Tensor, snapshots: Sequence[Tensor]) -> Tensor:
        """Gradient map ``(N, 2C, H, W)`` and the main branch's features after each CSMRRDB, to features."""
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
    """The generator with a second branch, for the gradients of the image (after SPSR, arXiv 2003.13081).

    The branch starts from the gradient map of the LR image, takes in the features of the main branch as they
    develop, learns to draw the gradient map of HR, and guides the main branch's reconstruction. Different
    here:

    * *Map*: Sobel derivatives down and right, signed, instead of their magnitude. The sign tells the bright
      side of an edge from the dark one, and there is no root to differentiate at zero.
    * *Exchange*: after each RRDB of the LR-size branch, 64 and 64 channels become 64 by a convolution before
      the RRDB of the gradient branch; SPSR's runs at 128.
    * *Fusion* at LR size instead of HR size, where SPSR spends most of its 3,018 G multiply-adds. The
      guidance is added through a convolution that starts at zero, so that the network starts as ``published``
      does.
    * *Gradient image*: its reconstruction adds to the gradient of the bicubic image, in training only.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels.
        config: widths and depths.
    """

    def __init__(self, scale: int, channels: int, config: CSMSRConfig) -> None:
        super().__init__(scale, channels, config)
        self.gradient_branch = GradientBranch(channels, config)
        self.join = nn.Conv2d(2 * config.features, config.features, 3, padding=1)
        self.gradient_reconstruction = Reconstruction(config.features, 2 * channels, scale)
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


def gradient_forward(network: nn.Module, batch: Batch) -> Outputs:
    """The training forward pass: ``sr`` and ``gradient_sr``."""
    sr, gradient = cast(GradientGuidedCSMSR, network).with_gradient(batch.lr)
    return {"sr": sr, GRADIENT: gradient}


def gradient_image_loss(inputs: LossInputs) -> Tensor:
    """Mean absolute difference of the gradient image and the gradient map of HR (SPSR, eq. 10)."""
    return F.l1_loss(inputs.outputs[GRADIENT], sobel_map(inputs.hr))
