"""A submission whose weights are run again: on its own data, and on scenes drawn after it was made."""

from __future__ import annotations

import functools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from srbench.checks.base import failures, stored_results
from srbench.checks.submissions import (
    VERIFICATION_FILE,
    Claim,
    FreshScore,
    Verification,
    submission_digest,
    write_file,
)
from srbench.datasets.base import RECORDED
from srbench.datasets.registry import full_name
from srbench.datasets.sources.sem_synthetic import LARGEST_SEED
from srbench.evaluation.evaluate import evaluate
from srbench.evaluation.jobs import BASELINE
from srbench.metrics import registry
from srbench.statistics.bootstrap import GroupMeans
from srbench.statistics.interval import interval, mean_p
from srbench.statistics.leaderboard import direction_of
from srbench.statistics.paired_tests import ALPHA, SIGNS, holm
from srbench.statistics.score_matrix import rows_of, score_matrix
from srbench.store import REFERENCES, Run, ScoreStore
from srbench.utils.errors import SrbenchError
from srbench.utils.files import temporary_folder
from srbench.utils.progress import ProgressCallback, silent
from srbench.verification.rerun import RerunResult, files_by_hash, options_of, rerun
from srbench.verification.submission import SubmissionCheck, validate

if TYPE_CHECKING:
    import pandas as pd

SCENES = "sem_synthetic"
SUITE = "demo"
"""Drawn again for a submission that claims nothing on synthetic scenes."""


@dataclass(frozen=True)
class Reproduction:
    """What became of a submission.

    Attributes:
        check: what was seen before anything was run.
        verification: what was written; None where ``check`` had problems already.
        remarks: what could not be looked at.
    """

    check: SubmissionCheck
    verification: Verification | None = None
    remarks: tuple[str, ...] = ()


def reproduce(
    folder: Path,
    by: str,
    *,
    weights: Sequence[Path] = (),
    seed: int | None = None,
    device: str = "auto",
    progress: ProgressCallback = silent,
) -> Reproduction:
    """Run the weights of a submission again, audit them, and write what came out beside its claims.

    Args:
        folder: of the submission.
        by: who does.
        weights: files, or folders of files, beside those that srbench finds itself.
        seed: of the scenes drawn now; a random one when None. It must not have been known when the
            submission was made.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        progress: told of every image.

    Raises:
        SrbenchError: a submitted run cannot be run here (its weights or its data are missing), or the
            folder cannot be written. Nothing is written then.
    """
    check = validate(folder, progress)
    if check.problems or check.submitted is None or check.results is None:
        return Reproduction(check)
    submitted, results = check.submitted, check.results
    with temporary_folder("verify") as scratch:
        manifests = [entry.manifest for entry in results.runs]
        of_method, beside = (
            [manifest for manifest in manifests if (manifest.key.run in submitted.runs) == is_submitted]
            for is_submitted in (True, False)
        )
        run_again = functools.partial(
            rerun, folder, scratch=scratch, weights=weights, device=device, progress=progress
        )
        submitted_again = run_again(of_method, audit=True)
        for outcome in submitted_again:
            if outcome.again is None:
                raise SrbenchError(f"Nothing was verified: {outcome.stored.key.run_id}: {outcome.detail}.")
        others_again = run_again(beside)
        problems = [*_problems(submitted_again), *_problems(others_again)]
        remarks = [f"{o.stored.key.run_id}: {o.detail}" for o in others_again if o.again is None]
        suite, why_not = "", ""
        scores: list[FreshScore] = []
        if not problems:
            drawn = secrets.randbelow(LARGEST_SEED + 1) if seed is None else seed
            suite, scores, why_not = _on_fresh_scenes(check, scratch, drawn, weights, device, progress)
        again = submitted_again[0].again
        assert again is not None
    remarks += [why_not] if why_not else []
    open_checks = [r for r in stored_results(again) if r.status == "unchecked"]
    remarks += [f"the check {result.guard} could not be made: {result.detail}" for result in open_checks]
    problems += [
        f"{score.metric}: the gain over {BASELINE} is {score.published:.4g} on the published scenes and "
        f"{score.fresh:.4g} on {suite}; the difference has the interval {score.low:.4g} to {score.high:.4g}."
        for score in scores
        if not score.agrees
    ]
    status: Literal["reproduced", "audited", "failed"] = "audited" if scores else "reproduced"
    run_ids: dict[str, str] = {outcome.stored.key.run_id: outcome.outcome for outcome in submitted_again}
    ours = {submitted.planned.group, *submitted.submission.authors, submitted.submission.contact}
    verification = Verification(
        digest=submission_digest(folder, folder, run_ids),
        results=results.digest,
        outcome="failed" if problems else status,
        by=by,
        self_verified=by.strip().casefold() in {name.casefold() for name in ours},
        date=date.today(),
        versions={name: str(version) for name, version in again.versions.items()},
        device=str(again.device.get("name", "unknown")),
        runs=run_ids,
        baselines={outcome.stored.key.run_id: outcome.outcome for outcome in others_again},
        suite=suite,
        scores=scores,
        problems=problems,
    )
    write_file(folder / VERIFICATION_FILE, verification)
    return Reproduction(check, verification, tuple(remarks))


def _problems(outcomes: Sequence[RerunResult]) -> list[str]:
    """What differs, and of models what an audit found."""
    problems = []
    for outcome in outcomes:
        run_id = outcome.stored.key.run_id
        if outcome.outcome == "differs":
            problems.append(f"{run_id}: {outcome.detail}")
        if outcome.again is not None and outcome.stored.key.model not in REFERENCES:
            failed = failures(stored_results(outcome.again))
            problems += [f"{run_id}: the check {result.guard} failed: {result.detail}" for result in failed]
    return problems


def _on_fresh_scenes(
    check: SubmissionCheck,
    scratch: Path,
    seed: int,
    weights: Sequence[Path],
    device: str,
    progress: ProgressCallback,
) -> tuple[str, list[FreshScore], str]:
    """The suite, the gains over interpolation on it, and why there are none."""
    assert check.submitted is not None and check.results is not None
    claims = [c for c in check.submitted.submission.claims if c.data.degradation.split("@")[0] != RECORDED]
    if not claims:
        return (
            "",
            [],
            "Scenes cannot be drawn for recorded LR images: memory of the test images was not looked for.",
        )
    claim = next((c for c in claims if c.data.dataset.split(":")[0] == SCENES), claims[0])
    runs = [m for m in check.runs if m.key.conditions == claim.data.conditions]
    is_synthetic = claim.data.dataset.split(":")[0] == SCENES
    published = claim.data.dataset if is_synthetic else f"{SCENES}:{SUITE}"
    name = published.partition(":")[2] or "default"
    suite = full_name(f"{SCENES}:{name},seed={seed}")
    names = [metric.name for metric in registry.stored(set(claim.scores))]
    files = files_by_hash(weights)

    def scores_on(dataset: str) -> pd.DataFrame:
        ids = set()
        for manifest in runs:
            chosen = [manifest.key.model, BASELINE] if manifest.key.model != BASELINE else [BASELINE]
            options = options_of(manifest, files) | {"split": "test", "limit": None, "reading": None}
            summary = evaluate(
                chosen,
                dataset=dataset,
                metrics=names,
                device=device,
                results=scratch,
                progress=progress,
                **options,
            )
            if summary.failed:
                raise SrbenchError(
                    f"{summary.failed[0].label} failed on {dataset}: {summary.failed[0].detail}"
                )
            ids |= {outcome.run_id for outcome in summary.outcomes}
        store = ScoreStore(scratch)
        return store.scores([manifest.key for manifest in store.manifests() if manifest.key.run_id in ids])

    before = check.results.scores[claim.data.conditions] if is_synthetic else scores_on(published)
    return suite, fresh_scores(before, scores_on(suite), claim, [m.key.run for m in runs]), ""


def fresh_scores(
    published: pd.DataFrame, fresh: pd.DataFrame, claim: Claim, runs: Sequence[Run]
) -> list[FreshScore]:
    """Whether the gain over interpolation on fresh scenes is that on the published ones, metric by metric.

    The two gains are independent means over scenes; the interval is that of their difference (Student's,
    corrected for skewness), the test of zero has Holm's correction over the metrics. A gain that is smaller
    beyond chance does not agree; of a metric without a better side neither does a larger one.
    """
    gains: dict[str, tuple[GroupMeans, GroupMeans]] = {}
    for metric in claim.scores:
        before, now = (_gain(scores, metric, runs) for scores in (published, fresh))
        if before is not None and now is not None and min(len(before.values), len(now.values)) > 1:
            gains[metric] = before, now
    differences = [difference_of(*pair) for pair in gains.values()]
    p_values = holm([mean_p(difference) for difference in differences])
    scores = []
    for (metric, (before, now)), difference, p in zip(gains.items(), differences, p_values, strict=True):
        low, high, _ = interval(difference)
        sign = SIGNS[direction_of(metric)]
        worse = sign * difference.mean > 0 if sign else True
        scores.append(
            FreshScore(
                metric=metric,
                published=before.mean,
                fresh=now.mean,
                low=low,
                high=high,
                agrees=not (p < ALPHA and worse),
            )
        )
    return scores


def _gain(scores: pd.DataFrame, metric: str, runs: Sequence[Run]) -> GroupMeans | None:
    """The difference of the runs, seeds together, from interpolation; their own values where they are it."""
    rows = rows_of(scores, metric)
    if rows.empty:
        return None
    # Weights have the same hash on all data; so have the runs.
    matrix = score_matrix(rows, dict.fromkeys(runs, "submitted"))
    method = next((m for m in matrix.methods if set(m.runs) <= set(runs)), None)
    base = next((m for m in matrix.methods if m.run.model == BASELINE and m != method), None)
    return None if method is None else matrix.clusters(method, base)


def difference_of(first: GroupMeans, second: GroupMeans) -> GroupMeans:
    """Two independent means as one difference: the strata of both, those of the second subtracted."""
    offset = int(first.strata.max()) + 1
    return GroupMeans(
        np.concatenate([first.values, second.values]),
        np.concatenate([first.weights, -second.weights]),
        np.concatenate([first.strata, second.strata + offset]),
        first.images + second.images,
    )
