"""Fourier rings: which detail size carries how much power, and how much two images agree on it.

A ring holds the Fourier samples of about one spatial frequency, measured in cycles per pixel along both axes.
In an image that is not square these are ellipses in sample numbers, so that a ring is one detail size in
every direction and no part of the image has to be cut off to make it square.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

TAPER = 0.125
"""Share of the side that fades in, and out again, at each end: a Tukey window 1/8."""


@dataclass(frozen=True)
class Spectrum:
    """Half-plane Fourier transform of windowed images.

    Attributes:
        values: ``(N, H, W // 2 + 1)`` complex.
        height: of the images.
        width: of the images.
    """

    values: Tensor
    height: int
    width: int


@dataclass(frozen=True)
class Layout:
    """Which ring each Fourier sample belongs to.

    Attributes:
        index: ``(H * (W // 2 + 1),)`` ring of each sample; samples beyond the last ring have index ``K``.
        weight: the same shape, how many samples of the whole plane stand behind one of the half-plane.
        frequency: ``(K,)`` cycles per pixel: 0, 1/m, 2/m, ... up to 1/2, m being the shorter side.
        samples: ``(K,)`` number of samples of the whole plane in each ring.
        independent: ``(K,)`` the same less what the window makes neighbours along a ring share; neighbours
            across it lie in other rings. Rather a little too few.
        window_energy: sum of the squared window; white noise of variance v has power ``v * window_energy``
            in each sample.
    """

    index: Tensor
    weight: Tensor
    frequency: Tensor
    samples: Tensor
    independent: Tensor
    window_energy: float


@dataclass(frozen=True)
class RingSums:
    """Power and cross power of two images in each ring; ring 0, the mean grey level, says nothing.

    Attributes:
        layout: the rings.
        cross: ``(N, K)`` real part of the sum of ``F_a conj(F_b)``.
        power_a: ``(N, K)`` sum of ``|F_a|^2``.
        power_b: ``(N, K)`` sum of ``|F_b|^2``.
    """

    layout: Layout
    cross: Tensor
    power_a: Tensor
    power_b: Tensor


def tukey(length: int, offset: Tensor | None = None, taper: float = TAPER) -> Tensor:
    """Window ``(length,)`` float64: 1 in the middle, half a cosine over ``taper * length`` at each end.

    Symmetric and nowhere zero. Tukey, "An introduction to the calculations of numerical spectrum analysis",
    1967.

    Args:
        length: of the window.
        offset: ``(N,)`` pixels by which each of N windows ``(N, length)`` is moved; what is moved out is cut.
        taper: share of the length.
    """
    place = torch.arange(length, dtype=torch.float64) + 0.5
    if offset is not None:
        place = place.to(offset.device) - offset.double()[:, None]
    from_edge = torch.minimum(place, length - place) / length
    return 0.5 - 0.5 * torch.cos(torch.pi * (from_edge / taper).clamp(0.0, 1.0))


def spectrum(images: Tensor, offset: Tensor | None = None) -> Spectrum:
    """Fourier transform of ``(N, H, W)`` images, their mean taken off and a Tukey window put on.

    The mean is the windowed one, so that no trace of it leaks into the first rings. A constant image gets
    exactly zero everywhere.

    Args:
        images: floating point, any range, any device.
        offset: ``(N, 2)`` pixels by which the window of each image is moved down and to the right.
    """
    height, width = images.shape[-2:]
    rows = tukey(height, None if offset is None else offset[:, 0]).to(images)
    columns = tukey(width, None if offset is None else offset[:, 1]).to(images)
    window = rows[..., :, None] * columns[..., None, :]
    mean = (images * window).sum((-2, -1)) / window.sum((-2, -1))
    constant = images.amax((-2, -1)) == images.amin((-2, -1))
    centred = (images - mean[:, None, None]).masked_fill(constant[:, None, None], 0.0)
    return Spectrum(torch.fft.rfft2(centred * window), height, width)


def ring_sums(a: Spectrum, b: Spectrum) -> RingSums:
    """Power of both and their cross power in each ring.

    On CUDA the order of the sums, hence their last bits, may change from run to run.

    Args:
        a: spectrum of N images.
        b: spectrum of N images of the same size.
    """
    layout = ring_layout(a.height, a.width, a.values.device, a.values.real.dtype)
    x, y = a.values, b.values
    cross = _sum_rings(x.real * y.real + x.imag * y.imag, layout)
    return RingSums(layout, cross, _power(x, layout), _power(y, layout))


@functools.lru_cache(maxsize=8)
def ring_layout(height: int, width: int, device: torch.device, dtype: torch.dtype) -> Layout:
    """The rings of ``height x width`` images: as wide as one sample along the shorter side."""
    shorter = min(height, width)
    count = shorter // 2 + 1
    index = torch.floor(radial_frequency(height, width) * shorter + 0.5).long().clamp(max=count).flatten()
    weight = _multiplicity(height, width)
    samples = torch.zeros(count + 1, dtype=torch.float64).index_add_(0, index, weight)[:count]
    rows, columns = tukey(height), tukey(width)
    frequency = torch.arange(count, dtype=torch.float64) / shorter
    return Layout(
        index.to(device),
        weight.to(device, dtype),
        frequency.to(device, dtype),
        samples.to(device, dtype),
        (samples * math.sqrt(_efficiency(rows) * _efficiency(columns))).to(device, dtype),
        float(rows.square().sum() * columns.square().sum()),
    )


def radial_frequency(height: int, width: int) -> Tensor:
    """Spatial frequency in cycles per pixel of each sample of the half-plane, ``(H, W // 2 + 1)``."""
    fy = torch.fft.fftfreq(height, dtype=torch.float64)
    fx = torch.fft.rfftfreq(width, dtype=torch.float64)
    return torch.hypot(fy[:, None], fx)


def column_weights(width: int) -> Tensor:
    """How many samples of the whole plane each column of the half-plane stands for, ``(W // 2 + 1,)``."""
    weights = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64)
    weights[0] = 1.0
    if width % 2 == 0:
        weights[-1] = 1.0
    return weights


def _multiplicity(height: int, width: int) -> Tensor:
    return column_weights(width).expand(height, -1).flatten()


def _efficiency(window: Tensor) -> float:
    """Share of the Fourier samples that stays independent under a window: mean(w^2)^2 / mean(w^4)."""
    squares = window.square()
    return float(squares.mean().square() / squares.square().mean())


def _power(values: Tensor, layout: Layout) -> Tensor:
    return _sum_rings(values.real.square() + values.imag.square(), layout)


def _sum_rings(values: Tensor, layout: Layout) -> Tensor:
    flat = values.flatten(1) * layout.weight
    count = len(layout.frequency)
    sums = flat.new_zeros(len(flat), count + 1).index_add_(1, layout.index, flat)
    return sums[:, :count]
