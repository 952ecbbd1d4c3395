"""How numbers are written for a reader, and what is printed about a metric.

Of a metric the registry's words are printed, or the bare name where the registry does not know it: a store
may hold metrics of a plug-in that is not installed here. Its numbers are shown without a direction, and
nothing is called best by them.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from srbench.utils.errors import SrbenchError
from srbench.utils.text import printable

if TYPE_CHECKING:
    from srbench.statistics.lengths import Lengths
    from srbench.statistics.paired_tests import Direction

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


def length(nm: float) -> str:
    """A length with up to four significant digits, in nm, µm or mm."""
    for factor, unit in ((1e6, "mm"), (1e3, "µm")):
        if nm >= factor:
            return f"{nm / factor:.4g} {unit}"
    return f"{nm:.4g} nm"


def decimals_for(half_widths: Iterable[float]) -> int:
    """Decimals that show two significant digits of a typical interval's half-width, 0 to 4.

    One count for a whole column keeps its numbers aligned and does not print digits the data do not support.
    """
    positive = sorted(width for width in half_widths if math.isfinite(width) and width > 0)
    if not positive:
        return 3
    typical = positive[len(positive) // 2]
    return min(max(1 - math.floor(math.log10(typical)), 0), 4)


def rank(value: float, low: float, high: float) -> str:
    """A rank with its 95 % interval, as in ``2 (1–3)``; empty without a rank."""
    if not math.isfinite(value):
        return ""
    spread = f" ({low:g}–{high:g})" if low < high else ""
    return f"{value:g}{spread}"


def spreadsheet_safe(record: Mapping[str, Any]) -> dict[str, Any]:
    """A line of a CSV file with an apostrophe before each text that a spreadsheet takes for a formula.

    Names of models, images and their reasons come from outside; a text that is a number stays one.
    """
    return {name: _cell(value) if isinstance(value, str) else value for name, value in record.items()}


def _cell(value: str) -> str:
    text = printable(value)
    if not text.lstrip().startswith(("=", "+", "-", "@")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """Records with the names of the first as the head; empty without any."""
    if not records:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(spreadsheet_safe, records))
    return text.getvalue()


def slug(text: str) -> str:
    """A file name or HTML id made of letters, digits, ``-`` and ``_`` only."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-") or "none"


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    return number(value, min(decimals, 4))


ARROWS: Mapping[Direction, str] = {"higher": "↑", "lower": "↓", "none": ""}
READING: Mapping[Direction, str] = {
    "higher": "higher is better",
    "lower": "lower is better",
    "none": "neither direction is better",
}
_FAMILIES = {
    "fidelity": "Fidelity",
    "consistency": "Consistency with LR",
    "spectrum": "Detail by size",
    "edges": "Edges",
    "structure": "Structure",
    "measurement": "Measurements",
    "perceptual": "Perceptual, not evidence of structure",
    "cost": "Cost",
}
OVERVIEW = (
    "psnr",
    "ssim",
    "lr_psnr",
    "lr_chi2",
    "recovered_hf",
    "hallucinated_hf",
    "edge_f1",
    "object_f1",
    "small_features_found",
    "small_features_invented",
)
"""What is seen first: is it near, does it agree with LR, what of the detail is true, what is invented."""
MAIN = "main"
SET_COLUMNS = 7
"""Columns of a set at most: as many as fit a page 1400 pixels wide, or A4, with their intervals."""
FORMULAS: Mapping[str, str] = {
    "psnr": "10 log10(R² / mean (SR − HR)²), R the grey range",
    "lr_psnr": "PSNR of the result made small again against LR",
    "recovered_hf": "R_hf = Σ γ² P_HR / Σ P_HR over frequencies above 1/(2 · scale); γ: coherence of SR and "
    "HR, P: power",
    "hallucinated_hf": "H_hf = Σ (1 − γ²) P_SR / Σ P_SR over the same frequencies",
    "gained_hf": "G_hf = Σ P_SR / Σ P_HR over the same frequencies",
    "frc_cutoff": "first frequency at which the Fourier ring correlation with HR falls below 0.5, over the "
    "LR Nyquist frequency",
    "edge_f1": "2 · precision · recall / (precision + recall) of edge pixels",
    "object_f1": "2 · precision · recall / (precision + recall) of matched objects",
}
"""Symbols and formulas behind the plain names; docs/metrics.md has all of them."""
PERCEPTUAL = "Perceptual, not evidence of structure."
_NOT_INSTALLED = "No installed metric has this name; the stored values are shown as they are."


@dataclass(frozen=True)
class Measure:
    """A column of the leaderboard.

    Attributes:
        id: as stored in the rows.
        title: what is printed.
        direction: ``higher``, ``lower`` or ``none``.
        unit: of the value, empty for a pure number.
        explanation: one sentence.
        family: heading under which it stands.
    """

    id: str
    title: str
    direction: Direction
    unit: str
    explanation: str
    family: str

    @property
    def arrow(self) -> str:
        """An arrow that points where better is."""
        return ARROWS[self.direction]

    @property
    def reading(self) -> str:
        """The arrow in words."""
        return READING[self.direction]

    @property
    def words(self) -> str:
        """The explanation, with what must always be said of its family."""
        said = PERCEPTUAL.rstrip(".").casefold() in self.explanation.casefold()
        return self.explanation if said or self.family != "perceptual" else f"{self.explanation} {PERCEPTUAL}"

    @property
    def name(self) -> str:
        """What is typed, whatever the version."""
        return self.id.split("@")[0]

    @property
    def formula(self) -> str:
        """Its symbol and formula; empty where the explanation says it all."""
        return FORMULAS.get(self.name, "")

    @property
    def family_title(self) -> str:
        """The family's heading."""
        return _FAMILIES.get(self.family, self.family.capitalize())


@dataclass(frozen=True)
class Family:
    """Neighbouring columns under one heading."""

    name: str
    title: str
    measures: tuple[Measure, ...]


def measures(ids: Iterable[str], family: str = "", lengths: Lengths | None = None) -> list[Measure]:
    """The measures stored under these ids in the registry's order, unknown ones at the end.

    ``family`` puts all of them under one heading, whatever the registry says. ``lengths`` says in which unit
    those are shown that are stored in pixels. Points of curves are left out: sixteen columns would say less
    than one plot.
    """
    from srbench.metrics import registry

    shown = []
    for name in registry.sorted_ids(set(ids)):
        try:
            metric = registry.get(name)
        except SrbenchError:
            shown.append(Measure(name, name, "none", "", _NOT_INSTALLED, family or "other"))
            continue
        if metric.family != "curve":
            heading = family or metric.family
            unit = lengths.unit_of(metric.unit) if lengths else metric.unit
            shown.append(Measure(name, metric.title, metric.direction, unit, metric.explanation, heading))
    return shown


def families(columns: Sequence[Measure]) -> list[Family]:
    """The columns by family, families and columns in the order given."""
    names = list(dict.fromkeys(column.family for column in columns))
    grouped = {name: tuple(column for column in columns if column.family == name) for name in names}
    return [Family(name, members[0].family_title, members) for name, members in grouped.items()]


def column_sets(columns: Sequence[Measure]) -> list[Family]:
    """Sets of up to ``SET_COLUMNS`` columns: the first of ``OVERVIEW`` in front, the others by family."""
    main = sorted((c for c in columns if c.name in OVERVIEW), key=lambda c: OVERVIEW.index(c.name))
    main = main[:SET_COLUMNS]
    sets = [Family(MAIN, "At first sight", tuple(main))] if main else []
    for family in families([column for column in columns if column not in main]):
        members = family.measures
        size = math.ceil(len(members) / math.ceil(len(members) / SET_COLUMNS))
        parts = [members[start : start + size] for start in range(0, len(members), size)]
        for number, part in enumerate(parts, 1):
            several = f", {number} of {len(parts)}" if len(parts) > 1 else ""
            name = f"{family.name}-{number}" if len(parts) > 1 else family.name
            sets.append(Family(name, f"{family.title}{several}", part))
    return sets
