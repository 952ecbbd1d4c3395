"""A film or coating: a self-affine rough surface, smooth or nodular, with cracks, pinholes and particles.

The relief has the power spectral density 1 / (1 + (2 pi f xi)^2)^(1 + H) of a self-affine surface
(Palasantzas, Phys. Rev. B 48, 14472, 1993). Pinholes and particles have 2 to 6 HR pixels (0.5 to 1.5 LR
pixels at x4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from srbench.datasets.synthetic.drawing import (
    Ball,
    Speck,
    Strip,
    around,
    blend,
    cut_edge,
    render_ball,
    render_hole,
    scatter,
    window,
)
from srbench.datasets.synthetic.geometry import MARGIN, FineGrid, Point, coverage, crossings
from srbench.datasets.synthetic.imaging import Layers, Optics, sample_optics
from srbench.datasets.synthetic.rng import DECIMALS, Array, RandomStream, Spectrum, Spread, gaussian_field
from srbench.datasets.synthetic.scene import Scene, feature_entries, register_scene

OUTSIDE = 16.0
"""Cracks that run out of the image end about this far outside, HR pixels."""


def sample_crack(
    stream: RandomStream, size: int, widths: tuple[float, float], older: Sequence[Strip]
) -> Strip:
    """A crack that crosses the image, or branches off an older one and may end in the image.

    Args:
        stream: random numbers.
        size: side of the image.
        widths: least and greatest width.
        older: cracks that it may start from.
    """
    hosts = [crack for crack in older if len(crack.points) > 12]
    branch = bool(hosts) and stream.chance(0.6)
    start, heading = _branch(stream, stream.choice(hosts)) if branch else _entry(stream, size)
    longest = round(stream.uniform(0.35, 1.2) * size) if stream.chance(0.4) else 4 * size
    points, ends = _path(stream, size, start, heading, longest, older)
    return Strip(tuple(points), _widths(stream, len(points), widths, ends))


def _path(
    stream: RandomStream, size: int, start: Point, heading: float, longest: float, older: Sequence[Strip]
) -> tuple[list[Point], bool]:
    """Centre line up to the border, an older crack or ``longest``, and whether it just ends there."""
    kink, swerve, travelled = stream.uniform(8, 30), 0.0, 0.0
    points = [(round(start[0], DECIMALS), round(start[1], DECIMALS))]
    while travelled < longest:
        # Short straight pieces with sharp kinks about a slowly turning direction.
        swerve = 0.9 * swerve + stream.uniform(-7, 7)
        step, turn = stream.uniform(4, 11), heading + swerve + stream.uniform(-kink, kink)
        y, x = points[-1]
        y, x = y + step * math.sin(math.radians(turn)), x + step * math.cos(math.radians(turn))
        points.append((round(y, DECIMALS), round(x, DECIMALS)))
        travelled += step
        if len(points) > 4:
            piece = np.array(points[-2:])
            crossed = [point for crack in older for point in crossings(piece, np.array(crack.points))]
            if crossed:
                nearest = min(crossed, key=lambda point: math.dist(point, points[-2]))
                return [*points[:-1], nearest], False
        if max(abs(y - size / 2), abs(x - size / 2)) > size / 2 + OUTSIDE:
            return points, False
    return points, True


def _entry(stream: RandomStream, size: int) -> tuple[Point, float]:
    """A place just outside one side of the image and a heading across it, in degrees."""
    position, lean = stream.uniform(0.15, 0.85) * size, stream.uniform(-30, 30)
    outside = -OUTSIDE + 1
    if stream.chance(0.5):
        return (position, outside), lean
    return (outside, position), 90 + lean


def _branch(stream: RandomStream, host: Strip) -> tuple[Point, float]:
    """A point of an older crack and a heading about square to it, as cracks meet."""
    number = stream.integer(4, len(host.points) - 5)
    (y0, x0), (y1, x1) = host.points[number - 2], host.points[number + 2]
    along = math.degrees(math.atan2(y1 - y0, x1 - x0))
    return host.points[number], round(along + stream.choice((-90, 90)) + stream.uniform(-25, 25), DECIMALS)


def _widths(stream: RandomStream, count: int, limits: tuple[float, float], ends: bool) -> tuple[float, ...]:
    """Slowly varying widths; a crack that ends in the image narrows towards its tip."""
    low, high = limits
    widest = stream.uniform(low + 0.4, high)
    values, level = [], 0.0
    for n in range(count):
        level = 0.8 * level + stream.uniform(-0.06, 0.06)
        tip = min(1.0, (count - 1 - n) / 12) if ends else 1.0
        values.append(round(min(max(low + (widest * (1 + level) - low) * tip, low), high), DECIMALS))
    return tuple(values)


WIDTHS = (2.0, 6.0)
"""Widths of cracks, HR pixels."""
REACH = 24.0
"""HR pixels from an edge up to which the film knows of it."""
GROOVE = 3.0
"""Depth of a groove between nodules, for the shading, over its geometric depth."""


@dataclass(frozen=True)
class Coating:
    """The film. Lengths in HR pixels.

    Attributes:
        smooth: whether it is neither rough nor nodular.
        rms: standard deviation of the rough relief.
        xi: its correlation length.
        hurst: its roughness exponent.
        pitch: mean distance of nodules, 0 without.
        relief: height of a nodule over its radius.
        thickness: of the film: depth of cracks and pinholes.
        sidewall: width over which the edge of a crack falls.
        emission: yield of the film.
        ground: yield of what lies below it.
        grain: texture amplitude.
        contrast: relative spread of the yield from nodule to nodule.
    """

    smooth: bool
    rms: float
    xi: float
    hurst: float
    pitch: float
    relief: float
    thickness: float
    sidewall: float
    emission: float
    ground: float
    grain: float
    contrast: float


@dataclass(frozen=True)
class Nodule:
    """A grain of the coating: a spherical cap."""

    y: float
    x: float
    radius: float
    brightness: float


@dataclass(frozen=True, eq=False)
class FilmScene(Scene):
    """A film.

    Attributes:
        surface: rough relief on the fine grid, HR pixels.
        nodules: grains on it.
        cracks: through it.
        specks: pinholes and particles.
    """

    size: int
    coating: Coating
    optics: Optics
    surface: Array
    nodules: tuple[Nodule, ...]
    cracks: tuple[Strip, ...]
    specks: tuple[Speck, ...]

    def truth(self) -> dict[str, Any]:
        """Pinholes and particles."""
        return {"small_features": feature_entries(self.specks)}

    def layers(self, grid: FineGrid) -> Layers:
        """Render the film, cut the cracks and pinholes, then put the particles on it."""
        coating = self.coating
        layers = Layers(
            emission=grid.full(coating.emission),
            height=self.surface.copy(),
            distance=grid.full(-REACH),
            depth=grid.full(0.0),
            grain=grid.full(coating.grain),
            roughness=grid.full(0.0),
        )
        self._render_nodules(layers, grid)
        self._cut_cracks(layers, grid)
        for speck in self.specks:
            if speck.type == "pinhole":
                render_hole(layers, speck, coating.ground, coating.thickness, grid)
            else:
                ball = Ball(speck.y, speck.x, speck.diameter, coating.emission * speck.brightness)
                render_ball(layers, grid, ball, 4.0, 6.0)
        return layers

    def _cut_cracks(self, layers: Layers, grid: FineGrid) -> None:
        coating = self.coating
        distance = crack_distance(self.cracks, grid)
        share = coverage(distance, grid.step)
        cut_edge(layers, (slice(None), slice(None)), distance)
        layers.height[...] -= coating.thickness * np.clip(-distance / coating.sidewall, 0, 1)
        blend(layers.emission, coating.ground, share)
        blend(layers.depth, coating.thickness, share)

    def _render_nodules(self, layers: Layers, grid: FineGrid) -> None:
        """The upper envelope of all caps: grooves form where they meet."""
        coating = self.coating
        caps = grid.full(0.0)
        for nodule in self.nodules:
            part = window(grid, around(nodule.y, nodule.x, nodule.radius), 0.0)
            y, x = part.y - nodule.y, part.x - nodule.x
            cap = coating.relief * np.sqrt(np.maximum(nodule.radius**2 - y * y - x * x, 0))
            here = caps[part.span]
            above = cap > here
            np.copyto(here, cap, where=above)
            np.copyto(layers.emission[part.span], coating.emission * nodule.brightness, where=above)
        layers.height[...] += caps
        # Grooves lose their electrons: they count as several times as deep as they are.
        layers.depth[...] += GROOVE * np.maximum(coating.relief * coating.pitch / 2 - caps, 0)


def crack_distance(cracks: Sequence[Strip], grid: FineGrid) -> Array:
    """Signed distance to the edges of the cracks, negative in them."""
    distance = grid.full(REACH)
    for crack in cracks:
        crack.lower(distance, grid, REACH / 2)
    return distance


def self_affine_spectrum(xi: float, hurst: float) -> Spectrum:
    """Amplitude of a self-affine surface: the root of 1 / (1 + (2 pi f xi)^2)^(1 + hurst)."""
    return lambda f: (1 + (2 * math.pi * f * xi) ** 2) ** (-(1 + hurst) / 2)


@register_scene(code=2)
def films(stream: RandomStream, size: int) -> FilmScene:
    """A film."""
    grid = FineGrid(size)
    coating = _coating(stream)
    spectrum = self_affine_spectrum(coating.xi, coating.hurst)
    surface = np.round(coating.rms * gaussian_field(stream, grid.side, grid.step, spectrum), 9)
    nodules = _nodules(stream, coating, size) if coating.pitch else ()
    cracks: list[Strip] = []
    for _ in range(stream.integer(0, 3)):
        cracks.append(sample_crack(stream, size, WIDTHS, cracks))
    specks = _specks(stream, cracks, grid)
    optics = _optics(stream, coating, bool(cracks))
    return FilmScene(size, coating, optics, surface, nodules, tuple(cracks), specks)


_COATINGS: dict[str, tuple[Spread, Spread, Spread]] = {
    "rms": ((0.5, 1.2), 0.0, (0.5, 1.5)),
    "xi": ((18, 40), 0.0, (10, 40)),
    "hurst": ((0.7, 0.9), (0.4, 0.9), (0.6, 0.9)),
    "pitch": (0.0, 0.0, (7, 16)),
    "relief": (0.0, 0.0, (0.5, 1.0)),
    "thickness": ((5, 12), (6, 14), (6, 14)),
    "sidewall": ((1, 2.5), (1, 2.5), (1, 2.5)),
    "emission": ((0.35, 0.5), (0.35, 0.5), (0.35, 0.5)),
    "ground": ((0.05, 0.15), (0.05, 0.15), (0.05, 0.15)),
    "grain": ((0.02, 0.05), (0.03, 0.08), (0.03, 0.07)),
    "contrast": (0.0, 0.0, (0.0, 0.12)),
}
"""The three styles: smooth, rough and nodular; a rough film is the rougher the longer its waves are."""


def _coating(stream: RandomStream) -> Coating:
    style = stream.integer(0, 2)
    spreads = {name: styles[style] for name, styles in _COATINGS.items()}
    if style == 1:
        xi = stream.uniform(6, 30)
        spreads.update(rms=(0.5, min(3.0, 0.5 + 0.1 * xi)), xi=xi)
    return Coating(style == 0, **stream.table(spreads))


def _optics(stream: RandomStream, coating: Coating, cracked: bool) -> Optics:
    return sample_optics(
        stream,
        {
            "tilt_exponent": (0.6, 1.0),
            "bloom": (0.03, 0.14),
            "bloom_length": (1.2, 3),
            "shadow": (0.2, 0.5),
            "shadow_length": (2, 5),
            "asymmetry": (0.3, 0.8) if coating.smooth else (0.2, 0.5),
            "detector_angle": (-150, -30),
            "shading": (0.4, 0.7),
            "shading_length": (8, 16),
            "relief_wavelength": (4, 7),
            "texture_length": (0.7, 1.5),
            "waves": (0.02, 0.06),
            "charging": lambda s: s.choice((0.0, 0.0, 0.1, 0.2)),
            "charging_length": (30, 120),
            "black": (0.03, 0.12) if cracked else (0.12, 0.35),
            "white": (0.7, 0.92) if cracked else (0.6, 0.85),
        },
    )


def _nodules(stream: RandomStream, coating: Coating, size: int) -> tuple[Nodule, ...]:
    """Caps on a jittered hexagonal lattice, large enough to cover the film."""
    pitch = coating.pitch
    row_pitch = pitch * math.sqrt(0.75)
    rows, columns = (math.ceil((size + 2 * MARGIN) / step) + 3 for step in (row_pitch, pitch))
    nodules = []
    for row in range(rows):
        for column in range(columns):
            y = -MARGIN - pitch + row * row_pitch + stream.uniform(-0.38, 0.38) * pitch
            x = -MARGIN - pitch + (column + row % 2 / 2) * pitch + stream.uniform(-0.38, 0.38) * pitch
            radius = pitch * stream.uniform(0.65, 1.0)
            brightness = 1 + coating.contrast * stream.uniform(-1, 1)
            nodules.append(Nodule(*(round(value, DECIMALS) for value in (y, x, radius, brightness))))
    return tuple(nodules)


def _specks(stream: RandomStream, cracks: list[Strip], grid: FineGrid) -> tuple[Speck, ...]:
    """Pinholes and particles clear of the cracks."""
    free = np.round(crack_distance(cracks, grid), 6)

    def accept(_: str, y: float, x: float, diameter: float) -> bool:
        return bool(free[grid.span(y, y + 1).start, grid.span(x, x + 1).start] > diameter / 2 + 3)

    return scatter(stream, grid.size, round(grid.size**2 / 4000), ("pinhole", "particle"), accept, gap=5.0)
