"""The leaderboard as files: every number as CSV, and Markdown to paste into an issue or a README."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import asdict
from typing import Any

from srbench.reporting.formats import MISSING, number, quantity
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measures import Family, Measure
from srbench.reporting.rows import Row

CELL_COLUMNS = (
    "mean",
    "low",
    "high",
    "diff",
    "diff_low",
    "diff_high",
    "p_holm",
    "n_images",
    "n_groups",
    "best",
    "note",
    "reason",
)
RUN_COLUMNS = ("model", "title", "variant", "weights", "seed", "budget", "standing")
BLOCK_COLUMNS = ("dataset", "split", "degradation", "scale", "protocol", "data")
CSV_COLUMNS = (*BLOCK_COLUMNS, *RUN_COLUMNS, "metric", "direction", "unit", *CELL_COLUMNS)


def csv_table(board: Leaderboard) -> str:
    """One line a run and metric with all digits; costs have only ``mean``. Reads back to the same numbers."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_records(board))
    return text.getvalue()


def markdown_table(board: Leaderboard) -> str:
    """A table for each family of metrics: mean with its interval, and the difference to bicubic."""
    key = board.block.key
    title = f"{key.dataset}, {key.split}, x{key.scale}, {key.degradation}"
    conditions = (
        f"Protocol {key.protocol}; data {key.data}; {board.n_images} images in {board.n_groups} groups. "
        "Mean [95 % interval], Δ = difference to bicubic [95 % interval]."
    )
    reading = "**Bold** = best, supported by a paired test."
    parts = [f"# {_escape(title)}", f"{_escape(conditions)} {reading}"]
    parts += [_family_table(board, family) for family in board.families]
    if board.cost_columns:
        parts.append(_cost_table(board))
    return "\n\n".join(parts) + "\n"


def _records(board: Leaderboard) -> list[dict[str, Any]]:
    records = []
    for row in board.rows:
        common = {**asdict(board.block.key), **_run_fields(row)}
        for column in board.columns:
            if column.id in row.cells:
                records.append({**common, **_measure_fields(column), **asdict(row.cells[column.id])})
        for column in board.cost_columns:
            value = {"mean": row.costs.get(column.id), "reason": row.cost_reasons.get(column.id, "")}
            records.append({**common, **_measure_fields(column), **value})
    return records


def _run_fields(row: Row) -> dict[str, Any]:
    key = row.manifest.key
    return {
        "model": key.model,
        "title": row.title,
        "variant": key.variant,
        "weights": key.weights,
        "seed": key.seed,
        "budget": row.manifest.weights.get("budget", ""),
        "standing": row.standing,
    }


def _measure_fields(column: Measure) -> dict[str, str]:
    return {"metric": column.id, "direction": column.direction, "unit": column.unit}


def _family_table(board: Leaderboard, family: Family) -> str:
    heads = [f"{_with_unit(column)} {column.arrow}".strip() for column in family.measures]
    lines = _start(family.title, ["Model", *heads])
    for row in board.rows:
        cells = [_cell_text(board, row, column) for column in family.measures]
        lines.append(_line([_escape(_name(row)), *cells]))
    return "\n".join(lines)


def _cost_table(board: Leaderboard) -> str:
    lines = _start("Cost", ["Model", *(_with_unit(column) for column in board.cost_columns)])
    for row in board.rows:
        values = [
            quantity(row.costs.get(column.id), prefixed=not column.unit) for column in board.cost_columns
        ]
        lines.append(_line([_escape(_name(row)), *values]))
    return "\n".join(lines)


def _start(title: str, heads: list[str]) -> list[str]:
    rule = "|".join([":--", *["--:"] * (len(heads) - 1)])
    return [f"## {_escape(title)}", "", _line([_escape(head) for head in heads]), f"|{rule}|"]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _name(row: Row) -> str:
    return f"{row.label} [{'; '.join(row.badges)}]" if row.badges else row.label


def _cell_text(board: Leaderboard, row: Row, column: Measure) -> str:
    cell = row.cells.get(column.id)
    if cell is None or not math.isfinite(cell.mean):
        return MISSING
    mean = number(cell.mean, board.decimals[column.id])
    text = f"**{mean}**" if cell.best else mean
    text += _interval(cell.low, cell.high, board.decimals[column.id])
    if math.isfinite(cell.diff):
        decimals = board.diff_decimals[column.id]
        text += f", Δ {number(cell.diff, decimals, signed=True)}"
        text += _interval(cell.diff_low, cell.diff_high, decimals, signed=True)
    return text


def _interval(low: float, high: float, decimals: int, *, signed: bool = False) -> str:
    if not math.isfinite(low):
        return ""
    return f" [{number(low, decimals, signed=signed)}, {number(high, decimals, signed=signed)}]"


def _with_unit(column: Measure) -> str:
    return f"{column.title} ({column.unit})" if column.unit else column.title


def _escape(text: str) -> str:
    """Names come from outside: one line, no HTML, no cell borders, no emphasis."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|*`\[\]])", r"\\\1", plain)
