"""The super-resolution half of dSRVAE (SRSN), and the convolutions both halves are made of.

Modules are named as in the authors' code (Holmes-Alan/dSRVAE@b5eff18, ``modules.py``, class ``VAE_SR``), so
that their checkpoints load.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBlock(nn.Module):
    """Convolution and PReLU with one slope for all channels; ``size`` is the kernel's side."""

    def __init__(self, width_in: int, width: int, size: int = 3, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, size, stride, padding)
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width_in, H, W)`` to ``(N, width, h, w)``."""
        out: Tensor = self.act(self.conv(x))
        return out


class ResnetBlock(nn.Module):
    """``r + conv(relu(conv(r)))`` with ``r = relu(x)``.

    The shortcut carries the rectified input: the authors' first ReLU works in place, so that what they add
    is no longer ``x``. Their weights were trained with that.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, features, H, W)`` to the same shape."""
        rectified = torch.relu(x)
        residual: Tensor = self.conv2(torch.relu_(self.conv1(rectified)))
        return rectified + residual


class SRSN(nn.Module):
    """Bicubic enlargement, then a short residual network at HR size; no skip from image to image.

    The enlargement is PyTorch's (a = -3/4, edge pixels repeated), which the published weights expect.

    Args:
        scale: magnification.
        channels: image channels in and out.
        blocks: residual blocks.
        features: their width.
    """

    def __init__(self, scale: int, channels: int, blocks: int = 4, features: int = 64) -> None:
        super().__init__()
        self.scale = scale
        self.LR_feat = ConvBlock(channels, features)
        self.feat = nn.Sequential(*(ResnetBlock(features) for _ in range(blocks)))
        self.recon = nn.Sequential(nn.Conv2d(features, channels, 3, padding=1))
        self.receptive_radius = reach(scale, 2 * blocks + 2)
        self.apply(initialise)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)``, not clamped."""
        enlarged = F.interpolate(lr, scale_factor=self.scale, mode="bicubic", align_corners=False)
        sr: Tensor = self.recon(self.feat(self.LR_feat(enlarged)))
        return sr


def initialise(module: nn.Module) -> None:
    """Draw weights as He et al. 2015 (arXiv 1502.01852) do; no bias."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def reach(scale: int, radius: int) -> int:
    """LR pixels to each side that convolutions of this ``radius`` on a bicubic enlargement depend on."""
    taps = [bicubic_taps(pixel, scale) for pixel in range(-radius, scale + radius)]
    return max(-min(first for first, _ in taps), max(last for _, last in taps))


def bicubic_taps(pixel: int, scale: int) -> tuple[int, int]:
    """The first and last LR pixel that bicubic interpolation weighs for an enlarged pixel."""
    below, beyond = divmod(2 * pixel + 1 - scale, 2 * scale)
    # Where an enlarged pixel lies on an LR pixel the neighbours weigh nothing.
    return (below - 1, below + 2) if beyond else (below, below)
