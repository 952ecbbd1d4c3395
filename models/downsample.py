"""Shrinking inside a network or a loss, as MATLAB's ``imresize`` shrinks.

A network may have to know what its estimate would look like at LR size, and a loss may have targets at
several sizes. Images handed to anybody are resized in ``srbench.datasets.resize``, to which this is equal.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from srbench.models.interface import ModelError
from srbench.models.layers import KERNELS, pad_symmetric


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
        """Factor, for ``print(network)``."""
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
