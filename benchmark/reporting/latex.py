r"""The leaderboard as LaTeX: one booktabs ``tabular`` for each family of metrics, to ``\input`` into a paper.

Needs ``\usepackage{booktabs}``. Comments above the table state the conditions, so that they are not lost
when the file is copied. All text from outside is escaped.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from srbench.reporting.formats import is_number, quantity, rank
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measures import Family, Measure
from srbench.reporting.rows import SECTIONS, Cell, Row
from srbench.reporting.trust import Judgement, Measurement, TrustTable

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
    "±": r"\ensuremath{\pm}",
    "\N{MINUS SIGN}": r"\ensuremath{-}",
    "†": r"\textsuperscript{\dag}",
}
_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "none": ""}


def escape(text: str) -> str:
    """Plain text as LaTeX on one line; a character that would need a special font is left as it is."""
    line = " ".join(text.split())
    return "".join(_ESCAPES.get(character, character) for character in line)


def latex_table(board: Leaderboard, family: Family) -> str:
    """The columns of one family: mean, 95 % interval, and below it the verdict and difference to bicubic."""
    columns = family.measures
    heads = [_head(c.title + (" †" if c.id in board.fooled else ""), c.unit, c.direction) for c in columns]
    fooled = [column.title for column in columns if column.id in board.fooled]
    return _tabular(board, heads, lambda row: _family_lines(board, row, columns), fooled)


def latex_trust(board: Leaderboard, trust: TrustTable) -> str:
    """The verdict on each measurement and what super-resolution adds; empty where none could be made."""
    if not trust.measurements:
        return ""
    heads = [
        _head(f"{m.title} ± {m.tolerance.value:g} {m.tolerance.unit}".strip(), "", "none")
        for m in trust.measurements
    ]
    return _tabular(board, heads, lambda row: _trust_lines(trust, row))


def latex_costs(board: Leaderboard) -> str:
    """Parameters, operations and times of the models; empty when none are stored."""
    if not board.cost_columns:
        return ""
    columns = board.cost_columns
    heads = [_head(column.title, column.unit, "none") for column in columns]

    def lines(row: Row) -> list[list[str]]:
        return [] if row.is_reference else [[_quantity(row.costs.get(c.id), c.unit) for c in columns]]

    return _tabular(board, heads, lines)


def _tabular(
    board: Leaderboard,
    heads: Sequence[str],
    lines: Callable[[Row], list[list[str]]],
    fooled: Sequence[str] = (),
) -> str:
    """A table with the sections of the leaderboard; ``lines`` gives the lines of cells of a row."""
    marks = _marks(board)
    sections = []
    for standing, title in SECTIONS.items():
        shown = [(row, cells) for row in board.section(standing) if (cells := lines(row))]
        body = "".join(
            _line([_name(row, marks) if index == 0 else "", *line])
            for row, cells in shown
            for index, line in enumerate(cells)
        )
        head = f"\\multicolumn{{{len(heads) + 1}}}{{@{{}}l}}{{\\emph{{{escape(title)}}}}} \\\\\n"
        sections += [head + body] if shown else []
    return (
        f"{_conditions(board)}"
        f"\\begin{{tabular}}{{@{{}}l{'r' * len(heads)}@{{}}}}\n"
        f"\\toprule\n{_line(['Model', *heads])}\\midrule\n"
        + "\\midrule\n".join(sections)
        + f"\\bottomrule\n{_footnotes(len(heads) + 1, marks, fooled)}\\end{{tabular}}\n"
    )


def _marks(board: Leaderboard) -> dict[str, str]:
    """Each failed guard with its sentence, to a letter."""
    notes = list(dict.fromkeys(_fault(b, d) for row in board.rows for b, d in row.faults.items()))
    return {note: _letter(index) for index, note in enumerate(notes)}


def _letter(index: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    return (_letter(index // 26 - 1) if index >= 26 else "") + chr(ord("a") + index % 26)


def _fault(badge: str, detail: str) -> str:
    return f"{badge}: {detail}" if detail else badge


def _footnotes(width: int, marks: Mapping[str, str], fooled: Sequence[str]) -> str:
    notes = [f"\\textsuperscript{{{letter}}} {escape(note)}" for note, letter in marks.items()]
    if fooled:
        words = "not evidence of structure: a control that invents texture beats bicubic here"
        notes.append(f"\\textsuperscript{{\\dag}} {words}")
    box = "\\multicolumn{{{}}}{{@{{}}p{{0.9\\linewidth}}@{{}}}}{{\\footnotesize {}}} \\\\\n"
    return "".join(box.format(width, note) for note in notes)


def _conditions(board: Leaderboard) -> str:
    key = board.block.key
    lines = (
        f"data: {key.dataset}, split {key.split}, fingerprint {key.data}",
        f"degradation {key.degradation}, x{key.scale}, protocol {key.protocol}",
        f"{board.n_images} images in {board.n_groups} independent groups",
        "brackets: 95 % cluster-bootstrap interval over groups; bold: best, supported by a paired test;",
        "small: verdict against bicubic by the practical margin, and difference.",
        "Needs \\usepackage{booktabs}",
    )
    return "".join(f"% {' '.join(line.split())}\n" for line in lines)


def _family_lines(board: Leaderboard, row: Row, columns: Sequence[Measure]) -> list[list[str]]:
    cells = [(column, row.cells.get(column.id)) for column in columns]
    first = [_cell(board, column, cell) for column, cell in cells]
    if not any(cell is not None and is_number(cell.diff) for _, cell in cells):
        return [first]
    return [first, [_difference(cell, board.diff_decimals[column.id]) for column, cell in cells]]


def _trust_lines(trust: TrustTable, row: Row) -> list[list[str]]:
    found = [(m, trust.judgements[row.run].get(m.name)) for m in trust.measurements]
    if not any(judgement for _, judgement in found):
        return []
    words = [judgement.verdict.status if judgement else "--" for _, judgement in found]
    return [words, [_change(judgement, measurement) for measurement, judgement in found]]


def _change(found: Judgement | None, measurement: Measurement) -> str:
    if found is None or not is_number(found.verdict.change):
        return ""
    form = f"+.{measurement.decimals}f"
    interval = _interval(found.verdict.low, found.verdict.high, form)
    return f"{{\\footnotesize ${found.verdict.change:{form}}${interval}}}"


def _line(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\\n"


def _head(title: str, unit: str, direction: str) -> str:
    words = escape(f"{title} ({unit})" if unit else title)
    return f"{words}{_ARROWS[direction]}"


def _name(row: Row, marks: Mapping[str, str]) -> str:
    words = escape(row.label)
    badges = [badge for badge in row.badges if badge not in row.faults]
    letters = ",".join(marks[_fault(badge, detail)] for badge, detail in row.faults.items())
    words += f"\\textsuperscript{{{letters}}}" if letters else ""
    return f"{words} \\emph{{({escape('; '.join(badges))})}}" if badges else words


def _cell(board: Leaderboard, column: Measure, cell: Cell | None) -> str:
    if cell is None or not math.isfinite(cell.mean):
        return "--"
    decimals = board.decimals[column.id]
    mean = f"{cell.mean:.{decimals}f}"
    strong = f"\\mathbf{{{mean}}}" if cell.best else mean
    place = rank(cell.rank, cell.rank_low, cell.rank_high) if column == board.lead else ""
    words = f" {{\\footnotesize rank {escape(place)}}}" if place else ""
    return f"${strong}$" + _interval(cell.low, cell.high, f".{decimals}f") + words


def _difference(cell: Cell | None, decimals: int) -> str:
    if cell is None or not math.isfinite(cell.diff):
        return ""
    interval = _interval(cell.diff_low, cell.diff_high, f"+.{decimals}f")
    words = f"{cell.verdict} " if cell.verdict else ""
    return f"{{\\footnotesize {words}${cell.diff:+.{decimals}f}${interval}}}"


def _interval(low: float, high: float, form: str) -> str:
    return f" $[{low:{form}}, {high:{form}}]$" if math.isfinite(low) else ""


def _quantity(value: float | None, unit: str) -> str:
    text = quantity(value, prefixed=not unit).replace("\N{MINUS SIGN}", "-")
    return re.sub(r" (\w)$", r"\\,\1", text) if value is not None and math.isfinite(value) else "--"
