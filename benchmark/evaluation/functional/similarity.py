"""Likeness of local patterns: SSIM, its form over five scales, and the deviation of gradient similarity."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from srbench.evaluation.functional.fidelity import check_pair
from srbench.evaluation.metrics.registry import MetricUnavailable
from srbench.evaluation.metrics.ssim import K1, K2, SIGMA, WINDOW

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, finest first (Wang, Simoncelli and Bovik 2003)."""

MS_SSIM_SIDE = WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)
"""Smallest side, 176 pixels: the window lies inside the coarsest scale, as the authors' code demands."""

GMSD_CONSTANT = 170.0 / 255.0**2
"""Stabiliser of the gradient similarity: Xue et al. have 170 for grey levels up to 255."""

GMSD_SIDE = 6
"""Smallest side: three gradients after the halving, one of them away from the border."""

STRIP = 2**17
"""Pixels worked on together on a CPU: the ten planes of a strip stay in its cache."""


def ssim(sr: Tensor, hr: Tensor, data_range: float = 1.0) -> Tensor:
    """Mean structural similarity (Wang, Bovik, Sheikh and Simoncelli 2004, eq. 13).

    Gaussian window 11 x 11 with sigma 1.5, K1 = 0.01, K2 = 0.03, population covariance, only windows inside
    the image: what :func:`srbench.evaluation.metrics.ssim.ssim_of` computes for one plane.

    Args:
        sr: ``(N, H, W)`` floating point, any device, both sides at least 11.
        hr: the same shape.
        data_range: difference between white and black.

    Returns:
        ``(N,)`` in [-1, 1].

    Raises:
        MetricUnavailable: the images are smaller than the window.
        ValueError: not two batches of planes of one shape.
    """
    check_pair(sr, hr)
    check_side(sr, WINDOW, "SSIM")
    whole, _ = _mean_similarities(sr, hr, data_range)
    return whole


def ms_ssim(sr: Tensor, hr: Tensor, data_range: float = 1.0) -> Tensor:
    """Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003, eq. 7).

    The product of the mean contrast-structure similarities of five scales and, at the coarsest, of the whole
    SSIM, with the exponents ``SCALE_WEIGHTS``. A scale is the mean over 2 x 2 pixels of the one before; an
    odd last row or column is mirrored first, as in the authors' code. A negative mean counts as 0: broken
    exponents have no value for it.

    Args:
        sr: ``(N, H, W)`` floating point, any device, both sides at least 176.
        hr: the same shape.
        data_range: difference between white and black.

    Returns:
        ``(N,)`` in [0, 1].

    Raises:
        MetricUnavailable: a side is shorter than 176 pixels.
        ValueError: not two batches of planes of one shape.
    """
    check_pair(sr, hr)
    check_side(sr, MS_SSIM_SIDE, "MS-SSIM")
    product = sr.new_ones(len(sr))
    for index, weight in enumerate(SCALE_WEIGHTS):
        if index:
            sr, hr = _halved(sr), _halved(hr)
        whole, contrast = _mean_similarities(sr, hr, data_range)
        mean = whole if index == len(SCALE_WEIGHTS) - 1 else contrast
        product = product * mean.clamp(min=0.0) ** weight
    return product


def gmsd(sr: Tensor, hr: Tensor, data_range: float = 1.0) -> Tensor:
    """Gradient magnitude similarity deviation (Xue, Zhang, Mou and Bovik 2014, eqs. 4 to 6).

    Mean over 2 x 2 pixels, Prewitt gradients over 3 with zeros around the image, similarity
    ``(2 g h + c) / (g^2 + h^2 + c)``, its standard deviation over the pixels.

    Args:
        sr: ``(N, H, W)`` floating point, any device, both sides at least 6.
        hr: the same shape.
        data_range: difference between white and black.

    Returns:
        ``(N,)`` in [0, 0.5]: a similarity lies in (0, 1], whose standard deviation is at most a half.

    Raises:
        MetricUnavailable: a side is shorter than 6 pixels.
        ValueError: not two batches of planes of one shape.
    """
    check_pair(sr, hr)
    check_side(sr, GMSD_SIDE, "GMSD")
    squared_sr, squared_hr = _squared_gradient(sr), _squared_gradient(hr)
    constant = GMSD_CONSTANT * data_range**2
    product = (squared_sr * squared_hr).sqrt_().mul_(2.0).add_(constant)
    similarity = product.div_(squared_sr.add_(squared_hr).add_(constant))
    return similarity.flatten(1).std(1, correction=0)


def check_side(images: Tensor, smallest: int, title: str) -> None:
    """Refuse images too small for a metric.

    Raises:
        MetricUnavailable: names the size needed and the one found.
    """
    height, width = images.shape[-2:]
    if min(height, width) < smallest:
        raise MetricUnavailable(
            f"{title} needs at least {smallest} x {smallest} pixels inside the border, found "
            f"{height} x {width}"
        )


def _mean_similarities(sr: Tensor, hr: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Means over the windows of SSIM and of its contrast-structure term, ``(N,)`` each."""
    whole, contrast = sr.new_zeros(len(sr)), sr.new_zeros(len(sr))
    for part in _strips(sr):
        near, structure = _similarities(sr[part], hr[part], data_range)
        contrast[part[0]] += structure.sum((-2, -1))
        whole[part[0]] += near.mul_(structure).sum((-2, -1))
    windows = (sr.shape[1] - WINDOW + 1) * (sr.shape[2] - WINDOW + 1)
    return whole / windows, contrast / windows


def _strips(images: Tensor) -> Iterator[tuple[slice, slice]]:
    """Images and rows to take together: all of them on a GPU, what a CPU's cache holds elsewhere."""
    count, height, width = images.shape
    windows = height - WINDOW + 1
    if images.is_cuda:
        yield slice(0, count), slice(0, height)
        return
    rows = max(2 * WINDOW, STRIP // width)
    for index in range(count):
        for top in range(0, windows, rows):
            yield slice(index, index + 1), slice(top, min(top + rows, windows) + WINDOW - 1)


def _similarities(sr: Tensor, hr: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Luminance and contrast-structure similarity, ``(N, H - 10, W - 10)`` each."""
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_sr, mean_hr = _window_mean(sr), _window_mean(hr)
    covariance = _window_mean(sr * hr)
    # Only the sum of the two variances is needed, so four means do the work of five.
    variances = _window_mean((sr * sr).addcmul_(hr, hr))
    squares = (mean_sr * mean_sr).addcmul_(mean_hr, mean_hr)
    product = mean_sr.mul_(mean_hr)
    covariance.sub_(product).mul_(2.0).add_(c2)
    variances.sub_(squares).add_(c2)
    return product.mul_(2.0).add_(c1).div_(squares.add_(c1)), covariance.div_(variances)


def _window_mean(images: Tensor) -> Tensor:
    """Gaussian mean over the window, at the positions where it lies inside the image."""
    return _slide(_slide(images, 1), 2)


def _slide(images: Tensor, dim: int) -> Tensor:
    """Weighted sum of shifted slices: on a CPU a twentieth of the time of a convolution with one channel."""
    radius = WINDOW // 2
    weights = [math.exp(-0.5 * (offset / SIGMA) ** 2) for offset in range(-radius, radius + 1)]
    inside = images.shape[dim] - 2 * radius
    total = images.narrow(dim, 0, inside) * (weights[0] / sum(weights))
    for offset in range(1, WINDOW):
        total.add_(images.narrow(dim, offset, inside), alpha=weights[offset] / sum(weights))
    return total


def _halved(images: Tensor) -> Tensor:
    """Mean over 2 x 2 pixels; an odd last row or column is averaged with its mirror image, itself."""
    height, width = images.shape[-2:]
    if height % 2 or width % 2:
        images = torch.nn.functional.pad(images[:, None], (0, width % 2, 0, height % 2), mode="replicate")[
            :, 0
        ]
    return _blocks(images)


def _blocks(images: Tensor) -> Tensor:
    """Mean over 2 x 2 pixels of images with even sides."""
    rows = images[:, ::2] + images[:, 1::2]
    return (rows[..., ::2] + rows[..., 1::2]).mul_(0.25)


def _squared_gradient(images: Tensor) -> Tensor:
    """Squared Prewitt gradient over 3 of the halved image, zeros around it as the authors have it."""
    height, width = images.shape[-2:]
    small = _blocks(torch.nn.functional.pad(images, (0, width % 2, 0, height % 2)))
    padded = torch.nn.functional.pad(small, (1, 1, 1, 1))
    across = _three(padded, 1)
    down = _three(padded, 2)
    horizontal = (across[..., 2:] - across[..., :-2]).div_(3.0)
    vertical = (down[:, 2:] - down[:, :-2]).div_(3.0)
    return horizontal.square_().addcmul_(vertical, vertical)


def _three(images: Tensor, dim: int) -> Tensor:
    """Sum of three neighbours along a dimension."""
    inside = images.shape[dim] - 2
    total = images.narrow(dim, 0, inside) + images.narrow(dim, 1, inside)
    return total.add_(images.narrow(dim, 2, inside))
