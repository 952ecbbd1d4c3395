"""How HR becomes LR: named, versioned, deterministic degradations, and the 8-bit rounding that follows them.

A degradation that changes its numbers gets a new version, so that scores of two versions never mix.
"""

from __future__ import annotations

import functools
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srbench.datasets.degrade.interface import Degradation, Noise, Place, noise_key
from srbench.datasets.interface import DatasetError
from srbench.datasets.names import unknown_name
from srbench.datasets.resize import resize

__all__ = ["Degradation", "Noise", "Place", "get", "modcrop", "names", "noise_key", "quantise"]

Image = TypeVar("Image", Tensor, NDArray[np.uint8], NDArray[np.uint16])

# Ties such as the mean of 0 and 1 must round alike however the sum was ordered; in units of a grey level.
_TIE = 1e-4


def get(name: str) -> Degradation:
    """The degradation called ``name`` (``bicubic``) or with this id (``bicubic@1``).

    Raises:
        DatasetError: nothing has this name or version; the message lists what there is.
    """
    plain, _, version = name.partition("@")
    found = _DEGRADATIONS.get(plain)
    if found is None:
        raise unknown_name("degradation", plain, _DEGRADATIONS)
    if version and version != str(found.version):
        raise DatasetError(
            f"This srbench makes {found.id}, not {name}: LR of another version has other pixels. "
            f"Use {found.name!r}, or the srbench that made {name}."
        )
    return found


def names() -> list[str]:
    """All degradation names, the default first."""
    return list(_DEGRADATIONS)


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


def _shrink(hr: Tensor, scale: int, place: Place | None, *, kernel: str) -> Tensor:
    del place
    height, width = hr.shape[-2:]
    return resize(hr, (height // scale, width // scale), kernel)


# The cubic kernel reaches 2 LR pixels from the centre of an LR pixel, so 1.5 beyond its edge.
_DEGRADATIONS = {
    "bicubic": Degradation(
        "bicubic",
        1,
        "MATLAB imresize, antialiased, a = -0.5: the convention of the SR literature",
        2,
        functools.partial(_shrink, kernel="bicubic"),
    ),
    "area": Degradation(
        "area",
        1,
        "mean over scale x scale pixels: detector binning",
        0,
        functools.partial(_shrink, kernel="area"),
    ),
}
