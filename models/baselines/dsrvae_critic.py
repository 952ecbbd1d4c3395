"""The critic of dSRVAE: poolings and strided convolutions down to a small map, then two linear layers.

Modules are named as in the authors' code (Holmes-Alan/dSRVAE@b5eff18, ``modules.py``, class
``discriminator``).
"""

from __future__ import annotations

from torch import Tensor, nn

from srbench.models.baselines.dsrvae_srsn import ConvBlock, initialise
from srbench.models.interface import ModelError

POOLINGS = (4, 2, 1)
"""Sides of the two max poolings: the published one, and those for smaller patches."""


class Critic(nn.Module):
    """Judges square patches of one size.

    Args:
        channels: image channels.
        patch: side of a patch in HR pixels (512 as published), a multiple of ``8 * pool**2``.
        features: width of the first convolution; the last has eight times as many.
        pool: side of each of the two max poolings.
        hidden: width of the hidden linear layer.

    Raises:
        ModelError: the patch cannot be reduced that far.
    """

    def __init__(
        self, channels: int, patch: int = 512, features: int = 64, pool: int = 4, hidden: int = 100
    ) -> None:
        super().__init__()
        reduction = _reduction(pool)
        if patch < reduction or patch % reduction:
            raise ModelError(
                f"With poolings of {pool} the dSRVAE critic judges patches whose side is a multiple of "
                f"{reduction}, found {patch}; use such an HR patch, or smaller poolings."
            )
        self.input_conv = ConvBlock(channels, features)
        layers: list[nn.Module] = [nn.MaxPool2d(pool), nn.BatchNorm2d(features)]
        layers += [ConvBlock(features, features), nn.MaxPool2d(pool), nn.BatchNorm2d(features)]
        for width_in, width in ((features, 2), (2 * features, 4), (4 * features, 8)):
            layers += _halving(width_in, width * features)
        self.conv_blocks = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(8 * features * (patch // reduction) ** 2, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )
        self.apply(initialise)

    def forward(self, image: Tensor) -> Tensor:
        """``(N, C, patch, patch)`` to logits ``(N, 1)``, positive for what looks real."""
        logits: Tensor = self.classifier(self.conv_blocks(self.input_conv(image)).flatten(1))
        return logits


def largest_pool(patch: int) -> int:
    """The largest poolings with which a critic can judge patches of this side.

    Raises:
        ModelError: the side is no multiple of 8.
    """
    for pool in POOLINGS:
        if patch and patch % _reduction(pool) == 0:
            return pool
    raise ModelError(f"The dSRVAE critic needs HR patches whose side is a multiple of 8, found {patch}.")


def _reduction(pool: int) -> int:
    return 8 * pool**2


def _halving(width_in: int, width: int) -> list[nn.Module]:
    return [ConvBlock(width_in, width), ConvBlock(width, width, 4, stride=2), nn.BatchNorm2d(width)]
