"""VDSR: twenty convolutions that predict what bicubic interpolation missed.

Kim, Lee and Lee, "Accurate image super-resolution using very deep convolutional networks", CVPR 2016,
arXiv 1511.04587. Departures: convolutions have no bias (664,704 parameters instead of 665,921), as in the
PyTorch port whose checkpoints load here; one network for each magnification; RGB where there are three
channels. Magnification 1, which the paper does not have, corrects the noisy image itself: a denoiser in the
manner of Zhang et al. 2017 (arXiv 1608.03981), without its normalisation.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.base import ReleasedWeights
from srbench.models.layers import InterpolationUpsample, receptive_radius, set_zero
from srbench.models.recipe import (
    Clip,
    LossTerm,
    Optimiser,
    PixelLoss,
    Recipe,
    RecipeRequest,
    StageBudget,
    StepRate,
)
from srbench.models.registry import register_model

CONFIGS = {"paper": (18, 64), "tiny": (3, 24)}
"""Variant to the number of hidden convolutions and their width."""


class HiddenLayer(nn.Module):
    """3x3 convolution and ReLU."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(features, features, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class VDSR(nn.Module):
    """The network of the paper behind a bicubic enlargement.

    Args:
        scale: magnification.
        channels: image channels in and out.
        depth: hidden convolutions, between the first and the last.
        features: their width.
    """

    def __init__(self, scale: int, channels: int, depth: int = 18, features: int = 64) -> None:
        super().__init__()
        self.upsample = InterpolationUpsample("bicubic", scale)
        self.residual_layer = nn.Sequential(*(HiddenLayer(features) for _ in range(depth)))
        self.input = nn.Conv2d(channels, features, 3, padding=1, bias=False)
        self.output = nn.Conv2d(features, channels, 3, padding=1, bias=False)
        self.receptive_radius = receptive_radius((self.upsample.receptive_radius, depth + 2), (scale,))
        self.apply(initialise_for_relu)

    def forward(self, lr: Tensor) -> Tensor:
        return self.refine(self.upsample(lr))

    def refine(self, interpolated: Tensor) -> Tensor:
        """The interpolated image plus the predicted residual (section 3.1), at the size of the input."""
        features = self.residual_layer(F.relu(self.input(interpolated)))
        residual: Tensor = self.output(features)
        return interpolated + residual


def initialise_for_relu(module: nn.Module) -> None:
    """Draw convolutions as He et al. 2015 (arXiv 1502.01852) do, preserving the variance of gradients."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=math.sqrt(2 / (9 * module.out_channels)))


def half_squared_error(sr: Tensor, hr: Tensor) -> Tensor:
    """``1/2 ||hr - sr||^2`` summed over an image and averaged over the batch (section 3.2)."""
    return 0.5 * (sr - hr).square().flatten(1).sum(1).mean()


BUDGETS: dict[tuple[str, str], StageBudget] = {
    ("smoke", "paper"): StageBudget(40, 4, 32, 0.1),
    ("smoke", "tiny"): StageBudget(400, 4, 40, 0.1),
    ("short", "paper"): StageBudget(4_000, 64, 41, 0.1),
    ("short", "tiny"): StageBudget(4_000, 64, 41, 0.1),
    ("paper", "paper"): StageBudget(9_960, 64, 41, 0.1),
    ("paper", "tiny"): StageBudget(9_960, 64, 41, 0.1),
}
"""``paper`` is section 5.2."""

THETA = {"paper": 1e-4, "tiny": 1e-3}
"""Of the adjustable clipping, by variant; the paper does not give it.

It bounds how far a step moves a weight, whatever the learning rate; these values were found to train steadily
with the loss summed over a patch.
"""


def vdsr_recipe(request: RecipeRequest) -> Recipe:
    """Section 5.2 of the paper, or the same schedule over fewer and smaller batches."""
    budget, theta = BUDGETS[request.budget, request.variant], THETA[request.variant]
    stage = budget.stage(
        "residual",
        LossTerm("half_squared_error", PixelLoss(half_squared_error)),
        patch=math.ceil(budget.patch / request.scale) * request.scale,
        optimiser=Optimiser("sgd", lr=budget.lr, momentum=0.9, weight_decay=1e-4),
        schedule=StepRate(at=(0.25, 0.5, 0.75), gamma=0.1),
        clip=Clip("adjustable", theta),
    )
    return Recipe(
        stages=(stage,),
        source="arXiv 1511.04587, sections 3.2 and 5.2: 80 epochs (9960 iterations of 64 patches)",
        notes=(
            "One network for each magnification; the paper mixes x2, x3 and x4 in a batch.",
            "Patches of 41 pixels are rounded up to a multiple of the scale.",
            f"The clipping threshold theta is not published; here {theta:g}.",
        ),
    )


@register_model(
    title="VDSR",
    family="regression",
    paper="https://arxiv.org/abs/1511.04587",
    publication="Accurate Image Super-Resolution Using Very Deep Convolutional Networks",
    authors="Kim, Jiwon and Lee, Jung Kwon and Lee, Kyoung Mu",
    year=2016,
    scales=(1, 2, 3, 4),
    variants=("paper", "tiny"),
    recipe=vdsr_recipe,
    released=tuple(
        ReleasedWeights(
            file=f"vdsr_model_epoch_50_x{scale}.pth",
            variant="paper",
            scale=scale,
            url="https://github.com/twtygqyy/pytorch-vdsr/tree/514b0210",
            channels=1,
            licence="MIT",
            direct=False,
            tensors_sha256="bead9b714adc5862ee81f0677a5c313f496f21825b1b3d05ee3087ae6bb5d41a",
            note="model/model_epoch_50.pth there, one network for x2, x3 and x4, trained on 291 photographs. "
            "It is a pickle of the whole module, which srbench refuses: where you trust it, load it with "
            "that repository's code and save its state_dict() under this name.",
        )
        for scale in (2, 3, 4)
    ),
    summary="Adds a learned correction to the bicubic image; the classic regression network.",
)
def vdsr(scale: int, channels: int, variant: str) -> nn.Module:
    """Twenty convolutions of width 64 (``paper``), or five of 24 that start at bicubic (``tiny``)."""
    depth, features = CONFIGS[variant]
    network = VDSR(scale, channels, depth, features)
    if variant == "tiny":
        set_zero(network.output)
    return network
