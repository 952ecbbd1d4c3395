"""The leaderboard as files: every number as CSV, and Markdown to paste into an issue or a README."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from typing import Any

from srbench.reporting.formats import MISSING, number, quantity, rank
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measures import Family, Measure
from srbench.reporting.rows import SECTIONS, Cell, Row
from srbench.reporting.trust import Judgement, Measurement, TrustTable

CELL_COLUMNS = tuple(entry.name for entry in fields(Cell))
RUN_COLUMNS = ("model", "title", "variant", "weights", "seed", "budget", "standing", "badges")
BLOCK_COLUMNS = ("dataset", "split", "degradation", "scale", "protocol", "data")
CSV_COLUMNS = (*BLOCK_COLUMNS, *RUN_COLUMNS, "metric", "direction", "unit", *CELL_COLUMNS)


def csv_table(board: Leaderboard) -> str:
    """One line a row and metric with all digits; costs have only ``mean``. Reads back to the same numbers.

    Several seeds of one training are one line, their seeds and weights joined by ``+``.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_records(board))
    return text.getvalue()


def markdown_table(board: Leaderboard, trust: TrustTable) -> str:
    """The verdicts, then a table of the metrics seen first and one for each family of the others."""
    key = board.block.key
    title = f"{key.dataset}, {key.split}, x{key.scale}, {key.degradation}"
    conditions = (
        f"Protocol {key.protocol}; data {key.data}; {board.n_images} images in {board.n_groups} groups. "
        "Mean [95 % interval], against bicubic better, worse, equivalent or undecided by the practical "
        "margin, Δ = difference to bicubic [95 % interval]."
    )
    reading = "**Bold** = best, supported by a paired test."
    parts = [f"# {escape(title)}", f"{escape(conditions)} {reading}"]
    parts += [_trust_table(board, trust)] if trust.measurements else []
    parts += [_family_table(board, family) for family in board.families]
    if board.cost_columns:
        parts.append(_cost_table(board))
    return "\n\n".join([*parts, *_footnotes(board)]) + "\n"


def _trust_table(board: Leaderboard, trust: TrustTable) -> str:
    heads = [
        f"{one.title} ±{one.tolerance.value:g} {one.tolerance.unit}".strip() for one in trust.measurements
    ]
    lines = _start("Can a measurement be trusted?", ["Model", *heads])

    def cells(row: Row) -> list[str]:
        return [judgement_text(trust.judgements[row.run].get(m.name), m) for m in trust.measurements]

    return "\n".join([*lines, *_body(board, len(heads), cells)])


def judgement_text(found: Judgement | None, measurement: Measurement) -> str:
    """Verdict and what super-resolution adds, with its interval."""
    if found is None:
        return MISSING
    one, decimals = found.verdict, measurement.decimals
    if not math.isfinite(one.change):
        return one.status
    interval = _interval(one.low, one.high, decimals, signed=True)
    return f"{one.status}, {number(one.change, decimals, signed=True)}{interval}"


def _footnotes(board: Leaderboard) -> list[str]:
    """What is behind the marks: failed guards, and metrics that a control fools."""
    fooled = [column.title for column in board.columns if column.id in board.fooled]
    told = "Not evidence of structure: a control that invents texture beats bicubic here"
    notes = [f"† {told} ({', '.join(fooled)})."]
    failed = [f"{row.label}: {badge}. {detail}" for row in board.rows for badge, detail in row.faults.items()]
    lines = [*(notes if fooled else []), *failed]
    return ["\n".join(f"- {escape(line)}" for line in lines)] if lines else []


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
        "weights": "+".join(manifest.key.weights for manifest in row.manifests),
        "seed": "+".join(str(manifest.key.seed) for manifest in row.manifests),
        "budget": row.manifest.weights.get("budget", ""),
        "standing": row.standing,
        "badges": "; ".join(row.badges),
    }


def _measure_fields(column: Measure) -> dict[str, str]:
    return {"metric": column.id, "direction": column.direction, "unit": column.unit}


def _family_table(board: Leaderboard, family: Family) -> str:
    heads = [
        f"{_with_unit(c)} {c.arrow}{' †' if c.id in board.fooled else ''}".strip() for c in family.measures
    ]
    lines = _start(family.title, ["Model", *heads])
    cells = [*_body(board, len(heads), lambda row: [_cell_text(board, row, c) for c in family.measures])]
    return "\n".join([*lines, *cells])


def _cost_table(board: Leaderboard) -> str:
    columns = board.cost_columns
    lines = _start("Cost", ["Model", *(_with_unit(column) for column in columns)])
    cells = _body(
        board,
        len(columns),
        lambda row: [quantity(row.costs.get(column.id), prefixed=not column.unit) for column in columns],
    )
    return "\n".join([*lines, *cells])


def _body(board: Leaderboard, width: int, cells: Callable[[Row], list[str]]) -> Iterator[str]:
    """The rows under the names of their sections."""
    for standing, title in SECTIONS.items():
        rows = board.section(standing)
        if rows:
            yield _line([f"*{escape(title)}*", *[""] * width])
        for row in rows:
            yield _line([escape(_name(row)), *cells(row)])


def _start(title: str, heads: list[str]) -> list[str]:
    rule = "|".join([":--", *["--:"] * (len(heads) - 1)])
    return [f"## {escape(title)}", "", _line([escape(head) for head in heads]), f"|{rule}|"]


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
    if column == board.lead and math.isfinite(cell.rank):
        text += f", rank {rank(cell.rank, cell.rank_low, cell.rank_high)}"
    if math.isfinite(cell.diff):
        decimals = board.diff_decimals[column.id]
        text += f", {cell.verdict}" if cell.verdict else ""
        text += f", Δ {number(cell.diff, decimals, signed=True)}"
        text += _interval(cell.diff_low, cell.diff_high, decimals, signed=True)
    return text


def _interval(low: float, high: float, decimals: int, *, signed: bool = False) -> str:
    if not math.isfinite(low):
        return ""
    return f" [{number(low, decimals, signed=signed)}, {number(high, decimals, signed=signed)}]"


def _with_unit(column: Measure) -> str:
    return f"{column.title} ({column.unit})" if column.unit else column.title


def escape(text: str) -> str:
    """Plain text as Markdown. Names come from outside: one line, no HTML, no cell borders, no emphasis."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|*`\[\]])", r"\\\1", plain)
