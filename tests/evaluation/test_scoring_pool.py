"""Metrics in several processes: the rows of one process, whatever becomes of the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import srbench
from helpers.evaluations import run_worker_here
from helpers.fake_set import FakeSet
from srbench.datasets import degrade
from srbench.evaluation import scoring_pool
from srbench.evaluation.messages import WorkerJob
from srbench.evaluation.scorer import Scorer, choose_metrics
from srbench.evaluation.scoring_pool import ScoringPool
from srbench.metrics.protocol import named
from srbench.store import ScoreStore
from srbench.utils.image import Pixels
from srbench.utils.parallel import ProcessDied
from srbench.utils.progress import ProgressEvent, silent

METRICS = (
    "psnr",
    "ssim",
    "lr_psnr",
    "gained_hf",
    "edge_f1",
    "edge_recovered",
    "shift",
    "mask_dice",
    "frc_03",
)


class RecordedTwice(FakeSet):
    """Micrographs, each recorded a second time, with their truth unknown."""

    def __init__(self, count: int) -> None:
        super().__init__(count, side=64)
        self.card = replace(self.card, kind="real")

    def second(self, image_id: str) -> Pixels | None:
        noise = np.random.default_rng(7).normal(0, 3, self.store[image_id].shape)
        return np.clip(self.store[image_id] + noise, 0, 255).round().astype(np.uint8)


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_rows_are_those_of_one_process_and_an_interrupt_leaves_what_is_finished(tmp_path: Path) -> None:
    data, options = RecordedTwice(5), {"scale": 2, "metrics": METRICS, "previews": 2}
    srbench.evaluate(["bicubic", "nearest"], dataset=data, results=tmp_path / "1", workers=1, **options)

    def interrupted(event: ProgressEvent | str) -> None:
        if isinstance(event, ProgressEvent) and event.label.startswith("nearest") and event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        srbench.evaluate(
            ["bicubic", "nearest"],
            dataset=data,
            results=tmp_path / "2",
            workers=2,
            progress=interrupted,
            **options,
        )
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    of_one, of_two = (
        {run.key: run for run in ScoreStore(tmp_path / name).manifests()} for name in ("1", "2")
    )
    finished = {key.model for key in of_two}
    assert finished == {"noise_ceiling", "random_texture", "bicubic"}
    for key, run in of_two.items():
        same = of_one[key]
        assert run.scores_sha256 == same.scores_sha256
        assert (run.outputs, run.guards, run.notes) == (same.outputs, same.guards, same.notes)
        files = [tmp_path / name / "runs" / key.run_id / "scores.parquet" for name in ("1", "2")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert any(math.isfinite(value) for value in ScoreStore(tmp_path / "2").scores()["value"])


class Processes:
    """Stands in for the processes of a pool: an image with a pixel of 13 ends one, 14 breaks a metric."""

    started = 0

    def __init__(self, function: Any, count: int, within: Path) -> None:
        assert count == 2 and within.is_dir()
        self.function = function
        type(self).started += 1

    def map(self, tasks: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        for tag, task in tasks:
            if task[1].sr.flat[0] == 13:
                raise ProcessDied("killed")
            if task[1].sr.flat[0] == 14:
                raise RuntimeError("SrbenchError in a worker process: unknown metric")
            yield tag, self.function(task)

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Scorer:
    monkeypatch.setattr(scoring_pool, "ProcessPool", Processes)
    monkeypatch.setattr(Processes, "started", 0)
    data = FakeSet(1, side=64)
    return Scorer(data, named("sem-grey"), choose_metrics(["psnr"]), degrade.get("bicubic"), 4)


def values(pool: ScoringPool, scorer: Scorer, first_pixels: Iterable[int]) -> list[float]:
    """PSNR of images that differ in their first pixel, by what the pool makes of them."""
    (image,) = scorer.micrographs.images

    def inputs(number: int) -> Any:
        pixels = np.full((64, 64), 128 + number % 10, dtype=np.uint8)
        pixels[0, 0] = number
        return scorer.inputs(image, pixels, np.full_like(pixels, 120), np.zeros((16, 16), np.uint8))

    tags = list(first_pixels)
    results = list(pool.results(scorer, tags, inputs))
    assert [tag for tag, _ in results] == tags
    for _, (scores, _) in results:
        assert len(scores) == 1 and math.isnan(scores[0].value) == bool(scores[0].reason)
    return [scores[0].value for _, (scores, _) in results]


def test_an_image_that_ends_its_process_gets_a_reason_and_the_others_their_values(scorer: Scorer) -> None:
    with ScoringPool(2, silent) as pool, ScoringPool(1, silent) as here:
        expected = values(here, scorer, [1, 2, 3, 4])
        assert np.array_equal(
            values(pool, scorer, [1, 2, 13, 3, 4]), [*expected[:2], math.nan, *expected[2:]], True
        )
        assert values(pool, scorer, [1, 2, 3, 4]) == expected
    assert 2 <= Processes.started <= 3


def test_processes_that_end_whatever_they_are_given_are_not_started_for_ever(scorer: Scorer) -> None:
    with ScoringPool(2, silent) as pool:
        assert np.isnan(values(pool, scorer, [13] * 50)).all()
    assert Processes.started <= scoring_pool.MOST_DEATHS + 2


def test_what_other_processes_cannot_do_is_done_here_and_said(scorer: Scorer) -> None:
    lines: list[Any] = []
    with ScoringPool(2, lines.append) as pool, ScoringPool(1, silent) as here:
        assert values(pool, scorer, [1, 14, 2]) == values(here, scorer, [1, 14, 2])
        assert values(pool, scorer, [3]) == values(here, scorer, [3])
    assert len(lines) == 1 and Processes.started == 1


@pytest.mark.parametrize(("seconds", "started"), [(0.0, 1), (math.inf, 0)])
def test_without_a_number_processes_start_once_there_is_work_for_them(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, seconds: float, started: int
) -> None:
    monkeypatch.setattr(scoring_pool, "WORTH_STARTING", seconds)
    monkeypatch.setattr(scoring_pool, "processes_here", lambda: 2)
    with ScoringPool(None, silent) as pool:
        pool.left = 6
        assert pool.is_full(1, 100)  # the first images are scored as they come
        values(pool, scorer, [1, 2])
        assert Processes.started == 0 and pool.left == 4
        assert pool.is_full(1, 100) == (not started)
        values(pool, scorer, [3, 4])
    assert Processes.started == started


@pytest.mark.usefixtures("nothing_shipped")
def test_the_next_worker_starts_once_all_images_of_a_model_are_there_and_no_other_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps: list[str] = []

    def started(job: WorkerJob, *rest: Any) -> Any:
        steps.append(f"{job.model} starts")
        return run_worker_here(job, *rest)

    def shown(event: ProgressEvent | str) -> None:
        if isinstance(event, ProgressEvent) and event.done == event.total:
            steps.append(f"{event.label.split()[0]} done")

    monkeypatch.setattr("srbench.evaluation.worker_client.run_worker", started)
    data = FakeSet(2, side=40)
    options: Any = {"dataset": data, "scale": 4, "results": tmp_path, "metrics": ["psnr"], "previews": 0}
    srbench.evaluate(["bicubic", "vdsr", "nearest"], runs=tmp_path, progress=shown, **options)
    assert [step for step in steps if step.split()[0] in ("bicubic", "nearest", "vdsr")] == [
        "bicubic starts",
        "bicubic done",
        "nearest starts",
        "nearest done",
    ]
    steps.clear()
    srbench.evaluate(["nearest", "bicubic", "bilinear"], runs=tmp_path, **options)
    assert steps == ["bilinear starts"]
