"""``srbench agree``: do the results of two scans of one field agree?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from srbench.cli.console import note, print_json, print_table, say
from srbench.cli.options import (
    bits_option,
    device_option,
    pixel_size_option,
    variant_option,
    weights_option,
    weights_scale_option,
)


@click.command()
@click.argument("a", type=click.Path(path_type=Path, exists=True))
@click.argument("b", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--model", required=True, help="What enlarges the scans; none compares them as they are.")
@weights_option
@weights_scale_option
@variant_option
@click.option(
    "--measure",
    "measures",
    type=click.Choice(("particles", "lines", "pores", "fibres")),
    multiple=True,
    help="What is measured on both [default: particles, lines and pores, where they allow it]. Repeatable.",
)
@click.option(
    "--split",
    type=click.Choice(("diagonal", "rows")),
    default="diagonal",
    show_default=True,
    help="Without B: every second pixel of even and of odd lines, or the even and the odd lines.",
)
@bits_option
@pixel_size_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    help="Folder for a map of each field: where the results are unlike, and objects that are in one alone.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@device_option
@click.pass_context
def agree(
    context: click.Context, /, a: Path, b: Path | None, model: str, as_json: bool, **options: Any
) -> None:
    """Compare what --model makes of two scans A and B of one field: files, or folders with equal names.

    No HR image is needed. Without B every image is split in two, which is a weaker check. Finer detail that
    does not repeat is driven by noise; detail that repeats may still be invented alike in both, which only a
    reference tells.
    """
    from srbench.measuring import agreement
    from srbench.utils.progress import progress_reporter

    with progress_reporter() as progress:
        result = agreement.agree(a, b, model, progress=progress, **options)
    for remark in result.remarks:
        note(remark)
    for name, why in result.skipped.items():
        note(f"skipped {name}: {why}")
    if as_json:
        print_json(agreement.as_json(result))
    else:
        heads = ("field", "repeats", "permitted", "x interpolation", "unlike", "fine detail")
        rows = [
            [
                field.name,
                f"{field.repeated:.2f}",
                f"{field.permitted:.2f}",
                f"{field.amount:.1f}",
                f"{field.unlike:.0%}",
                field.verdict,
            ]
            for field in result.fields
        ]
        print_table(heads, rows, folding=("field",))
        for statement in agreement.statements(result):
            say(statement)
    for file in result.maps:
        note(f"Map: {file}")
    context.exit(1 if result.skipped else 0)
