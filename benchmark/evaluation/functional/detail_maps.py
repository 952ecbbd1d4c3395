"""Maps of invented and of missing detail, to lie beside an image: where, not only how much.

What is finer than the LR image can carry is split into bands of half an octave; in each, the part of one
image that is a local multiple of the other is explained, the rest is not. Detail that is merely weaker, as
after a blur, is explained; a particle that is not there, or is elsewhere, is not.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from srbench.evaluation.functional.filters import gaussian, mirrored
from srbench.evaluation.functional.rings import radial_frequency

Bands = tuple[Tensor, ...]

BAND = 0.5
"""Width of a band in octaves: within a band all detail of one image must be weaker or stronger alike."""

WINDOW = 1.5
"""Standard deviation of the neighbourhood in LR pixels."""

ROUNDING = 1.0 / 12.0 / 255.0**2
"""Variance of rounding to 8 bits, in squared grey ranges: detail as weak as that explains nothing."""


def hallucination_map(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """Where SR shows detail that the reference does not explain, ``(N, H, W)``, 0 or more.

    The unit is the mean power of detail in the reference: 1 means that as much is invented here as the
    reference holds on the average. Brightness, slow shading and detail that the LR image carries play no
    part.

    Args:
        sr: ``(N, H, W)`` floating point in [0, 1].
        hr: reference of the same size, best free of noise: noise explains nothing.
        scale: magnification, at least 2.

    Raises:
        ValueError: the magnification is below 2, where no detail is finer than the LR image carries.
    """
    in_hr = _bands(hr, scale)
    return _unexplained(_bands(sr, scale), in_hr, scale, in_hr)


def omission_map(sr: Tensor, hr: Tensor, scale: int) -> Tensor:
    """Where the reference shows detail that SR does not explain, in the unit of :func:`hallucination_map`.

    Args:
        sr: ``(N, H, W)`` floating point in [0, 1].
        hr: reference of the same size.
        scale: magnification, at least 2.

    Raises:
        ValueError: the magnification is below 2.
    """
    in_hr = _bands(hr, scale)
    return _unexplained(in_hr, _bands(sr, scale), scale, in_hr)


def _unexplained(of: Bands, by: Bands, scale: int, unit: Bands) -> Tensor:
    """Local power of ``of`` less that of its projection on ``by``, over the mean power of ``unit``."""
    left = [_residual(own, other, WINDOW * scale) for own, other in zip(of, by, strict=True)]
    power = [band.square().mean((1, 2), keepdim=True) for band in unit]
    return torch.stack(left).sum(0) / (torch.stack(power).sum(0) + ROUNDING)


def _residual(band: Tensor, by: Tensor, sigma: float) -> Tensor:
    """What a local multiple of ``by`` leaves of the power of ``band``; a negative one explains nothing."""
    own = gaussian(band * band, sigma)
    shared = gaussian(band * by, sigma).clamp(min=0.0)
    return (own - shared.square() / (gaussian(by * by, sigma) + ROUNDING)).clamp(min=0.0)


def _bands(images: Tensor, scale: int) -> Bands:
    """Detail above the LR Nyquist frequency in bands of half an octave, ``(N, H, W)`` each."""
    if scale < 2:
        raise ValueError(f"Expected a magnification of 2 or more, found {scale}: LR lacks no detail at 1.")
    height, width = images.shape[1:]
    margin = 4 * scale
    padded = mirrored(mirrored(images, margin, 1), margin, 2)
    transform = torch.fft.rfft2(padded - padded.mean((1, 2), keepdim=True))
    size = (int(padded.shape[1]), int(padded.shape[2]))
    bands = (
        torch.fft.irfft2(transform * response.to(images), s=size) for response in _responses(*size, scale)
    )
    return tuple(band[:, margin : margin + height, margin : margin + width] for band in bands)


@functools.lru_cache(maxsize=4)
def _responses(height: int, width: int, scale: int) -> Bands:
    """Filters whose squares add up to one well above the LR Nyquist frequency and to 1/2 at it."""
    octaves = torch.log2(2 * scale * radial_frequency(height, width).clamp(min=1e-9))
    edges = [BAND * number for number in range(max(1, round(math.log2(scale) / BAND)))]
    phases = [0.5 * torch.pi * ((octaves - edge) / BAND + 0.5).clamp(0.0, 1.0) for edge in edges]
    falling = [torch.cos(phase) for phase in phases[1:]] + [torch.ones_like(octaves)]
    return tuple(torch.sin(phase) * down for phase, down in zip(phases, falling, strict=True))
