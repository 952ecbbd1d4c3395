"""The critic of real-world SwinIR: a U-Net with spectral normalisation that judges every pixel.

Wang, Xie, Dong and Shan, "Real-ESRGAN: training real-world blind super-resolution with pure synthetic data",
ICCVW 2021, arXiv 2107.10833, section 3.3.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from srbench.models.interface import ModelError

SLOPE = 0.2
GAIN = 0.2
"""Of the orthogonal matrices that the weights start from."""


class UNetCritic(nn.Module):
    """Three halvings and three doublings, added to what was there before at each size.

    Args:
        channels: image channels.
        features: width at full size; the smallest size has eight times as many.
    """

    def __init__(self, channels: int, features: int = 64) -> None:
        super().__init__()
        one, two, four, eight = (features * factor for factor in (1, 2, 4, 8))
        self.conv0 = nn.Conv2d(channels, one, 3, padding=1)
        self.conv1, self.conv2, self.conv3 = (_halving(width, 2 * width) for width in (one, two, four))
        self.conv4, self.conv5, self.conv6 = (_normalised(width, width // 2) for width in (eight, four, two))
        self.conv7, self.conv8 = _normalised(one, one), _normalised(one, one)
        self.conv9 = nn.Conv2d(one, 1, 3, padding=1)
        for plain in (self.conv0, self.conv9):
            _start(plain)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, H, W)``, H and W multiples of 8, to logits ``(N, 1, H, W)``, positive for HR.

        Raises:
            ModelError: a side is no multiple of 8.
        """
        if image.shape[-2] % 8 or image.shape[-1] % 8:
            raise ModelError(
                f"The U-Net critic judges images whose sides are multiples of 8, found {tuple(image.shape)}; "
                "use such an HR patch."
            )
        full = _activated(self.conv0(image))
        half = _activated(self.conv1(full))
        quarter = _activated(self.conv2(half))
        x = _activated(self.conv3(quarter))
        x = quarter + _activated(self.conv4(_doubled(x)))
        x = half + _activated(self.conv5(_doubled(x)))
        x = full + _activated(self.conv6(_doubled(x)))
        logits: Tensor = self.conv9(_activated(self.conv8(_activated(self.conv7(x)))))
        return logits


def _activated(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _halving(width_in: int, width: int) -> nn.Module:
    return spectral_norm(_start(nn.Conv2d(width_in, width, 4, stride=2, padding=1, bias=False)))


def _normalised(width_in: int, width: int) -> nn.Module:
    return spectral_norm(_start(nn.Conv2d(width_in, width, 3, padding=1, bias=False)))


def _start(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.orthogonal_(convolution.weight, gain=GAIN)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
