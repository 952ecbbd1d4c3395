"""What the terminal shows after an evaluation says the same as the page."""

from dataclasses import replace
from pathlib import Path

import pytest

from srbench.reporting.answer import answers, invention
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measurements import trust
from srbench.reporting.rows import title_of
from srbench.reporting.summary import Summary, summaries
from srbench.store import ScoreStore


@pytest.fixture(scope="module")
def shown(rich: Path, rich_board: Leaderboard) -> Summary:
    (summary,) = summaries(ScoreStore(rich), {rich_board.rows[0].manifest.key.run_id})
    return summary


def column(shown: Summary, start: str) -> dict[str, str]:
    index = next(i for i, head in enumerate(shown.columns) if head.startswith(start))
    return {row[0]: row[index] for row in shown.rows}


def test_rows_are_those_of_the_page_in_its_order(shown: Summary, rich_board: Leaderboard) -> None:
    assert [row[0].split(" [")[0] for row in shown.rows] == [row.label for row in rich_board.rows]
    assert {len(row) for row in shown.rows} == {len(shown.columns)}


def test_verdicts_and_the_best_are_those_of_the_page(shown: Summary, rich_board: Leaderboard) -> None:
    table = trust(rich_board)
    psnr = next(measure for measure in rich_board.columns if measure.name == "psnr")
    for row, status, value in zip(
        rich_board.rows, column(shown, "CD").values(), column(shown, "PSNR").values(), strict=True
    ):
        assert status.split(" ", 1)[1] == table.judgements[row.run]["cd_bias"].verdict.status
        assert value.endswith("*") == row.cells[psnr.id].best
        assert float(value.rstrip(" *")) == pytest.approx(row.cells[psnr.id].mean, abs=0.06)


def test_the_words_are_those_of_the_page(shown: Summary, rich_board: Leaderboard) -> None:
    sentences = [answer.text for answer in answers(rich_board, trust(rich_board))]
    assert list(shown.words) == [*sentences, invention(rich_board)]


def test_blocks_without_the_runs_are_not_read(rich: Path) -> None:
    assert summaries(ScoreStore(rich), {"no such run"}) == []


@pytest.mark.parametrize(
    ("model", "scale", "said"), [("bicubic", 1, True), ("bicubic", 4, False), ("vdsr", 1, False)]
)
def test_interpolation_that_enlarges_nothing_says_so(
    rich_board: Leaderboard, model: str, scale: int, said: bool
) -> None:
    manifest = next(row.manifest for row in rich_board.rows if row.run.model == model)
    title = title_of(replace(manifest, key=replace(manifest.key, scale=scale)))
    assert ("LR as it is" in title) == said
