"""Distances between VGG features (Simonyan and Zisserman 2014), for perceptual training terms.

The ImageNet weights are given by the caller as a state dict; nothing is ever downloaded here. The layout is
torchvision's (``features.0.weight``, ...), built layer by layer up to the deepest feature asked for, so a
shallow tap does not pay for a deep network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.layers import load_published
from srbench.models.recipe import LossInputs
from srbench.utils.errors import ModelError

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Width and number of 3x3 convolutions of each block of VGG-19; a 2x2 max pooling ends each block."""

VGG16_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


@dataclass(frozen=True)
class VGGArchitecture:
    """A VGG network: its title, its blocks, and the name of torchvision's weights file."""

    title: str
    blocks: tuple[tuple[int, int], ...]
    file: str


ARCHITECTURES = {
    "vgg16": VGGArchitecture("VGG-16", VGG16_BLOCKS, "vgg16-397923af.pth"),
    "vgg19": VGGArchitecture("VGG-19", BLOCKS, "vgg19-dcbb9e9d.pth"),
}

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Distance = Callable[[Tensor, Tensor], Tensor]


def vgg_layers(network: str = "vgg19") -> dict[str, int]:
    """Names of the taps of ``"vgg16"`` or ``"vgg19"`` and their index in torchvision's ``features``.

    ``conv5_4`` is the fourth convolution of the fifth block before its activation, ``relu5_4`` after it,
    ``pool5`` what follows; the last convolution of VGG-16 is ``conv5_3``.
    """
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
        vgg, indices = ARCHITECTURES[network], vgg_layers(network)
        unknown = [name for name in layers if name not in indices]
        if unknown or not layers:
            raise ModelError(
                f"{vgg.title} has no layers {unknown}; name at least one of: {', '.join(indices)}."
            )
        self.layers = {indices[name]: name for name in layers}
        self.features = _features(network, max(self.layers) + 1)
        names = {name: f"features.{name}" for name in self.features.state_dict()}
        load_published(self.features, state, names, f"torchvision's {vgg.title}", f"Use the file {vgg.file}.")
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if normalise else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Features of ``(N, 1 or 3, H, W)`` in [0, 1] by layer name, each ``(N, width, h, w)``."""
        x = (image.expand(-1, 3, -1, -1) - self.mean) / self.std
        features: dict[str, Tensor] = {}
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self.layers:
                features[self.layers[index]] = x
        return features


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


class MobileNetContentLoss(nn.Module):
    """Mean squared difference of the last feature maps: 1280 channels at a 32nd of the size.

    The images go in as they are, in [0, 1]: Swift-SRGAN does not normalise them by ImageNet's mean and
    deviation. Grey is replicated over the three channels. The network is frozen and its batch normalisation
    keeps ImageNet's statistics, whatever mode the loss is put in.

    Args:
        state: torchvision's MobileNetV2 state dict (classifier keys are ignored).

    Raises:
        ModelError: ``state`` lacks a tensor or has one of another shape.

    Source:
        Koushik0901/Swift-SRGAN@cd2414f swift-srgan/loss.py.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        from torchvision.models import mobilenet_v2

        self.features: nn.Module = mobilenet_v2(weights=None).features
        load_published(
            self.features,
            state,
            {name: f"features.{name}" for name in self.features.state_dict()},
            "torchvision's MobileNetV2",
            "Use the file mobilenet_v2-b0353104.pth.",
        )
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> MobileNetContentLoss:
        """Stay in evaluation mode: the features are a fixed function."""
        del mode
        return super().train(False)

    def forward(self, inputs: LossInputs) -> Tensor:
        with torch.no_grad():
            of_hr = self._features_of(inputs.hr)
        return F.mse_loss(self._features_of(inputs.sr), of_hr)

    def _features_of(self, image: Tensor) -> Tensor:
        features: Tensor = self.features(image.expand(-1, 3, -1, -1))
        return features


BANDWIDTH = 0.5
POSITIONS = 1024
"""Features compared in an image, at most: their affinity matrix is then 4 MB for each image in float32."""

PATCH = 5
VECTOR_FLOOR = 0.05
"""Length below which a patch counts as flat: 1 % noise on each of 25 pixels."""

DISTANCE_FLOOR = 0.05
"""Added to the smallest distance before dividing by it. The paper's 1e-5 makes the gradient unbounded when a
patch matches its target exactly, as most do for an output that starts at the bicubic image."""


def contextual_similarity(sr: Tensor, hr: Tensor, *, bandwidth: float = BANDWIDTH) -> Tensor:
    """Contextual similarity of two sets of features: each of HR should be the best match of one of SR.

    It compares the distributions of local features and so tolerates small misplacements that a pixel-wise
    loss punishes (Mechrez, Talmi and Zelnik-Manor 2018).

    Args:
        sr: ``(N, D, P)``, P feature vectors of length D for each of N images.
        hr: ``(N, D, Q)``; its mean vector is the origin for the angles.
        bandwidth: ``h`` of eq. 3, smaller is more selective.

    Returns:
        ``(N,)`` in (0, 1]; near 1 when every vector of ``hr`` is singled out by a vector of ``sr``.

    Source:
        arXiv 1803.02077, eqs. 1 to 4.
    """
    origin = hr.mean(dim=2, keepdim=True)
    distance = 1 - _directions(sr - origin).transpose(1, 2) @ _directions(hr - origin)
    relative = distance / (distance.amin(dim=2, keepdim=True) + DISTANCE_FLOOR)
    affinity = torch.softmax((1 - relative) / bandwidth, dim=2)
    return affinity.amax(dim=1).mean(dim=1)


def patch_contextual_loss(sr: Tensor, hr: Tensor, *, positions: int = POSITIONS) -> Tensor:
    """``-log CX`` on 5x5 patches freed of their mean brightness: the contextual loss without any weights.

    Patches stand on a regular grid, as dense as their number allows. (The released code compared
    single pixels' colours, which on grey images is a constant with no gradient.)

    Args:
        sr: ``(N, C, H, W)``, H and W at least 5.
        hr: same shape.
        positions: patches in an image, at most; time and memory grow with its square.

    Returns:
        Scalar, at least 0.

    Raises:
        ModelError: the shapes differ or the images are smaller than a patch.
    """
    if sr.shape != hr.shape or sr.ndim != 4 or min(sr.shape[-2:]) < PATCH:
        raise ModelError(
            f"The contextual loss expects two (N, C, H, W) batches of one shape, sides at least {PATCH}, "
            f"found {tuple(sr.shape)} and {tuple(hr.shape)}."
        )
    return _mean_negative_log(_patches(sr, positions), _patches(hr, positions))


class VGGContextualLoss(nn.Module):
    """``-log CX`` on one VGG-19 feature map: a loss term of a recipe.

    Args:
        state: torchvision's VGG-19 state dict.
        layer: a name out of ``vgg_layers``; ``relu4_2`` (the paper's, section 4) is at an eighth
            of the image size.
    """

    def __init__(self, state: Mapping[str, Tensor], layer: str = "relu4_2") -> None:
        super().__init__()
        self.vgg = VGGFeatures(state, (layer,))
        self.layer = layer

    def forward(self, inputs: LossInputs) -> Tensor:
        of_sr = self.vgg(inputs.sr)[self.layer]
        with torch.no_grad():
            of_hr = self.vgg(inputs.hr)[self.layer]
        return _mean_negative_log(_positions(of_sr), _positions(of_hr))


def _mean_negative_log(sr: Tensor, hr: Tensor) -> Tensor:
    return -contextual_similarity(sr, hr).log().mean()


def _directions(vectors: Tensor) -> Tensor:
    """Vectors of unit length along dim 1; those shorter than the floor shrink to nothing instead of noise."""
    return vectors / torch.sqrt(vectors.square().sum(dim=1, keepdim=True) + VECTOR_FLOOR**2)


def _patches(image: Tensor, positions: int) -> Tensor:
    """``(N, C*25, P)``: patches on the grid, each channel's mean taken off."""
    height, width = (side - PATCH + 1 for side in image.shape[-2:])
    stride = _stride(height, width, positions)
    columns = F.unfold(image, PATCH, stride=stride)
    columns = columns.view(image.shape[0], image.shape[1], PATCH**2, -1)
    return (columns - columns.mean(dim=2, keepdim=True)).flatten(1, 2)


def _positions(features: Tensor) -> Tensor:
    """``(N, D, P)``: the vectors of a feature map on the grid."""
    stride = _stride(features.shape[-2], features.shape[-1], POSITIONS)
    return features[..., ::stride, ::stride].flatten(2)


def _stride(height: int, width: int, positions: int) -> int:
    """The smallest step that leaves at most so many positions."""
    stride = 1
    while math.ceil(height / stride) * math.ceil(width / stride) > positions:
        stride += 1
    return stride
