"""SwinIR: attention within small windows that shift from block to block.

Liang, Cao, Sun, Zhang, Van Gool and Timofte, "SwinIR: image restoration using Swin Transformer", ICCVW 2021,
arXiv 2108.10257. Modules are named as in the authors' code (JingyunLiang/SwinIR@6545850), so that their
checkpoints load; what these store of masks and index tables is made here when needed.

Every variant comes at x2, x3, x4 and x8. Of these the authors do not have ``light`` at x8 and ``real`` at x3
and x8, which here enlarges as at x2 and x4, by repeating pixels and convolving for each step. The variant
``tiny`` is two narrow blocks on top of the bicubic image, made to train in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srbench.models.attention import DropPath, Mlp, WindowAttention, convolve, roll
from srbench.models.baselines.swinir_frame import (
    UPSAMPLING_FEATURES,
    DirectFrame,
    Frame,
    NearestFrame,
    PixelShuffleFrame,
    colour_mean,
    on_bicubic,
    without_tables,
)
from srbench.models.baselines.swinir_recipe import swinir_recipe
from srbench.models.interface import ReleasedWeights
from srbench.models.registry import register_model


class SelfAttention(WindowAttention):
    """Window attention that makes its queries, keys and values itself."""

    def __init__(self, features: int, heads: int, window: int) -> None:
        super().__init__(features, heads, window)
        self.qkv = nn.Linear(features, 3 * features)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(N, H, W, C)`` to the same shape."""
        return super().forward(self.qkv(x), mask)


class SwinBlock(nn.Module):
    """``x + WMSA(LN(x))``, then ``x + MLP(LN(x))`` (eq. 7)."""

    def __init__(self, features: int, heads: int, window: int, shifted: bool, drop_path: float) -> None:
        super().__init__()
        self.shift = window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(features)
        self.attn = SelfAttention(features, heads, window)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = Mlp(features, 2 * features)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape; ``mask`` is the one of shifted windows."""
        rolled = roll(self.norm1(x), -self.shift)
        attended = self.attn(rolled, mask if self.shift else None)
        x = x + self.drop_path(roll(attended, self.shift))
        mapped: Tensor = self.drop_path(self.mlp(self.norm2(x)))
        return x + mapped


class ResidualGroup(nn.Module):
    """Holds the blocks of a layer under the authors' name."""

    def __init__(self, blocks: list[SwinBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape."""
        for block in self.blocks:
            x = block(x, mask)
        return x


class RSTB(nn.Module):
    """Residual Swin transformer blocks: ``x + conv(blocks(x))`` (eq. 6)."""

    def __init__(self, features: int, heads: int, window: int, drop_paths: list[float]) -> None:
        super().__init__()
        self.residual_group = ResidualGroup(
            [
                SwinBlock(features, heads, window, index % 2 == 1, rate)
                for index, rate in enumerate(drop_paths)
            ]
        )
        self.conv = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape."""
        return x + convolve(self.conv, self.residual_group(x, mask))


@dataclass(frozen=True)
class Size:
    """Width, blocks of each layer, heads of each block, how the image is enlarged, rate of dropped branches.

    ``drop_path`` is the rate of the last block; it grows linearly from 0 at the first.
    """

    features: int
    depths: tuple[int, ...]
    heads: int
    frame: type[PixelShuffleFrame] | type[DirectFrame] | type[NearestFrame]
    drop_path: float = 0.1
    window: int = 8
    upsampling_features: int = UPSAMPLING_FEATURES


SIZES = {
    "classical": Size(180, (6,) * 6, 6, PixelShuffleFrame),
    "light": Size(60, (6,) * 4, 6, DirectFrame),
    "real": Size(180, (6,) * 6, 6, NearestFrame),
    "tiny": Size(32, (2,), 4, PixelShuffleFrame, drop_path=0.0, upsampling_features=24),
}


def build_swinir(scale: int, mean: tuple[float, ...], size: Size) -> Frame:
    """The network of the paper in the given size, for as many channels as there are means."""
    rates = torch.linspace(0, size.drop_path, sum(size.depths), device="cpu").tolist()
    layers = []
    for depth in size.depths:
        layers.append(RSTB(size.features, size.heads, size.window, rates[:depth]))
        rates = rates[depth:]
    network = size.frame(scale, size.features, mean, layers, size.window, size.upsampling_features)
    network.receptive_radius = swin_radius(size.depths, size.window, size.frame.radius(scale))
    return network


def swin_radius(depths: tuple[int, ...], window: int, enlarging: int) -> int:
    """LR pixels to each side that an output pixel may depend on, whichever place in its window it has.

    Args:
        depths: blocks of each layer; every second one is shifted by half a window.
        window: side of a window.
        enlarging: radius of what follows ``conv_after_body``.
    """
    return max(_reach(centre, depths, window, enlarging) for centre in range(window))


def _reach(centre: int, depths: tuple[int, ...], window: int, enlarging: int) -> int:
    """Follow the pixels that matter from the output of one pixel back to the input, along one axis."""
    low, high = centre - enlarging - 1, centre + enlarging + 1  # with conv_after_body
    for depth in reversed(depths):
        low, high = low - 1, high + 1  # the convolution at the end of a layer
        for block in reversed(range(depth)):
            start = window // 2 * (block % 2)
            low = (low - start) // window * window + start
            high = (high - start) // window * window + start + window - 1
    return max(centre - low, high - centre) + 1  # conv_first


def tiny_swinir(scale: int, channels: int) -> nn.Module:
    """A small SwinIR that corrects the bicubic image, which already carries the mean."""
    return on_bicubic(build_swinir(scale, (0.0,) * channels, SIZES["tiny"]), scale)


UNLEARNED = ("attn_mask", "relative_position_index")
"""Last parts of the names of what the authors' checkpoints store besides weights."""


def learned_alone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' or BasicSR's checkpoint without its masks and index tables; anything else as it is."""
    return without_tables(state, "layers.0.residual_group.blocks.0.attn.qkv.weight", UNLEARNED)


RELEASES = "https://github.com/JingyunLiang/SwinIR/releases/download/v0.0/"


def _released(variant: str, scale: int, file: str, note: str) -> ReleasedWeights:
    return ReleasedWeights(file, variant, scale, RELEASES + file, licence="Apache-2.0", note=note)


DF2K = "trained on DIV2K and Flickr2K with LR patches of 64 pixels"
DIV2K = "trained on DIV2K with LR patches of 48 pixels"
BSRGAN = "for photographs of unknown degradation: trained on BSRGAN's random ones"

RELEASED = (
    *(_released("classical", s, f"001_classicalSR_DF2K_s64w8_SwinIR-M_x{s}.pth", DF2K) for s in (2, 3, 4, 8)),
    *(
        _released("classical", s, f"001_classicalSR_DIV2K_s48w8_SwinIR-M_x{s}.pth", DIV2K)
        for s in (2, 3, 4, 8)
    ),
    *(
        _released("light", s, f"002_lightweightSR_DIV2K_s64w8_SwinIR-S_x{s}.pth", "trained on DIV2K")
        for s in (2, 3, 4)
    ),
    *(
        _released("real", s, f"003_realSR_BSRGAN_DFO_s64w8_SwinIR-M_x{s}_{kind}.pth", f"{BSRGAN}; {of}")
        for s in (2, 4)
        for kind, of in (("GAN", "adversarial stage"), ("PSNR", "first stage"))
    ),
)


@register_model(
    title="SwinIR",
    family="attention",
    paper="https://arxiv.org/abs/2108.10257",
    year=2021,
    scales=(2, 3, 4, 8),
    variants=("classical", "light", "real", "tiny"),
    recipe=swinir_recipe,
    summary="Attention in small shifted windows; the transformer that later networks are compared with.",
    released=RELEASED,
    convert=learned_alone,
)
def swinir(scale: int, channels: int, variant: str) -> nn.Module:
    """Six layers of width 180 (``classical``, ``real``), four of 60 (``light``) or one of 32 (``tiny``)."""
    if variant == "tiny":
        return tiny_swinir(scale, channels)
    return build_swinir(scale, colour_mean(channels), SIZES[variant])
