r"""The leaderboard as LaTeX: one booktabs ``tabular`` for each family of metrics, to ``\input`` into a paper.

Needs ``\usepackage{booktabs}``. Comments above the table state the conditions, so that they are not lost
when the file is copied. All text from outside is escaped.
"""

from __future__ import annotations

import math
import re

from srbench.reporting.formats import is_number, quantity
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measures import Family
from srbench.reporting.rows import SECTIONS, Cell, Row

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "[": "{[}",
    "]": "{]}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "×": r"\ensuremath{\times}",
    "Δ": r"\ensuremath{\Delta}",
    "γ": r"\ensuremath{\gamma}",
    "σ": r"\ensuremath{\sigma}",
    "φ": r"\ensuremath{\varphi}",
    "µ": r"\ensuremath{\mu}",
    "²": r"\ensuremath{^2}",
    "–": "--",
}
_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "none": ""}


def escape(text: str) -> str:
    """Plain text as LaTeX on one line; a character that would need a special font is left as it is."""
    line = " ".join(text.split())
    return "".join(_ESCAPES.get(character, character) for character in line)


def latex_table(board: Leaderboard, family: Family) -> str:
    """The columns of one family: mean, 95 % interval, and below it the difference to bicubic."""
    heads = ["Model", *(_head(column.title, column.unit, column.direction) for column in family.measures)]
    body = [_rows(board, family, standing) for standing in SECTIONS]
    sections = "\\midrule\n".join(section for section in body if section)
    return (
        f"{_conditions(board)}"
        f"\\begin{{tabular}}{{@{{}}l{'r' * len(family.measures)}@{{}}}}\n"
        f"\\toprule\n{_line(heads)}\\midrule\n{sections}\\bottomrule\n\\end{{tabular}}\n"
    )


def latex_costs(board: Leaderboard) -> str:
    """Parameters, operations and times of the models; empty when none are stored."""
    if not board.cost_columns:
        return ""
    heads = ["Model", *(_head(column.title, column.unit, "none") for column in board.cost_columns)]
    lines = [
        _line(
            [_name(row), *(_quantity(row.costs.get(column.id), column.unit) for column in board.cost_columns)]
        )
        for row in board.rows
        if row.standing != "ceiling"
    ]
    return (
        f"{_conditions(board)}"
        f"\\begin{{tabular}}{{@{{}}l{'r' * len(board.cost_columns)}@{{}}}}\n"
        f"\\toprule\n{_line(heads)}\\midrule\n{''.join(lines)}\\bottomrule\n\\end{{tabular}}\n"
    )


def _conditions(board: Leaderboard) -> str:
    key = board.block.key
    lines = (
        f"data: {key.dataset}, split {key.split}, fingerprint {key.data}",
        f"degradation {key.degradation}, x{key.scale}, protocol {key.protocol}",
        f"{board.n_images} images in {board.n_groups} independent groups",
        "brackets: 95 % cluster-bootstrap interval over groups; bold: best, supported by a paired test;",
        "small: difference to bicubic. Needs \\usepackage{booktabs}",
    )
    return "".join(f"% {' '.join(line.split())}\n" for line in lines)


def _rows(board: Leaderboard, family: Family, standing: str) -> str:
    lines = []
    for row in (row for row in board.rows if row.standing == standing):
        cells = [row.cells.get(column.id) for column in family.measures]
        decimals = [board.decimals[column.id] for column in family.measures]
        finer = [board.diff_decimals[column.id] for column in family.measures]
        lines.append(_line([_name(row), *map(_cell, cells, decimals)]))
        if any(cell is not None and is_number(cell.diff) for cell in cells):
            lines.append(_line(["", *map(_difference, cells, finer)]))
    return "".join(lines)


def _line(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\\n"


def _head(title: str, unit: str, direction: str) -> str:
    words = escape(f"{title} ({unit})" if unit else title)
    return f"{words}{_ARROWS[direction]}"


def _name(row: Row) -> str:
    words = escape(row.label)
    return f"{words} \\emph{{({escape('; '.join(row.badges))})}}" if row.badges else words


def _cell(cell: Cell | None, decimals: int) -> str:
    if cell is None or not math.isfinite(cell.mean):
        return "--"
    mean = f"{cell.mean:.{decimals}f}"
    strong = f"\\mathbf{{{mean}}}" if cell.best else mean
    return f"${strong}$" + _interval(cell.low, cell.high, f".{decimals}f")


def _difference(cell: Cell | None, decimals: int) -> str:
    if cell is None or not math.isfinite(cell.diff):
        return ""
    interval = _interval(cell.diff_low, cell.diff_high, f"+.{decimals}f")
    return f"{{\\footnotesize ${cell.diff:+.{decimals}f}${interval}}}"


def _interval(low: float, high: float, form: str) -> str:
    return f" $[{low:{form}}, {high:{form}}]$" if math.isfinite(low) else ""


def _quantity(value: float | None, unit: str) -> str:
    text = quantity(value, prefixed=not unit).replace("\N{MINUS SIGN}", "-")
    return re.sub(r" (\w)$", r"\\,\1", text) if value is not None and math.isfinite(value) else "--"
