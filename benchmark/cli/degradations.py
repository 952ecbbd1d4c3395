"""``srbench degradations list|show``: the ways LR is made from HR, and their settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from srbench.cli.console import print_fields, print_json, print_table

if TYPE_CHECKING:
    from srbench.datasets.degrade import DegradationCard
    from srbench.datasets.degrade.interface import Setting


@click.group()
def degradations() -> None:
    """How LR images are made from HR images."""


@degradations.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_command(as_json: bool) -> None:
    """List the degradations with the names of their settings."""
    from srbench.datasets.degrade import cards

    found = cards()
    if as_json:
        print_json([asdict(card) for card in found])
        return
    rows = [(card.name, card.summary, ", ".join(setting.name for setting in card.settings)) for card in found]
    print_table(("name", "LR is", "settings"), rows)
    click.echo("Settings follow a colon: --degradation sem_pixel:dose=20,jitter=0.3. Their ranges:")
    click.echo("srbench degradations show sem_pixel")


@degradations.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show_command(name: str, as_json: bool) -> None:
    """Show one degradation; with settings (sem_pixel:dose=20) also the id that scores will store."""
    from srbench.datasets.degrade import cards, get

    found = get(name)
    card = next(card for card in cards() if card.name == found.name)
    if as_json:
        print_json({**asdict(card), "id": found.id})
        return
    print_fields(_fields(card, found.id))
    if card.settings:
        click.echo()
        rows = [
            (setting.name, _default(setting), _range(setting), setting.meaning) for setting in card.settings
        ]
        print_table(("setting", "default", "range", "meaning"), rows)


def _fields(card: DegradationCard, identity: str) -> dict[str, str]:
    scales = ", ".join(f"x{scale}" for scale in card.scales) if card.scales else "every one"
    return {"name": card.name, "id": identity, "LR is": card.summary, "scales": scales}


def _default(setting: Setting) -> str:
    return "by image" if setting.default is None else f"{setting.default:g}"


def _range(setting: Setting) -> str:
    return f"{setting.low:g} to {setting.high:g}" + (" or inf" if setting.infinite else "")
