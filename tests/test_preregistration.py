"""When a run counts as planned before it was run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from srbench.preregistration import plan_folder, planned_in_words, record_plan, training_of, why_not_planned
from srbench.store import Manifest, RunKey

KEY = RunKey("vdsr", "tiny", "", 0, "d", "f", "test", "bicubic@1", 4, "p")


def test_a_plan_is_recorded_once(tmp_path: Path) -> None:
    first = record_plan(tmp_path, b"models: vdsr\n", "a.yaml")
    record = plan_folder(tmp_path, first.sha256) / "record.json"
    record.write_text(record.read_text().replace(first.recorded, "2020-01-01T00:00:00+00:00"))
    again = record_plan(tmp_path, b"models: vdsr\n", "b.yaml")
    assert (again.recorded, again.file) == ("2020-01-01T00:00:00+00:00", "a.yaml")
    assert record_plan(tmp_path, b"models: edsr\n", "a.yaml").sha256 != first.sha256


@pytest.mark.parametrize(
    ("change", "planned"),
    [
        ({}, True),
        ({"weights": {}}, True),  # nothing was trained
        ({"plan_sha256": ""}, False),
        ({"plan_sha256": "0" * 64}, False),
        ({"created": "2026-01-01T11:59:59+00:00"}, False),
        ({"created": "yesterday"}, False),
        (
            {"weights": {"file": "w", "training_began": "2026-01-01T11:00:00+00:00", "plan_sha256": "SAME"}},
            False,
        ),
        (
            {"weights": {"file": "w", "training_began": "2026-01-01T13:00:00+00:00", "plan_sha256": "x"}},
            False,
        ),
        ({"weights": {"file": "w"}}, False),
    ],
)
def test_planned_before_it_was_run(tmp_path: Path, change: dict[str, object], planned: bool) -> None:
    digest = record_plan(tmp_path, b"models: vdsr\n", "a.yaml").sha256
    record = plan_folder(tmp_path, digest) / "record.json"
    content = {"sha256": digest, "recorded": "2026-01-01T12:00:00+00:00", "file": "a.yaml"}
    record.write_text(json.dumps(content))
    began = {"file": "w", "training_began": "2026-01-01T12:00:00+00:00", "plan_sha256": digest}
    good = Manifest(KEY, "complete", created="2026-01-01T13:00:00+00:00", weights=began, plan_sha256=digest)
    weights = change.get("weights")
    if isinstance(weights, dict) and weights.get("plan_sha256") == "SAME":
        change = {"weights": {**weights, "plan_sha256": digest}}
    manifest = replace(good, **change)  # type: ignore[arg-type]
    assert (why_not_planned(tmp_path, manifest) == "") is planned
    assert planned_in_words(tmp_path, [manifest]).startswith("yes" if planned else "no")
    assert planned_in_words(tmp_path, [good, manifest]).startswith("yes" if planned else "1 of 2")
    # a text that was changed afterwards is not the one that was recorded
    (plan_folder(tmp_path, digest) / "plan.yaml").write_text("models: edsr\n")
    assert why_not_planned(tmp_path, good) != ""


def test_a_training_says_when_it_began_and_by_which_plan(tmp_path: Path) -> None:
    assert training_of(tmp_path / "weights.safetensors") == {}
    (tmp_path / "manifest.json").write_text(json.dumps({"created": "t", "plan_sha256": "h", "more": 1}))
    assert training_of(tmp_path / "weights.safetensors") == {"training_began": "t", "plan_sha256": "h"}
    (tmp_path / "manifest.json").write_text("[]")
    assert training_of(tmp_path / "weights.safetensors") == {}
