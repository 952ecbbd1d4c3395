"""The grid attention block of HMANet: two kinds of windows and a grid across the whole image, side by side.

Chu, Dou, Pan, Weng and Li, "HMANet: hybrid multi-axis aggregation network for image super-resolution", CVPRW
2024, arXiv 2405.05001, section 3.2.3, as the authors' code does it (korouuuuu/HMA@406f24f,
hma/archs/hma_arch.py).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from srbench.models.attention import (
    Mlp,
    WindowAttention,
    attend,
    join_windows,
    relative_bias,
    roll,
    scaled_dot_product,
)


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
    """A small perceptron that gives the attention bias of an offset, for grids of any size.

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
        """``(heads, height*width, height*width)``, query by key, for a grid of this size."""
        weight = self.pos_proj.weight
        down = torch.arange(1 - height, height, device=weight.device)
        right = torch.arange(1 - width, width, device=weight.device)
        offsets = torch.stack(torch.meshgrid(down, right, indexing="ij"), dim=-1).to(weight.dtype)
        # Offsets are not normalised: half precision would confuse distant ones.
        with _full_precision(weight.device.type):
            table = self.pos3(self.pos2(self.pos1(self.pos_proj(offsets))))
        return relative_bias(table.permute(2, 0, 1), height, width)


def _full_precision(device_type: str) -> AbstractContextManager[object]:
    """Switches autocast off, where there is any: tensors without data know none."""
    return nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)


class BiasedAttention(nn.Module):
    """Attention over all positions of a grid with a dynamic position bias."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.pos = DynamicPositionBias(hidden, heads)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, height: int, width: int) -> Tensor:
        """``(N, heads, height*width, D)`` each, to the same shape."""
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
