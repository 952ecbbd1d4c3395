"""Random arrays of dots and holes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from srbench.datasets.synthetic.dots import MODES, Dot, DotScene, Lattice, Process
from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import MARGIN
from srbench.datasets.synthetic.imaging import Optics
from srbench.datasets.synthetic.spots import SMALL, Ball

PITCHES = (16.0, 80.0)
DIAMETERS = (6.0, 40.0)
APART = 12.0
"""HR pixels between the centres of small features."""


def dot_scene(draws: Draws, size: int) -> DotScene:
    """Draw an array of dots or holes."""
    lattice = _lattice(draws, size)
    process = _process(draws, lattice)
    regular = _sites(draws, lattice, process, size)
    sites = (*regular, *_extras(draws, process, regular, size))
    return DotScene(
        size, lattice, process, _optics(draws, process), sites, _residues(draws, process, sites, size)
    )


def _lattice(draws: Draws, size: int) -> Lattice:
    # At least four rows of dots in the smallest image.
    pitch = draws.log_normal(30.0, 1.5, PITCHES[0], min(PITCHES[1], size / 4.5))
    return Lattice(
        type=draws.choice(("square", "hexagonal")),
        pitch=pitch,
        angle=draws.choice((0.0, draws.uniform(-3, 3), draws.uniform(0, 90))),
        y=draws.uniform(0, size),
        x=draws.uniform(0, size),
    )


def _process(draws: Draws, lattice: Lattice) -> Process:
    style = draws.choice(("dots", "holes"))
    densest = 0.62 if lattice.type == "square" else 0.56
    cd = min(max(lattice.pitch * draws.uniform(0.36, densest), DIAMETERS[0]), DIAMETERS[1])
    profile = "hole" if style == "holes" else draws.choice(("pillar", "pillar", "dome"))
    emission = draws.uniform(0.28, 0.45)
    return Process(
        style=style,
        profile=profile,
        cd=round(cd, DECIMALS),
        ellipticity=draws.choice((1.0, draws.uniform(1, 1.08), draws.uniform(1.1, 1.35))),
        cd_sigma=round(cd * draws.uniform(0.01, 0.05), DECIMALS),
        placement_sigma=draws.uniform(0.05, 0.02 * lattice.pitch),
        edge_sigma=draws.uniform(0.1, 0.02 * cd + 0.15),
        relief=round(cd * (0.4 if profile == "dome" else 0.25) * draws.uniform(0.7, 1.3), DECIMALS),
        sidewall=draws.uniform(1.5, 3),
        emission=emission,
        ground=round(emission * draws.uniform(0.3, 0.8), DECIMALS),
        grain=draws.uniform(0.04, 0.12),
        roughness=draws.uniform(0.03, 0.2),
    )


def _optics(draws: Draws, process: Process) -> Optics:
    holes = process.style == "holes"
    return Optics(
        tilt_exponent=draws.uniform(0.5, 0.9),
        bloom=draws.uniform(0.12, 0.35),
        bloom_length=draws.uniform(1.5, 3.5),
        shadow=draws.uniform(0.1, 0.5),
        shadow_length=draws.uniform(2, 6),
        asymmetry=draws.uniform(0.0, 0.3),
        detector_angle=draws.uniform(-180, 180),
        shading=draws.uniform(0.55, 0.9) if holes else draws.uniform(0.1, 0.45),
        shading_length=round(process.relief * draws.uniform(0.5, 1.0), DECIMALS),
        relief_wavelength=draws.uniform(4, 9),
        texture_length=draws.uniform(0.7, 1.6),
        waves=draws.uniform(0.02, 0.07),
        spot=draws.uniform(0.5, 0.8),
        astigmatism=draws.uniform(1, 1.25),
        spot_angle=draws.uniform(0, 180),
        charging=draws.uniform(0.05, 0.25) if draws.chance(0.5) else 0.0,
        charging_length=draws.uniform(30, 120),
        black=draws.uniform(0.04, 0.09),
        white=draws.uniform(0.9, 0.96),
    )


def _sites(draws: Draws, lattice: Lattice, process: Process, size: int) -> tuple[Dot, ...]:
    """A dot for each site of the image and its margin; a few missing, a few half as large."""
    missing, half = draws.uniform(0.01, 0.06), draws.uniform(0.02, 0.08)
    orientation = draws.uniform(0, 180)
    found = []
    for i, j in _indices(lattice, size):
        y, x = lattice.site(i, j)
        shift = process.placement_sigma * draws.normals(2)
        diameter = float(process.cd + process.cd_sigma * np.clip(draws.normals(1)[0], -2.5, 2.5))
        lot = float(draws.uniforms(1)[0])
        kind = "missing" if lot < missing else "half" if lot < missing + half else "regular"
        place = (y, x) if kind == "missing" else (y + float(shift[0]), x + float(shift[1]))
        scale = draws.uniform(0.42, 0.58) if kind == "half" else 1.0
        dot = Dot(kind, i, j, round(place[0], DECIMALS), round(place[1], DECIMALS), 0, 0, orientation)
        found.append(_shaped(draws, process, dot, diameter * scale))
    return tuple(found)


def _indices(lattice: Lattice, size: int) -> list[tuple[int, int]]:
    """Sites whose dots may reach into the image or its margin, row by row."""
    reach = MARGIN + lattice.pitch / 2
    most = math.ceil(2.5 * (size + 2 * reach) / lattice.pitch)
    near = []
    for i in range(-most, most + 1):
        for j in range(-most, most + 1):
            y, x = lattice.site(i, j)
            if -reach < min(y, x) and max(y, x) < size + reach:
                near.append((i, j))
    return near


def _shaped(draws: Draws, process: Process, dot: Dot, diameter: float) -> Dot:
    """The dot with its axes, outline and yield."""
    stretch = math.sqrt(process.ellipticity)
    size = min(1.0, diameter / process.cd)
    # Rougher at long wavelengths: amplitudes fall with the mode.
    weights = np.array([1.0 / mode for mode in MODES])
    weights *= size * process.edge_sigma / math.sqrt(float((weights * weights).sum()))
    waves = draws.normals(len(MODES), 2) * weights[:, None]
    return replace(
        dot,
        major=round(diameter * stretch, DECIMALS),
        minor=round(diameter / stretch, DECIMALS),
        rough=tuple((round(float(c), DECIMALS), round(float(s), DECIMALS)) for c, s in waves),
        brightness=draws.uniform(0.92, 1.08),
    )


def _extras(draws: Draws, process: Process, sites: tuple[Dot, ...], size: int) -> tuple[Dot, ...]:
    """Small dots where none belong."""
    found: list[Dot] = []
    wanted = size * size / 15000
    for _ in range(40 * round(wanted)):
        y, x, diameter = draws.uniform(8, size - 9), draws.uniform(8, size - 9), draws.uniform(2.5, SMALL[1])
        near = min(sites, key=lambda dot: round(math.hypot(dot.y - y, dot.x - x), DECIMALS))
        dot = Dot("extra", near.i, near.j, y, x, diameter, diameter, 0.0, (), draws.uniform(0.95, 1.1))
        if len(found) < wanted and _is_free(dot, sites) and _are_apart(dot, found):
            found.append(dot)
    return tuple(found)


def _residues(draws: Draws, process: Process, sites: tuple[Dot, ...], size: int) -> tuple[Ball, ...]:
    """Balls on the bare surface between the dots or holes."""
    balls: list[Ball] = []
    wanted = size * size / 7000
    extras = [dot for dot in sites if dot.type == "extra"]
    for _ in range(40 * round(wanted)):
        y, x, diameter = draws.uniform(6, size - 7), draws.uniform(6, size - 7), draws.uniform(*SMALL)
        ball = Ball(y, x, diameter, round(process.emission * draws.uniform(1.1, 1.7), DECIMALS))
        if len(balls) < wanted and _is_free(ball, sites) and _are_apart(ball, [*balls, *extras]):
            balls.append(ball)
    return tuple(balls)


def _is_free(spot: Dot | Ball, sites: tuple[Dot, ...]) -> bool:
    """Whether a small feature keeps clear of every outline, and of the outlines that are missing."""
    return all(
        math.hypot(dot.y - spot.y, dot.x - spot.x) > dot.major / 2 + spot.diameter / 2 + 2 for dot in sites
    )


def _are_apart(spot: Dot | Ball, others: Sequence[Dot | Ball]) -> bool:
    """Whether small features are not heaped up."""
    return all(math.hypot(other.y - spot.y, other.x - spot.x) > APART for other in others)
