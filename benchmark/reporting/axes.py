"""Axes of the plots: ticks at round numbers, and the way from values to drawing units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """Maps ``low``..``high`` to ``start``..``end`` drawing units, linearly or by logarithm.

    Attributes:
        ticks: values to mark, with their labels.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        """Drawing position of a value."""
        low, high, here = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (here - low) / (high - low) * (self.end - self.start)


def linear_axis(values: Sequence[float], start: float, end: float, count: int = 6) -> Axis:
    """An axis over all values with a margin; about ``count`` ticks at 1, 2 or 5 times a power of ten."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or abs(high) * 0.05 or 1.0
    low, high = low - margin, high + margin
    step = _round_step((high - low) / count)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple((index * step, _label(index * step, decimals)) for index in range(first, last + 1))
    return Axis(low, high, start, end, ticks)


def log_axis(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis over positive values; ticks at powers of ten, at 2 and 5 times them too when there are few."""
    low, high = min(values) / 1.6, max(values) * 1.6
    factors = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [factor * 10.0**power for power in powers for factor in factors]
    ticks = tuple((mark, _log_label(mark)) for mark in marks if low <= mark <= high)
    return Axis(low, high, start, end, ticks, log=True)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * 0.999)


def _label(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return (text if float(text) else f"{0:.{decimals}f}").replace("-", "\N{MINUS SIGN}")


def _log_label(value: float) -> str:
    for factor, prefix in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")):
        if value >= factor * 0.999:
            return f"{value / factor:g}{prefix}"
    return f"{value:.3g}"
