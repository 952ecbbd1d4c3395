"""The VGG-style critic of ESRGAN and SPSR: ten convolutions, five of them strided, then two linear layers.

One architecture, two forms that differ in names and biases only. :class:`VGGCritic` is that of BasicSR 1.4.2
(``VGGStyleDiscriminator``; convolutions before a normalisation have no bias), :class:`BiasedVGGCritic` that
of the code of 2018 which SPSR builds on (every convolution has one). Published for images of 128 pixels; any
side from 32 on is halved five times and fits a critic built for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from torch import Tensor, nn

from srbench.models.interface import ModelError

SLOPE = 0.2
REDUCTION = 32
"""Sides of the image to sides of the last feature map, rounded down."""

WIDTHS = (1, 2, 4, 8, 8)
"""Of the five pairs of convolutions, in units of the first one's."""


class VGGCritic(nn.Sequential):
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


class BiasedVGGCritic(nn.Module):
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
            f"The VGG critic halves its images five times and judges patches of {REDUCTION} pixels or more, "
            f"found {patch}; use an HR patch of {REDUCTION} (quick tests) or 128 (as published)."
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
            f"This critic was built for images of {patch}x{patch} pixels, found {height}x{width}; "
            f"crop them or build it with patch={height}."
        )


def initialise_for_relu(module: nn.Module) -> None:
    """Draw the weights of a layer to keep the variance of what passes it."""
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
