"""Discriminators that several recipes train against."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from srbench.utils.errors import ModelError

# The VGG-style discriminator of ESRGAN and SPSR in two forms that differ in names and biases only. Published
# for images of 128 pixels; any side from 32 on is halved five times and fits a discriminator built for it.

SLOPE = 0.2
REDUCTION = 32
"""Sides of the image to sides of the last feature map, rounded down."""

WIDTHS = (1, 2, 4, 8, 8)
"""Of the five pairs of convolutions, in units of the first one's."""


class VGGDiscriminator(nn.Sequential):
    """BasicSR's form, keys ``conv0_0`` to ``conv4_1``, ``bn0_1`` to ``bn4_1``, ``linear1``, ``linear2``.

    Args:
        channels: image channels.
        patch: side of the square images it judges, at least 32 (128 as published).
        features: width of the first convolution; the last has eight times as many.
        hidden: width of the hidden linear layer.

    Raises:
        ModelError: ``patch`` is smaller than 32.
    """

    def __init__(self, channels: int, patch: int = 128, features: int = 64, hidden: int = 100) -> None:
        side = last_side(patch)
        layers = OrderedDict(convolutions(channels, features, biased=False))
        layers["flat"] = nn.Flatten()
        layers["linear1"] = nn.Linear(WIDTHS[-1] * features * side**2, hidden)
        layers["act"] = nn.LeakyReLU(SLOPE)
        layers["linear2"] = nn.Linear(hidden, 1)
        super().__init__(layers)
        self.patch = patch

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, patch, patch)`` to logits ``(N, 1)``, positive for what looks like HR.

        Raises:
            ModelError: the images are of another size.
        """
        check_side(image, self.patch)
        x = image
        for layer in self:
            x = layer(x)
        return x


class BiasedVGGDiscriminator(nn.Module):
    """The form of 2018, keys ``features.0`` to ``features.27`` and ``classifier``; arguments as the other's.

    Weights are drawn as SPSR draws them: He et al. 2015 (arXiv 1502.01852), no bias.
    """

    def __init__(self, channels: int, patch: int = 128, features: int = 64, hidden: int = 100) -> None:
        super().__init__()
        side = last_side(patch)
        self.patch = patch
        self.features = nn.Sequential(*(layer for _, layer in convolutions(channels, features, biased=True)))
        self.classifier = nn.Sequential(
            nn.Linear(WIDTHS[-1] * features * side**2, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, 1)
        )
        self.apply(initialise_for_relu)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, patch, patch)`` to logits ``(N, 1)``; errors as the other form's."""
        check_side(image, self.patch)
        logits: Tensor = self.classifier(self.features(image).flatten(1))
        return logits


def convolutions(channels: int, features: int, *, biased: bool) -> Iterator[tuple[str, nn.Module]]:
    """The convolutional part, layer by layer, by BasicSR's names; only the first has no normalisation."""
    width_in = channels
    for stage, factor in enumerate(WIDTHS):
        width = factor * features
        for position, (kernel, stride) in enumerate(((3, 1), (4, 2))):
            name = f"{stage}_{position}"
            first = name == "0_0"
            yield f"conv{name}", nn.Conv2d(width_in, width, kernel, stride, padding=1, bias=biased or first)
            if not first:
                yield f"bn{name}", nn.BatchNorm2d(width)
            yield f"act{name}", nn.LeakyReLU(SLOPE, inplace=True)
            width_in = width


def last_side(patch: int) -> int:
    """Side of the last feature map.

    Raises:
        ModelError: nothing would be left of the image.
    """
    if patch < REDUCTION:
        raise ModelError(
            f"The VGG discriminator halves its images five times and judges patches of {REDUCTION} pixels or "
            f"more, found {patch}; use an HR patch of {REDUCTION} (quick tests) or 128 (as published)."
        )
    return patch // REDUCTION


def check_side(image: Tensor, patch: int) -> None:
    """Refuse images whose last feature map would not fit the linear layer.

    Raises:
        ModelError: the sides of ``image`` are not those of ``patch``, up to what halving rounds away.
    """
    height, width = image.shape[-2:]
    if {height // REDUCTION, width // REDUCTION} != {patch // REDUCTION}:
        raise ModelError(
            f"This discriminator was built for images of {patch}x{patch} pixels, found {height}x{width}; "
            f"crop them or build it with patch={height}."
        )


def initialise_for_relu(module: nn.Module) -> None:
    """Draw the weights of a layer to keep the variance of what passes it."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class SRGANDiscriminator(nn.Module):
    """That of the paper (figure 4): eight convolutions, four of them strided, then two linear layers.

    Args:
        channels: image channels.
        patch: side of the square images it judges, a multiple of 16 (96 in the paper).
        features: width of the first convolution; the last has eight times as many.
        hidden: width of the hidden linear layer.

    Raises:
        ModelError: ``patch`` is not a multiple of 16.
    """

    def __init__(self, channels: int, patch: int = 96, features: int = 64, hidden: int = 1024) -> None:
        super().__init__()
        if patch % 16 or patch < 16:
            raise ModelError(
                f"The SRGAN discriminator judges patches whose side is a multiple of 16, found {patch}; "
                "use an HR patch of 48 or 96."
            )
        self.features = nn.Sequential(*_ladder(channels, features, bias=False))
        self.classifier = nn.Sequential(
            nn.Linear(8 * features * (patch // 16) ** 2, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1)
        )

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, patch, patch)`` to logits ``(N, 1)``, positive for what looks like HR."""
        logits: Tensor = self.classifier(self.features(image).flatten(1))
        return logits


class PooledDiscriminator(nn.Module):
    """That of the five-block port: the same convolutions, their mean over the image, a probability.

    Args:
        channels: image channels.
        features: width of the first convolution; the last has eight times as many.
        hidden: width of the hidden layer.

    Source:
        leftthomas/SRGAN@7ddfdf2 model.py.
    """

    def __init__(self, channels: int, features: int = 64, hidden: int = 1024) -> None:
        super().__init__()
        self.net = nn.Sequential(
            *_ladder(channels, features, bias=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(8 * features, hidden, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(hidden, 1, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, H, W)`` to the probabilities ``(N,)`` that the images are HR."""
        return torch.sigmoid(self.net(image).flatten())


def _ladder(channels: int, features: int, *, bias: bool) -> list[nn.Module]:
    """Eight 3x3 convolutions; every second one halves the image and the width grows eightfold."""
    layers: list[nn.Module] = [nn.Conv2d(channels, features, 3, padding=1), nn.LeakyReLU(0.2)]
    widths = [features * factor for factor in (1, 1, 2, 2, 4, 4, 8, 8)]
    for index in range(1, 8):
        stride = 1 + index % 2
        layers += [
            nn.Conv2d(widths[index - 1], widths[index], 3, stride=stride, padding=1, bias=bias),
            nn.BatchNorm2d(widths[index]),
            nn.LeakyReLU(0.2),
        ]
    return layers


GAIN = 0.2
"""Of the orthogonal matrices that the weights start from."""


class UNetDiscriminator(nn.Module):
    """A U-Net with spectral normalisation that judges every pixel: three halvings, three doublings, skips.

    Args:
        channels: image channels.
        features: width at full size; the smallest size has eight times as many.

    Source:
        Wang et al., "Real-ESRGAN", ICCVW 2021, arXiv 2107.10833, section 3.3.
    """

    def __init__(self, channels: int, features: int = 64) -> None:
        super().__init__()
        full, half, quarter, eighth = (features * factor for factor in (1, 2, 4, 8))
        self.conv0 = nn.Conv2d(channels, full, 3, padding=1)
        self.conv1, self.conv2, self.conv3 = (
            _normalised(width, 2 * width, 4, stride=2) for width in (full, half, quarter)
        )
        self.conv4, self.conv5, self.conv6 = (
            _normalised(width, width // 2) for width in (eighth, quarter, half)
        )
        self.conv7, self.conv8 = _normalised(full, full), _normalised(full, full)
        self.conv9 = nn.Conv2d(full, 1, 3, padding=1)
        for plain in (self.conv0, self.conv9):
            _start(plain)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, H, W)``, H and W multiples of 8, to logits ``(N, 1, H, W)``, positive for HR.

        Raises:
            ModelError: a side is no multiple of 8.
        """
        if image.shape[-2] % 8 or image.shape[-1] % 8:
            raise ModelError(
                f"The U-Net discriminator judges images whose sides are multiples of 8, found "
                f"{tuple(image.shape)}; use such an HR patch."
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


def _normalised(width_in: int, width: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    return spectral_norm(_start(nn.Conv2d(width_in, width, kernel, stride, padding=1, bias=False)))


def _start(convolution: nn.Conv2d) -> nn.Conv2d:
    nn.init.orthogonal_(convolution.weight, gain=GAIN)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
