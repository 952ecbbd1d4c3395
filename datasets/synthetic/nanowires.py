"""Straight tapered wires: dispersed on a substrate, or standing as grown with the catalyst at their tips.

Thin wires and stubs of 2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4) lie between the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from srbench.datasets.synthetic.curves import crossings, in_image, length_inside
from srbench.datasets.synthetic.draws import DECIMALS
from srbench.datasets.synthetic.geometry import Array, FineGrid
from srbench.datasets.synthetic.imaging import Optics
from srbench.datasets.synthetic.scene import Layers, Scene
from srbench.datasets.synthetic.spots import SMALL, Ball, paint_ball
from srbench.datasets.synthetic.tubes import (
    SHADOW_REACH,
    Band,
    BandFinder,
    Coat,
    Stack,
    faceted_profile,
    paint_tube,
    round_profile,
    stack,
)

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
