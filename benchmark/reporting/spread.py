"""How much a repeated training moves a mean: models that were trained with several seeds."""

from __future__ import annotations

from srbench.evaluation import statistics
from srbench.reporting.formats import is_number, number
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measures import Measure
from srbench.reporting.rows import Row


def spread_over_seeds(board: Leaderboard) -> list[str]:
    """One line a model and directed metric, for runs that differ in nothing but their seed."""
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in board.rows:
        if row.manifest.key.seed >= 0:
            alike.setdefault(_training(row), []).append(row)
    families = [rows for rows in alike.values() if len({row.manifest.key.seed for row in rows}) > 1]
    return [line for rows in families for column in board.columns if (line := _line(board, rows, column))]


def _training(row: Row) -> tuple[str, ...]:
    """What must be equal for runs to be repetitions of one training."""
    key, weights = row.manifest.key, row.manifest.weights
    budget, iterations, data = (str(weights.get(name, "")) for name in ("budget", "iterations", "data"))
    return key.model, key.variant, budget, iterations, data


def _line(board: Leaderboard, rows: list[Row], column: Measure) -> str:
    import pandas as pd

    table = pd.DataFrame(
        [
            {"model": r.run[0], "variant": r.run[1], "seed": r.run[3], "mean": r.cells[column.id].mean}
            for r in rows
            if column.id in r.cells
        ],
        columns=["model", "variant", "seed", "mean"],
    )
    if column.direction == "none" or table["seed"].nunique() < 2:
        return ""
    record = statistics.seeds(table).to_dict("records")[0]
    mean, deviation = float(record["mean"]), float(record["sd"])
    if not is_number(mean) or not is_number(deviation):
        return ""
    decimals = board.decimals[column.id] + 1
    unit = f" {column.unit}" if column.unit else ""
    return (
        f"{rows[0].title}, {column.title} {number(mean, decimals)} ± {number(deviation, decimals)}{unit} "
        f"({int(record['n_seeds'])} seeds)"
    )
