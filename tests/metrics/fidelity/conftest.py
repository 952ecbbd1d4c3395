"""A scene of particles whose truth is known, and ways of getting it wrong that metrics should tell apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from srbench.metrics.registry import Case, Plane

SIDE = 512
Patterned = Callable[[int, int, float], tuple[Plane, Plane]]


@dataclass(frozen=True)
class Disc:
    """A particle: where, how large, how bright."""

    row: float
    column: float
    radius: float
    grey: float


def paint(discs: list[Disc], background: Plane, growth: float = 0.0) -> Plane:
    """Bright discs with brighter rims on a background, blurred by half a pixel, 8 bit."""
    rows, columns = np.mgrid[: background.shape[0], : background.shape[1]]
    image = background.copy()
    for disc in discs:
        inside = disc.radius + growth - np.hypot(rows - disc.row, columns - disc.column)
        cover = np.clip(inside + 0.5, 0.0, 1.0)
        image += cover * (disc.grey + 0.25 * np.exp(-np.clip(inside, 0.0, None) / 4.0) - background)
    blurred = ndimage.gaussian_filter(image, 0.5)
    return np.round(255.0 * np.clip(blurred, 0.0, 1.0)) / 255.0


@dataclass(frozen=True)
class Scene:
    """The truth and ways to get it wrong.

    Attributes:
        truth: what is there.
        candidates: name to image, all ``(SIDE, SIDE)`` in [0, 1].
    """

    truth: Plane
    candidates: dict[str, Plane]

    def case(self, name: str, border: int = 4) -> Case:
        """A candidate against the truth, as a protocol would hand it to metrics."""
        cut = (slice(border, -border), slice(border, -border))
        sr, hr = self.candidates[name], self.truth
        return Case(sr=sr[cut], hr=hr[cut], full_sr=sr, full_hr=hr, lr=hr[::4, ::4], scale=4)


def place_discs(
    generator: np.random.Generator, count: int, taken: list[Disc], radii: list[float] | None = None
) -> list[Disc]:
    """Discs of 5 to 20 pixels, or of these radii, that touch no other."""
    placed: list[Disc] = []
    while len(placed) < count:
        radius = radii[len(placed)] if radii else generator.uniform(5.0, 20.0)
        row, column = generator.uniform(radius + 6, SIDE - radius - 6, 2)
        others = [*taken, *placed]
        if all(np.hypot(row - o.row, column - o.column) > radius + o.radius + 4 for o in others):
            placed.append(Disc(row, column, radius, generator.uniform(0.5, 0.65)))
    return placed


@pytest.fixture(scope="session")
def scene() -> Scene:
    generator = np.random.default_rng(7)
    smooth = ndimage.gaussian_filter(generator.standard_normal((SIDE, SIDE)), 2.0)
    background = 0.25 + 0.03 * smooth / smooth.std()
    discs = place_discs(generator, 55, [])
    small = sorted(discs, key=lambda disc: disc.radius)
    fakes = place_discs(generator, 8, discs, [disc.radius for disc in small[:8]])
    truth = paint(discs, background)
    binned = truth.reshape(SIDE // 4, 4, SIDE // 4, 4).mean(axis=(1, 3))
    low = ndimage.zoom(binned, 4, order=3, mode="reflect", grid_mode=True)
    noise = generator.normal(0.0, 0.1, truth.shape)
    candidates = {
        "same": truth,
        "mild blur": ndimage.gaussian_filter(truth, 0.8),
        "strong blur": ndimage.gaussian_filter(truth, 2.5),
        "one pixel shift": np.roll(truth, 1, axis=1),
        "dilated": paint(discs, background, growth=1.0),
        "16 wrong particles": paint([*small[8:], *fakes], background),
        "interpolated": np.clip(low, 0.0, 1.0),
        "sharp liar": np.clip(low + _texture_like(truth - low, generator), 0.0, 1.0),
        "noisy": np.clip(truth + noise, 0.0, 1.0),
        "brighter": np.clip(truth + 0.05, 0.0, 1.0),
    }
    return Scene(truth, candidates)


def _texture_like(detail: Plane, generator: np.random.Generator) -> Plane:
    """Texture with the spectrum of ``detail`` and phases of noise."""
    phases = np.fft.rfft2(generator.standard_normal(detail.shape))
    spectrum = np.abs(np.fft.rfft2(detail)) * phases / np.abs(phases)
    texture: Plane = np.fft.irfft2(spectrum, detail.shape)
    return texture


@pytest.fixture(scope="session")
def patterned() -> Patterned:
    """Height, width and error to two 8-bit planes made by arithmetic alone: the same on every machine."""
    return _patterned


def _patterned(height: int, width: int, error: float) -> tuple[Plane, Plane]:
    rows, columns = np.mgrid[:height, :width]
    grain = (rows * 7919 + columns * 10473 + rows * columns * 31) % 251 / 250.0 - 0.5
    other = (rows * 6101 + columns * 8123 + rows * columns * 17) % 241 / 240.0 - 0.5
    hr = 120.0 + 50.0 * np.sin(rows / 5.0) + 40.0 * np.cos(columns / 7.0) + 30.0 * grain
    sr = hr + error * other + 0.1 * error * np.sin(rows / 3.0 + columns / 4.0)
    return np.round(np.clip(sr, 0.0, 255.0)) / 255.0, np.round(np.clip(hr, 0.0, 255.0)) / 255.0
