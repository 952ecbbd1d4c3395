"""``srbench compare``: two models, image by image, as text for 80 to 120 columns or as JSON."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from srbench.cli.console import print_json, say, warn
from srbench.cli.options import json_option, margins_option, results_option
from srbench.reporting.text import MINUS, MISSING, OVERVIEW, Measure, decimals_for, measures, number
from srbench.utils.text import listed

if TYPE_CHECKING:
    from srbench.statistics.compare import Comparison, MetricComparison, SelectedRuns, SideMean
    from srbench.statistics.gap import RealMinusSynthetic

_A_B = f"A {MINUS} B"
_WORDS = {"better": "A better", "worse": "B better", "equivalent": "equivalent", "undecided": "undecided"}
_LEGEND = (
    "Means go from image to group to category, every category counting the same; intervals are over groups. "
    "p: paired test of a mean difference of zero; for the primary metric as it is, for the others with "
    "Holm's correction over them. "
    "A wins: share of groups in which A is better. A verdict needs the whole interval beyond the margin "
    "(better) or within it (equivalent)."
)


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--dataset", help="Name or folder, where several were scored.")
@click.option("--split", help="train, val, test or all, where several were scored.")
@click.option("--scale", type=click.IntRange(1, 8), help="Magnification, where several were scored.")
@click.option("--degradation", help="How LR was made, where there are several.")
@click.option("--protocol", help="What a number means, where there are several.")
@click.option("--data", metavar="PREFIX", help="Start of the data's fingerprint [default: that scored last].")
@click.option("--metric", "metrics", multiple=True, help="Only these metrics, with all details. Repeatable.")
@click.option(
    "--primary",
    metavar="METRIC",
    help="The metric that decides, chosen before looking [default: the first --metric, else the first].",
)
@margins_option
@results_option
@json_option
def compare(first: str, second: str, metrics: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Compare two scored models on the same images: which is better, by how much, where, and how surely.

    A and B are MODEL, MODEL:VARIANT, or the first six or more digits of a weights hash. All training seeds of
    a model are taken together.
    """
    from srbench.statistics.compare import compare as compare_models

    outcome = compare_models(first, second, metrics=metrics, **options)
    for problem in outcome.problems:
        warn(problem)
    if as_json:
        print_json(as_data(outcome))
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    for line in lines(outcome, min(max(width, 80), 120), details=metrics):
        say(line)


def lines(comparison: Comparison, width: int = 100, details: Sequence[str] = ()) -> list[str]:
    """The comparison as text.

    Args:
        comparison: what was compared.
        width: columns, at least 80; image ids may be longer.
        details: metrics to print everything about; when empty the first with a better side.
    """
    stored = [*(result.metric for result in comparison.metrics), *comparison.without]
    columns = {column.id: column for column in measures(stored, lengths=comparison.lengths)}
    detailed = comparison.metrics
    if not details:
        first = [result for result in comparison.metrics if result.metric == comparison.primary]
        detailed = tuple(first) or comparison.metrics[:1]
    text = [*_answer(comparison, columns, width), "", *_heading(comparison, width), ""]
    text += [*_overview(comparison, columns, width), *_reasons(comparison, columns, width), ""]
    for degradation, by_metric in comparison.gaps.items():
        text += [*_gap(degradation, by_metric, columns, details, width), ""]
    for result in detailed:
        text += [*_details(comparison, result, columns[result.metric], width), ""]
    if len(detailed) < len(comparison.metrics):
        text += _wrapped("Details of another metric: --metric NAME.", width)
    return text + _wrapped(_LEGEND, width)


def _answer(comparison: Comparison, columns: dict[str, Measure], width: int) -> Iterator[str]:
    """The verdict in the primary metric, then how the other metrics went."""
    others: dict[str, list[str]] = {}
    for result in comparison.metrics:
        if result.metric == comparison.primary:
            words = _verdict_sentence(comparison, result, columns[result.metric])
            yield from _wrapped(f"{columns[result.metric].title}: {words}", width)
        elif result.verdict:
            others.setdefault(result.verdict, []).append(columns[result.metric].title)
    if not comparison.primary:
        yield from _wrapped("No verdict: no metric with a better side could be compared.", width)
    parts = [f"{_WORDS[word]} in {listed(others[word])}" for word in _WORDS if word in others]
    if parts:
        yield from _wrapped(f"Other metrics: {'; '.join(parts)}.", width)


def _reasons(comparison: Comparison, columns: dict[str, Measure], width: int) -> Iterator[str]:
    """Why metrics are undecided or were not compared, equal reasons together."""
    groups: dict[str, list[str]] = {}
    for result in comparison.metrics:
        if result.verdict == "undecided":
            why = f"undecided, {_why_undecided(result, 'the margin')}"
            groups.setdefault(why, []).append(columns[result.metric].title)
    for metric, why in comparison.without.items():
        title = columns[metric].title if metric in columns else metric
        groups.setdefault(f"not compared, {why}", []).append(title)
    if groups:
        yield ""
    for why, titles in groups.items():
        yield from _wrapped(f"{listed(titles)}: {why}", width, 2)


def _heading(comparison: Comparison, width: int) -> Iterator[str]:
    for letter, side in (("A", comparison.first), ("B", comparison.second)):
        detail = f" ({side.detail})" if side.detail else ""
        yield from _wrapped(f"{letter}  {side.title}{detail}", width, 3)
    yield ""
    yield from _wrapped(comparison.conditions.describe(), width)
    categories = f" in {comparison.n_categories} categories" if comparison.n_categories > 1 else ""
    yield f"{comparison.n_images} images, {comparison.n_groups} independent groups{categories}"
    if comparison.lengths.unit == "nm" or any(result.unit == "px" for result in comparison.metrics):
        yield from _wrapped(comparison.lengths.why, width)
    for warning in comparison.warnings:
        yield from _wrapped(f"Caution: {warning}", width, 9)


def _overview(comparison: Comparison, columns: dict[str, Measure], width: int) -> Iterator[str]:
    rows = [["metric", "A", "B", f"{_A_B} [95 % interval]", "p", "A wins", "verdict"]]
    for result in comparison.metrics:
        measure, decimals = columns[result.metric], _decimals(result)
        low, high, _ = result.paired.interval
        primary = "(primary)" if result.metric == comparison.primary else ""
        rows.append(
            [
                " ".join(filter(None, (measure.title, measure.arrow, measure.unit, primary))),
                number(result.first.value, decimals),
                number(result.second.value, decimals),
                _difference(result.paired.difference, low, high, decimals),
                _p(result.paired.p_holm),
                _percent(result.paired.improvement.value),
                _WORDS.get(result.verdict, MISSING),
            ]
        )
    if _table_width(rows) > width:
        rows = [[*row[:5], row[6]] for row in rows]
    if len(rows) > 1:
        yield from _table(rows, width, left=(0, len(rows[0]) - 1))


def _gap(
    degradation: str,
    by_metric: Mapping[str, tuple[RealMinusSynthetic | None, ...]],
    columns: dict[str, Measure],
    details: Sequence[str],
    width: int,
) -> Iterator[str]:
    """What both score on the recorded LR less what they score on synthetic LR; of many metrics the first."""
    yield from _wrapped(
        f"Recorded LR {MINUS} synthetic LR by {degradation}, same images [95 % interval]", width
    )
    rows = [["metric", "A", "B"]]
    for metric, gaps in by_metric.items():
        measure = columns[metric]
        if details or measure.name in OVERVIEW:
            decimals = decimals_for((g.interval.high - g.interval.low) / 2 for g in gaps if g)
            cells = (
                _difference(g.difference, g.interval.low, g.interval.high, decimals) if g else MISSING
                for g in gaps
            )
            rows.append([" ".join(filter(None, (measure.title, measure.arrow, measure.unit))), *cells])
    yield from _table(rows, width, left=(0,))


def _details(comparison: Comparison, result: MetricComparison, measure: Measure, width: int) -> Iterator[str]:
    unit = f", {measure.unit}" if measure.unit else ""
    decimals = _decimals(result)
    yield f"{measure.title} ({measure.reading}{unit})"
    primary = result.metric == comparison.primary  # its verdict was the first sentence of all
    for sentence in (
        "" if primary else _verdict_sentence(comparison, result, measure),
        f"The margin of {result.margin.value:.4g}{unit.removeprefix(',')}: {result.margin.reason}.",
        _test_sentence(comparison, result),
        "Training: "
        f"A {_seeds_sentence(comparison.first, result.first, decimals + 1)}; "
        f"B {_seeds_sentence(comparison.second, result.second, decimals + 1)}.",
    ):
        yield from _wrapped(sentence, width, 2, 2)
    for count, side in zip(result.missing, (comparison.first, comparison.second), strict=True):
        if count:
            yield from _wrapped(
                f"{side.name} has no value for {count} {'image' if count == 1 else 'images'} that the other "
                "has one for: only the common images are compared, and nothing is decided.",
                width,
                2,
                2,
            )
    if result.categories:
        finer = decimals_for((c.interval.high - c.interval.low) / 2 for c in result.categories)
        yield ""
        rows = [["category", "groups", "A", "B", f"{_A_B} [95 % interval]"]]
        for c in result.categories:
            difference = _difference(c.difference, c.interval.low, c.interval.high, finer)
            means = (number(c.first, decimals), number(c.second, decimals))
            rows.append([c.category, str(c.n_groups), *means, difference])
        yield from _table(rows, width, left=(0,), indent=2)
    if result.images:
        yield ""
        yield "  Images that differ most:"
        rows = [["A", "B", _A_B, "category", "image"]]
        for image in result.images:
            values = [number(image.first, decimals), number(image.second, decimals)]
            values.append(number(image.difference, decimals, signed=True))
            rows.append([*values, image.category, image.image])
        yield from _table(rows, width, left=(3, 4), indent=2)


def _verdict_sentence(comparison: Comparison, result: MetricComparison, measure: Measure) -> str:
    """Which is better, and why one may say so or not."""
    low, high, df = result.paired.interval
    unit = f" {measure.unit}" if measure.unit else ""
    shown = _difference(result.paired.difference, low, high, _decimals(result))
    measured = f"{_A_B} is {shown}{unit}"
    measured += f" ({df:.3g} degrees of freedom)" if math.isfinite(df) else ""
    margin = f"the margin of {result.margin.value:.4g}{unit}"
    first, second = f"A ({comparison.first.name})", f"B ({comparison.second.name})"
    verdicts = {
        "better": f"{first} is better than {second}: {measured}, beyond {margin}.",
        "worse": f"{second} is better than {first}: {measured}, beyond {margin}.",
        "equivalent": f"{first} and {second} are equivalent: {measured}, within {margin}.",
        "undecided": f"Undecided: {measured}; {_why_undecided(result, margin)}.",
        "": f"{measured}; in this metric neither direction is better.",
    }
    return verdicts[result.verdict]


def _why_undecided(result: MetricComparison, margin: str) -> str:
    from srbench.statistics.paired_tests import VERDICT_GROUPS

    low, high, _ = result.paired.interval
    groups = result.paired.n_groups
    if any(result.missing):
        return "the two were not scored on the same images"
    if groups < VERDICT_GROUPS:
        return f"{groups} independent groups are too few, at least {VERDICT_GROUPS} are needed"
    if low > result.margin.value or high < -result.margin.value:
        return "the interval lies beyond the margin, but the paired test does not support it"
    holds_zero = "holds zero and" if low <= 0.0 <= high else "excludes zero, but"
    return f"the interval {holds_zero} reaches across {margin}"


def _test_sentence(comparison: Comparison, result: MetricComparison) -> str:
    paired = result.paired
    plain, adjusted = (f"p = {_p(p)}".replace("= <", "<") for p in (paired.p, paired.p_holm))
    corrected = "the primary metric needs no correction"
    if result.metric != comparison.primary:
        corrected = f"after Holm's correction {adjusted}"
    parts = [f"Test of the mean difference: {plain}, {corrected}"]
    parts.append(f"median difference {_difference(*paired.median, _decimals(result))}")
    if math.isfinite(paired.improvement.value):
        share, low, high = map(_percent, paired.improvement)
        parts.append(f"A is better in {share} [{low}, {high}] of the groups")
    return "; ".join(parts) + "."


def _seeds_sentence(side: SelectedRuns, mean: SideMean, decimals: int) -> str:
    """What a repeated training would change, as far as it is known."""
    from srbench.statistics.bootstrap import SEEDS_TO_RESAMPLE

    if mean.n_seeds > 1:
        drawn = "in the interval" if mean.n_seeds >= SEEDS_TO_RESAMPLE else "too few to be in the interval"
        return f"SD {number(mean.seed_sd, decimals)} over {mean.n_seeds} seeds, {drawn}"
    if side.runs[0].weights:
        return "one seed, its spread is unknown"
    return "is not trained" if side.learns_nothing else "has no weights file, what it learned is not known"


def _decimals(result: MetricComparison) -> int:
    """Decimals that the interval of the difference supports."""
    low, high, _ = result.paired.interval
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


def as_data(comparison: Comparison) -> dict[str, Any]:
    """Everything as plain data; what is missing is null."""
    metrics = []
    for result in comparison.metrics:
        paired = result.paired
        contrast = {
            "difference": paired.difference,
            "interval": paired.interval,
            "p": paired.p,
            "p_holm": paired.p_holm,
            "median": paired.median,
            "improvement": paired.improvement,
            "n_images": paired.n_images,
            "n_groups": paired.n_groups,
            "rule": asdict(paired.settings),
        }
        metric = {
            "metric": result.metric,
            "unit": result.unit,
            "margin": asdict(result.margin),
            "first": vars(result.first),
            "second": vars(result.second),
            "contrast": contrast,
            "categories": [vars(category) for category in result.categories],
            "images": [vars(image) for image in result.images],
            "missing": list(result.missing),
            "verdict": result.verdict,
        }
        metrics.append(metric)
    return {
        "first": {"name": comparison.first.name, "runs": [run._asdict() for run in comparison.first.runs]},
        "second": {"name": comparison.second.name, "runs": [run._asdict() for run in comparison.second.runs]},
        "conditions": comparison.conditions._asdict(),
        "n_images": comparison.n_images,
        "n_groups": comparison.n_groups,
        "lengths": {"unit": comparison.lengths.unit, "why": comparison.lengths.why},
        "primary": comparison.primary,
        "metrics": metrics,
        "real_minus_synthetic": {
            degradation: {
                metric: dict(
                    zip(("first", "second"), (vars(gap) if gap else None for gap in gaps), strict=True)
                )
                for metric, gaps in by_metric.items()
            }
            for degradation, by_metric in comparison.gaps.items()
        },
        "without": dict(comparison.without),
        "warnings": list(comparison.warnings),
    }
