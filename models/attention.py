"""What window-attention networks share: windows, relative positions, shifts, perceptrons, stochastic depth.

Liu et al., "Swin Transformer", ICCV 2021, arXiv 2103.14030. Feature maps are ``(N, H, W, C)`` throughout, so
that a token's channels lie side by side and convolutions in between see ``channels_last`` without a copy.
Attention goes through ``torch.nn.functional.scaled_dot_product_attention``, but for training on a CPU.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FORBIDDEN = -100.0
"""What Swin adds to the logit of a pair of pixels that only the cyclic shift made neighbours."""


def _is_tracing() -> bool:
    """Whether a graph is recorded that must hold for images of every size."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


def split_windows(x: Tensor, window: int, parts: int, heads: int) -> Tensor:
    """Cut a map into square windows and its channels into parts and heads, in one copy.

    Args:
        x: ``(N, H, W, parts * heads * D)``, H and W multiples of ``window``.
        window: side of a window.
        parts: what lies side by side in the channels (query, key, value).
        heads: attention heads of each part.

    Returns:
        ``(parts, N, H*W/window^2, heads, window^2, D)``, windows and their pixels in raster order.
    """
    images, height, width, _ = x.shape
    rows, columns = height // window, width // window
    cut = x.reshape(images, rows, window, columns, window, parts, heads, -1).permute(5, 0, 1, 3, 6, 2, 4, 7)
    return cut.reshape(parts, images, rows * columns, heads, window**2, -1)


def join_windows(windows: Tensor, height: int, width: int) -> Tensor:
    """Undo :func:`split_windows` for one part.

    Args:
        windows: ``(N, H*W/window^2, heads, window^2, D)``.
        height: H.
        width: W.

    Returns:
        ``(N, H, W, heads * D)``.
    """
    images, _, heads, pixels, depth = windows.shape
    side = math.isqrt(pixels)
    grid = windows.reshape(images, height // side, width // side, heads, side, side, depth)
    return grid.permute(0, 1, 4, 2, 5, 3, 6).reshape(images, height, width, heads * depth)


def attend(qkv: Tensor, bias: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention within each window.

    Args:
        qkv: ``(3, N, windows, heads, pixels, D)``, contiguous.
        bias: ``(heads, pixels, pixels)``, added to the logits of every window.
        mask: ``(windows, 1, pixels, pixels)``, added to those of each window, the same for all images.

    Returns:
        ``(N, windows, heads, pixels, D)``.
    """
    bias = bias.to(qkv.dtype)
    # Four dimensions are what fast kernels take; these two ways of merging five need no copy of anything.
    if mask is None:
        query, key, value = qkv.flatten(1, 2).unbind(0)
        return scaled_dot_product(query, key, value, bias[None]).view(qkv.shape[1:])
    query, key, value = qkv.flatten(2, 3).unbind(0)
    both = (bias + mask.to(qkv.dtype)).flatten(0, 1)[None]
    return scaled_dot_product(query, key, value, both).view(qkv.shape[1:])


def scaled_dot_product(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """``softmax(query key^T / sqrt(D) + bias) value`` by the fastest way there is.

    Args:
        query: ``(N, heads, P, D)``.
        key: ``(N, heads, Q, D)``.
        value: ``(N, heads, Q, D)``.
        bias: ``(1, heads, P, Q)``, of the same type.

    Returns:
        ``(N, heads, P, D)``.
    """
    learns = torch.is_grad_enabled() and bias.requires_grad
    if not (learns and query.device.type == "cpu"):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    # On a CPU, torch has no fused kernel for a bias that learns; what it composes instead also guards against
    # rows without any key, three passes over all logits. There are none here.
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    weights = torch.softmax(logits.add_(bias), dim=-1)
    # Transposed, the product is a wide one of few rows, which CPUs do faster than a tall one of few columns.
    return (value.mT @ weights.mT).mT


def relative_bias(table: Tensor, height: int, width: int) -> Tensor:
    """Bias between all pairs of positions of a grid, looked up by their offset.

    Args:
        table: ``(heads, 2*height - 1, 2*width - 1)``; entry ``[:, height - 1 + dy, width - 1 + dx]`` is for a
            query ``dy`` below and ``dx`` right of its key.
        height: rows of the grid.
        width: its columns.

    Returns:
        ``(heads, height*width, height*width)``, query by key, both in raster order.
    """
    if _is_tracing():  # sliding windows would have the size of the image that was traced for ever
        down, right = (
            torch.arange(side)[:, None] - torch.arange(side) + side - 1 for side in (height, width)
        )
        pairs = table[:, down][..., right].permute(0, 1, 3, 2, 4)
        return pairs.reshape(table.shape[0], height * width, height * width)
    # Sliding windows over the reversed table are already ordered by key; reversing them orders the queries.
    sliding = table.flip(1, 2).unfold(1, height, 1).unfold(2, width, 1)
    return sliding.flip(1, 2).reshape(table.shape[0], height * width, height * width)


def shift_mask(height: int, width: int, window: int, device: torch.device) -> Tensor:
    """Additive mask of the windows of a map rolled by half a window (arXiv 2103.14030, section 3.2).

    The last row and the last column of windows hold pixels from opposite sides of the image, which must not
    attend to each other.

    Returns:
        ``(windows, 1, window^2, window^2)`` float32: 0, or :data:`FORBIDDEN` where the sides differ.
    """
    bands = []
    for side in (height, width):
        # 0 before the last window, 1 in its first half, 2 in its second.
        position = torch.arange(side, device=device)
        bands.append((position >= side - window).long() + (position >= side - window // 2).long())
    sides = 3 * bands[0][:, None] + bands[1]
    of_window = split_windows(sides[None, ..., None], window, 1, 1)[0, 0, :, :, :, 0]
    return FORBIDDEN * (of_window[:, :, :, None] != of_window[:, :, None, :]).float()


class ShiftMasks:
    """Makes the masks of shifted windows and remembers the last few sizes.

    A plain object, not a module: masks are neither learned nor saved, and belong to a size, not a network.

    Args:
        window: side of a window; maps are rolled by half of it.
        capacity: sizes remembered.
    """

    def __init__(self, window: int, capacity: int = 8) -> None:
        self.window = window
        self.capacity = capacity
        self._masks: dict[tuple[int, int, torch.device], Tensor] = {}

    def __call__(self, height: int, width: int, device: torch.device) -> Tensor:
        """The mask for maps of this size, ``(windows, 1, window^2, window^2)`` float32."""
        if torch.compiler.is_compiling() or _is_tracing():  # it becomes part of the graph
            return shift_mask(height, width, self.window, device)
        key = (height, width, device)
        if key in self._masks:
            return self._masks[key]
        if len(self._masks) >= self.capacity:
            del self._masks[next(iter(self._masks))]
        # A tensor made in inference mode could never take part in training.
        with torch.inference_mode(False):
            self._masks[key] = shift_mask(height, width, self.window, device)
        return self._masks[key]


class WindowAttention(nn.Module):
    """Multi-head attention within windows with a learned relative position bias; queries, keys, values given.

    Args:
        features: channels of each of query, key and value.
        heads: attention heads.
        window: side of a window.
    """

    def __init__(self, features: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.proj = nn.Linear(features, features)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, qkv: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(N, H, W, 3C)``, query, key and value side by side, to ``(N, H, W, C)``."""
        windows = split_windows(qkv, self.window, 3, self.heads)
        joined = join_windows(attend(windows, self.bias(), mask), qkv.shape[1], qkv.shape[2])
        projected: Tensor = self.proj(joined)
        return projected

    def bias(self) -> Tensor:
        """The table spread over all pairs of pixels of a window, ``(heads, window^2, window^2)``."""
        span = 2 * self.window - 1
        table = self.relative_position_bias_table.view(span, span, self.heads).permute(2, 0, 1)
        return relative_bias(table, self.window, self.window)


def roll(x: Tensor, by: int) -> Tensor:
    """Shift ``(N, H, W, C)`` cyclically by so many pixels down and right."""
    return torch.roll(x, (by, by), (1, 2)) if by else x


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        mapped: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return mapped


class DropPath(nn.Module):
    """Leaves out a residual branch of some images in training (Huang et al. 2016, arXiv 1603.09382).

    Args:
        rate: probability of leaving it out; what stays is divided by ``1 - rate``.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """``(N, ...)`` to the same shape; the input itself in evaluation mode."""
        if not self.training or self.rate == 0:
            return x
        stays = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), device=x.device) >= self.rate
        return x * (stays.to(x.dtype) / (1 - self.rate))

    def extra_repr(self) -> str:
        return f"{self.rate:.3g}"


def convolve(convolution: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution of ``(N, C, H, W)`` to ``(N, H, W, C)``."""
    convolved: Tensor = convolution(x.permute(0, 3, 1, 2))
    return convolved.permute(0, 2, 3, 1)


def initialise_linear(module: nn.Module) -> None:
    """Draw linear layers as Swin does: normal of deviation 0.02 cut at 2, no bias. For ``Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
