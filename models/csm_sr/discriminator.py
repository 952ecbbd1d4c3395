"""Multi-scale PatchGAN: the same kind of discriminator looks at the image at several resolutions.

The text asks for a discriminator that "evaluates several resolutions" and gives no layers; the released
code has one output map. Chosen: the form that introduced the name (pix2pixHD, arXiv 1711.11585, section
3.2): one PatchGAN (pix2pix, arXiv 1611.07004) for each resolution, the image halved by averaging in
between, one logit map each. Spectral normalisation (arXiv 1802.05957) stands in for batch or instance
normalisation: batches are small, and an instance norm would blind the discriminator to the contrast of a
micrograph.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from srbench.models.csm_sr.blocks import SLOPE


class PatchDiscriminator(nn.Sequential):
    """A chain of strided 4x4 convolutions giving one logit for each patch of the image.

    Args:
        channels: image channels.
        features: channels of the first layer, doubled at each stride.
        strides: number of stride-2 layers; 3 make the usual 70x70 patches.
    """

    def __init__(self, channels: int, features: int, strides: int) -> None:
        layers: list[nn.Module] = []
        width_in, width = channels, features
        for _ in range(strides):
            layers += [_conv(width_in, width, stride=2), nn.LeakyReLU(SLOPE, inplace=True)]
            width_in, width = width, min(2 * width, 8 * features)
        layers += [_conv(width_in, width, stride=1), nn.LeakyReLU(SLOPE, inplace=True)]
        super().__init__(*layers, _conv(width, 1, stride=1))


class MultiScaleDiscriminator(nn.Module):
    """One PatchGAN each for the image, its half and its quarter.

    Args:
        channels: image channels.
        features: channels of each discriminator's first layer.
        strides: stride-2 layers of each discriminator.
        resolutions: number of discriminators.
    """

    def __init__(self, channels: int, features: int = 64, strides: int = 3, resolutions: int = 3) -> None:
        super().__init__()
        each = [PatchDiscriminator(channels, features, strides) for _ in range(resolutions)]
        self.add_module("critics", nn.ModuleList(each))  # their name in checkpoints

    def forward(self, image: Tensor) -> list[Tensor]:
        """Logit maps of ``(N, C, H, W)``, finest first; positive means real. H and W at least 4."""
        maps: list[Tensor] = []
        for discriminator in self.get_submodule("critics").children():
            maps.append(discriminator(image))
            image = F.avg_pool2d(image, 2)
        return maps


def _conv(width_in: int, width: int, stride: int) -> nn.Module:
    # Padding 2 keeps at least one logit on the small, coarse images of short training runs.
    return spectral_norm(nn.Conv2d(width_in, width, 4, stride=stride, padding=2))
