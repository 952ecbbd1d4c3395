"""Critics of the SRGAN family: the paper's, for patches of one size, and the port's, for any."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from srbench.models.interface import ModelError


class Discriminator(nn.Module):
    """The critic of the paper (figure 4): eight convolutions, four of them strided, then two linear layers.

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
                f"The SRGAN critic judges patches whose side is a multiple of 16, found {patch}; "
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
    """The critic of the five-block port: the same convolutions, their mean over the image, a probability.

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
