"""The contextual loss: every target feature should be the best match of some feature of the output.

Mechrez, Talmi and Zelnik-Manor (2018), "The contextual loss for image transformation with non-aligned
data", arXiv 1803.02077. It compares the *distributions* of local features and so tolerates small
misplacements that a pixel-wise loss punishes. Features are VGG-19's where its weights are at hand,
otherwise normalised patches of the image itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.interface import ModelError
from srbench.models.losses.perceptual import VGGFeatures
from srbench.models.recipe import LossInputs

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
    """Contextual similarity of two sets of features of each image.

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
        layer: a name out of ``perceptual.vgg19_layers``; ``relu4_2`` (the paper's, section 4) is at an eighth
            of the image size.
    """

    def __init__(self, state: Mapping[str, Tensor], layer: str = "relu4_2") -> None:
        super().__init__()
        self.vgg = VGGFeatures(state, (layer,))
        self.layer = layer

    def forward(self, inputs: LossInputs) -> Tensor:
        """The loss of one batch, a scalar."""
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
