"""Straight tapered wires: dispersed on a substrate, or standing as grown with the catalyst at their tips.

Thin wires and stubs of 2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4) lie between the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from srbench.datasets.synthetic.drawing import (
    SHADOW_REACH,
    SMALL,
    Ball,
    Band,
    BandFinder,
    Coat,
    faceted_profile,
    render_ball,
    render_tube,
    round_profile,
)
from srbench.datasets.synthetic.geometry import FineGrid, distance_to_curve, in_image, von_mises
from srbench.datasets.synthetic.imaging import Layers, Optics, sample_optics
from srbench.datasets.synthetic.rng import DECIMALS, Array, RandomStream, Spread
from srbench.datasets.synthetic.scene import Scene, register_scene

PIECE = 24.0
"""A wire is drawn in pieces of at most this length: small windows cost less."""


@dataclass(frozen=True)
class Wire:
    """A tapered rod with round ends. Lengths in HR pixels, angles in degrees.

    Attributes:
        type: ``wire``, ``thin wire`` or ``stub``.
        y: row of the middle of its foot.
        x: column of the middle of its foot.
        length: from the middle of the foot to that of the tip.
        angle: direction of the tip, from columns towards rows.
        base_width: width at the foot.
        tip_width: width at the tip.
        brightness: yield over that of the material.
        cap: diameter of the droplet at the tip, 0 without one.
    """

    type: str
    y: float
    x: float
    length: float
    angle: float
    base_width: float
    tip_width: float
    brightness: float
    cap: float = 0.0

    @property
    def tip(self) -> tuple[float, float]:
        """Middle (y, x) of the tip."""
        return self.at(self.length)

    @property
    def middle(self) -> tuple[float, float]:
        """The point (y, x) halfway."""
        return self.at(self.length / 2)

    @property
    def axis(self) -> Array:
        """Foot and tip ``(2, 2)``."""
        return np.array([(self.y, self.x), self.tip])

    def at(self, along: float) -> tuple[float, float]:
        """The point (y, x) of the axis at a distance from the foot."""
        turn = math.radians(self.angle)
        y, x = self.y + along * math.sin(turn), self.x + along * math.cos(turn)
        return round(y, DECIMALS), round(x, DECIMALS)

    def radius(self, along: Array) -> Array:
        """Half width at distances from the foot."""
        radius: Array = (self.base_width + (self.tip_width - self.base_width) * (along / self.length)) / 2
        return radius

    def pieces(self) -> Array:
        """The axis as a polyline of short pieces."""
        share = np.linspace(0, 1, math.ceil(self.length / PIECE) + 1)[:, None]
        foot, tip = self.axis
        points: Array = foot + share * (tip - foot)
        return points


@dataclass(frozen=True)
class Growth:
    """How the wires of a scene look. Lengths in HR pixels, angles in degrees.

    Attributes:
        standing: whether they stand on the substrate, seen from the side, or lie on it.
        heading: preferred direction.
        kappa: concentration of the directions (von Mises).
        facets: whether the cross-section is hexagonal.
        relief: height of the wires' axes above the ground.
        foot_depth: how deep the feet of standing wires lie.
        emission: yield of the wires.
        ground: yield of the substrate.
        droplet: yield of the droplets.
        grain: texture amplitude of the wires.
        ground_grain: texture amplitude of the substrate.
        ground_roughness: relief of the substrate.
        shade: depth added beside a wire: its shadow on what lies below.
        shade_length: reach of the shadow.
    """

    standing: bool
    heading: float
    kappa: float
    facets: bool
    relief: float
    foot_depth: float
    emission: float
    ground: float
    droplet: float
    grain: float
    ground_grain: float
    ground_roughness: float
    shade: float
    shade_length: float


@dataclass(frozen=True)
class WireScene(Scene):
    """Nanowires; those painted later lie on top or stand in front."""

    size: int
    growth: Growth
    optics: Optics
    wires: tuple[Wire, ...]

    def truth(self) -> dict[str, Any]:
        """The wires, the lowest first; the small features are thin wires, stubs and small droplets.

        ``wires``: for each ``type``, ``base`` and ``tip`` (y, x), in the image or not, ``base_width`` and
        ``tip_width`` (the width is linear between them; both ends are round) and ``cap`` (diameter of the
        droplet around the tip, 0 without one).
        """
        entries = [
            {
                "type": wire.type,
                "base": [wire.y, wire.x],
                "tip": list(wire.tip),
                "base_width": wire.base_width,
                "tip_width": wire.tip_width,
                "cap": wire.cap,
            }
            for wire in self.wires
        ]
        features = []
        for wire in self.wires:
            (y, x), diameter = wire.middle, wire.base_width
            kind = wire.type
            if kind == "wire":
                (y, x), diameter, kind = wire.tip, wire.cap, "cap"
                if not SMALL[0] <= diameter <= SMALL[1] or not in_image(np.array([[y, x]]), self.size, 4)[0]:
                    continue
            features.append({"type": kind, "y": y, "x": x, "diameter": diameter})
        return {"wires": entries, "small_features": features}

    def layers(self, grid: FineGrid) -> Layers:
        """Paint the wires one by one, each with its droplet."""
        growth = self.growth
        layers = Layers(
            emission=grid.full(growth.ground),
            height=grid.full(0.0),
            distance=grid.full(SHADOW_REACH),
            depth=grid.full(growth.foot_depth),
            grain=grid.full(growth.ground_grain),
            roughness=grid.full(growth.ground_roughness),
        )
        finder = BandFinder(grid)
        for wire in self.wires:
            half = max(wire.base_width, wire.tip_width) / 2
            band = finder.near(wire.pieces(), half + max(growth.shade_length, grid.step))
            render_tube(layers, band, wire.radius(band.along), self._coat(wire, band), grid.step)
            if wire.cap:
                droplet = Ball(*wire.tip, wire.cap, growth.droplet)
                render_ball(layers, grid, droplet, 0.5 * growth.shade, 3.0)
        return layers

    def _coat(self, wire: Wire, band: Band) -> Coat:
        growth = self.growth
        depth = np.zeros(band.along.shape)
        if growth.standing:
            depth = growth.foot_depth * (1 - np.minimum(band.along / 60.0, 1))
        return Coat(
            emission=growth.emission * wire.brightness,
            grain=growth.grain,
            roughness=0.0,
            base=growth.relief,
            depth=depth,
            shadow=growth.shade * min(1.0, wire.base_width / 6),
            shadow_length=growth.shade_length,
            profile=faceted_profile if growth.facets and wire.type == "wire" else round_profile,
        )


WIDTHS = (3.0, 10.0)
LENGTHS = (60.0, 300.0)


@register_scene(code=4)
def nanowires(stream: RandomStream, size: int) -> WireScene:
    """Wires that lie on a substrate, or stand on it and are seen from the side."""
    growth = _growth(stream, standing=not stream.chance(0.5))
    large = _large(stream, growth, size)
    small = _small(stream, growth, large, size)
    return WireScene(size, growth, _optics(stream, growth.standing), (*large, *small))


_GROWTHS: dict[str, tuple[Spread, Spread]] = {
    "heading": ((0, 360), lambda s: -90 + s.uniform(-12, 12)),
    "kappa": (
        lambda s: s.choice((0.0, s.uniform(0.5, 3), s.uniform(5, 25))),
        lambda s: s.choice((s.uniform(8, 20), s.uniform(40, 150), s.uniform(300, 900))),
    ),
    "facets": (lambda s: s.chance(0.4), lambda s: s.chance(0.5)),
    "relief": ((1, 3), (2, 4)),
    "foot_depth": ((0, 4), (6, 14)),
    "contrast": (
        lambda s: s.choice((s.uniform(0.25, 0.5), s.uniform(0.55, 0.9))),
        (0.5, 1.1),
    ),
    "droplet": ((0.75, 1.0), (0.75, 1.0)),
    "grain": ((0.02, 0.06), (0.02, 0.05)),
    "ground_grain": ((0.04, 0.12), (0.08, 0.16)),
    "ground_roughness": ((0.05, 0.35), (0.2, 0.6)),
    "shade": ((2, 6), (2, 5)),
    "shade_length": ((3, 8), (3, 7)),
}
"""Of wires that lie, and of wires that stand; ``contrast`` is the yield of the ground over the wires'."""


def _growth(stream: RandomStream, standing: bool) -> Growth:
    emission = stream.uniform(0.42, 0.58 if standing else 0.6)
    values = stream.table({name: spreads[standing] for name, spreads in _GROWTHS.items()})
    ground = round(emission * values.pop("contrast"), DECIMALS)
    facets = bool(values.pop("facets"))
    return Growth(standing=standing, facets=facets, emission=emission, ground=ground, **values)


def _optics(stream: RandomStream, standing: bool) -> Optics:
    return sample_optics(
        stream,
        {
            "tilt_exponent": (0.35, 0.6),
            "bloom": (0.08, 0.2),
            "bloom_length": (1.2, 2.5),
            "shadow": 0.0,
            "asymmetry": (0.05, 0.35),
            "detector_angle": (-150, -30),
            "shading": (0.6, 0.85) if standing else (0.4, 0.7),
            "shading_length": (6, 10) if standing else (4, 8),
            "relief_wavelength": (4, 9),
            "texture_length": (0.7, 1.6),
            "waves": (0.03, 0.1),
            "charging": lambda s: s.uniform(0.05, 0.2) if s.chance(0.3) else 0.0,
            "charging_length": (30, 120),
            "black": (0.03, 0.1),
            "white": (0.86, 0.96),
        },
    )


def _large(stream: RandomStream, growth: Growth, size: int) -> tuple[Wire, ...]:
    """The wires proper. Standing ones are sorted by their feet: the nearer one hides the farther."""
    count = round(stream.uniform(*((26, 80) if growth.standing else (20, 48))) * size / 384)
    median = stream.uniform(0.3, 0.5) * min(size, 300)
    wires = [_wire(stream, growth, size, median) for _ in range(count)]
    if growth.standing:
        wires.sort(key=lambda wire: wire.y)
    return _with_caps(stream, wires)


def _wire(stream: RandomStream, growth: Growth, size: int, median: float) -> Wire:
    length = stream.log_normal(median, 1.3, LENGTHS[0], min(LENGTHS[1], 1.2 * size))
    base = stream.log_normal(6.0, 1.3, *WIDTHS)
    tip = round(max(2.0, base * stream.uniform(0.55, 1.0)), DECIMALS)
    angle = von_mises(stream, growth.heading, growth.kappa)
    y, x = stream.uniform(-20, size + 20), stream.uniform(-20, size + 20)
    if growth.standing:
        y = stream.uniform(0.25 * size, 1.2 * size)
    else:
        y = round(y - length / 2 * math.sin(math.radians(angle)), DECIMALS)
        x = round(x - length / 2 * math.cos(math.radians(angle)), DECIMALS)
    return Wire("wire", y, x, length, angle, base, tip, stream.uniform(0.85, 1.2))


def _with_caps(stream: RandomStream, wires: list[Wire]) -> tuple[Wire, ...]:
    """Droplets at a share of the tips, only where no later wire hides them."""
    share, ratio = stream.choice((0.15, 0.5, 0.95)), stream.uniform(1.1, 1.5)
    capped = []
    for number, wire in enumerate(wires):
        cap = round(ratio * wire.tip_width, DECIMALS) if stream.chance(share) else 0.0
        hidden = any(
            distance_to_curve(*wire.tip, other.axis) < other.base_width / 2 + cap / 2 + 1
            for other in wires[number + 1 :]
        )
        capped.append(wire if hidden else replace(wire, cap=cap))
    return tuple(capped)


def _small(stream: RandomStream, growth: Growth, large: tuple[Wire, ...], size: int) -> tuple[Wire, ...]:
    """Thin wires over the others, and stubs on the bare ground; all of their middles are seen."""
    most = size * size / 6000
    small: list[Wire] = []
    for _ in range(30 * round(most)):
        wire = (_thin if stream.chance(0.5) else _stub)(stream, growth, size)
        rivals = small if wire.type == "thin wire" else (*large, *small)
        if len(small) < most and _is_free(wire, rivals, size) and _leaves_caps(wire, large):
            small.append(wire)
    return tuple(small)


def _thin(stream: RandomStream, growth: Growth, size: int) -> Wire:
    length, width = stream.uniform(24, 56), stream.uniform(2, 3)
    angle = von_mises(stream, growth.heading, growth.kappa / 2)
    y, x = stream.uniform(8, size - 9), stream.uniform(8, size - 9)
    turn = math.radians(angle)
    y, x = round(y - length / 2 * math.sin(turn), DECIMALS), round(x - length / 2 * math.cos(turn), DECIMALS)
    return Wire("thin wire", y, x, length, angle, width, width, stream.uniform(1.0, 1.2))


def _stub(stream: RandomStream, growth: Growth, size: int) -> Wire:
    width = stream.uniform(*SMALL)
    length = stream.share(width, 0.6, 1.6)
    angle = von_mises(stream, growth.heading, growth.kappa / 2)
    y, x = stream.uniform(8, size - 9), stream.uniform(8, size - 9)
    return Wire("stub", y, x, length, angle, width, width, stream.uniform(1.0, 1.3))


def _is_free(wire: Wire, rivals: tuple[Wire, ...] | list[Wire], size: int) -> bool:
    """Whether the middle lies in the image and keeps clear of the rivals, and theirs of this one."""
    y, x = wire.middle
    reach = wire.base_width / 2 + (wire.length / 2 if wire.type == "stub" else 0) + 3
    clear = all(distance_to_curve(y, x, r.axis) > r.base_width / 2 + reach for r in rivals)
    back = all(
        distance_to_curve(*r.middle, wire.axis) > (r.base_width + wire.base_width) / 2 + 3
        for r in rivals
        if r.type != "wire"
    )
    return min(y, x) > 6 and max(y, x) < size - 7 and clear and back


def _leaves_caps(wire: Wire, large: tuple[Wire, ...]) -> bool:
    """Whether no droplet is hidden."""
    return all(
        distance_to_curve(*other.tip, wire.axis) > (other.cap + wire.base_width) / 2 + 2
        for other in large
        if other.cap
    )
