"""A comparison of two models as plain text for 80 to 120 columns, and as data for other programs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from srbench.evaluation.bootstrap import SEEDS_TO_RESAMPLE
from srbench.evaluation.comparison import (
    CategoryDifference,
    Comparison,
    ImageDifference,
    Mean,
    MetricComparison,
)
from srbench.evaluation.contrast import Rule
from srbench.evaluation.paired import VERDICT_GROUPS
from srbench.evaluation.panel import Entry
from srbench.evaluation.selection import Chosen
from srbench.reporting.formats import MINUS, MISSING, decimals_for, number
from srbench.reporting.measures import Measure, measures

_A_B = f"A {MINUS} B"
_WORDS = {"better": "A better", "worse": "B better", "equivalent": "equivalent", "undecided": "undecided"}
_KINDS = {"percentile": "percentile bootstrap", "bca": "BCa bootstrap", "none": ""}


def lines(found: Comparison, width: int = 100, details: Sequence[str] = ()) -> list[str]:
    """The whole story.

    Args:
        found: the comparison.
        width: columns, at least 80; image ids may be longer.
        details: metrics to tell everything about; those asked for, else the first with a better side.
    """
    known = {measure.id: measure for measure in measures(one.metric for one in found.metrics)}
    told = found.metrics if details else _leading(found, known)
    text = [*_heading(found, width), "", *_overview(found, known, width), ""]
    for one in told:
        text += [*_details(found, one, known[one.metric], width), ""]
    if len(told) < len(found.metrics):
        text += _wrapped("Details of another metric: --metric NAME.", width)
    return text + _legend(width)


def _leading(found: Comparison, known: dict[str, Measure]) -> list[MetricComparison]:
    directed = [one for one in found.metrics if known[one.metric].direction != "none"]
    return (directed or list(found.metrics))[:1]


def _heading(found: Comparison, width: int) -> Iterator[str]:
    for letter, chosen in (("A", found.first), ("B", found.second)):
        yield from _wrapped(
            f"{letter}  {chosen.title}" + (f" ({chosen.detail})" * bool(chosen.detail)), width, 3
        )
    yield ""
    yield from _wrapped(found.conditions.describe(), width)
    categories = f" in {found.n_categories} categories" if found.n_categories > 1 else ""
    yield f"{found.n_images} images, {found.n_groups} independent groups{categories}"
    for warning in found.warnings:
        yield from _wrapped(f"Caution: {warning}", width, 9)


def _overview(found: Comparison, known: dict[str, Measure], width: int) -> Iterator[str]:
    heads = ["metric", "A", "B", f"{_A_B} [95 % interval]", "p", "A wins", "verdict"]
    rows = [_overview_row(one, known[one.metric]) for one in found.metrics]
    drop = []
    if _table_width([heads, *rows]) > width:
        drop = [5]
    if rows:
        yield from _table(
            [_without(row, drop) for row in (heads, *rows)], width, left=(0, len(heads) - 1 - len(drop))
        )
    for metric, reason in found.without.items():
        yield from _wrapped(f"{metric}: not compared, {reason}", width, 2)


def _overview_row(one: MetricComparison, measure: Measure) -> list[str]:
    decimals = _decimals(one)
    low, high, _ = one.contrast.interval
    return [
        f"{measure.title} {measure.arrow}".strip(),
        number(one.first.value, decimals),
        number(one.second.value, decimals),
        _difference(one.contrast.difference, low, high, decimals),
        _p(one.contrast.p_holm),
        _percent(one.contrast.improvement.value),
        _WORDS.get(one.verdict, MISSING),
    ]


def _details(found: Comparison, one: MetricComparison, measure: Measure, width: int) -> Iterator[str]:
    unit = f", {measure.unit}" if measure.unit else ""
    yield f"{measure.title} ({measure.reading}{unit})"
    for sentence in (_judgement(found, one, measure), _support(one), _training(found, one)):
        yield from _wrapped(sentence, width, 2, 2)
    for count, chosen in zip(one.missing, (found.first, found.second), strict=True):
        if count:
            plural = "image" if count == 1 else "images"
            yield from _wrapped(
                f"{chosen.name} has no value for {count} {plural} that the other has one for: only the "
                "common images are compared, and nothing is decided.",
                width,
                2,
                2,
            )
    if one.categories:
        yield ""
        yield from _table(_category_rows(one), width, left=(0,), indent=2)
    if one.images:
        yield ""
        yield "  Images that differ most:"
        yield from _table(_image_rows(one), width, left=(3, 4), indent=2)


def _judgement(found: Comparison, one: MetricComparison, measure: Measure) -> str:
    """Who is better, and why one may say so or not."""
    low, high, kind = one.contrast.interval
    unit = f" {measure.unit}" if measure.unit else ""
    shown = _difference(one.contrast.difference, low, high, _decimals(one))
    measured = f"{_A_B} is {shown}{unit}" + (f" ({_KINDS[kind]})" if _KINDS[kind] else "")
    margin = f"the margin of {one.margin.value:g}{unit}"
    first, second = f"A ({found.first.name})", f"B ({found.second.name})"
    verdicts = {
        "better": f"{first} is better than {second}: {measured}, beyond {margin}.",
        "worse": f"{second} is better than {first}: {measured}, beyond {margin}.",
        "equivalent": f"{first} and {second} are equivalent: {measured}, within {margin}.",
        "undecided": f"Undecided: {measured}; {_why_undecided(one, margin)}.",
    }
    plain = f"{measured}; in this metric neither direction is better."
    return f"{verdicts.get(one.verdict, plain)} The margin: {one.margin.reason}."


def _why_undecided(one: MetricComparison, margin: str) -> str:
    low, high, _ = one.contrast.interval
    groups = one.contrast.n_groups
    if any(one.missing):
        return "the two were not scored on the same images"
    if groups < VERDICT_GROUPS:
        return f"{groups} independent groups are too few, at least {VERDICT_GROUPS} are needed"
    if low > one.margin.value or high < -one.margin.value:
        return "the interval lies beyond the margin, but the corrected paired test does not support it"
    holds_zero = "holds zero and" if low <= 0.0 <= high else "excludes zero, but"
    return f"the interval {holds_zero} reaches across {margin}"


def _support(one: MetricComparison) -> str:
    found, finer = one.contrast, _decimals(one)
    plain, held = (f"p = {_p(p)}".replace("= <", "<") for p in (found.p, found.p_holm))
    parts = [f"Wilcoxon test: {plain}, after Holm's correction {held}"]
    parts.append(f"median difference {_difference(*found.median, finer)}")
    if math.isfinite(found.improvement.value):
        share, low, high = (_percent(value) for value in found.improvement)
        parts.append(f"A is better in {share} [{low}, {high}] of the groups")
    return "; ".join(parts) + "."


def _training(found: Comparison, one: MetricComparison) -> str:
    """What a repeated training would change, as far as it is known."""
    sides = (("A", found.first, one.first), ("B", found.second, one.second))
    decimals = _decimals(one) + 1
    return (
        "Training: "
        + "; ".join(f"{letter} {_repeated(c, mean, decimals)}" for letter, c, mean in sides)
        + "."
    )


def _repeated(chosen: Chosen, mean: Mean, decimals: int) -> str:
    if mean.n_seeds > 1:
        drawn = "resampled in the interval" if mean.n_seeds >= SEEDS_TO_RESAMPLE else "too few to resample"
        return f"SD {number(mean.seed_sd, decimals)} over {mean.n_seeds} seeds, {drawn}"
    return "one seed, its spread is unknown" if chosen.runs[0].weights else "is not trained"


def _category_rows(one: MetricComparison) -> list[list[str]]:
    finer = decimals_for((c.interval.high - c.interval.low) / 2 for c in one.categories)
    rows = [_category_row(category, _decimals(one), finer) for category in one.categories]
    return [["category", "groups", "A", "B", f"{_A_B} [95 % interval]"], *rows]


def _category_row(one: CategoryDifference, decimals: int, finer: int) -> list[str]:
    difference = _difference(one.difference, one.interval.low, one.interval.high, finer)
    return [
        one.category,
        str(one.n_groups),
        number(one.first, decimals),
        number(one.second, decimals),
        difference,
    ]


def _image_rows(one: MetricComparison) -> list[list[str]]:
    decimals = _decimals(one)
    rows = [_image_row(image, decimals) for image in one.images]
    return [["A", "B", _A_B, "category", "image"], *rows]


def _image_row(one: ImageDifference, decimals: int) -> list[str]:
    values = [number(one.first, decimals), number(one.second, decimals)]
    return [*values, number(one.difference, decimals, signed=True), one.category, one.image]


def _legend(width: int) -> list[str]:
    text = (
        "Means go from image to group to category, every category counting the same; intervals come from "
        "resampling groups. p: paired Wilcoxon test on groups with Holm's correction over the metrics above. "
        "A wins: share of groups in which A is better. A verdict needs the whole interval beyond the margin "
        "(better) or within it (equivalent)."
    )
    return _wrapped(text, width)


def _decimals(one: MetricComparison) -> int:
    """Decimals that the interval of the difference supports."""
    low, high, _ = one.contrast.interval
    return decimals_for([(high - low) / 2])


def _difference(value: float, low: float, high: float, decimals: int) -> str:
    shown = number(value, decimals, signed=True)
    if not math.isfinite(low):
        return shown
    return f"{shown} [{number(low, decimals, signed=True)}, {number(high, decimals, signed=True)}]"


def _p(value: float) -> str:
    if not math.isfinite(value):
        return MISSING
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 0.9995 else "1"


def _percent(value: float) -> str:
    return f"{100.0 * value:.0f} %" if math.isfinite(value) else MISSING


def _wrapped(text: str, width: int, hanging: int = 0, indent: int = 0) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _without(row: Sequence[str], drop: Sequence[int]) -> list[str]:
    return [cell for index, cell in enumerate(row) if index not in drop]


def _table_width(rows: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) for column in zip(*rows, strict=True)) + 2 * (len(rows[0]) - 1)


def _table(
    rows: Sequence[Sequence[str]], width: int, left: Sequence[int] = (), indent: int = 0
) -> Iterator[str]:
    """Aligned columns; the first is cut where the whole would be too wide and it is a name."""
    excess = _table_width(rows) + indent - width
    if excess > 0 and 0 in left:
        keep = max(max(len(row[0]) for row in rows) - excess, 8)
        rows = [[row[0] if len(row[0]) <= keep else row[0][: keep - 1] + "…", *row[1:]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield (" " * indent + "  ".join(cells)).rstrip()


def as_data(found: Comparison) -> dict[str, Any]:
    """Everything as plain data; what is missing is null."""
    return {
        "first": {"name": found.first.name, "runs": [run._asdict() for run in found.first.runs]},
        "second": {"name": found.second.name, "runs": [run._asdict() for run in found.second.runs]},
        "conditions": found.conditions._asdict(),
        "n_images": found.n_images,
        "n_groups": found.n_groups,
        "metrics": [{**_plain(one), "verdict": one.verdict} for one in found.metrics],
        "without": dict(found.without),
        "warnings": list(found.warnings),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Rule):
        return {
            "direction": value.direction,
            "margin": value.margin,
            "samples": value.samples,
            "seed": value.seed,
        }
    if is_dataclass(value) and not isinstance(value, type):
        shown = {entry.name: getattr(value, entry.name) for entry in fields(value)}
        return {name: _plain(own) for name, own in shown.items() if not isinstance(own, Entry)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(own) for name, own in value._asdict().items()}
    return [_plain(own) for own in value] if isinstance(value, (list, tuple)) else value
