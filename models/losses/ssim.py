"""Structural similarity as a differentiable training term.

Wang, Bovik, Sheikh and Simoncelli (2004), "Image quality assessment: from error visibility to structural
similarity", with the conventions the super-resolution field settled on: Gaussian window 11x11, sigma 1.5,
K1 = 0.01, K2 = 0.03, population covariance, only windows that lie wholly inside the image.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from srbench.models.interface import ModelError

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
    _check(sr, hr)
    # E[x^2] - E[x]^2 cancels catastrophically in 8 mantissa bits, so autocast must not touch it.
    with torch.autocast(device_type=sr.device.type, enabled=False):
        return _similarity(_as_float(sr), _as_float(hr), data_range)


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


def _as_float(image: Tensor) -> Tensor:
    return image if image.dtype == torch.float64 else image.float()


def _check(sr: Tensor, hr: Tensor) -> None:
    if sr.shape != hr.shape or sr.ndim != 4:
        raise ModelError(
            f"SSIM expects two (N, C, H, W) batches of one shape, found {tuple(sr.shape)} "
            f"and {tuple(hr.shape)}."
        )
    if min(sr.shape[-2:]) < WINDOW:
        raise ModelError(
            f"SSIM needs images of at least {WINDOW}x{WINDOW} pixels, found {sr.shape[-2]}x{sr.shape[-1]}; "
            f"train with an HR patch of {WINDOW} or more."
        )
