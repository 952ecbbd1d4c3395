"""``srbench advise``: how far to magnify and how fast to scan, from images of the session."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click

from srbench.cli.calibrate import what_option
from srbench.cli.console import note, print_json, print_table, say
from srbench.cli.options import bits_option, pixel_size_option

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
    help="Try this network beside interpolation [default: those that have weights here]. Repeatable.",
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
    help="Folder for advice.html and advice.json.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
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
    for remark in advice.remarks:
        note(remark)
    for name, why in advice.skipped.items():
        note(f"skipped {name}: {why}")
    if as_json:
        print_json(recommendation.as_json(advice))
    else:
        for sentence in recommendation.sentences(advice):
            say(textwrap.fill(sentence, WIDTH))
        for heads, rows in (recommendation.table(advice), recommendation.rescan_table(advice)):
            print_table(heads, rows, folding=())
        for statement in recommendation.statements(advice):
            say(textwrap.fill(statement, WIDTH, break_on_hyphens=False))
    for file in recommendation.write(advice, out) if out is not None else ():
        note(f"Written: {file}")
    context.exit(1 if advice.skipped else 0)
