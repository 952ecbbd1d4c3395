"""How numbers are written for a reader: one minus sign, one dash for what is missing, few digits."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

MISSING = "–"
MINUS = "\N{MINUS SIGN}"
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def is_number(value: float | None) -> bool:
    """Whether there is a finite value to print."""
    return value is not None and math.isfinite(value)


def number(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """``value`` with a fixed count of decimals and a typographic minus; a dash when missing."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def quantity(value: float | None, digits: int = 3) -> str:
    """A count with an SI prefix, as in ``16.7 M``; small values with ``digits`` significant digits."""
    if value is None or not math.isfinite(value):
        return MISSING
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor * 0.9995:
            return f"{_significant(value / factor, digits)} {prefix}"
    return _significant(value, digits)


def decimals_for(half_widths: Iterable[float]) -> int:
    """Decimals that show two significant digits of a typical interval's half-width, 0 to 4.

    One count for a whole column keeps its numbers aligned and does not print digits the data do not support.
    """
    known = sorted(width for width in half_widths if math.isfinite(width) and width > 0)
    if not known:
        return 3
    typical = known[len(known) // 2]
    return min(max(1 - math.floor(math.log10(typical)), 0), 4)


def short_hash(digest: str) -> str:
    """The first 12 characters of a hash, enough to compare by eye."""
    return digest[:12]


def slug(text: str) -> str:
    """A file name or HTML id made of letters, digits, ``-`` and ``_`` only."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-") or "none"


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return number(value, min(decimals, 6))
