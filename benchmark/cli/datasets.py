"""``srbench datasets list|show``: what can be trained and evaluated on, and what to type next."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from srbench.cli.console import print_fields, print_json, print_table
from srbench.cli.progress import human_bytes

if TYPE_CHECKING:
    from srbench.datasets import DatasetCard, MicrographSet
    from srbench.datasets.interface import DatasetSource, DatasetState

_KINDS = ("real", "synthetic", "user", "photographs")


@click.group()
def datasets() -> None:
    """The micrographs of the benchmark."""


@datasets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_command(as_json: bool) -> None:
    """List the datasets: state on disk, size, licence, what to type next."""
    from srbench.datasets import list_datasets, source

    cards = sorted(list_datasets(), key=lambda card: (_KINDS.index(card.kind), card.name))
    entries = [(card, _state(source(card.name))) for card in cards]
    if as_json:
        print_json([{**asdict(card), **asdict(state)} for card, state in entries])
        return
    rows = [
        (
            card.name,
            card.kind,
            state.state,
            str(state.images or ""),
            _size(card, state),
            card.licence.partition(" (")[0],
            _step(card, state),
        )
        for card, state in entries
    ]
    columns = ("name", "kind", "state", "images", "size", "licence", "next")
    print_table(columns, rows, folding=("licence",))
    click.echo("Sizes in parentheses are to be downloaded. Next: srbench data <next> <name>, for instance")
    click.echo("srbench data fetch sem. All about one: srbench datasets show <name>")


@datasets.command("show")
@click.argument("name")
@click.option("--skipped", is_flag=True, help="Name every file that was not taken, with the reason.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show_command(name: str, skipped: bool, as_json: bool) -> None:
    """Show one dataset: card, state, and where it is on disk its images and groups by category and split."""
    from srbench.datasets import source

    entry = source(name)
    state = _state(entry)
    opened = _opened(name)
    counts = Counter((image.category, image.split) for image in opened.images) if opened else Counter()
    if as_json:
        splits = [
            {"category": category, "split": split, "images": n} for (category, split), n in counts.items()
        ]
        print_json({**asdict(entry.card), **asdict(state), "splits": splits})
        return
    card = entry.card
    fields = {
        "name": card.name,
        "title": card.title,
        "summary": card.summary,
        "licence": card.licence,
        "terms": card.terms,
        "cite": card.citation,
        "from": " ".join(card.urls),
        "state": state.state,
        "size": _size(card, state),
        "next": state.next_step,
        "fingerprint": opened.fingerprint if opened else "",
    }
    print_fields({field: text for field, text in fields.items() if text})
    if opened:
        click.echo()
        print_table(("category", "train", "val", "test", "groups in test"), _split_rows(opened.images))
        _tell_skipped(opened, skipped)


def _tell_skipped(opened: MicrographSet, every: bool) -> None:
    if every:
        for file, reason in opened.skipped.items():
            click.echo(f"skipped {file}: {reason}")
    elif opened.skipped:
        click.echo(f"{len(opened.skipped)} files were skipped; srbench datasets show {opened.name} --skipped")


def _state(entry: DatasetSource) -> DatasetState:
    """What is on disk; damage to one dataset must not hide the others."""
    from srbench.datasets.interface import DatasetError, DatasetState

    try:
        return entry.state()
    except DatasetError as error:
        return DatasetState("partial", next_step=str(error))


def _opened(name: str) -> MicrographSet | None:
    from srbench.datasets import DatasetMissing, open

    try:
        return open(name)
    except DatasetMissing:
        return None


def _size(card: DatasetCard, state: DatasetState) -> str:
    """Bytes on disk, or in parentheses what is to be downloaded."""
    if state.bytes:
        return human_bytes(state.bytes)
    return f"({human_bytes(card.download_bytes)})" if card.download_bytes else ""


def _step(card: DatasetCard, state: DatasetState) -> str:
    """The sub-command of ``srbench data`` to type next; empty where the dataset can be used."""
    if state.state in ("embedded", "ready"):
        return ""
    if state.state == "downloaded":
        return "prepare"
    ways = {"fetch": "fetch", "import": "import --from DIR", "path": ""}
    return next((ways[way] for way in ways if way in card.obtain), "")


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
