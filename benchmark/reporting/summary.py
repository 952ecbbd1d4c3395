"""A block of the store on one screen: a table of what matters most, and what it says in words."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from srbench.reporting.blocks import collect
from srbench.reporting.leaderboard import Leaderboard, leaderboard
from srbench.reporting.measurements import SIGNS, TrustTable, trust
from srbench.reporting.rows import BASELINE, RANKED, Row
from srbench.reporting.text import MISSING, Measure, number
from srbench.statistics.tolerance import TOLERANCES
from srbench.store import ScoreStore
from srbench.utils.text import listed

_SCORES = ("psnr", "ssim")
_INVENTED = ("hallucinated_hf", "edge_hallucinated")
"""Invented detail: against the truth, else, where a noisy reference cannot tell, the invented edges."""


@dataclass(frozen=True)
class Summary:
    """What a terminal shows of one block.

    Attributes:
        title: data set, split, scale and degradation.
        columns: heads of the table.
        rows: one a row of the leaderboard, in its order, a text a column; ``*`` behind a value marks the best
            as the leaderboard does.
        notes: what the signs of the table mean.
        words: sentences on which measurements can be trusted on which results, and who invents detail.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    words: str


def summaries(store: ScoreStore, run_ids: Collection[str]) -> list[Summary]:
    """The blocks that hold one of these runs, in the order of the report."""
    names = {*_SCORES, *_INVENTED, *TOLERANCES}
    boards = [leaderboard(block, names) for block in collect(store, run_ids)]
    return [_summary(board, trust(board)) for board in boards if board.rows]


def _summary(board: Leaderboard, table: TrustTable) -> Summary:
    by_name = {column.name: column for column in board.columns}
    invented = next((by_name[name] for name in _INVENTED if name in by_name), None)
    scores = [by_name[name] for name in _SCORES if name in by_name] + ([invented] if invented else [])
    rows = []
    for row in board.rows:
        signs = []
        for measurement in table.measurements:
            judgement = table.judgements[row.run].get(measurement.name)
            signs.append(f"{judgement.sign} {judgement.verdict.status}" if judgement else MISSING)
        badges = f" [{'; '.join(row.badges)}]" if row.badges else ""
        rows.append((f"{row.label}{badges}", *(_cell(board, row, column) for column in scores), *signs))
    best = any(cell.best for row in board.rows for cell in row.cells.values())
    return Summary(
        title=board.block.title,
        columns=(
            "model",
            *(f"{c.title}{f' {c.unit}' if c.unit else ''} {c.arrow}" for c in scores),
            *(f"{m.title} ±{m.tolerance.text}" for m in table.measurements),
        ),
        rows=tuple(rows),
        notes=(
            *(["* best, supported by a paired test against every other ranked row"] if best else []),
            *([f"{invented.title}: {invented.explanation}"] if invented else []),
        ),
        words=" ".join([*_trusted(board, table), *_inventing(board, invented)]),
    )


def _cell(board: Leaderboard, row: Row, column: Measure) -> str:
    cell = row.cells.get(column.id)
    text = number(cell.mean if cell else None, board.decimals[column.id])
    return f"{text} *" if cell and cell.best else text


def _trusted(board: Leaderboard, table: TrustTable) -> list[str]:
    """On which ranked results each measurement can be trusted and on which not; equal answers together."""
    ranked = [row for row in board.rows if row.kind in RANKED]
    measured: dict[str, list[str]] = {}
    for measurement in table.measurements:
        of_status: dict[str, list[str]] = {}
        for row in ranked:
            if judgement := table.judgements[row.run].get(measurement.name):
                of_status.setdefault(judgement.verdict.status, []).append(board.short_names[row.run])
        judged = sum(map(len, of_status.values()))
        parts = [
            f"{status} on {f'all {judged} results' if len(names) == judged > 1 else listed(names)}"
            for status in SIGNS
            if (names := of_status.get(status))
        ]
        if parts:
            # "The particle diameter" in the middle of a sentence.
            name = measurement.tolerance.name
            measured.setdefault("; ".join(parts), []).append(f"{name[:1].lower()}{name[1:]}")
    sentences = [
        f"{listed(names)} {'is' if len(names) == 1 else 'are'} {answer}."
        for answer, names in measured.items()
    ]
    return [f"{sentence[:1].upper()}{sentence[1:]}" for sentence in sentences]


def _inventing(board: Leaderboard, invented: Measure | None) -> list[str]:
    """Who invents most among the ranked rows, beside the baseline."""
    if invented is None:
        return []
    cells = [
        (row, cell)
        for row in board.rows
        if row.kind in RANKED and (cell := row.cells.get(invented.id)) and cell.n_images
    ]
    base = next((cell for row, cell in cells if row.run.model == BASELINE), None)
    if base is None or len(cells) < 2:
        return []
    row, most = max(cells, key=lambda pair: pair[1].mean)
    decimals = board.decimals[invented.id]
    values = f"{number(most.mean, decimals)} against {number(base.mean, decimals)} of {BASELINE}"
    if row.run.model == BASELINE:
        return [f"No result has a larger share of invented detail than {BASELINE} ({invented.title})."]
    return [f"Most detail is invented by {board.short_names[row.run]}: {invented.title} {values}."]
