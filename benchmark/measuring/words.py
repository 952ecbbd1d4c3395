"""A measurement in words and as tables: the sentences of the terminal and the page, JSON and CSV."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from srbench.measuring.features import statistics
from srbench.measuring.measure import MeasuredField, MeasuredValue, MeasurementResult
from srbench.reporting.text import csv_text, number
from srbench.statistics.conformal import find_bin
from srbench.utils.progress import count_of
from srbench.utils.text import json_values
from srbench.version import __version__

TITLES = {
    "fraction": "Area fraction",
    "LER": "Line-edge roughness (3 sigma, unbiased)",
    "LWR": "Line-width roughness (3 sigma, unbiased)",
}
BUDGET = ("super_resolution", "sampling", "threshold", "pixel_size", "together")
"""Parts of the uncertainty, in the order of a table, and their sum."""


def title(estimate: MeasuredValue) -> str:
    """What is printed for its name."""
    return TITLES.get(estimate.name, estimate.name)


def decimals(estimate: MeasuredValue) -> int:
    """Two significant digits of the smallest known part of its uncertainty, else four of the value."""
    widths = [value for name in BUDGET if (value := getattr(estimate, name))]
    digits, smallest = (1, min(widths)) if widths else (3, abs(estimate.measured) or 1.0)
    return min(max(digits - math.floor(math.log10(smallest)), 0), 4)


def sentence(estimate: MeasuredValue, level: float) -> str:
    """``D50 = 253.0 nm, corrected by -3.5, +- 3.2 nm (90 %)``; without an interval the value as measured."""
    unit, places = (f" {estimate.unit}" if estimate.unit else ""), decimals(estimate)
    value = f"{title(estimate)} = {number(estimate.value, places)}{unit}"
    if estimate.correction is None or estimate.super_resolution is None:
        return f"{value} as measured, no interval"
    by = number(-estimate.correction, places, signed=True)
    width = f"± {number(estimate.super_resolution, places)}{unit} ({100 * level:.0f} %)"
    return f"{value}, corrected by {by}, {width}"


def parts(estimate: MeasuredValue) -> list[str]:
    """Its row of the budget: measured, corrected, the half widths, and their root sum of squares."""
    places = decimals(estimate)
    corrected = None if estimate.correction is None else estimate.value
    values = [estimate.measured, corrected, *(getattr(estimate, name) for name in BUDGET)]
    return [number(value, places) for value in values]


def statements(result: MeasurementResult) -> Iterator[str]:
    """What is to be said beside the numbers, one line each."""
    fields = count_of(len(result.fields), "field")
    yield f"{count_of(result.items, result.item)} in {fields}"
    if result.why_not:
        yield f"No interval: {result.why_not}."
    elif session := result.session:
        shift = number(session.shift * (result.conditions.pixel_size_nm or 1.0), 2, signed=True)
        covered = f"{session.covered:.0%} of {session.items} reference items lie inside"
        yield (
            f"The widths are those of the bank, calibrated on {result.bank_data}; {session.groups} "
            f"independent reference groups of this session moved its corrections by {shift} {result.unit}; "
            f"{covered}."
        )
        yield (
            "A value of a field has the interval of one field, however many were measured: dose, focus and "
            "charging are common to all fields of a session and do not average out."
        )
    if result.lost is not None:
        yield (
            f"In the calibration {result.lost:.1%} of the items of the reference were not measured: "
            "intervals hold for items that are found."
        )


def objects(result: MeasurementResult) -> list[dict[str, Any]]:
    """One record an item, for the CSV file."""
    records = []
    for field in result.fields:
        per_px = field.pixel_size_nm if result.unit == "nm" and field.pixel_size_nm else 1.0
        features = field.features
        for (y, x), size, counted in zip(features.centres, features.sizes, features.counted, strict=True):
            if counted:
                part = find_bin(result.bins, size * per_px)
                records.append(
                    {
                        "image": field.name,
                        "y_px": f"{y:.2f}",
                        "x_px": f"{x:.2f}",
                        f"measured_{result.unit}": f"{size * per_px:.5g}",
                        f"corrected_{result.unit}": f"{size * per_px - part.correction:.5g}" if part else "",
                        f"half_width_{result.unit}": f"{part.half_width:.4g}" if part else "",
                    }
                )
    return records


def objects_csv(result: MeasurementResult) -> str:
    """:func:`objects` as text."""
    return csv_text(objects(result))


def as_json(result: MeasurementResult) -> dict[str, Any]:
    """Everything but pixels."""

    def of_field(field: MeasuredField) -> dict[str, Any]:
        features = field.features
        return {
            "image": field.name,
            "items": len(features),
            "statistics_px": statistics(features.sizes[features.counted], features.values),
            "pixel_size_nm": field.pixel_size_nm,
            "sharpness_px": dict(field.sharpness),
        }

    content = {
        "srbench": __version__,
        "measure": result.measure,
        "size": result.size,
        "unit": result.unit,
        "level": result.level,
        "items": result.items,
        "no_interval": result.why_not,
        "estimates": [asdict(estimate) for estimate in result.estimates],
        "single_items": [asdict(part) for part in result.bins],
        "sharpness": dict(result.sharpness),
        "conditions": asdict(result.conditions),
        "bank_sha256": result.bank,
        "bank_data": result.bank_data,
        "session": None if result.session is None else asdict(result.session),
        "lost_in_calibration": result.lost,
        "fields": [of_field(field) for field in result.fields],
        "skipped": dict(result.skipped),
        "remarks": list(result.remarks),
        "statements": list(statements(result)),
    }
    cleaned: dict[str, Any] = json_values(content)
    return cleaned
