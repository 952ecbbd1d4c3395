"""``srbench verify`` and ``srbench submit`` as they are typed, one after the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from helpers.submitted import DATASET, METHOD, better, fill_in, forge, run_of, save_gain, stage
from srbench.cli.app import cli
from srbench.store import results_digest


def typed(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


@pytest.fixture
def staged() -> Iterator[None]:
    with stage():
        yield


@pytest.mark.slow
def test_a_submission_from_plan_to_page(
    staged: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = save_gain(tmp_path / "runs", 0.97, 0)
    code, _ = typed("submit", "plan", METHOD, "--group", "lab", "--dataset", DATASET, "--metric", "psnr")
    (folder,) = (tmp_path / "submissions").iterdir()
    assert code == 0
    common = ["--dataset", DATASET, "--metric", "psnr", "--results", "results", "--previews", 0]
    assert typed("eval", METHOD, "bicubic", "--weights", weights, *common)[0] in (0, 1)
    assert typed("submit", "prepare", folder, "--results", "results")[0] == 0
    assert typed("submit", "validate", folder)[0] == 1  # what a person must write is not written
    fill_in(folder, attempts=3)
    code, text = typed("submit", "validate", folder, "--json")
    (seen,) = json.loads(text)
    assert code == 0 and seen["status"] == "claimed" and seen["digest"] == results_digest(folder)

    arguments = ["--by", "a reader", "--weights", tmp_path / "runs", "--seed", 3, "--device", "cpu"]
    assert typed("submit", "verify", folder, *arguments)[0] == 0
    assert typed("submit", "collect", folder, "--results", "board")[0] == 0
    assert typed("report", "--results", "board")[0] == 0
    page = (tmp_path / "board" / "report" / "report.html").read_text()
    assert "audited by a reader; 3 attempts" in page and folder.name in page

    code, text = typed("verify", "board", "--json")
    data: dict[str, Any] = json.loads(text)
    assert code == 0 and data["passed"] and data["digest"] == results_digest("board") and data["absent"]
    forge(run_of(tmp_path / "board"), better, rehash=False)
    code, text = typed("verify", "board")
    assert code == 1 and results_digest("board") in text
    code, text = typed("verify", "board", "--rerun", "--weights", tmp_path / "runs", "--json")
    outcomes = {run["run"].split("-")[0]: run["rerun"] for run in json.loads(text)["runs"]}
    assert code == 1 and outcomes == {
        METHOD: "differs",
        **dict.fromkeys(("bicubic", "noise_ceiling", "random_texture"), "equal"),
    }
