"""Pixels of images: grey and colour brought together, rounded to 8 bit, and smoothed."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from srbench.utils.errors import SrbenchError

if TYPE_CHECKING:
    from torch import Tensor

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Plane = NDArray[np.float64]
Channel = TypeVar("Channel", Plane, "Tensor")

LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""ITU-R BT.601 weights of red, green and blue."""


def to_grey(pixels: Pixels) -> Plane:
    """8 or 16 bit pixels ``(H, W)`` or ``(H, W, 3)`` to one float64 plane in [0, 1].

    Three equal channels give what one channel gives.

    Raises:
        SrbenchError: another dtype or shape.
    """
    if pixels.dtype not in (np.uint8, np.uint16) or pixels.ndim not in (2, 3):
        raise SrbenchError(
            f"Expected 8 or 16 bit pixels (H, W) or (H, W, 3), found {pixels.dtype} {pixels.shape}; "
            "round to uint8 first."
        )
    top = float(np.iinfo(pixels.dtype).max)
    if pixels.ndim == 2:
        return pixels.astype(np.float64) / top
    grey: Plane = luma(*(pixels[..., channel].astype(np.float64) for channel in range(3))) / top
    return grey


def luma(red: Channel, green: Channel, blue: Channel) -> Channel:
    """BT.601 luma of floating-point channels (arrays or tensors), in their range."""
    weight_r, _, weight_b = LUMA_WEIGHTS
    # Written around green so that three equal channels give exactly that channel.
    return green + weight_r * (red - green) + weight_b * (blue - green)


def to_uint8(pixels: Pixels) -> NDArray[np.uint8]:
    """One grey plane rounded to 8 bit, for previews and for what scores are measured against."""
    if pixels.dtype == np.uint8 and pixels.ndim == 2:
        return np.asarray(pixels, dtype=np.uint8)
    return np.floor(to_grey(pixels) * 255.0 + 0.5).astype(np.uint8)


def to_eight_bits(pixels: Pixels) -> NDArray[np.uint8]:
    """Every channel rounded to 8 bit; the shape stays."""
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, dtype=np.uint8)
    return np.floor(pixels.astype(np.float64) / np.iinfo(pixels.dtype).max * 255.0 + 0.5).astype(np.uint8)


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Images for a network of ``channels`` channels.

    Args:
        images: ``(N, 1, H, W)`` or ``(N, 3, H, W)`` RGB, floating point.
        channels: 1 or 3.

    Returns:
        The images; grey ones repeated (a view), colour ones reduced by :func:`luma` for a grey network.
    """
    if images.shape[1] == 1:
        return images.expand(-1, channels, -1, -1)
    return images if channels == images.shape[1] else rgb_to_luma(images)


def rgb_to_luma(images: Tensor) -> Tensor:
    """``(N, 3, H, W)`` RGB to ``(N, 1, H, W)``: ITU-R BT.601, full range, not rounded; grey as it is.

    The luma that evaluation gives a grey network; three equal channels give exactly that channel.
    """
    if images.shape[1] == 1:
        return images
    y: Tensor = luma(*(images[:, channel, None] for channel in range(3)))
    return y


def gaussian(
    plane: Plane, sigma: float, border: Literal["reflect", "mirror"] = "reflect", radius: int | None = None
) -> Plane:
    """Gaussian mean of ``(H, W)``: SciPy's ``gaussian_filter`` to some 1e-16, four times as fast.

    Args:
        plane: float64.
        sigma: standard deviation in pixels.
        border: beyond it the image is reflected with its last row and column repeated, or not (``mirror``).
        radius: of the kernel; four standard deviations, rounded, when None.
    """
    import cv2

    kernel = _gaussian_kernel(sigma, int(4.0 * sigma + 0.5) if radius is None else radius)
    around = cv2.BORDER_REFLECT if border == "reflect" else cv2.BORDER_REFLECT_101
    return np.asarray(cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel, borderType=around))


@functools.lru_cache(maxsize=16)
def _gaussian_kernel(sigma: float, radius: int) -> Plane:
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    return np.asarray(weights / weights.sum(), dtype=np.float64)
