"""``srbench datasets list|show``: what can be trained and evaluated on, and what to type next."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

import click

from srbench.cli.console import human_bytes, print_fields, print_json, print_table


@click.group()
def datasets() -> None:
    """The micrographs of the benchmark."""


@datasets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_command(as_json: bool) -> None:
    """List the datasets: state on disk, size, licence, what to type next."""
    from srbench.datasets import list_datasets, source

    entries = [(card, source(card.name).state()) for card in list_datasets()]
    if as_json:
        print_json([{**asdict(card), **asdict(state)} for card, state in entries])
        return
    rows = [
        (
            card.name,
            card.kind,
            state.state,
            str(state.images or ""),
            human_bytes(state.bytes) if state.bytes else "",
            card.licence,
            state.next_step,
        )
        for card, state in entries
    ]
    print_table(("name", "kind", "state", "images", "on disk", "licence", "next"), rows)


@datasets.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show_command(name: str, as_json: bool) -> None:
    """Show one dataset: card, state, and where it is on disk its images and groups by category and split."""
    from srbench.datasets import DatasetMissing, open, source

    entry = source(name)
    state = entry.state()
    try:
        opened = open(name)
    except DatasetMissing:
        opened = None
    counts = Counter((image.category, image.split) for image in opened.images) if opened else Counter()
    if as_json:
        splits = [
            {"category": category, "split": split, "images": n} for (category, split), n in counts.items()
        ]
        print_json({**asdict(entry.card), **asdict(state), "splits": splits})
        return
    card = entry.card
    print_fields(
        {
            "name": card.name,
            "title": card.title,
            "summary": card.summary,
            "licence": card.licence,
            "cite": card.citation,
            "from": " ".join(card.urls),
            "state": state.state,
            "next": state.next_step,
            "fingerprint": opened.fingerprint if opened else "",
        }
    )
    if opened:
        click.echo()
        print_table(("category", "train", "val", "test", "groups in test"), _split_rows(opened.images))
    for file, reason in opened.skipped.items() if opened else ():
        click.echo(f"skipped {file}: {reason}")


def _split_rows(images: tuple[object, ...]) -> list[tuple[str, ...]]:
    from srbench.datasets import Micrograph

    micrographs = [image for image in images if isinstance(image, Micrograph)]
    rows = []
    for category in sorted({image.category for image in micrographs}):
        mine = [image for image in micrographs if image.category == category]
        count = Counter(image.split for image in mine)
        groups = {image.group for image in mine if image.split == "test"}
        rows.append((category, *(str(count[split]) for split in ("train", "val", "test")), str(len(groups))))
    return rows
