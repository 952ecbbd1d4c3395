"""What stands around the blocks of SwinIR and of its relatives: first layer, residual, upsampling.

SwinIR comes with three ways of enlarging; HMANet has the first of them. Modules are named as in the authors'
code (JingyunLiang/SwinIR@6545850, models/network_swinir.py), so that their checkpoints load.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srbench.models.attention import ShiftMasks, initialise_linear
from srbench.models.interface import GreyShift, ModelError
from srbench.models.layers import OnBicubic, PixelShuffleUpsampler, receptive_radius, upsampling_steps

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
UPSAMPLING_FEATURES = 64


def colour_mean(channels: int) -> tuple[float, ...]:
    """Mean of DIV2K for three channels; 0 for grey images, as in the authors' code."""
    return DIV2K_MEAN if channels == 3 else (0.0,) * channels


class Normalised(nn.Module):
    """Holds a LayerNorm under the authors' name ``patch_embed.norm``."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., features)`` to the same shape."""
        normalised: Tensor = self.norm(x)
        return normalised


class Frame(nn.Module, ABC):
    """``enlarge(s + conv(LN(blocks(LN(s)))))`` with ``s = conv(lr - mean)`` (SwinIR, eqs. 1 to 4).

    Args:
        features: width of the blocks.
        mean: what is subtracted from each channel of a [0, 1] image and added back; as many as channels.
        layers: blocks ``(N, H, W, features), shift mask -> (N, H, W, features)``.
        window: side of their windows.

    Subclasses add how the image is enlarged, with ``width`` features on the way where there are any.
    """

    last: str
    mean: Tensor
    receptive_radius: float

    def __init__(
        self, features: int, mean: Sequence[float], layers: Iterable[nn.Module], window: int
    ) -> None:
        super().__init__()
        self.size_multiple = window
        self.shift_masks = ShiftMasks(window)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.conv_first = nn.Conv2d(len(mean), features, 3, padding=1)
        self.patch_embed = Normalised(features)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(features)
        self.conv_after_body = nn.Conv2d(features, features, 3, padding=1)
        self.grey_shift: GreyShift | None = None
        if any(mean):
            red, green, blue = (-value for value in mean)
            self.grey_shift = GreyShift(first="conv_first", last=self.last, shift=(red, green, blue))
        self.apply(initialise_linear)

    def forward(self, lr: Tensor) -> Tensor:
        """``(N, C, H, W)`` in [0, 1], H and W multiples of the window, to ``(N, C, scale*H, scale*W)``.

        Raises:
            ModelError: a side is no multiple of the window.
        """
        height, width = lr.shape[-2:]
        if height % self.size_multiple or width % self.size_multiple:
            raise ModelError(
                f"Windows of {self.size_multiple}x{self.size_multiple} pixels do not tile {height}x{width}; "
                "pad the image to a multiple of it (SRModel.infer does)."
            )
        # Channels side by side throughout: tokens and convolutions then share their memory layout.
        shallow = self.conv_first(lr - self.mean).contiguous(memory_format=torch.channels_last)
        sr = self.enlarge(shallow + self.conv_after_body(self._deep(shallow)))
        return (sr + self.mean).contiguous()

    def _deep(self, shallow: Tensor) -> Tensor:
        height, width = shallow.shape[-2:]
        mask = self.shift_masks(height, width, shallow.device)
        x = self.patch_embed(shallow.permute(0, 2, 3, 1))
        for layer in self.layers:
            x = layer(x, mask)
        deep: Tensor = self.norm(x)
        return deep.permute(0, 3, 1, 2)

    @abstractmethod
    def enlarge(self, features: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, C, scale*H, scale*W)``."""


def on_bicubic(body: Frame, scale: int) -> OnBicubic:
    """``body`` as a correction of the bicubic image, which already carries the mean."""
    last = body.get_submodule(body.last)
    assert isinstance(last, nn.Conv2d)
    return OnBicubic(body, last, scale)


def without_tables(state: Mapping[str, Tensor], known_by: str, tables: Sequence[str]) -> dict[str, Tensor]:
    """A checkpoint without what it stores besides weights; one of another network as it is.

    Args:
        state: names to tensors.
        known_by: a name that only this network's checkpoints have.
        tables: last parts of the names of masks and index tables.
    """
    if known_by not in state:
        return dict(state)
    return {key: value for key, value in state.items() if key.rpartition(".")[2] not in tables}


class PixelShuffleFrame(Frame):
    """Enlarges by sub-pixel convolutions of ``width`` features step by step (classical SwinIR, HMANet)."""

    last = "conv_last"

    def __init__(
        self,
        scale: int,
        features: int,
        mean: Sequence[float],
        layers: Iterable[nn.Module],
        window: int,
        width: int = UPSAMPLING_FEATURES,
    ) -> None:
        super().__init__(features, mean, layers, window)
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(features, width, 3, padding=1), nn.LeakyReLU(inplace=True)
        )
        self.upsample = PixelShuffleUpsampler(width, scale)
        self.conv_last = nn.Conv2d(width, len(mean), 3, padding=1)

    def enlarge(self, features: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, C, scale*H, scale*W)``."""
        sr: Tensor = self.conv_last(self.upsample(self.conv_before_upsample(features)))
        return sr

    @staticmethod
    def radius(scale: int) -> int:
        """LR pixels to each side that ``enlarge`` looks at."""
        steps = upsampling_steps(scale)
        return receptive_radius((2,) + (1,) * len(steps), steps)


class DirectFrame(Frame):
    """Enlarges by one sub-pixel convolution straight to the image (lightweight SwinIR)."""

    last = "upsample.0"

    def __init__(
        self,
        scale: int,
        features: int,
        mean: Sequence[float],
        layers: Iterable[nn.Module],
        window: int,
        width: int = 0,
    ) -> None:
        del width
        super().__init__(features, mean, layers, window)
        convolution = nn.Conv2d(features, len(mean) * scale**2, 3, padding=1)
        self.upsample = nn.Sequential(convolution, nn.PixelShuffle(scale))

    def enlarge(self, features: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, C, scale*H, scale*W)``."""
        sr: Tensor = self.upsample(features)
        return sr

    @staticmethod
    def radius(scale: int) -> int:
        """LR pixels to each side that ``enlarge`` looks at, whatever the scale."""
        del scale
        return 1


class NearestFrame(Frame):
    """Enlarges by repeating pixels and convolving, step by step (real-world SwinIR: no checkerboards)."""

    last = "conv_last"

    def __init__(
        self,
        scale: int,
        features: int,
        mean: Sequence[float],
        layers: Iterable[nn.Module],
        window: int,
        width: int = UPSAMPLING_FEATURES,
    ) -> None:
        super().__init__(features, mean, layers, window)
        self.steps = upsampling_steps(scale)
        self.conv_before_upsample = nn.Sequential(
            nn.Conv2d(features, width, 3, padding=1), nn.LeakyReLU(inplace=True)
        )
        for number in range(1, len(self.steps) + 1):
            self.add_module(f"conv_up{number}", nn.Conv2d(width, width, 3, padding=1))
        self.conv_hr = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, len(mean), 3, padding=1)

    def enlarge(self, features: Tensor) -> Tensor:
        """``(N, features, H, W)`` to ``(N, C, scale*H, scale*W)``."""
        x: Tensor = self.conv_before_upsample(features)
        for number, step in enumerate(self.steps, start=1):
            convolution = self.get_submodule(f"conv_up{number}")
            x = F.leaky_relu(
                convolution(F.interpolate(x, scale_factor=step, mode="nearest")), 0.2, inplace=True
            )
        sr: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(x), 0.2, inplace=True))
        return sr

    @staticmethod
    def radius(scale: int) -> int:
        """LR pixels to each side that ``enlarge`` looks at."""
        steps = upsampling_steps(scale)
        return receptive_radius((1,) + (1,) * (len(steps) - 1) + (3,), steps)
