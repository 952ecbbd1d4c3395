"""A submission as its author makes it, on a suite of four scenes, with models of ``fake_models``."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import srbench
from helpers.evaluations import save_gain, workers_here
from helpers.loading import registered
from srbench.checks.integrity import sha256_of_frame
from srbench.datasets.sources import sem_synthetic
from srbench.store import ScoreStore
from srbench.verification.prepare import prepare, write_plan

DATASET = "sem_synthetic:tiny"
METHOD, SIDE = "fake_learned", 96
KINDS = ("films", "particles")
METRICS = ("psnr", "ssim")
GAIN = 0.98
"""Of the network, which repeats pixels: without it its images would be those of nearest interpolation."""


@contextlib.contextmanager
def tiny_suite() -> Iterator[None]:
    """``sem_synthetic`` has one suite: two scenes of each of two kinds, drawn in this process."""

    def serial(function: Callable[..., Any], work: Any, workers: Any, label: str, progress: Any) -> list[Any]:
        return [function(entry) for entry in work]

    numbers = [(kind, index) for kind in KINDS for index in (0, 1)]
    entries = {str(n): {"kind": k, "index": i, "split": "test"} for n, (k, i) in enumerate(numbers)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sem_synthetic, "_in_processes", serial)
        suite = sem_synthetic.drawn_suite("tiny", {"size": SIDE, "images": entries}, 0)
        versions = {"numpy": "1", "scipy": "1"}
        published = {"suites": {"tiny": suite, "default": suite}, "made_with": versions}
        patch.setattr(sem_synthetic, "_published", lambda: published)
        yield


@contextlib.contextmanager
def stage() -> Iterator[None]:
    """Everything that a submission of these tests is made and verified in."""
    with tiny_suite(), registered("fake_models"), workers_here():
        yield


def submit(folder: Path, gain: float = GAIN) -> Path:
    """Planned, scored, prepared and filled in; the weights lie in ``folder/runs``."""
    weights = save_gain(folder / "runs", gain, 0)
    submission = write_plan(METHOD, "lab", [DATASET], METRICS, submissions=folder / "submissions")
    srbench.evaluate(
        [METHOD, "bicubic"],
        dataset=DATASET,
        scale=4,
        weights=weights,
        metrics=METRICS,
        results=folder / "results",
        previews=0,
    )
    prepare(submission, folder / "results")
    fill_in(submission)
    return submission


def fill_in(submission: Path, **fields: Any) -> None:
    """What a person writes into ``submission.yaml``; ``fields`` over it."""
    path = submission / "submission.yaml"
    content = yaml.safe_load(path.read_text())
    for entry in content["weights"]:
        entry["url"] = "https://example.org/weights"
    by_hand = {"authors": ["A. Lab"], "contact": "lab@example.org", "paper": "none", "licence": "CC0-1.0"}
    path.write_text(yaml.safe_dump({**content, **by_hand, "extra_data": "none", **fields}, sort_keys=False))


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a YAML or JSON file in place."""
    is_json = path.suffix == ".json"
    content = json.loads(path.read_text()) if is_json else yaml.safe_load(path.read_text())
    change(content)
    path.write_text(json.dumps(content) if is_json else yaml.safe_dump(content, sort_keys=False))


def run_of(results: Path, model: str = METHOD) -> Path:
    """The folder of the model's run."""
    return next(iter(results.glob(f"runs/{model}-*")))


def forge(run: Path, change: Callable[[pd.DataFrame], pd.DataFrame], rehash: bool) -> None:
    """Other rows in the place of the run's, with a hash that fits them or not."""
    rows = change(pd.read_parquet(run / "scores.parquet"))
    rows.to_parquet(run / "scores.parquet", index=False)
    if rehash:
        edit(run / "manifest.json", lambda manifest: manifest.update(scores_sha256=sha256_of_frame(rows)))


def better(rows: pd.DataFrame) -> pd.DataFrame:
    """Every PSNR half a dB higher."""
    return rows.assign(value=rows["value"].where(rows["metric"] != "psnr", rows["value"] + 0.5))


def claim_what_rows_give(submission: Path) -> None:
    """The claims of a forger who has thought of them."""
    store = ScoreStore(submission)
    rows = store.scores([m.key for m in store.manifests() if m.key.model == METHOD])
    images = rows[rows["image"] != ""]
    by_kind = images.groupby(["metric", "category"], observed=True)["value"].mean()
    means = {
        str(metric): float(value) for metric, value in by_kind.groupby("metric", observed=True).mean().items()
    }
    edit(submission / "submission.yaml", lambda content: content["claims"][0].update(scores=means))


def copy(submission: Path, folder: Path) -> Path:
    """The same submission elsewhere."""
    return Path(shutil.copytree(submission, folder / submission.name))


def with_other_outputs(submission: Path, models: Collection[str], device: str = "") -> None:
    """As if other pixels had come out of these models, on another kind of machine where one is named."""
    store = ScoreStore(submission)
    for manifest in store.manifests():
        if manifest.key.model in models:
            outputs = dict.fromkeys(manifest.outputs, "0" * 64)
            store.rewrite(
                replace(manifest, device={"name": device} if device else manifest.device, outputs=outputs)
            )
