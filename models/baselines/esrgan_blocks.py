"""Residual-in-residual dense blocks, of which ESRGAN and SPSR are made.

Wang et al. 2018, "ESRGAN: enhanced super-resolution generative adversarial networks", arXiv 1809.00219,
section 3.1 and figure 4. With gradients, a dense block concatenates as the paper draws it. Without, a block
writes into one buffer that holds all its features, which keeps one copy of them instead of several.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2
"""Of every leaky rectifier."""

RESIDUAL_SCALE = 0.2
"""Factor on what a block adds to its input."""

CONVOLUTIONS_IN_RRDB = 15

Wrap = Callable[[nn.Conv2d], nn.Module]
"""How a convolution is held; it decides the names of its parameters."""


def bare(convolution: nn.Conv2d) -> nn.Module:
    """The convolution itself: parameters are called ``conv1.weight``."""
    return convolution


def conv3x3(width_in: int, width: int) -> nn.Conv2d:
    """3x3 convolution that keeps the size."""
    return nn.Conv2d(width_in, width, 3, padding=1)


def rectify(features: Tensor) -> Tensor:
    """Leaky rectifier that overwrites its argument, the fresh output of a convolution."""
    return F.leaky_relu(features, SLOPE, inplace=True)


def enlarge(features: Tensor, step: int) -> Tensor:
    """Repeat every pixel ``step`` times along both axes."""
    return F.interpolate(features, scale_factor=float(step), mode="nearest")


def favourite_layout(image: Tensor) -> Tensor:
    """The same values in the memory layout that makes the following convolutions fast.

    On a CPU, 3x3 convolutions of these widths run a tenth to a fifth faster with the channels last (slower in
    float64), and repeating pixels several times; layers hand the layout on. Elsewhere the layout is the
    caller's choice.
    """
    if image.device.type != "cpu" or image.dtype == torch.float64:
        return image
    return image.contiguous(memory_format=torch.channels_last)


class ResidualDenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and the outputs of those before it.

    Args:
        features: channels in and out.
        growth: channels that each of the first four convolutions adds.
        wrap: holder of the convolutions; ``nn.Sequential`` gives the names of the code before December 2018.
    """

    def __init__(self, features: int, growth: int, wrap: Wrap = bare) -> None:
        super().__init__()
        self.growth = growth
        self.conv1 = wrap(conv3x3(features, growth))
        self.conv2 = wrap(conv3x3(features + growth, growth))
        self.conv3 = wrap(conv3x3(features + 2 * growth, growth))
        self.conv4 = wrap(conv3x3(features + 3 * growth, growth))
        self.conv5 = wrap(conv3x3(features + 4 * growth, features))
        self.apply(initialise_small)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to the same shape."""
        seen = x
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat((seen, rectify(convolution(seen))), dim=1)
        return torch.add(x, self.conv5(seen), alpha=RESIDUAL_SCALE)

    def update(self, buffer: Tensor) -> None:
        """The block's output in place of its input, without gradients.

        Args:
            buffer: ``(N, features + 4 * growth, H, W)``; its first channels are the input and become the
                output, the others are working space.
        """
        features = buffer.shape[1] - 4 * self.growth
        for index, convolution in enumerate((self.conv1, self.conv2, self.conv3, self.conv4)):
            seen = features + index * self.growth
            buffer[:, seen : seen + self.growth] = rectify(convolution(buffer[:, :seen]))
        buffer[:, :features].add_(self.conv5(buffer), alpha=RESIDUAL_SCALE)


class RRDB(nn.Module):
    """Three dense blocks and a residual connection around them; arguments as of one of them."""

    def __init__(self, features: int, growth: int, wrap: Wrap = bare) -> None:
        super().__init__()
        self.RDB1 = ResidualDenseBlock(features, growth, wrap)
        self.RDB2 = ResidualDenseBlock(features, growth, wrap)
        self.RDB3 = ResidualDenseBlock(features, growth, wrap)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to the same shape."""
        deep = self.RDB3(self.RDB2(self.RDB1(x))) if torch.is_grad_enabled() else self._in_one_buffer(x)
        return torch.add(x, deep, alpha=RESIDUAL_SCALE)

    def _in_one_buffer(self, x: Tensor) -> Tensor:
        features, space = x.shape[1], 4 * self.RDB1.growth
        buffer = F.pad(x, (0, 0, 0, 0, 0, space))
        for block in (self.RDB1, self.RDB2, self.RDB3):
            block.update(buffer)
        return buffer[:, :features]


def initialise_small(module: nn.Module) -> None:
    """He et al. 2015 (arXiv 1502.01852) times 0.1, no bias: a deep residual network starts near identity.

    ESRGAN, section 3.1; as in BasicSR 1.4.2, inside dense blocks only.
    """
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
        with torch.no_grad():
            module.weight.mul_(0.1)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
