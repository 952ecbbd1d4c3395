"""Drawn scenes whose geometry is known in closed form, ways of getting them wrong, and cases made of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from srbench.metrics.registry import Case

Floats = NDArray[np.float64]
Disc = tuple[float, float, float]
"""Row and column of the centre, radius."""


def discs_apart(
    generator: np.random.Generator,
    count: int,
    side: int,
    radius_of: Callable[[int], float],
    margin: float,
    gap: float,
    taken: Sequence[Disc] = (),
) -> Iterator[Disc]:
    """Discs that touch neither each other nor those taken nor the border.

    ``radius_of`` is asked anew for the number of a disc whenever it found no room.
    """
    placed = list(taken)
    for number in range(count):
        while True:
            radius = radius_of(number)
            y, x = generator.uniform(radius + margin, side - radius - margin, 2)
            if all(np.hypot(y - v, x - u) > radius + r + gap for v, u, r in placed):
                break
        placed.append((float(y), float(x), float(radius)))
        yield placed[-1]


def place_discs(seed: int, radii: Floats, side: int = 384) -> list[Disc]:
    """Discs of these radii, the largest first."""
    ordered = sorted(radii, reverse=True)
    generator = np.random.default_rng(seed)
    return list(discs_apart(generator, len(ordered), side, ordered.__getitem__, margin=12, gap=6))


def around(disc: Disc, reach: float) -> tuple[slice, slice]:
    """The part of an image that a disc and what lies within ``reach`` pixels of it cover."""
    y, x, radius = disc
    rows, columns = (
        slice(max(int(middle - radius - reach), 0), int(middle + radius + reach) + 2) for middle in (y, x)
    )
    return rows, columns


def draw_discs(discs: Sequence[Disc], size: int = 384, ground: float = 0.2, bright: float = 0.8) -> Floats:
    """Antialiased discs: a pixel's coverage is linear in its distance to the outline."""
    y, x = np.mgrid[:size, :size]
    share = np.zeros((size, size))
    for disc in discs:
        part = around(disc, 1.0)
        row, column, radius = disc
        covered = np.clip(radius + 0.5 - np.hypot(y[part] - row, x[part] - column), 0, 1)
        share[part] = np.maximum(share[part], covered)
    return ground + (bright - ground) * share


def rough_edge(generator: np.random.Generator, rows: int, sigma: float, xi: float, hurst: float) -> Floats:
    """An edge with the PSD of Palasantzas, exactly ``sigma`` in standard deviation."""
    frequency = np.fft.rfftfreq(4 * rows)
    psd = 1 / (1 + (2 * np.pi * frequency * xi) ** 2) ** (hurst + 0.5)
    noise = generator.normal(size=(2, len(frequency)))
    edge = np.fft.irfft(np.sqrt(psd) * (noise[0] + 1j * noise[1]))[:rows]
    place = np.arange(rows) - (rows - 1) / 2
    edge = edge - edge.mean() - (edge @ place) / (place @ place) * place
    return np.asarray(edge * sigma / edge.std())


def draw_lines(left: Floats, right: Floats, width: int, blur: float = 0.7) -> Floats:
    """Lines between ``left`` and ``right`` edges ``(lines, rows)`` under a Gaussian spot, 0.2 to 0.8."""
    x = np.arange(width)
    image = np.full((left.shape[1], width), 0.2)
    for low, high in zip(left, right, strict=True):
        for edge, sign in ((low, 1.0), (high, -1.0)):
            image += 0.3 * sign * (1 + erf((x[None] - edge[:, None]) / (np.sqrt(2) * blur)))
    return image


def with_random_phases(image: Floats, generator: np.random.Generator, above: float = 0.0) -> Floats:
    """Texture with the power of an image from a frequency in cycles per pixel on, at the phases of noise."""
    noise = np.fft.rfft2(generator.standard_normal(image.shape))
    frequency = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1]))
    spectrum = np.where(frequency >= above, np.abs(np.fft.rfft2(image)) * noise / np.abs(noise), 0.0)
    return np.asarray(np.fft.irfft2(spectrum, image.shape))


def make_case(
    sr: Floats,
    hr: Floats,
    scale: int = 4,
    lr: Floats | None = None,
    second: Floats | None = None,
    **known: Any,
) -> Case:
    """A case as the protocol makes it, without rounding; LR is every fourth pixel where none is given."""
    cut = (slice(scale, -scale), slice(scale, -scale))
    lr = hr[::scale, ::scale] if lr is None else lr
    return Case(sr[cut], hr[cut], sr, hr, lr, scale, second=None if second is None else second[cut], **known)
