"""Submissions as strangers send them: every forgery and every omission is found without running anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.submitted import METHOD, better, claim_what_rows_give, edit, fill_in, forge, run_of
from srbench.checks.submissions import read_submitted, submitted_in
from srbench.statistics.leaderboard import leaderboard
from srbench.store import ScoreStore
from srbench.verification.prepare import collect, prepare, write_plan
from srbench.verification.submission import validate

Change = Callable[[Path], object]
SUBMISSIONS = Path(__file__).parents[2] / "submissions"


def yaml_with(file: str, change: Callable[[dict[str, Any]], object]) -> Change:
    return lambda folder: edit(folder / file, change)


def claim(**scores: float) -> Change:
    return yaml_with("submission.yaml", lambda content: content["claims"][0]["scores"].update(scores))


def manifest_with(**fields: Any) -> Change:
    return lambda folder: edit(run_of(folder) / "manifest.json", lambda manifest: manifest.update(fields))


def linked(folder: Path) -> None:
    (folder / "README.md").symlink_to(folder.parent)


def trained_elsewhere(folder: Path) -> None:
    path = run_of(folder) / "manifest.json"
    edit(path, lambda manifest: manifest["weights"].update(dataset="sem_open", data="a" * 64))


def without_the_run(folder: Path) -> None:
    run_of(folder).rename(folder / "runs" / ".gone")


FAULTS: dict[str, Change] = {
    "a claim raised": claim(psnr=99.0),
    "a claim raised in its fifth digit": lambda f: claim(
        psnr=1.0003 * read_submitted(f).submission.claims[0].scores["psnr"]
    )(f),
    "a claim without rows": claim(lpips=0.1),
    "a planned metric not claimed": yaml_with(
        "submission.yaml", lambda c: c["claims"][0]["scores"].pop("ssim")
    ),
    "claims on data that nobody scored": yaml_with(
        "submission.yaml", lambda c: c["claims"][0]["data"].update(fingerprint="0" * 64)
    ),
    "claims at another magnification": yaml_with(
        "submission.yaml", lambda c: c["claims"][0]["data"].update(scale=2)
    ),
    "rows forged": lambda f: forge(run_of(f), better, rehash=False),
    "rows forged and hashed anew": lambda f: forge(run_of(f), better, rehash=True),
    "images left out": lambda f: forge(
        run_of(f), lambda rows: rows[rows["image"] != rows["image"].max()], True
    ),
    "other weights": yaml_with("submission.yaml", lambda c: c["weights"][0].update(sha256="0" * 64)),
    "no weights": yaml_with("submission.yaml", lambda c: c.update(weights=[])),
    "training data not stated": yaml_with("submission.yaml", lambda c: c.update(trained_on=[])),
    "other training data in the manifest": trained_elsewhere,
    "planned after it was scored": yaml_with("plan.yaml", lambda c: c.update(written="2999-01-01T00:00:00Z")),
    "scored nobody knows when": manifest_with(created=""),
    "a check failed": manifest_with(guards=[{"guard": "hr_access", "status": "failed", "detail": "read HR"}]),
    "the run is gone": without_the_run,
    "no baseline": lambda f: run_of(f, "bicubic").rename(f / "runs" / ".gone"),
    "no control": lambda f: run_of(f, "random_texture").rename(f / "runs" / ".gone"),
    "no authors": yaml_with("submission.yaml", lambda c: c.update(authors=[])),
    "something not written yet": yaml_with("submission.yaml", lambda c: c.update(licence="TODO")),
    "no attempts": yaml_with("submission.yaml", lambda c: c.update(attempts=0)),
    "an unknown field": yaml_with("submission.yaml", lambda c: c.update(rank=1)),
    "a value that is no number": yaml_with(
        "submission.yaml", lambda c: c["claims"][0]["scores"].update(psnr=float("nan"))
    ),
    "YAML that makes objects": lambda f: (f / "plan.yaml").write_text("!!python/object/apply:os.getcwd []"),
    "YAML that is too long": lambda f: (f / "plan.yaml").write_text("a: " + "b" * (1 << 17)),
    "no plan": lambda f: (f / "plan.yaml").unlink(),
    "a plan that is a folder": lambda f: [(f / "plan.yaml").unlink(), (f / "plan.yaml").mkdir()],
    "a link": linked,
    "a pipe": lambda f: os.mkfifo(f / "README.md"),
    "weights among the files": lambda f: (f / "weights.safetensors").write_bytes(b"x"),
    "a file that is too large": lambda f: (f / "README.md").write_bytes(bytes(10_000_001)),
    "another name": lambda f: edit(f / "plan.yaml", lambda content: content.update(group="elsewhere")),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found(submission: Path, fault: str) -> None:
    FAULTS[fault](submission)
    assert validate(submission).problems != ()


@pytest.mark.slow
def test_code_of_a_plug_in_is_never_run(submission: Path) -> None:
    sign = submission.parent / "it ran"
    (submission / "plugin").mkdir()
    (submission / "plugin" / "network.py").write_text(f"open({str(sign)!r}, 'w')\n")
    modules = set(sys.modules)
    check = validate(submission)
    assert check.problems == () and any("plugin" in remark for remark in check.remarks)
    assert not sign.exists() and not any("plugin" in name for name in set(sys.modules) - modules)


@pytest.mark.slow
def test_what_was_written_by_hand_survives_preparing_again(submission: Path, original: Path) -> None:
    fill_in(submission, attempts=7, trained_on=[{"dataset": "a library", "fingerprint": ""}])
    prepared = prepare(submission, original.parents[1] / "results")
    submitted = read_submitted(submission)
    assert prepared.left == () and submitted.submission.attempts == 7
    assert {data.dataset for data in submitted.submission.trained_on} == {"fake", "a library"}
    assert validate(submission).problems == ()


@pytest.mark.slow
def test_no_path_of_the_submitter_is_published(submission: Path, original: Path) -> None:
    for file in submission.rglob("*.*"):
        assert str(original.parents[1]).encode() not in file.read_bytes()


@pytest.mark.slow
def test_collected_submissions_stand_in_one_table_with_their_attempts(
    submission: Path, tmp_path: Path
) -> None:
    fill_in(submission, attempts=5)
    results = tmp_path / "results"
    outcome = collect([submission, tmp_path], results)
    assert outcome.taken == (submission.name,) and set(outcome.refused) == {tmp_path.name}
    (submitted,), problems = submitted_in(results)
    assert problems == [] and submitted.status == "claimed" and submitted.submission.attempts == 5
    scores = ScoreStore(results).scores()
    p_values = []
    for attempts in (None, dict.fromkeys(submitted.runs, 5)):
        rows = leaderboard(scores, "psnr", attempts=attempts)
        p_values.append({row.run.model: row.p_holm for row in rows})
    # Two others are compared with bicubic as well; Holm multiplies by the comparisons left.
    assert p_values[0][METHOD] < p_values[1][METHOD] <= 1.0


@pytest.mark.slow
def test_a_plan_is_written_once_and_for_what_exists(here: None, tmp_path: Path) -> None:
    from srbench.utils.errors import SrbenchError

    write_plan(METHOD, "lab", ["sem_synthetic:tiny"], ["psnr"], submissions=tmp_path)
    for method, group, data, metric in (
        (METHOD, "lab", "sem_synthetic:tiny", "psnr"),
        (METHOD, "../out", "sem_synthetic:tiny", "psnr"),
        (METHOD, "a", "nowhere", "psnr"),
        (METHOD, "a", "sem_synthetic:tiny", "nothing"),
        ("nobody", "a", "sem_synthetic:tiny", "psnr"),
    ):
        with pytest.raises(SrbenchError):
            write_plan(method, group, [data], [metric], submissions=tmp_path)
    assert [path.name for path in tmp_path.rglob("*.yaml")] == ["plan.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "folder", sorted(p.parent for p in SUBMISSIONS.glob("*/plan.yaml")), ids=lambda f: f.name
)
def test_every_submission_of_the_repository_is_valid(folder: Path) -> None:
    check = validate(folder)
    assert check.problems == () and check.submitted is not None
    assert sum(file.stat().st_size for file in folder.rglob("*.*")) < 300_000


@pytest.mark.slow
def test_claims_of_a_forger_who_thinks_are_not_found_here(submission: Path) -> None:
    """Rows, hashes and claims fit together: only the weights can say otherwise (test_reproduce)."""
    forge(run_of(submission), better, rehash=True)
    claim_what_rows_give(submission)
    assert validate(submission).problems == ()
