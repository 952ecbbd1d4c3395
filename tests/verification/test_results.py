"""A results folder looked at: what was changed is found, whatever was hashed anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from helpers.submitted import METHOD, better, edit, forge, run_of
from srbench.reporting import report
from srbench.store import ScoreStore, results_digest
from srbench.utils.errors import SrbenchError
from srbench.verification.results import ResultsCheck, check_results


def wrong(check: ResultsCheck) -> set[str]:
    return {run.manifest.key.model for run in check.runs if run.problems}


@pytest.mark.slow
def test_results_as_written_pass(submission: Path) -> None:
    check = check_results(submission)
    assert check.passed and {run.images for run in check.runs} == {4}
    assert {run.rows for run in check.runs if run.manifest.key.model == METHOD} == {12}
    assert all(run.hashed for run in check.runs) and len(check.runs) == 4
    assert len(check.absent) == 1 and "back_projection" in check.absent[0]


def without_one(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["image"] != sorted(set(rows["image"]))[1]]


def in_one_group(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(group=rows["group"].where(rows["image"] == "", "together"))


@pytest.mark.slow
@pytest.mark.parametrize("rehash", [False, True])
@pytest.mark.parametrize("change", [without_one, in_one_group], ids=lambda change: change.__name__)
def test_what_the_dataset_says_otherwise_is_wrong_with_new_hashes_too(
    submission: Path, change: Callable[[pd.DataFrame], pd.DataFrame], rehash: bool
) -> None:
    forge(run_of(submission), change, rehash)
    edit(run_of(submission) / "manifest.json", lambda manifest: manifest["data"].update(images=3))
    assert wrong(check_results(submission)) == {METHOD}


@pytest.mark.slow
def test_rows_that_were_changed_do_not_fit_their_hash(submission: Path) -> None:
    forge(run_of(submission, "bicubic"), better, rehash=False)
    assert wrong(check_results(submission)) == {"bicubic"}


@pytest.mark.slow
def test_what_hashes_cannot_show_passes(submission: Path) -> None:
    """Which is why the command says so."""
    forge(run_of(submission), better, rehash=True)
    assert check_results(submission).passed


@pytest.mark.slow
def test_without_bicubic_it_is_said_on_top(submission: Path) -> None:
    shutil.rmtree(run_of(submission, "bicubic"))
    check = check_results(submission)
    assert "bicubic" in check.absent[0] and check.passed


@pytest.mark.slow
def test_other_lr_images_and_missing_output_hashes_are_wrong(submission: Path) -> None:
    edit(run_of(submission) / "manifest.json", lambda manifest: manifest["outputs"].popitem())
    assert wrong(check_results(submission)) == {METHOD}
    edit(run_of(submission) / "manifest.json", lambda manifest: manifest["data"].update(lr_sha256="0" * 64))
    assert len(wrong(check_results(submission))) == 4


@pytest.mark.slow
def test_a_run_that_cannot_be_read_is_wrong(submission: Path) -> None:
    (run_of(submission) / "scores.parquet").write_bytes(b"PAR1")
    check = check_results(submission)
    assert len(check.problems) == 1 and not check.passed


@pytest.mark.slow
def test_means_of_written_tables_follow_from_the_rows(submission: Path) -> None:
    report(submission)
    assert check_results(submission).passed
    (table,) = (p for p in submission.glob("report/tables/*.csv") if not p.stem.endswith(("trust", "curves")))
    frame = pd.read_csv(table, dtype=str)
    number = frame.index[(frame["model"] == "bicubic") & (frame["metric"] == "psnr")][0]
    frame.loc[number, "mean"] = str(float(frame.loc[number, "mean"]) + 0.01)
    frame.to_csv(table, index=False)
    check = check_results(submission)
    assert len(check.problems) == 1 and "bicubic psnr" in check.problems[0]


@pytest.mark.slow
def test_the_digest_is_that_of_the_content(submission: Path, original: Path) -> None:
    assert results_digest(submission) == results_digest(original)
    rewritten = run_of(submission) / "manifest.json"
    edit(rewritten, lambda manifest: None)  # another layout of the same JSON
    assert results_digest(submission) == results_digest(original)
    edit(rewritten, lambda manifest: manifest.update(notes=["better"]))
    assert results_digest(submission) != results_digest(original)
    bicubic = [run_of(original, "bicubic").name]
    assert results_digest(submission, bicubic) == results_digest(original, bicubic)


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SrbenchError):
        check_results(tmp_path)
    assert results_digest(tmp_path) == results_digest(tmp_path / "nowhere")
    assert ScoreStore(tmp_path).manifests() == []
