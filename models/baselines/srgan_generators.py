"""Generators of the SRGAN family: the paper's SRResNet, BasicSR's without normalisation, the five-block port.

All of them run their blocks at LR size and enlarge by sub-pixel convolutions at the end. Modules are named as
in the code whose checkpoints load: Lornatang/SRGAN-PyTorch, BasicSR, leftthomas/SRGAN.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.baselines.esrgan_blocks import initialise_small
from srbench.models.layers import InterpolationUpsample, OnBicubic, receptive_radius, upsampling_steps


class ResidualConvBlock(nn.Module):
    """``x + BN(conv(PReLU(BN(conv(x)))))`` (section 2.1.1, figure 4)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.rcb = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1, bias=False),
            nn.BatchNorm2d(features),
            nn.PReLU(),
            nn.Conv2d(features, features, 3, padding=1, bias=False),
            nn.BatchNorm2d(features),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to the same shape."""
        residual: Tensor = self.rcb(x)
        return x + residual


class UpsampleBlock(nn.Module):
    """Sub-pixel convolution and PReLU."""

    def __init__(self, features: int, step: int) -> None:
        super().__init__()
        self.upsample_block = nn.Sequential(
            nn.Conv2d(features, step**2 * features, 3, padding=1), nn.PixelShuffle(step), nn.PReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, features, step*H, step*W)``."""
        enlarged: Tensor = self.upsample_block(x)
        return enlarged


class SRResNet(nn.Module):
    """The generator of the paper (figure 4).

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out.
        blocks: residual blocks.
        features: width.
    """

    def __init__(self, scale: int, channels: int, blocks: int = 16, features: int = 64) -> None:
        super().__init__()
        steps = upsampling_steps(scale)
        self.conv1 = nn.Sequential(nn.Conv2d(channels, features, 9, padding=4), nn.PReLU())
        self.trunk = nn.Sequential(*(ResidualConvBlock(features) for _ in range(blocks)))
        self.conv2 = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1, bias=False), nn.BatchNorm2d(features)
        )
        self.upsampling = nn.Sequential(*(UpsampleBlock(features, step) for step in steps))
        self.conv3 = nn.Conv2d(features, channels, 9, padding=4)
        self.receptive_radius = srresnet_radius(blocks, steps)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``, not clamped."""
        shallow = self.conv1(lr)
        deep = shallow + self.conv2(self.trunk(shallow))
        sr: Tensor = self.conv3(self.upsampling(deep))
        return sr


def srresnet_radius(blocks: int, steps: Sequence[int]) -> int:
    """Receptive radius of this layout of layers: 9x9 first and last, 3x3 between them."""
    # First convolution, two in a block, the end of the trunk, the first upsampling convolution.
    at_lr = 4 + 2 * blocks + 1 + 1
    return receptive_radius((at_lr,) + (1,) * (len(steps) - 1) + (4,), steps)


def tiny_srresnet(scale: int, channels: int) -> nn.Module:
    """A small generator that corrects the bicubic image."""
    body = SRResNet(scale, channels, blocks=2, features=16)
    return OnBicubic(body, body.conv3, scale)


class BlockWithoutNorm(nn.Module):
    """``x + conv(ReLU(conv(x)))``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to the same shape."""
        residual: Tensor = self.conv2(F.relu_(self.conv1(x)))
        return x + residual


class MSRResNet(nn.Module):
    """BasicSR's modified SRResNet: no normalisation, 3x3 kernels throughout, on top of the bilinear image.

    There is no skip over the trunk but that of the image. It starts from small weights, close to that image.
    BasicSR enlarges by 2, 3 and 4; x8 is one more doubling of the same kind.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out.
        blocks: residual blocks.
        features: width.

    Source:
        XPixelGroup/BasicSR 1.4.2, basicsr/archs/srresnet_arch.py.
    """

    def __init__(self, scale: int, channels: int, blocks: int = 16, features: int = 64) -> None:
        super().__init__()
        self.steps = upsampling_steps(scale)
        self.conv_first = nn.Conv2d(channels, features, 3, padding=1)
        self.body = nn.Sequential(*(BlockWithoutNorm(features) for _ in range(blocks)))
        for number, step in enumerate(self.steps, start=1):
            self.add_module(f"upconv{number}", nn.Conv2d(features, step**2 * features, 3, padding=1))
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, channels, 3, padding=1)
        self.bilinear = InterpolationUpsample("bilinear", scale)
        # First convolution, two in a block, the first upsampling convolution; the last two at full size.
        at_lr = 1 + 2 * blocks + 1
        self.receptive_radius = receptive_radius((at_lr,) + (1,) * (len(self.steps) - 1) + (2,), self.steps)
        self.apply(initialise_small)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``, not clamped."""
        x = self.body(_leaky(self.conv_first(lr)))
        for number, step in enumerate(self.steps, start=1):
            x = _leaky(F.pixel_shuffle(getattr(self, f"upconv{number}")(x), step))
        sr: Tensor = self.conv_last(_leaky(self.conv_hr(x))) + self.bilinear(lr)
        return sr


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1, inplace=True)


class PortResidualBlock(nn.Module):
    """The paper's residual block with the biases that normalisation makes superfluous."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(features)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to the same shape."""
        residual: Tensor = self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))
        return x + residual


class PortUpsampleBlock(nn.Module):
    """Sub-pixel convolution and PReLU, under the port's names."""

    def __init__(self, features: int, step: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, step**2 * features, 3, padding=1)
        self.step = step
        self.prelu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, features, step*H, step*W)``."""
        enlarged: Tensor = self.prelu(F.pixel_shuffle(self.conv(x), self.step))
        return enlarged


class FiveBlockSRResNet(nn.Module):
    """The widespread port with five residual blocks and an output squashed into [0, 1].

    It enlarges by doublings; x3 is a single sub-pixel convolution here.

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out.
        features: width.

    Source:
        leftthomas/SRGAN@7ddfdf2 model.py.
    """

    BLOCKS = 5

    def __init__(self, scale: int, channels: int, features: int = 64) -> None:
        super().__init__()
        steps = upsampling_steps(scale)
        self.block1 = nn.Sequential(nn.Conv2d(channels, features, 9, padding=4), nn.PReLU())
        for number in self._residual_numbers():
            self.add_module(f"block{number}", PortResidualBlock(features))
        self.block7 = nn.Sequential(nn.Conv2d(features, features, 3, padding=1), nn.BatchNorm2d(features))
        last = nn.Conv2d(features, channels, 9, padding=4)
        self.block8 = nn.Sequential(*(PortUpsampleBlock(features, step) for step in steps), last)
        self.receptive_radius = srresnet_radius(self.BLOCKS, steps)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)`` in (0, 1)."""
        shallow = self.block1(lr)
        x = shallow
        for number in self._residual_numbers():
            x = getattr(self, f"block{number}")(x)
        return unit_tanh(self.block8(shallow + self.block7(x)))

    def _residual_numbers(self) -> range:
        return range(2, 2 + self.BLOCKS)


def unit_tanh(x: Tensor) -> Tensor:
    """``(tanh(x) + 1) / 2``: any number into (0, 1)."""
    return (torch.tanh(x) + 1) / 2
