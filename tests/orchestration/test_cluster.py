"""A plan on a Dask cluster: workers that are killed and a scheduler that is restarted cost no result."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import pytest
import torch

from helpers.fake_set import texture
from srbench.orchestration.benchmark_plan import read_plan
from srbench.orchestration.estimate import estimate
from srbench.orchestration.executors import Executor, SchedulerLost
from srbench.orchestration.run import BenchmarkProgress, run_into, run_plan
from srbench.orchestration.tasks import Destination, ExpandedPlan, expand, perform
from srbench.store import COLUMNS, ScoreStore
from srbench.utils.files import read_json
from srbench.utils.progress import silent

distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
pytestmark = pytest.mark.slow

STEPS = 120


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plan on a few small images: two trainings, long enough to be killed."""
    folder = tmp_path_factory.mktemp("plan")
    for split, count in (("train", 3), ("test", 2)):
        (folder / "images" / split).mkdir(parents=True)
        for index in range(count):
            pixels = texture(10 * count + index, 96, 96)
            cv2.imwrite(str(folder / "images" / split / f"{split}{index}.png"), pixels)
    path = folder / "plan.yaml"
    path.write_text(
        f"models: [bicubic, vdsr]\nvariants: tiny\nbudgets: smoke\nseeds: [0, 1]\nscales: 2\n"
        f"datasets: {folder / 'images'}\n"
        f"train: {{iterations: {STEPS}, batch: 1, patch: 32, threads: 1, tensorboard: false, "
        "checkpoint_every: 5, log_every: 60}\n"
        "evaluation: {metrics: [psnr, ssim], previews: 0, workers: 1, images_a_part: 1}\n"
    )
    return path


def into(folder: Path, path: Path, **evaluation: int) -> tuple[ExpandedPlan, Destination, bytes]:
    benchmark, text = read_plan(path)
    scored = benchmark.evaluation.model_copy(update=evaluation)
    benchmark = benchmark.model_copy(update={"evaluation": scored})
    destination = Destination(folder / "runs", folder / "results", "cpu", hashlib.sha256(text).hexdigest())
    return expand(benchmark, destination), destination, text


def rows(destination: Destination) -> pd.DataFrame:
    """Of images alone: what a model costs differs from time to time."""
    scores = ScoreStore(destination.results).scores()
    scores = scores[scores["image"] != ""][list(COLUMNS)].astype({"image": str, "model": str, "metric": str})
    return scores.sort_values(["model", "seed", "image", "metric"]).reset_index(drop=True)


@contextlib.contextmanager
def killer(address: str, trainings: list[Path], times: int) -> Iterator[list[int]]:
    """Kills the worker that does the first training, whenever that has saved something since."""
    killed: list[int] = []
    over = threading.Event()

    def step() -> int:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return int(read_json(trainings[0] / "manifest.json")["progress"]["step"])
        return 0

    def watch() -> None:
        last = 0
        with distributed.Client(address, set_as_default=False) as client:
            while not over.wait(0.05) and len(killed) < times:
                if last < step() < STEPS:
                    last = step()
                    for worker, keys in client.processing().items():
                        pids = client.run(os.getpid, workers=[worker]) if keys else {}
                        if pids and child_holds(pids[worker], trainings[0]):
                            os.kill(pids[worker], signal.SIGKILL)
                            killed.append(last)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def child_holds(pid: int, run: Path) -> bool:
    import psutil

    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            if any(Path(file.path).parent == run for file in child.open_files()):
                return True
    return False


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def cluster() -> Any:
    return distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    )


@pytest.mark.usefixtures("one_thread", "workers_here")
def test_killed_workers_and_a_lost_scheduler_change_no_row(described: Path, tmp_path: Path) -> None:
    straight, straight_into, _ = into(tmp_path / "straight", described, images_a_part=1000)

    def submit(task: Any) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        future.set_result(vars(perform(task, silent)))
        return future

    work = estimate(straight, straight_into, silent)
    here = Executor(submit, 1, "this process", lambda: None)
    run_plan(straight.tasks, here, BenchmarkProgress(straight.tasks, work, silent), lambda _: None)

    benchmark, destination, text = into(tmp_path / "cluster", described)
    trainings = [Path(task.options["out"]) for task in benchmark.tasks if task.kind == "train"]

    def run(address: str, progress: Any = silent) -> list[str]:
        work = estimate(benchmark, destination, silent)
        outcomes = run_into(benchmark, work, destination, text, "plan.yaml", 1, address, None, progress)
        return [outcome.status for outcome in outcomes]

    first = cluster()

    def close_when_trained(event: object) -> None:
        trained = isinstance(event, str) and event.startswith("train") and first.status.name == "running"
        if trained and all((folder / "weights.safetensors").is_file() for folder in trainings):
            first.close()

    with first, killer(first.scheduler_address, trainings, 2) as killed, pytest.raises(SchedulerLost):
        run(first.scheduler_address, close_when_trained)
    assert len(killed) == 2
    with cluster() as second:
        statuses = run(second.scheduler_address)
    assert statuses.count("skipped") >= 2 and set(statuses) <= {"done", "skipped"}

    # begun once, and resumed from its checkpoint each time its worker was killed
    assert len(read_json(trainings[0] / "manifest.json")["sessions"]) == 3
    pd.testing.assert_frame_equal(rows(destination), rows(straight_into), check_exact=True)
    assert [task.kind for task in benchmark.tasks].count("part") == 2 * (1 + len(trainings))
    assert not list((destination.results / "parts").iterdir())
    assert {m.plan_sha256 for m in ScoreStore(destination.results).manifests()} == {destination.plan_sha256}
