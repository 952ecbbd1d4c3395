"""``srbench data import|fetch|verify``: datasets onto the disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from srbench.cli.console import note, progress_bar

if TYPE_CHECKING:
    from srbench.datasets.interface import ImportReport


@click.group()
def data() -> None:
    """Get datasets onto the disk, and check them there."""


@data.command("import")
@click.argument("name")
@click.option(
    "--from",
    "folder",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder that holds the dataset's files.",
)
def import_command(name: str, folder: Path) -> None:
    """Take dataset NAME from a folder already on this machine."""
    from srbench.datasets import source

    with progress_bar() as progress:
        outcome = source(name).import_from(folder.resolve(), progress)
    _tell(name, outcome)


@data.command("fetch")
@click.argument("name")
def fetch_command(name: str) -> None:
    """Download dataset NAME; an interrupted download goes on where it stopped."""
    from srbench.datasets import source

    entry = source(name)
    note(f"{entry.card.title}. Licence: {entry.card.licence}. {entry.card.citation}")
    with progress_bar() as progress:
        outcome = entry.fetch(progress)
    _tell(name, outcome)


@data.command("verify")
@click.argument("name")
@click.pass_context
def verify_command(context: click.Context, name: str) -> None:
    """Check every byte of dataset NAME on disk. Exit code 1 when something is wrong."""
    from srbench.datasets import source

    with progress_bar() as progress:
        outcome = source(name).verify(progress)
    for file, problem in outcome.problems.items():
        click.echo(f"{file}: {problem}")
    click.echo(f"{outcome.checked} checked, {len(outcome.problems)} bad")
    context.exit(1 if outcome.problems else 0)


def _tell(name: str, outcome: ImportReport) -> None:
    for file, reason in outcome.skipped.items():
        click.echo(f"skipped {file}: {reason}")
    click.echo(
        f"{name}: {outcome.images} micrographs in {outcome.folder}, {len(outcome.skipped)} files skipped"
    )
    click.echo(f"Next: srbench train csm_sr --dataset {name} --scale 4")
