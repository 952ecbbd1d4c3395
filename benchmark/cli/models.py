"""``srbench models list|show``: what can be trained and evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from srbench.cli.console import print_fields, print_json, print_table, say, warn
from srbench.cli.options import json_option

if TYPE_CHECKING:
    from srbench.models import ModelCard


@click.group()
def models() -> None:
    """The networks of the benchmark."""


@models.command("list")
@click.argument("pattern", default="*")
@json_option
def list_command(pattern: str, as_json: bool) -> None:
    """List the models whose name matches PATTERN (shell style, default all)."""
    from srbench import plugins

    cards, problems = plugins.list_cards(pattern)
    for problem in problems:
        warn(problem)
    if as_json:
        print_json([asdict(card) for card in cards])
        return
    rows = [
        (card.name, card.title, card.family, str(card.year), _scales(card), ", ".join(card.variants))
        for card in cards
    ]
    variants = "variants (first is the default)"
    columns = ("name", "title", "family", "year", "scales", variants)
    print_table(columns, rows, folding=(variants,), droppable=("title", "year"))


@models.command("show")
@click.argument("name")
@json_option
def show_command(name: str, as_json: bool) -> None:
    """Show one model: its card, and the size of each variant."""
    from srbench import plugins
    from srbench.models.registry import stored_sizes
    from srbench.utils.errors import SrbenchError
    from srbench.utils.text import printable

    shown = plugins.card(name)
    sizes: Mapping[str, Mapping[str, str]]
    if plugins.is_foreign(name):
        answer = plugins.ask("srbench.cli.models:measured_sizes_of", name)
        try:
            sizes = {
                printable(variant): {key: printable(text) for key, text in sizes_of_variant.items()}
                for variant, sizes_of_variant in answer.items()
            }
        except (AttributeError, TypeError) as error:
            raise SrbenchError(f"The plug-in of {name} does not say how large it is.") from error
    else:
        sizes = stored_sizes(name) or measured_sizes(shown)
    if as_json:
        print_json({**asdict(shown), "sizes": sizes})
        return
    print_fields(
        {
            "name": shown.name,
            "title": shown.title,
            "summary": shown.summary,
            "family": shown.family,
            "paper": f"{shown.paper} ({shown.year})",
            "scales": _scales(shown),
            "channels": ", ".join(map(str, shown.channels)),
            "licence": shown.licence,
            "code": shown.module,
            "weights": f"{len(shown.released)} published, see: srbench weights list {name}"
            if shown.released
            else "nobody published any that are known here",
        }
    )
    say()
    rows = [
        (variant + (" (sees HR)" if variant in shown.leaking else ""), *measured.values())
        for variant, measured in sizes.items()
    ]
    print_table(("variant", "scale", "parameters", "multiply-adds/LR px", "radius (LR px)"), rows)
    if shown.leaking:
        say("A variant that sees the HR image runs only with --oracle and is never ranked.")
    if shown.trainable:
        scale = _shown_scale(shown)
        say(f"Train it: srbench train {shown.name} --dataset sem_synthetic --scale {scale}")


@models.command("index", hidden=True)
def index_command() -> None:
    """Write ``models/cards.json``, from which list and show read (after a change of a model's file)."""
    import json

    from srbench.models import registry
    from srbench.utils.files import write_text

    entries = {}
    for name in registry.model_names():
        card = registry.registered_card(name)
        if card.module.startswith("srbench.models."):
            source = registry.source_hash(card.module)
            entries[name] = {"source": source, "card": asdict(card), "sizes": measured_sizes(card)}
    write_text(registry.CARDS_FILE, json.dumps(entries, indent=1) + "\n")
    say(f"{len(entries)} models in {registry.CARDS_FILE}")


def _scales(card: ModelCard) -> str:
    return ", ".join(f"x{scale}" for scale in card.scales)


def _shown_scale(card: ModelCard) -> int:
    return 4 if 4 in card.scales else card.scales[-1]


def measured_sizes_of(name: str) -> dict[str, dict[str, str]]:
    """In a confined process: :func:`measured_sizes` of a plug-in's model."""
    from srbench.models import registry

    return measured_sizes(registry.registered_card(name))


def measured_sizes(card: ModelCard) -> dict[str, dict[str, str]]:
    """Parameters, multiply-adds and receptive radius of each variant, at the shown scale, grey."""
    from srbench.inference.profiling import count_parameters, multiply_adds
    from srbench.models.registry import create, create_on_meta

    scale, channels, side = _shown_scale(card), card.channels[0], 48
    sizes = {}
    for variant in card.variants:
        try:  # shapes without numbers: the largest networks would take seconds to draw
            model = create_on_meta(card.name, scale=scale, channels=channels, variant=variant)
            per_pixel = multiply_adds(model, side, side) / side**2
        except Exception:  # a network that cannot run without numbers
            model = create(card.name, scale=scale, channels=channels, variant=variant)
            per_pixel = multiply_adds(model, side, side) / side**2
        radius = model.receptive_radius
        sizes[variant] = {
            "scale": f"x{scale}",
            "parameters": f"{count_parameters(model.network):,}",
            "multiply_adds": f"{per_pixel:,.0f}",
            "receptive_radius": "not declared" if radius is None else f"{radius:g}",
        }
    return sizes
