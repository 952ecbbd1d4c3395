"""The discriminator of CSM-SR's released code (``csm_sr.py`` at c89569b): three resolutions in, one map out.

The text's multi-scale discriminator gives a judgement for each resolution (``discriminator``); this one looks
at the features of the image at full, half and quarter size, brings them back to full size by depth to space,
joins them and goes on with one strided chain. Paddings are TensorFlow's ``same``, which is not symmetric.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.csm_sr.blocks import SLOPE
from srbench.models.csm_sr.released_blocks import depth_to_space, start_as_keras
from srbench.models.interface import ModelError

BASE = 32
WIDTHS = (64, 128, 256, 512)
KERNEL = 4


class ResidualPair(nn.Module):
    """``x + conv(leaky_relu(conv(x)))``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to the same shape."""
        residual: Tensor = self.conv2(F.leaky_relu(self.conv1(x), SLOPE))
        return x + residual


class Halving(nn.Module):
    """Strided 4x4 convolution, batch normalisation (Keras's epsilon and momentum), leaky ReLU."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, KERNEL, stride=2)
        self.bn = nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width_in, H, W)`` to ``(N, width, ceil(H/2), ceil(W/2))``."""
        return F.leaky_relu(self.bn(self.conv(pad_same(x, KERNEL, 2))), SLOPE)


class ReleasedDiscriminator(nn.Module):
    """Images to a map of logits.

    Args:
        channels: image channels; the authors have 3.
        base: width of the first layers, a multiple of 16.
        widths: those of the strided layers.
    """

    def __init__(self, channels: int, base: int = BASE, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, base, 3, padding=1)
        self.s1 = ResidualPair(base)
        self.s2 = ResidualPair(base)
        self.s3 = ResidualPair(base)
        self.merge = nn.Conv2d(base + base // 4 + base // 16, base, 3, padding=1)
        before = (base, *widths[:-1])
        self.down = nn.Sequential(*(Halving(*pair) for pair in zip(before, widths, strict=True)))
        self.out = nn.Conv2d(widths[-1], 1, KERNEL)
        start_as_keras(self)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1], sides multiples of 4, to logits ``(N, 1, ceil(H/16), ceil(W/16))``.

        Raises:
            ModelError: a side is no multiple of 4.
        """
        if image.shape[-2] % 4 or image.shape[-1] % 4:
            raise ModelError(
                f"The released discriminator takes sides that are multiples of 4, found "
                f"{tuple(image.shape[-2:])}; use such an HR patch."
            )
        shallow = F.leaky_relu(self.stem(image), SLOPE)
        half = depth_to_space(self.s2(F.avg_pool2d(shallow, 2)), 2)
        quarter = depth_to_space(self.s3(F.avg_pool2d(shallow, 4)), 4)
        joined = torch.cat((self.s1(shallow), half, quarter), dim=1)
        found = self.down(F.leaky_relu(self.merge(joined), SLOPE))
        logits: Tensor = self.out(pad_same(found, KERNEL, 1))
        return logits


def pad_same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's ``same`` padding with zeros: what is odd about it goes to the bottom and the right."""
    bottom, right = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
    return F.pad(x, (right // 2, right - right // 2, bottom // 2, bottom - bottom // 2))
