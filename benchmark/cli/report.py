"""``srbench report``: the leaderboard page and the tables."""

from __future__ import annotations

from pathlib import Path

import click

from srbench.cli.console import note, say
from srbench.cli.options import results_option, tolerances_option
from srbench.utils.progress import progress_reporter


@click.command()
@results_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for report.html and tables/ [default: report/ in the results folder].",
)
@tolerances_option
def report(results: Path | None, out: Path | None, tolerances: dict[str, str]) -> None:
    """Write report.html (one file, opens anywhere) and LaTeX, Markdown and CSV tables from the scores."""
    from srbench.reporting import report as write_report

    with progress_reporter() as progress:
        outcome = write_report(results, out.resolve() if out else None, tolerances, progress)
    for warning in outcome.warnings:
        note(warning)
    say(f"Report: {outcome.page}")
    for table in outcome.tables:
        say(f"Table:  {table}")
