"""``srbench degradations``: how LR is made from HR, and which way makes the recorded LR of pairs."""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from srbench.cli.console import note, print_fields, print_json, print_table, say, warn
from srbench.cli.options import json_option, reading_options
from srbench.reporting.text import MISSING, number, quantity
from srbench.utils.errors import SrbenchError
from srbench.utils.progress import count_of, progress_reporter

if TYPE_CHECKING:
    from srbench.datasets import ReadingOptions
    from srbench.measuring.scan_fit import FittedDegradation


@click.group()
def degradations() -> None:
    """How LR images are made from HR images."""


@degradations.command("list")
@json_option
def list_degradations_command(as_json: bool) -> None:
    """List the degradations with the names of their settings."""
    from srbench.datasets.degrade import cards

    if as_json:
        print_json([asdict(card) for card in cards()])
        return
    rows = [
        (card.name, card.summary, ", ".join(setting.name for setting in card.settings)) for card in cards()
    ]
    print_table(("name", "LR is", "settings"), rows, folding=("LR is", "settings"))
    say("Settings follow a colon: --degradation sem_pixel:dose=20,jitter=0.3. Their ranges:")
    say("srbench degradations show sem_pixel")


@degradations.command("show")
@click.argument("name")
@json_option
def show_degradation_command(name: str, as_json: bool) -> None:
    """Show one degradation; with settings (sem_pixel:dose=20) also the id that scores will store."""
    from srbench.datasets.degrade import cards, get

    degradation = get(name)
    card = next(card for card in cards() if card.name == degradation.name)
    if as_json:
        print_json({**asdict(card), "id": degradation.id})
        return
    scales = ", ".join(f"x{scale}" for scale in card.scales) if card.scales else "every one"
    print_fields({"name": card.name, "id": degradation.id, "LR is": card.summary, "scales": scales})
    if card.settings:
        say()
        rows = []
        for setting in card.settings:
            default = "by image" if setting.default is None else f"{setting.default:g}"
            limits = f"{setting.low:g} to {setting.high:g}" + (" or inf" if setting.infinite else "")
            rows.append((setting.name, default, limits, setting.meaning))
        print_table(("setting", "default", "range", "meaning"), rows, folding=("meaning",))


@degradations.command("fit")
@click.argument("dataset", metavar="PAIRS")
@click.option(
    "--split",
    type=click.Choice(("train", "val", "test", "all")),
    default="all",
    show_default=True,
    help="Pairs to fit to; train leaves those of test unseen.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Only so many pairs, spread over groups.")
@click.option(
    "--pedestal",
    type=click.FloatRange(-1.0, 0.9),
    default=0.15,
    show_default=True,
    help="Share of the full signal that is shown as black, where the brightness setting of the scan tells "
    "it: noise alone does not tell it from read noise.",
)
@reading_options
@json_option
def fit_command(
    dataset: str, split: str, limit: int | None, pedestal: float, as_json: bool, reading: ReadingOptions
) -> None:
    """Find the sem_pixel that makes the fast scans of PAIRS (kriss, pairs:/path) from the slow ones.

    Prints spot, dose, read noise, gain and offset with 95 % intervals over groups of fields, how well they
    fit, and the degradation as train and eval take it. Exit code 1 where the pairs do not tell one of them.
    """
    from srbench.datasets import open
    from srbench.measuring.scan_fit import fit_degradation

    with progress_reporter() as progress:
        pairs = open(dataset, reading, progress)
        images = pairs.split(split if limit is None else f"{split}-limit{limit}")
        fitted = fit_degradation(pairs, images, pedestal=pedestal, progress=progress)
    if as_json:
        settings = [{**asdict(each), "determined": not math.isnan(each.value)} for each in fitted.settings]
        print_json({**asdict(fitted), "settings": settings})
    else:
        _print_fit(fitted)
    if not fitted.degradation:
        vague = [setting.name for setting in fitted.settings if math.isnan(setting.value)]
        raise SrbenchError(
            f"{fitted.dataset} does not tell {', '.join(vague)}: no degradation can be named. Give pairs "
            "whose fields hold fine detail and several grey levels between black and white, or more of them."
        )


def _print_fit(fitted: FittedDegradation) -> None:
    pairs, groups = count_of(fitted.n_images, "pair"), count_of(fitted.n_groups, "group")
    say(f"{fitted.dataset}: {pairs} in {groups}, x{fitted.scale}")
    say()
    rows = []
    for setting in fitted.settings:
        ends = " to ".join(_shown(setting.name, end) for end in (setting.low, setting.high))
        ends = MISSING if math.isnan(setting.low) else ends
        remark = f"{setting.meaning}; {setting.why}" if setting.why else setting.meaning
        rows.append((setting.name, _shown(setting.name, setting.value), ends, remark))
    print_table(("setting", "value", "95 % interval", "meaning"), rows, folding=("meaning",))
    if fitted.noise:
        say("Noise in flat places, standard deviation as a share of the grey scale:")
        print_table(
            ("grey level", "pixels", "recorded", "fitted"),
            [
                (number(level.grey, 2), str(level.pixels), number(level.measured, 4), number(level.fitted, 4))
                for level in fitted.noise
            ],
        )
    if fitted.detail:
        say("Detail by spatial frequency: correlation with the reference (FRC), and power:")
        print_table(
            ("up to, of Nyquist", "recorded", "fitted", "power recorded/fitted"),
            [
                (
                    number(band.up_to, 1),
                    number(band.agreement, 3),
                    number(band.fitted, 3),
                    number(band.power, 2),
                )
                for band in fitted.detail
            ],
        )
    for remark in fitted.remarks:
        note(f"Note: {remark}.")
    for image, why in fitted.left_out.items():
        warn(f"Left out {image}: {why}.")
    if fitted.degradation:
        task = f"--dataset {shlex.quote(fitted.dataset)} --scale {fitted.scale}"
        say(f"--degradation {fitted.degradation}")
        say(f"Next: srbench eval --all {task}, then the same with this --degradation;")
        say("srbench compare and srbench report then show the scores on real less those on synthetic LR.")


def _shown(name: str, value: float) -> str:
    """With the digits that a fit supports."""
    if math.isinf(value):
        return "inf"
    return quantity(value, prefixed=False) if name == "dose" else number(value, 3)
