"""Mats of fibres lying over each other: electrospun polymer, wool with its cuticle scales, drawn glass.

Every fibre is a tube along a smooth curve; those higher up hide and shade those below. Fine fibrils and
debris of 2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4) lie between and on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srbench.datasets.synthetic.curves import (
    DIRECTION_BINS,
    arc_lengths,
    crossings,
    direction_lengths,
    in_image,
    length_inside,
)
from srbench.datasets.synthetic.draws import DECIMALS
from srbench.datasets.synthetic.geometry import SUPERSAMPLING, Array, FineGrid, Mask
from srbench.datasets.synthetic.imaging import Optics
from srbench.datasets.synthetic.scene import Layers, Scene
from srbench.datasets.synthetic.spots import Ball, paint_ball
from srbench.datasets.synthetic.tubes import (
    SHADOW_REACH,
    Band,
    BandFinder,
    Coat,
    Profile,
    Stack,
    paint_tube,
    round_profile,
    stack,
)


@dataclass(frozen=True)
class Bead:
    """A spindle-shaped thickening: its middle at ``along`` HR pixels from the first vertex."""

    along: float
    length: float
    width: float


@dataclass(frozen=True)
class Fibre:
    """A tube. Lengths in HR pixels.

    Attributes:
        number: its name within the scene.
        line: vertices (y, x) of the centre line.
        width: full width, apart from beads.
        depth: how far it lies below the top of the mat.
        brightness: yield over that of the material.
        beads: its thickenings.
        small: whether it is one of the fine fibrils.
    """

    number: int
    line: tuple[tuple[float, float], ...]
    width: float
    depth: float
    brightness: float
    beads: tuple[Bead, ...] = ()
    small: bool = False

    @property
    def curve(self) -> Array:
        """The centre line as an array ``(vertices, 2)``."""
        return np.array(self.line)

    @property
    def half_width(self) -> float:
        """Largest distance of the outline from the centre line."""
        return max([self.width, *(bead.width for bead in self.beads)]) / 2

    def radius(self, along: Array) -> Array:
        """Half width at distances along the centre line."""
        radius = np.full(along.shape, self.width / 2)
        for bead in self.beads:
            x = (along - bead.along) / (bead.length / 2)
            radius += (bead.width - self.width) / 2 * np.square(np.maximum(1 - x * x, 0))
        return radius

    def at(self, along: float) -> tuple[float, float]:
        """The point (y, x) of the centre line at a distance from its first vertex."""
        curve, arcs = self.curve, arc_lengths(self.curve)
        y, x = (round(float(np.interp(along, arcs, curve[:, axis])), DECIMALS) for axis in (0, 1))
        return y, x

    @property
    def middle(self) -> tuple[float, float]:
        """The vertex halfway."""
        return self.line[len(self.line) // 2]


@dataclass(frozen=True)
class Mat:
    """How the fibres of a scene look. Lengths in HR pixels, angles in degrees.

    Attributes:
        style: ``electrospun``, ``wool`` or ``glass``.
        median: median width of the fibres.
        gsd: geometric standard deviation of the widths.
        heading: preferred direction, from columns towards rows.
        kappa: concentration of the directions (von Mises, of doubled angles).
        bend: standard deviation of the direction along a fibre.
        gap: distance of the control points of a fibre.
        thickness: depth of the lowest fibre below the top of the mat.
        ground_depth: depth of the ground over ``thickness``.
        emission: yield of the fibres.
        ground: yield of what lies below the mat.
        grain: texture amplitude.
        roughness: relief of the fibres.
        shade: depth added beside a fibre: its shadow on what lies below.
        shade_length: reach of the shadow.
        scales: height of the cuticle scales.
        scale_length: their spacing along the fibre.
    """

    style: str
    median: float
    gsd: float
    heading: float
    kappa: float
    bend: float
    gap: float
    thickness: float
    ground_depth: float
    emission: float
    ground: float
    grain: float
    roughness: float
    shade: float
    shade_length: float
    scales: float
    scale_length: float


@dataclass(frozen=True)
class FibreScene(Scene):
    """A mat of fibres.

    Attributes:
        fibres: the lowest first; fibrils among them.
        debris: balls lying on the fibres.
    """

    size: int
    mat: Mat
    optics: Optics
    fibres: tuple[Fibre, ...]
    debris: tuple[Ball, ...]

    def truth(self) -> dict[str, Any]:
        """The fibres that meet the image, the lowest first, and where they cross.

        ``fibres``: for each ``number``, ``width``, ``line`` (vertices (y, x) of the centre line; the outline
        lies ``width`` / 2 from it, apart from ``beads``), ``length`` in the image, ``visible`` (share of its
        area in the image that no other fibre hides), ``clear`` (first and last vertex of each stretch where
        the whole cross-section is seen, without beads: where a width can be measured), and the flags
        ``small`` (a fibril), ``defective`` (has beads in the image) and ``border`` (leaves the image).
        ``crossings``: where centre lines cross, ``over`` and ``under`` (numbers). ``orientation``: share of
        the fibres' length by axial direction (equal bins from 0 to 180 degrees, from columns towards rows;
        fibrils not counted).
        """
        seen = self.stack()
        entries = [self._entry(index, seen) for index in range(len(self.fibres)) if seen.points[index] > 0]
        return {
            "style": self.mat.style,
            "mat": asdict(self.mat),
            "fibres": entries,
            "crossings": list(self._crossings()),
            "orientation": self._orientation(),
            "small_features": [*map(_fibril_entry, self._fibrils()), *map(_debris_entry, self.debris)],
        }

    def without(self, feature: int) -> FibreScene:
        """The scene lacking one fibril or one piece of debris."""
        gone = [*self._fibrils(), *self.debris][feature]
        return replace(
            self,
            fibres=tuple(fibre for fibre in self.fibres if fibre is not gone),
            debris=tuple(ball for ball in self.debris if ball is not gone),
        )

    def layers(self, grid: FineGrid) -> Layers:
        """Paint the fibres from the lowest to the highest, then the debris."""
        mat = self.mat
        layers = Layers(
            emission=grid.full(mat.ground),
            height=grid.full(0.0),
            distance=grid.full(SHADOW_REACH),
            depth=grid.full(mat.ground_depth * mat.thickness),
            grain=grid.full(3 * mat.grain),
            roughness=grid.full(0.4),
        )
        for fibre, band in self._bands(grid, mat.shade_length):
            paint_tube(layers, band, fibre.radius(band.along), _coat(mat, fibre), grid.step)
        for ball in self.debris:
            paint_ball(layers, grid, ball, 0.4 * mat.shade, 3.0)
        return layers

    def stack(self) -> Stack:
        """Which fibre is on top where, by position in ``fibres``."""
        grid = FineGrid(self.size)
        areas = (band.where[band.offset < f.radius(band.along)] for f, band in self._bands(grid, 0.0))
        return stack(grid, areas)

    def _bands(self, grid: FineGrid, around: float) -> Iterator[tuple[Fibre, Band]]:
        finder = BandFinder(grid)
        for fibre in self.fibres:
            yield fibre, finder.near(fibre.curve, fibre.half_width + max(around, grid.step))

    def _fibrils(self) -> list[Fibre]:
        return [fibre for fibre in self.fibres if fibre.small]

    def _entry(self, index: int, seen: Stack) -> dict[str, Any]:
        fibre = self.fibres[index]
        beads = [(*fibre.at(bead.along), bead) for bead in fibre.beads]
        inside = [bead for bead in beads if in_image(np.array([bead[:2]]), self.size)[0]]
        return {
            "number": fibre.number,
            "width": fibre.width,
            "line": [list(vertex) for vertex in fibre.line],
            "length": length_inside(fibre.curve, self.size),
            "visible": seen.visible[index],
            "clear": _runs(self._clear(index, seen)),
            "beads": [{"y": y, "x": x, **asdict(bead)} for y, x, bead in beads],
            "small": fibre.small,
            "defective": bool(inside),
            "border": not in_image(fibre.curve, self.size, fibre.width / 2).all(),
        }

    def _clear(self, index: int, seen: Stack) -> Mask:
        """At which vertices the whole cross-section is on top, in the image, free of beads and debris."""
        fibre, curve = self.fibres[index], self.fibres[index].curve
        radius = fibre.radius(arc_lengths(curve))
        plain = np.round(radius - fibre.width / 2, 6) == 0
        for ball in self.debris:
            apart = np.sqrt(np.square(curve - np.array([ball.y, ball.x])).sum(axis=1))
            plain &= apart > fibre.width / 2 + ball.diameter / 2 + 3
        plain &= in_image(curve, self.size, fibre.width / 2 + 3)
        across = np.array([-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0])
        inner = _numbers(seen, curve, across * (fibre.width / 2 - 0.5))
        outer = _numbers(seen, curve, np.array([-1.0, 1.0]) * (fibre.width / 2 + 2))
        clear: Mask = plain & (inner == index).all(axis=1) & (outer <= index).all(axis=1)
        return clear

    def _crossings(self) -> Iterator[dict[str, Any]]:
        large = [fibre for fibre in self.fibres if not fibre.small]
        for upper, over in enumerate(large):
            for under in large[:upper]:
                for y, x in crossings(under.curve, over.curve):
                    if in_image(np.array([[y, x]]), self.size)[0]:
                        yield {"y": y, "x": x, "over": over.number, "under": under.number}

    def _orientation(self) -> dict[str, Any]:
        lengths = np.zeros(DIRECTION_BINS)
        for fibre in self.fibres:
            if not fibre.small:
                lengths += direction_lengths(fibre.curve, self.size)
        shares = lengths / max(float(lengths.sum()), 1e-9)
        return {"bin_degrees": 180 / DIRECTION_BINS, "shares": [round(share, 6) for share in shares.tolist()]}


def _fibril_entry(fibre: Fibre) -> dict[str, Any]:
    y, x = fibre.middle
    length = round(float(arc_lengths(fibre.curve)[-1]), DECIMALS)
    return {
        "type": "fibril",
        "y": y,
        "x": x,
        "diameter": fibre.width,
        "length": length,
        "number": fibre.number,
    }


def _debris_entry(ball: Ball) -> dict[str, Any]:
    return {"type": "debris", "y": ball.y, "x": ball.x, "diameter": ball.diameter}


def _runs(mask: Mask) -> list[list[int]]:
    """First and last index of each run of True, runs of one left out."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [[int(first), int(end) - 1] for first, end in edges.reshape(-1, 2) if end - first > 1]


def _numbers(seen: Stack, curve: Array, offsets: Array) -> NDArray[np.int32]:
    """Position of the topmost fibre at ``offsets`` across each vertex, ``(vertices, offsets)``."""
    steps = np.gradient(curve, axis=0)
    steps /= np.sqrt(np.square(steps).sum(axis=1, keepdims=True))
    normal = np.stack([steps[:, 1], -steps[:, 0]], axis=1)
    points = curve[:, None] + offsets[None, :, None] * normal[:, None]
    index = np.floor(np.round((points + 0.5) * SUPERSAMPLING, 6)).astype(int)
    last = seen.top.shape[0] - 1
    row, column = (np.clip(index[..., axis], 0, last) for axis in (0, 1))
    numbers: NDArray[np.int32] = seen.top[row, column]
    return numbers


def _coat(mat: Mat, fibre: Fibre) -> Coat:
    # Fine fibrils cast little shadow and are too thin for scales.
    weight = min(1.0, fibre.width / mat.median)
    return Coat(
        emission=mat.emission * fibre.brightness,
        grain=mat.grain,
        roughness=0.0 if fibre.small else mat.roughness,
        base=mat.thickness - fibre.depth,
        depth=fibre.depth,
        shadow=mat.shade * weight,
        shadow_length=mat.shade_length * math.sqrt(weight),
        profile=round_profile if fibre.small or not mat.scales else _scaly(mat, fibre),
    )


def _scaly(mat: Mat, fibre: Fibre) -> Profile:
    return partial(_scaly_profile, height=mat.scales, spacing=mat.scale_length, phase=1.7 * fibre.number)


def _scaly_profile(
    radius: Array, offset: Array, along: Array, height: float, spacing: float, phase: float
) -> Array:
    """Overlapping scales: a saw-tooth along the fibre, uneven in spacing, its edges bent around the fibre."""
    uneven = 0.35 * np.sin(along / (0.8 * spacing) + phase) + 0.25 * np.sin(
        along / (2.1 * spacing) + 2 * phase
    )
    turn = along / spacing + uneven - 0.5 * np.square(offset / radius) + 0.2 * np.sin(offset + phase)
    tooth = np.round(turn, 9) % 1.0
    raised: Array = round_profile(radius, offset, along) + height * tooth
    return raised
