"""HMANet (HMA): window attention, convolutions with channel attention, and attention across the whole image.

Chu, Dou, Pan, Weng and Li, "HMANet: hybrid multi-axis aggregation network for image super-resolution", CVPRW
2024, arXiv 2405.05001. Modules are named as in the authors' code (korouuuuu/HMA@406f24f), so that their
checkpoints load; two peculiarities which the weights depend on are kept, see :class:`RasterAttention`.
Departures: images are padded by mirroring as for every model, where the authors' script repeats the border
pixel; x8, which they lack, is three doublings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.attention import (
    DropPath,
    Mlp,
    WindowAttention,
    attend,
    convolve,
    join_windows,
    relative_bias,
    roll,
    scaled_dot_product,
)
from srbench.models.base import ReleasedWeights
from srbench.models.baselines.swinir import SwinIRBase, colour_mean, on_bicubic, strip_buffers
from srbench.models.recipe import (
    LossTerm,
    Optimiser,
    PixelLoss,
    Recipe,
    RecipeRequest,
    StageBudget,
    StepRate,
)
from srbench.models.registry import register_model


class RasterAttention(WindowAttention):
    """The block's shifted windows as the released weights have learned them.

    The paper describes windows shifted by half their side. In the code the rolled map is not cut into windows
    but into runs of as many consecutive pixels, the result is put together as if these had been windows, and
    rolled back along pixels and *channels*. Weights trained that way need both; other networks should use
    :class:`~srbench.models.attention.WindowAttention` on a rolled map.
    """

    def forward(self, qkv: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(N, H, W, 3C)``, not rolled, to ``(N, H, W, C)``; ``mask`` is the one of shifted windows."""
        images, height, width, _ = qkv.shape
        shift, pixels = self.window // 2, self.window**2
        runs = roll(qkv, -shift).reshape(images, height * width // pixels, pixels, 3, self.heads, -1)
        attended = attend(runs.permute(3, 0, 1, 4, 2, 5).contiguous(), self.bias(), mask)
        tokens: Tensor = self.proj(join_windows(attended, height, width)).flatten(1, 2)
        return torch.roll(tokens, (shift, shift), (1, 2)).view(images, height, width, -1)


class DynamicPositionBias(nn.Module):
    """A small perceptron that gives the attention bias of an offset, for grids of any config.

    It is evaluated anew at each call: for a 64x64 image it sees 961 offsets, next to nothing beside the
    attention itself, and a remembered bias would outlive the weights it was made with.

    Args:
        hidden: its width.
        heads: biases it gives for an offset.
    """

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, hidden)
        self.pos1, self.pos2, self.pos3 = (
            nn.Sequential(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, width))
            for width in (hidden, hidden, heads)
        )

    def forward(self, height: int, width: int) -> Tensor:
        """``(heads, height*width, height*width)``, query by key, for a grid of this config."""
        weight = self.pos_proj.weight
        down = torch.arange(1 - height, height, device=weight.device)
        right = torch.arange(1 - width, width, device=weight.device)
        offsets = torch.stack(torch.meshgrid(down, right, indexing="ij"), dim=-1).to(weight.dtype)
        # Offsets are not normalised: half precision would confuse distant ones. Tensors without data know no
        # autocast.
        kind = weight.device.type
        with nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):
            table = self.pos3(self.pos2(self.pos1(self.pos_proj(offsets))))
        return relative_bias(table.permute(2, 0, 1), height, width)


class BiasedAttention(nn.Module):
    """Attention over all positions of a grid with a dynamic position bias."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.pos = DynamicPositionBias(hidden, heads)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, height: int, width: int) -> Tensor:
        return scaled_dot_product(query, key, value, self.pos(height, width).to(query.dtype)[None])


class GridAttention(nn.Module):
    """Attention between pixels that lie whole intervals apart, by way of a fourth projection, the grid.

    Args:
        heads: attention heads.
        interval: distance of the pixels of a group.
        hidden: width of the perceptrons that give the position bias.
    """

    def __init__(self, heads: int, interval: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.interval = interval
        self.attn_transform1 = BiasedAttention(hidden, heads)
        self.attn_transform2 = BiasedAttention(hidden, heads)

    def forward(self, gqkv: Tensor) -> Tensor:
        """``(N, H, W, 4C)``, grid, query, key and value side by side, to ``(N, H, W, C)``."""
        rows, columns = (side // self.interval for side in gqkv.shape[1:3])
        grid, query, key, value = self._split(gqkv).flatten(1, 2).unbind(0)
        gathered = self.attn_transform1(grid, key, value, rows, columns)
        spread: Tensor = self.attn_transform2(query, grid, gathered, rows, columns)
        return self._join(spread, rows, columns)

    def _split(self, x: Tensor) -> Tensor:
        """``(4, N, interval^2, heads, pixels of a group, D)``: a group is one of the interval's phases."""
        images, height, width, _ = x.shape
        step = self.interval
        cut = x.reshape(images, height // step, step, width // step, step, 4, self.heads, -1)
        return cut.permute(5, 0, 2, 4, 6, 1, 3, 7).reshape(
            4, images, step**2, self.heads, height * width // step**2, -1
        )

    def _join(self, groups: Tensor, rows: int, columns: int) -> Tensor:
        step = self.interval
        cut = groups.reshape(-1, step, step, self.heads, rows, columns, groups.shape[-1])
        return cut.permute(0, 4, 1, 5, 2, 3, 6).reshape(
            -1, rows * step, columns * step, self.heads * groups.shape[-1]
        )


class GridBlock(nn.Module):
    """A quarter of the channels in windows, a quarter in shifted ones, half on the grid; normalised after.

    Args:
        features: channels, a multiple of 4.
        heads: heads of each of the three attentions.
        window: side of a window.
        interval: distance of the pixels of a grid.
        hidden: width of the perceptrons that give the grid's position bias.
    """

    def __init__(self, features: int, heads: int, window: int, interval: int, hidden: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(features, 3 * features)
        self.grid_proj = nn.Linear(features, features // 2)
        self.grid_attn = GridAttention(heads, interval, hidden)
        self.window_attn = WindowAttention(features // 4, heads, window)
        self.window_attn_s = RasterAttention(features // 4, heads, window)
        self.fc = nn.Linear(features, features)
        self.norm1 = nn.LayerNorm(features)
        self.norm2 = nn.LayerNorm(features)
        self.mlp = Mlp(features, 2 * features)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``(N, H, W, C)`` to the same shape; ``mask`` is the one of shifted windows."""
        quarter = 3 * x.shape[-1] // 4
        plain, shifted, on_grid = self.qkv(x).split((quarter, quarter, 2 * quarter), dim=-1)
        attended = (
            self.window_attn(plain),
            self.window_attn_s(shifted, mask),
            self.grid_attn(torch.cat((self.grid_proj(x), on_grid), dim=-1)),
        )
        x = x + self.norm1(self.fc(torch.cat(attended, dim=-1)))
        mapped: Tensor = self.norm2(self.mlp(x))
        return x + mapped


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the channels' means tell (Hu et al. 2018, arXiv 1709.01507)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(features, features // 2, 1)
        self.fc2 = nn.Conv2d(features // 2, features, 1)

    def forward(self, x: Tensor) -> Tensor:
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

    def __init__(self, config: HMANetConfig, drop_paths: list[float]) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for index, rate in enumerate(drop_paths):
            if index % 2 == 0:
                blocks.append(FusedConv(config.features, config.expansion))
            blocks.append(FusedAttention(config.features, config.heads, config.window, index % 2 == 1, rate))
        self.blocks = nn.ModuleList(blocks)
        self.gab = GridBlock(
            config.features, config.heads // 2, config.window, config.interval, config.position_hidden
        )
        self.scale = nn.Parameter(torch.empty(config.features))
        nn.init.trunc_normal_(self.scale, std=0.02)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        aggregated: Tensor = self.gab(x, mask)
        return x + self.scale * aggregated


class RHTB(nn.Module):
    """Residual hybrid transformer block: ``x + conv(blocks(x))`` (section 3.2.1)."""

    def __init__(self, config: HMANetConfig, drop_paths: list[float]) -> None:
        super().__init__()
        self.residual_group = AttentionBlocks(config, drop_paths)
        self.conv = nn.Conv2d(config.features, config.features, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x + convolve(self.conv, self.residual_group(x, mask))


@dataclass(frozen=True)
class HMANetConfig:
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
    upsampling_features: int = 64


CONFIGS = {
    "paper": HMANetConfig(180, (6,) * 6, 6),
    "tiny": HMANetConfig(
        24, (2,), 4, expansion=2, window=8, position_hidden=4, drop_path=0.0, upsampling_features=24
    ),
}


def build_hmanet(scale: int, mean: tuple[float, ...], config: HMANetConfig) -> SwinIRBase:
    """The network of the paper in the given size, for as many channels as there are means."""
    rates = torch.linspace(0, config.drop_path, sum(config.depths), device="cpu").tolist()
    layers = []
    for depth in config.depths:
        layers.append(RHTB(config, rates[:depth]))
        rates = rates[depth:]
    network = SwinIRBase(
        scale, config.features, mean, layers, config.window, width=config.upsampling_features
    )
    network.receptive_radius = math.inf
    return network


def strip_tables(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' checkpoint without its index table and masks; anything else as it is."""
    mark = "layers.0.residual_group.gab.qkv.weight"
    return strip_buffers(state, mark, ("relative_position_index_SA", "attn_mask"))


PRETRAINING_RATE = StepRate(at=(300 / 800, 500 / 800, 650 / 800, 700 / 800, 750 / 800), gamma=0.5)
FINE_TUNING_RATE = StepRate(at=(125 / 250, 200 / 250, 225 / 250, 240 / 250), gamma=0.5)

BUDGETS: dict[tuple[str, str], tuple[StageBudget, StageBudget]] = {
    ("smoke", "paper"): (StageBudget(8, 1, 16, 2e-4), StageBudget(2, 1, 16, 5e-6)),
    ("smoke", "tiny"): (StageBudget(440, 12, 8, 1e-3), StageBudget(60, 12, 8, 1e-4)),
    ("short", "paper"): (StageBudget(1_500, 4, 64, 2e-4, 0.999), StageBudget(500, 4, 64, 5e-6, 0.999)),
    ("short", "tiny"): (StageBudget(6_000, 16, 48, 1e-3, 0.999), StageBudget(2_000, 16, 48, 1e-4, 0.999)),
    **dict.fromkeys(
        (("paper", "paper"), ("paper", "tiny")),
        (StageBudget(800_000, 32, 64, 2e-4, 0.999), StageBudget(250_000, 32, 64, 5e-6, 0.999)),
    ),
}
"""Budget and variant to the stages, patches in LR pixels; ``paper`` is the authors' option files."""


def hmanet_recipe(request: RecipeRequest) -> Recipe:
    """L1 regression twice: on many images first, then at a low rate on good ones."""
    stages = [
        budget.stage(
            name,
            LossTerm("l1", PixelLoss(F.l1_loss)),
            patch=budget.patch * request.scale,
            optimiser=Optimiser(lr=budget.lr, betas=(0.9, 0.99)),
            schedule=schedule,
        )
        for budget, name, schedule in zip(
            BUDGETS[request.budget, request.variant],
            ("pretraining", "fine_tuning"),
            (PRETRAINING_RATE, FINE_TUNING_RATE),
            strict=True,
        )
    ]
    return Recipe(
        stages=tuple(stages),
        source="korouuuuu/HMA@406f24f options/train; arXiv 2405.05001, section 4.1",
        notes=(
            "Both stages see the run's data set; the authors pre-train on ImageNet, fine-tune on DF2K.",
            "Fine-tuning crops are LR 64x64 as in the paper; the released option file has 32x32.",
            "Every magnification starts from scratch, as in the released options; the paper's best numbers "
            "pre-train across magnifications.",
        ),
    )


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
    publication="HMANet: Hybrid Multi-Axis Aggregation Network for Image Super-Resolution",
    authors="Chu, Shu-Chuan and Dou, Zhi-Chao and Pan, Jeng-Shyang and Weng, Shaowei and Li, Junbao",
    year=2024,
    scales=(2, 3, 4, 8),
    variants=("paper", "tiny"),
    recipe=hmanet_recipe,
    summary="Windows, convolutions and a grid across the whole image; large, slow and highly rated.",
    released=RELEASED,
    convert=strip_tables,
)
def hmanet(scale: int, channels: int, variant: str) -> nn.Module:
    """Six layers of width 180 (``paper``) or one of 24 (``tiny``)."""
    if variant == "tiny":
        # The bicubic image already carries the mean.
        return on_bicubic(build_hmanet(scale, (0.0,) * channels, CONFIGS["tiny"]), scale)
    return build_hmanet(scale, colour_mean(channels), CONFIGS[variant])
