"""Image gradients and the distances between them, on batches of any channel count.

The Sobel operator is the usual 3x3 pair with weights 1, 2, 1, *not* normalised: a ramp of slope ``a`` a pixel
has gradient ``8a``. SPSR's gradient map is the length of the plain differences of neighbours: ``2a``. Written
as differences of slices, so that the backward pass is deterministic on a GPU (mirroring layers' are not) and
no convolution rounds the difference of two bright pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from srbench.models.interface import ModelError

GRADIENT_FLOOR = 1e-6
"""Under the root of a gradient map, whose derivative has no limit at zero."""


def sobel(image: Tensor) -> Tensor:
    """Sobel gradient of the image mirrored about its border pixels.

    Args:
        image: ``(..., H, W)``, H and W at least 2.

    Returns:
        ``(..., 2, H, W)``: the derivative along rows (downwards), then along columns (rightwards).
    """
    return _sobel_inside(_mirror(_mirror(image).transpose(-1, -2)).transpose(-1, -2))


def gradient_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean square of the difference of the Sobel gradients, over directions, channels and pixels.

    Args:
        sr: ``(N, C, H, W)``, H and W at least 2.
        hr: same shape.

    Returns:
        Scalar, 0 for images that differ by a constant.

    Raises:
        ModelError: the shapes differ or the images are too small.

    Source:
        CSM-SR, gradient loss of the Semantic Structural Loss (https://github.com/aaivu/CSM-SR).
    """
    return _gradient_difference(sr, hr).square().mean()


def texture_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute difference of the Sobel gradients; arguments and errors as :func:`gradient_loss`.

    Source:
        CSM-SR, texture matching loss of the Semantic Structural Loss.
    """
    return _gradient_difference(sr, hr).abs().mean()


def second_order_gradient_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean square of the difference of the Sobel gradients of the Sobel gradients.

    All four of (dy, dx) of (dy, dx) of every channel count equally. (The released code took the colour axis
    for the axis of directions, so that it saw red and green only and failed on grey images.) Only pixels
    whose 5x5 surroundings lie inside the image count: a mirrored border would bend even a plane ramp.

    Args:
        sr: ``(N, C, H, W)``, H and W at least 5.
        hr: same shape.

    Returns:
        Scalar, 0 for images that differ by a plane.

    Raises:
        ModelError: the shapes differ or the images are too small.

    Source:
        CSM-SR, second-order gradient loss of the Semantic Structural Loss.
    """
    _check(sr, hr, 5)
    return _sobel_inside(_sobel_inside(sr - hr)).square().mean()


def gradient_map(image: Tensor, padding: int = 1) -> Tensor:
    """Length of the image's gradient, ``sqrt(v^2 + h^2 + 1e-6)``, each channel by itself.

    ``v = x[i+1, j] - x[i-1, j]`` and ``h = x[i, j+1] - x[i, j-1]``, not halved. The image is continued by
    zeros, so that its border shows as an edge.

    Args:
        image: ``(..., C, H, W)``.
        padding: zeros on every side; 1 keeps the size, 2 gives one pixel more on every side.

    Returns:
        ``(..., C, H + 2 * padding - 2, W + 2 * padding - 2)``, at least 1e-3.

    Source:
        SPSR (arXiv 2003.13081), section 3; the constant from Maclory/SPSR@881e781.
    """
    padded = F.pad(image, (padding, padding, padding, padding))
    v = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    h = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return torch.sqrt(v.square() + h.square() + GRADIENT_FLOOR)


def _gradient_difference(sr: Tensor, hr: Tensor) -> Tensor:
    _check(sr, hr, 2)
    return sobel(sr - hr)


def _sobel_inside(image: Tensor) -> Tensor:
    """``(..., H, W)`` to ``(..., 2, H - 2, W - 2)``: (dy, dx) where the 3x3 window lies inside the image."""
    along_x = image[..., :-2] + 2 * image[..., 1:-1] + image[..., 2:]
    along_y = image[..., :-2, :] + 2 * image[..., 1:-1, :] + image[..., 2:, :]
    dy = along_x[..., 2:, :] - along_x[..., :-2, :]
    dx = along_y[..., 2:] - along_y[..., :-2]
    return torch.stack((dy, dx), dim=-3)


def _mirror(image: Tensor) -> Tensor:
    """One pixel more at both ends of the last axis, the border pixel itself not repeated."""
    return torch.cat((image[..., 1:2], image, image[..., -2:-1]), dim=-1)


def _check(sr: Tensor, hr: Tensor, smallest: int) -> None:
    if sr.shape != hr.shape or sr.ndim != 4:
        raise ModelError(
            f"A gradient loss expects two (N, C, H, W) batches of one shape, found {tuple(sr.shape)} "
            f"and {tuple(hr.shape)}."
        )
    if min(sr.shape[-2:]) < smallest:
        raise ModelError(
            f"This gradient loss needs images of at least {smallest}x{smallest} pixels, "
            f"found {sr.shape[-2]}x{sr.shape[-1]}; train with a larger HR patch."
        )
