"""How far one image as a whole is shifted against another, by upsampled correlation."""

from __future__ import annotations

import torch
from torch import Tensor

from srbench.evaluation.functional.rings import Spectrum, column_weights, radial_frequency

STEPS = (0.1, 0.01)
"""Spacings of the two finer grids around the best whole pixel."""


def registration_shift(
    moved: Spectrum,
    reference: Spectrum,
    *,
    max_frequency: float = 0.5,
    reach: float | None = None,
    whitening: float = 0.5,
) -> Tensor:
    """Displacement ``(N, 2)`` of each image against its reference, downwards and to the right, in pixels.

    The peak of the correlation, first on whole pixels, then on grids of 0.1 and 0.01 px by a Fourier sum over
    the few positions wanted: Kuglin and Hines 1975; Guizar-Sicairos, Thurman and Fienup 2008
    (doi 10.1364/OL.33.000156). An image without content gives NaN.

    Args:
        moved: spectrum of N images.
        reference: spectrum of N images of the same size.
        max_frequency: highest frequency used, in cycles per pixel; what lies above may be noise.
        reach: largest displacement considered along each axis; periodic structures fit at many.
        whitening: 1 is phase correlation, where all frequencies count the same, those of mere noise as well;
            0 is cross correlation, which coarse shading decides. Halfway is the least disturbed by either.
    """
    height, width = moved.height, moved.width
    used = (radial_frequency(height, width) <= max_frequency) & (radial_frequency(height, width) > 0)
    correlated = _whitened(moved.values * reference.values.conj(), whitening) * used.to(moved.values.device)
    rows, columns = _frequencies(moved)
    kept_rows, kept_columns = rows.abs() <= max_frequency, columns <= max_frequency
    best = _coarse(correlated, height, width, reach)
    weighted = (correlated * column_weights(width).to(rows))[:, kept_rows][:, :, kept_columns]
    for step in STEPS:
        best = _refine(weighted, rows[kept_rows], columns[kept_columns], best, step)
    empty = (correlated.abs().amax((1, 2)) == 0)[:, None]
    return best.masked_fill(empty, torch.nan)


def _whitened(cross: Tensor, exponent: float) -> Tensor:
    size = cross.abs()
    return torch.where(size > 0, cross / torch.where(size > 0, size, 1.0) ** exponent, 0.0)


def _frequencies(of: Spectrum) -> tuple[Tensor, Tensor]:
    real = of.values.real
    rows = torch.fft.fftfreq(of.height, dtype=torch.float64)
    columns = torch.fft.rfftfreq(of.width, dtype=torch.float64)
    return rows.to(real), columns.to(real)


def _coarse(correlated: Tensor, height: int, width: int, reach: float | None) -> Tensor:
    """Best whole-pixel displacement ``(N, 2)``."""
    correlation = torch.fft.irfft2(correlated, s=(height, width))
    dy = torch.fft.fftfreq(height, 1.0 / height, device=correlated.device).round()
    dx = torch.fft.fftfreq(width, 1.0 / width, device=correlated.device).round()
    if reach is not None:
        outside = (dy.abs()[:, None] > reach) | (dx.abs() > reach)
        correlation = correlation.masked_fill(outside, -torch.inf)
    at = correlation.flatten(1).argmax(dim=1)
    return torch.stack([dy[at // width], dx[at % width]], dim=1).to(correlation)


def _refine(weighted: Tensor, rows: Tensor, columns: Tensor, centre: Tensor, step: float) -> Tensor:
    """Best displacement on a grid of 21 x 21 positions ``step`` apart around each centre."""
    offsets = torch.arange(-10, 11, device=rows.device, dtype=rows.dtype) * step
    y, x = centre[:, :1] + offsets, centre[:, 1:] + offsets
    down = torch.exp(2j * torch.pi * y[:, :, None] * rows)
    right = torch.exp(2j * torch.pi * columns[:, None] * x[:, None, :])
    at = (down @ weighted @ right).real.flatten(1).argmax(dim=1)
    count = len(offsets)
    return torch.stack(
        [y.gather(1, at[:, None] // count)[:, 0], x.gather(1, at[:, None] % count)[:, 0]], dim=1
    )
