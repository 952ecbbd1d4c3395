"""One cell seen from above: a soft dome on a superellipse, its membrane wrinkled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import Array, rotate
from srbench.datasets.synthetic.painting import Box

WRINKLES = 6
"""Cosines that make up the wrinkles of a cell."""


@dataclass(frozen=True)
class Wrinkle:
    """A cosine of height ``amplitude``; lengths in HR pixels, ``angle`` of its normal in degrees."""

    wavelength: float
    angle: float
    phase: float
    amplitude: float

    def wave(self, y: Array, x: Array) -> Array:
        """Its height at rows ``(n, 1)`` and columns ``(1, m)``, by the addition theorem."""
        turn, number = math.radians(self.angle), 2 * math.pi / self.wavelength
        down = number * math.sin(turn) * y + 2 * math.pi * self.phase
        right = number * math.cos(turn) * x
        result: Array = self.amplitude * (np.cos(down) * np.cos(right) - np.sin(down) * np.sin(right))
        return result


@dataclass(frozen=True)
class Cell:
    """A cell with the outline |u / (major/2)|^n + |v / (minor/2)|^n = 1. Lengths in HR pixels.

    Attributes:
        y: row of the centre.
        x: column of the centre.
        major: full length along ``angle``.
        minor: full length across.
        exponent: n: 2 is an ellipse, larger is squarer.
        angle: in degrees from columns towards rows.
        relief: height over the half width.
        brightness: factor of the yield.
        wrinkles: waves of the membrane.
    """

    y: float
    x: float
    major: float
    minor: float
    exponent: float
    angle: float
    relief: float
    brightness: float
    wrinkles: tuple[Wrinkle, ...]

    @property
    def area(self) -> float:
        """Area of the superellipse (Dirichlet's integral)."""
        n = self.exponent
        share = math.gamma(1 + 1 / n) ** 2 / math.gamma(1 + 2 / n)
        return round(self.major * self.minor * share, DECIMALS)

    @cached_property
    def box(self) -> Box:
        """Smallest box with the whole outline (Hölder's inequality gives the support of a superellipse)."""
        turn, n = math.radians(self.angle), self.exponent
        cosine, sine = abs(math.cos(turn)), abs(math.sin(turn))
        a, b, dual = self.major / 2, self.minor / 2, n / (n - 1)
        tall = ((a * sine) ** dual + (b * cosine) ** dual) ** (1 / dual)
        wide = ((a * cosine) ** dual + (b * sine) ** dual) ** (1 / dual)
        box = self.y - tall, self.x - wide, self.y + tall, self.x + wide
        return (
            round(box[0], DECIMALS),
            round(box[1], DECIMALS),
            round(box[2], DECIMALS),
            round(box[3], DECIMALS),
        )

    def radius(self, y: Array, x: Array) -> Array:
        """Distance from the centre over that of the outline in the same direction: 1 on the outline."""
        u, v = self._scaled(y, x)
        radius: Array = (u**self.exponent + v**self.exponent) ** (1 / self.exponent)
        return radius

    def distance(self, y: Array, x: Array) -> Array:
        """Signed distance to the outline, first order: exact on it, good near it."""
        u, v = self._scaled(y, x)
        u, v = np.maximum(u, 1e-9), np.maximum(v, 1e-9)
        un, vn = u**self.exponent, v**self.exponent
        radius = (un + vn) ** (1 / self.exponent)
        # The gradient of the radius is constant along rays from the centre.
        scale = radius / (un + vn)
        slope_u, slope_v = un / u * scale / (self.major / 2), vn / v * scale / (self.minor / 2)
        distance: Array = (radius - 1) / np.sqrt(slope_u * slope_u + slope_v * slope_v)
        return distance

    def height(self, y: Array, x: Array) -> Array:
        """Dome and wrinkles of points ``(n, 1)`` and ``(1, m)``; 0 outside."""
        radius = self.radius(y, x)
        inside = np.maximum(1 - radius * radius, 0)
        dome = self.relief * self.minor / 2 * np.sqrt(inside)
        waves = np.zeros_like(radius)
        for wrinkle in self.wrinkles:
            waves += wrinkle.wave(y - self.y, x - self.x)
        result: Array = dome + waves * np.minimum(4 * inside, 1)
        return result

    def _scaled(self, y: Array, x: Array) -> tuple[Array, Array]:
        u, v = rotate(y - self.y, x - self.x, math.radians(self.angle))
        return np.abs(u) / (self.major / 2), np.abs(v) / (self.minor / 2)


def draw_wrinkles(draws: Draws, strength: float) -> tuple[Wrinkle, ...]:
    """Waves of random directions about a common one, the short ones lower."""
    grain = draws.uniform(0, 180)
    wrinkles = []
    for _ in range(WRINKLES):
        wavelength = draws.uniform(8, 26)
        amplitude = round(strength * wavelength / 26 * draws.uniform(0.6, 1.2), DECIMALS)
        wrinkles.append(
            Wrinkle(wavelength, draws.uniform(grain - 60, grain + 60), draws.uniform(0, 1), amplitude)
        )
    return tuple(wrinkles)
