"""Losses that compare pixels, gradients or windows: Charbonnier, Sobel, total variation, SSIM."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from srbench.models.recipe import LossInputs
from srbench.utils.errors import ModelError

EPSILON = 1e-3


def _check(what: str, sr: Tensor, hr: Tensor, smallest: int = 1) -> None:
    if sr.shape != hr.shape or sr.ndim != 4:
        raise ModelError(
            f"{what} expects two (N, C, H, W) batches of one shape, found {tuple(sr.shape)} "
            f"and {tuple(hr.shape)}."
        )
    if min(sr.shape[-2:]) < smallest:
        raise ModelError(
            f"{what} needs images of at least {smallest}x{smallest} pixels, "
            f"found {sr.shape[-2]}x{sr.shape[-1]}; train with a larger HR patch."
        )


def charbonnier_loss(sr: Tensor, hr: Tensor, *, epsilon: float = EPSILON) -> Tensor:
    """``sqrt((sr - hr)^2 + epsilon^2)`` summed over an image and averaged over the batch.

    Charbonnier et al. 1994; as a loss of super-resolution in Lai et al. 2017 (arXiv 1704.03915, eq. 1).

    Args:
        sr: ``(N, C, H, W)``.
        hr: same shape.
        epsilon: below this difference the penalty is a parabola, above it the absolute difference.

    Returns:
        Scalar; ``epsilon * C * H * W`` for equal images, nowhere less.

    Raises:
        ModelError: the shapes differ.
    """
    _check("The Charbonnier loss", sr, hr)
    penalty = ((sr - hr).square() + epsilon**2).sqrt()
    return penalty.flatten(1).sum(1).mean()


# Sobel is the usual 3x3 pair with weights 1, 2, 1, not normalised: a ramp of slope ``a`` a pixel has gradient
# ``8a``; SPSR's gradient map is the length of the plain differences of neighbours: ``2a``. Both are
# differences of slices, so that the backward pass is deterministic on a GPU (mirroring layers' are not) and
# no convolution rounds the difference of two bright pixels.

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
    _check("The second-order gradient loss", sr, hr, 5)
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
    _check("A gradient loss", sr, hr, 2)
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


def total_variation(image: Tensor) -> Tensor:
    """Twice the mean square of the vertical plus of the horizontal differences of neighbours, over the batch.

    ``2/N * (sum dy^2 / (C (H-1) W) + sum dx^2 / (C H (W-1)))``: the two directions are averaged apart.

    Args:
        image: ``(N, C, H, W)``, H and W at least 2.

    Returns:
        Scalar, 0 for a constant image; a ramp of slope ``a`` a pixel along one axis has ``2 a^2``.

    Raises:
        ModelError: another number of axes, or an image too small to have neighbours.

    Source:
        leftthomas/SRGAN@7ddfdf2 loss.py; Koushik0901/Swift-SRGAN@cd2414f swift-srgan/loss.py.
    """
    if image.ndim != 4 or min(image.shape[-2:]) < 2:
        raise ModelError(
            "Total variation expects (N, C, H, W) with at least 2x2 pixels, "
            f"found {tuple(image.shape)}; train with a larger HR patch."
        )
    return 2 * (image.diff(dim=-2).square().mean() + image.diff(dim=-1).square().mean())


def variation_of_sr(inputs: LossInputs) -> Tensor:
    """Total variation of the super-resolved batch, as the loss of a term."""
    return total_variation(inputs.sr)


# SSIM with the conventions the super-resolution field settled on: Gaussian window 11x11, sigma 1.5,
# population covariance, only windows that lie wholly inside the image.

WINDOW = 11
SIGMA = 1.5
K1 = 0.01
K2 = 0.03


def ssim(sr: Tensor, hr: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Mean structural similarity of a batch (the mean over images, channels and windows).

    Args:
        sr: ``(N, C, H, W)``, any channel count; H and W at least 11.
        hr: same shape.
        data_range: span of the pixel values, 1 for images in [0, 1].

    Returns:
        Scalar, at most 1; ``1 - ssim(sr, hr)`` is the usual loss.

    Raises:
        ModelError: the shapes differ, or a side is shorter than the window.

    Source:
        Wang et al. 2004, eq. 13; one value per channel, then averaged (as ``tf.image.ssim`` does).
    """
    return ssim_map(sr, hr, data_range=data_range).mean()


def ssim_map(sr: Tensor, hr: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Structural similarity of every window, ``(N, C, H - 10, W - 10)``; arguments as :func:`ssim`."""
    _check("SSIM", sr, hr, WINDOW)
    # E[x^2] - E[x]^2 cancels catastrophically in 8 mantissa bits, so autocast must not touch it.
    with torch.autocast(device_type=sr.device.type, enabled=False):
        sr, hr = (image if image.dtype == torch.float64 else image.float() for image in (sr, hr))
        return _similarity(sr, hr, data_range)


def _similarity(sr: Tensor, hr: Tensor, data_range: float) -> Tensor:
    moments = _window_mean(torch.stack((sr, hr, sr * sr, hr * hr, sr * hr)))
    mean_sr, mean_hr, square_sr, square_hr, product = moments.unbind(0)
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    covariance = product - mean_sr * mean_hr
    variances = (square_sr - mean_sr**2) + (square_hr - mean_hr**2)
    luminance = (2 * mean_sr * mean_hr + c1) / (mean_sr**2 + mean_hr**2 + c1)
    return luminance * (2 * covariance + c2) / (variances + c2)


def _window_mean(images: Tensor) -> Tensor:
    """Gaussian-weighted mean over each window of ``(..., H, W)``, separably."""
    window = torch.tensor(_gaussian(), dtype=images.dtype, device=images.device)
    planes = images.reshape(-1, 1, *images.shape[-2:])
    rows = F.conv2d(planes, window.view(1, 1, -1, 1))
    means = F.conv2d(rows, window.view(1, 1, 1, -1))
    return means.reshape(*images.shape[:-2], *means.shape[-2:])


@functools.cache
def _gaussian() -> tuple[float, ...]:
    radius = WINDOW // 2
    weights = [math.exp(-0.5 * (offset / SIGMA) ** 2) for offset in range(-radius, radius + 1)]
    return tuple(weight / sum(weights) for weight in weights)


def colour_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean absolute difference of the pixel values (colour consistency; on grey images, of the brightness).

    Args:
        sr: ``(N, C, H, W)``.
        hr: same shape.

    Returns:
        Scalar, at least 0.

    Raises:
        ModelError: the shapes differ.
    """
    _check("The colour loss", sr, hr)
    return F.l1_loss(sr, hr)


def structural_similarity_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """``1 - SSIM`` for images in [0, 1]; shapes and errors as ``ssim.ssim``.

    Returns:
        Scalar in [0, 2], 0 for equal images.
    """
    return 1.0 - ssim(sr, hr)
