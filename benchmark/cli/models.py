"""``srbench models list|show``: what can be trained and evaluated."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from srbench.cli.console import print_fields, print_json, print_table

if TYPE_CHECKING:
    from srbench.models import ModelCard


@click.group()
def models() -> None:
    """The networks of the benchmark."""


@models.command("list")
@click.argument("pattern", default="*")
@click.option("--json", "as_json", is_flag=True, help="Print the cards as JSON.")
def list_command(pattern: str, as_json: bool) -> None:
    """List the models whose name matches PATTERN (shell style, default all)."""
    from srbench.models import list_models

    cards = list_models(pattern)
    if as_json:
        print_json([asdict(card) for card in cards])
        return
    rows = [
        (card.name, card.title, card.family, str(card.year), _scales(card), ", ".join(card.variants))
        for card in cards
    ]
    print_table(("name", "title", "family", "year", "scales", "variants (first is the default)"), rows)


@models.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show_command(name: str, as_json: bool) -> None:
    """Show one model: its card, and the size of each variant."""
    from srbench.models import card

    found = card(name)
    sizes = {variant: _size(found, variant) for variant in found.variants}
    if as_json:
        print_json({**asdict(found), "sizes": sizes})
        return
    print_fields(
        {
            "name": found.name,
            "title": found.title,
            "summary": found.summary,
            "family": found.family,
            "paper": f"{found.paper} ({found.year})",
            "scales": _scales(found),
            "channels": ", ".join(map(str, found.channels)),
            "licence": found.licence,
            "code": found.module,
            "weights": _released(found),
        }
    )
    click.echo()
    rows = [
        (variant + (" (sees HR: never ranked)" if variant in found.leaking else ""), *map(str, size.values()))
        for variant, size in sizes.items()
    ]
    print_table(
        ("variant", "scale", "parameters", "multiply-adds per LR pixel", "receptive radius (LR px)"), rows
    )
    if found.trainable:
        scale = _shown_scale(found)
        click.echo(f"Train it: srbench train {found.name} --dataset sem_synthetic --scale {scale}")


def _scales(card: ModelCard) -> str:
    return ", ".join(f"x{scale}" for scale in card.scales)


def _shown_scale(card: ModelCard) -> int:
    return 4 if 4 in card.scales else card.scales[-1]


def _released(card: ModelCard) -> str:
    if not card.released:
        return "nobody published any that are known here"
    return f"{len(card.released)} published, see: srbench weights list {card.name}"


def _size(card: ModelCard, variant: str) -> dict[str, Any]:
    """Parameters, multiply-adds and receptive radius at x4 (or the largest scale offered), grey."""
    import torch

    from srbench.evaluation.cost import count_parameters, multiply_adds
    from srbench.models import create

    scale = _shown_scale(card)
    with torch.device("meta"):  # shapes without numbers: the largest networks would take seconds to draw
        model = create(card.name, scale=scale, channels=card.channels[0], variant=variant)
    side = 48
    radius = model.receptive_radius
    return {
        "scale": f"x{scale}",
        "parameters": f"{count_parameters(model.network):,}",
        "multiply_adds": f"{multiply_adds(model, side, side) / side**2:,.0f}",
        "receptive_radius": "not declared" if radius is None else f"{radius:g}",
    }
