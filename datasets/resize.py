"""The one resize of srbench's data side: MATLAB's ``imresize``, on tensors, batched and differentiable.

Every other "bicubic" differs: OpenCV takes a = -0.75 and does not antialias, torch and Pillow antialias but
renormalise at the border where MATLAB mirrors. Such LR images are no longer comparable (20-28 dB apart).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srbench.datasets.crops import mirror
from srbench.datasets.interface import DatasetError
from srbench.datasets.names import unknown_name

Floats = NDArray[np.float64]


def resize(image: Tensor, size: tuple[int, int], kernel: str = "bicubic") -> Tensor:
    """Resize the last two dimensions as MATLAB's ``imresize(image, size, kernel)`` does.

    Downscaling stretches the kernel (antialiasing), weights are normalised, the border is mirrored with the
    edge pixel repeated. The sums run in float64 whatever the input, so neither TF32 nor autocast can touch
    them and a crop with its surroundings gives the same numbers as the whole image.

    Args:
        image: ``(..., H, W)`` floating point, any range (the result may overshoot it), any device.
        size: height and width wanted; any ratio.
        kernel: ``bicubic`` (a = -0.5), ``bilinear``, ``lanczos`` (three lobes), ``area`` (mean over the part
            of the image that an output pixel covers) or ``nearest``.

    Returns:
        ``(..., size[0], size[1])``, dtype and device of ``image``.

    Raises:
        DatasetError: unknown kernel, integer pixels, or a size that is not positive.

    Reference:
        Keys, Cubic convolution interpolation, IEEE TASSP 29(6), 1981, eq. 15 with a = -1/2.
    """
    _check(image, size, kernel)
    height, width = image.shape[-2:]
    working = torch.float32 if image.device.type == "mps" else torch.float64
    resized = image.to(working)
    if size[0] != height:
        resized = _weights(height, size[0], kernel, working, image.device) @ resized
    if size[1] != width:
        resized = resized @ _weights(width, size[1], kernel, working, image.device).mT
    return resized.to(image.dtype)


def resize_by(image: Tensor, scale: int, kernel: str = "bicubic") -> Tensor:
    """Enlarge ``(..., H, W)`` ``scale`` times."""
    height, width = image.shape[-2:]
    return resize(image, (height * scale, width * scale), kernel)


@dataclass(frozen=True)
class _Kernel:
    """A kernel function and the width of its support, in pixels of the coarser grid."""

    function: Callable[[Floats], Floats]
    width: float


def _cubic(x: Floats) -> Floats:
    x = np.abs(x)
    inner = (1.5 * x - 2.5) * x * x + 1.0
    outer = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1.0, inner, np.where(x <= 2.0, outer, 0.0))


def _triangle(x: Floats) -> Floats:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _lanczos3(x: Floats) -> Floats:
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


_SAMPLED = {
    "bicubic": _Kernel(_cubic, 4.0),
    "bilinear": _Kernel(_triangle, 2.0),
    "lanczos": _Kernel(_lanczos3, 6.0),
}
KERNELS = (*_SAMPLED, "area", "nearest")


def weight_matrix(old: int, new: int, kernel: str = "bicubic") -> Floats:
    """The ``(new, old)`` matrix that resizes one axis of ``old`` pixels to ``new``; its rows sum to 1."""
    if kernel == "nearest":
        return _nearest_matrix(old, new)
    if kernel == "area":
        return _area_matrix(old, new)
    return _sampled_matrix(old, new, _SAMPLED[kernel])


def _sampled_matrix(old: int, new: int, kernel: _Kernel) -> Floats:
    stretch = max(old / new, 1.0)
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    taps = int(np.ceil(kernel.width * stretch)) + 2
    first = np.floor(centres - kernel.width * stretch / 2).astype(np.int64)
    positions = first[:, None] + np.arange(taps)
    weights = kernel.function((centres[:, None] - positions) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((new, old))
    np.add.at(matrix, (np.arange(new)[:, None], mirror(positions, old)), weights)
    return matrix


def _area_matrix(old: int, new: int) -> Floats:
    edges = np.arange(new + 1) * (old / new)
    pixels = np.arange(old)
    overlap = np.minimum(edges[1:, None], pixels + 1.0) - np.maximum(edges[:-1, None], pixels)
    matrix: Floats = np.maximum(overlap, 0.0)
    matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix


def _nearest_matrix(old: int, new: int) -> Floats:
    matrix = np.zeros((new, old))
    nearest = (2 * np.arange(new) + 1) * old // (2 * new)
    matrix[np.arange(new), nearest] = 1.0
    return matrix


@functools.lru_cache(maxsize=32)
def _weights(old: int, new: int, kernel: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    # A tensor born in inference mode could never take part in a later backward pass.
    with torch.inference_mode(False):
        return torch.from_numpy(weight_matrix(old, new, kernel)).to(device=device, dtype=dtype)


def _check(image: Tensor, size: tuple[int, int], kernel: str) -> None:
    if kernel not in KERNELS:
        raise unknown_name("resize kernel", kernel, KERNELS)
    if not image.is_floating_point() or image.ndim < 2:
        raise DatasetError(
            f"resize expects floating-point pixels (..., H, W), found {image.dtype} {tuple(image.shape)}; "
            "convert with image.float() / 255."
        )
    if min(*size, *image.shape[-2:]) < 1:
        raise DatasetError(f"resize needs sides of at least 1 px, asked {tuple(image.shape[-2:])} to {size}.")
