r"""The leaderboard as files: every number as CSV, Markdown to paste into a README, LaTeX to ``\input``.

LaTeX has one booktabs ``tabular`` for each family of metrics. Its conditions stand above it as comments, so
that they are not lost when the file is copied. All text from outside is escaped.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measurements import Judgement, Measurement, TrustTable
from srbench.reporting.rows import Row
from srbench.reporting.text import (
    MINUS,
    MISSING,
    Family,
    Measure,
    is_number,
    number,
    quantity,
    rank,
    spreadsheet_safe,
)
from srbench.statistics.leaderboard import VALUE_COLUMNS, LeaderboardRow
from srbench.store import Conditions

RUN_COLUMNS = ("model", "title", "variant", "weights", "seed", "budget", "standing", "badges")
CSV_COLUMNS = (*Conditions._fields, *RUN_COLUMNS, "metric", "direction", "unit", *VALUE_COLUMNS)
_LATEX_ESCAPES = {
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
    MINUS: r"\ensuremath{-}",
    "†": r"\textsuperscript{\dag}",
}
LATEX_ARROWS = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "none": ""}


def csv_table(board: Leaderboard) -> str:
    """One line a row and metric with all digits; costs have only ``mean``. Reads back to the same numbers.

    Several seeds of one training are one line, their seeds and weights joined by ``+``.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in board.rows:
        key = row.manifest.key
        common: dict[str, Any] = {
            **board.block.key._asdict(),
            "model": key.model,
            "title": row.title,
            "variant": key.variant,
            "weights": "+".join(manifest.key.weights for manifest in row.manifests),
            "seed": "+".join(str(manifest.key.seed) for manifest in row.manifests),
            "budget": row.manifest.weights.get("budget", ""),
            "standing": row.kind,
            "badges": "; ".join(row.badges),
        }
        for columns, is_cost in ((board.columns, False), (board.cost_columns, True)):
            for column in columns:
                common |= {"metric": column.id, "direction": column.direction, "unit": column.unit}
                if is_cost:
                    reason = row.cost_reasons.get(column.id, "")
                    writer.writerow(
                        spreadsheet_safe({**common, "mean": row.costs.get(column.id), "reason": reason})
                    )
                elif cell := row.cells.get(column.id):
                    values = {name: getattr(cell, name) for name in VALUE_COLUMNS}
                    writer.writerow(spreadsheet_safe({**common, **values}))
    return text.getvalue()


def markdown_table(board: Leaderboard, trust: TrustTable) -> str:
    """The verdicts, then a table of the metrics seen first and one for each family of the others."""
    key = board.block.key
    conditions = (
        f"Protocol {key.protocol}; data {key.data}; {board.n_images} images in {board.n_groups} groups"
        f"{board.lengths_in_words and '; '}{board.lengths_in_words}. "
        f"{board.reference_noise}{board.reference_noise and '. '}"
        "Mean [95 % interval], against bicubic better, worse, equivalent or undecided by the practical "
        "margin, Δ = difference to bicubic [95 % interval]."
    )
    reading = "**Bold** = best, supported by a paired test."
    parts = [f"# {escape(board.block.title)}", f"{escape(conditions)} {reading}"]
    if trust.measurements:
        parts.append(
            _section(
                board,
                "Can a measurement be trusted?",
                [_tolerance_head(measurement, "±") for measurement in trust.measurements],
                lambda row: [
                    judgement_text(trust.judgements[row.run].get(m.name), m) for m in trust.measurements
                ],
            )
        )
    parts += [_family_section(board, family) for family in board.families]
    costs = board.cost_columns
    if costs:
        parts.append(
            _section(
                board,
                "Cost",
                [_with_unit(column) for column in costs],
                lambda row: [quantity(row.costs.get(c.id), prefixed=not c.unit) for c in costs],
            )
        )
    not_evidence = [column.title for column in board.columns if column.id in board.not_evidence]
    notes = [f"{row.label}: {badge}. {detail}" for row in board.rows for badge, detail in row.faults.items()]
    if not_evidence:
        words = "Not evidence of structure: a control that invents texture beats bicubic here"
        notes.insert(0, f"† {words} ({', '.join(not_evidence)}).")
    parts += ["\n".join(f"- {escape(note)}" for note in notes)] if notes else []
    return "\n\n".join(parts) + "\n"


def judgement_text(judgement: Judgement | None, measurement: Measurement) -> str:
    """Verdict and what super-resolution adds, with its interval."""
    if judgement is None:
        return MISSING
    verdict, decimals = judgement.verdict, measurement.decimals
    if not math.isfinite(verdict.change):
        return verdict.status
    ends = _interval(verdict.low, verdict.high, decimals, signed=True)
    return f"{verdict.status}, {number(verdict.change, decimals, signed=True)}{ends}"


def _tolerance_head(measurement: Measurement, sign: str) -> str:
    return f"{measurement.title} {sign}{measurement.tolerance.text}"


def _family_section(board: Leaderboard, family: Family) -> str:
    heads = [
        f"{_with_unit(c)} {c.arrow}{' †' if c.id in board.not_evidence else ''}".strip()
        for c in family.measures
    ]
    return _section(
        board, family.title, heads, lambda row: [_cell_text(board, row, c) for c in family.measures]
    )


def _section(board: Leaderboard, title: str, heads: Sequence[str], cells: Callable[[Row], list[str]]) -> str:
    """A heading and a table: the rows under the names of their kinds."""
    lines = [f"## {escape(title)}", "", _line([escape(head) for head in ("Model", *heads)])]
    lines.append(f"|{'|'.join([':--', *['--:'] * len(heads)])}|")
    for kind, kind_title in board.section_titles.items():
        rows = board.section(kind)
        if rows:
            lines.append(_line([f"*{escape(kind_title)}*", *[""] * len(heads)]))
        for row in rows:
            name = f"{row.label} [{'; '.join(row.badges)}]" if row.badges else row.label
            lines.append(_line([escape(name), *cells(row)]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


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


def latex_escape(text: str) -> str:
    """Plain text as LaTeX on one line; a character that would need a special font is left as it is."""
    line = " ".join(text.split())
    return "".join(_LATEX_ESCAPES.get(character, character) for character in line)


def latex_table(board: Leaderboard, family: Family) -> str:
    """The columns of one family: mean, 95 % interval, and below it the verdict and difference to bicubic."""
    columns = family.measures
    not_evidence = [column.title for column in columns if column.id in board.not_evidence]
    heads = [
        _latex_head(c.title + (" †" if c.id in board.not_evidence else ""), c.unit, c.direction)
        for c in columns
    ]

    def lines(row: Row) -> list[list[str]]:
        cells = [(column, row.cells.get(column.id)) for column in columns]
        means = [_latex_cell(board, column, cell) for column, cell in cells]
        if not any(cell is not None and is_number(cell.diff) for _, cell in cells):
            return [means]
        return [means, [_latex_difference(cell, board.diff_decimals[column.id]) for column, cell in cells]]

    return _latex_tabular(board, heads, lines, not_evidence)


def latex_trust(board: Leaderboard, trust: TrustTable) -> str:
    """The verdict on each measurement and what super-resolution adds; empty where none could be made."""
    if not trust.measurements:
        return ""
    heads = [_latex_head(_tolerance_head(measurement, "± ")) for measurement in trust.measurements]

    def lines(row: Row) -> list[list[str]]:
        judged = [(m, trust.judgements[row.run].get(m.name)) for m in trust.measurements]
        if not any(judgement for _, judgement in judged):
            return []
        words: list[str] = []
        changes: list[str] = []
        for measurement, judgement in judged:
            verdict, form = judgement.verdict if judgement else None, f"+.{measurement.decimals}f"
            words.append(verdict.status if verdict else "--")
            change = ""
            if verdict and is_number(verdict.change):
                ends = _latex_interval(verdict.low, verdict.high, form)
                change = f"{{\\footnotesize ${verdict.change:{form}}${ends}}}"
            changes.append(change)
        return [words, changes]

    return _latex_tabular(board, heads, lines)


def latex_costs(board: Leaderboard) -> str:
    """Parameters, operations and times of the models; empty when none are stored."""
    if not board.cost_columns:
        return ""
    columns = board.cost_columns
    heads = [_latex_head(column.title, column.unit) for column in columns]

    def cell(value: float | None, unit: str) -> str:
        text = quantity(value, prefixed=not unit).replace(MINUS, "-")
        return re.sub(r" (\w)$", r"\\,\1", text) if is_number(value) else "--"

    def lines(row: Row) -> list[list[str]]:
        return [] if row.is_reference else [[cell(row.costs.get(c.id), c.unit) for c in columns]]

    return _latex_tabular(board, heads, lines)


def _latex_tabular(
    board: Leaderboard,
    heads: Sequence[str],
    lines: Callable[[Row], list[list[str]]],
    not_evidence: Sequence[str] = (),
) -> str:
    """A table with the sections of the leaderboard; ``lines`` gives the lines of cells of a row."""
    faults = dict.fromkeys(_fault(b, d) for row in board.rows for b, d in row.faults.items())
    marks = {fault: _letter(index) for index, fault in enumerate(faults)}
    width = len(heads) + 1
    sections = []
    for kind, title in board.section_titles.items():
        shown = [(row, cells) for row in board.section(kind) if (cells := lines(row))]
        body = "".join(
            _latex_line([_latex_name(row, marks) if index == 0 else "", *line])
            for row, cells in shown
            for index, line in enumerate(cells)
        )
        head = f"\\multicolumn{{{width}}}{{@{{}}l}}{{\\emph{{{latex_escape(title)}}}}} \\\\\n"
        sections += [head + body] if shown else []
    notes = [f"\\textsuperscript{{{letter}}} {latex_escape(fault)}" for fault, letter in marks.items()]
    if not_evidence:
        words = "not evidence of structure: a control that invents texture beats bicubic here"
        notes.append(f"\\textsuperscript{{\\dag}} {words}")
    key = board.block.key
    conditions = (
        f"data: {key.dataset}, split {key.split}, fingerprint {key.data}{board.block.state}",
        f"degradation {key.degradation}, x{key.scale}, protocol {key.protocol}",
        f"{board.n_images} images in {board.n_groups} independent groups",
        *(words for words in (board.lengths_in_words, board.reference_noise) if words),
        "brackets: 95 % interval over groups; bold: best, supported by a paired test;",
        "small: verdict against bicubic by the practical margin, and difference.",
        "Needs \\usepackage{booktabs}",
    )
    comments = [" ".join(f"% {line}".split()) for line in conditions]
    box = "\\multicolumn{{{}}}{{@{{}}p{{0.9\\linewidth}}@{{}}}}{{\\footnotesize {}}} \\\\\n"
    return (
        "\n".join([*comments, ""]) + f"\\begin{{tabular}}{{@{{}}l{'r' * len(heads)}@{{}}}}\n"
        f"\\toprule\n{_latex_line(['Model', *heads])}\\midrule\n"
        + "\\midrule\n".join(sections)
        + f"\\bottomrule\n{''.join(box.format(width, note) for note in notes)}\\end{{tabular}}\n"
    )


def _letter(index: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    return (_letter(index // 26 - 1) if index >= 26 else "") + chr(ord("a") + index % 26)


def _fault(badge: str, detail: str) -> str:
    return f"{badge}: {detail}" if detail else badge


def _latex_line(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\\n"


def _latex_head(title: str, unit: str = "", direction: str = "none") -> str:
    return latex_escape(f"{title} ({unit})" if unit else title) + LATEX_ARROWS[direction]


def _latex_name(row: Row, marks: Mapping[str, str]) -> str:
    words = latex_escape(row.label)
    badges = [badge for badge in row.badges if badge not in row.faults]
    letters = ",".join(marks[_fault(badge, detail)] for badge, detail in row.faults.items())
    words += f"\\textsuperscript{{{letters}}}" if letters else ""
    return f"{words} \\emph{{({latex_escape('; '.join(badges))})}}" if badges else words


def _latex_cell(board: Leaderboard, column: Measure, cell: LeaderboardRow | None) -> str:
    if cell is None or not math.isfinite(cell.mean):
        return "--"
    decimals = board.decimals[column.id]
    mean = f"{cell.mean:.{decimals}f}"
    strong = f"\\mathbf{{{mean}}}" if cell.best else mean
    ranks = rank(cell.rank, cell.rank_low, cell.rank_high) if column == board.lead else ""
    words = f" {{\\footnotesize rank {latex_escape(ranks)}}}" if ranks else ""
    return f"${strong}$" + _latex_interval(cell.low, cell.high, f".{decimals}f") + words


def _latex_difference(cell: LeaderboardRow | None, decimals: int) -> str:
    if cell is None or not math.isfinite(cell.diff):
        return ""
    ends = _latex_interval(cell.diff_low, cell.diff_high, f"+.{decimals}f")
    words = f"{cell.verdict} " if cell.verdict else ""
    return f"{{\\footnotesize {words}${cell.diff:+.{decimals}f}${ends}}}"


def _latex_interval(low: float, high: float, form: str) -> str:
    return f" $[{low:{form}}, {high:{form}}]$" if math.isfinite(low) else ""
