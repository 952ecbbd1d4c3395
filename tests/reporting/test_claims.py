"""Published claims are matched to rows by model and metric, and every one that is not has a reason."""

from dataclasses import replace

import pytest

from srbench.metrics import registry
from srbench.reporting import claims
from srbench.reporting.claims import Checked, checked, published
from srbench.reporting.leaderboard import Leaderboard
from srbench.reporting.measurements import trust
from srbench.statistics.tolerance import TOLERANCES


@pytest.fixture(scope="module")
def lines(rich_board: Leaderboard) -> list[Checked]:
    return checked(rich_board, trust(rich_board))


def test_every_claim_names_what_srbench_has_or_says_why_not() -> None:
    for claim in published():
        assert claim.words and claim.data and claim.source
        assert claim.why or claim.measurement in TOLERANCES or registry.get(claim.metric).name == claim.metric
        assert not (claim.minus and not claim.model)


def test_a_number_is_that_of_the_first_row_of_the_model(
    lines: list[Checked], rich_board: Leaderboard
) -> None:
    (line, *_) = [line for line in lines if (line.claim.model, line.claim.metric) == ("vdsr", "psnr")]
    row = next(row for row in rich_board.rows if row.run.model == "vdsr")
    assert line.claim.value == 26.979
    assert float(line.measured.split()[0]) == pytest.approx(row.cells["psnr"].mean, abs=0.06)


def test_a_difference_is_taken_image_by_image(
    lines: list[Checked], rich_board: Leaderboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim on two models, said of two that were scored."""
    claim = next(line.claim for line in lines if line.claim.minus)
    claim = replace(claim, model="edsr", minus="bicubic", what="")
    monkeypatch.setattr(claims, "published", lambda: (claim,))
    (line,) = checked(rich_board, trust(rich_board))
    row = next(row for row in rich_board.rows if row.run.model == "edsr")
    assert float(line.measured.split()[0]) == pytest.approx(row.cells["psnr"].diff, abs=0.06)


def test_what_cannot_be_compared_has_its_reason(lines: list[Checked]) -> None:
    assert all(line.measured or line.why for line in lines)
    of_words = {(line.claim.model, line.claim.metric): line for line in lines}
    assert "no row" in of_words["swinir", "psnr"].why
    assert all(not line.measured for line in lines if line.claim.scale not in (None, 4))
