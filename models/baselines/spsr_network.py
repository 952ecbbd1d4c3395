"""The network of SPSR: a branch for the image, a branch for its gradients, and what joins them.

Ma et al. 2020, arXiv 2003.13081, figure 2. Modules are named as in Maclory/SPSR. The memory that it takes is
that of the joining block, 128 channels and their growth at full size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from srbench.models.baselines.esrgan_blocks import (
    CONVOLUTIONS_IN_RRDB,
    RRDB,
    SLOPE,
    conv3x3,
    favourite_layout,
)
from srbench.models.layers import OnBicubic, receptive_radius, upsampling_steps
from srbench.models.losses.gradient import gradient_map


@dataclass(frozen=True)
class Size:
    """Blocks of the image branch, width and growth; after which blocks the gradient branch looks at it."""

    blocks: int
    features: int
    growth: int
    shared: tuple[int, ...]


class Restored(NamedTuple):
    """What the network makes of an LR image.

    Attributes:
        sr: ``(N, C, scale*H, scale*W)``, the image.
        gradient_sr: same shape, the gradient map of it that the gradient branch predicts.
        lr_gradient: ``(N, C, H, W)``, the gradient map of the LR image.
    """

    sr: Tensor
    gradient_sr: Tensor
    lr_gradient: Tensor


class GradientMap(nn.Module):
    """``gradient_map`` of the LR image, not learned.

    The kernels are constants of the definition; the state dict has them because the authors' files do.
    """

    weight_h: Tensor
    weight_v: Tensor

    def __init__(self) -> None:
        super().__init__()
        row = torch.zeros(3, 3)
        row[1] = torch.tensor([-1.0, 0.0, 1.0])
        self.register_buffer("weight_h", row.view(1, 1, 3, 3))
        self.register_buffer("weight_v", row.t().clone().view(1, 1, 3, 3))

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the same shape."""
        return gradient_map(lr)


class Trunk(nn.Module):
    """Residual blocks and a convolution with a connection around them; remembers some blocks' outputs."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        blocks = [RRDB(size.features, size.growth, nn.Sequential) for _ in range(size.blocks)]
        self.sub = nn.Sequential(*blocks, conv3x3(size.features, size.features))
        self.shared = size.shared

    def forward(self, shallow: Tensor) -> tuple[Tensor, list[Tensor]]:
        """``(N, features, H, W)`` to the same shape, and what the gradient branch is shown."""
        x, shown = shallow, []
        for number, layer in enumerate(self.sub, start=1):
            x = layer(x)
            if number in self.shared:
                shown.append(x)
        return shallow + x, shown


class SPSR(nn.Module):
    """The generator of the paper (figure 2).

    Args:
        scale: 2, 3, 4 or 8.
        channels: image channels in and out, gradient maps as many.
        size: blocks, width, growth.
    """

    def __init__(self, scale: int, channels: int, size: Size) -> None:
        super().__init__()
        features, steps = size.features, upsampling_steps(scale)
        self.model = nn.Sequential(conv3x3(channels, features), Trunk(size), *upsampling(features, steps))
        self.HR_conv0_new = nn.Sequential(conv3x3(features, features), rectifier())
        self.HR_conv1_new = nn.Sequential(conv3x3(features, features))
        self.get_g_nopadding = GradientMap()
        self.b_fea_conv = nn.Sequential(conv3x3(channels, features))
        for number in range(1, len(size.shared) + 1):
            self.add_module(f"b_block_{number}", RRDB(2 * features, size.growth, nn.Sequential))
            self.add_module(f"b_concat_{number}", nn.Sequential(conv3x3(2 * features, features)))
        self.b_LR_conv = nn.Sequential(conv3x3(features, features))
        at_hr = (conv3x3(features, features), rectifier(), conv3x3(features, features))
        self.b_module = nn.Sequential(*upsampling(features, steps), *at_hr)
        self.conv_w = nn.Sequential(nn.Conv2d(features, channels, 1))
        self.f_block = RRDB(2 * features, size.growth, nn.Sequential)
        self.f_concat = nn.Sequential(conv3x3(2 * features, features))
        self.f_HR_conv0 = nn.Sequential(conv3x3(features, features), rectifier())
        self.f_HR_conv1 = nn.Sequential(conv3x3(features, channels))
        # After the last step: its convolution, two of a branch, the fusion's block and its three.
        radii = (radius_at_lr(size),) + (1,) * (len(steps) - 1) + (1 + 2 + CONVOLUTIONS_IN_RRDB + 3,)
        self.receptive_radius = receptive_radius(radii, steps)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C, scale*H, scale*W)``, not clamped: the image alone."""
        return self._fuse(self._branches(lr, self.get_g_nopadding(lr)))

    def restore(self, lr: Tensor) -> Restored:
        """As :meth:`forward`, with the gradient maps that training looks at."""
        lr_gradient = self.get_g_nopadding(lr)
        both = self._branches(lr, lr_gradient)
        gradient_sr = self.conv_w(both[:, : both.shape[1] // 2])
        return Restored(self._fuse(both), gradient_sr.contiguous(), lr_gradient)

    def _branches(self, lr: Tensor, lr_gradient: Tensor) -> Tensor:
        """``(N, 2 * features, scale*H, scale*W)``: features of the gradients, then of the image."""
        first, trunk, *upsample = self.model
        deep, shown = trunk(first(favourite_layout(lr)))
        gradient = self.b_module(self._gradient_features(lr_gradient, shown))
        for layer in upsample:
            deep = layer(deep)
        return torch.cat((gradient, self.HR_conv1_new(self.HR_conv0_new(deep))), dim=1)

    def _gradient_features(self, lr_gradient: Tensor, shown: Sequence[Tensor]) -> Tensor:
        shallow: Tensor = self.b_fea_conv(favourite_layout(lr_gradient))
        x = shallow
        for number, of_image in enumerate(shown, start=1):
            block, concat = getattr(self, f"b_block_{number}"), getattr(self, f"b_concat_{number}")
            x = concat(block(torch.cat((x, of_image), dim=1)))
        return torch.add(shallow, self.b_LR_conv(x))

    def _fuse(self, both: Tensor) -> Tensor:
        fused = self.f_concat(self.f_block(both))
        sr: Tensor = self.f_HR_conv1(self.f_HR_conv0(fused))
        return sr.contiguous()


def rectifier() -> nn.Module:
    """Leaky rectifier that overwrites the output of the convolution before it."""
    return nn.LeakyReLU(SLOPE, inplace=True)


def upsampling(features: int, steps: Sequence[int]) -> list[nn.Module]:
    """Repeated pixels, convolution and rectifier for each step."""
    layers: list[nn.Module] = []
    for step in steps:
        layers += [nn.Upsample(scale_factor=float(step)), conv3x3(features, features), rectifier()]
    return layers


def radius_at_lr(size: Size) -> int:
    """LR pixels that the farther-looking branch looks before it is enlarged."""
    image = 1 + CONVOLUTIONS_IN_RRDB * size.blocks + 1
    gradient = 1 + 1  # the operator, the first convolution
    for number in size.shared:
        gradient = max(gradient, 1 + CONVOLUTIONS_IN_RRDB * number) + CONVOLUTIONS_IN_RRDB + 1
    return max(image, gradient + 1)


def restore(network: nn.Module, lr: Tensor) -> Restored:
    """:meth:`SPSR.restore` of a registered variant, whether or not it stands on the bicubic image."""
    if isinstance(network, OnBicubic):
        correction = restore(network.body, lr)
        return correction._replace(sr=network.bicubic(lr) + correction.sr)
    assert isinstance(network, SPSR)
    return network.restore(lr)
