"""How HR becomes LR: named, versioned, deterministic degradations, and the 8-bit rounding that follows them.

A degradation that changes its numbers gets a new version, so that scores of two versions never mix.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srbench.datasets.interface import DatasetError
from srbench.datasets.names import unknown_name
from srbench.datasets.resize import resize

Image = TypeVar("Image", Tensor, NDArray[np.uint8], NDArray[np.uint16])

# Ties such as the mean of 0 and 1 must round alike however the sum was ordered; in units of a grey level.
_TIE = 1e-4


@dataclass(frozen=True)
class Degradation:
    """One way to make LR from HR.

    Attributes:
        name: as typed.
        version: changes with the numbers.
        summary: one sentence for lists and reports.
        reach: LR pixels of surroundings that one LR pixel depends on, to each side.
        make: ``(N, C, H, W)`` and the scale to ``(N, C, H/scale, W/scale)``.
    """

    name: str
    version: int
    summary: str
    reach: int
    make: Callable[[Tensor, int], Tensor]

    @property
    def id(self) -> str:
        """``name@version``, what every score stores."""
        return f"{self.name}@{self.version}"

    def context(self, scale: int) -> int:
        """HR pixels around a crop, to each side, that its LR depends on; a multiple of ``scale``."""
        return self.reach * scale

    def __call__(self, hr: Tensor, scale: int) -> Tensor:
        """Make LR, not yet rounded: may overshoot [0, 1] slightly, see :func:`quantise`.

        Args:
            hr: ``(N, C, H, W)`` floating point in [0, 1]; H and W multiples of ``scale``.
            scale: integer factor, at least 1.

        Returns:
            ``(N, C, H/scale, W/scale)``, dtype and device of ``hr``.

        Raises:
            DatasetError: a side is not a multiple of ``scale``.
        """
        height, width = hr.shape[-2:]
        if hr.ndim != 4 or scale < 1 or height % scale or width % scale:
            raise DatasetError(
                f"{self.id} at scale {scale} expects (N, C, H, W) with H and W multiples of the scale, found "
                f"{tuple(hr.shape)}; cut the image with modcrop(hr, {scale}) first."
            )
        return self.make(hr, scale)


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


def _shrink(hr: Tensor, scale: int, kernel: str) -> Tensor:
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
