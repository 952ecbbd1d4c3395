"""Distances between VGG features (Simonyan and Zisserman 2014), for perceptual training terms.

The ImageNet weights are given by the caller as a state dict; nothing is ever downloaded here. The layout is
torchvision's (``features.0.weight``, ...), built layer by layer up to the deepest feature asked for, so a
shallow tap does not pay for a deep network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.interface import ModelError
from srbench.models.recipe import LossInputs

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Width and number of 3x3 convolutions of each block of VGG-19; a 2x2 max pooling ends each block."""

VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


@dataclass(frozen=True)
class Architecture:
    """A VGG network: its title, its blocks, and the name of torchvision's weights file."""

    title: str
    blocks: tuple[tuple[int, int], ...]
    file: str


ARCHITECTURES = {
    "vgg16": Architecture("VGG-16", VGG16_BLOCKS, "vgg16-397923af.pth"),
    "vgg19": Architecture("VGG-19", BLOCKS, "vgg19-dcbb9e9d.pth"),
}

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Distance = Callable[[Tensor, Tensor], Tensor]


def vgg19_layers() -> dict[str, int]:
    """Names of the taps and their index in torchvision's ``vgg19().features``.

    ``conv5_4`` is the fourth convolution of the fifth block before its activation, ``relu5_4`` after it,
    ``pool5`` what follows.
    """
    return vgg_layers("vgg19")


def vgg_layers(network: str) -> dict[str, int]:
    """The same for ``"vgg16"`` or ``"vgg19"``; the last convolution of VGG-16 is ``conv5_3``."""
    names: list[str] = []
    for block, (_, convolutions) in enumerate(ARCHITECTURES[network].blocks, start=1):
        for number in range(1, convolutions + 1):
            names += [f"conv{block}_{number}", f"relu{block}_{number}"]
        names.append(f"pool{block}")
    return {name: index for index, name in enumerate(names)}


class VGGFeatures(nn.Module):
    """Frozen VGG that gives named intermediate features of images in [0, 1].

    Args:
        state: torchvision's state dict of it (keys ``features.N.weight``, ``features.N.bias``; classifier
            keys are ignored).
        layers: names out of :func:`vgg_layers`, e.g. ``("relu5_4",)``.
        network: ``"vgg19"`` or ``"vgg16"``.
        normalise: whether images are brought to ImageNet's mean and deviation first.

    Raises:
        ModelError: a layer name is unknown, or ``state`` lacks a parameter or has one of another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        state: Mapping[str, Tensor],
        layers: Sequence[str],
        network: str = "vgg19",
        normalise: bool = True,
    ) -> None:
        super().__init__()
        title, known = ARCHITECTURES[network].title, vgg_layers(network)
        unknown = [name for name in layers if name not in known]
        if unknown or not layers:
            raise ModelError(f"{title} has no layers {unknown}; name at least one of: {', '.join(known)}.")
        self.layers = {known[name]: name for name in layers}
        self.features = _features(network, max(self.layers) + 1)
        _load(self.features, state, network)
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if normalise else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features of ``(N, 1 or 3, H, W)`` in [0, 1] by layer name, each ``(N, width, h, w)``."""
        x = (image.expand(-1, 3, -1, -1) - self.mean) / self.std
        found: dict[str, Tensor] = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.layers:
                found[self.layers[index]] = x
        return found


class VGGContentLoss(nn.Module):
    """``sum over layers of weight * distance(scale * phi(sr), scale * phi(hr))``: a loss term of a recipe.

    Args:
        state: torchvision's state dict of the network.
        weights: layer name to weight.
        distance: scalar distance of two feature maps.
        feature_scale: factor on the features (SRGAN: 1/12.75, which brings them to the range of pixels).
        network: as in :class:`VGGFeatures`.
        normalise: as in :class:`VGGFeatures`.

    Source:
        Johnson et al. 2016 (arXiv 1603.08155), section 3.2; SRGAN (arXiv 1609.04802), eq. 5.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        weights: Mapping[str, float],
        distance: Distance = F.mse_loss,
        feature_scale: float = 1.0,
        network: str = "vgg19",
        normalise: bool = True,
    ) -> None:
        super().__init__()
        self.vgg = VGGFeatures(state, tuple(weights), network, normalise)
        self.weights = dict(weights)
        self.distance = distance
        self.feature_scale = feature_scale

    def forward(self, inputs: LossInputs) -> Tensor:
        """The loss of one batch, a scalar."""
        of_sr = self.vgg(inputs.sr)
        with torch.no_grad():
            of_hr = self.vgg(inputs.hr)
        scale = self.feature_scale
        terms = [
            weight * self.distance(scale * of_sr[name], scale * of_hr[name])
            for name, weight in self.weights.items()
        ]
        return torch.stack(terms).sum()


def _features(network: str, length: int) -> nn.Sequential:
    """The first ``length`` layers of the convolutional part."""
    layers: list[nn.Module] = []
    width_in = 3
    for width, convolutions in ARCHITECTURES[network].blocks:
        for _ in range(convolutions):
            # Not in place: a convolution's output may itself be asked for.
            layers += [nn.Conv2d(width_in, width, 3, padding=1), nn.ReLU()]
            width_in = width
        layers.append(nn.MaxPool2d(2))
        if len(layers) >= length:
            break
    return nn.Sequential(*layers[:length])


def _load(features: nn.Sequential, state: Mapping[str, Tensor], network: str) -> None:
    prefixed = {f"features.{name}": parameter for name, parameter in features.state_dict().items()}
    wrong = [name for name, own in prefixed.items() if name not in state or state[name].shape != own.shape]
    if wrong:
        vgg = ARCHITECTURES[network]
        raise ModelError(
            f"These are not torchvision's {vgg.title} weights: {len(wrong)} of {len(prefixed)} parameters "
            f"are missing or of another shape (first: {wrong[0]}). Use the file {vgg.file}."
        )
    features.load_state_dict({name.removeprefix("features."): state[name] for name in prefixed})
