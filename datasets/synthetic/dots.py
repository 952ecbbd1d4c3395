"""Arrays of dots or holes on a square or hexagonal lattice: pillars, domes, contact holes.

A few sites are empty, a few dots too small or in the wrong place; dots of 2 to 6 HR pixels and residues of
that size (0.5 to 1.5 LR pixels at x4) are the small features.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from srbench.datasets.synthetic.draws import DECIMALS
from srbench.datasets.synthetic.geometry import (
    Array,
    FineGrid,
    coverage,
    ellipse_distance,
    rotate,
)
from srbench.datasets.synthetic.imaging import Optics
from srbench.datasets.synthetic.scene import Layers, Scene
from srbench.datasets.synthetic.spots import SMALL, Ball, paint_ball

REACH = 14.0
"""HR pixels outside an outline up to which distances are known."""
MODES = (2, 3, 4, 5, 6, 7)
"""Harmonics of a rough outline: successive powers of the unit vector, from the second."""


@dataclass(frozen=True)
class Lattice:
    """Where the dots belong. Lengths in HR pixels.

    Attributes:
        type: ``square`` or ``hexagonal``.
        pitch: distance of neighbouring sites.
        angle: direction of the first lattice vector in degrees, from columns towards rows.
        y: row of site (0, 0).
        x: column of site (0, 0).
    """

    type: str
    pitch: float
    angle: float
    y: float
    x: float

    @property
    def vectors(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The two lattice vectors (y, x)."""
        second = self.angle + (90 if self.type == "square" else 60)
        first, other = (
            (
                round(self.pitch * math.sin(math.radians(turn)), DECIMALS),
                round(self.pitch * math.cos(math.radians(turn)), DECIMALS),
            )
            for turn in (self.angle, second)
        )
        return first, other

    def site(self, i: int, j: int) -> tuple[float, float]:
        """Place (y, x) of site (i, j)."""
        a, b = self.vectors
        return round(self.y + i * a[0] + j * b[0], DECIMALS), round(self.x + i * a[1] + j * b[1], DECIMALS)


@dataclass(frozen=True)
class Dot:
    """One dot or hole with an elliptic, slightly rough outline. Lengths in HR pixels, angles in degrees.

    Attributes:
        type: ``regular``, ``half`` (half size), ``extra`` (between the sites) or ``missing`` (not drawn).
        i: first index of its site.
        j: second index; an extra dot has the indices of a neighbouring site.
        y: row of its centre.
        x: column of its centre.
        major: length of the ellipse's long axis.
        minor: of its short axis.
        angle: direction of the long axis, from columns towards rows.
        rough: cosine and sine amplitudes of the outline's harmonics ``MODES``, outwards.
        brightness: yield over that of the material.
    """

    type: str
    i: int
    j: int
    y: float
    x: float
    major: float
    minor: float
    angle: float
    rough: tuple[tuple[float, float], ...] = ()
    brightness: float = 1.0

    @property
    def diameter(self) -> float:
        """Diameter of the circle of equal area, to first order in the roughness."""
        return round(math.sqrt(self.major * self.minor), DECIMALS)

    def distance(self, y: Array, x: Array) -> Array:
        """Signed distance of points to the outline."""
        down, right = y - self.y, x - self.x
        ellipse = ellipse_distance(down, right, self.major, self.minor, math.radians(self.angle))
        if self.rough:
            ellipse = ellipse - self._roughness(down, right)
        return ellipse

    def _roughness(self, down: Array, right: Array) -> Array:
        """Outward deviation of the outline in the direction of each point."""
        unit = (right + 1j * down) / np.maximum(np.sqrt(down * down + right * right), 1e-9)
        power, deviation = unit, np.zeros(unit.shape)
        for cosine, sine in self.rough:
            power = power * unit
            deviation += cosine * power.real + sine * power.imag
        return deviation


@dataclass(frozen=True)
class Process:
    """Design and process of an array. Lengths in HR pixels.

    Attributes:
        style: ``dots`` or ``holes``.
        profile: ``pillar`` (flat top) or ``dome`` of a dot; ``hole``.
        cd: nominal diameter.
        ellipticity: long over short axis of the typical dot.
        cd_sigma: standard deviation of the diameters.
        placement_sigma: standard deviation of the placement along either direction.
        edge_sigma: standard deviation of the rough outlines.
        relief: height of the dots or depth of the holes.
        sidewall: width over which the side rises.
        emission: yield of the dots, or of the surface around the holes.
        ground: yield of what lies between the dots, or of the holes' floor.
        grain: texture amplitude.
        roughness: relief of the surfaces.
    """

    style: str
    profile: str
    cd: float
    ellipticity: float
    cd_sigma: float
    placement_sigma: float
    edge_sigma: float
    relief: float
    sidewall: float
    emission: float
    ground: float
    grain: float
    roughness: float


@dataclass(frozen=True)
class DotScene(Scene):
    """An array of dots or holes.

    Attributes:
        sites: what stands at each site, and the extra dots.
        residues: balls between the dots.
    """

    size: int
    lattice: Lattice
    process: Process
    optics: Optics
    sites: tuple[Dot, ...]
    residues: tuple[Ball, ...]

    def truth(self) -> dict[str, Any]:
        """The array, each dot or hole that meets the image, and where one is missing.

        ``style``: ``dots`` or ``holes``. ``lattice``: ``type``, ``pitch``, the ``vectors`` (y, x) and the
        ``origin``. ``dots``: for each ``i``, ``j``, ``y``, ``x``, ``site`` (its place in the design),
        ``diameter`` (of the circle of equal area), ``major``, ``minor``, ``angle``, ``rough`` (harmonics 2 to
        7 of the outline), ``type`` (``regular``, ``half`` or ``extra``), and the flags ``border`` (not wholly
        in the image) and ``defective`` (not regular). ``missing``: empty sites (``i``, ``j``, ``y``, ``x``)
        in the image.
        """
        first, second = self.lattice.vectors
        return {
            "style": self.process.style,
            "lattice": {
                "type": self.lattice.type,
                "pitch": self.lattice.pitch,
                "vectors": [list(first), list(second)],
                "origin": [self.lattice.y, self.lattice.x],
            },
            "pitch": self.lattice.pitch,
            "cd": self.process.cd,
            "process": asdict(self.process),
            "dots": [self._entry(dot) for dot in self._shown()],
            "missing": [
                {"i": dot.i, "j": dot.j, "y": dot.y, "x": dot.x} for dot in self.sites if self._is_gap(dot)
            ],
            "small_features": [*map(_dot_feature, self._small_dots()), *map(_residue_feature, self.residues)],
        }

    def without(self, feature: int) -> DotScene:
        """The scene lacking one small dot or one residue."""
        gone = [*self._small_dots(), *self.residues][feature]
        return replace(
            self,
            sites=tuple(dot for dot in self.sites if dot is not gone),
            residues=tuple(ball for ball in self.residues if ball is not gone),
        )

    def layers(self, grid: FineGrid) -> Layers:
        """Draw the array, then what lies on it."""
        process = self.process
        outline, brightness = self.outlines(grid)
        share = coverage(outline, grid.step)
        holes = process.style == "holes"
        side = 1 - share if holes else share
        layers = Layers(
            emission=process.ground + side * (process.emission * brightness - process.ground),
            height=self._relief(outline, grid),
            distance=-outline if holes else outline,
            depth=process.relief * (np.clip(-outline / process.sidewall, 0, 1) if holes else 1 - share),
            grain=grid.full(process.grain),
            roughness=grid.full(process.roughness),
        )
        for ball in self.residues:
            paint_ball(layers, grid, ball, 0.2 * process.relief, 3.0)
        return layers

    def outlines(self, grid: FineGrid) -> tuple[Array, Array]:
        """Signed distance to the outlines, negative in dots or holes, and the relative yield of each place.

        Farther than 1 px outside all outlines their exponentials are added, as what they emit adds up: the
        line halfway between two dots is not seen in a micrograph.
        """
        length = self.optics.bloom_length
        nearest, brightness = grid.full(REACH), grid.full(1.0)
        least = math.exp(-REACH / length)
        together = grid.full(least)
        for dot in self._drawn():
            window = _window(dot, grid, REACH)
            distance = dot.distance(grid.axis[window[0], None], grid.axis[None, window[1]])
            nearest[window] = np.minimum(nearest[window], distance)
            together[window] += np.maximum(np.exp(-np.maximum(distance, 0) / length) - least, 0)
            if self.process.style == "dots":
                np.copyto(brightness[window], dot.brightness, where=distance < grid.step)
        weight = np.clip((nearest - 1) / 3, 0, 1)
        return nearest + weight * (-length * np.log(together) - nearest), brightness

    def _relief(self, outline: Array, grid: FineGrid) -> Array:
        process = self.process
        if process.profile != "dome":
            rise = process.relief * np.clip(0.5 - outline / process.sidewall, 0, 1)
            return -rise if process.style == "holes" else rise
        height = grid.full(0.0)
        for dot in self._drawn():
            window = _window(dot, grid, 0.0)
            y, x = grid.axis[window[0], None] - dot.y, grid.axis[None, window[1]] - dot.x
            u, v = rotate(y, x, math.radians(dot.angle))
            q2 = (2 * u / dot.major) ** 2 + (2 * v / dot.minor) ** 2
            height[window] = np.maximum(height[window], process.relief * np.sqrt(np.maximum(1 - q2, 0)))
        return height

    def _drawn(self) -> list[Dot]:
        return [dot for dot in self.sites if dot.type != "missing"]

    def _shown(self) -> list[Dot]:
        return [dot for dot in self._drawn() if self._overhang(dot) < dot.diameter]

    def _overhang(self, dot: Dot) -> float:
        """How far the box around the outline sticks out of the image; 0 or less inside it."""
        half = dot.major / 2 + _amplitude(dot)
        outside = max(-0.5 - min(dot.y, dot.x), max(dot.y, dot.x) - self.size + 0.5)
        return outside + half

    def _is_gap(self, dot: Dot) -> bool:
        return dot.type == "missing" and min(dot.y, dot.x) > -0.5 and max(dot.y, dot.x) < self.size - 0.5

    def _small_dots(self) -> list[Dot]:
        """Half and extra dots of a small feature's size, wholly in the image."""
        odd = [dot for dot in self.sites if dot.type in ("half", "extra")]
        return [dot for dot in odd if SMALL[0] <= dot.diameter <= SMALL[1] and self._overhang(dot) < -2]

    def _entry(self, dot: Dot) -> dict[str, Any]:
        entry = asdict(dot)
        del entry["brightness"]
        return {
            **entry,
            "rough": [list(pair) for pair in dot.rough],
            "site": list(self.lattice.site(dot.i, dot.j)),
            "diameter": dot.diameter,
            "border": self._overhang(dot) > 0,
            "defective": dot.type != "regular",
        }


def _window(dot: Dot, grid: FineGrid, reach: float) -> tuple[slice, slice]:
    half = dot.major / 2 + _amplitude(dot) + reach
    return grid.span(dot.y - half, dot.y + half), grid.span(dot.x - half, dot.x + half)


def _amplitude(dot: Dot) -> float:
    """Largest outward deviation that the roughness may reach."""
    return sum(math.hypot(*pair) for pair in dot.rough)


def _dot_feature(dot: Dot) -> dict[str, Any]:
    return {"type": f"{dot.type} dot", "y": dot.y, "x": dot.x, "diameter": dot.diameter}


def _residue_feature(ball: Ball) -> dict[str, Any]:
    return {"type": "residue", "y": ball.y, "x": ball.x, "diameter": ball.diameter}
