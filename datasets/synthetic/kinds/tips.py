"""One sharp tip against the dark: the probe of a scanning force microscope, an etched wire, a field emitter.

The outline is a cone that ends in a circle of the apex radius; both flanks are tangents of that circle.
Asperities and dirt of 2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4) sit on the flanks and on the body.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from srbench.datasets.synthetic.drawing import SMALL, around, blend, shadow, window
from srbench.datasets.synthetic.geometry import MARGIN, FineGrid, coverage, ellipse_distance, rotate
from srbench.datasets.synthetic.imaging import Layers, Optics, sample_optics
from srbench.datasets.synthetic.rng import DECIMALS, Array, RandomStream
from srbench.datasets.synthetic.scene import Scene, feature_entries, register_scene

FAR = 24.0
"""HR pixels; farther outside the outline nothing is darkened."""


@dataclass(frozen=True)
class Probe:
    """The tip's shape. Lengths in HR pixels, angles in degrees.

    Attributes:
        style: ``cone`` (on a cantilever), ``pyramid`` (on a cantilever) or ``wire`` (etched, on its shank).
        y: row of the centre of the apex circle.
        x: column of the centre of the apex circle.
        radius: of the apex circle.
        half_angle: between axis and flank.
        axis_angle: direction from the apex into the body, from columns towards rows.
        height: distance along the axis from the centre of the apex circle to the cantilever or shank.
        shank: half width of the shank, 0 for a tip on a cantilever.
        slab: thickness of the cantilever's visible side, 0 for an etched wire.
        top: width of the cantilever's top as seen, foreshortened.
        end: where the cantilever ends, measured along it from the axis; 0 where its end is not seen.
        tilt: angle of the cantilever to the normal of the axis.
        ridge: where a pyramid's edge runs, from -1 (one flank) to 1 (the other).
    """

    style: str
    y: float
    x: float
    radius: float
    half_angle: float
    axis_angle: float
    height: float
    shank: float
    slab: float
    top: float
    end: float
    tilt: float
    ridge: float

    @property
    def shoulder(self) -> float:
        """How soon before the shank's full half width the flank of an etched wire begins to bend."""
        return 0.4 * self.shank

    def local(self, y: Array, x: Array) -> tuple[Array, Array]:
        """Coordinates along the axis, from the centre of the apex circle, and across it."""
        return rotate(y - self.y, x - self.x, math.radians(self.axis_angle))

    def cone(self, along: Array, across: Array) -> Array:
        """Signed distance to the endless cone with its round apex, exact outside it."""
        sine, cosine = (round(f(math.radians(self.half_angle)), 12) for f in (math.sin, math.cos))
        side = np.abs(across)
        flank = side * cosine - along * sine - self.radius
        cap = np.sqrt(along * along + across * across) - self.radius
        distance: Array = np.where(along * cosine + side * sine < 0, cap, flank)
        return distance

    def half_width(self, along: Array) -> Array:
        """Half width of the cone at positions along its axis, at least that of the apex circle's end."""
        sine, cosine = (round(f(math.radians(self.half_angle)), 12) for f in (math.sin, math.cos))
        cap = np.sqrt(np.maximum(self.radius**2 - along * along, 0))
        width: Array = np.where(along < -self.radius * sine, cap, (self.radius + along * sine) / cosine)
        return width


@dataclass(frozen=True)
class Bump:
    """A ball: an ``asperity`` on a flank, ``dirt`` on the body or on the cantilever."""

    type: str
    y: float
    x: float
    diameter: float
    emission: float


@dataclass(frozen=True)
class TipSurface:
    """How the tip looks. Lengths in HR pixels.

    Attributes:
        emission: yield of the tip.
        ground: yield of the background far below.
        backdrop: amplitude of what is seen of it out of focus.
        backdrop_period: its typical size.
        backdrop_angle: its direction in degrees.
        grain: texture amplitude.
        roughness: relief.
        glow: added yield at the very apex, where electrons leave on all sides.
        glow_length: distance from the apex over which it fades.
        bands: height of the steps that etching or milling left around the body.
        band_length: their spacing.
    """

    emission: float
    ground: float
    backdrop: float
    backdrop_period: float
    backdrop_angle: float
    grain: float
    roughness: float
    glow: float
    glow_length: float
    bands: float
    band_length: float


@dataclass(frozen=True)
class TipScene(Scene):
    """A tip."""

    size: int
    probe: Probe
    surface: TipSurface
    optics: Optics
    bumps: tuple[Bump, ...]

    def truth(self) -> dict[str, Any]:
        """Asperities and dirt."""
        return {"small_features": feature_entries(self.bumps)}

    def layers(self, grid: FineGrid) -> Layers:
        """Render the background, the cantilever, the tip in front of it and what sticks to them."""
        probe, surface = self.probe, self.surface
        along, across = probe.local(grid.axis[:, None], grid.axis[None, :])
        layers = Layers(
            emission=_backdrop(surface, grid),
            height=grid.full(0.0),
            distance=grid.full(FAR),
            depth=grid.full(0.0),
            grain=grid.full(surface.grain),
            roughness=grid.full(0.0),
        )
        if probe.slab:
            _render_cantilever(layers, probe, surface, along, across, grid)
        _render_tip(layers, probe, surface, along, across, grid)
        for bump in self.bumps:
            _render_bump(layers, bump, grid)
        return layers


def flank_end(probe: Probe) -> float:
    """Position along the axis up to which the outline is the straight flank."""
    sine, cosine = math.sin(math.radians(probe.half_angle)), math.cos(math.radians(probe.half_angle))
    if probe.slab:
        # Up to the far edge of the cantilever's top, which one flank meets before the other.
        lean = math.radians(abs(probe.tilt))
        edge = probe.height - 0.5 * probe.top / math.cos(lean)
        slope = math.tan(lean)
        return round((edge - slope * probe.radius / cosine) / (1 + slope * sine / cosine), DECIMALS)
    return round(((probe.shank - probe.shoulder) * cosine - probe.radius) / sine, DECIMALS)


def _rounded_maximum(first: Array, second: Array, radius: float) -> Array:
    """The larger of two, larger still where they differ by less than ``radius``: a smooth corner."""
    near = np.maximum(radius - np.abs(first - second), 0)
    result: Array = np.maximum(first, second) + near * near / (4 * radius)
    return result


def _backdrop(surface: TipSurface, grid: FineGrid) -> Array:
    """What lies far below, out of focus: broad bright and dark bands."""
    along, across = rotate(grid.axis[:, None], grid.axis[None, :], math.radians(surface.backdrop_angle))
    wave = np.sin(2 * math.pi * along / surface.backdrop_period) + 0.5 * np.sin(
        2 * math.pi * (0.4 * along + across) / (1.7 * surface.backdrop_period)
    )
    return surface.ground * (1 + surface.backdrop * wave)


def _render_tip(
    layers: Layers, probe: Probe, surface: TipSurface, along: Array, across: Array, grid: FineGrid
) -> None:
    distance = probe.cone(along, across)
    if probe.shank:
        distance = _rounded_maximum(distance, np.abs(across) - probe.shank, probe.shoulder)
    else:
        lean = math.tan(math.radians(probe.tilt))
        distance = np.maximum(distance, along - probe.height - lean * across - _base(probe, across))
    share = coverage(distance, grid.step)
    height = _pyramid(probe, along, across) if probe.style == "pyramid" else _round(probe, along, across)
    if surface.bands:
        height = height + surface.bands * _steps(along, across, surface.band_length)
    glow = surface.glow * np.exp(-np.maximum(along + probe.radius, 0) / surface.glow_length)
    _paint(layers, distance, share, surface.emission * (1 + glow), height, surface)


def _base(probe: Probe, across: Array) -> Array:
    """How far the near side of the base lies before its corners on the cantilever: an arc, or two edges."""
    width = float(probe.half_width(np.array(probe.height)))
    u = np.clip(across / width, -1, 1)
    if probe.style == "cone":
        arc: Array = 0.4 * probe.top * np.sqrt(1 - u * u)
        return arc
    edges: Array = 0.4 * probe.top * np.minimum((1 + u) / (1 + probe.ridge), (1 - u) / (1 - probe.ridge))
    return edges


def _render_cantilever(
    layers: Layers, probe: Probe, surface: TipSurface, along: Array, across: Array, grid: FineGrid
) -> None:
    """The beam from which the tip rises: its top seen at a glancing angle, and its side."""
    lean = math.radians(probe.tilt)
    below = (along - probe.height) * math.cos(lean) - across * math.sin(lean)
    front = below - 0.5 * probe.top
    distance = np.maximum(-0.5 * probe.top - below, front - probe.slab)
    if probe.end:
        outward = across * math.cos(lean) + (along - probe.height) * math.sin(lean)
        # The end is not square: seen from the side its top and its side end in different planes.
        beyond = math.copysign(1, probe.end) * outward - abs(probe.end) - 0.3 * np.minimum(front, 0)
        distance = np.maximum(distance, beyond)
    share = coverage(distance, grid.step)
    side = np.clip(0.5 + front / 1.5, 0, 1)
    emission = surface.emission * (0.85 - 0.35 * side)
    rim = np.exp(-np.abs(front) / 1.8)
    _paint(layers, distance, share, emission * (1 + 0.5 * rim), -0.5 * np.abs(front), surface)


def _paint(
    layers: Layers, distance: Array, share: Array, emission: Array, height: Array, surface: TipSurface
) -> None:
    layers.emission[...] = layers.emission * (1 - 0.5 * shadow(distance, FAR))
    for under, over in (
        (layers.emission, emission),
        (layers.height, height),
        (layers.roughness, surface.roughness),
    ):
        under += share * (over - under)
    layers.distance[...] = np.where(distance < 0, distance, np.minimum(layers.distance, distance))


def _round(probe: Probe, along: Array, across: Array) -> Array:
    """Height of a body of circular cross-section above its axis."""
    width = probe.half_width(along)
    if probe.shank:
        width = -_rounded_maximum(-width, np.full_like(width, -probe.shank), probe.shoulder)
    return np.sqrt(np.maximum(width * width - across * across, 0))


def _pyramid(probe: Probe, along: Array, across: Array) -> Array:
    """Height of two facets that meet in an edge between the flanks; at the apex, a ball."""
    width = probe.half_width(along)
    edge = probe.ridge * width
    near_facet = (across + width) / (1 + probe.ridge)
    far_facet = (width - across) / (1 - probe.ridge)
    facets = np.where(across < edge, near_facet, far_facet)
    ball = np.sqrt(np.maximum(width * width - across * across, 0))
    near = np.exp(-np.maximum(along, 0) / (3 * probe.radius))
    result: Array = near * ball + (1 - near) * 0.9 * np.maximum(facets, 0)
    return result


def _steps(along: Array, across: Array, spacing: float) -> Array:
    """Rounded, uneven steps around the body."""
    turn = 2 * math.pi * along / spacing + 1.3 * np.sin(along / (2.3 * spacing)) + 0.05 * across
    steps: Array = np.sin(turn) + 0.5 * np.sin(1.7 * turn + 1)
    return steps


def _render_bump(layers: Layers, bump: Bump, grid: FineGrid) -> None:
    part = window(grid, around(bump.y, bump.x, bump.diameter / 2), MARGIN)
    y, x = part.y - bump.y, part.x - bump.x
    distance = ellipse_distance(y, x, bump.diameter, bump.diameter, 0.0)
    layers.emission[part.span] *= 1 - 0.25 * shadow(distance, 4.0)
    blend(layers.emission[part.span], bump.emission, coverage(distance, grid.step))
    layers.height[part.span] += np.sqrt(np.maximum((bump.diameter / 2) ** 2 - y * y - x * x, 0))
    below = layers.distance[part.span]
    layers.distance[part.span] = np.where(below < 0, below, np.minimum(below, distance))


RADII = (1.0, 8.0)
HALF_ANGLES = (8.0, 25.0)


@register_scene(code=9)
def tips(stream: RandomStream, size: int) -> TipScene:
    """A tip on a cantilever, or an etched wire."""
    style = stream.choice(("cone", "pyramid", "wire"))
    probe = _wire(stream, size) if style == "wire" else _on_cantilever(stream, style, size)
    surface = TipSurface(
        **stream.table(
            {
                "emission": (0.36, 0.5),
                "ground": (0.03, 0.16),
                "backdrop": (0.05, 0.4),
                "backdrop_period": (120, 400),
                "backdrop_angle": (0, 180),
                "grain": (0.03, 0.07),
                "roughness": (0.05, 0.3),
                "glow": (0.2, 0.8),
                "glow_length": (6, 20),
                "bands": lambda s: s.uniform(0.2, 0.6) if style != "pyramid" and s.chance(0.6) else 0.0,
                "band_length": (6, 18),
            }
        )
    )
    optics = sample_optics(
        stream,
        {
            "tilt_exponent": (0.4, 0.7),
            "bloom": (0.2, 0.45),
            "bloom_length": (2, 5),
            "shadow": (0.1, 0.4),
            "shadow_length": (4, 8),
            "asymmetry": (0.15, 0.45),
            "detector_angle": (-180, 180),
            "relief_wavelength": (5, 12),
            "texture_length": (0.8, 1.8),
            "waves": (0.03, 0.1),
            "spot": (0.5, 0.8),
            "charging": lambda s: s.uniform(0.1, 0.3) if s.chance(0.5) else 0.0,
            "charging_length": (20, 100),
            "black": (0.03, 0.1),
            "white": (0.86, 0.96),
        },
    )
    return TipScene(size, probe, surface, optics, _bumps(stream, probe, surface, size))


def _on_cantilever(stream: RandomStream, style: str, size: int) -> Probe:
    """A tip that points up, its apex in the upper part of the image, its cantilever in the lower."""
    radius, half_angle = stream.log_normal(3.0, 1.7, *RADII), stream.uniform(10, HALF_ANGLES[1])
    height = round(size * stream.uniform(0.45, 0.62), DECIMALS)
    return Probe(
        style=style,
        y=round(size * stream.uniform(0.1, 0.2) + radius, DECIMALS),
        x=round(size * stream.uniform(0.35, 0.65), DECIMALS),
        radius=radius,
        half_angle=half_angle,
        axis_angle=stream.uniform(78, 102),
        height=height,
        shank=0.0,
        slab=round(size * stream.uniform(0.04, 0.14), DECIMALS),
        top=round(size * stream.uniform(0.06, 0.13), DECIMALS),
        # Most tips stand near the free end of their cantilever.
        end=0.0
        if stream.chance(0.3)
        else round(math.copysign(stream.uniform(0.3, 0.42), stream.uniform(-1, 1)) * size, DECIMALS),
        tilt=stream.uniform(-12, 12),
        ridge=stream.uniform(-0.5, 0.5),
    )


def _wire(stream: RandomStream, size: int) -> Probe:
    """An etched wire from any side, its apex around the middle of the image."""
    radius, half_angle = stream.log_normal(3.0, 1.7, *RADII), stream.uniform(HALF_ANGLES[0], 20)
    axis_angle = stream.uniform(0, 360)
    back = size * stream.uniform(0.15, 0.3)
    turn = math.radians(axis_angle)
    shank = size * stream.uniform(0.1, 0.2) + radius
    return Probe(
        style="wire",
        y=round(size / 2 - back * math.sin(turn), DECIMALS),
        x=round(size / 2 - back * math.cos(turn), DECIMALS),
        radius=radius,
        half_angle=half_angle,
        axis_angle=axis_angle,
        height=round(float(size), DECIMALS),
        shank=round(shank, DECIMALS),
        slab=0.0,
        top=0.0,
        end=0.0,
        tilt=0.0,
        ridge=0.0,
    )


def _bumps(stream: RandomStream, probe: Probe, surface: TipSurface, size: int) -> tuple[Bump, ...]:
    """Asperities on both flanks, some near the apex, and dirt on the body; all in the image and apart."""
    end = flank_end(probe)
    bumps: list[Bump] = []
    count = stream.integer(9, 14)
    for trial in range(30 * count):
        flank = trial % 2 == 0
        near = stream.chance(0.35)
        along = stream.uniform(2 * probe.radius + 6, min(40.0, 0.5 * end) if near else 0.9 * end)
        diameter = stream.uniform(*SMALL)
        half = float(probe.half_width(np.array(along)))
        room = half - diameter / 2 - 1.5
        # An asperity's middle lies on the flank or just inside it: half of it or more sticks out.
        across = half - 0.2 * diameter * stream.uniform(0, 1) if flank else room * stream.uniform(0, 1)
        across = math.copysign(across, stream.uniform(-1, 1))
        bump = _placed(stream, probe, surface, "asperity" if flank else "dirt", along, across, diameter)
        inside = min(bump.y, bump.x) > 6 and max(bump.y, bump.x) < size - 7
        apart = all(math.hypot(b.y - bump.y, b.x - bump.x) > 9 for b in bumps)
        if len(bumps) < count and inside and apart and (flank or room > 0):
            bumps.append(bump)
    return tuple(bumps)


def _placed(
    stream: RandomStream,
    probe: Probe,
    surface: TipSurface,
    kind: str,
    along: float,
    across: float,
    diameter: float,
) -> Bump:
    turn = math.radians(probe.axis_angle)
    y = round(probe.y + along * math.sin(turn) + across * math.cos(turn), DECIMALS)
    x = round(probe.x + along * math.cos(turn) - across * math.sin(turn), DECIMALS)
    return Bump(kind, y, x, diameter, round(surface.emission * stream.uniform(1.0, 1.5), DECIMALS))
