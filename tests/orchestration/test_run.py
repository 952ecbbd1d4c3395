"""The order of tasks, and what becomes of the others when one fails or the cluster is gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from srbench.orchestration.estimate import WorkEstimate
from srbench.orchestration.executors import Executor, SchedulerLost, WorkerLost
from srbench.orchestration.run import BenchmarkProgress, Interrupted, run_plan
from srbench.orchestration.tasks import BenchmarkTask, TaskOutcome
from srbench.utils.progress import ProgressEvent, silent

Does = Callable[[BenchmarkTask], str | BaseException]


def tasks(folder: Path) -> list[BenchmarkTask]:
    trainings = [
        BenchmarkTask(f"train {name}", "train", (), {"out": str(folder / name)}) for name in ("a", "b")
    ]
    scorings = [
        BenchmarkTask("baselines", "baselines", (), {}),
        *(BenchmarkTask(f"evaluate {n}", "evaluate", (f"train {n}", "baselines"), {}) for n in ("a", "b")),
    ]
    last = BenchmarkTask("report", "report", tuple(task.name for task in scorings), {})
    return [*trainings, *scorings, last]


def run(benchmark: list[BenchmarkTask], does: Does) -> tuple[dict[str, str], list[str], list[int]]:
    """Status of each task, the order in which they were submitted, and how many were recorded each time."""
    order: list[str] = []
    recorded: list[int] = []

    def submit(task: BenchmarkTask) -> Future[dict[str, Any]]:
        order.append(task.name)
        future: Future[dict[str, Any]] = Future()
        result = does(task)
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(
                {"name": task.name, "status": result, "detail": "", "seconds": 1.0, "guards": []}
            )
        return future

    display = BenchmarkProgress(
        benchmark, WorkEstimate({}, {task.name: 1.0 for task in benchmark}, ()), silent
    )
    executor = Executor(submit, 1, "a test", lambda: order.append("interrupted"))
    outcomes = run_plan(benchmark, executor, display, lambda done: recorded.append(len(done)))
    return {outcome.name: outcome.status for outcome in outcomes}, order, recorded


def test_each_task_comes_after_what_it_needs(tmp_path: Path) -> None:
    benchmark = tasks(tmp_path)
    statuses, order, recorded = run(benchmark, lambda _: "done")
    assert set(statuses.values()) == {"done"} and sorted(order) == sorted(statuses)
    for task in benchmark:
        assert all(order.index(name) < order.index(task.name) for name in task.after)
    assert recorded == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("failure", ["failed", RuntimeError("another version there")])
def test_what_needs_a_failed_task_is_not_run_and_the_others_go_on(tmp_path: Path, failure: Any) -> None:
    statuses, order, _ = run(tasks(tmp_path), lambda task: failure if task.name == "train a" else "done")
    assert statuses["train a"] == "failed" and statuses["evaluate a"] == "not run"
    assert "evaluate a" not in order
    assert statuses["evaluate b"] == statuses["report"] == "done"


def test_nothing_to_report_where_everything_failed(tmp_path: Path) -> None:
    statuses, _, _ = run(tasks(tmp_path), lambda _: "failed")
    assert statuses["report"] == "not run"


def test_a_lost_worker_is_replaced_as_long_as_its_training_moves_on(tmp_path: Path) -> None:
    def note(step: int) -> None:
        (tmp_path / "a").mkdir(exist_ok=True)
        manifest = {"kind": "training", "status": "running", "progress": {"step": step}}
        (tmp_path / "a" / "manifest.json").write_text(json.dumps(manifest))

    steps = iter((10, 20, 30, 30))

    def does(task: BenchmarkTask) -> str | BaseException:
        if task.name != "train a":
            return WorkerLost() if task.name == "evaluate b" else "done"
        note(next(steps))
        return WorkerLost()

    statuses, order, _ = run(tasks(tmp_path), does)
    # begun, resumed at 10, at 20, at 30, and given up when it had stayed there
    assert order.count("train a") == 4 and statuses["train a"] == "failed"
    assert order.count("evaluate b") == 1 and statuses["evaluate b"] == "failed"


def test_without_a_scheduler_nobody_knows_and_ctrl_c_stops(tmp_path: Path) -> None:
    with pytest.raises(SchedulerLost):
        run(tasks(tmp_path), lambda _: SchedulerLost("closed"))
    benchmark = tasks(tmp_path)

    def interrupt(task: BenchmarkTask) -> str:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stopped:
        run(benchmark, interrupt)
    assert isinstance(stopped.value, KeyboardInterrupt)


def test_one_display_counts_finished_work_and_the_share_of_running_trainings(tmp_path: Path) -> None:
    shown: list[ProgressEvent] = []
    benchmark = tasks(tmp_path)
    seconds = {task.name: 100.0 if task.kind == "train" else 10.0 for task in benchmark}
    display = BenchmarkProgress(
        benchmark,
        WorkEstimate({}, seconds, ()),
        lambda event: shown.append(event) if not isinstance(event, str) else None,
    )
    display.on_event("train a", ProgressEvent("training", 30, 120, "steps"))
    display.on_event("baselines", ProgressEvent("images", 1, 2, "images"))
    display.show()
    display.on_outcome(TaskOutcome("train a", "done", ""))
    display.on_event("train a", ProgressEvent("training", 30, 120, "steps"))  # late: it is over
    display.show()
    assert [(event.done, event.total) for event in shown] == [(25, 240), (100, 240)]
    assert "30/120" in shown[0].detail and "30/120" not in shown[1].detail


def test_time_is_shared_by_workers(tmp_path: Path) -> None:
    benchmark = tuple(tasks(tmp_path))
    seconds = {task.name: {"train": 100.0, "evaluate": 20.0}.get(task.kind, 10.0) for task in benchmark}
    estimate = WorkEstimate({}, seconds, ())
    assert estimate.makespan(benchmark, 1) == pytest.approx(100 + 100 + 10 + 20 + 20 + 10)
    assert estimate.makespan(benchmark, 2) == pytest.approx(100 + 10 + 20 + 10)
    longer = replace(benchmark[0], name="x")
    assert WorkEstimate({}, {**seconds, "x": 1.0}, ()).makespan((longer,), 4) == 1.0
