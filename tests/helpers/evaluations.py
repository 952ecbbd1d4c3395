"""Evaluations for tests: one whole one with real workers, and workers inside the test's own process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import srbench
from helpers.fake_set import FakeSet
from helpers.loading import registered
from helpers.shipped import instead
from srbench import weights
from srbench.evaluation import worker
from srbench.evaluation.evaluate import EvaluationSummary
from srbench.evaluation.messages import Message, Ready, WorkerJob, decode, encode
from srbench.evaluation.worker_client import WorkerFailed
from srbench.sandbox import IsolationLevel
from srbench.store import Manifest, ScoreStore

FAILING = ("fake_crash", "fake_killed", "fake_nan", "fake_raises", "fake_small")


@dataclass(frozen=True)
class Finished:
    """A stored evaluation."""

    summary: EvaluationSummary
    store: ScoreStore

    def manifest(self, model: str) -> Manifest:
        return next(stored for stored in self.store.manifests() if stored.key.model == model)

    def scores(self, model: str) -> Any:
        table = self.store.scores()
        return table[table["model"] == model]


def finished(folder: Path) -> Finished:
    """Models that fail in five ways, an untrained one, an oracle, and four that are scored; real workers."""
    for seed, gain in enumerate((1.0, 0.5)):
        save_gain(folder / "runs", gain, seed)
    save_gain(folder / "runs", 1.0, 0, "oracle", "fake_leaky")
    with registered("fake_models"), instead(folder / "shipped"):
        summary = srbench.evaluate(
            [*FAILING, "bicubic", "fake_smooth", "fake_learned", "fake_leaky", "vdsr"],
            dataset=FakeSet(ceiling=True),
            scale=4,
            runs=folder / "runs",
            results=folder / "results",
            previews=3,
            oracle=True,
        )
    return Finished(summary, ScoreStore(folder / "results"))


def save_gain(runs: Path, gain: float, seed: int, variant: str = "only", model: str = "fake_learned") -> Path:
    """Weights of a fake model, as a trained run on disk."""
    path = runs / f"{model}-{variant}-fake-x4-smoke-s{seed}" / "weights.safetensors"
    header = weights.WeightsHeader(
        model, variant, 4, 1, dataset="fake", seed=seed, budget="smoke", notes=("a note",)
    )
    weights.save(path, {"gain": torch.tensor([gain])}, header)
    return path


def run_worker_here(job: WorkerJob, scratch: Path, *_: Any) -> Iterator[Message]:
    """The worker's own code in this process: no isolation, and no seconds of imports for every model."""
    messages: list[str] = []
    channel: Any = SimpleNamespace(
        send=lambda message: messages.append(encode(message)),
        wait=lambda: None,
        wait_for_end=lambda: None,
    )
    sandbox: Any = SimpleNamespace(attempts=lambda: ())
    try:
        worker._run(WorkerJob.from_json(job.to_json()), channel, sandbox)
    except Exception as error:
        raise WorkerFailed(f"{type(error).__name__}: {error}") from error
    for message in map(decode, messages):
        isolation = IsolationLevel.none("tests").to_json()
        yield replace(message, isolation=isolation) if isinstance(message, Ready) else message


@contextlib.contextmanager
def workers_here() -> Iterator[None]:
    """Every evaluation in the block runs its models in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("srbench.evaluation.worker_client.run_worker", run_worker_here)
        yield
