"""The table for a paper: LaTeX sets it without a line that is too wide, and every key it cites is there."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from srbench.reporting import paper_tables
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.paper import FONTS, TEXT_WIDTH, bibliography, citation, paper_table, text_width
from srbench.utils.errors import SrbenchError

LATEX = shutil.which("pdflatex")
DOCUMENT = r"""\documentclass[10pt]{article}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


def longest(board: Leaderboard) -> Leaderboard:
    """The board with a name that no column holds."""
    rows = [
        replace(row, manifest=replace(row.manifest, card={"title": "A_name & more " * 3}))
        for row in board.rows
    ]
    return replace(board, rows=(*rows[:1], *board.rows[1:]))


def log_of(text: str, folder: Path) -> str:
    """What LaTeX says of a document with this table."""
    assert LATEX is not None
    (folder / "paper.tex").write_text(DOCUMENT % text, encoding="utf-8")
    command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    return (folder / "paper.log").read_text(encoding="latin-1")


@pytest.mark.slow
@pytest.mark.skipif(LATEX is None, reason="no LaTeX on this machine")
@pytest.mark.parametrize("intervals", [False, True])
@pytest.mark.parametrize("named", [lambda board: board, longest], ids=["as it is", "a long name"])
def test_latex_sets_every_table_within_the_text(
    rich_board: Leaderboard, named: Any, intervals: bool, tmp_path: Path
) -> None:
    board = named(rich_board)
    log = log_of(paper_table(board, board.columns, intervals=intervals), tmp_path)
    assert not re.findall(r"Overfull \\hbox.*", log)


def lines_of(text: str) -> list[list[list[str]]]:
    """Tables to lines to cells as a reader sees them."""
    tables = []
    for body in re.findall(r"\\begin\{tabular\}.*?\n(.*?)\\end\{tabular\}", text, flags=re.S):
        rows = [line.removesuffix(r"\\").split(" & ") for line in body.splitlines() if " & " in line]
        tables.append(
            [[re.sub(r"\\\w+(\[r\])?|[{}$~\\]|srbench-[\w-]+", "", cell) for cell in row] for row in rows]
        )
    return tables


def test_the_widths_of_columns_are_estimated_to_fit(rich_board: Leaderboard) -> None:
    """Where no LaTeX is installed: the widest cells of a table and the gaps between them."""
    for intervals in (False, True):
        text = paper_table(rich_board, rich_board.columns, intervals=intervals)
        (factor,) = (factor for font, factor in FONTS if f"\n{font}\\set" in text)
        for rows in lines_of(text):
            widths = [
                max(factor * text_width(row[i]) for row in rows[1:] if "[" not in row[i])
                for i in range(len(rows[0]))
            ]
            assert sum(widths) + 8.0 * (len(widths) - 1) <= TEXT_WIDTH


def test_numbers_are_those_of_the_board(rich_board: Leaderboard) -> None:
    text = paper_table(rich_board, rich_board.columns[:2], intervals=True)
    row = next(row for row in rich_board.rows if row.run.model == "vdsr")
    ((_, *lines),) = lines_of(text)
    index = next(i for i, line in enumerate(lines) if line[0].startswith("VDSR"))
    for place, column in enumerate(rich_board.columns[:2], 1):
        cell, decimals = row.cells[column.id], rich_board.decimals[column.id]
        assert lines[index][place].strip() == f"{cell.mean:.{decimals}f}"
        assert lines[index + 1][place].strip() == f"[{cell.low:.{decimals}f}, {cell.high:.{decimals}f}]"
    best = [
        cell.best for row in rich_board.rows for c in rich_board.columns[:2] if (cell := row.cells.get(c.id))
    ]
    assert text.count(r"\mathbf") == sum(best)


def test_every_citation_has_an_entry_with_the_facts_of_its_card(filled_board: Leaderboard) -> None:
    papers = {"edsr": "https://arxiv.org/abs/1707.02921", "bicubic": "https://doi.org/10.1/50%3C1_{x}"}
    said = {"publication": "Deep_Networks & more", "authors": "Lim, Bee and Son, Sanghyun"}
    rows = [
        replace(
            row,
            manifest=replace(
                row.manifest, card={**row.manifest.card, **said, "paper": papers[row.run.model]}
            ),
        )
        if row.run.model in papers
        else row
        for row in filled_board.rows
    ]
    board = replace(filled_board, rows=tuple(rows))
    cited = re.findall(r"\\cite\{([^}]*)\}", paper_table(board, board.columns))
    text = bibliography(row.manifest for row in board.rows)
    keys = re.findall(r"@misc\{([^,]*),", text)
    assert sorted(cited) == sorted(set(keys) - {"srbench"}) == sorted(map(citation, papers))
    assert "eprint = {1707.02921}" in text and "year = {2017}" in text
    assert "author = {Lim, Bee and Son, Sanghyun}" in text and r"title = {{Deep\_Networks \& more}}" in text
    assert text.count("{") == text.count("}")


@pytest.mark.slow
def test_the_choice_of_metrics_and_models_is_kept(rich: Path, tmp_path: Path) -> None:
    written = paper_tables(rich, tmp_path, models=["edsr", "bicubic"], metrics=["ssim", "psnr"])
    (table,) = written.tables
    ((head, *lines),) = lines_of(table.read_text(encoding="utf-8"))
    assert [name.split()[0] for name in head] == ["Model", "PSNR", "SSIM"]
    assert {line[0].split()[0] for line in lines} == {"EDSR", "Bicubic"}
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"paper.bib", table.name}
    for wrong in ({"models": ["edsrr"]}, {"metrics": ["psnrr"]}, {"datasets": ["elsewhere"]}):
        with pytest.raises(SrbenchError):
            paper_tables(rich, tmp_path, **wrong)
