"""The scene kind ``fibres``: random mats of three styles."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from srbench.datasets.synthetic.curves import (
    arc_lengths,
    b_spline,
    distance_to_curve,
    near_image,
    von_mises,
    wandering,
)
from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.fibres import Bead, Fibre, FibreScene, Mat
from srbench.datasets.synthetic.geometry import Array
from srbench.datasets.synthetic.imaging import Optics
from srbench.datasets.synthetic.scene import register_scene
from srbench.datasets.synthetic.spots import SMALL, Ball

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
