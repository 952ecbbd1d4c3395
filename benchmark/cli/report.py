"""``srbench report``: the leaderboard page and the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click

from srbench.cli.console import print_json, say, warn
from srbench.cli.options import json_option, results_option, tolerances_option, writable
from srbench.utils.progress import progress_reporter


def _names(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Names, each option holding one or several with commas between them."""
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


@click.command()
@results_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    callback=writable,
    help="Folder for report.html and tables/ [default: report/ in the results folder].",
)
@tolerances_option
@click.option(
    "--dataset", "datasets", multiple=True, help="Only this data set, as it was scored. Repeatable."
)
@click.option(
    "--model",
    "--models",
    "models",
    multiple=True,
    callback=_names,
    metavar="NAME[,NAME...]",
    help="Only rows of these models, as edsr or edsr:tiny; numbers stay those of all. Repeatable.",
)
@click.option(
    "--metric",
    "--metrics",
    "metrics",
    multiple=True,
    callback=_names,
    metavar="NAME[,NAME...]",
    help="Only these metrics. Repeatable.",
)
@click.option(
    "--table",
    type=click.Choice(["paper"]),
    help="Instead of the page a LaTeX table for a paper, which fits \\textwidth, and a .bib of its models.",
)
@click.option("--intervals", is_flag=True, help="With --table: the 95 % interval below each mean.")
@json_option
@click.pass_context
def report(
    context: click.Context,
    results: Path | None,
    out: Path | None,
    tolerances: dict[str, str],
    datasets: tuple[str, ...],
    models: tuple[str, ...],
    metrics: tuple[str, ...],
    table: str | None,
    intervals: bool,
    as_json: bool,
) -> None:
    """Write report.html (one file, opens anywhere) and LaTeX, Markdown and CSV tables from the scores.

    The exit code is 1 where a check of a run that is shown has failed.
    """
    from srbench.reporting import paper_tables
    from srbench.reporting import report as write_report

    folder = out.resolve() if out else None
    chosen = {"datasets": datasets, "models": models, "metrics": metrics}
    if table is None and intervals:
        raise click.UsageError("--intervals goes with --table paper; the page has them always.")
    if table is not None and tolerances:
        raise click.UsageError("--tolerance judges measurements on the page; --table paper has no verdicts.")
    if table is not None:
        with progress_reporter() as progress:
            written = paper_tables(results, folder, progress, intervals=intervals, **chosen)
        if as_json:
            print_json(asdict(written))
        else:
            for path in (*written.tables, written.bibliography):
                say(f"Written: {path}")
        _end(context, written.failed)
    with progress_reporter() as progress:
        outcome = write_report(results, folder, tolerances, progress, **chosen)
    for warning in outcome.warnings:
        warn(warning)
    if as_json:
        print_json(asdict(outcome))
        _end(context, outcome.failed)
    for line in outcome.words:
        say(line)
    say(f"Report: {outcome.page} ({outcome.page.stat().st_size / 1e6:.1f} MB)")
    if outcome.tables:
        say(f"Tables: {len(outcome.tables)} files in {outcome.tables[0].parent}")
    _end(context, outcome.failed)


def _end(context: click.Context, failed: Sequence[str]) -> NoReturn:
    """Leave, with an exit code that tells a script of failed checks."""
    for line in failed:
        warn(f"Failed check: {line}")
    context.exit(1 if failed else 0)
