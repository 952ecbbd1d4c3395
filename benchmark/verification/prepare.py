"""How a submission is made: the plan before the run, the rest filled in from a results folder after it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import yaml

from srbench import datasets, models
from srbench.checks.integrity import BASELINES
from srbench.checks.submissions import (
    COLLECTED,
    PLAN_FILE,
    SUBMISSION_FILE,
    VERIFICATION_FILE,
    PlannedData,
    SubmissionPlan,
    read_file,
    submitted_in,
)
from srbench.config import EvaluationConfig, for_pairs
from srbench.datasets import degrade
from srbench.metrics import registry
from srbench.statistics.compare import newest_data
from srbench.store import REFERENCES, Conditions, Manifest, ScoreStore
from srbench.utils.errors import SrbenchError, unknown_name
from srbench.utils.files import read_regular, remove_tree, write_bytes, write_text
from srbench.utils.yaml_text import LONGEST_YAML, read_yaml
from srbench.verification.submission import OPEN, mean_of, trained_on, validate

_FOLDERS = re.compile(r"(?<![\w./:~-])/(?:[^\s/;,()'\"]+/)+|\b[A-Za-z]:\\(?:[^\\\s]+\\)+")
"""What of a path on the submitter's disk nobody needs to know."""


def write_plan(
    method: str,
    group: str,
    data: Sequence[str],
    metrics: Sequence[str],
    *,
    variant: str | None = None,
    scale: int = 4,
    degradation: str | None = None,
    attempts: int = 1,
    expectation: str = "",
    submissions: Path = Path("submissions"),
) -> Path:
    """Write the plan of a submission into a folder of its own.

    Args:
        method: registered name.
        group: who submits, a word.
        data: names of the data sets that it will be scored on.
        metrics: all that will be claimed, the one that decides first.
        variant: of the method; its first when None.
        scale: magnification.
        degradation: how LR is made; that of ``srbench eval`` when None.
        attempts: how many times something will be scored on these data before one is chosen.
        expectation: what is expected and why.
        submissions: folder of submissions.

    Returns:
        The submission's folder.

    Raises:
        SrbenchError: there is no such method, variant, data set or metric, or this plan was written before.
    """
    card = models.card(method)
    chosen = variant or card.variants[0]
    if chosen not in card.variants:
        raise unknown_name(f"variant of {method}", chosen, card.variants)
    now = datetime.now(timezone.utc).replace(microsecond=0)
    planned = []
    for name in data:
        opened = datasets.open(name)
        given = {"scale": scale, "degradation": degradation} if degradation else {"scale": scale}
        config = for_pairs(EvaluationConfig.of(given), opened.recorded_scale)
        planned.append(
            PlannedData(
                dataset=opened.name,
                split="test",
                degradation=degrade.get(config.degradation).id,
                scale=config.scale or scale,
            )
        )
    content = {
        "format": 1,
        "written": now,
        "method": method,
        "variant": chosen,
        "group": group,
        "date": now.date(),
        "data": [entry.model_dump() for entry in planned],
        "metrics": [registry.get(name).name for name in metrics],
        "attempts": attempts,
        "expectation": expectation,
    }
    folder = submissions / f"{method}_{group}_{now.date().isoformat()}"
    if (folder / PLAN_FILE).exists():
        raise SrbenchError(
            f"{folder / PLAN_FILE} was written before: a plan is not changed; choose another group."
        )
    write_text(folder / PLAN_FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))
    try:
        read_file(folder / PLAN_FILE, SubmissionPlan)
    except SrbenchError:
        (folder / PLAN_FILE).unlink()
        raise
    return folder


@dataclass(frozen=True)
class PreparedSubmission:
    """What was filled in.

    Attributes:
        folder: of the submission.
        runs: the submitted runs.
        baselines: the runs beside them.
        left: fields that a person has to write.
        missing: what was planned and has no run.
    """

    folder: Path
    runs: tuple[Manifest, ...]
    baselines: tuple[Manifest, ...]
    left: tuple[str, ...]
    missing: tuple[str, ...]


def prepare(folder: Path, results: Path) -> PreparedSubmission:
    """Fill a submission in from a results folder: runs as ``srbench eval`` wrote them, weights, claims.

    What a person has written into ``submission.yaml`` stays; a verification, of another state, goes.

    Args:
        folder: of the submission, with its plan.
        results: where the method and the baselines were scored.

    Raises:
        SrbenchError: there is no plan, or the results have no run of the method on planned data.
    """
    if not (folder / PLAN_FILE).exists():
        raise SrbenchError(
            f"There is no {folder / PLAN_FILE}: a plan comes first, before the run: srbench submit plan."
        )
    planned = read_file(folder / PLAN_FILE, SubmissionPlan)
    store = ScoreStore(results)
    complete = [manifest for manifest in store.manifests() if manifest.status == "complete"]
    newest = newest_data(complete)
    method = (planned.method, planned.variant)
    runs, beside, claims, missing = [], [], [], []
    for data in planned.data:
        there = [
            manifest
            for manifest in complete
            if (manifest.key.dataset, manifest.key.split, manifest.key.degradation, manifest.key.scale)
            == (data.dataset, data.split, data.degradation, data.scale)
            and newest.get(manifest.key.conditions._replace(data="")) == manifest.key.data
        ]
        scored = [manifest for manifest in there if manifest.key.run[:2] == method]
        if not scored:
            missing.append(f"{data.dataset}, {data.split}, x{data.scale}, LR by {data.degradation}")
            continue
        conditions = scored[0].key.conditions
        scored = [manifest for manifest in scored if manifest.key.conditions == conditions]
        runs += scored
        beside += [
            manifest
            for manifest in there
            if manifest.key.conditions == conditions and manifest.key.model in (*BASELINES, *REFERENCES)
            if manifest not in scored
        ]
        claims.append({"data": _claimed_data(conditions), "scores": _means(store, scored, planned.metrics)})
    if not runs:
        raise SrbenchError(
            f"{results} has no run of {planned.method} {planned.variant} on what {folder / PLAN_FILE} names: "
            f"{'; '.join(missing)}. Score it first: srbench eval {planned.method} --audit --results {results}"
        )
    content = _filled_in(folder, runs, planned, claims)
    for manifest in (*runs, *beside):
        _copy_run(results, folder, manifest)
        write_text(
            folder / "runs" / manifest.key.run_id / "manifest.json", _without_paths(manifest).to_json()
        )
    taken = {manifest.key.run_id for manifest in (*runs, *beside)}
    for stale in (path for path in (folder / "runs").iterdir() if path.name not in taken):
        remove_tree(stale)
    (folder / VERIFICATION_FILE).unlink(missing_ok=True)
    write_text(
        folder / SUBMISSION_FILE, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
    )
    left = tuple(name for name, value in content.items() if OPEN in str(value))
    return PreparedSubmission(folder, tuple(runs), tuple(beside), left, tuple(missing))


def _claimed_data(conditions: Conditions) -> dict[str, object]:
    content = conditions._asdict()
    content["fingerprint"] = content.pop("data")
    return content


def _means(store: ScoreStore, runs: Sequence[Manifest], metrics: Iterable[str]) -> dict[str, float]:
    """The mean of the runs, seeds together, in each planned metric that has values; six digits."""
    scores = store.scores([manifest.key for manifest in runs])
    ids = [registry.get(name).id for name in metrics]
    means = {metric: mean_of(scores, metric, [manifest.key.run for manifest in runs])[0] for metric in ids}
    return {metric: float(f"{mean:.6g}") for metric, mean in means.items() if math.isfinite(mean)}


def _copy_run(results: Path, folder: Path, manifest: Manifest) -> None:
    source = results / "runs" / manifest.key.run_id
    for name in ("manifest.json", "scores.parquet"):
        write_bytes(folder / "runs" / manifest.key.run_id / name, read_regular(source / name, 1 << 30))


def _without_paths(manifest: Manifest) -> Manifest:
    """The manifest with names of programs and files in place of paths on the submitter's disk."""
    weights = dict(manifest.weights)
    if "file" in weights:
        weights["file"] = Path(str(weights["file"])).name
    return replace(
        manifest,
        weights=weights,
        command=_FOLDERS.sub("", manifest.command),
        notes=[_FOLDERS.sub("", note) for note in manifest.notes],
        guards=[{name: _FOLDERS.sub("", text) for name, text in guard.items()} for guard in manifest.guards],
    )


def _filled_in(
    folder: Path, runs: Sequence[Manifest], planned: SubmissionPlan, claims: list[dict[str, object]]
) -> dict[str, object]:
    """The content of ``submission.yaml``, over what stands there already."""
    content: dict[str, object] = {}
    if (folder / SUBMISSION_FILE).exists():
        stored = read_yaml(folder / SUBMISSION_FILE)[0]
        content = stored if isinstance(stored, dict) else {}
    card, weights = runs[0].card, {}
    addresses = {w.get("sha256"): w.get("url") for w in _entries(content.get("weights"))}
    for manifest in runs:
        if sha256 := manifest.weights.get("sha256"):
            weights[manifest.key.run] = {
                "file": Path(str(manifest.weights.get("file", ""))).name,
                "sha256": sha256,
                "url": addresses.get(sha256) or manifest.weights.get("source") or OPEN,
                "seed": manifest.key.seed,
                "rgb_to_grey": manifest.key.weights != sha256,
            }
    trainings = dict.fromkeys(pair for manifest in runs for pair in trained_on(manifest))
    written = {
        "format": 1,
        "title": card.get("title") or planned.method,
        "authors": [OPEN],
        "contact": OPEN,
        "paper": card.get("paper") or OPEN,
        "licence": OPEN,
        "code": "",
        "weights": [],
        "trained_on": [],
        "extra_data": OPEN,
        "attempts": planned.attempts,
        "claims": [],
    }
    measured = {
        "weights": list(weights.values()),
        "trained_on": [{"dataset": name, "fingerprint": data} for name, data in trainings],
        "claims": claims,
    }
    more = [entry for entry in _entries(content.get("trained_on")) if entry not in measured["trained_on"]]
    measured["trained_on"] += more
    return {**written, **content, **measured}


def _entries(value: object) -> list[dict[str, object]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


@dataclass(frozen=True)
class Collected:
    """What was taken into a results folder.

    Attributes:
        taken: names of submissions.
        refused: name to what is wrong with it.
    """

    taken: tuple[str, ...]
    refused: dict[str, str]


def collect(folders: Iterable[Path], results: Path) -> Collected:
    """Put submissions together in one results folder, which reports and comparisons read.

    Those that do not pass ``validate`` are left out. A baseline that several bring is taken once.

    Raises:
        SrbenchError: the results folder cannot be written.
    """
    taken, refused = [], {}
    for folder in folders:
        check = validate(folder)
        if check.problems or check.submitted is None or check.results is None:
            refused[folder.name] = check.problems[0] if check.problems else "it cannot be read"
            continue
        present = {manifest.key: manifest for manifest in ScoreStore(results).manifests()}
        for entry in check.results.runs:
            manifest = entry.manifest
            if manifest.key.run in check.submitted.runs or manifest.key not in present:
                _copy_run(folder, results, manifest)
        for name in (SUBMISSION_FILE, PLAN_FILE, VERIFICATION_FILE):
            if (folder / name).exists():
                target = results / COLLECTED / check.submitted.name / name
                write_bytes(target, read_regular(folder / name, LONGEST_YAML))
        taken.append(check.submitted.name)
    for problem in submitted_in(results)[1]:
        refused[results.name] = problem
    return Collected(tuple(taken), refused)
