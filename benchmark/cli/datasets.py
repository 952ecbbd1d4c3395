"""``srbench datasets|data``: what there is, and how it gets onto the disk."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from srbench.cli.console import note, print_fields, print_json, print_table, say, warn
from srbench.cli.options import json_option, reading_options
from srbench.utils.progress import count_of, human_bytes, progress_reporter

if TYPE_CHECKING:
    from srbench.datasets import DatasetCard, Micrograph, ReadingOptions
    from srbench.datasets.base import DatasetSource, DatasetState, ImportReport

_KINDS = ("real", "synthetic", "user", "photographs")
_SHOWN = 10
_SCALE = 4
"""Magnification of the commands that are suggested, unless LR was recorded at another."""
_WORKERS = click.option(
    "--workers", type=click.IntRange(min=1), help="Processes that prepare.  [default: one a core]"
)
_PREPARE = click.option(
    "--prepare/--no-prepare",
    default=True,
    help="Make it ready for training at once, where it needs that.  [default: prepare]",
)


@click.group()
def datasets() -> None:
    """The micrographs of the benchmark."""


@datasets.command("list")
@json_option
def list_datasets_command(as_json: bool) -> None:
    """List the datasets: state on disk, size, licence, what to type next."""
    from srbench.datasets import list_datasets, source

    cards = sorted(list_datasets(), key=lambda card: (_KINDS.index(card.kind), card.name))
    entries = [(card, _state(source(card.name))) for card in cards]
    if as_json:
        print_json([{**asdict(card), **asdict(state)} for card, state in entries])
        return
    rows = []
    for card, state in entries:
        count, licence = str(state.images or ""), card.licence.partition(" (")[0]
        facts = (card.name, card.kind, state.state, count, _size(card, state), licence)
        rows.append((*facts, _step(card, state)))
    columns = ("name", "kind", "state", "images", "size", "licence", "next")
    print_table(columns, rows, folding=("licence",), droppable=("kind", "licence"))
    say("Sizes in parentheses are to be downloaded. Next: srbench data <next> <name>, for instance")
    say("srbench data fetch sem. All about one: srbench datasets show <name>")


@datasets.command("show")
@click.argument("name")
@click.option("--skipped", is_flag=True, help="Name every file that was not taken, with the reason.")
@reading_options
@json_option
def show_dataset_command(name: str, skipped: bool, as_json: bool, reading: ReadingOptions) -> None:
    """Show one dataset: card, state, and where it is on disk its images and groups by category and split.

    NAME is a dataset's name, or a folder of images.
    """
    from srbench.datasets import DatasetMissing, open, source

    entry = source(name).read_with(reading)
    card = entry.card
    try:
        with progress_reporter() as progress:
            opened = open(name, reading, progress)
    except DatasetMissing:
        opened = None
    state = _state(entry)
    remarks = opened.remarks() if opened else []
    if as_json:
        counts = Counter((image.category, image.split) for image in opened.images) if opened else Counter()
        splits = [
            {"category": category, "split": split, "images": n} for (category, split), n in counts.items()
        ]
        content = {**asdict(card), "name": entry.full_name, **asdict(state), "splits": splits}
        print_json({**content, "remarks": remarks, "skipped": dict(opened.skipped) if opened else {}})
        return
    fields = {
        "name": entry.full_name,
        **{name: getattr(card, name) for name in ("title", "summary", "licence", "terms")},
        "cite": card.citation,
        "from": " ".join(card.urls),
        "state": state.state,
        "images": str(state.images or ""),
        "size": _size(card, state),
        "next": state.next_step,
        "fingerprint": opened.fingerprint if opened else "",
    }
    print_fields({field: text for field, text in fields.items() if text})
    if opened:
        say()
        print_table(("category", "train", "val", "test", "groups in test"), _split_rows(opened.images))
        for remark in remarks:
            note(f"Note: {remark}")
        if skipped:
            for file, reason in opened.skipped.items():
                say(f"skipped {file}: {reason}")
        elif opened.skipped:
            note(f"Every skipped file: srbench datasets show {shlex.quote(name)} --skipped")


def _state(entry: DatasetSource) -> DatasetState:
    """What is on disk; damage to one dataset must not hide the others."""
    from srbench.datasets.base import DatasetState
    from srbench.utils.errors import SrbenchError

    try:
        return entry.state()
    except SrbenchError as error:
        return DatasetState("partial", next_step=str(error))


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


def _split_rows(images: tuple[Micrograph, ...]) -> list[tuple[str, ...]]:
    rows = []
    for category in sorted({image.category for image in images}):
        members = [image for image in images if image.category == category]
        count = Counter(image.split for image in members)
        groups = {image.group for image in members if image.split == "test"}
        rows.append((category, *(str(count[split]) for split in ("train", "val", "test")), str(len(groups))))
    return rows


@click.group()
def data() -> None:
    """Get datasets onto the disk, and check them there."""


@data.command("import")
@click.argument("name")
@click.option(
    "--from",
    "folder",
    required=True,
    type=click.Path(path_type=Path, exists=True, resolve_path=True),
    help="Folder (or archive, where the dataset takes one) that holds the dataset's files.",
)
@_PREPARE
@_WORKERS
def import_command(name: str, folder: Path, prepare: bool, workers: int | None) -> None:
    """Take dataset NAME from a folder already on this machine."""
    entry = _source(name, prepare)
    again = f"srbench data import {name} --from {folder}{_flag(prepare)}"
    with _says_how_to_go_on(entry, again), progress_reporter() as progress:
        outcome = entry.import_from(folder, progress)
    _prepare_after(entry, outcome, prepare, workers)


@data.command("fetch")
@click.argument("name")
@click.option("--record", metavar="ID", help="Fetch this record of the repository instead of the known one.")
@_PREPARE
@_WORKERS
def fetch_command(name: str, record: str | None, prepare: bool, workers: int | None) -> None:
    """Download dataset NAME and prepare it; goes on where it stopped."""
    entry = _source(name, prepare)
    if record:
        entry = entry.from_record(record)
    # What the user accepts by downloading comes before anything is asked for.
    card = entry.card
    size = f" Download: {human_bytes(card.download_bytes)}." if card.download_bytes else ""
    warn(f"{card.title}. Licence: {card.licence}.{size}")
    for line in (card.terms, f"Cite: {card.citation}" if card.citation else ""):
        if line:
            warn(line)
    again = f"srbench data fetch {name}{f' --record {record}' if record else ''}{_flag(prepare)}"
    with _says_how_to_go_on(entry, again), progress_reporter() as progress:
        outcome = entry.fetch(progress)
    _prepare_after(entry, outcome, prepare, workers)


@data.command("prepare")
@click.argument("name")
@_WORKERS
def prepare_command(name: str, workers: int | None) -> None:
    """Make dataset NAME, downloaded or imported, ready for training; goes on where it stopped."""
    _print_outcome(name, _prepare(_source(name, True), workers))


@data.command("verify")
@click.argument("name")
@json_option
@click.pass_context
def verify_command(context: click.Context, name: str, as_json: bool) -> None:
    """Check every byte of dataset NAME on disk. Exit code 1 when something is wrong."""
    with progress_reporter() as progress:
        outcome = _source(name, True).verify(progress)
    if as_json:
        print_json(asdict(outcome))
    else:
        for file, problem in outcome.problems.items():
            say(f"{file}: {problem}")
        say(f"{outcome.checked} checked, {len(outcome.problems)} bad")
    context.exit(1 if outcome.problems else 0)


def _source(name: str, prepare: bool) -> DatasetSource:
    from srbench.datasets import source

    entry = source(name)
    entry.then_prepare = prepare
    return entry


def _flag(prepare: bool) -> str:
    return "" if prepare else " --no-prepare"


def _prepare_after(entry: DatasetSource, outcome: ImportReport, prepare: bool, workers: int | None) -> None:
    """Prepare what was just brought onto the disk, where it needs that and the user wants it."""
    state = entry.state()
    if state.state != "downloaded":
        _print_outcome(entry.card.name, outcome)
    elif prepare:
        _print_outcome(entry.card.name, _prepare(entry, workers))
    else:
        say(f"{entry.card.name}: {human_bytes(state.bytes)} in {outcome.folder}, not prepared yet")
        say(f"Next: srbench data prepare {entry.card.name}")


def _prepare(entry: DatasetSource, workers: int | None) -> ImportReport:
    with (
        _says_how_to_go_on(entry, f"srbench data prepare {entry.card.name}"),
        progress_reporter() as progress,
    ):
        return entry.prepare(progress, workers)


@contextmanager
def _says_how_to_go_on(entry: DatasetSource, again: str) -> Iterator[None]:
    """When the user interrupts: say what stays on disk, and what goes on from there."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        state = entry.state()
        stays = f" What was done is kept ({human_bytes(state.bytes)} on disk)." if state.bytes else ""
        raise KeyboardInterrupt(f"Interrupted.{stays} To go on, type: {again}") from interrupt


def _print_outcome(name: str, outcome: ImportReport) -> None:
    from srbench.datasets import open

    for file, reason in list(outcome.skipped.items())[:_SHOWN]:
        say(f"skipped {file}: {reason}")
    if (more := len(outcome.skipped) - _SHOWN) > 0:
        say(f"skipped {more} more; all of them: srbench datasets show {name} --skipped")
    taken, skipped = count_of(outcome.images, "micrograph"), count_of(len(outcome.skipped), "file")
    say(f"{name}: {taken} in {outcome.folder}, {skipped} skipped")
    opened = open(name)
    scale = opened.recorded_scale or _SCALE
    # Not every network magnifies by 1, and some datasets have nothing to train on.
    model = "csm_sr" if scale > 1 else "vdsr"
    verb = f"train {model}" if opened.split("train") else "eval --all"
    say(f"Next: srbench {verb} --dataset {name} --scale {scale}")
