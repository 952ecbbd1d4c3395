"""Particles on a flat ground: gas-atomised powder on tape, or precipitates standing out of an etched matrix.

Diameters are log-normal; about one in eight particles touches another; a band of fine particles of 2 to 6 HR
pixels (0.5 to 1.5 LR pixels at x4) lies between the large ones. Projections never overlap, so every diameter
in the truth is that of the visible outline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from srbench.datasets.synthetic.drawing import SMALL, around, blend, window
from srbench.datasets.synthetic.geometry import FineGrid, coverage, ellipse_distance, rotate
from srbench.datasets.synthetic.imaging import Layers, Optics, sample_optics
from srbench.datasets.synthetic.rng import DECIMALS, Array, RandomStream, Spread
from srbench.datasets.synthetic.scene import Scene, feature_entries, register_scene

REACH = 24.0
"""HR pixels beyond an outline up to which it casts a shadow."""


@dataclass(frozen=True)
class Particle:
    """An ellipse; lengths in HR pixels, ``angle`` in degrees from columns towards rows."""

    y: float
    x: float
    major: float
    minor: float
    angle: float
    brightness: float
    small: bool = False
    touching: bool = False

    @property
    def diameter(self) -> float:
        """Diameter of the circle of equal area."""
        return round(math.sqrt(self.major * self.minor), DECIMALS)

    def inside_image(self, size: int) -> bool:
        """Whether the whole outline is in the image."""
        tall, wide = support(self, 90), support(self, 0)
        rows = self.y - tall > -0.5 and self.y + tall < size - 0.5
        return rows and self.x - wide > -0.5 and self.x + wide < size - 0.5

    def meets_image(self, size: int) -> bool:
        """Whether any of it is in the image: its centre, or a point of the image's outline (each 1/8 px)."""
        if min(self.y, self.x) >= -0.5 and max(self.y, self.x) <= size - 0.5:
            return True
        along = np.linspace(-0.5, size - 0.5, 8 * size + 1)
        edges = [(-0.5, along), (size - 0.5, along), (along, -0.5), (along, size - 0.5)]
        return any(bool((self.distance(np.asarray(y), np.asarray(x)) < 0).any()) for y, x in edges)

    def distance(self, y: Array, x: Array) -> Array:
        """Signed distance of points to the outline."""
        angle = math.radians(self.angle)
        return ellipse_distance(y - self.y, x - self.x, self.major, self.minor, angle)


def support(particle: Particle, direction: float) -> float:
    """Distance from the centre to the tangent across ``direction`` (degrees)."""
    turn = math.radians(direction - particle.angle)
    return math.hypot(particle.major / 2 * math.cos(turn), particle.minor / 2 * math.sin(turn))


@dataclass(frozen=True)
class Habit:
    """How the particles of a scene look.

    Attributes:
        median: median diameter in HR pixels.
        gsd: geometric standard deviation of the diameters.
        elongation: largest ratio of the axes.
        area_fraction: how densely they are packed.
        relief: height of a particle over its half width.
        emission: yield of the particles.
        ground: yield of the ground.
        grain: texture amplitude of the particles.
        ground_grain: texture amplitude of the ground.
        roughness: relief on the particles in HR pixels.
        ground_roughness: relief of the ground.
    """

    median: float
    gsd: float
    elongation: float
    area_fraction: float
    relief: float
    emission: float
    ground: float
    grain: float
    ground_grain: float
    roughness: float
    ground_roughness: float


@dataclass(frozen=True)
class ParticleScene(Scene):
    """Particles on a ground."""

    size: int
    habit: Habit
    optics: Optics
    particles: tuple[Particle, ...]

    def truth(self) -> dict[str, Any]:
        """The particles that meet the image; the small features are the fine ones.

        ``particles``: for each ``y``, ``x``, ``diameter`` (of the circle of equal area), and the flags
        ``touching`` (put against a neighbour) and ``border`` (not wholly in the image).
        """
        present = [particle for particle in self.particles if particle.meets_image(self.size)]
        entries = [
            {
                "y": particle.y,
                "x": particle.x,
                "diameter": particle.diameter,
                "touching": particle.touching,
                "border": not particle.inside_image(self.size),
            }
            for particle in present
        ]
        fine = feature_entries((particle for particle in present if particle.small), "particle")
        return {"particles": entries, "small_features": fine}

    def layers(self, grid: FineGrid) -> Layers:
        """Draw the particles one by one, each in its own window."""
        habit = self.habit
        layers = Layers(
            emission=grid.full(habit.ground),
            height=grid.full(0.0),
            distance=grid.full(REACH),
            depth=grid.full(0.0),
            grain=grid.full(habit.ground_grain),
            roughness=grid.full(habit.ground_roughness),
        )
        for particle in self.particles:
            _render_particle(layers, particle, habit, grid)
        return layers


def _render_particle(layers: Layers, particle: Particle, habit: Habit, grid: FineGrid) -> None:
    part = window(grid, around(particle.y, particle.x, particle.major / 2), REACH)
    distance = particle.distance(part.y, part.x)
    share = coverage(distance, grid.step)
    layers.distance[part.span] = np.minimum(layers.distance[part.span], distance)
    u, v = rotate(part.y - particle.y, part.x - particle.x, math.radians(particle.angle))
    q2 = (2 * u / particle.major) ** 2 + (2 * v / particle.minor) ** 2
    layers.height[part.span] += habit.relief * particle.minor / 2 * np.sqrt(np.maximum(1 - q2, 0))
    blend(layers.emission[part.span], habit.emission * particle.brightness, share)
    blend(layers.grain[part.span], habit.grain, share)
    blend(layers.roughness[part.span], 0.0 if particle.small else habit.roughness, share)


@register_scene(code=5)
def particles(stream: RandomStream, size: int) -> ParticleScene:
    """Gas-atomised powder, or precipitates."""
    powder = stream.chance(0.5)
    habit = Habit(**stream.table({name: spreads[not powder] for name, spreads in _HABITS.items()}))
    large = _place_large(stream, habit, size)
    small = _place_small(stream, large, size)
    return ParticleScene(size, habit, _optics(stream, powder), (*large, *small))


_HABITS: dict[str, tuple[Spread, Spread]] = {
    "median": ((18, 28), (9, 16)),
    "gsd": ((1.4, 1.8), (1.3, 1.6)),
    "elongation": (1.0, (1.4, 2.6)),
    "area_fraction": ((0.28, 0.45), (0.12, 0.26)),
    "relief": (1.0, (0.25, 0.5)),
    "emission": ((0.38, 0.5), (0.46, 0.6)),
    "ground": ((0.08, 0.16), (0.26, 0.36)),
    "grain": ((0.06, 0.11), (0.03, 0.06)),
    "ground_grain": ((0.12, 0.2), (0.1, 0.16)),
    "roughness": ((0.25, 0.5), (0.0, 0.15)),
    "ground_roughness": ((0.1, 0.3), (0.15, 0.4)),
}
"""Of gas-atomised powder on tape, and of precipitates standing out of an etched matrix."""


def _optics(stream: RandomStream, powder: bool) -> Optics:
    return sample_optics(
        stream,
        {
            "tilt_exponent": (0.4, 0.6) if powder else (0.9, 1.2),
            "bloom": (0.06, 0.14) if powder else (0.2, 0.4),
            "bloom_length": (1.5, 3) if powder else (1.2, 2.5),
            "shadow": (0.3, 0.6) if powder else (0.15, 0.4),
            "shadow_length": (4, 9) if powder else (1.5, 4),
            "asymmetry": (0.2, 0.4) if powder else (0.1, 0.3),
            "detector_angle": (-120, -60),
            "relief_wavelength": (4.5, 8),
            "texture_length": (0.7, 1.3),
            "waves": (0.03, 0.08),
        },
    )


def _place_large(stream: RandomStream, habit: Habit, size: int) -> tuple[Particle, ...]:
    """Place particles, the largest first, until the area fraction is reached or there is no room."""
    largest = min(64.0, size / 5)
    covered = habit.area_fraction * (size + largest) ** 2
    sizes: list[float] = []
    while sum(0.785 * d * d for d in sizes) < covered:
        sizes.append(stream.log_normal(habit.median, habit.gsd, 8.0, largest))
    placed: list[Particle] = []
    for diameter in sorted(sizes, reverse=True):
        particle = _shape(stream, habit, diameter)
        host = stream.choice(placed) if placed and stream.chance(0.14) else None
        spot = (
            _beside(stream, particle, host, placed)
            if host
            else _free_spot(stream, particle, placed, size, 1.5)
        )
        if spot and host:
            placed = [replace(p, touching=True) if p is host else p for p in placed]
        if spot:
            placed.append(spot)
    return tuple(placed)


def _place_small(stream: RandomStream, large: tuple[Particle, ...], size: int) -> tuple[Particle, ...]:
    """Sprinkle fine particles on the ground between the large ones."""
    count = round(size * size / 1800 * stream.uniform(0.7, 1.3))
    placed = list(large)
    for _ in range(count):
        diameter = stream.uniform(*SMALL)
        fine = Particle(0, 0, diameter, diameter, 0.0, stream.uniform(1.2, 1.6), small=True)
        spot = _free_spot(stream, fine, placed, size, 2.5)
        if spot:
            placed.append(spot)
    return tuple(placed[len(large) :])


def _shape(stream: RandomStream, habit: Habit, diameter: float) -> Particle:
    stretch = math.sqrt(stream.uniform(1, habit.elongation))
    major, minor = round(diameter * stretch, DECIMALS), round(diameter / stretch, DECIMALS)
    return Particle(0, 0, major, minor, stream.uniform(0, 180), stream.uniform(0.85, 1.15))


def _free_spot(
    stream: RandomStream, particle: Particle, placed: list[Particle], size: int, gap: float
) -> Particle | None:
    reach = particle.major / 2
    for _ in range(60):
        y, x = stream.uniform(-reach, size + reach), stream.uniform(-reach, size + reach)
        candidate = replace(particle, y=y, x=x)
        if _is_free(candidate, placed, gap):
            return candidate
    return None


def _beside(
    stream: RandomStream, particle: Particle, host: Particle, placed: list[Particle]
) -> Particle | None:
    """Put the particle next to its host: parallel tangents at most 0.6 px apart, no overlap."""
    others = [p for p in placed if p is not host]
    for _ in range(30):
        direction = stream.uniform(0, 360)
        apart = support(host, direction) + support(particle, direction) + stream.uniform(0, 0.6)
        y = round(host.y + apart * math.sin(math.radians(direction)), DECIMALS)
        x = round(host.x + apart * math.cos(math.radians(direction)), DECIMALS)
        candidate = replace(particle, y=y, x=x, touching=True)
        if _is_free(candidate, others, 1.5):
            return candidate
    return None


def _is_free(candidate: Particle, placed: list[Particle], gap: float) -> bool:
    """Whether the circumscribed circles stay ``gap`` apart."""
    return all(
        math.hypot(candidate.y - p.y, candidate.x - p.x) > (candidate.major + p.major) / 2 + gap
        for p in placed
    )
