"""A block of the store on one screen: a table of what matters most, and what it says in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from srbench.reporting.answer import INVENTED, answers, invented_measure, invention
from srbench.reporting.blocks import collect
from srbench.reporting.leaderboard import Leaderboard, leaderboard
from srbench.reporting.measurements import TrustTable, trust
from srbench.reporting.rows import Row
from srbench.reporting.text import MISSING, Measure, number
from srbench.statistics.tolerance import TOLERANCES
from srbench.store import ScoreStore

_SCORES = ("psnr", "ssim")
_NUMBERS = ("mean", "low", "high", "n_images", "n_groups", "best")


@dataclass(frozen=True)
class Summary:
    """What a terminal shows of one block.

    Attributes:
        title: data set, split, scale and degradation.
        columns: heads of the table.
        rows: one a row of the leaderboard, in its order, a text a column; ``*`` behind a value marks the best
            as the leaderboard does.
        numbers: of the same rows what a program wants: label, ids of the runs, badges, ``scores`` (metric id
            to mean with its 95 % interval, and so on) and ``verdicts`` (measurement to verdict).
        notes: what the signs of the table mean.
        words: sentences on which measurements can be trusted on which results, and who invents detail.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    words: tuple[str, ...]


def summaries(store: ScoreStore, run_ids: Collection[str]) -> list[Summary]:
    """The blocks that hold one of these runs, in the order of the report."""
    names = {*_SCORES, *INVENTED, *TOLERANCES}
    boards = [leaderboard(block, names) for block in collect(store, run_ids)]
    return [_summary(board, trust(board)) for board in boards if board.rows]


def _summary(board: Leaderboard, table: TrustTable) -> Summary:
    by_name = {column.name: column for column in board.columns}
    invented = invented_measure(board)
    scores = [by_name[name] for name in _SCORES if name in by_name] + ([invented] if invented else [])
    rows, numbers = [], []
    for row in board.rows:
        signs, verdicts = [], {}
        for measurement in table.measurements:
            judgement = table.judgements[row.run].get(measurement.name)
            signs.append(f"{judgement.sign} {judgement.verdict.status}" if judgement else MISSING)
            verdicts[measurement.name] = judgement.verdict.status if judgement else None
        badges = f" [{'; '.join(row.badges)}]" if row.badges else ""
        rows.append((f"{row.label}{badges}", *(_cell(board, row, column) for column in scores), *signs))
        cells = {column.id: vars(row.cells[column.id]) for column in scores if column.id in row.cells}
        numbers.append(
            {
                "label": row.label,
                "runs": [manifest.key.run_id for manifest in row.manifests],
                "badges": row.badges,
                "scores": {metric: {name: cell[name] for name in _NUMBERS} for metric, cell in cells.items()},
                "verdicts": verdicts,
            }
        )
    best = any(cell.best for row in board.rows for cell in row.cells.values())
    return Summary(
        title=board.block.title,
        columns=(
            "model",
            *(f"{c.title}{f' {c.unit}' if c.unit else ''} {c.arrow}" for c in scores),
            *(f"{m.title} ±{m.tolerance.text}" for m in table.measurements),
        ),
        rows=tuple(rows),
        numbers=tuple(numbers),
        notes=(
            *(["* best, supported by a paired test against every other ranked row"] if best else []),
            *([f"{invented.title}: {invented.explanation}"] if invented else []),
        ),
        words=tuple(filter(None, (*(answer.text for answer in answers(board, table)), invention(board)))),
    )


def _cell(board: Leaderboard, row: Row, column: Measure) -> str:
    cell = row.cells.get(column.id)
    text = number(cell.mean if cell else None, board.decimals[column.id])
    return f"{text} *" if cell and cell.best else text
