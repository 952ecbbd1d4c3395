"""How much a repeated training moves a mean: models that were trained with several seeds."""

from __future__ import annotations

from srbench.reporting.formats import is_number, number
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measures import Measure
from srbench.reporting.rows import Row


def spread_over_seeds(board: Leaderboard) -> list[str]:
    """One line a row of several seeds and directed metric that is seen first."""
    repeated = [row for row in board.rows if row.repeats]
    return [line for row in repeated for column in board.first_view if (line := _line(board, row, column))]


def _line(board: Leaderboard, row: Row, column: Measure) -> str:
    cell = row.cells.get(column.id)
    if column.direction == "none" or cell is None or not is_number(cell.seed_sd):
        return ""
    decimals = board.decimals[column.id] + 1
    unit = f" {column.unit}" if column.unit else ""
    return (
        f"{board.short_names[row.run]}, {column.title} {number(cell.mean, decimals)} ± "
        f"{number(cell.seed_sd, decimals)}{unit} ({cell.n_seeds} seeds)"
    )
