"""LapSRN: a pyramid that doubles the image level by level and predicts at each what the enlargement missed.

Lai, Huang, Ahuja and Yang, "Deep Laplacian pyramid networks for fast and accurate super-resolution", CVPR
2017, arXiv 1704.03915. x2 is one level, x4 two, x8 three; the paper has no level of three, so there is no x3.
Modules are named as in twtygqyy/pytorch-LapSRN, whose checkpoint loads. Departure: with three channels the
network sees RGB, where the paper restores luminance and interpolates the colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srbench.models.base import ReleasedWeights
from srbench.models.layers import BicubicDownsample, receptive_radius, set_zero, upsampling_steps
from srbench.models.losses.pixel import charbonnier_loss
from srbench.models.recipe import (
    Batch,
    CosineRate,
    LossInputs,
    LossTerm,
    Optimiser,
    Outputs,
    Recipe,
    RecipeRequest,
    StageBudget,
)
from srbench.models.registry import register_model

SLOPE = 0.2
"""Of the leaky ReLU for negative values."""


@dataclass(frozen=True)
class LapSRNConfig:
    """Convolutions in a level, before its transposed one, and their width."""

    depth: int
    features: int


CONFIGS = {"paper": LapSRNConfig(10, 64), "tiny": LapSRNConfig(3, 24)}


class FeatureLevel(nn.Module):
    """Convolutions at the size of the level below, then features twice as large (section 3.1)."""

    def __init__(self, config: LapSRNConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(config.depth):
            layers += [_convolution(config.features, config.features), nn.LeakyReLU(SLOPE, inplace=True)]
        layers += [_doubling(config.features), nn.LeakyReLU(SLOPE, inplace=True)]
        self.cov_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.cov_block(x)
        return features


class LapSRN(nn.Module):
    """The network of the paper (figure 1); levels share no weights.

    The port enlarges features by 4x4 transposed convolutions (870,112 parameters at x4); the authors'
    MatConvNet code (phoenix104104/LapSRN) does it by 3x3 ones, the 812 K of the published tables, without
    biases.

    Initial weights are the authors' (``init_LapSRN_model.m``): noise for features, small enough in the first
    layer for the untrained network to be nearly the bilinear enlargement that its image branch starts as.
    (The port's 64 transposed kernels all start equal, each the sum of 64.)

    Args:
        scale: 2, 4 or 8.
        channels: image channels in and out.
        config: depth and width of a level.
    """

    def __init__(self, scale: int, channels: int, config: LapSRNConfig) -> None:
        super().__init__()
        self.levels = len(upsampling_steps(scale))
        self.conv_input = _convolution(channels, config.features)
        self.relu = nn.LeakyReLU(SLOPE, inplace=True)
        for level in range(1, self.levels + 1):
            self.add_module(f"convt_I{level}", _doubling(channels))
            self.add_module(f"convt_R{level}", _convolution(config.features, channels))
            self.add_module(f"convt_F{level}", nn.Sequential(FeatureLevel(config)))
        # A 4x4 transposed convolution reaches one pixel of the doubled size to each side.
        inner = (1 + config.depth,) * self.levels
        self.receptive_radius = receptive_radius((*inner, 2), (2,) * self.levels)
        self._initialise()

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)``, the last level of the pyramid."""
        return self.pyramid(lr)[-1]

    def pyramid(self, lr: Tensor) -> list[Tensor]:
        """The image at x2, x4, ... up to the scale, the smallest first."""
        image, features = lr, self.relu(self.conv_input(lr))
        images = []
        for level in range(1, self.levels + 1):
            features = self.get_submodule(f"convt_F{level}")(features)
            enlarged = self.get_submodule(f"convt_I{level}")(image)
            image = enlarged + self.get_submodule(f"convt_R{level}")(features)
            images.append(image)
        return images

    @torch.no_grad()
    def _initialise(self) -> None:
        for name, layer in self.named_modules():
            if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                continue
            if name.startswith("convt_I"):
                channels = range(layer.in_channels)
                layer.weight.zero_()[channels, channels] = bilinear_kernel()
            else:
                layer.weight.normal_(std=math.sqrt(2 / (9 * self.conv_input.out_channels)))
        self.conv_input.weight.normal_(std=1e-3)


def bilinear_kernel() -> Tensor:
    """The ``(4, 4)`` weights by which a transposed convolution of stride 2 is bilinear enlargement."""
    taps = torch.tensor([0.25, 0.75, 0.75, 0.25])
    return taps[:, None] * taps


def _convolution(channels_in: int, channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)


def _doubling(channels: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False)


def pyramid_forward(network: nn.Module, batch: Batch) -> Outputs:
    """Every level: ``"x2"``, ``"x4"``, ... below the scale, and the image at the scale as ``"sr"``."""
    assert isinstance(network, LapSRN)
    *lower, sr = network.pyramid(batch.lr)
    return {"sr": sr} | {f"x{2 ** (level + 1)}": image for level, image in enumerate(lower)}


class PyramidLoss(nn.Module):
    """The Charbonnier loss summed over the levels (eq. 1).

    The target of a lower level is the HR image shrunk to its size by MATLAB's bicubic ``imresize``, as in the
    authors' ``getBatch_LapSRN.m``.

    Args:
        scale: magnification, a power of two.
    """

    def __init__(self, scale: int) -> None:
        super().__init__()
        lower = [2**level for level in range(1, scale.bit_length() - 1)]
        self.shrink = nn.ModuleDict({f"x{factor}": BicubicDownsample(scale // factor) for factor in lower})

    def forward(self, inputs: LossInputs) -> Tensor:
        """Scalar: summed over pixels and levels, averaged over the batch."""
        loss = charbonnier_loss(inputs.sr, inputs.hr)
        for level, shrink in self.shrink.items():
            loss = loss + charbonnier_loss(inputs.outputs[level], shrink(inputs.hr))
        return loss


@dataclass(frozen=True)
class HalvingRate:
    """Halve the learning rate after every ``every`` of the stage, never below ``floor`` of the base rate."""

    every: float
    floor: float

    def __call__(self, fraction: float) -> float:
        """The factor after this fraction of the stage."""
        # A fraction is a quotient of integers and may fall a rounding error short of its milestone.
        return max(0.5 ** math.floor(fraction / self.every + 1e-9), self.floor)


SHORTER: dict[tuple[str, str], StageBudget] = {
    ("smoke", "paper"): StageBudget(40, 4, 48, 5e-4),
    ("smoke", "tiny"): StageBudget(500, 4, 48, 4e-3),
    ("short", "paper"): StageBudget(20_000, 16, 128, 2e-4),
    ("short", "tiny"): StageBudget(10_000, 16, 96, 2e-3),
}

EPOCHS = 1_000
ITERATIONS_IN_EPOCH = 1_000


def lapsrn_recipe(request: RecipeRequest) -> Recipe:
    """The paper's section 3.4 with the authors' option file, or a shorter regression of the same pyramid.

    Published: SGD at 1e-5, halved every 50 epochs down to 1e-6.
    """
    loss = LossTerm("charbonnier", PyramidLoss(request.scale))
    if request.budget == "paper":
        budget = StageBudget(EPOCHS * ITERATIONS_IN_EPOCH, 64, 128)
        stage = budget.stage(
            "pyramid",
            loss,
            optimiser=Optimiser("sgd", lr=1e-5, momentum=0.9, weight_decay=1e-4),
            schedule=HalvingRate(every=50 / EPOCHS, floor=0.1),
            forward=pyramid_forward,
        )
        notes: tuple[str, ...] = (
            "1000 epochs of 1000 iterations: the paper gives the iterations of an epoch and no number of "
            "epochs; the authors' option file has 1000 epochs, but of 100 iterations.",
            "The authors train on T91 and BSDS200 and shrink images by 0.5 to 1 at random, which is not done "
            "here.",
        )
    else:
        budget = SHORTER[request.budget, request.variant]
        stage = budget.stage("pyramid", loss, schedule=CosineRate(0.01), forward=pyramid_forward)
        notes = ("Adam, as in twtygqyy/pytorch-LapSRN: the paper's SGD needs its hundreds of epochs.",)
    return Recipe(
        stages=(stage,),
        source="arXiv 1704.03915, section 3.4, and phoenix104104/LapSRN@da4029e init_LapSRN_opts.m",
        notes=notes,
    )


@register_model(
    title="LapSRN",
    family="regression",
    paper="https://arxiv.org/abs/1704.03915",
    publication="Deep Laplacian Pyramid Networks for Fast and Accurate Super-Resolution",
    authors="Lai, Wei-Sheng and Huang, Jia-Bin and Ahuja, Narendra and Yang, Ming-Hsuan",
    year=2017,
    scales=(2, 4, 8),
    variants=("paper", "tiny"),
    recipe=lapsrn_recipe,
    summary="Doubles the image step by step and adds the detail each doubling missed.",
    released=(
        ReleasedWeights(
            file="model_epoch_100.pth",
            variant="paper",
            scale=4,
            url="https://github.com/twtygqyy/pytorch-LapSRN/tree/1b7737ab",
            channels=1,
            licence="MIT",
            direct=False,
            tensors_sha256="03467880d4112014f1d6cd8d32df53174a6db6f65e1eac84a48ab881d127598a",
            note=(
                "Luminance of T91 and BSDS200, bicubic LR. model/model_epoch_100.pth there is a pickle of a "
                "whole module, which srbench does not open: save its state_dict() beside that repository's "
                "lapsrn.py and load the result."
            ),
        ),
    ),
)
def lapsrn(scale: int, channels: int, variant: str) -> nn.Module:
    """Ten convolutions of width 64 a level (``paper``), or three of 24 that start at bilinear (``tiny``)."""
    network = LapSRN(scale, channels, CONFIGS[variant])
    if variant == "tiny":
        for name, layer in network.named_children():
            if name.startswith("convt_R") and isinstance(layer, nn.Conv2d):
                set_zero(layer)
    return network
