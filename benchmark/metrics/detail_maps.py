"""Maps of invented and of missing detail, to lie beside an image: where, not only how much.

What is finer than the LR image can carry is split into bands of half an octave; in each, the part of one
image that is a local multiple of the other is explained, the rest is not. Detail that is merely weaker, as
after a blur, is explained; a particle that is not there, or is elsewhere, is not.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from srbench.metrics.spectrum import radial_frequency
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Plane, gaussian

Bands = NDArray[np.float64]

BAND = 0.5
"""Width of a band in octaves: within a band all detail of one image must be weaker or stronger alike."""

WINDOW = 1.5
"""Standard deviation of the neighbourhood in LR pixels."""

ROUNDING = 1.0 / 12.0 / 255.0**2
"""Variance of rounding to 8 bits, in squared grey ranges: detail as weak as that explains nothing."""

BLOCK, MARGIN = 192, 16
"""Side of the blocks that :func:`unmeasured_detail` works in, and what each sees around it, in LR pixels."""


def hallucination_map(sr: Plane, hr: Plane, scale: int) -> Plane:
    """Where SR shows detail that the reference does not explain, ``(H, W)``, 0 or more.

    The unit is the mean power of detail in the reference: 1 means that as much is invented here as the
    reference holds on the average. Brightness, slow shading and detail that the LR image carries play no
    part.

    Args:
        sr: ``(H, W)`` in [0, 1].
        hr: reference of the same size, best free of noise: noise explains nothing.
        scale: magnification, at least 2.

    Raises:
        SrbenchError: the magnification is below 2, where no detail is finer than the LR image carries.
    """
    return maps_in(sr, hr, scale, [(slice(None), slice(None))])[0][0]


def omission_map(sr: Plane, hr: Plane, scale: int) -> Plane:
    """Where the reference shows detail that SR does not explain; as :func:`hallucination_map`."""
    return maps_in(sr, hr, scale, [(slice(None), slice(None))])[0][1]


def maps_in(
    sr: Plane, hr: Plane, scale: int, windows: Sequence[tuple[slice, slice]]
) -> list[tuple[Plane, Plane]]:
    """Both maps in some parts (rows, columns) of the images, in the time of one."""
    in_sr, in_hr = _bands(sr, scale), _bands(hr, scale)
    smoothed = functools.partial(gaussian, sigma=WINDOW * scale)
    reach = int(4.0 * WINDOW * scale + 0.5)
    unit = float((in_hr * in_hr).mean((1, 2)).sum()) + ROUNDING
    maps = []
    for window in windows:
        spans = [part.indices(side)[:2] for part, side in zip(window, sr.shape, strict=True)]
        # With what the kernel reaches around the window, as far as there is something.
        wide = tuple(slice(max(start - reach, 0), stop + reach) for start, stop in spans)
        cut = tuple(
            slice(start - around.start, stop - around.start)
            for (start, stop), around in zip(spans, wide, strict=True)
        )
        invented, omitted = np.zeros(sr[window].shape), np.zeros(sr[window].shape)
        for of_sr, of_hr in zip(in_sr, in_hr, strict=True):
            ours, theirs = of_sr[wide], of_hr[wide]
            # A negative multiple explains nothing.
            shared = np.maximum(smoothed(ours * theirs)[cut], 0.0) ** 2
            power, reference = smoothed(ours * ours)[cut], smoothed(theirs * theirs)[cut]
            invented += np.maximum(power - shared / (reference + ROUNDING), 0.0)
            omitted += np.maximum(reference - shared / (power + ROUNDING), 0.0)
        maps.append((invented / unit, omitted / unit))
    return maps


def unmeasured_detail(sr: Plane, scale: int, on_pixels: Callable[[int], None] = lambda count: None) -> Plane:
    """How strong the detail is that is finer than the LR image can carry, ``(H, W)``: no reference is needed.

    The root mean square, in the neighbourhood of :func:`hallucination_map`, of what that map divides into
    explained and not. LR has measured none of it, be it right or wrong. Large images are worked on in blocks,
    which take little memory; where two of them meet, values are off by some thousandths of the largest.

    Args:
        sr: ``(H, W)``, any range.
        scale: magnification, at least 2.
        on_pixels: called after each block with its pixels.

    Returns:
        In the unit of ``sr``, 0 or more.

    Raises:
        SrbenchError: the magnification is below 2, where no detail is finer than the LR image carries.
    """
    strength = np.empty(sr.shape)
    side, margin = BLOCK * scale, MARGIN * scale
    for top in range(0, sr.shape[0], side):
        for left in range(0, sr.shape[1], side):
            first_row, first_column = max(top - margin, 0), max(left - margin, 0)
            bands = _bands(sr[first_row : top + side + margin, first_column : left + side + margin], scale)
            power = np.sum([gaussian(band * band, sigma=WINDOW * scale) for band in bands], axis=0)
            block = strength[top : top + side, left : left + side]
            inner = power[top - first_row :, left - first_column :][: block.shape[0], : block.shape[1]]
            block[:] = np.sqrt(inner)
            on_pixels(block.size)
    return strength


def _bands(image: Plane, scale: int) -> Bands:
    """Detail above the LR Nyquist frequency in bands of half an octave, ``(B, H, W)``."""
    from scipy import fft

    if scale < 2:
        raise SrbenchError(f"Expected a magnification of 2 or more, found {scale}: LR lacks no detail at 1.")
    height, width = image.shape
    margin = 4 * scale
    padded = np.pad(image.astype(np.float64), margin, mode="symmetric")
    transform = fft.rfft2(padded - padded.mean())
    responses = _responses(padded.shape[0], padded.shape[1], scale)
    bands = fft.irfft2(transform * responses, padded.shape)
    return np.asarray(bands[:, margin : margin + height, margin : margin + width], dtype=np.float64)


@functools.lru_cache(maxsize=4)
def _responses(height: int, width: int, scale: int) -> Bands:
    """Filters whose squares add up to one well above the LR Nyquist frequency and to 1/2 at it."""
    octaves = np.log2(2 * scale * np.maximum(radial_frequency(height, width), 1e-9))
    edges = [BAND * number for number in range(max(1, round(math.log2(scale) / BAND)))]
    phases = [0.5 * np.pi * np.clip((octaves - edge) / BAND + 0.5, 0.0, 1.0) for edge in edges]
    falling = [np.cos(phase) for phase in phases[1:]] + [np.ones_like(octaves)]
    return np.stack([np.sin(phase) * down for phase, down in zip(phases, falling, strict=True)])
