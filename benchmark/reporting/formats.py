"""How numbers are written for a reader: one minus sign, one dash for what is missing, few digits."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

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


def quantity(value: float | None, *, prefixed: bool = True, digits: int = 3) -> str:
    """About ``digits`` significant digits; a pure number with an SI prefix, as in ``16.7 M``.

    A value that has a unit already (``prefixed=False``) gets no second prefix.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    rounded = float(f"{value:.{digits}g}")
    for factor, prefix in _PREFIXES if prefixed else ():
        if abs(rounded) >= factor:
            return f"{_significant(rounded / factor, digits)} {prefix}"
    return _significant(rounded, digits)


def decimals_for(half_widths: Iterable[float]) -> int:
    """Decimals that show two significant digits of a typical interval's half-width, 0 to 4.

    One count for a whole column keeps its numbers aligned and does not print digits the data do not support.
    """
    known = sorted(width for width in half_widths if math.isfinite(width) and width > 0)
    if not known:
        return 3
    typical = known[len(known) // 2]
    return min(max(1 - math.floor(math.log10(typical)), 0), 4)


def rank(place: float, low: float, high: float) -> str:
    """A rank with its 95 % interval, as in ``2 (1–3)``; empty without a rank."""
    if not math.isfinite(place):
        return ""
    spread = f" ({low:g}–{high:g})" if low < high else ""
    return f"{place:g}{spread}"


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records with the names of the first as the head; empty without any."""
    if not records:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


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
    return number(value, min(decimals, 4))
