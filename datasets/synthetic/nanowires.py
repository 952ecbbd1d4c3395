"""Straight tapered wires: dispersed on a substrate, or standing as grown with the catalyst at their tips.

Thin wires and stubs of 2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4) lie between the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import (
    Array,
    FineGrid,
    crossings,
    distance_to_curve,
    in_image,
    length_inside,
    von_mises,
)
from srbench.datasets.synthetic.imaging import Layers, Optics
from srbench.datasets.synthetic.painting import (
    SHADOW_REACH,
    SMALL,
    Ball,
    Band,
    BandFinder,
    Coat,
    Stack,
    faceted_profile,
    paint_ball,
    paint_tube,
    round_profile,
    stack,
)
from srbench.datasets.synthetic.scene import Scene, register_scene

PIECE = 24.0
"""A wire is drawn in pieces of at most this length: small windows cost less."""


@dataclass(frozen=True)
class Wire:
    """A tapered rod with round ends. Lengths in HR pixels, angles in degrees.

    Attributes:
        number: its name within the scene.
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

    number: int
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
        style: ``lying`` or ``standing``.
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

    style: str
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
        """The wires that meet the image, the lowest first, and which of them overlap.

        ``wires``: for each ``number``, ``type``, ``base`` and ``tip`` (y, x), ``base_width`` and
        ``tip_width`` (the width is linear between them; both ends are round), ``length``, ``angle``,
        ``length_inside`` the image, ``visible`` (share of its area in the image that no other wire hides),
        ``cap`` (diameter of the droplet around the tip, 0 without one), and the flags ``border`` (not wholly
        in the image), ``small`` (thin wire or stub) and ``overlapping``. ``overlaps``: ``over``, ``under``
        of wires whose outlines overlap in the image; ``crossings``: where axes cross. ``count``: wires of
        type ``wire`` of which at least a tenth is seen.
        """
        seen = self.stack()
        shown = [index for index in range(len(self.wires)) if seen.points[index] > 0]
        crossed = {index for pair in seen.overlaps for index in pair}
        entries = [self._entry(index, seen, index in crossed) for index in shown]
        numbers = [wire.number for wire in self.wires]
        return {
            "style": self.growth.style,
            "growth": asdict(self.growth),
            "wires": entries,
            "count": sum(entry["type"] == "wire" and entry["visible"] >= 0.1 for entry in entries),
            "overlaps": [{"over": numbers[upper], "under": numbers[lower]} for lower, upper in seen.overlaps],
            "crossings": list(self._crossings()),
            "small_features": [self._feature_entry(wire) for wire in self._features()],
        }

    def without(self, feature: int) -> WireScene:
        """The scene lacking one thin wire or stub, or one wire's droplet."""
        gone = self._features()[feature]
        if gone.type != "wire":
            return replace(self, wires=tuple(wire for wire in self.wires if wire is not gone))
        bare = replace(gone, cap=0.0)
        return replace(self, wires=tuple(bare if wire is gone else wire for wire in self.wires))

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
        for wire, band in self._bands(grid, growth.shade_length):
            radius = wire.radius(band.along)
            paint_tube(layers, band, radius, self._coat(wire, band), grid.step)
            if wire.cap:
                droplet = Ball(*wire.tip, wire.cap, growth.droplet)
                paint_ball(layers, grid, droplet, 0.5 * growth.shade, 3.0)
        return layers

    def stack(self) -> Stack:
        """Which wire is on top where, by position in ``wires``; droplets not counted."""
        grid = FineGrid(self.size)
        areas = (band.where[band.offset < w.radius(band.along)] for w, band in self._bands(grid, 0.0))
        return stack(grid, areas)

    def _bands(self, grid: FineGrid, around: float) -> Iterator[tuple[Wire, Band]]:
        finder = BandFinder(grid)
        for wire in self.wires:
            half = max(wire.base_width, wire.tip_width) / 2
            yield wire, finder.near(wire.pieces(), half + max(around, grid.step))

    def _coat(self, wire: Wire, band: Band) -> Coat:
        growth = self.growth
        depth = np.zeros(band.along.shape)
        if growth.style == "standing":
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

    def _features(self) -> list[Wire]:
        """Thin wires, stubs, and wires whose tip in the image wears a small droplet."""
        return [w for w in self.wires if w.type != "wire" or self._has_small_cap(w)]

    def _has_small_cap(self, wire: Wire) -> bool:
        return SMALL[0] <= wire.cap <= SMALL[1] and bool(in_image(np.array([wire.tip]), self.size, 4)[0])

    def _feature_entry(self, wire: Wire) -> dict[str, Any]:
        if wire.type == "wire":
            y, x = wire.tip
            return {"type": "cap", "y": y, "x": x, "diameter": wire.cap, "number": wire.number}
        y, x = wire.middle
        size = {"diameter": wire.base_width, "length": wire.length}
        return {"type": wire.type, "y": y, "x": x, **size, "number": wire.number}

    def _entry(self, index: int, seen: Stack, overlapping: bool) -> dict[str, Any]:
        wire = self.wires[index]
        ends = np.array([wire.base_width, wire.tip_width])[:, None] / 2
        inside = in_image(wire.axis - ends, self.size) & in_image(wire.axis + ends, self.size)
        return {
            "number": wire.number,
            "type": wire.type,
            "base": [wire.y, wire.x],
            "tip": list(wire.tip),
            "base_width": wire.base_width,
            "tip_width": wire.tip_width,
            "length": wire.length,
            "angle": wire.angle,
            "length_inside": length_inside(wire.axis, self.size),
            "visible": seen.visible[index],
            "cap": wire.cap,
            "small": wire.type != "wire",
            "border": not inside.all(),
            "overlapping": overlapping,
        }

    def _crossings(self) -> Iterator[dict[str, Any]]:
        for upper, over in enumerate(self.wires):
            for under in self.wires[:upper]:
                for y, x in crossings(under.axis, over.axis):
                    if in_image(np.array([[y, x]]), self.size)[0]:
                        yield {"y": y, "x": x, "over": over.number, "under": under.number}


WIDTHS = (3.0, 10.0)
LENGTHS = (60.0, 300.0)
FIRST_SMALL = 1000
"""Thin wires and stubs are numbered from here."""


@register_scene(code=4)
def nanowires(draws: Draws, size: int) -> WireScene:
    """Draw a scene of nanowires."""
    growth = _lying(draws) if draws.chance(0.5) else _standing(draws)
    large = _large(draws, growth, size)
    small = _small(draws, growth, large, size)
    return WireScene(size, growth, _optics(draws, growth), (*large, *small))


def _lying(draws: Draws) -> Growth:
    emission = draws.uniform(0.42, 0.6)
    return Growth(
        style="lying",
        heading=draws.uniform(0, 360),
        kappa=draws.choice((0.0, draws.uniform(0.5, 3), draws.uniform(5, 25))),
        facets=draws.chance(0.4),
        relief=draws.uniform(1, 3),
        foot_depth=draws.uniform(0, 4),
        emission=emission,
        ground=round(emission * draws.choice((draws.uniform(0.25, 0.5), draws.uniform(0.55, 0.9))), DECIMALS),
        droplet=draws.uniform(0.75, 1.0),
        grain=draws.uniform(0.02, 0.06),
        ground_grain=draws.uniform(0.04, 0.12),
        ground_roughness=draws.uniform(0.05, 0.35),
        shade=draws.uniform(2, 6),
        shade_length=draws.uniform(3, 8),
    )


def _standing(draws: Draws) -> Growth:
    emission = draws.uniform(0.42, 0.58)
    return Growth(
        style="standing",
        heading=-90 + draws.uniform(-12, 12),
        kappa=draws.choice((draws.uniform(8, 20), draws.uniform(40, 150), draws.uniform(300, 900))),
        facets=draws.chance(0.5),
        relief=draws.uniform(2, 4),
        foot_depth=draws.uniform(6, 14),
        emission=emission,
        ground=round(emission * draws.uniform(0.5, 1.1), DECIMALS),
        droplet=draws.uniform(0.75, 1.0),
        grain=draws.uniform(0.02, 0.05),
        ground_grain=draws.uniform(0.08, 0.16),
        ground_roughness=draws.uniform(0.2, 0.6),
        shade=draws.uniform(2, 5),
        shade_length=draws.uniform(3, 7),
    )


def _optics(draws: Draws, growth: Growth) -> Optics:
    standing = growth.style == "standing"
    return Optics(
        tilt_exponent=draws.uniform(0.35, 0.6),
        bloom=draws.uniform(0.08, 0.2),
        bloom_length=draws.uniform(1.2, 2.5),
        shadow=0.0,
        asymmetry=draws.uniform(0.05, 0.35),
        detector_angle=draws.uniform(-150, -30),
        shading=draws.uniform(0.6, 0.85) if standing else draws.uniform(0.4, 0.7),
        shading_length=draws.uniform(6, 10) if standing else draws.uniform(4, 8),
        relief_wavelength=draws.uniform(4, 9),
        texture_length=draws.uniform(0.7, 1.6),
        waves=draws.uniform(0.03, 0.1),
        spot=draws.uniform(0.5, 0.75),
        astigmatism=draws.uniform(1, 1.25),
        spot_angle=draws.uniform(0, 180),
        charging=draws.uniform(0.05, 0.2) if draws.chance(0.3) else 0.0,
        charging_length=draws.uniform(30, 120),
        black=draws.uniform(0.03, 0.1),
        white=draws.uniform(0.86, 0.96),
    )


def _large(draws: Draws, growth: Growth, size: int) -> tuple[Wire, ...]:
    """The wires proper. Standing ones are sorted by their feet: the nearer one hides the farther."""
    standing = growth.style == "standing"
    count = (
        round(draws.uniform(26, 80) * size / 384) if standing else round(draws.uniform(20, 48) * size / 384)
    )
    median = draws.uniform(0.3, 0.5) * min(size, 300)
    wires = [_wire(draws, growth, size, median) for _ in range(count)]
    if standing:
        wires.sort(key=lambda wire: wire.y)
    numbered = [replace(wire, number=number) for number, wire in enumerate(wires)]
    return _with_caps(draws, numbered)


def _wire(draws: Draws, growth: Growth, size: int, median: float) -> Wire:
    length = draws.log_normal(median, 1.3, LENGTHS[0], min(LENGTHS[1], 1.2 * size))
    base = draws.log_normal(6.0, 1.3, *WIDTHS)
    tip = round(max(2.0, base * draws.uniform(0.55, 1.0)), DECIMALS)
    angle = von_mises(draws, growth.heading, growth.kappa)
    y, x = draws.uniform(-20, size + 20), draws.uniform(-20, size + 20)
    if growth.style == "standing":
        y = draws.uniform(0.25 * size, 1.2 * size)
    else:
        y = round(y - length / 2 * math.sin(math.radians(angle)), DECIMALS)
        x = round(x - length / 2 * math.cos(math.radians(angle)), DECIMALS)
    return Wire(0, "wire", y, x, length, angle, base, tip, draws.uniform(0.85, 1.2))


def _with_caps(draws: Draws, wires: list[Wire]) -> tuple[Wire, ...]:
    """Droplets at a share of the tips, only where no later wire hides them."""
    share, ratio = draws.choice((0.15, 0.5, 0.95)), draws.uniform(1.1, 1.5)
    capped = []
    for place, wire in enumerate(wires):
        cap = round(ratio * wire.tip_width, DECIMALS) if draws.chance(share) else 0.0
        hidden = any(
            distance_to_curve(*wire.tip, other.axis) < other.base_width / 2 + cap / 2 + 1
            for other in wires[place + 1 :]
        )
        capped.append(wire if hidden else replace(wire, cap=cap))
    return tuple(capped)


def _small(draws: Draws, growth: Growth, large: tuple[Wire, ...], size: int) -> tuple[Wire, ...]:
    """Thin wires over the others, and stubs on the bare ground; all of their middles are seen."""
    wanted = size * size / 6000
    found: list[Wire] = []
    for _ in range(30 * round(wanted)):
        make = _thin if draws.chance(0.5) else _stub
        wire = make(draws, growth, size, FIRST_SMALL + len(found))
        rivals = found if wire.type == "thin wire" else (*large, *found)
        if len(found) < wanted and _is_free(wire, rivals, size) and _leaves_caps(wire, large):
            found.append(wire)
    return tuple(found)


def _thin(draws: Draws, growth: Growth, size: int, number: int) -> Wire:
    length, width = draws.uniform(24, 56), draws.uniform(2, 3)
    angle = von_mises(draws, growth.heading, growth.kappa / 2)
    y, x = draws.uniform(8, size - 9), draws.uniform(8, size - 9)
    turn = math.radians(angle)
    y, x = round(y - length / 2 * math.sin(turn), DECIMALS), round(x - length / 2 * math.cos(turn), DECIMALS)
    return Wire(number, "thin wire", y, x, length, angle, width, width, draws.uniform(1.0, 1.2))


def _stub(draws: Draws, growth: Growth, size: int, number: int) -> Wire:
    width = draws.uniform(*SMALL)
    length = round(width * draws.uniform(0.6, 1.6), DECIMALS)
    angle = von_mises(draws, growth.heading, growth.kappa / 2)
    y, x = draws.uniform(8, size - 9), draws.uniform(8, size - 9)
    return Wire(number, "stub", y, x, length, angle, width, width, draws.uniform(1.0, 1.3))


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
