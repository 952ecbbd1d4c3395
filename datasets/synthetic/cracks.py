"""How cracks run through a film: jagged, across the image or square into an older one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from srbench.datasets.synthetic.curves import crossings
from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.polygons import Point
from srbench.datasets.synthetic.strips import Strip

OUTSIDE = 16.0
"""Cracks that run out of the image end about this far outside, HR pixels."""


def draw_crack(draws: Draws, size: int, widths: tuple[float, float], older: Sequence[Strip]) -> Strip:
    """A crack that crosses the image, or branches off an older one and may end in the image.

    Args:
        draws: random numbers.
        size: side of the image.
        widths: least and greatest width.
        older: cracks that it may start from.
    """
    hosts = [crack for crack in older if len(crack.points) > 12]
    branch = bool(hosts) and draws.chance(0.6)
    start, heading = _branch(draws, draws.choice(hosts)) if branch else _entry(draws, size)
    longest = round(draws.uniform(0.35, 1.2) * size) if draws.chance(0.4) else 4 * size
    points, ends = _path(draws, size, start, heading, longest, older)
    return Strip(tuple(points), _widths(draws, len(points), widths, ends))


def _path(
    draws: Draws, size: int, start: Point, heading: float, longest: float, older: Sequence[Strip]
) -> tuple[list[Point], bool]:
    """Centre line up to the border, an older crack or ``longest``, and whether it just ends there."""
    kink, swerve, travelled = draws.uniform(8, 30), 0.0, 0.0
    points = [(round(start[0], DECIMALS), round(start[1], DECIMALS))]
    while travelled < longest:
        # Short straight pieces with sharp kinks about a slowly turning direction.
        swerve = 0.9 * swerve + draws.uniform(-7, 7)
        step, turn = draws.uniform(4, 11), heading + swerve + draws.uniform(-kink, kink)
        y, x = points[-1]
        y, x = y + step * math.sin(math.radians(turn)), x + step * math.cos(math.radians(turn))
        points.append((round(y, DECIMALS), round(x, DECIMALS)))
        travelled += step
        met = _meeting(points, older) if len(points) > 4 else None
        if met:
            return [*points[:-1], met], False
        if max(abs(y - size / 2), abs(x - size / 2)) > size / 2 + OUTSIDE:
            return points, False
    return points, True


def _meeting(points: Sequence[Point], older: Sequence[Strip]) -> Point | None:
    """Where the last piece of a centre line runs into an older crack."""
    piece = np.array(points[-2:])
    met = [place for crack in older for place in crossings(piece, np.array(crack.points))]
    return min(met, key=lambda place: math.dist(place, points[-2])) if met else None


def _entry(draws: Draws, size: int) -> tuple[Point, float]:
    """A place just outside one side of the image and a heading across it, in degrees."""
    place, lean = draws.uniform(0.15, 0.85) * size, draws.uniform(-30, 30)
    outside = -OUTSIDE + 1
    if draws.chance(0.5):
        return (place, outside), lean
    return (outside, place), 90 + lean


def _branch(draws: Draws, host: Strip) -> tuple[Point, float]:
    """A point of an older crack and a heading about square to it, as cracks meet."""
    number = draws.integer(4, len(host.points) - 5)
    (y0, x0), (y1, x1) = host.points[number - 2], host.points[number + 2]
    along = math.degrees(math.atan2(y1 - y0, x1 - x0))
    return host.points[number], round(along + draws.choice((-90, 90)) + draws.uniform(-25, 25), DECIMALS)


def _widths(draws: Draws, count: int, limits: tuple[float, float], ends: bool) -> tuple[float, ...]:
    """Slowly varying widths; a crack that ends in the image narrows towards its tip."""
    low, high = limits
    widest = draws.uniform(low + 0.4, high)
    values, level = [], 0.0
    for n in range(count):
        level = 0.8 * level + draws.uniform(-0.06, 0.06)
        tip = min(1.0, (count - 1 - n) / 12) if ends else 1.0
        values.append(round(min(max(low + (widest * (1 + level) - low) * tip, low), high), DECIMALS))
    return tuple(values)
