"""``srbench data import|fetch|prepare|verify``: datasets onto the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from srbench.cli.console import note
from srbench.cli.progress import human_bytes, progress_reporter

if TYPE_CHECKING:
    from srbench.datasets.interface import DatasetSource, ImportReport

_SHOWN = 10
_WORKERS = click.option(
    "--workers", type=click.IntRange(min=1), help="Processes that prepare.  [default: one a core]"
)
_PREPARE = click.option(
    "--prepare/--no-prepare",
    default=True,
    help="Make it ready for training at once, where it needs that.  [default: prepare]",
)


@click.group()
def data() -> None:
    """Get datasets onto the disk, and check them there."""


@data.command("import")
@click.argument("name")
@click.option(
    "--from",
    "folder",
    required=True,
    type=click.Path(path_type=Path, exists=True),
    help="Folder (or archive, where the dataset takes one) that holds the dataset's files.",
)
@_PREPARE
@_WORKERS
def import_command(name: str, folder: Path, prepare: bool, workers: int | None) -> None:
    """Take dataset NAME from a folder already on this machine."""
    entry = _source(name, prepare)
    again = f"srbench data import {name} --from {folder}{_flag(prepare)}"
    with _keeping(entry, again), progress_reporter() as progress:
        outcome = entry.import_from(folder.resolve(), progress)
    _go_on(entry, outcome, prepare, workers)


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
    _introduce(entry)
    again = f"srbench data fetch {name}{f' --record {record}' if record else ''}{_flag(prepare)}"
    with _keeping(entry, again), progress_reporter() as progress:
        outcome = entry.fetch(progress)
    _go_on(entry, outcome, prepare, workers)


@data.command("prepare")
@click.argument("name")
@_WORKERS
def prepare_command(name: str, workers: int | None) -> None:
    """Make dataset NAME, downloaded or imported, ready for training; goes on where it stopped."""
    _tell(name, _prepare(_source(name, True), workers))


@data.command("verify")
@click.argument("name")
@click.pass_context
def verify_command(context: click.Context, name: str) -> None:
    """Check every byte of dataset NAME on disk. Exit code 1 when something is wrong."""
    with progress_reporter() as progress:
        outcome = _source(name, True).verify(progress)
    for file, problem in outcome.problems.items():
        click.echo(f"{file}: {problem}")
    click.echo(f"{outcome.checked} checked, {len(outcome.problems)} bad")
    context.exit(1 if outcome.problems else 0)


def _source(name: str, prepare: bool) -> DatasetSource:
    from srbench.datasets import source

    entry = source(name)
    entry.then_prepare = prepare
    return entry


def _flag(prepare: bool) -> str:
    return "" if prepare else " --no-prepare"


def _introduce(entry: DatasetSource) -> None:
    """What the user accepts by downloading, before anything is asked for."""
    card = entry.card
    size = f" Download: {human_bytes(card.download_bytes)}." if card.download_bytes else ""
    note(f"{card.title}. Licence: {card.licence}.{size}")
    for line in (card.terms, f"Cite: {card.citation}" if card.citation else ""):
        if line:
            note(line)


def _go_on(entry: DatasetSource, outcome: ImportReport, prepare: bool, workers: int | None) -> None:
    """Prepare what was just brought onto the disk, where it needs that and the user wants it."""
    state = entry.state()
    if state.state != "downloaded":
        _tell(entry.card.name, outcome)
    elif prepare:
        _tell(entry.card.name, _prepare(entry, workers))
    else:
        click.echo(f"{entry.card.name}: {human_bytes(state.bytes)} in {outcome.folder}, not prepared yet")
        click.echo(f"Next: srbench data prepare {entry.card.name}")


def _prepare(entry: DatasetSource, workers: int | None) -> ImportReport:
    with _keeping(entry, f"srbench data prepare {entry.card.name}"), progress_reporter() as progress:
        return entry.prepare(progress, workers)


@contextmanager
def _keeping(entry: DatasetSource, again: str) -> Iterator[None]:
    """Leave a sentence behind when the user interrupts: what is kept, and what goes on from there."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        state = entry.state()
        kept = f" What was done is kept ({human_bytes(state.bytes)} on disk)." if state.bytes else ""
        raise KeyboardInterrupt(f"Interrupted.{kept} To go on, type: {again}") from interrupt


def _tell(name: str, outcome: ImportReport) -> None:
    shown = list(outcome.skipped.items())[:_SHOWN]
    for file, reason in shown:
        click.echo(f"skipped {file}: {reason}")
    if len(outcome.skipped) > len(shown):
        more = len(outcome.skipped) - len(shown)
        click.echo(f"skipped {more} more; all of them: srbench datasets show {name} --skipped")
    click.echo(
        f"{name}: {outcome.images} micrographs in {outcome.folder}, {len(outcome.skipped)} files skipped"
    )
    click.echo(f"Next: {_next(name)}")


def _next(name: str) -> str:
    """What to type with data that are ready: train, or evaluate where there is nothing to train on."""
    from srbench.datasets import open

    trainable = bool(open(name).split("train"))
    return f"srbench {'train csm_sr' if trainable else 'eval --all'} --dataset {name} --scale 4"
