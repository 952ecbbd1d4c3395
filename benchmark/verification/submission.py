"""A submission looked at without running anything: data files only, safe for a check of strangers' files.

No weights are loaded and nothing is imported; a plug-in beside the data is counted and left alone.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from srbench.checks.base import CHECKS, failures, is_audited, reasons_unranked, stored_results
from srbench.checks.integrity import REQUIRED_BASELINE
from srbench.checks.submissions import (
    PLAN_FILE,
    SUBMISSION_FILE,
    VERIFICATION_FILE,
    Submitted,
    read_submitted,
)
from srbench.datasets.registry import full_name
from srbench.metrics import registry
from srbench.statistics.score_matrix import rows_of, score_matrix
from srbench.store import CONTROL, REFERENCES, Manifest, Run
from srbench.utils.errors import SrbenchError
from srbench.utils.progress import ProgressCallback, human_bytes, silent
from srbench.utils.text import printable
from srbench.verification.results import ResultsCheck, check_results, listed_few

if TYPE_CHECKING:
    import pandas as pd

LARGEST_FILE, LARGEST_SUBMISSION, MOST_FILES = 10_000_000, 30_000_000, 1_000
"""Bytes and files: 6 runs of 60 images in all metrics have 300 kB."""
CLAIMED_DIGITS = 1e-4
"""Largest relative difference between a claimed mean and that of the rows."""
OPEN = "TODO"
"""Stands where a person has to write."""
_ALLOWED = re.compile(
    r"submission\.yaml|plan\.yaml|verification\.yaml|README\.md|LICENSE(\.\w+)?"
    r"|runs/[A-Za-z0-9_.\-]+/(manifest\.json|scores\.parquet)"
    r"|plugin/([A-Za-z0-9_\-]+/)*[A-Za-z0-9_\-]+\.(py|toml|md|txt)"
)
_BY_RUN = tuple(c.name for c in CHECKS if c.name not in ("pinned_protocol", "baselines", "completeness"))
"""Checks whose results manifests hold; the others are made from the rows."""


@dataclass(frozen=True)
class SubmissionCheck:
    """What was seen of a submission.

    Attributes:
        folder: where it is.
        submitted: what it says; None where that cannot be read.
        results: its runs; None where they were not looked at.
        problems: what is wrong.
        remarks: what somebody who decides should know.
    """

    folder: Path
    submitted: Submitted | None
    results: ResultsCheck | None
    problems: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def runs(self) -> list[Manifest]:
        """The submitted runs, without the baselines beside them."""
        runs = self.submitted.runs if self.submitted else ()
        return (
            [check.manifest for check in self.results.runs if check.manifest.key.run in runs]
            if self.results
            else []
        )


def validate(folder: str | os.PathLike[str], progress: ProgressCallback = silent) -> SubmissionCheck:
    """Look at a submission: files, schema, hashes, guards, images, claims against rows.

    Args:
        folder: ``submissions/METHOD_GROUP_DATE``.
        progress: told of the runs that are read.
    """
    root = Path(folder)
    if not root.is_dir():
        return SubmissionCheck(root, None, None, (f"{root} is not a folder.",))
    # What may be a link, a device or a gigabyte is not opened.
    try:
        if unfit := tuple(_file_problems(root)):
            return SubmissionCheck(root, None, None, unfit)
        submitted = read_submitted(root)
    except SrbenchError as error:
        return SubmissionCheck(root, None, None, (str(error),))
    except OSError as error:
        return SubmissionCheck(root, None, None, (f"Cannot read {error.filename}: {error.strerror}.",))
    problems = list(_of_plan(root, submitted))
    try:
        results = check_results(root, progress)
    except SrbenchError as error:
        return SubmissionCheck(root, submitted, None, (*problems, str(error)))
    if submitted.verification and submitted.verification.results != results.digest:
        problems.append(f"{VERIFICATION_FILE} is about other runs than those here; verify again.")
    problems += results.problems
    problems += [f"{c.manifest.key.run_id}: {problem}" for c in results.runs for problem in c.problems]
    problems += [f"{m.key.run_id}: {m.status}, and so no result" for m in results.incomplete]
    check = SubmissionCheck(root, submitted, results, ())
    problems += [*_of_runs(check, submitted), *_of_claims(results, submitted)]
    return SubmissionCheck(root, submitted, results, tuple(problems), tuple(_remarks(check, submitted)))


def _file_problems(root: Path) -> Iterator[str]:
    """Files that do not belong there, or are too large to be opened."""
    if root.is_symlink():
        yield f"{root} is a link; give the folder itself."
        return
    total = count = 0
    misplaced: list[str] = []
    pending = [root]
    while pending:
        for entry in sorted(os.scandir(pending.pop()), key=lambda entry: entry.name):
            name = Path(entry.path).relative_to(root).as_posix()
            status = entry.stat(follow_symlinks=False)
            count, total = count + 1, total + status.st_size
            if count > MOST_FILES:
                yield f"More than {MOST_FILES:,} files and folders; a submission holds YAML files and runs."
                return
            if stat.S_ISDIR(status.st_mode):
                pending.append(Path(entry.path))
            elif not stat.S_ISREG(status.st_mode):
                yield f"{printable(name)} is no regular file; a submission has no links or devices."
            elif not _ALLOWED.fullmatch(name):
                misplaced.append(printable(name))
            elif status.st_size > LARGEST_FILE:
                yield f"{name} has {human_bytes(status.st_size)}, more than {human_bytes(LARGEST_FILE)}."
    if misplaced:
        yield (
            f"No place in a submission for {listed_few(misplaced)}: it has {SUBMISSION_FILE}, {PLAN_FILE}, "
            f"{VERIFICATION_FILE}, README.md, LICENSE, runs/RUN/manifest.json, runs/RUN/scores.parquet and "
            "plugin/*.py. Weights lie elsewhere; the address is in the field url."
        )
    if total > LARGEST_SUBMISSION:
        yield f"All files together have {human_bytes(total)}, more than {human_bytes(LARGEST_SUBMISSION)}."
    for name in (SUBMISSION_FILE, PLAN_FILE):
        if not os.path.lexists(root / name):
            yield f"There is no {name}; srbench submit plan and srbench submit prepare write the two."


def _of_plan(root: Path, submitted: Submitted) -> Iterator[str]:
    """The name of the folder, and what was planned against what is claimed."""
    submission, planned = submitted.submission, submitted.planned
    if root.resolve().name != planned.name:
        yield f"The folder is called {root.resolve().name}, expected {planned.name} by {PLAN_FILE}."
    if submitted.outdated:
        yield f"{VERIFICATION_FILE} is about another state of this submission; remove it, or verify again."
    left = [name for name, value in submission.model_dump().items() if OPEN in str(value)]
    if left:
        yield f"{SUBMISSION_FILE} still has {OPEN} in {', '.join(left)}: write there what is true."
    plans = {(full_name(d.dataset), d.split, d.degradation, d.scale) for d in planned.data}
    for claim in submission.claims:
        data = claim.data
        if (data.dataset, data.split, data.degradation, data.scale) not in plans:
            yield f"Claimed on {data.conditions.describe()}, which {PLAN_FILE} does not name."
    names = {_name_of(metric) for metric in planned.metrics}
    for claim in submission.claims:
        claimed = {_name_of(metric) for metric in claim.scores}
        if unplanned := sorted(claimed - names):
            yield f"Claimed and not planned: {', '.join(unplanned)}. Claim what {PLAN_FILE} names, all of it."
        if silent_on := sorted(names - claimed):
            yield f"Planned and not claimed: {', '.join(silent_on)}. Claim what {PLAN_FILE} names, all of it."


def _name_of(metric: str) -> str:
    """The name of a metric, which its id may hold a version beside."""
    try:
        return registry.get(metric).name
    except SrbenchError:
        return metric.partition("@")[0]


def _of_runs(check: SubmissionCheck, submitted: Submitted) -> Iterator[str]:
    """Weights, training data, dates and guards of the submitted runs."""
    submission, runs = submitted.submission, check.runs
    for run in submitted.runs:
        if run not in {manifest.key.run for manifest in runs}:
            weights = f" with weights {run.weights[:12]} and seed {run.seed}" if run.weights else ""
            yield f"There is no complete run of {run.model} {run.variant}{weights}."
    assert check.results is not None
    method = (submitted.planned.method, submitted.planned.variant)
    for entry in check.results.runs:
        run = entry.manifest.key.run
        if run[:2] == method and run not in submitted.runs:
            yield f"{entry.manifest.key.run_id}: its weights {run.weights[:12]} are not in {SUBMISSION_FILE}."
    named = {data.dataset for data in submission.trained_on}
    prints = {data.fingerprint for data in submission.trained_on}
    for manifest in runs:
        run_id = manifest.key.run_id
        for data, fingerprint in trained_on(manifest):
            if data not in named or (fingerprint and fingerprint not in prints):
                where = f"{data} ({fingerprint[:12]})" if fingerprint else data
                yield f"{run_id}: its weights were trained on {where}, which is not stated."
        if _moment(manifest.created) < _utc(submitted.planned.written):
            yield f"{run_id}: scored {manifest.created or 'nobody knows when'}, before the plan was written."
        for result in failures(stored_results(manifest)):
            yield f"{run_id}: the check {result.guard} failed: {result.detail}"


def trained_on(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Data sets that the weights of a run, and those that they started from, learned from; fingerprints."""
    stored = manifest.weights
    for header in (stored, *(stored.get("lineage") or ())):
        header = header.get("header", header) if isinstance(header, dict) else {}
        if isinstance(header.get("dataset"), str) and header["dataset"]:
            yield header["dataset"], str(header.get("data") or "")


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _moment(text: str) -> datetime:
    """When a manifest says that it was made; the beginning of time where it does not."""
    try:
        return _utc(datetime.fromisoformat(text))
    except ValueError:
        return datetime.min.replace(tzinfo=timezone.utc)


def _of_claims(results: ResultsCheck, submitted: Submitted) -> Iterator[str]:
    for claim in submitted.submission.claims:
        where = claim.data.conditions.describe()
        there = {
            c.manifest.key.model for c in results.runs if c.manifest.key.conditions == claim.data.conditions
        }
        expected = {REQUIRED_BASELINE, *([CONTROL] if claim.data.scale > 1 else [])}
        if missing := sorted(expected - there):
            absent = " and no ".join(missing)
            yield f"On {where} there is no {absent} beside it; srbench eval {REQUIRED_BASELINE} adds both."
        for metric, value in claim.scores.items():
            mean, _ = mean_of(results.scores.get(claim.data.conditions), metric, submitted.runs)
            if math.isnan(mean):
                yield f"{metric} on {where}: the rows have no value."
            elif not math.isclose(value, mean, rel_tol=CLAIMED_DIGITS, abs_tol=1e-9):
                yield f"{metric} on {where}: {value:g} is claimed, the rows give {mean:.6g}."


def mean_of(scores: pd.DataFrame | None, metric: str, runs: Sequence[Run]) -> tuple[float, int]:
    """The mean of these runs, seeds together, lengths in pixels; NaN without rows.

    Also how many images have no value although another run has one.
    """
    rows = None if scores is None else rows_of(scores, metric)
    if rows is None or rows.empty:
        return math.nan, 0
    matrix = score_matrix(rows, dict.fromkeys(runs, "submitted"))
    method = next((method for method in matrix.methods if set(method.runs) <= set(runs)), None)
    if method is None:
        return math.nan, 0
    models = [other for other in matrix.methods if other.run.model not in REFERENCES]
    lacking = matrix.scored_by_any(models) & ~matrix.scored(method)
    return matrix.clusters(method).mean, int(lacking.sum())


def _remarks(check: SubmissionCheck, submitted: Submitted) -> Iterator[str]:
    assert check.results is not None
    yield from check.results.absent
    for entry in check.results.runs:
        if entry.manifest.key.run in submitted.runs:
            yield from (f"{entry.manifest.key.run_id}: {remark}" for remark in entry.remarks)
    for manifest in check.runs:
        results = {result.guard: result.status for result in stored_results(manifest)}
        if unmade := [name for name in _BY_RUN if results.get(name, "unchecked") == "unchecked"]:
            names = ", ".join(unmade)
            more = "" if is_audited(manifest) else " (srbench eval --audit checks more)"
            yield f"{manifest.key.run_id}: not checked: {names}{more}."
        if reasons := reasons_unranked(manifest):
            yield f"{manifest.key.run_id}: shown, not ranked: {'; '.join(reasons)}."
    for claim in submitted.submission.claims:
        for metric in claim.scores:
            scores = check.results.scores.get(claim.data.conditions)
            if (lacking := mean_of(scores, metric, submitted.runs)[1]) > 0:
                yield f"{metric}: no value of {lacking} images that another run has one of; not ranked in it."
    if submitted.submission.attempts > submitted.planned.attempts:
        yield f"{submitted.submission.attempts} attempts, {submitted.planned.attempts} were planned."
    if (check.folder / "plugin").is_dir():
        yield "plugin/ holds code, which nothing here imports or runs."
