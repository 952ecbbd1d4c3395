"""A failed check stands beside the row, keeps it from being ranked, and moves no other row's numbers."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from srbench.checks.base import CHECKS, badge_of, stored_results
from srbench.reporting import ReportResult, report
from srbench.reporting.blocks import collect
from srbench.reporting.check_table import check_rows, in_words
from srbench.reporting.leaderboard import Leaderboard, leaderboard
from srbench.reporting.notes import record
from srbench.reporting.rows import NEVER, RANKED, Row
from srbench.reporting.tables import latex_table
from srbench.store import Manifest, ScoreStore

HOSTILE = "<script>alert(1)</script>'\">"


def board_of(root: Path) -> Leaderboard:
    return leaderboard(collect(ScoreStore(root))[0])


def row_of(board: Leaderboard, model: str) -> Row:
    return next(row for row in board.rows if row.run[0] == model)


@pytest.fixture(scope="module")
def board(checked: Path) -> Leaderboard:
    return board_of(checked)


@pytest.fixture
def copy(checked: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checked, tmp_path / "copy"))


def change(root: Path, model: str, alter: Callable[[dict[str, Any]], None], seed: int | None = None) -> None:
    """Edit the manifests of a model's runs."""
    for path in root.glob("runs/*/manifest.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["key"]["model"] == model and seed in (None, content["key"]["seed"]):
            alter(content)
            path.write_text(json.dumps(content), encoding="utf-8")


def fail(name: str, detail: str = "It did.") -> Callable[[dict[str, Any]], None]:
    return lambda content: content["guards"].append({"guard": name, "status": "failed", "detail": detail})


@pytest.mark.slow
def test_a_failed_check_stands_beside_the_row_and_it_is_not_ranked(board: Leaderboard) -> None:
    row = row_of(board, "srgan")
    assert row.kind == "unranked"
    assert row.badges == ("failed: lossless output",)
    assert "14 of 16 outputs" in row.faults["failed: lossless output"]
    assert not any(cell.ranked or cell.best for cell in row.cells.values())
    assert row.cells["psnr"].diff == pytest.approx(
        row.cells["psnr"].mean - row_of(board, "bicubic").cells["psnr"].mean
    )


@pytest.mark.slow
def test_it_moves_no_number_of_those_that_are_ranked(board: Leaderboard, copy: Path) -> None:
    for path in copy.glob("runs/srgan*"):
        shutil.rmtree(path)
    without = board_of(copy)
    ranked = [row for row in without.rows if row.kind in RANKED]
    assert len(ranked) == 4
    for row in ranked:
        # As text, because a value that is missing is not equal to itself.
        assert repr(row.cells) == repr(row_of(board, row.run[0]).cells)


@pytest.mark.slow
def test_a_seed_that_failed_stands_alone(copy: Path) -> None:
    change(copy, "edsr", fail("determinism"), seed=1)
    rows = [row for row in board_of(copy).rows if row.run[0] == "edsr"]
    assert [(row.kind, [m.key.seed for m in row.manifests]) for row in rows] == [
        ("network", [0, 2]),
        ("unranked", [1]),
    ]
    assert rows[0].detail == "paper, paper budget, seeds 0, 2"
    assert rows[1].badges == ("failed: LR alone decides",)
    assert rows[0].cells["psnr"].n_seeds == 2


@pytest.mark.slow
def test_a_baseline_that_failed_is_not_ranked_but_stays_the_yardstick(board: Leaderboard, copy: Path) -> None:
    change(copy, "bicubic", fail("determinism"))
    changed = board_of(copy)
    assert row_of(changed, "bicubic").kind == "unranked"
    for name in ("edsr", "nearest"):
        before, after = (row_of(one, name).cells["psnr"] for one in (board, changed))
        assert (after.diff, after.diff_low) == (before.diff, before.diff_low)
    assert [row_of(changed, name).cells["psnr"].rank for name in ("edsr", "vdsr", "nearest")] == [1, 2, 3]


@pytest.mark.slow
def test_same_pixels_under_two_names_are_not_ranked(copy: Path) -> None:
    for name in ("edsr", "vdsr"):
        change(copy, name, lambda content: content.update(outputs={"img/00.png": "ab" * 32}), seed=0)
    board = board_of(copy)
    assert "failed: whole and distinct" in row_of(board, "vdsr").badges
    assert row_of(board, "vdsr").kind == "unranked"


def test_runs_from_before_say_what_to_type(board: Leaderboard) -> None:
    found = {row.label: row for row in check_rows(board)}
    assert {cell.detail for cell in found["Nearest"].cells[:7]} == {NEVER}
    assert "type --force" in NEVER
    assert row_of(board, "nearest").kind == "interpolation"
    assert {cell.word for cell in found["Noise ceiling"].cells[:7]} == {"not applicable"}


def test_the_table_has_every_run_and_check(board: Leaderboard) -> None:
    rows = check_rows(board)
    assert len(rows) == len(board.block.complete) == 10
    assert all([cell.title for cell in row.cells] == [check.title for check in CHECKS] for row in rows)
    passed = sum(cell.status == "passed" for row in rows for cell in row.cells)
    unchecked = sum(cell.status == "unchecked" for row in rows for cell in row.cells)
    assert in_words(rows) == f"1 of 10 runs failed a check; {passed} passed, {unchecked} not made"


@pytest.mark.slow
def test_the_page_shows_findings_and_promises(rich_report: ReportResult) -> None:
    text = rich_report.page.read_text(encoding="utf-8")
    for check in CHECKS:
        assert check.promise in text
    failed = re.findall(
        r'<td class="failed" title="[^"]*"><b><span[^>]*>✗</span> failed</b><span class="ci">([^<]*)', text
    )
    assert failed == ["14 of 16 outputs show blocks of 8 x 8 pixels, as JPEG leaves them."]
    badge = r'<span class="badge" title="14 of 16 [^"]*">failed: lossless output</span>'
    assert len(re.findall(badge, text)) >= 2
    assert "Failed check, not ranked: Lossless output (SRGAN (paper, short budget, seed 0))." in text
    gap = re.search(r"<dt>Failed check: HR out of reach. It tried to read [^<]*</dt><dd>([^<]*)</dd>", text)
    assert gap is not None and gap.group(1) == "HMANet (paper)"


@pytest.mark.slow
def test_foreign_and_broken_findings_lose_nothing(copy: Path, tmp_path: Path) -> None:
    def alter(content: dict[str, Any]) -> None:
        content["guards"] += [
            {"guard": HOSTILE, "status": "failed", "detail": HOSTILE},
            {"guard": "hr_access", "status": "splendid", "detail": "Trust me."},
            {"status": "passed"},
        ]

    change(copy, "vdsr", alter)
    board = board_of(copy)
    row = row_of(board, "vdsr")
    assert row.kind == "unranked"
    found = next(one for one in check_rows(board) if one.label.startswith("VDSR"))
    assert [cell.status for cell in found.others] == ["failed"]
    assert found.cells[0].status == "passed"
    text = report(copy, tmp_path / "out").page.read_text(encoding="utf-8")
    assert text.count("<script>") == 1
    assert HOSTILE not in text


def test_a_manifest_alone_says_what_failed() -> None:
    key = next(iter(CHECKS)).name
    manifest = Manifest(key=None, status="complete", guards=[{"guard": key, "status": "failed"}])  # type: ignore[arg-type]
    (found,) = stored_results(manifest)
    assert (badge_of(found), found.detail) == ("failed: HR out of reach", "")


def test_latex_marks_failed_checks_with_footnotes(board: Leaderboard) -> None:
    text = latex_table(board, board.families[0])
    line = next(line for line in text.splitlines() if line.startswith("SRGAN"))
    assert line.startswith(r"SRGAN (paper, short budget, seed 0)\textsuperscript{a} & ")
    note = text.split(r"\bottomrule")[1]
    assert r"\textsuperscript{a} failed: lossless output: 14 of 16 outputs show blocks" in note
    assert text.index("Shown, not ranked") < text.index("SRGAN (paper")


@pytest.mark.slow
def test_several_failures_are_all_told(copy: Path) -> None:
    change(copy, "vdsr", fail("determinism", "Other order, other pixels."))
    change(copy, "vdsr", fail("hr_access", "It read HR."))
    board = board_of(copy)
    assert row_of(board, "vdsr").badges == ("failed: HR out of reach", "failed: LR alone decides")
    assert r"\textsuperscript{a,b}" in latex_table(board, board.families[0])


@pytest.mark.slow
def test_fine_tuned_seeds_stand_apart_and_their_lineage_is_in_the_record(copy: Path) -> None:
    parent = {"sha256": "ab" * 32, "name": "p", "header": {"dataset": "photos", "scale": 2}}
    change(copy, "edsr", lambda content: content["weights"].update(lineage=[parent]), seed=1)
    rows = [row for row in board_of(copy).rows if row.run[0] == "edsr"]
    assert {row.detail for row in rows} == {
        "paper, paper budget, seeds 0, 2",
        "paper, paper budget, seed 1, fine-tuned",
    }
    (tuned,) = (row for row in rows if "fine-tuned" in row.detail)
    fields = dict(record("tuned", tuned.manifest).fields)
    assert fields["Weights: Lineage 1: Sha256"] == "ab" * 32
    assert fields["Weights: Lineage 1: Header: Dataset"] == "photos"


@pytest.mark.slow
def test_filters_stand_with_the_interpolations(copy: Path) -> None:
    change(copy, "nearest", lambda content: content["card"].update(family="filter"))
    assert row_of(board_of(copy), "nearest").kind == "interpolation"


@pytest.mark.slow
def test_references_are_never_ranked_whatever_their_manifest_says(copy: Path) -> None:
    for name in ("noise_ceiling", "random_texture"):
        change(copy, name, lambda content: content["card"].update(family="interpolation"))
    board = board_of(copy)
    assert row_of(board, "random_texture").kind == "control"
    assert not any(cell.ranked for cell in row_of(board, "random_texture").cells.values())
    assert not any(cell.ranked for cell in row_of(board, "noise_ceiling").cells.values())


@pytest.mark.slow
def test_the_control_has_a_section_of_its_own_and_marks_what_it_fools(
    rich: Path, rich_board: Leaderboard, rich_report: ReportResult
) -> None:
    scores = ScoreStore(rich).scores()
    wide = scores[scores.image != ""].pivot_table(
        index=["metric", "image"], columns="model", values="value", aggfunc="mean"
    )
    gain = (wide["random_texture"] - wide["bicubic"]).groupby("metric")
    assert gain.get_group("lpips-alex-0.1").max() < 0
    assert rich_board.not_evidence == {"lpips-alex-0.1"}
    text = rich_report.page.read_text(encoding="utf-8")
    assert "Control (invents texture on purpose, not a model)" in text
    heads = re.findall(r'<th scope="col" aria-sort[^>]*>.*?</th>', text, flags=re.S)
    flagged = [head for head in heads if "not evidence of structure</span>" in head]
    assert len(flagged) == 1
    assert "LPIPS" in flagged[0]
    sentence = "Not evidence of structure: a control that invents texture beats bicubic here."
    glossary = text[text.index("What the metrics mean") :]
    assert glossary.count(sentence) == 1
    assert re.search(r"<dt>LPIPS[^<]*</dt><dd>[^<]*" + re.escape(sentence), glossary)


@pytest.mark.slow
def test_a_control_that_wins_by_chance_marks_nothing(fabricator: Any, players: Any) -> None:
    texture = replace(players["bicubic"], model="random_texture", title="Control", family="")

    def nearly(player: Any, seed: int, index: int) -> dict[str, float]:
        better = player.model == "random_texture" and index // 2 == 0
        return {"lpips-alex-0.1": 0.2 if better else 0.3}

    for player in (players["bicubic"], texture):
        fabricator.add(player, ("psnr",), 0, more=nearly)
    board = board_of(fabricator.store.root)
    assert row_of(board, "random_texture").cells["lpips-alex-0.1"].diff < 0
    assert board.not_evidence == frozenset()
