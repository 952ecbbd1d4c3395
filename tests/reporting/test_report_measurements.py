"""The verdicts on top of each block, in words and signs as well as in colours."""

import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from srbench.reporting import ReportResult
from srbench.reporting.answer import answers, best_networks
from srbench.reporting.blocks import collect
from srbench.reporting.leaderboard import Leaderboard, leaderboard
from srbench.reporting.measurements import Judgement, TrustTable, csv_trust, trust
from srbench.reporting.tables import latex_trust, markdown_table
from srbench.statistics.tolerance import TOLERANCES, chosen_tolerances, judge
from srbench.store import ScoreStore


@pytest.fixture(scope="module")
def board(rich_board: Leaderboard) -> Leaderboard:
    return rich_board


@pytest.fixture(scope="module")
def table(board: Leaderboard) -> TrustTable:
    return trust(board)


@pytest.fixture(scope="module")
def text(rich_report: ReportResult) -> str:
    return rich_report.page.read_text(encoding="utf-8")


def of(board: Leaderboard, table: TrustTable, model: str) -> Judgement:
    run = next(row.run for row in board.rows if row.run[0] == model)
    return table.judgements[run]["cd_bias"]


def rows_of(root: Path, model: str, seed: int) -> pd.DataFrame:
    """Bias and error on HR of one run, one row an image."""
    scores = ScoreStore(root).scores()
    own = scores[(scores.model == model) & (scores.seed == seed) & scores.metric.str.startswith("cd_bias")]
    return own.pivot(index=["image", "group", "category"], columns="metric", values="value").reset_index()


def test_only_measurements_with_values_are_columns(table: TrustTable) -> None:
    assert [one.name for one in table.measurements] == ["cd_bias"]
    assert table.measurements[0].tolerance is TOLERANCES["cd_bias"]
    assert table.measurements[0].title == "CD"


@pytest.mark.parametrize(
    ("model", "status"),
    [
        ("vdsr", "trusted"),
        ("bicubic", "not trusted"),
        ("srgan", "not trusted"),
        ("nearest", "undecided"),
        ("noise_ceiling", "trusted"),
        ("random_texture", "undecided"),
    ],
)
def test_each_row_has_its_verdict(board: Leaderboard, table: TrustTable, model: str, status: str) -> None:
    assert of(board, table, model).verdict.status == status


def test_a_training_has_the_verdict_of_its_least_seed(board: Leaderboard, table: TrustTable) -> None:
    found = of(board, table, "edsr")
    assert (found.verdict.status, found.seed, found.agreeing, found.n_seeds) == ("not trusted", 2, 1, 3)
    assert found.reason.startswith("Seed 2: The line width (CD) changes by +0.7")


def test_numbers_are_those_of_the_stored_rows(rich: Path, board: Leaderboard, table: TrustTable) -> None:
    verdict = of(board, table, "vdsr").verdict
    rows = rows_of(rich, "vdsr", 0)
    change = (rows["cd_bias"] - rows["cd_bias_hr"]).groupby([rows["category"], rows["group"]]).mean()
    assert verdict.change == pytest.approx(change.groupby("category").mean().mean(), rel=1e-12)
    assert verdict.error_hr == pytest.approx(1.0)
    assert (verdict.images, verdict.groups) == (8, 8)
    again = judge(
        "cd_bias",
        rows["cd_bias"].tolist(),
        rows["cd_bias_hr"].tolist(),
        rows["group"].tolist(),
        rows["category"].tolist(),
        lost=0,
    )
    assert (verdict.low, verdict.high, verdict.reason) == (again.low, again.high, again.reason)


def test_lost_images_are_counted_and_images_that_show_no_lines_are_not(
    board: Leaderboard, table: TrustTable
) -> None:
    verdict = of(board, table, "srgan").verdict
    assert verdict.lost == 4
    assert "in 4 of these no longer" in verdict.reason


def test_the_page_says_it_in_words_before_any_ranking(
    text: str, board: Leaderboard, table: TrustTable
) -> None:
    places = (
        'class="sentences"',
        '<div class="strip">',
        '<table class="grid">',
        'class="fold"',
        'class="leaderboard"',
    )
    assert sorted(places, key=text.index) == list(places)
    cells = re.findall(
        r'<td class="verdict ([\w-]+)" title="[^"]+"><b><span[^>]*>(.)</span> ([\w ]+)</b>', text
    )
    expected = {"trusted": "✓", "not trusted": "✗", "undecided": "?"}
    assert len(cells) == len(board.rows)
    assert all(expected[word] == sign and name == word.replace(" ", "-") for name, sign, word in cells)
    printed = re.findall(r"Seed 2: The line width \(CD\)[^<]*", text)
    assert printed[-1].strip() == of(board, table, "edsr").reason


def test_what_is_not_ranked_is_marked_in_the_table_of_verdicts(text: str) -> None:
    body = re.search(r'<table class="trust">.*?</table>', text, flags=re.S)
    assert body is not None
    unranked = body.group(0).split("Shown, not ranked")[1]
    assert "failed: lossless output" in unranked
    assert "smoke budget: not a result" in unranked
    assert "ranked: 1 trusted, 1 undecided, 2 not trusted" in body.group(0)


def test_a_sentence_names_who_can_be_trusted_and_by_how_much_the_others_are_off(
    text: str, board: Leaderboard, table: TrustTable
) -> None:
    (answer,) = answers(board, table)
    of_status = {clause.status: clause.words for clause in answer.clauses}
    assert [clause.status for clause in answer.clauses] == ["trusted", "not trusted", "undecided"]
    assert of_status["trusted"] == "VDSR (+0.1 px)"
    assert of_status["not trusted"] == "EDSR (+0.8 px) and Bicubic (+1.2 px)"
    assert of_status["undecided"].startswith("Nearest")
    assert all(clause.words in html.unescape(text) for clause in answer.clauses)


def test_equal_verdicts_are_said_once_with_their_range(board: Leaderboard) -> None:
    strict = trust(board, chosen_tolerances({"cd": 0.01}))
    ranked = [row for row in board.rows if row.run.model in ("vdsr", "edsr", "bicubic")]
    (answer,) = answers(replace(board, rows=tuple(ranked)), strict)
    (clause,) = answer.clauses
    assert clause.status == "not trusted"
    changes = [strict.judgements[row.run]["cd_bias"].verdict.change for row in ranked]
    ends = [f"{end:+.3f}" for end in (min(changes), max(changes))]
    assert clause.words == f"any of the 3 results ({ends[0]} to {ends[1]} px)"


def test_what_was_lost_decides_before_a_small_change(board: Leaderboard, table: TrustTable) -> None:
    (measurement,) = table.measurements
    assert of(board, table, "srgan").evidence(measurement) == "lost in 4 of 8"


def test_the_best_networks_are_those_with_most_measurements_trusted(
    board: Leaderboard, table: TrustTable
) -> None:
    assert [row.run.model for row in best_networks(board, table)] == ["vdsr", "edsr"]
    assert board.section("network")[0].run.model == "edsr"


@pytest.mark.slow
def test_without_measurements_there_is_no_table(filled_report: ReportResult) -> None:
    assert '<table class="trust">' not in filled_report.page.read_text(encoding="utf-8")
    assert not [path for path in filled_report.tables if "trust" in path.name]


@pytest.mark.slow
def test_few_images_are_said_to_be_few(fabricator: Any, players: Any) -> None:
    fabricator.add(players["edsr"], ("psnr",), 0, more=lambda *_: {"cd_bias": 0.1, "cd_bias_hr": 0.0})
    board = leaderboard(collect(fabricator.store)[0])
    found = of(board, trust(board), "edsr")
    assert found.verdict.status == "undecided"
    assert found.few == "only 4 independent images"


def test_tables_hold_the_verdicts(board: Leaderboard, table: TrustTable, tmp_path: Path) -> None:
    latex = latex_trust(board, table)
    vdsr = next(line for line in latex.splitlines() if line.startswith("VDSR"))
    assert vdsr.removesuffix(r"\\").split(" & ")[1].strip() == "trusted"
    assert r"CD \ensuremath{\pm} 0.5 px" in latex
    assert r"SRGAN (paper, short budget, seed 0)\textsuperscript{a}" in latex
    markdown = markdown_table(board, table)
    assert re.search(r"\| VDSR \(paper, paper budget, seed 0\) \| trusted, \+0\.\d\d \[\+0", markdown)
    path = tmp_path / "trust.csv"
    path.write_text(csv_trust(board, table), encoding="utf-8")
    read = pd.read_csv(path).set_index("model")
    assert read.loc["edsr", "status"] == "not trusted"
    assert read.loc["vdsr", "change"] == of(board, table, "vdsr").verdict.change
    assert np.isnan(read.loc["nearest", "low"])
