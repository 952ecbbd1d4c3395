"""The hexagonal lattice of pores in the silica shell of a diatom."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from srbench.datasets.synthetic.cells import Cell
from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.polygons import Point

PITCHES, HOLES = (10.0, 18.0), (4.0, 9.0)
"""Distances of neighbouring pores and diameters of pores, HR pixels."""


@dataclass(frozen=True)
class Pore:
    """A round pore; ``i`` and ``j`` count lattice vectors from the origin."""

    i: int
    j: int
    y: float
    x: float
    diameter: float


@dataclass(frozen=True)
class Lattice:
    """Pores at ``origin`` + i ``first`` + j ``second``. Lengths in HR pixels, vectors (y, x).

    Attributes:
        pitch: distance of neighbours.
        diameter: mean diameter of the pores.
        origin: place of pore (0, 0).
        first: lattice vector.
        second: lattice vector, turned by 60 degrees.
        pores: those that are open.
        missing: places (i, j, y, x) of pores that are closed.
    """

    pitch: float
    diameter: float
    origin: Point
    first: Point
    second: Point
    pores: tuple[Pore, ...]
    missing: tuple[tuple[int, int, float, float], ...]

    def as_truth(self) -> dict[str, Any]:
        """Vectors, pores and what is missing."""
        return {
            "pitch": self.pitch,
            "mean_diameter": self.diameter,
            "origin": list(self.origin),
            "vectors": [list(self.first), list(self.second)],
            "count": len(self.pores),
            "pores": [asdict(pore) for pore in self.pores],
            "missing": [{"i": i, "j": j, "y": y, "x": x} for i, j, y, x in self.missing],
        }


def draw_lattice(draws: Draws, body: Cell) -> Lattice:
    """A lattice that fills a body up to its rim; about one pore in 40 is closed."""
    pitch = draws.uniform(*PITCHES)
    diameter = round(min(pitch * draws.uniform(0.44, 0.6), HOLES[1] / 1.06), DECIMALS)
    turn = draws.uniform(0, 60)
    first, second = (_vector(pitch, turn + extra) for extra in (0, 60))
    origin = (round(body.y + draws.uniform(-4, 4), DECIMALS), round(body.x + draws.uniform(-4, 4), DECIMALS))
    pores, missing = [], []
    for i, j, y, x in _places(body, pitch, origin, first, second):
        if draws.chance(1 / 40):
            missing.append((i, j, y, x))
        else:
            size = min(max(diameter * draws.uniform(0.95, 1.05), HOLES[0]), HOLES[1])
            pores.append(Pore(i, j, y, x, round(size, DECIMALS)))
    return Lattice(pitch, diameter, origin, first, second, tuple(pores), tuple(missing))


def _vector(length: float, degrees: float) -> Point:
    angle = math.radians(degrees)
    return round(length * math.sin(angle), DECIMALS), round(length * math.cos(angle), DECIMALS)


def _places(
    body: Cell, pitch: float, origin: Point, first: Point, second: Point
) -> list[tuple[int, int, float, float]]:
    """Lattice points of a body, at least 0.75 pitches from its outline."""
    reach = math.ceil(1.2 * math.hypot(body.major, body.minor) / 2 / pitch)
    steps = np.arange(-reach, reach + 1, dtype=np.float64)
    i, j = steps[:, None], steps[None, :]
    y = np.round(origin[0] + i * first[0] + j * second[0], DECIMALS)
    x = np.round(origin[1] + i * first[1] + j * second[1], DECIMALS)
    deep = np.round(body.distance(y, x), DECIMALS) < -0.75 * pitch
    return [
        (int(row) - reach, int(column) - reach, float(y[row, column]), float(x[row, column]))
        for row, column in zip(*np.nonzero(deep), strict=True)
    ]
