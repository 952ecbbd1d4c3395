"""Mats of fibres lying over each other: electrospun polymer, wool with its cuticle scales, drawn glass.

Every fibre is a tube along a smooth curve; those higher up hide and shade those below. Fine fibrils and
debris of 2 to 6 HR pixels (0.5 to 1.5 LR pixels at x4) lie between and on them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from srbench.datasets.synthetic.drawing import (
    SHADOW_REACH,
    SMALL,
    Ball,
    BandFinder,
    Coat,
    render_ball,
    render_tube,
    round_profile,
)
from srbench.datasets.synthetic.geometry import (
    FineGrid,
    arc_lengths,
    b_spline,
    distance_to_curve,
    near_image,
    von_mises,
    wandering,
)
from srbench.datasets.synthetic.imaging import Layers, Optics, sample_optics
from srbench.datasets.synthetic.rng import DECIMALS, Array, RandomStream, Spread
from srbench.datasets.synthetic.scene import Scene, feature_entries, register_scene


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
        number: shifts the pattern of its scales.
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
        """The fibres, the lowest first, fibrils among them; the small features are fibrils and debris.

        ``fibres``: for each ``line`` (vertices (y, x) of the centre line, in the image or not), ``width``
        (the outline lies half of it from the line, apart from ``beads``) and ``small`` (a fibril); a bead is
        a spindle of ``length`` and ``width`` whose middle lies ``along`` HR pixels from the first vertex.
        """
        entries = [
            {
                "line": [list(vertex) for vertex in fibre.line],
                "width": fibre.width,
                "beads": [asdict(bead) for bead in fibre.beads],
                "small": fibre.small,
            }
            for fibre in self.fibres
        ]
        fibrils = [
            {"type": "fibril", "y": fibre.middle[0], "x": fibre.middle[1], "diameter": fibre.width}
            for fibre in self.fibres
            if fibre.small
        ]
        return {"fibres": entries, "small_features": fibrils + feature_entries(self.debris, "debris")}

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
        finder = BandFinder(grid)
        for fibre in self.fibres:
            band = finder.near(fibre.curve, fibre.half_width + max(mat.shade_length, grid.step))
            render_tube(layers, band, fibre.radius(band.along), _coat(mat, fibre), grid.step)
        for ball in self.debris:
            render_ball(layers, grid, ball, 0.4 * mat.shade, 3.0)
        return layers


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
        profile=round_profile
        if fibre.small or not mat.scales
        else partial(_scaly_profile, height=mat.scales, spacing=mat.scale_length, phase=1.7 * fibre.number),
    )


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
def fibres(stream: RandomStream, size: int) -> FibreScene:
    """A mat of fibres."""
    style = stream.integer(0, len(STYLES) - 1)
    mat = Mat(STYLES[style], **stream.table({name: spreads[style] for name, spreads in _MATS.items()}))
    large = _large(stream, mat, size)
    beaded = _with_beads(stream, mat, large)
    mixed = _with_fibrils(stream, beaded, size)
    return FibreScene(size, mat, _optics(stream, mat), mixed, _debris(stream, mat, mixed, size))


STYLES = ("electrospun", "wool", "glass")
_MATS: dict[str, tuple[Spread, Spread, Spread]] = {
    "median": ((8, 13), (14, 19), (8, 14)),
    "gsd": ((1.12, 1.4), (1.08, 1.2), (1.3, 1.55)),
    "heading": ((0, 180), (0, 180), (0, 180)),
    "kappa": ((0, 1.5), (1, 5), (0, 3)),
    "bend": ((8, 22), (10, 22), (0.5, 4)),
    "gap": ((50, 80), (75, 110), (80, 120)),
    "thickness": ((16, 30), (25, 45), (18, 36)),
    "ground_depth": ((0.6, 1.4), (0.6, 1.4), (0.6, 1.4)),
    "emission": ((0.42, 0.55), (0.4, 0.5), (0.4, 0.55)),
    "ground": ((0.15, 0.3), (0.1, 0.25), (0.2, 0.4)),
    "grain": ((0.02, 0.05), (0.025, 0.05), (0.015, 0.04)),
    "roughness": ((0.0, 0.2), (0.05, 0.25), (0.0, 0.1)),
    "shade": ((5, 10), (7, 14), (5, 10)),
    "shade_length": ((6, 11), (8, 15), (6, 12)),
    "scales": (0.0, (1.0, 2.0), 0.0),
    "scale_length": (1.0, (9, 16), 1.0),
}


def _optics(stream: RandomStream, mat: Mat) -> Optics:
    return sample_optics(
        stream,
        {
            "tilt_exponent": (0.4, 0.65),
            "bloom": (0.06, 0.18),
            "bloom_length": (1.5, 3),
            "shadow": 0.0,
            "asymmetry": (0.1, 0.4),
            "detector_angle": (-150, -30),
            "shading": (0.68, 0.93),
            "shading_length": lambda s: s.share(mat.thickness, 0.6, 1.1),
            "relief_wavelength": (4, 8),
            "texture_length": (0.7, 1.4),
            "waves": (0.03, 0.08),
            "charging": lambda s: s.uniform(0.05, 0.2) if s.chance(0.4) else 0.0,
            "charging_length": (30, 120),
            "black": (0.03, 0.1),
            "white": (0.86, 0.96),
        },
    )


def _large(stream: RandomStream, mat: Mat, size: int) -> tuple[Fibre, ...]:
    """The fibres proper, the lowest first. They are longer than the image: as many as its side can take."""
    most = 40 if mat.style == "electrospun" else 28
    count = round(stream.uniform(15, most) * size / 384)
    large: list[Fibre] = []
    for number in range(count):
        width = stream.log_normal(mat.median, mat.gsd, *WIDTHS)
        line = _line(stream, mat, size)
        depth = round(mat.thickness * (1 - (number + 1) / count) * stream.uniform(0.75, 1), DECIMALS)
        if len(line) > 1:
            large.append(Fibre(number, _frozen(line), width, depth, stream.uniform(0.85, 1.15)))
    return tuple(large)


def _line(stream: RandomStream, mat: Mat, size: int) -> Array:
    """A centre line through a random point of the image; one in eight ends in it."""
    heading = mat.heading + von_mises(stream, 0.0, mat.kappa) / 2
    y, x = stream.uniform(0, size), stream.uniform(0, size)
    before = stream.uniform(0.1, 0.4) if stream.chance(0.125) else 1.2
    back = before * size + 2 * mat.gap
    start = (y - back * math.sin(math.radians(heading)), x - back * math.cos(math.radians(heading)))
    line = wandering(stream, start, heading, math.ceil((back + 1.2 * size) / mat.gap), mat.gap, mat.bend)
    return near_image(line, size, OUTSIDE)


def _frozen(line: Array) -> tuple[tuple[float, float], ...]:
    return tuple((float(y), float(x)) for y, x in line)


def _with_beads(stream: RandomStream, mat: Mat, large: tuple[Fibre, ...]) -> tuple[Fibre, ...]:
    """Beads on a few fibres of every other electrospun mat."""
    if mat.style != "electrospun" or stream.chance(0.5):
        return large
    share = stream.uniform(0.1, 0.35)
    return tuple(_beaded(stream, fibre) if stream.chance(share) else fibre for fibre in large)


def _beaded(stream: RandomStream, fibre: Fibre) -> Fibre:
    """One or two spindles, apart from each other."""
    whole = float(arc_lengths(fibre.curve)[-1])
    beads: list[Bead] = []
    for _ in range(stream.integer(1, 2)):
        width = round(fibre.width * stream.uniform(1.7, 2.6), DECIMALS)
        bead = Bead(stream.uniform(0, whole), round(width * stream.uniform(2, 3.2), DECIMALS), width)
        if all(abs(bead.along - other.along) > (bead.length + other.length) / 2 for other in beads):
            beads.append(bead)
    return replace(fibre, beads=tuple(beads))


def _with_fibrils(stream: RandomStream, large: tuple[Fibre, ...], size: int) -> tuple[Fibre, ...]:
    """Fine fibrils from one fibre to another, their ends under both; the middle of each is seen."""
    levels: list[tuple[float, Fibre]] = [(float(level), fibre) for level, fibre in enumerate(large)]
    fibrils: list[Fibre] = []
    most = size * size / 5000
    for _ in range(60 * round(most)):
        low, high = sorted((stream.integer(0, len(large) - 1), stream.integer(0, len(large) - 1)))
        fibril = _fibril(stream, large[low], large[high], FIRST_FIBRIL + len(fibrils))
        if len(fibrils) < most and fibril and _is_seen(fibril, large[low:], fibrils, size):
            fibrils.append(fibril)
            levels.append((low - 0.5, fibril))
    return tuple(fibre for _, fibre in sorted(levels, key=lambda level: level[0]))


def _fibril(stream: RandomStream, lower: Fibre, upper: Fibre, number: int) -> Fibre | None:
    """A fibril between two centre lines, if they are near each other where it is tried."""
    start, curve = np.array(stream.choice(lower.line)), upper.curve
    bow, skip, reach = stream.uniform(-0.25, 0.25), stream.integer(-4, 4), stream.uniform(16, 64)
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
    width = round(SMALL[0] + (SMALL[1] - SMALL[0]) * stream.uniform(0, 1) ** 2, DECIMALS)
    return Fibre(number, _frozen(line), width, lower.depth, stream.uniform(0.95, 1.2), small=True)


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


def _debris(stream: RandomStream, mat: Mat, mixed: tuple[Fibre, ...], size: int) -> tuple[Ball, ...]:
    """Balls on the fibres, where no other fibre is on top, apart from fibrils and from each other."""
    balls: list[Ball] = []
    for _ in range(4 * round(size * size / 6000)):
        level, diameter = stream.integer(0, len(mixed) - 1), stream.uniform(SMALL[0], 5)
        host = mixed[level]
        vertex, shift = stream.choice(host.line), stream.uniform(-0.3, 0.3) * host.width
        y, x = round(vertex[0] + shift, DECIMALS), round(vertex[1] + shift, DECIMALS)
        ball = Ball(y, x, diameter, round(mat.emission * stream.uniform(1.0, 1.5), DECIMALS))
        hidden = any(
            distance_to_curve(y, x, fibre.curve) < fibre.half_width + diameter / 2 + 1
            for number, fibre in enumerate(mixed)
            if number > level or fibre.small
        )
        apart = all(np.hypot(other.y - y, other.x - x) > 10 for other in balls)
        inside = min(y, x) > 5 and max(y, x) < size - 6
        if len(balls) < size * size / 6000 and inside and apart and not hidden and not host.small:
            balls.append(ball)
    return tuple(balls)
