"""Building blocks of CSM-SR's released code, under the names and with the arithmetic of that code.

Facts: aaivu/CSM-SR at c89569b, ``CSM-SR/csm_sr.py`` (Keras). They differ from ``blocks``, which follows the
text, in what the text does not say and in two things that look like mistakes: a dense block has no residual,
and an RRDB scales its shortcut instead of its trunk. Nothing outside the variants ``released*`` and
``oracle`` uses them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHORTCUT_SCALE = 0.2


def depth_to_space(x: Tensor, step: int) -> Tensor:
    """Channels to pixels in TensorFlow's order.

    Channel ``(dy * step + dx) * C + c`` gives the pixels ``(dy, dx)`` of each cell of channel ``c``;
    ``torch.pixel_shuffle`` numbers channels ``c * step**2 + dy * step + dx`` instead.

    Args:
        x: ``(N, step**2 * C, H, W)``.
        step: enlargement.

    Returns:
        ``(N, C, step*H, step*W)``.
    """
    images, depth, height, width = x.shape
    cells = x.reshape(images, step, step, depth // step**2, height, width)
    return cells.permute(0, 3, 4, 1, 5, 2).reshape(images, depth // step**2, step * height, step * width)


class Separable(nn.Module):
    """Depthwise 3x3 convolution without bias, then a 1x1 one with bias, nothing in between."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(features, features, 3, padding=1, groups=features, bias=False)
        self.pointwise = nn.Conv2d(features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to the same shape."""
        mixed: Tensor = self.pointwise(self.depthwise(x))
        return mixed


class DenseLayer(nn.Module):
    """Plain, dilated and separable 3x3 convolution, a ReLU after each: ``features`` in, ``growth`` out."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, growth, 3, padding=1)
        self.dilated = nn.Conv2d(growth, growth, 3, padding=2, dilation=2)
        self.sep = Separable(growth)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, growth, H, W)``."""
        grown = F.relu(self.dilated(F.relu(self.conv(x))))
        return F.relu(self.sep(grown))


class DenseBlock(nn.Module):
    """RDB of the released code: dense layers joined by a linear 3x3 convolution, no residual.

    Args:
        width_in: channels in.
        width: channels out.
        growth: channels each layer adds.
        layers: number of layers.
    """

    def __init__(self, width_in: int, width: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(DenseLayer(width_in + n * growth, growth) for n in range(layers))
        self.fuse = nn.Conv2d(width_in + layers * growth, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width_in, H, W)`` to ``(N, width, H, W)``."""
        dense = x
        for layer in self.layer:
            dense = torch.cat((dense, layer(dense)), dim=1)
        fused: Tensor = self.fuse(dense)
        return fused


class ReversedRRDB(nn.Module):
    """RRDB of the released code: ``chain(x) + 0.2 * conv(x)``; ESRGAN's is ``x + 0.2 * chain(x)``.

    Args:
        width_in: channels in.
        width: channels out.
        growth: channels each dense layer adds.
        blocks: dense blocks in the chain.
        layers: dense layers in each of them.
    """

    def __init__(self, width_in: int, width: int, growth: int, blocks: int, layers: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(width_in, width, 3, padding=1)
        widths = [width_in] + [width] * (blocks - 1)
        self.rdb = nn.Sequential(*(DenseBlock(one, width, growth, layers) for one in widths))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width_in, H, W)`` to ``(N, width, H, W)``."""
        return torch.add(self.rdb(x), self.shortcut(x), alpha=SHORTCUT_SCALE)

    @property
    def radius(self) -> int:
        """Pixels to each side it looks: 4 a layer (1 plain, 2 dilated, 1 depthwise), 1 a joining layer."""
        return sum(4 * len(block.layer) + 1 for block in self.rdb if isinstance(block, DenseBlock))


@torch.no_grad()
def start_as_keras(*parts: nn.Module) -> None:
    """Keras's defaults for every convolution: Glorot's uniform distribution and no bias."""
    for part in parts:
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
