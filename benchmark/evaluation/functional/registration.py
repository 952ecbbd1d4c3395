"""How far one image as a whole is shifted against another, by upsampled correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from srbench.evaluation.functional.rings import Spectrum, column_weights, spectrum

STEPS = (0.1, 0.01)
"""Spacings of the two finer grids around the best whole pixel."""

PASSES = 4


def registration_shift(
    moved: Tensor,
    reference: Tensor,
    *,
    max_frequency: float = 0.5,
    reach: float | None = None,
    whitening: float = 0.5,
) -> Tensor:
    """Displacement ``(N, 2)`` of each image against its reference, downwards and to the right, in pixels.

    The peak of the correlation, first on whole pixels, then on grids of 0.1 and 0.01 px by a Fourier sum over
    the few positions wanted: Kuglin and Hines 1975; Guizar-Sicairos, Thurman and Fienup 2008
    (doi 10.1364/OL.33.000156). A window that stays in its place while the image moves pulls the peak to zero,
    the more the smoother the image is; so the windows are moved along with what was found, and it is looked
    again, up to four times. An image without content gives NaN.

    Args:
        moved: ``(N, H, W)`` floating point.
        reference: of the same size.
        max_frequency: highest frequency used, in cycles per pixel; what lies above may be noise.
        reach: largest displacement considered along each axis; periodic structures fit at many.
        whitening: 1 is phase correlation, where all frequencies count the same, those of mere noise as well;
            0 is cross correlation, which coarse shading decides. Halfway is the least disturbed by either.
    """
    band = _band(spectrum(moved), spectrum(reference), max_frequency, whitening)
    found = _refined(band, _coarse(band, reach))
    for _ in range(PASSES - 1):
        before = found
        if not bool(before.any()):
            break
        windows = spectrum(moved, 0.5 * before), spectrum(reference, -0.5 * before)
        found = _refined(_band(*windows, max_frequency, whitening), before)
        if float((found - before).abs().max()) < STEPS[-1]:
            break
    return found.masked_fill(_empty(band)[:, None], torch.nan)


@dataclass(frozen=True)
class _Band:
    """Whitened cross spectrum below the highest frequency.

    Attributes:
        values: ``(N, R, C)`` complex, 0 outside the band.
        rows: ``(R,)`` frequency of each row.
        columns: ``(C,)`` frequency of each column, from 0.
        height: of the images.
        width: of the images.
    """

    values: Tensor
    rows: Tensor
    columns: Tensor
    height: int
    width: int


def _band(a: Spectrum, b: Spectrum, max_frequency: float, exponent: float) -> _Band:
    real = a.values.real
    every_row = torch.fft.fftfreq(a.height, dtype=torch.float64)
    kept = (every_row.abs() <= max_frequency).nonzero()[:, 0]
    rows = every_row[kept].to(real)
    count = min(a.width // 2, math.floor(max_frequency * a.width)) + 1
    columns = torch.fft.rfftfreq(a.width, dtype=torch.float64)[:count].to(real)
    kept = kept.to(real.device)
    radius = torch.hypot(rows[:, None], columns)
    cross = a.values[:, kept, :count] * b.values[:, kept, :count].conj()
    size = cross.abs()
    used = (size > 0) & (radius <= max_frequency) & (radius > 0)
    whitened = cross / torch.where(used, size, 1.0) ** exponent
    return _Band(torch.where(used, whitened, 0.0), rows, columns, a.height, a.width)


def _empty(band: _Band) -> Tensor:
    return band.values.abs().amax((1, 2)) == 0


def _coarse(band: _Band, reach: float | None) -> Tensor:
    """Best whole-pixel displacement ``(N, 2)``."""
    height, width = band.height, band.width
    whole = band.values.new_zeros(len(band.values), height, width // 2 + 1)
    places = (band.rows * height).round().long() % height
    whole[:, places, : len(band.columns)] = band.values
    correlation = torch.fft.irfft2(whole, s=(height, width))
    dy = torch.fft.fftfreq(height, 1.0 / height, device=whole.device).round()
    dx = torch.fft.fftfreq(width, 1.0 / width, device=whole.device).round()
    if reach is not None:
        outside = (dy.abs()[:, None] > reach) | (dx.abs() > reach)
        correlation = correlation.masked_fill(outside, -torch.inf)
    at = correlation.flatten(1).argmax(dim=1)
    return torch.stack([dy[at // width], dx[at % width]], dim=1).to(correlation)


def _refined(band: _Band, centre: Tensor) -> Tensor:
    """Best displacement on ever finer grids of 21 x 21 positions around each centre."""
    weighted = band.values * column_weights(band.width).to(band.rows)[: len(band.columns)]
    for step in STEPS:
        offsets = torch.arange(-10, 11, device=centre.device, dtype=centre.dtype) * step
        y, x = centre[:, :1] + offsets, centre[:, 1:] + offsets
        down = torch.exp(2j * torch.pi * y[:, :, None] * band.rows)
        right = torch.exp(2j * torch.pi * band.columns[:, None] * x[:, None, :])
        at = (down @ weighted @ right).real.flatten(1).argmax(dim=1)[:, None]
        count = len(offsets)
        centre = torch.cat([y.gather(1, at // count), x.gather(1, at % count)], dim=1)
    return centre
