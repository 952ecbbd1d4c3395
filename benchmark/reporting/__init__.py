"""The report: a pure function of the score store.

``report()`` reads every run of a results folder and writes one self-contained HTML page and the tables as
LaTeX, Markdown and CSV. The same store gives the same bytes: dates come from the runs, never from the clock.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srbench.utils.errors import SrbenchError
from srbench.utils.progress import ProgressCallback, silent

if TYPE_CHECKING:
    from srbench.reporting.leaderboard import Leaderboard
    from srbench.reporting.page import Section
    from srbench.reporting.selection import Selection
    from srbench.statistics.lengths import Quantity
    from srbench.store import ScoreStore

__all__ = ["PaperTables", "ReportResult", "paper_tables", "report"]


@dataclass(frozen=True)
class ReportResult:
    """What was written.

    Attributes:
        page: the HTML page.
        tables: LaTeX, Markdown and CSV files.
        warnings: runs that could not be read and what limits the numbers, as printed in the page.
        failed: checks that failed: the run, the check and what it saw.
        words: a line a block with what it holds, then the answer in sentences.
    """

    page: Path
    tables: tuple[Path, ...]
    warnings: tuple[str, ...]
    failed: tuple[str, ...]
    words: tuple[str, ...]


def report(
    results: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    tolerances: Mapping[str, str | float] | None = None,
    progress: ProgressCallback = silent,
    *,
    datasets: Sequence[str] = (),
    models: Sequence[str] = (),
    metrics: Sequence[str] = (),
) -> ReportResult:
    """Write the report of a results folder.

    Args:
        results: folder of a score store; ``srbench.utils.paths.results_folder()`` when None.
        out: folder for ``report.html`` and ``tables/``; ``report`` inside ``results`` when None.
        tolerances: measurement (``diameter``, ``cd``, ``ler``, ``lwr``, ``pore_fraction``, or a metric) to
            how much super-resolution may change it, instead of the default: ``"2nm"``, ``"0.5px"``, ``0.01``.
        progress: told of the runs read, the metrics and the pictures that are done.
        datasets: only these, as they were scored; all when empty.
        models: only rows of these, ``model`` or ``model:variant``; numbers stay those of the whole table.
        metrics: only these, by name.

    Raises:
        SrbenchError: there are no runs in ``results``, ``out`` cannot be written, a tolerance cannot be read,
            one in nm can be used nowhere because pixel sizes are unknown, or nothing stored has a name that
            was chosen.
    """
    from srbench.reporting.gap import csv_gaps, gap_tables
    from srbench.reporting.page import render, section
    from srbench.reporting.selection import Selection
    from srbench.statistics.tolerance import chosen_tolerances
    from srbench.store import results_digest
    from srbench.utils.files import write_text

    selection = Selection(datasets, models, metrics)
    chosen = chosen_tolerances(tolerances)
    store, boards = _boards(results, selection, progress)
    target = Path(out) if out is not None else store.root / "report"
    sections = [section(store, board, chosen, progress, selection) for board in boards]
    unused = _unused(chosen, sections)
    tables = tuple(path for part in sections for path in _write_tables(target / "tables", part))
    if gaps := csv_gaps(gap_tables(boards)):
        tables = (*tables, target / "tables" / "real_minus_synthetic.csv")
        write_text(tables[-1], gaps)
    page = target / "report.html"
    write_text(page, render(sections, store.problems, results_digest(store.root)))
    warnings = [f"{part.title}: {warning}" for part in sections for warning in part.warnings]
    return ReportResult(
        page,
        tables,
        (*store.problems, *warnings, *unused),
        tuple(line for part in sections for line in _failed_checks(part.board)),
        tuple(line for part in sections for line in _words(part)),
    )


@dataclass(frozen=True)
class PaperTables:
    """What was written for a paper.

    Attributes:
        tables: a LaTeX file a block.
        bibliography: the BibTeX file.
        failed: checks that failed: the run, the check and what it saw.
    """

    tables: tuple[Path, ...]
    bibliography: Path
    failed: tuple[str, ...]


def paper_tables(
    results: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: ProgressCallback = silent,
    *,
    datasets: Sequence[str] = (),
    models: Sequence[str] = (),
    metrics: Sequence[str] = (),
    intervals: bool = False,
) -> PaperTables:
    r"""Write a LaTeX float a block that fits ``\\textwidth``, and the entries that it cites.

    Args:
        results: folder of a score store; ``srbench.utils.paths.results_folder()`` when None.
        out: folder for ``tables/``; ``report`` inside ``results`` when None.
        progress: told of the runs read and the metrics that are done.
        datasets: only these, as they were scored; all when empty.
        models: only rows of these, ``model`` or ``model:variant``; numbers stay those of the whole table.
        metrics: the columns; those that the page shows first when empty.
        intervals: print the 95 % interval below each mean.

    Raises:
        SrbenchError: there are no runs, ``out`` cannot be written, or a name is of nothing stored.
    """
    from srbench.reporting.paper import bibliography, paper_table
    from srbench.reporting.selection import Selection
    from srbench.store import results_digest
    from srbench.utils.files import write_text

    store, boards = _boards(results, Selection(datasets, models, metrics), progress)
    folder = (Path(out) if out is not None else store.root / "report") / "tables"
    shown = [board for board in boards if board.rows and board.columns]
    digest = f"% Digest of the results: {results_digest(store.root)}\n"
    texts = {
        folder / f"paper_{board.block.slug}.tex": digest
        + paper_table(board, board.columns if metrics else board.first_view, intervals=intervals)
        for board in shown
    }
    entries = folder / "paper.bib"
    for path, text in texts.items():
        write_text(path, text)
    write_text(entries, bibliography(row.manifest for board in shown for row in board.rows))
    return PaperTables(
        tuple(texts), entries, tuple(line for board in shown for line in _failed_checks(board))
    )


def _boards(
    results: str | os.PathLike[str] | None, selection: Selection, progress: ProgressCallback
) -> tuple[ScoreStore, list[Leaderboard]]:
    """The store and its leaderboards, as far as they are chosen."""
    from srbench.reporting.blocks import collect
    from srbench.reporting.leaderboard import leaderboard
    from srbench.store import ScoreStore
    from srbench.utils.paths import results_folder

    folder = Path(results) if results is not None else results_folder()
    store = ScoreStore(folder)
    blocks = collect(store, progress=progress)
    if not blocks:
        raise SrbenchError(
            f"No runs in {folder}: there is nothing to report. Evaluate something first, for example "
            "`srbench eval bicubic --dataset sem_synthetic --scale 4`, or name the folder of the runs."
            + "".join(f"\n{problem}" for problem in store.problems)
        )
    return store, [
        selection.of_board(leaderboard(block, selection.metric_names, progress))
        for block in selection.of_blocks(blocks)
    ]


def _failed_checks(board: Leaderboard) -> list[str]:
    """Of the runs that are shown and of those that were stopped; what a table lacks is a warning."""
    from srbench.checks.base import failures, stored_results, title_of_check

    lines = [
        f"{row.label}: {title_of_check(finding.guard)}. {finding.detail}"
        for row in board.rows
        for manifest in row.manifests
        for finding in failures(board.findings[manifest.key.run])
        if finding.guard != "baselines"
    ]
    lines += [
        f"{manifest.key.model}: {title_of_check(finding.guard)}. {finding.detail}"
        for manifest in board.block.absent
        for finding in failures(stored_results(manifest))
    ]
    return list(dict.fromkeys(lines))


def _words(part: Section) -> list[str]:
    """What the page says first."""
    from srbench.reporting.answer import things

    board = part.board
    rows = f"{len(board.rows)} row{'' if len(board.rows) == 1 else 's'}"
    scored = f"{rows}, {things(board, board.n_images)} in {board.n_groups} groups"
    missing = sum(len(gap.missing) for gap in part.gaps)
    absent = f", {missing} entries under what is missing" if missing else ""
    sentences = [answer.text for answer in part.answers]
    return [f"{part.title}: {scored}{absent}", *sentences, *([part.invention] if part.invention else [])]


def _unused(chosen: Mapping[str, Quantity], sections: Sequence[Section]) -> list[str]:
    """A line for each tolerance that has nothing to judge.

    Raises:
        SrbenchError: one was refused wherever there is something to judge.
    """
    lines = []
    for name, tolerance in chosen.items():
        judged = [part.trust for part in sections if name in {m.name for m in part.trust.measurements}]
        if not judged:
            lines.append(
                f"The tolerance of {tolerance} for {name} judges nothing: no image has a value of it."
            )
        elif all(name in table.refused for table in judged):
            raise SrbenchError(judged[0].refused[name])
    return lines


def _write_tables(folder: Path, part: Section) -> list[Path]:
    from srbench.reporting.curves import csv_curves
    from srbench.reporting.measurements import csv_trust
    from srbench.reporting.tables import csv_table, latex_costs, latex_table, latex_trust, markdown_table
    from srbench.reporting.text import slug
    from srbench.utils.files import write_text

    board = part.board
    if not board.rows:
        return []
    name = board.block.slug
    texts = {
        f"{name}.csv": csv_table(board),
        f"{name}.md": markdown_table(board, part.trust),
        f"{name}_trust.csv": csv_trust(board, part.trust),
        f"{name}_curves.csv": csv_curves(board, part.curve_sets),
        f"{name}_trust.tex": latex_trust(board, part.trust),
        **{f"{name}_{slug(family.name)}.tex": latex_table(board, family) for family in board.families},
        f"{name}_costs.tex": latex_costs(board),
    }
    written = {file: text for file, text in texts.items() if text}
    for file, text in written.items():
        write_text(folder / file, text)
    return [folder / file for file in written]
