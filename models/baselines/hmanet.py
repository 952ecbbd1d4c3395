"""HMANet (HMA): window attention, convolutions with channel attention, and attention across the whole image.

Chu, Dou, Pan, Weng and Li, "HMANet: hybrid multi-axis aggregation network for image super-resolution", CVPRW
2024, arXiv 2405.05001. Modules are named as in the authors' code (korouuuuu/HMA@406f24f), so that their
checkpoints load; two peculiarities of that code which the weights depend on are kept, see
:class:`~srbench.models.baselines.hmanet_grid.RasterAttention`.

Departures: images whose sides are no multiples of the window are mirrored about their border pixel here, as
for every model (``SRModel.infer``); the authors' script repeats that pixel. x8, which the authors lack, is
three doublings. The variant ``tiny`` is one narrow layer on top of the bicubic image, made to train in
seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.attention import DropPath, Mlp, WindowAttention, convolve, roll
from srbench.models.baselines.hmanet_grid import GridBlock
from srbench.models.baselines.hmanet_recipe import hmanet_recipe
from srbench.models.baselines.swinir_frame import (
    UPSAMPLING_FEATURES,
    Frame,
    PixelShuffleFrame,
    colour_mean,
    on_bicubic,
    without_tables,
)
from srbench.models.interface import ReleasedWeights
from srbench.models.registry import register_model


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the channels' means tell (Hu et al. 2018, arXiv 1709.01507)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(features, features // 2, 1)
        self.fc2 = nn.Conv2d(features // 2, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape."""
        squeezed = F.silu(convolve(self.fc1, x.mean((1, 2), keepdim=True)))
        return x * torch.sigmoid(convolve(self.fc2, squeezed))


class FusedConv(nn.Module):
    """Inverted bottleneck with channel attention: wide 3x3 convolution, then 1x1 (section 3.2.2)."""

    def __init__(self, features: int, expansion: int) -> None:
        super().__init__()
        wide = expansion * features
        self.pre_norm = nn.LayerNorm(features)
        self.fused_conv = nn.Conv2d(features, wide, 3, padding=1)
        self.norm1 = nn.LayerNorm(wide)
        self.se = SqueezeExcitation(wide)
        self.conv3_1x1 = nn.Conv2d(wide, features, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape."""
        del mask
        widened = F.gelu(self.norm1(convolve(self.fused_conv, self.pre_norm(x))))
        return x + convolve(self.conv3_1x1, self.se(widened))


class FusedAttention(nn.Module):
    """``x + WMSA(LN(x))``, then ``x + MLP(LN(x))``: a Swin block, its windows shifted or not."""

    def __init__(self, features: int, heads: int, window: int, shifted: bool, drop_path: float) -> None:
        super().__init__()
        self.shift = window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(features)
        self.qkv = nn.Linear(features, 3 * features)
        self.attn = WindowAttention(features, heads, window)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = Mlp(features, 2 * features)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape; ``mask`` is the one of shifted windows."""
        qkv = self.qkv(roll(self.norm1(x), -self.shift))
        attended = self.attn(qkv, mask if self.shift else None)
        x = x + self.drop_path(roll(attended, self.shift))
        mapped: Tensor = self.drop_path(self.mlp(self.norm2(x)))
        return x + mapped


class AttentionBlocks(nn.Module):
    """Two attention blocks after each convolution block, then the grid block with a learned gain."""

    def __init__(self, size: Size, drop_paths: list[float]) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for index, rate in enumerate(drop_paths):
            if index % 2 == 0:
                blocks.append(FusedConv(size.features, size.expansion))
            blocks.append(FusedAttention(size.features, size.heads, size.window, index % 2 == 1, rate))
        self.blocks = nn.ModuleList(blocks)
        self.gab = GridBlock(size.features, size.heads // 2, size.window, size.interval, size.position_hidden)
        self.scale = nn.Parameter(torch.empty(size.features))
        nn.init.trunc_normal_(self.scale, std=0.02)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape."""
        for block in self.blocks:
            x = block(x, mask)
        aggregated: Tensor = self.gab(x, mask)
        return x + self.scale * aggregated


class RHTB(nn.Module):
    """Residual hybrid transformer block: ``x + conv(blocks(x))`` (section 3.2.1)."""

    def __init__(self, size: Size, drop_paths: list[float]) -> None:
        super().__init__()
        self.residual_group = AttentionBlocks(size, drop_paths)
        self.conv = nn.Conv2d(size.features, size.features, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape."""
        return x + convolve(self.conv, self.residual_group(x, mask))


@dataclass(frozen=True)
class Size:
    """Width, attention blocks of each layer, their heads, and the rest of the configuration.

    ``drop_path`` is the rate at which the last block's branches are left out in training; it grows linearly
    from 0 at the first.
    """

    features: int
    depths: tuple[int, ...]
    heads: int
    expansion: int = 6
    window: int = 16
    interval: int = 4
    position_hidden: int = 5
    drop_path: float = 0.1
    upsampling_features: int = UPSAMPLING_FEATURES


SIZES = {
    "paper": Size(180, (6,) * 6, 6),
    "tiny": Size(
        24, (2,), 4, expansion=2, window=8, position_hidden=4, drop_path=0.0, upsampling_features=24
    ),
}


def build_hmanet(scale: int, mean: tuple[float, ...], size: Size) -> Frame:
    """The network of the paper in the given size, for as many channels as there are means."""
    rates = torch.linspace(0, size.drop_path, sum(size.depths), device="cpu").tolist()
    layers = []
    for depth in size.depths:
        layers.append(RHTB(size, rates[:depth]))
        rates = rates[depth:]
    network = PixelShuffleFrame(scale, size.features, mean, layers, size.window, size.upsampling_features)
    network.receptive_radius = math.inf
    return network


def tiny_hmanet(scale: int, channels: int) -> nn.Module:
    """A small HMANet that corrects the bicubic image, which already carries the mean."""
    return on_bicubic(build_hmanet(scale, (0.0,) * channels, SIZES["tiny"]), scale)


UNLEARNED = ("relative_position_index_SA", "attn_mask")
"""What the authors' checkpoints store besides weights."""


def learned_alone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' checkpoint without its index table and masks; anything else as it is."""
    return without_tables(state, "layers.0.residual_group.gab.qkv.weight", UNLEARNED)


RELEASED = tuple(
    ReleasedWeights(
        f"HMA_SRx{scale}_pretrain.pth",
        "paper",
        scale,
        "https://github.com/korouuuuu/HMA",
        licence="MIT",
        direct=False,
        note="pre-trained on ImageNet, then DIV2K and Flickr2K; linked from that page",
    )
    for scale in (2, 3, 4)
)


@register_model(
    title="HMANet",
    family="attention",
    paper="https://arxiv.org/abs/2405.05001",
    year=2024,
    scales=(2, 3, 4, 8),
    variants=("paper", "tiny"),
    recipe=hmanet_recipe,
    summary="Windows, convolutions and a grid across the whole image; large, slow and highly rated.",
    released=RELEASED,
    convert=learned_alone,
)
def hmanet(scale: int, channels: int, variant: str) -> nn.Module:
    """Six layers of width 180 (``paper``) or one of 24 (``tiny``)."""
    if variant == "tiny":
        return tiny_hmanet(scale, channels)
    return build_hmanet(scale, colour_mean(channels), SIZES[variant])
