"""Weights run again: what was forged with all its hashes, what was remembered, and what is honest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers.evaluations import save_gain
from helpers.submitted import METHOD, better, claim_what_rows_give, edit, forge, run_of, with_other_outputs
from srbench.checks.submissions import read_submitted
from srbench.statistics.bootstrap import Groups
from srbench.statistics.interval import interval, mean_p
from srbench.store import ScoreStore
from srbench.utils.errors import SrbenchError
from srbench.verification.reproduce import difference_of, reproduce
from srbench.verification.rerun import RerunResult, rerun
from srbench.verification.submission import validate

SEED = 3
"""All draws of these tests are this one, so that it is drawn once."""


@pytest.fixture
def weights(original: Path) -> list[Path]:
    return [original.parents[1] / "runs"]


@pytest.mark.slow
def test_an_honest_submission_is_audited_and_a_changed_one_is_not(
    submission: Path, weights: list[Path]
) -> None:
    outcome = reproduce(submission, "A. LAB", weights=weights, seed=SEED, device="cpu")
    verification = outcome.verification
    assert verification is not None and verification.problems == [] and verification.outcome == "audited"
    assert set((verification.runs | verification.baselines).values()) == {"equal"}
    assert verification.self_verified and verification.suite == "sem_synthetic:tiny,seed=3"
    assert [score.metric for score in verification.scores] == ["psnr", "ssim"]
    assert validate(submission).problems == () and read_submitted(submission).status == "audited"
    forge(run_of(submission, "bicubic"), better, rehash=True)
    assert read_submitted(submission).status == "audited" and validate(submission).problems != ()
    edit(submission / "submission.yaml", lambda content: content.update(attempts=9))
    assert read_submitted(submission).status == "claimed" and validate(submission).problems != ()


@pytest.mark.slow
def test_forged_rows_with_hashes_and_claims_that_fit_are_found(submission: Path, weights: list[Path]) -> None:
    forge(run_of(submission), better, rehash=True)
    claim_what_rows_give(submission)
    outcome = reproduce(submission, "somebody", weights=weights, seed=SEED, device="cpu")
    assert outcome.verification is not None and outcome.verification.outcome == "failed"
    assert not outcome.verification.self_verified and outcome.verification.scores == []
    assert read_submitted(submission).status == "failed"


@pytest.mark.slow
def test_changed_weights_are_not_those_of_the_submission(submission: Path, tmp_path: Path) -> None:
    save_gain(tmp_path / "others", 0.9, 0)
    with pytest.raises(SrbenchError):
        reproduce(submission, "somebody", weights=[tmp_path / "others"], seed=SEED, device="cpu")
    assert read_submitted(submission).status == "claimed"


@pytest.mark.slow
def test_claims_that_do_not_follow_are_not_run_at_all(submission: Path) -> None:
    edit(submission / "submission.yaml", lambda content: content["claims"][0]["scores"].update(psnr=99.0))
    outcome = reproduce(submission, "somebody", seed=SEED)
    assert outcome.verification is None and outcome.check.problems
    assert not (submission / "verification.yaml").exists()


def again(submission: Path, weights: list[Path], scratch: Path) -> dict[str, RerunResult]:
    manifests = ScoreStore(submission).manifests()
    results = rerun(submission, manifests, scratch, weights=weights, device="cpu")
    return {result.stored.key.model: result for result in results}


@pytest.mark.slow
def test_another_machine_may_differ_within_the_tolerance_and_the_same_may_not(
    submission: Path, weights: list[Path], tmp_path: Path
) -> None:
    with_other_outputs(submission, {METHOD, "bicubic"}, device="another")
    forge(run_of(submission, "bicubic"), better, rehash=True)
    with_other_outputs(submission, {"random_texture"})
    outcomes = {model: result.outcome for model, result in again(submission, weights, tmp_path / "r").items()}
    assert outcomes == {
        METHOD: "within tolerance",
        "bicubic": "differs",  # half a dB
        "random_texture": "differs",
        "noise_ceiling": "equal",
    }


@pytest.mark.slow
def test_what_cannot_be_run_says_why(submission: Path, tmp_path: Path) -> None:
    results = again(submission, [], tmp_path / "r")
    assert results[METHOD].outcome == "not run" and "sha256" in results[METHOD].detail
    assert results["bicubic"].outcome == "equal"


def suites(gain: float, forgotten: float, trials: int, seed: int) -> Iterator[tuple[float, float]]:
    """p and the lower end of published minus fresh gain; ``forgotten`` is what fresh scenes lack of it."""
    generator = np.random.default_rng(seed)
    groups = Groups([f"g{n}" for n in range(24)], [f"kind{n % 4}" for n in range(24)])
    for _ in range(trials):
        published, fresh = (generator.normal(mean, 0.3, 24) for mean in (gain, gain - forgotten))
        difference = difference_of(groups.cluster(published), groups.cluster(fresh))
        assert difference.mean == pytest.approx(published.mean() - fresh.mean())
        yield mean_p(difference), interval(difference).low


def test_fresh_scenes_tell_what_was_remembered_from_what_was_learned() -> None:
    honest = [p < 0.05 for p, _ in suites(0.8, 0.0, 400, 1)]
    assert 0.02 < np.mean(honest) < 0.08
    remembered = [p < 0.05 and low > 0 for p, low in suites(2.0, 1.0, 50, 2)]
    assert np.mean(remembered) == 1.0
