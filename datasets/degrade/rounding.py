"""From float LR to grey levels, and from any image to one that a scale divides."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = TypeVar("Image", Tensor, NDArray[np.uint8], NDArray[np.uint16])

# Ties such as the mean of 0 and 1 must round alike however the sum was ordered; in units of a grey level.
_TIE = 1e-4


def quantise(image: Tensor, bits: int = 8) -> Tensor:
    """Clamp to [0, 1] and round to ``2**bits`` levels, halves upwards; still floating point in [0, 1]."""
    top = float(2**bits - 1)
    working = torch.float32 if image.device.type == "mps" else torch.float64
    levels = torch.floor(image.to(working).clamp(0.0, 1.0) * top + (0.5 + _TIE)).clamp_(max=top)
    return (levels / top).to(image.dtype)


def modcrop(hr: Image, scale: int) -> Image:
    """Cut bottom and right so that the last two sides are multiples of ``scale`` (a view, no copy)."""
    height, width = hr.shape[-2:]
    return hr[..., : height - height % scale, : width - width % scale]
