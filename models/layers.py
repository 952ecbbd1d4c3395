"""What several networks share: interpolation on the GPU, sub-pixel upsampling, residual blocks.

Interpolation here only ever enlarges by whole numbers and is part of a network; images are resized elsewhere.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from srbench.utils.errors import ModelError


def _nearest(x: float) -> float:
    return 1.0 if -0.5 <= x < 0.5 else 0.0


def _bilinear(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def _bicubic(x: float) -> float:
    """Keys 1981, "Cubic convolution interpolation for digital image processing", eq. 15 (a = -1/2)."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def _lanczos(x: float) -> float:
    """Lanczos window of three lobes: ``sinc(x) sinc(x / 3)``."""
    if x == 0:
        return 1.0
    return 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2 if abs(x) < 3 else 0.0


KERNELS: dict[str, tuple[Callable[[float], float], int]] = {
    "nearest": (_nearest, 0),
    "bilinear": (_bilinear, 1),
    "bicubic": (_bicubic, 2),
    "lanczos": (_lanczos, 3),
}
"""Interpolation kernel by name: the function of the distance in LR pixels, and its radius."""


class InterpolationUpsample(nn.Module):
    """Enlarge by an integer as MATLAB's ``imresize`` does: symmetric border, half-pixel centres.

    No parameters and nothing in the state dict. Differentiable; works on any device and floating dtype.

    Args:
        kernel: a name in :data:`KERNELS`.
        scale: integer magnification, at least 1.

    Raises:
        ModelError: unknown kernel, or a magnification that is no positive integer.
    """

    def __init__(self, kernel: str, scale: int) -> None:
        super().__init__()
        if kernel not in KERNELS or scale < 1:
            raise ModelError(
                f"No {kernel!r} interpolation by {scale}; kernels are {', '.join(KERNELS)}, "
                "magnifications the positive integers."
            )
        self.kernel = kernel
        self.scale = scale
        self.receptive_radius = KERNELS[kernel][1]
        self._taps = _polyphase(kernel, scale)

    def forward(self, lr: Tensor) -> Tensor:
        """``(..., H, W)`` to ``(..., scale*H, scale*W)``, same dtype; may overshoot [0, 1]."""
        # Half precision would cost up to a grey level, and products of tensors would follow the global TF32
        # switch; sums of scaled shifts are exact in float32 everywhere.
        work = lr.float() if lr.dtype in (torch.float16, torch.bfloat16) else lr
        rows = self._along_last(work.transpose(-1, -2)).transpose(-1, -2)
        return self._along_last(rows).to(lr.dtype)

    def extra_repr(self) -> str:
        return f"{self.kernel}, x{self.scale}"

    def _along_last(self, image: Tensor) -> Tensor:
        length = image.shape[-1]
        padded = pad_symmetric(image, self.receptive_radius)
        taps = torch.tensor(self._taps, dtype=image.dtype, device=image.device)
        phases = padded[..., :length, None] * taps[0]
        for offset in range(1, len(taps)):
            phases = phases + padded[..., offset : offset + length, None] * taps[offset]
        return phases.flatten(-2)


@functools.cache
def _polyphase(kernel: str, scale: int) -> tuple[tuple[float, ...], ...]:
    """Weights ``[tap][phase]``: tap ``t`` is the LR pixel ``t - radius`` beside the output pixel's own."""
    function, radius = KERNELS[kernel]
    centres = [(phase + 0.5) / scale - 0.5 for phase in range(scale)]
    offsets = range(-radius, radius + 1)
    totals = [sum(function(centre - offset) for offset in offsets) for centre in centres]
    return tuple(
        tuple(function(centre - offset) / total for centre, total in zip(centres, totals, strict=True))
        for offset in offsets
    )


def pad_symmetric(image: Tensor, radius: int) -> Tensor:
    """Mirror the last axis about its ends, the edge pixel repeated; any radius, as often as needed."""
    if radius == 0:
        return image
    length = image.shape[-1]
    position = torch.arange(-radius, length + radius, device=image.device) % (2 * length)
    return image.index_select(-1, torch.where(position < length, position, 2 * length - 1 - position))


def upsampling_steps(scale: int) -> tuple[int, ...]:
    """The factors a network goes through: 2, 4 and 8 by doublings, 3 at once, none for 1.

    Raises:
        ModelError: another magnification.
    """
    steps: dict[int, tuple[int, ...]] = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}
    if scale not in steps:
        raise ModelError(
            f"No sub-pixel upsampling by {scale}; magnifications are {', '.join(map(str, steps))}."
        )
    return steps[scale]


class PixelShuffleUpsampler(nn.Sequential):
    """Sub-pixel convolutions (Shi et al. 2016, arXiv 1609.05158), a convolution and a shuffle for each step.

    Args:
        features: channels in and out.
        scale: 1 (no layer at all), 2, 3, 4 or 8.
    """

    def __init__(self, features: int, scale: int) -> None:
        layers: list[nn.Module] = []
        for step in upsampling_steps(scale):
            layers += [nn.Conv2d(features, step**2 * features, 3, padding=1), nn.PixelShuffle(step)]
        super().__init__(*layers)


class ResidualBlock(nn.Module):
    """``x + residual_scale * conv(relu(conv(x)))``: a block without normalisation (EDSR, section 3.1)."""

    def __init__(self, features: int, residual_scale: float = 1.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(features, features, 3, padding=1),
        )
        self.residual_scale = residual_scale

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.body(x), alpha=self.residual_scale)


class BicubicResidual(nn.Module):
    """The bicubic image plus what ``body`` adds to it; untrained, it is the bicubic image exactly.

    Small networks trained for seconds start where interpolation stands instead of from noise.

    Args:
        body: network from LR to SR size, with its ``receptive_radius``.
        last: the last layer of ``body``, set to zero here.
        scale: magnification.
    """

    def __init__(self, body: nn.Module, last: nn.Conv2d, scale: int) -> None:
        super().__init__()
        self.body = body
        self.bicubic = InterpolationUpsample("bicubic", scale)
        self.size_multiple = int(getattr(body, "size_multiple", 1))
        self.receptive_radius = max(float(getattr(body, "receptive_radius", math.inf)), 2.0)
        set_zero(last)

    def forward(self, lr: Tensor) -> Tensor:
        sr: Tensor = self.bicubic(lr) + self.body(lr)
        return sr


def set_zero(layer: nn.Conv2d) -> None:
    """Set weight and bias to zero, so that a residual path starts by adding nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def load_published(
    module: nn.Module, state: Mapping[str, Tensor], names: Mapping[str, str], title: str, hint: str
) -> None:
    """Copy a published network's tensors into a part of it.

    Args:
        module: changed in place.
        state: the published state dict, which may hold more.
        names: the module's tensors to their names there; batch counters may be missing.
        title: whose weights they should be, for the message.
        hint: what to use instead, for the message.

    Raises:
        ModelError: a tensor is missing or of another shape; the module is then unchanged.
    """
    present = module.state_dict()
    needed = {name: given for name, given in names.items() if not name.endswith("num_batches_tracked")}
    wrong = [
        given
        for name, given in needed.items()
        if given not in state or state[given].shape != present[name].shape
    ]
    if wrong:
        raise ModelError(
            f"These are not {title} weights: {len(wrong)} of {len(needed)} tensors are missing or of another "
            f"shape (first: {wrong[0]}). {hint}"
        )
    module.load_state_dict(
        {name: state[given] for name, given in names.items() if given in state}, strict=False
    )


def receptive_radius(radii: Sequence[int], steps: Sequence[int]) -> int:
    """LR pixels to each side that an output pixel of a convolutional chain may depend on.

    Args:
        radii: sum of the kernel radii at LR size, then after each upsampling step.
        steps: the upsampling factors, one fewer than ``radii``.
    """
    scale = math.prod(steps)
    low, high = 0, scale - 1
    for radius, step in zip(reversed(radii[1:]), reversed(steps), strict=True):
        low, high = (low - radius) // step, (high + radius) // step
    return max(-low, high) + radii[0]


class BicubicDownsample(nn.Module):
    """Shrink by an integer with the antialiased bicubic kernel: symmetric border, half-pixel centres.

    No parameters and nothing in the state dict. Differentiable; works on any device and floating dtype.

    Args:
        scale: integer factor by which both sides shrink, at least 1.

    Raises:
        ModelError: the factor is no positive integer.

    Source:
        Keys 1981 (a = -1/2), the kernel stretched by ``scale`` as MATLAB's ``imresize`` does.
    """

    weights: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        if scale < 1:
            raise ModelError(f"Images shrink by positive integers, found {scale}.")
        self.scale = scale
        function, self.receptive_radius = KERNELS["bicubic"]
        # Exact in float32 where the factor is a power of two: the weights are fractions of 2**16 then.
        taps = torch.tensor(_weights(function, self.receptive_radius, scale))
        self.register_buffer("weights", taps, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """``(..., H, W)`` to ``(..., H / scale, W / scale)``, same dtype; may overshoot [0, 1].

        Raises:
            ModelError: a side is no multiple of the factor.
        """
        if image.shape[-1] % self.scale or image.shape[-2] % self.scale:
            raise ModelError(
                f"Sides must be multiples of {self.scale} to shrink by it, found {tuple(image.shape[-2:])}."
            )
        if self.scale == 1:
            return image
        # As in InterpolationUpsample: neither half precision nor TF32 may touch the sums.
        work = image.float() if image.dtype in (torch.float16, torch.bfloat16) else image
        rows = self._along_last(work.transpose(-1, -2)).transpose(-1, -2)
        return self._along_last(rows).to(image.dtype)

    def extra_repr(self) -> str:
        return f"bicubic, 1/{self.scale}"

    def _along_last(self, image: Tensor) -> Tensor:
        length = image.shape[-1] // self.scale
        padded = pad_symmetric(image, self.receptive_radius * self.scale)
        cells = padded.reshape(*padded.shape[:-1], -1, self.scale)
        weights = self.weights.to(image.dtype)
        shrunk = (cells[..., :length, :] * weights[0]).sum(-1)
        for cell in range(1, len(weights)):
            shrunk = shrunk + (cells[..., cell : cell + length, :] * weights[cell]).sum(-1)
        return shrunk


def _weights(function: Callable[[float], float], radius: int, scale: int) -> list[list[float]]:
    """Weights ``[cell][pixel]`` of the pixels around output pixel 0, whose cell is number ``radius``."""
    centre = (scale - 1) / 2
    taps = [
        [function((cell * scale + pixel - centre) / scale) for pixel in range(scale)]
        for cell in range(-radius, radius + 1)
    ]
    total = sum(map(sum, taps))
    return [[tap / total for tap in cell] for cell in taps]
