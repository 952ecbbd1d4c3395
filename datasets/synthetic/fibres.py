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

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import (
    DIRECTION_BINS,
    SUPERSAMPLING,
    Array,
    FineGrid,
    Mask,
    arc_lengths,
    b_spline,
    crossings,
    direction_lengths,
    distance_to_curve,
    in_image,
    length_inside,
    near_image,
    von_mises,
    wandering,
)
from srbench.datasets.synthetic.imaging import Layers, Optics
from srbench.datasets.synthetic.painting import (
    SHADOW_REACH,
    SMALL,
    Ball,
    Band,
    BandFinder,
    Coat,
    Profile,
    Stack,
    paint_ball,
    paint_tube,
    round_profile,
    stack,
)
from srbench.datasets.synthetic.scene import Scene, register_scene


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


WIDTHS = (6.0, 24.0)
FIRST_FIBRIL = 1000
"""Fibrils are numbered from here."""
OUTSIDE = 40.0
"""HR pixels beyond the image to which centre lines are kept: nothing farther out is drawn."""


@register_scene(code=1)
def fibres(draws: Draws, size: int) -> FibreScene:
    """Draw a mat of fibres."""
    mat = draws.choice((_electrospun, _wool, _glass))(draws)
    large = _large(draws, mat, size)
    beaded = _with_beads(draws, mat, large)
    mixed = _with_fibrils(draws, mat, beaded, size)
    return FibreScene(size, mat, _optics(draws, mat), mixed, _debris(draws, mat, mixed, size))


def _electrospun(draws: Draws) -> Mat:
    return Mat(
        style="electrospun",
        median=draws.uniform(8, 13),
        gsd=draws.uniform(1.12, 1.4),
        heading=draws.uniform(0, 180),
        kappa=draws.uniform(0, 1.5),
        bend=draws.uniform(8, 22),
        gap=draws.uniform(50, 80),
        thickness=draws.uniform(16, 30),
        ground_depth=draws.uniform(0.6, 1.4),
        emission=draws.uniform(0.42, 0.55),
        ground=draws.uniform(0.15, 0.3),
        grain=draws.uniform(0.02, 0.05),
        roughness=draws.uniform(0.0, 0.2),
        shade=draws.uniform(5, 10),
        shade_length=draws.uniform(6, 11),
        scales=0.0,
        scale_length=1.0,
    )


def _wool(draws: Draws) -> Mat:
    return Mat(
        style="wool",
        median=draws.uniform(14, 19),
        gsd=draws.uniform(1.08, 1.2),
        heading=draws.uniform(0, 180),
        kappa=draws.uniform(1, 5),
        bend=draws.uniform(10, 22),
        gap=draws.uniform(75, 110),
        thickness=draws.uniform(25, 45),
        ground_depth=draws.uniform(0.6, 1.4),
        emission=draws.uniform(0.4, 0.5),
        ground=draws.uniform(0.1, 0.25),
        grain=draws.uniform(0.025, 0.05),
        roughness=draws.uniform(0.05, 0.25),
        shade=draws.uniform(7, 14),
        shade_length=draws.uniform(8, 15),
        scales=draws.uniform(1.0, 2.0),
        scale_length=draws.uniform(9, 16),
    )


def _glass(draws: Draws) -> Mat:
    return Mat(
        style="glass",
        median=draws.uniform(8, 14),
        gsd=draws.uniform(1.3, 1.55),
        heading=draws.uniform(0, 180),
        kappa=draws.uniform(0, 3),
        bend=draws.uniform(0.5, 4),
        gap=draws.uniform(80, 120),
        thickness=draws.uniform(18, 36),
        ground_depth=draws.uniform(0.6, 1.4),
        emission=draws.uniform(0.4, 0.55),
        ground=draws.uniform(0.2, 0.4),
        grain=draws.uniform(0.015, 0.04),
        roughness=draws.uniform(0.0, 0.1),
        shade=draws.uniform(5, 10),
        shade_length=draws.uniform(6, 12),
        scales=0.0,
        scale_length=1.0,
    )


def _optics(draws: Draws, mat: Mat) -> Optics:
    return Optics(
        tilt_exponent=draws.uniform(0.4, 0.65),
        bloom=draws.uniform(0.06, 0.18),
        bloom_length=draws.uniform(1.5, 3),
        shadow=0.0,
        asymmetry=draws.uniform(0.1, 0.4),
        detector_angle=draws.uniform(-150, -30),
        shading=draws.uniform(0.68, 0.93),
        shading_length=round(mat.thickness * draws.uniform(0.6, 1.1), DECIMALS),
        relief_wavelength=draws.uniform(4, 8),
        texture_length=draws.uniform(0.7, 1.4),
        waves=draws.uniform(0.03, 0.08),
        spot=draws.uniform(0.5, 0.75),
        astigmatism=draws.uniform(1, 1.25),
        spot_angle=draws.uniform(0, 180),
        charging=draws.uniform(0.05, 0.2) if draws.chance(0.4) else 0.0,
        charging_length=draws.uniform(30, 120),
        black=draws.uniform(0.03, 0.1),
        white=draws.uniform(0.86, 0.96),
    )


def _large(draws: Draws, mat: Mat, size: int) -> tuple[Fibre, ...]:
    """The fibres proper, the lowest first. They are longer than the image: as many as its side can take."""
    most = 40 if mat.style == "electrospun" else 28
    count = round(draws.uniform(15, most) * size / 384)
    found: list[Fibre] = []
    for place in range(count):
        width = draws.log_normal(mat.median, mat.gsd, *WIDTHS)
        line = _line(draws, mat, size)
        depth = round(mat.thickness * (1 - (place + 1) / count) * draws.uniform(0.75, 1), DECIMALS)
        if len(line) > 1:
            found.append(Fibre(place, _frozen(line), width, depth, draws.uniform(0.85, 1.15)))
    return tuple(found)


def _line(draws: Draws, mat: Mat, size: int) -> Array:
    """A centre line through a random place of the image; one in eight ends in it."""
    heading = mat.heading + von_mises(draws, 0.0, mat.kappa) / 2
    y, x = draws.uniform(0, size), draws.uniform(0, size)
    before = draws.uniform(0.1, 0.4) if draws.chance(0.125) else 1.2
    back = before * size + 2 * mat.gap
    start = (y - back * math.sin(math.radians(heading)), x - back * math.cos(math.radians(heading)))
    line = wandering(draws, start, heading, math.ceil((back + 1.2 * size) / mat.gap), mat.gap, mat.bend)
    return near_image(line, size, OUTSIDE)


def _frozen(line: Array) -> tuple[tuple[float, float], ...]:
    return tuple((float(y), float(x)) for y, x in line)


def _with_beads(draws: Draws, mat: Mat, large: tuple[Fibre, ...]) -> tuple[Fibre, ...]:
    """Beads on a few fibres of every other electrospun mat."""
    if mat.style != "electrospun" or draws.chance(0.5):
        return large
    share = draws.uniform(0.1, 0.35)
    return tuple(_beaded(draws, fibre) if draws.chance(share) else fibre for fibre in large)


def _beaded(draws: Draws, fibre: Fibre) -> Fibre:
    """One or two spindles, apart from each other."""
    whole = float(arc_lengths(fibre.curve)[-1])
    beads: list[Bead] = []
    for _ in range(draws.integer(1, 2)):
        width = round(fibre.width * draws.uniform(1.7, 2.6), DECIMALS)
        bead = Bead(draws.uniform(0, whole), round(width * draws.uniform(2, 3.2), DECIMALS), width)
        if all(abs(bead.along - other.along) > (bead.length + other.length) / 2 for other in beads):
            beads.append(bead)
    return replace(fibre, beads=tuple(beads))


def _with_fibrils(draws: Draws, mat: Mat, large: tuple[Fibre, ...], size: int) -> tuple[Fibre, ...]:
    """Fine fibrils from one fibre to another, their ends under both; the middle of each is seen."""
    layers: list[tuple[float, Fibre]] = [(float(place), fibre) for place, fibre in enumerate(large)]
    fibrils: list[Fibre] = []
    wanted = size * size / 5000
    for _ in range(60 * round(wanted)):
        one, other = sorted((draws.integer(0, len(large) - 1), draws.integer(0, len(large) - 1)))
        fibril = _fibril(draws, large[one], large[other], FIRST_FIBRIL + len(fibrils))
        if len(fibrils) < wanted and fibril and _is_seen(fibril, large[one:], fibrils, size):
            fibrils.append(fibril)
            layers.append((one - 0.5, fibril))
    return tuple(fibre for _, fibre in sorted(layers, key=lambda layer: layer[0]))


def _fibril(draws: Draws, lower: Fibre, upper: Fibre, number: int) -> Fibre | None:
    """A fibril between two centre lines, if they are near each other where it is tried."""
    start, curve = np.array(draws.choice(lower.line)), upper.curve
    bow, skip, reach = draws.uniform(-0.25, 0.25), draws.integer(-4, 4), draws.uniform(16, 64)
    nearest = int(np.argmin(np.round(np.square(curve - start).sum(axis=1), DECIMALS)))
    span = curve[min(max(nearest + skip, 0), len(curve) - 1)] - start
    length = float(np.sqrt(np.square(span).sum()))
    if not 14 < length < reach:
        return None
    sag = bow * np.array([-span[1], span[0]])
    controls = [
        start - 0.3 * span - sag,
        start,
        start + 0.5 * span + sag,
        start + span,
        start + 1.3 * span - sag,
    ]
    line = b_spline(np.round(np.stack(controls), DECIMALS))
    width = round(SMALL[0] + (SMALL[1] - SMALL[0]) * draws.uniform(0, 1) ** 2, DECIMALS)
    return Fibre(number, _frozen(line), width, lower.depth, draws.uniform(0.95, 1.2), small=True)


def _is_seen(fibril: Fibre, above: tuple[Fibre, ...], others: list[Fibre], size: int) -> bool:
    """Whether the middle lies in the image, clear of the fibres above it and of all other fibrils."""
    y, x = fibril.middle
    inside = min(y, x) > 8 and max(y, x) < size - 9
    return (
        inside
        and all(
            distance_to_curve(y, x, f.curve) > f.half_width + fibril.width / 2 + 3 for f in (*above, *others)
        )
        and all(
            distance_to_curve(*f.middle, fibril.curve) > f.width / 2 + fibril.width / 2 + 3 for f in others
        )
    )


def _debris(draws: Draws, mat: Mat, mixed: tuple[Fibre, ...], size: int) -> tuple[Ball, ...]:
    """Balls on the fibres, where no other fibre is on top, apart from fibrils and from each other."""
    balls: list[Ball] = []
    for _ in range(4 * round(size * size / 6000)):
        place, diameter = draws.integer(0, len(mixed) - 1), draws.uniform(SMALL[0], 5)
        host = mixed[place]
        vertex, shift = draws.choice(host.line), draws.uniform(-0.3, 0.3) * host.width
        y, x = round(vertex[0] + shift, DECIMALS), round(vertex[1] + shift, DECIMALS)
        ball = Ball(y, x, diameter, round(mat.emission * draws.uniform(1.0, 1.5), DECIMALS))
        hidden = any(
            distance_to_curve(y, x, fibre.curve) < fibre.half_width + diameter / 2 + 1
            for number, fibre in enumerate(mixed)
            if number > place or fibre.small
        )
        apart = all(np.hypot(other.y - y, other.x - x) > 10 for other in balls)
        inside = min(y, x) > 5 and max(y, x) < size - 6
        if len(balls) < size * size / 6000 and inside and apart and not hidden and not host.small:
            balls.append(ball)
    return tuple(balls)
