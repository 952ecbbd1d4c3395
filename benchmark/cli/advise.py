"""``srbench advise|agree``: without HR, how far to magnify and how fast to scan, and whether it repeats."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click

from srbench.cli.console import note, note_outcome, print_json, print_table, say
from srbench.cli.options import (
    MEASURES,
    bits_option,
    device_option,
    json_option,
    pixel_size_option,
    variant_option,
    weights_option,
    weights_scale_option,
    what_option,
    writable,
)

WIDTH = 80
"""Columns of the text."""


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@what_option
@click.option(
    "--tolerance",
    metavar="VALUE",
    help="How much magnification may change it, as 2nm, 0.5px or 0.02 [default: half a pixel of the images; "
    "0.02 of an area fraction].",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    help="Try this network beside interpolation [default: the three best ranked with weights here]. "
    "Repeatable.",
)
@click.option(
    "--second",
    type=click.Path(path_type=Path, exists=True),
    help="A second scan of each field, under the same names: the resolution is then that of two scans.",
)
@bits_option
@pixel_size_option
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes that try models [default: one a core]."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    callback=writable,
    help="Folder for advice.html and advice.json.",
)
@json_option
@click.pass_context
def advise(
    context: click.Context,
    /,
    images: tuple[Path, ...],
    what: str,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say how far IMAGES (files or folders of one session) may be magnified, and how fast scanned.

    Resolution, noise, contrast and blur of the images give the setting of sem_pixel that is like them.
    Scenes of known geometry under this setting, at more and at less dose, are magnified by interpolation and
    by networks and measured; the table says from which size on the result can be trusted. A second table
    is of the images themselves, scanned again with a larger step and another dose.
    """
    from srbench.measuring import recommendation
    from srbench.measuring.advice import advise as run
    from srbench.utils.progress import progress_reporter

    with progress_reporter() as progress:
        advice = run(images, what, progress=progress, **options)
    note_outcome(advice.remarks, advice.skipped)
    if as_json:
        print_json(recommendation.as_json(advice))
    else:
        for sentence in recommendation.sentences(advice):
            say(textwrap.fill(sentence, WIDTH))
        scanned_again = [recommendation.rescan_table(advice)] if advice.rescans else []
        for heads, rows in (*scanned_again, recommendation.table(advice)):
            print_table(heads, rows, folding=())
        for statement in recommendation.statements(advice):
            say(textwrap.fill(statement, WIDTH, break_on_hyphens=False))
    for file in recommendation.write(advice, out) if out is not None else ():
        note(f"Written: {file}")
    context.exit(1 if advice.skipped else 0)


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
    type=MEASURES,
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
    callback=writable,
    help="Folder for a map of each field: where the results are unlike, and objects that are in one alone.",
)
@json_option
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
    note_outcome(result.remarks, result.skipped)
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
