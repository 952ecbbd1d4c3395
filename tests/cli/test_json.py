"""``--json``: the standard output is one document, and holds what the Python API gives."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

import srbench as package
from helpers.command_line import Result, Srbench
from helpers.fake_set import texture
from helpers.measured_fields import DiscPairs
from srbench import datasets
from srbench.cli.app import cli
from srbench.measuring.bank import read_bank
from srbench.reporting import paper_tables
from srbench.statistics.conformal import calibrate, cross_validated

pytestmark = pytest.mark.slow


def document(result: Result, code: int = 0) -> Any:
    """What was printed, all of it; NaN and infinity are no JSON."""
    assert result.returncode == code, result.stderr
    return json.loads(result.stdout, parse_constant=lambda name: pytest.fail(name))


def plain(content: Any) -> Any:
    """Of the API's results what JSON can hold."""
    if isinstance(content, dict):
        return {name: plain(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return str(content) if isinstance(content, Path) else content


def images(folder: Path, sizes: tuple[tuple[int, int], ...]) -> Path:
    folder.mkdir()
    for number, size in enumerate(sizes):
        Image.fromarray(texture(number, *size)).save(folder / f"s{number}.png")
    return folder


def mean_of(scores: pd.DataFrame, model: str, metric: str) -> float:
    """Images of a folder are a group each, of one category: the plain mean."""
    rows = scores[(scores["model"] == model) & (scores["metric"] == metric) & (scores["image"] != "")]
    return float(rows["value"].mean())


def check_scores(printed: Any, results: Path) -> None:
    scores = package.load_scores(results)
    assert printed["results"] == str(results)
    (block,) = printed["blocks"]
    seen = 0
    for row in block["rows"]:
        model = row["runs"][0].split("-")[0]
        for metric, cell in row["scores"].items():
            assert cell["mean"] == pytest.approx(mean_of(scores, model, metric))
            assert cell["low"] <= cell["mean"] <= cell["high"] and cell["n_images"] == 3
            seen += 1
    assert seen >= 4


SIZES = ((64, 80), (66, 72), (72, 64))
METRICS = ("--metric", "psnr", "--metric", "ssim")


@pytest.mark.usefixtures("workers_here")
def test_eval_prints_outcomes_and_means_and_report_what_it_wrote(srbench: Srbench, tmp_path: Path) -> None:
    hr = images(tmp_path / "hr", SIZES)
    options = ("--dataset", str(hr), "--scale", "2", *METRICS, "--json")
    printed = document(srbench("eval", "bicubic", "nearest", *options))
    results = tmp_path / "results"
    check_scores(printed, results)
    again = package.evaluate(
        ["bicubic", "nearest"], dataset=str(hr), scale=2, metrics=["psnr", "ssim"], results=results
    )
    assert {outcome["model"] for outcome in printed["outcomes"]} >= {"bicubic", "nearest"}
    assert {outcome["status"] for outcome in printed["outcomes"]} == {"scored"}
    assert [outcome["run_id"] for outcome in printed["outcomes"]] == [o.run_id for o in again.outcomes]
    assert printed["conditions"] == [again.conditions]

    printed = document(srbench("report", "--json"))
    assert printed == plain(asdict(package.report(results)))
    assert Path(printed["page"]).is_file() and printed["words"]
    printed = document(srbench("report", "--table", "paper", "--json"))
    assert printed == plain(asdict(paper_tables(results)))


@pytest.mark.usefixtures("workers_here")
def test_a_model_that_fails_is_in_the_document_and_the_exit_code_stays(
    srbench: Srbench, tmp_path: Path
) -> None:
    hr, weights = images(tmp_path / "hr", SIZES), tmp_path / "no.safetensors"
    weights.write_bytes(b"nothing")
    options = ("--dataset", str(hr), "--scale", "2", *METRICS, "--weights", str(weights), "--json")
    printed = document(srbench("eval", "edsr", *options), code=1)
    (outcome,) = (outcome for outcome in printed["outcomes"] if outcome["model"] == "edsr")
    assert outcome["status"] == "failed" and str(weights) in outcome["detail"]


@pytest.mark.usefixtures("workers_here")
def test_score_prints_what_load_scores_gives(srbench: Srbench, tmp_path: Path) -> None:
    hr, sr = images(tmp_path / "hr", SIZES), tmp_path / "theirs"
    sr.mkdir()
    for path in hr.iterdir():
        Image.fromarray(np.asarray(Image.open(path)) // 4 * 4).save(sr / path.name)
    printed = document(srbench("score", str(sr), str(hr), "--scale", "2", *METRICS, "--json"))
    check_scores(printed, tmp_path / "results")
    assert {outcome["model"] for outcome in printed["outcomes"]} >= {"theirs", "bicubic"}


def test_train_prints_the_result_of_the_run(srbench: Srbench, tmp_path: Path) -> None:
    dataset = str(images(tmp_path / "images", ((96, 96),) * 6))
    options = ("--scale", "2", "--variant", "tiny", "--budget", "smoke", "--out", str(tmp_path / "run"))
    short = ("--set", "train.iterations=2", "--set", "train.batch=2")
    printed = document(srbench("train", "edsr", "--dataset", dataset, *options, *short, "--json"))
    finished = package.train(config=tmp_path / "run" / "config.yaml", out=tmp_path / "run", resume=True)
    assert finished is not None
    assert printed["iterations"] == finished.iterations == 2
    assert (printed["folder"], printed["weights"]) == (str(finished.folder), str(finished.weights))
    assert printed["best"] == plain(dict(finished.best))
    assert printed["config"] == finished.config.model_dump(mode="json")
    assert printed["seconds"] == pytest.approx(finished.seconds, abs=0.1)


def test_calibrate_prints_the_intervals_of_its_bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "open", lambda name: DiscPairs(30))
    path = tmp_path / "bank.json"
    words = ["calibrate", "none", "--dataset", "x", "--measure", "particles", "--out", str(path), "--json"]
    done = CliRunner().invoke(cli, words)
    printed = document(Result(done.exit_code, done.stdout, done.stderr))
    bank = read_bank(path)
    assert printed["bank"] == str(path)
    assert printed["conditions"] == asdict(bank.conditions)
    assert printed["counts"] == asdict(bank.counts)
    assert set(printed["quantities"]) == set(bank.quantities)
    for name, quantity in bank.quantities.items():
        shown = printed["quantities"][name]["bins"]
        covered = [share and plain(asdict(share)) for share in cross_validated(quantity.arrays)]
        assert [part.pop("coverage") for part in shown] == (covered or [None] * len(shown))
        assert shown == [plain(asdict(part)) for part in calibrate(quantity.arrays)]
