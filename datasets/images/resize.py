"""The one resize of srbench: MATLAB's ``imresize``, on tensors, batched and differentiable.

Every other "bicubic" differs: OpenCV takes a = -0.75 and does not antialias, torch and Pillow antialias but
renormalise at the border where MATLAB mirrors. Such LR images are no longer comparable (20-28 dB apart).
OpenCV's is here too, under its own name, for comparisons with work that used it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srbench.utils.errors import DatasetError, unknown_name

Scalar = TypeVar("Scalar", bound=np.generic)


def read_crop(pixels: NDArray[Scalar], top: int, left: int, height: int, width: int) -> NDArray[Scalar]:
    """Cut ``(height, width)`` at (top, left), which may lie outside the image in part: it is mirrored there.

    A training pair of ``size`` HR pixels at (top, left), both multiples of ``scale``::

        context = degradation.context(scale)
        around = read_crop(pixels, top - context, left - context, size + 2 * context, size + 2 * context)
        lr = degradation(as_tensor(around), scale)
        border = context // scale
        lr = lr[..., border : lr.shape[-2] - border, border : lr.shape[-1] - border]

    equals the same window of the whole image's LR, at the image's edges too, provided ``pixels`` was cut by
    ``modcrop`` first (the mirror stands where the LR image ends).

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``.
        top: first row, negative above the image.
        left: first column, negative left of the image.
        height: rows, at least 1.
        width: columns, at least 1.

    Returns:
        A view where the window lies inside the image; otherwise a copy in which the outside is the image
        mirrored at its border with the edge pixel repeated, as often as needed.

    Raises:
        DatasetError: an empty window, or pixels of another shape.
    """
    if pixels.ndim not in (2, 3) or height < 1 or width < 1:
        raise DatasetError(
            f"read_crop needs (H, W[, 3]) pixels and a window, found {pixels.shape}, {height}x{width}."
        )
    bottom, right = top + height, left + width
    if top >= 0 and left >= 0 and bottom <= pixels.shape[0] and right <= pixels.shape[1]:
        return pixels[top:bottom, left:right]
    return _along(_along(pixels, 0, top, height), 1, left, width)


def _along(pixels: NDArray[Scalar], axis: int, start: int, length: int) -> NDArray[Scalar]:
    """A range of one axis: a view where it lies inside, else a copy of the mirrored pixels."""
    available = pixels.shape[axis]
    if start >= 0 and start + length <= available:
        return pixels[start : start + length] if axis == 0 else pixels[:, start : start + length]
    return pixels.take(mirror(np.arange(start, start + length), available), axis)


def mirror(positions: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Map positions outside ``0..length-1`` into it: mirrored, edge repeated (MATLAB's ``symmetric``)."""
    folded = np.mod(positions, 2 * length)
    mirrored: NDArray[np.int64] = np.where(folded < length, folded, 2 * length - 1 - folded)
    return mirrored


Floats = NDArray[np.float64]
Border = Literal["mirror", "replicate"]
"""What stands outside an image: it mirrored with the edge pixel repeated, or the edge pixel alone."""


@dataclass(frozen=True)
class Kernel:
    """A kernel to sample with.

    Attributes:
        function: its value at distances in pixels of the coarser grid.
        width: its support, in the same unit.
        antialias: whether downscaling stretches it; otherwise it stays as wide as when enlarging.
        border: what it meets outside the image.
    """

    function: Callable[[Floats], Floats]
    width: float
    antialias: bool = True
    border: Border = "mirror"


def resize(
    image: Tensor, size: tuple[int, int], kernel: str | Kernel = "bicubic", border: Border | None = None
) -> Tensor:
    """Resize the last two dimensions as MATLAB's ``imresize(image, size, kernel)`` does.

    Downscaling stretches the kernel (antialiasing), weights are normalised, the border is mirrored with the
    edge pixel repeated. The sums run in float64 whatever the input, so neither TF32 nor autocast can touch
    them and a crop with its surroundings gives the same numbers as the whole image.

    Args:
        image: ``(..., H, W)`` floating point, any range (the result may overshoot it), any device.
        size: new height and width; any ratio.
        kernel: ``bicubic`` (a = -0.5), ``bilinear``, ``lanczos`` (three lobes), ``area`` (mean over the part
            of the image that an output pixel covers), ``nearest``, or ``cv2_cubic``: what OpenCV calls
            INTER_CUBIC (a = -0.75, never antialiased, edge pixel replicated). Or one of the caller's.
        border: another border than the kernel's own.

    Returns:
        ``(..., size[0], size[1])``, dtype and device of ``image``.

    Raises:
        DatasetError: unknown kernel, integer pixels, or a size that is not positive.

    Reference:
        Keys, Cubic convolution interpolation, IEEE TASSP 29(6), 1981, eq. 15 with a = -1/2.
    """
    if isinstance(kernel, str) and kernel not in KERNELS:
        raise unknown_name("resize kernel", kernel, KERNELS, DatasetError)
    if not image.is_floating_point() or image.ndim < 2:
        raise DatasetError(
            f"resize expects floating-point pixels (..., H, W), found {image.dtype} {tuple(image.shape)}; "
            "convert with image.float() / 255."
        )
    if min(*size, *image.shape[-2:]) < 1:
        raise DatasetError(f"resize needs sides of at least 1 px, asked {tuple(image.shape[-2:])} to {size}.")
    height, width = image.shape[-2:]
    working = torch.float32 if image.device.type == "mps" else torch.float64
    resized = image.to(working)
    if size[0] != height or isinstance(kernel, Kernel):
        resized = _weights(height, size[0], kernel, border, working, image.device) @ resized
    if size[1] != width or isinstance(kernel, Kernel):
        resized = resized @ _weights(width, size[1], kernel, border, working, image.device).mT
    return resized.to(image.dtype)


def resize_by(image: Tensor, scale: int, kernel: str = "bicubic") -> Tensor:
    """Enlarge ``(..., H, W)`` ``scale`` times."""
    height, width = image.shape[-2:]
    return resize(image, (height * scale, width * scale), kernel)


def _cubic(x: Floats, a: float = -0.5) -> Floats:
    x = np.abs(x)
    inner = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    outer = ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    return np.where(x <= 1.0, inner, np.where(x <= 2.0, outer, 0.0))


def _triangle(x: Floats) -> Floats:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _lanczos3(x: Floats) -> Floats:
    return np.where(np.abs(x) < 3.0, np.sinc(x) * np.sinc(x / 3.0), 0.0)


_SAMPLED = {
    "bicubic": Kernel(_cubic, 4.0),
    "bilinear": Kernel(_triangle, 2.0),
    "lanczos": Kernel(_lanczos3, 6.0),
    "cv2_cubic": Kernel(functools.partial(_cubic, a=-0.75), 4.0, antialias=False, border="replicate"),
}
KERNELS = (*_SAMPLED, "area", "nearest")


def weight_matrix(
    old: int, new: int, kernel: str | Kernel = "bicubic", border: Border | None = None
) -> Floats:
    """The ``(new, old)`` matrix that resizes one axis of ``old`` pixels to ``new``; its rows sum to 1."""
    matrix = np.zeros((new, old))
    if kernel == "nearest":
        nearest = (2 * np.arange(new) + 1) * old // (2 * new)
        matrix[np.arange(new), nearest] = 1.0
        return matrix
    if kernel == "area":
        edges, pixels = np.arange(new + 1) * (old / new), np.arange(old)
        overlap = np.minimum(edges[1:, None], pixels + 1.0) - np.maximum(edges[:-1, None], pixels)
        np.maximum(overlap, 0.0, out=matrix)
        matrix /= matrix.sum(axis=1, keepdims=True)
        return matrix
    kernel = _SAMPLED[kernel] if isinstance(kernel, str) else kernel
    stretch = max(old / new, 1.0) if kernel.antialias else 1.0
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    taps = int(np.ceil(kernel.width * stretch)) + 2
    first = np.floor(centres - kernel.width * stretch / 2).astype(np.int64)
    positions = first[:, None] + np.arange(taps)
    weights = kernel.function((centres[:, None] - positions) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = (border or kernel.border) == "mirror"
    inside = mirror(positions, old) if mirrored else np.clip(positions, 0, old - 1)
    np.add.at(matrix, (np.arange(new)[:, None], inside), weights)
    return matrix


@functools.lru_cache(maxsize=32)
def _weights(
    old: int,
    new: int,
    kernel: str | Kernel,
    border: Border | None,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    # A tensor born in inference mode could never take part in a later backward pass.
    with torch.inference_mode(False):
        return torch.from_numpy(weight_matrix(old, new, kernel, border)).to(device=device, dtype=dtype)
