"""Cascade: twelve blocks, each shrinking its image again to tell the next what the LR image still wants.

Described in https://github.com/GianpieroTulipani/image_super_resolution (README, 2024), after the deep
Laplacian pyramid (arXiv 1704.03915); there is no paper. The repository's code is another network (its blocks
share weights, work on features, are repeated on the same input and have channel attention; its image is x2),
so that its checkpoints cannot load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.layers import BicubicDownsample, InterpolationUpsample, set_zero, upsampling_steps
from srbench.models.losses.pixel import structural_similarity_loss
from srbench.models.recipe import (
    CosineRate,
    LossTerm,
    PixelLoss,
    Recipe,
    RecipeRequest,
    StageBudget,
    StepRate,
)
from srbench.models.registry import register_model

UNIT = 1 / 32
"""Of corrections and residuals inside the network, in the units of the image: both are small differences.

Thirteen corrections that learn at once would otherwise overshoot, and a residual of a hundredth would not
count beside features of one.
"""

COMPRESSION_GAIN = 0.1
"""On the initial weights of a block's compression: twelve skip connections would add up otherwise."""


@dataclass(frozen=True)
class CascadeConfig:
    """Blocks, width of the first convolution and of all others."""

    blocks: int
    first: int
    features: int


CONFIGS = {"paper": CascadeConfig(12, 512, 128), "tiny": CascadeConfig(4, 32, 16)}


class Enlarge(nn.Module):
    """Features to an image at ``resolution`` times the LR size, and that to the final size.

    Args:
        features: channels in.
        channels: image channels.
        resolution: what the pixel shuffle enlarges by.
        scale: magnification of the network, a multiple of ``resolution``.
    """

    def __init__(self, features: int, channels: int, resolution: int, scale: int) -> None:
        super().__init__()
        self.predict = _convolution(features, channels * resolution**2)
        self.shuffle = nn.PixelShuffle(resolution)
        remaining = scale // resolution
        self.bicubic = InterpolationUpsample("bicubic", remaining) if remaining > 1 else nn.Identity()
        set_zero(self.predict)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Maps ``(N, C * resolution^2, H, W)`` and the image ``(N, C, scale*H, scale*W)`` they make."""
        maps = self.predict(features)
        return maps, UNIT * self.bicubic(self.shuffle(maps))


class CascadeBlock(nn.Module):
    """Corrects the estimate at one resolution and looks at what is left.

    Args:
        features: width.
        channels: image channels.
        resolution: of the correction, relative to LR.
        scale: magnification of the network.
        maps: channels of the maps of this block and of all before it.
    """

    def __init__(self, features: int, channels: int, resolution: int, scale: int, maps: int) -> None:
        super().__init__()
        self.enlarge = Enlarge(features, channels, resolution, scale)
        self.shrink = BicubicDownsample(scale)
        self.compress = _convolution(features + maps + channels, features)
        with torch.no_grad():
            self.compress.weight.mul_(COMPRESSION_GAIN)

    def forward(
        self, lr: Tensor, sr: Tensor, features: Tensor, maps: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """The corrected estimate, the features for the next block, and the maps up to here."""
        added, correction = self.enlarge(features)
        sr = sr + correction
        maps = (*maps, added)
        residual = (self.residual(lr, sr) / UNIT).to(features.dtype)
        features = features + F.relu(self.compress(torch.cat((features, *maps, residual), dim=1)))
        return sr, features, maps

    def residual(self, lr: Tensor, sr: Tensor) -> Tensor:
        """``lr`` minus the shrunk estimate, ``(N, C, H, W)``: zero where the estimate explains ``lr``."""
        shrunk: Tensor = self.shrink(sr)
        return lr - shrunk


class Cascade(nn.Module):
    """The description: a convolution to 512 maps, two to 128, then blocks that correct one estimate in turn.

    One flow takes the residual between the LR image and the estimate shrunk again; the other concatenates the
    enlarged maps and compresses them by a 3x3 convolution, with skip connections. Chosen where it is open:

    * The estimate is at the final size and starts as the bicubic image. A block adds what a 3x3 convolution
      and a pixel shuffle make of its features, enlarged by bicubic interpolation: a band of a Laplacian
      pyramid.
    * The resolutions are cycled: 8, 4, 2 for x8; 4, 2 for x4; 2 for x2; hence no x3. After the last block
      comes a reconstruction at the final size.
    * Shrinking is the benchmark's antialiased bicubic, so that the true HR image has no residual. Nothing
      forces the estimate to shrink to the LR image: where that is noisy it should not.
    * Maps are concatenated at LR size, folded as before the pixel shuffle, so that all convolutions run
      there.
    * Convolutions to images start at zero: the untrained network is bicubic interpolation.

    Parameters (grey, colour) and multiply-adds of a grey 1280x720 image: x2 2,946,868, 3,822,492, 678.4 G; x4
    3,624,328, 5,854,872, 208.6 G; x8 5,781,136, 12,325,296, 83.2 G.

    Args:
        scale: 2, 4 or 8.
        channels: image channels in and out.
        config: blocks and widths.
    """

    def __init__(self, scale: int, channels: int, config: CascadeConfig) -> None:
        super().__init__()
        features = config.features
        self.bicubic = InterpolationUpsample("bicubic", scale)
        self.head = nn.Sequential(
            *(_convolution(channels, config.first), nn.ReLU(inplace=True)),
            *(_convolution(config.first, features), nn.ReLU(inplace=True)),
            *(_convolution(features, features), nn.ReLU(inplace=True)),
        )
        self.blocks = nn.ModuleList()
        maps = 0
        resolutions = cycled_resolutions(scale, config.blocks)
        for resolution in resolutions:
            maps += channels * resolution**2
            self.blocks.append(CascadeBlock(features, channels, resolution, scale, maps))
        self.reconstruct = Enlarge(features, channels, scale, scale)
        self.receptive_radius = _receptive_radius(resolutions, scale)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1] to ``(N, C, scale*H, scale*W)``."""
        sr, features = self.bicubic(lr), self.head(lr)
        maps: Sequence[Tensor] = ()
        for block in self.blocks:
            sr, features, maps = block(lr, sr, features, maps)
        _, correction = self.reconstruct(features)
        final: Tensor = sr + correction
        return final


def cycled_resolutions(scale: int, blocks: int) -> tuple[int, ...]:
    """The resolution of every block: the powers of two from the scale down to 2, again and again."""
    doublings = len(upsampling_steps(scale))
    return tuple(2 ** (doublings - block % doublings) for block in range(blocks))


def _receptive_radius(resolutions: Sequence[int], scale: int) -> int:
    """LR pixels to each side an output pixel depends on."""
    head, predict, compress, reconstruction = 3, 1, 1, 1
    # Shrinking reads the near half of the second LR pixel away; from there, enlarging a 2x correction reads
    # one LR pixel farther, and enlarging a 4x correction does not leave that pixel.
    shrink = [2 + (resolution == 2 < scale) for resolution in resolutions]
    return head + sum(predict + reach + compress for reach in shrink) + reconstruction


def _convolution(channels_in: int, channels: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels_in, channels, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


EPOCHS = 40

BUDGETS: dict[tuple[str, str], StageBudget] = {
    ("smoke", "paper"): StageBudget(60, 4, 8),
    ("smoke", "tiny"): StageBudget(400, 4, 12, 2e-3),
    ("short", "paper"): StageBudget(10_000, 16, 32, 2e-4),
    ("short", "tiny"): StageBudget(10_000, 16, 24, 1e-3),
    ("paper", "paper"): StageBudget(EPOCHS * 800, 16, 64),
    ("paper", "tiny"): StageBudget(EPOCHS * 800, 16, 64),
}
"""Patches in LR pixels; ``paper`` is the README's section on implementation."""


def cascade_recipe(request: RecipeRequest) -> Recipe:
    """Squared error and structural dissimilarity as described, or the same over fewer, smaller batches."""
    budget = BUDGETS[request.budget, request.variant]
    stage = budget.stage(
        "regression",
        LossTerm("mse", PixelLoss(F.mse_loss)),
        LossTerm("dssim", PixelLoss(structural_similarity_loss)),
        patch=budget.patch * request.scale,
        schedule=StepRate(at=(30 / EPOCHS,), gamma=0.1) if request.budget == "paper" else CosineRate(0.01),
    )
    return Recipe(
        stages=(stage,),
        source="https://github.com/GianpieroTulipani/image_super_resolution, README, implementation details",
        notes=(
            "The description gives no weights for MSE and DSSIM: here 1 and 1, DSSIM being 1 - SSIM.",
            "Budget paper: 40 epochs, ten of them at the lower rate, of 16 patches of each of 800 images. "
            "The numbers are those of parameters.yml there; the description does not say how long to train.",
        ),
    )


@register_model(
    title="Cascade",
    family="regression",
    paper="https://github.com/GianpieroTulipani/image_super_resolution",
    publication="image_super_resolution",
    authors="Tulipani, Gianpiero",
    year=2024,
    scales=(2, 4, 8),
    variants=("paper", "tiny"),
    recipe=cascade_recipe,
    summary="Corrects its image block by block, each time comparing the shrunk image with the one given.",
)
def cascade(scale: int, channels: int, variant: str) -> nn.Module:
    """Twelve blocks of width 128 (``paper``) or four of 16 (``tiny``); untrained, both are bicubic."""
    return Cascade(scale, channels, CONFIGS[variant])
