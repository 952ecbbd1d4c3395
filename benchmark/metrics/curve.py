"""Curves in the store: one metric a point, so that a curve is averaged, compared and kept as any score is.

A curve is a decorated function that gives all its points at once; they are computed once an image and stored
as ``name_00``, ``name_01``, ... in the family ``curve``. Tables leave that family out, plots collect it::

    for curve in list_curves():
        for x, point in zip(curve.x, curve.points, strict=True):
            rows[rows["metric"] == point.id]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from srbench.metrics import registry
from srbench.metrics.registry import Case, Metric, MetricUnavailable, register_metric
from srbench.utils.errors import SrbenchError

FAMILY = "curve"
CurveFunction = Callable[[Case], Sequence[float]]


@dataclass(frozen=True)
class Curve:
    """A curve and what a reader must know about it.

    Attributes:
        name: of the function.
        title: what is printed on the vertical axis.
        x: position of each point.
        x_title: what is printed on the horizontal axis.
        explanation: one sentence for someone who images.
        bounds: smallest and largest possible value.
    """

    name: str
    title: str
    x: tuple[float, ...]
    x_title: str
    explanation: str
    bounds: tuple[float, float] = field(default=(-math.inf, math.inf))

    @property
    def points(self) -> tuple[Metric, ...]:
        """The metric of each point, in the order of ``x``; its ``id`` is what the score rows hold."""
        return tuple(registry.get(name) for name in self.point_names)

    @property
    def point_names(self) -> tuple[str, ...]:
        """Name of the metric of each point."""
        return tuple(f"{self.name}_{index:02d}" for index in range(len(self.x)))


_curves: dict[str, Curve] = {}


def register_curve(
    *,
    title: str,
    x: Sequence[float],
    x_title: str,
    explanation: str,
    direction: Literal["higher", "lower", "none"],
    bounds: tuple[float, float] = (-math.inf, math.inf),
    version: int = 1,
    default: bool = True,
) -> Callable[[CurveFunction], CurveFunction]:
    """Register the decorated function ``(case) -> values at x`` as one metric a point.

    A value that is NaN is stored as missing. The other arguments are the fields of :class:`Curve` and of
    :class:`~srbench.metrics.registry.Metric`.

    Raises:
        SrbenchError: no points or more than 100, or another file already registered one of the names.
    """
    if not 0 < len(x) <= 100:
        raise SrbenchError(f"A curve needs 1 to 100 points, {title!r} has {len(x)}; bin it.")

    def register(function: CurveFunction) -> CurveFunction:
        curve = Curve(function.__name__, title, tuple(x), x_title, explanation, bounds)
        add = register_metric(
            title=title,
            direction=direction,
            explanation=explanation,
            bounds=bounds,
            version=version,
            family=FAMILY,
            default=default,
        )
        for index in range(len(x)):
            add(_point(function, curve, index))
        _curves[curve.name] = curve
        return function

    return register


def list_curves() -> list[Curve]:
    """All curves, by name."""
    registry.list_metrics()  # registers those of every file
    return [_curves[name] for name in sorted(_curves)]


def _point(function: CurveFunction, curve: Curve, index: int) -> Callable[[Case], float]:
    def point(case: Case) -> float:
        values = case.cached(f"curve {curve.name}", lambda: tuple(function(case)))
        if math.isnan(values[index]):
            raise MetricUnavailable(
                f"{curve.title} has no value at {curve.x[index]:.3g} in an image this small"
            )
        return values[index]

    point.__name__ = curve.point_names[index]
    point.__module__ = function.__module__
    return point
