"""The tables hold the harness' own numbers, whole and escaped."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from srbench.checks.base import LEAKING, SMOKE
from srbench.metrics.spectrum import REFERENCE_NOISE
from srbench.reporting import ReportResult
from srbench.reporting.blocks import collect
from srbench.reporting.leaderboard import Leaderboard, leaderboard
from srbench.reporting.measurements import trust
from srbench.reporting.notes import warnings_of
from srbench.reporting.tables import (
    CSV_COLUMNS,
    csv_table,
    escape,
    latex_costs,
    latex_escape,
    latex_table,
    markdown_table,
)
from srbench.reporting.text import families
from srbench.statistics.leaderboard import LeaderboardRow
from srbench.statistics.leaderboard import leaderboard as metric_leaderboard
from srbench.store import RUN, Run, ScoreStore

SPECIAL = r"Ma$$ive_50%&#{x}~^\|<b>[a]"


@pytest.fixture(scope="module")
def board(filled_board: Leaderboard) -> Leaderboard:
    return filled_board


@pytest.fixture(scope="module")
def table(filled_report: ReportResult) -> pd.DataFrame:
    path = next(path for path in filled_report.tables if path.suffix == ".csv")
    return pd.read_csv(
        path, keep_default_na=False, na_values=["nan", ""], dtype={"weights": str, "seed": str}
    )


def own_statistics(root: Path) -> list[LeaderboardRow]:
    """The harness' own table: the ranked models alone, the two seeds of VDSR as one."""
    scores = ScoreStore(root).scores()
    ranked = scores[scores["model"].isin(["bicubic", "nearest", "vdsr", "edsr", "srgan"])]
    runs = [Run(*run) for run in ranked[RUN].drop_duplicates().itertuples(index=False, name=None)]
    return metric_leaderboard(ranked, "psnr", trainings={run: run.model for run in runs})


@pytest.mark.slow
def test_csv_reads_back_to_the_statistics(filled: Path, table: pd.DataFrame) -> None:
    expected = own_statistics(filled)
    read = table[table["metric"] == "psnr"].set_index("model")
    assert len(expected) == 5
    for row in expected:
        for name in ("mean", "low", "high", "diff", "p_holm", "rank", "rank_low", "rank_high", "seed_sd"):
            value = float(read.loc[row.run.model, name])
            assert value == getattr(row, name) or (math.isnan(value) and math.isnan(getattr(row, name)))
        for name in ("best", "ranked", "verdict", "next"):
            assert str(read.loc[row.run.model, name]) == str(getattr(row, name)) or not getattr(row, name)
        assert read.loc[row.run.model, "n_groups"] == 8
        assert read.loc[row.run.model, "n_images"] == 16


def test_csv_has_every_run_with_its_conditions_and_costs(table: pd.DataFrame) -> None:
    assert list(table.columns) == list(CSV_COLUMNS)
    assert table["protocol"].nunique() == 1
    assert set(table["scale"]) == {4}
    runs = table.groupby(["model", "seed"]).ngroups
    assert runs == 8
    assert set(table.loc[table.model == "vdsr", "seed"]) == {"0+1"}
    assert float(table[(table.model == "edsr") & (table.metric == "params")]["mean"].iloc[0]) == 1.5e6


@pytest.mark.slow
def test_what_must_not_be_ranked_is_never_best_and_does_not_hide_the_best(board: Leaderboard) -> None:
    rows = {row.run[0]: row for row in board.rows}
    assert rows["oracle"].cells["psnr"].mean > rows["edsr"].cells["psnr"].mean
    for name in ("oracle", "noise_ceiling", "tiny"):
        assert not any(cell.best for cell in rows[name].cells.values())
    assert rows["edsr"].cells["psnr"].best
    assert rows["oracle"].badges == (LEAKING,)
    assert rows["tiny"].badges == (SMOKE,)
    assert [rows[n].kind for n in ("edsr", "bicubic", "noise_ceiling", "oracle", "tiny")] == [
        "network",
        "interpolation",
        "ceiling",
        "unranked",
        "unranked",
    ]


def test_a_metric_nobody_has_a_value_of_is_no_column(board: Leaderboard) -> None:
    assert [column.id for column in board.columns] == ["psnr", "ssim"]
    assert [column.id for column in board.empty_columns] == ["lpips-alex-0.1"]


@pytest.mark.slow
def test_categories_are_means_over_their_own_groups(filled: Path, board: Leaderboard) -> None:
    scores = ScoreStore(filled).scores()
    own = scores[(scores.model == "edsr") & (scores.metric == "ssim") & (scores.category == "fibres")]
    expected = own.groupby("group")["value"].mean().mean()
    run = next(row.run for row in board.rows if row.run[0] == "edsr")
    assert board.categories["fibres"][run]["ssim"].mean == pytest.approx(expected, rel=1e-12)
    assert board.categories["fibres"][run]["ssim"].n_groups == 4


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix("\\\\\n").removesuffix("\\\\"))]


def test_latex_is_a_booktabs_table_with_the_same_numbers(board: Leaderboard) -> None:
    text = latex_table(board, board.families[0])
    body = [line for line in text.splitlines() if not line.startswith("%")]
    assert body[0] == r"\begin{tabular}{@{}lrr@{}}"
    assert body[1] == r"\toprule"
    assert body[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert text.count(r"\midrule") == 4
    lines = [line for line in body if line.endswith(r"\\") and not line.startswith(r"\multicolumn{3}")]
    assert {len(cells_of(line)) for line in lines} == {3}
    sections = re.findall(r"\\multicolumn\{3\}\{@\{\}l\}\{\\emph\{(\w+)", text)
    assert sections == ["Networks", "Interpolations", "Noise", "Shown"]
    edsr = next(line for line in lines if line.startswith("EDSR"))
    cell = next(row for row in board.rows if row.title == "EDSR").cells["psnr"]
    printed = [float(found) for found in re.findall(r"-?\d+\.\d+", cells_of(edsr)[1])]
    assert printed == pytest.approx([cell.mean, cell.low, cell.high], abs=0.5 * 10 ** -board.decimals["psnr"])
    assert r"\mathbf{" in cells_of(edsr)[1]


def test_latex_costs_have_units_and_no_ceiling(board: Leaderboard) -> None:
    text = latex_costs(board)
    assert "Multiply-adds (G/Mpx)" in text
    assert r"1.50\,M" in text
    assert "Noise ceiling" not in text


def test_latex_escapes_every_special_character() -> None:
    assert latex_escape("a_b 50% & $x$ #1") == r"a\_b 50\% \& \$x\$ \#1"
    assert latex_escape("{~^\\}") == r"\{\textasciitilde{}\textasciicircum{}\textbackslash{}\}"


@pytest.mark.slow
@given(st.text("abc_%&$#{}~^\\<>|[]\n\t ", max_size=30))
def test_escaped_text_cannot_end_a_cell_or_start_a_command(text: str) -> None:
    made = latex_escape(text)
    assert "\n" not in made
    bare = re.sub(r"\\(text\w+\{\}|[_%&$#{}])|\{[\[\]]\}", "", made)
    assert not set(bare) & set("_%&$#{}~^\\[]<>|")


@pytest.mark.slow
def test_foreign_names_survive_in_all_tables(fabricator: Any, players: Any) -> None:
    from dataclasses import replace

    fabricator.dataset = SPECIAL
    fabricator.add(players["bicubic"], metrics=("psnr",), previews=0)
    fabricator.add(replace(players["edsr"], title=SPECIAL), metrics=("psnr",), previews=0)
    board = leaderboard(collect(fabricator.store)[0])
    latex = latex_table(board, board.families[0])
    data_lines = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
    assert {len(cells_of(line)) for line in data_lines} == {2}
    assert "\\textbar{}" in latex
    markdown = markdown_table(board, trust(board))
    assert "<b>" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| Ma")]
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 3
    assert SPECIAL in csv_table(board)


def test_markdown_states_conditions_and_marks_the_best(board: Leaderboard) -> None:
    text = markdown_table(board, trust(board))
    assert board.block.key.protocol in text
    assert "16 images in 8 groups" in text
    best = next(line for line in text.splitlines() if "EDSR" in line)
    assert re.match(r"\| EDSR \(paper, paper budget, seed 0\) \| \*\*\d\d\.\d", best)
    assert f"\\[{SMOKE}\\]" in text


def test_tables_say_what_was_done_about_the_noise_of_the_reference(board: Leaderboard) -> None:
    noted = [replace(manifest, notes=[REFERENCE_NOISE["rows"]]) for manifest in board.block.complete]
    recorded = replace(board, block=replace(board.block, complete=tuple(noted)))
    words = REFERENCE_NOISE["rows"]
    assert any(words in text for text in warnings_of(recorded)) and not any(
        words in text for text in warnings_of(board)
    )
    assert escape(words) in markdown_table(recorded, trust(recorded))
    assert f"% {words}\n" in latex_table(recorded, families(recorded.columns)[0])
