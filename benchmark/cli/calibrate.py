"""``srbench calibrate``: how wrong a measurement is on a model's images, as a bank of errors."""

from __future__ import annotations

from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from srbench.cli.console import print_json, print_table, say, warn
from srbench.cli.options import (
    degradation_option,
    device_option,
    json_option,
    variant_option,
    weights_option,
    weights_scale_option,
    what_option,
    writable,
)

if TYPE_CHECKING:
    from srbench.measuring.bank import Bank, QuantityErrors
    from srbench.statistics.conformal import Coverage, SizeBin


@click.command()
@click.argument("model")
@click.option("--dataset", required=True, help="Fields whose truth, or slow scan, is known.")
@what_option
@weights_option
@weights_scale_option
@variant_option
@degradation_option
@click.option("--split", help="Fields to use [default: test for a model that learned, else all].")
@click.option("--category", help="Only fields of this category [default: all].")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, resolve_path=True),
    callback=writable,
    help="The bank [default: in $SRBENCH_HOME/banks].",
)
@device_option
@json_option
def calibrate(model: str, dataset: str, what: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Compare what MODEL makes of the fields of a dataset with what is known of them.

    Prints correction and half width of the intervals by size, and how often they cover in cross-validation;
    writes the errors into a bank, which srbench measure --bank takes. MODEL none measures the images as they
    are.
    """
    from srbench.measuring.calibration import calibrate as run
    from srbench.reporting.text import slug
    from srbench.utils.paths import home
    from srbench.utils.progress import progress_reporter

    with progress_reporter() as progress:
        bank = run(model, dataset, what, progress=progress, **options)
    conditions = bank.conditions
    parts = (conditions.measure, conditions.model, f"x{conditions.scale}", slug(bank.dataset), bank.category)
    name = f"{'_'.join(filter(None, parts))}.json"
    path = out or home() / "banks" / name
    bank.write(path)
    recorded = conditions.degradation.startswith("recorded")
    for reason, fields in bank.counts.left_out.items():
        warn(f"left out, {fields} fields: {reason}")
    if as_json:
        print_json({"bank": path, **_as_data(bank)})
    else:
        _print(bank)
        say(f"Bank: {path}")
    if recorded and not as_json:
        way = "" if conditions.model == "none" else f" --model {conditions.model}"
        command = f"srbench measure IMAGES --measure {what}{way}"
        say(f"Next: {command} --bank {path} --reference DIR --out OUT")
    if not recorded:
        warn(
            f"LR was made by {conditions.degradation}, not recorded: these figures tell models apart, they "
            "give no interval on images from an instrument. For that, calibrate on recorded pairs (kriss, "
            "pairs:/path)."
        )


def _bins(quantity: QuantityErrors) -> list[tuple[SizeBin, Coverage | None]]:
    """The intervals by size, and how often each covers; nothing where there are too few groups to tell."""
    from srbench.statistics.conformal import calibrate, cross_validated

    errors = quantity.arrays
    return list(zip(calibrate(errors), cross_validated(errors) or repeat(None), strict=False))


def _as_data(bank: Bank) -> dict[str, Any]:
    """All but the single errors, which the file holds; lengths in pixels of the measured image."""
    from srbench.statistics.conformal import LEVEL

    quantities = {}
    for name, quantity in bank.quantities.items():
        bins = [{**asdict(part), "coverage": share and asdict(share)} for part, share in _bins(quantity)]
        quantities[name] = {"unit": quantity.unit, "each": quantity.each, "bins": bins}
    parts = {"conditions": asdict(bank.conditions), "counts": asdict(bank.counts), "quantities": quantities}
    return {**vars(bank), "level": LEVEL, **parts}


def _print(bank: Bank) -> None:
    from srbench.measuring.calibration import SINGLE
    from srbench.reporting.text import number
    from srbench.statistics.conformal import LEVEL

    counts, size = bank.counts, bank.conditions.pixel_size_nm
    say(
        f"{bank.item}s by {bank.conditions.model} x{bank.conditions.scale} against the {bank.reference}: "
        f"{counts.fields} fields of {bank.fields} in {counts.groups} independent groups"
    )
    rows = []
    for name, quantity in bank.quantities.items():
        factor = size if quantity.unit and size else 1.0
        unit = ("nm" if size else "px") if quantity.unit else ""
        places = 4 if not quantity.unit else 2
        for part, share in _bins(quantity):
            rows.append(
                [
                    f"one {quantity.each}" if name == SINGLE else f"{name} of a field",
                    f"{part.low * factor:.4g} to {part.high * factor:.4g} {unit}".rstrip(),
                    number(-part.correction * factor, places, signed=True),
                    number(part.half_width * factor, places),
                    f"{share.mean:.3f} ({share.low:.3f}-{share.high:.3f})"
                    if share
                    else "more than 10 groups are needed",
                    str(share.groups) if share else "",
                    str(part.items),
                    str(part.groups),
                ]
            )
    heads = (
        "quantity",
        "measured",
        "corrected by",
        f"+- at {LEVEL:.0%}",
        "covers (5-95 %)",
        "calibrated by",
        "errors",
        "groups",
    )
    print_table(heads, rows, folding=())
    factor, unit = (size, "nm") if size else (1.0, "px")
    lost = f"lost: {counts.lost} of {counts.reference} {bank.item}s of the reference are not measured"
    if counts.lost and counts.kept_size:
        kept_size, lost_size = counts.kept_size * factor, counts.lost_size * factor
        lost += f" (median {lost_size:.4g} {unit}; of those that are, {kept_size:.4g} {unit})"
    say(f"{lost}; {counts.alone} measured ones have no partner there. Intervals hold for what is found.")
