"""A scene of particles whose truth is known, and ways of getting it wrong that metrics should tell apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage

from helpers.drawn_scenes import Disc, around, discs_apart, make_case, with_random_phases
from srbench.metrics.registry import Case
from srbench.utils.image import Plane

SIDE = 512
Patterned = Callable[[int, int, float], tuple[Plane, Plane]]


@dataclass(frozen=True)
class Particle:
    """Where and how large, how bright."""

    disc: Disc
    grey: float


def paint(particles: list[Particle], background: Plane, growth: float = 0.0) -> Plane:
    """Bright discs with brighter rims on a background, blurred by half a pixel, 8 bit."""
    rows, columns = np.mgrid[: background.shape[0], : background.shape[1]]
    image = background.copy()
    for particle in particles:
        part = around(particle.disc, growth + 1.0)
        row, column, radius = particle.disc
        inside = radius + growth - np.hypot(rows[part] - row, columns[part] - column)
        rim = 0.25 * np.exp(-np.clip(inside, 0.0, None) / 4.0)
        image[part] += np.clip(inside + 0.5, 0.0, 1.0) * (particle.grey + rim - background[part])
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

    def case(self, name: str) -> Case:
        """A candidate against the truth, as a protocol would hand it to metrics."""
        return make_case(self.candidates[name], self.truth)


def particles(
    generator: np.random.Generator, count: int, taken: list[Particle], radius_of: Callable[[int], float]
) -> list[Particle]:
    """Particles that touch no other."""
    others = [particle.disc for particle in taken]
    placed = discs_apart(generator, count, SIDE, radius_of, margin=6, gap=4, taken=others)
    return [Particle(disc, generator.uniform(0.5, 0.65)) for disc in placed]


@pytest.fixture(scope="session")
def scene() -> Scene:
    generator = np.random.default_rng(7)
    smooth = ndimage.gaussian_filter(generator.standard_normal((SIDE, SIDE)), 2.0)
    background = 0.25 + 0.03 * smooth / smooth.std()
    discs = particles(generator, 55, [], lambda _: generator.uniform(5.0, 20.0))
    small = sorted(discs, key=lambda particle: particle.disc[2])
    fakes = particles(generator, 8, discs, lambda number: small[number].disc[2])
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
        "sharp liar": np.clip(low + with_random_phases(truth - low, generator), 0.0, 1.0),
        "noisy": np.clip(truth + noise, 0.0, 1.0),
        "brighter": np.clip(truth + 0.05, 0.0, 1.0),
    }
    return Scene(truth, candidates)


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
