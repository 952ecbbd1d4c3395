r"""A table for a paper: a float that fits ``\textwidth``, caption and label, and a ``.bib`` of its models.

The width is estimated from the character widths of Computer Modern, which is wider than the fonts that most
journals set. Where one table would be too wide its columns stand in several, one below the other.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from srbench.reporting.answer import things
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.rows import Row
from srbench.reporting.tables import LATEX_ARROWS, latex_escape
from srbench.reporting.text import MINUS, MISSING, Measure, number
from srbench.store import Manifest, Run
from srbench.version import __version__

TEXT_WIDTH = 345.0
"""Width of the text of LaTeX's ``article`` at 10 pt, in pt: the narrowest of the common classes."""
FONTS = ((r"\normalsize", 1.0), (r"\small", 0.925), (r"\footnotesize", 0.85))
"""Sizes that are tried in turn, and how wide they are against that of 10 pt."""
_SMALLEST = 0.8
"""Width of ``\\scriptsize``, in which intervals are set."""
_BOLD = 1.15
_GAP = 4.0
_LONGEST_NAME = 110.0
_CITATION = 20.0
_WIDTHS: Mapping[str, float] = {
    **dict.fromkeys("ijl.,:;'!|", 2.8),
    **dict.fromkeys("ft()[]-rs ", 3.9),
    **dict.fromkeys("mw%&", 8.4),
    **dict.fromkeys("+−×±=<>↑↓", 7.8),
    **dict.fromkeys("MWOQ@", 10.3),
}


@dataclass(frozen=True)
class _Cell:
    """A mean and its interval as plain text, empty without one."""

    mean: str
    interval: str
    best: bool

    @property
    def latex(self) -> list[str]:
        """Its lines."""
        mean = rf"\mathbf{{{self.mean}}}" if self.best else self.mean
        lines = [f"${mean}$".replace(MINUS, "-") if self.mean != MISSING else "--"]
        return lines + ([rf"{{\scriptsize ${self.interval}$}}".replace(MINUS, "-")] if self.interval else [])


@dataclass(frozen=True)
class _Column:
    """A column: the lines of its head as plain text, row to cell, and its widths in pt at 10 pt.

    Attributes:
        scaled: of what is set in the size of the table.
        fixed: of the intervals, which are set in the smallest size.
    """

    head: tuple[str, ...]
    arrow: str
    cells: Mapping[Run, _Cell]

    @property
    def scaled(self) -> float:
        texts = [*map(text_width, self.head), text_width(self.head[-1]) + (8.0 if self.arrow else 0.0)]
        texts += [text_width(cell.mean) * (_BOLD if cell.best else 1.0) for cell in self.cells.values()]
        return max(texts)

    @property
    def fixed(self) -> float:
        return max((_SMALLEST * text_width(cell.interval) for cell in self.cells.values()), default=0.0)


def paper_table(board: Leaderboard, measures: Sequence[Measure], *, intervals: bool = False) -> str:
    """The means of the rows as a float.

    Args:
        board: the rows.
        measures: the metrics.
        intervals: print the 95 % interval below each mean.
    """
    columns = [_column(board, measure, intervals) for measure in measures]
    widest = max((text_width(name) for name in board.short_names.values()), default=0.0) + _CITATION
    name_width = min(widest, _LONGEST_NAME)
    font, parts = _layout(name_width, columns)
    flaws = dict.fromkeys(flaw for row in board.rows if (flaw := _flaw(row)))
    marks = {flaw: chr(ord("a") + index % 26) for index, flaw in enumerate(flaws)}
    below = [rf"\textsuperscript{{{mark}}} {latex_escape(flaw)}." for flaw, mark in marks.items()]
    lines = [
        r"% Needs \usepackage{booktabs}; the entries of \cite are in paper.bib.",
        r"\begin{table}[tb]",
        r"\centering",
        rf"\caption{{{latex_escape(_caption(board, intervals))}}}",
        rf"\label{{tab:srbench-{board.block.slug}}}",
        rf"{font}\setlength{{\tabcolsep}}{{{_GAP:g}pt}}",
        "\n\n\\medskip\n".join(_tabular(board, part, name_width, marks) for part in parts),
        *([r"\par\smallskip", rf"{{\footnotesize {' '.join(below)}\par}}"] if below else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def bibliography(manifests: Iterable[Manifest]) -> str:
    """BibTeX entries of the models, of what their cards say, and of srbench."""
    entries = {}
    for manifest in manifests:
        card, model = manifest.card, manifest.key.model
        if not card.get("paper"):
            continue
        title = str(card.get("publication") or card.get("title") or model)
        fields = {
            "key": str(card.get("title") or model),
            "author": latex_escape(str(card.get("authors") or "")),
        }
        fields |= {"title": f"{{{latex_escape(title)}}}", "year": str(card.get("year") or "")}
        fields["url"] = str(card["paper"])
        if arxiv := re.search(r"arxiv\.org/abs/([\w.]+)", str(card["paper"])):
            fields |= {"eprint": arxiv[1], "archiveprefix": "arXiv", "note": f"arXiv:{arxiv[1]}"}
        else:
            address = re.sub("^https?://", "", str(card["paper"]))
            fields["howpublished"] = rf"\texttt{{{latex_escape(address)}}}"
        entries[citation(model)] = fields
    entries["srbench"] = {"key": "srbench", "title": "{srbench}", "note": f"version {__version__}"}
    text = "% Authors, titles, years and addresses as the models' cards have them.\n"
    for name, fields in entries.items():
        lines = [f"  {field} = {{{_plain(value)}}}" for field, value in fields.items() if value]
        text += f"\n@misc{{{name},\n" + ",\n".join(lines) + "\n}\n"
    return text


def citation(model: str) -> str:
    """The key of a model's entry."""
    return f"srbench-{re.sub(r'[^A-Za-z0-9]+', '-', model)}"


def text_width(text: str) -> float:
    """Width of a text in pt, at 10 pt, rather too large than too small."""
    return sum(_WIDTHS.get(letter, 7.6 if letter.isupper() else 5.6) for letter in text)


def _column(board: Leaderboard, measure: Measure, intervals: bool) -> _Column:
    decimals = board.decimals[measure.id]
    cells = {}
    for row in board.rows:
        cell = row.cells.get(measure.id)
        mean = number(cell.mean if cell else None, decimals)
        spread = ""
        if intervals and cell and math.isfinite(cell.low):
            spread = f"[{number(cell.low, decimals)}, {number(cell.high, decimals)}]"
        cells[row.run] = _Cell(mean, spread, bool(cell and cell.best))
    words = textwrap.wrap(measure.title, 14, break_long_words=False) or [measure.title]
    head = (*words, f"({measure.unit})") if measure.unit else tuple(words)
    return _Column(head, LATEX_ARROWS[measure.direction], cells)


def _layout(name_width: float, columns: Sequence[_Column]) -> tuple[str, list[Sequence[_Column]]]:
    """Font size, and which columns stand in which table."""

    def fits(part: Sequence[_Column], factor: float) -> bool:
        widths = [max(factor * column.scaled, column.fixed) for column in part]
        return factor * name_width + sum(widths) + 2 * _GAP * len(part) <= TEXT_WIDTH

    for font, factor in FONTS:
        if fits(columns, factor):
            return font, [columns]
    font, factor = FONTS[-1]
    for count in range(2, len(columns) + 1):
        size = math.ceil(len(columns) / count)
        parts = [columns[start : start + size] for start in range(0, len(columns), size)]
        if all(fits(part, factor) for part in parts):
            return font, parts
    return font, [[column] for column in columns]


def _tabular(
    board: Leaderboard, columns: Sequence[_Column], name_width: float, marks: Mapping[str, str]
) -> str:
    # A name that is too long for its column is broken.
    first = rf"p{{{name_width:.0f}pt}}" if name_width >= _LONGEST_NAME else "l"
    stacks = [r" \\ ".join(map(latex_escape, column.head)) + column.arrow for column in columns]
    heads = [rf"\shortstack[r]{{{stack}}}" for stack in stacks]
    lines = [rf"\begin{{tabular}}{{@{{}}{first}{'r' * len(columns)}@{{}}}}", r"\toprule"]
    lines.append(rf"Model & {' & '.join(heads)} \\")
    for kinds in (("network",), ("interpolation",), ("ceiling", "control"), ("unranked",)):
        rows = [row for row in board.rows if row.kind in kinds]
        lines += [r"\midrule"] if rows else []
        for row in rows:
            cells = [column.cells[row.run].latex for column in columns]
            for line in range(max(map(len, cells))):
                texts = [cell[line] if line < len(cell) else "" for cell in cells]
                lines.append(rf"{'' if line else _name(board, row, marks)} & {' & '.join(texts)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _name(board: Leaderboard, row: Row, marks: Mapping[str, str]) -> str:
    words = latex_escape(board.short_names[row.run])
    words += rf"~\cite{{{citation(row.run.model)}}}" if row.manifest.card.get("paper") else ""
    flaw = _flaw(row)
    return words + (rf"\textsuperscript{{{marks[flaw]}}}" if flaw else "")


def _flaw(row: Row) -> str:
    """What a reader must know of the row; empty for what is ranked."""
    return "not a model" if row.is_reference else "; ".join(row.badges)


def _caption(board: Leaderboard, intervals: bool) -> str:
    key = board.block.key
    brackets = ", with 95 % intervals over groups in brackets" if intervals else ""
    return (
        f"Super-resolution ×{key.scale} on {key.dataset}, {key.split} split: {things(board, board.n_images)} "
        f"in {board.n_groups} independent groups, LR by {key.degradation}. Means over groups{brackets}. "
        "Bold: better than every other ranked model beyond the practical margin, by a corrected paired test. "
        f"srbench {__version__}, protocol {key.protocol}, data {key.data[:12]}."
    )


def _plain(value: str) -> str:
    """Text in a BibTeX field, on one line; empty where a brace would end the field."""
    return " ".join(value.split()) if value.count("{") == value.count("}") else ""
