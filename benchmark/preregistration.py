"""Plans that were recorded before anything was run by them: the record, and what it says of a stored run.

A record lies beside the results, so it protects against accident and forgetting, not against forgery.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from srbench.store import RESULTS_SETTING, Manifest
from srbench.utils.files import read_json, read_regular, write_bytes, write_text, writing_to
from srbench.utils.text import listed
from srbench.utils.typed_json import typed
from srbench.utils.yaml_text import LONGEST_YAML

_TEXT, _RECORD = "plan.yaml", "record.json"


@dataclass(frozen=True)
class PlanRecord:
    """A plan in a results folder.

    Attributes:
        sha256: of its text.
        recorded: UTC time, ISO 8601, of the first run by this text.
        file: name of the file that it was read from.
    """

    sha256: str
    recorded: str
    file: str


def plan_folder(results: Path, sha256: str) -> Path:
    """Where the record of a plan lies, with the logs of its tasks."""
    return results / "plans" / sha256[:12]


def record_plan(results: Path, text: bytes, file: str) -> PlanRecord:
    """Record a plan, unless that was done before.

    Args:
        results: folder of the score store that it is run into.
        text: of the plan.
        file: its name.

    Raises:
        StorageError: the folder cannot be written.
    """
    digest = hashlib.sha256(text).hexdigest()
    stored = read_record(results, digest)
    if stored is not None:
        return stored
    folder = plan_folder(results, digest)
    record = PlanRecord(digest, datetime.now(timezone.utc).isoformat(timespec="seconds"), file)
    with writing_to(folder, RESULTS_SETTING):
        write_bytes(folder / _TEXT, text)
        write_text(folder / _RECORD, json.dumps(vars(record), indent=1) + "\n")
    return record


def read_record(results: Path, sha256: str) -> PlanRecord | None:
    """The record of a plan; None where there is none, or its text is not the one that was recorded."""
    folder = plan_folder(results, sha256)
    try:
        record = typed(PlanRecord, read_json(folder / _RECORD))
        datetime.fromisoformat(record.recorded)
        text = read_regular(folder / _TEXT, LONGEST_YAML)
    except (OSError, ValueError):
        return None
    return record if record.sha256 == sha256 == hashlib.sha256(text).hexdigest() else None


def training_of(weights: Path) -> dict[str, str]:
    """For the manifest of an evaluation: when the training behind a weights file began, and by which plan."""
    try:
        manifest = read_json(weights.with_name("manifest.json"))
        return {"training_began": str(manifest["created"]), "plan_sha256": str(manifest["plan_sha256"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def why_not_planned(results: Path, manifest: Manifest) -> str:
    """Why a stored run does not count as planned before it was run; empty where it does.

    Its plan must have been recorded before it was scored, and before its weights were trained.
    """
    record = read_record(results, manifest.plan_sha256) if manifest.plan_sha256 else None
    if record is None:
        return "it belongs to no plan that was recorded"
    if _is_before(manifest.created, record.recorded):
        return "it was scored before its plan was recorded"
    if manifest.weights and manifest.weights.get("plan_sha256") != record.sha256:
        return "its weights were not trained by this plan"
    if manifest.weights and _is_before(str(manifest.weights.get("training_began")), record.recorded):
        return "its training began before its plan was recorded"
    return ""


def planned_in_words(results: Path, manifests: Sequence[Manifest]) -> str:
    """Whether these runs were planned before they were run, for a reader of their table."""
    reasons = [why_not_planned(results, manifest) for manifest in manifests]
    recorded = sorted(
        {
            f"plan {record.sha256[:12]}, recorded {record.recorded}"
            for manifest, why in zip(manifests, reasons, strict=True)
            if not why and (record := read_record(results, manifest.plan_sha256))
        }
    )
    others = Counter(filter(None, reasons))
    if not recorded:
        return f"no: {', '.join(others) or 'nothing was run'}"
    if not others:
        return f"yes ({listed(recorded)})"
    words = "; ".join(f"{count} not: {why}" for why, count in others.items())
    return f"{len(manifests) - others.total()} of {len(manifests)} runs ({listed(recorded)}); {words}"


def _is_before(time: str, other: str) -> bool:
    """Of two ISO 8601 times; one that is none is before all."""
    try:
        return datetime.fromisoformat(time) < datetime.fromisoformat(other)
    except (ValueError, TypeError):  # not a time, or one without a zone
        return True
