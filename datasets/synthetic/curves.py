"""Curves in the image plane: smooth random ones, their length, crossings and directions.

A curve is a polyline ``(points, 2)`` of (y, x) in HR pixels, rounded to ``DECIMALS``: not an approximation of
the curve but the curve itself, so that whoever has the vertices can rebuild it exactly.
"""

from __future__ import annotations

import math

import numpy as np

from srbench.datasets.synthetic.draws import DECIMALS, Draws
from srbench.datasets.synthetic.geometry import Array, Mask

SPACING = 5.0
"""Distance of vertices at most, HR pixels: at a bend of radius 40 px they deviate by less than 0.1 px."""
DIRECTION_BINS = 18


def von_mises(draws: Draws, mean: float, kappa: float) -> float:
    """An angle in degrees about ``mean`` with concentration ``kappa`` (Best & Fisher 1979, rejection)."""
    if kappa < 1e-3:
        return round(mean + draws.uniform(-180, 180), DECIMALS)
    tau = 1 + math.sqrt(1 + 4 * kappa * kappa)
    rho = (tau - math.sqrt(2 * tau)) / (2 * kappa)
    r = (1 + rho * rho) / (2 * rho)
    for _ in range(1000):
        first, second, third = (float(u) for u in draws.uniforms(3))
        z = math.cos(math.pi * first)
        f = (1 + r * z) / (r + z)
        c = kappa * (r - f)
        if c * (2 - c) > second or math.log(c / second) + 1 >= c:
            turn = math.degrees(math.acos(max(-1.0, min(1.0, f))))
            return round(mean + math.copysign(turn, third - 0.5), DECIMALS)
    raise ValueError(f"No angle of concentration {kappa} was accepted in 1000 trials.")


def b_spline(controls: Array) -> Array:
    """The uniform cubic B-spline of ``(n, 2)`` control points, n >= 4, as a polyline."""
    gap = float(np.sqrt(np.square(np.diff(controls, axis=0)).sum(axis=1)).max())
    count = max(2, math.ceil(gap / SPACING))
    t = np.arange(count, dtype=np.float64)[:, None] / count
    # The basis functions of de Boor, A Practical Guide to Splines (1978), chapter 9, on one span.
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    spans = []
    for k in range(len(controls) - 3):
        one, two, three, four = (weight * controls[k + n] for n, weight in enumerate(basis))
        spans.append((one + two + three + four) / 6)
    last = (controls[-3] + 4 * controls[-2] + controls[-1]) / 6
    return np.round(np.vstack([*spans, last[None]]), DECIMALS)


def wandering(
    draws: Draws, start: tuple[float, float], heading: float, steps: int, gap: float, bend: float
) -> Array:
    """A smooth curve that keeps its heading in the long run.

    Args:
        draws: random numbers.
        start: first control point (y, x).
        heading: mean direction in degrees, from columns towards rows.
        steps: control points beyond the first three.
        gap: distance of control points in HR pixels.
        bend: standard deviation of the direction in degrees, correlated over about three control points.
    """
    deviation = bend * float(draws.normals(1)[0])
    controls: list[Array] = [np.array(start)]
    for shock in draws.normals(steps + 2):
        deviation = 0.7 * deviation + math.sqrt(1 - 0.7**2) * bend * float(shock)
        angle = math.radians(heading + deviation)
        controls.append(controls[-1] + gap * np.array([math.sin(angle), math.cos(angle)]))
    return b_spline(np.stack(controls).round(DECIMALS))


def arc_lengths(curve: Array) -> Array:
    """Distance along the curve from its first vertex to each vertex."""
    steps = np.diff(curve, axis=0)
    return np.concatenate([[0.0], np.cumsum(np.sqrt(np.square(steps).sum(axis=1)))])


def near_image(curve: Array, size: int, reach: float) -> Array:
    """The stretch from the first to the last vertex less than ``reach`` outside the image; may be empty."""
    inside = np.flatnonzero(((curve > -reach) & (curve < size + reach)).all(axis=1))
    return curve[inside[0] : inside[-1] + 1] if inside.size else curve[:0]


def lengths_inside(curve: Array, size: int) -> Array:
    """How much of each segment lies in the image, HR pixels (Liang & Barsky 1984)."""
    start, step = curve[:-1], np.diff(curve, axis=0)
    safe = np.where(step == 0, 1e-12, step)
    one, other = (-0.5 - start) / safe, (size - 0.5 - start) / safe
    enter = np.maximum(np.minimum(one, other).max(axis=1), 0)
    leave = np.minimum(np.maximum(one, other).min(axis=1), 1)
    inside: Array = np.maximum(leave - enter, 0) * np.sqrt(np.square(step).sum(axis=1))
    return inside


def length_inside(curve: Array, size: int) -> float:
    """Length of the curve in the image."""
    return round(float(lengths_inside(curve, size).sum()), DECIMALS)


def direction_lengths(curve: Array, size: int) -> Array:
    """Length in the image by axial direction: ``(DIRECTION_BINS,)`` equal bins from 0 to 180 degrees."""
    step = np.diff(curve, axis=0)
    angle = np.round(np.degrees(np.arctan2(step[:, 0], step[:, 1])), 6) % 180
    numbers = np.minimum((angle * DIRECTION_BINS / 180).astype(int), DIRECTION_BINS - 1)
    lengths: Array = np.bincount(
        numbers, weights=lengths_inside(curve, size), minlength=DIRECTION_BINS
    ).astype(np.float64)
    return lengths


def crossings(one: Array, other: Array) -> list[tuple[float, float]]:
    """The points (y, x) where two curves cross."""
    if (one.max(axis=0) < other.min(axis=0)).any() or (other.max(axis=0) < one.min(axis=0)).any():
        return []
    start, step = one[:-1, None], np.diff(one, axis=0)[:, None]
    offset, along = other[None, :-1] - start, np.diff(other, axis=0)[None]
    slope = _cross(step, along)
    parallel = slope == 0
    safe = np.where(parallel, 1.0, slope)
    s, t = _cross(offset, along) / safe, _cross(offset, step) / safe
    hits = ~parallel & (s >= 0) & (s < 1) & (t >= 0) & (t < 1)
    points = (start + s[..., None] * step)[hits]
    return [(round(float(y), DECIMALS), round(float(x), DECIMALS)) for y, x in points]


def _cross(one: Array, other: Array) -> Array:
    product: Array = one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]
    return product


def distance_to_curve(y: float, x: float, curve: Array) -> float:
    """Distance of one point to the curve."""
    start, step = curve[:-1], np.diff(curve, axis=0)
    offset = np.array([y, x]) - start
    t = np.clip((offset * step).sum(axis=1) / np.maximum(np.square(step).sum(axis=1), 1e-12), 0, 1)
    return float(np.sqrt(np.square(offset - t[:, None] * step).sum(axis=1).min()))


def in_image(points: Array, size: int, border: float = 0.0) -> Mask:
    """Which of the points ``(n, 2)`` lie in the image, at least ``border`` from its edges."""
    low, high = border - 0.5, size - 0.5 - border
    inside: Mask = np.all((points > low) & (points < high), axis=1)
    return inside
