"""The tasks of a plan, each when what it needs is done; failures are recorded and the others go on."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from srbench.orchestration.estimate import WorkEstimate
from srbench.orchestration.executors import (
    Executor,
    SchedulerLost,
    WorkerLost,
    cluster_executor,
    local_executor,
)
from srbench.orchestration.tasks import (
    BenchmarkTask,
    Destination,
    ExpandedPlan,
    TaskOutcome,
    is_trained,
    perform,
    steps_trained,
)
from srbench.preregistration import plan_folder, record_plan
from srbench.utils.errors import SrbenchError
from srbench.utils.files import unique_name, write_text
from srbench.utils.progress import ProgressCallback, ProgressEvent, silent

_SHOWN = 3
_REFRESH_SECONDS = 1.0


class BenchmarkProgress:
    """One display for all tasks: the estimated seconds of work that are done, and what is being done.

    Args:
        tasks: all of them.
        estimate: what they take.
        progress: shows it.
    """

    def __init__(
        self, tasks: Sequence[BenchmarkTask], estimate: WorkEstimate, progress: ProgressCallback
    ) -> None:
        self._seconds = {task.name: max(estimate.seconds[task.name], 1.0) for task in tasks}
        self._progress = progress
        self._running: dict[str, ProgressEvent] = {}
        self._ended: set[str] = set()

    def on_event(self, name: str, event: ProgressEvent) -> None:
        """What happens to a task; called from any thread."""
        if name not in self._ended:
            self._running[name] = event

    def on_outcome(self, outcome: TaskOutcome) -> None:
        """A task has ended."""
        self._ended.add(outcome.name)
        self._running.pop(outcome.name, None)
        if outcome.status != "skipped":
            self._progress(f"{outcome.name}: {outcome.status}, {outcome.detail}")

    def show(self) -> None:
        """Show how far all is."""
        running = dict(self._running)
        done = sum(self._seconds[name] for name in self._ended)
        # Of a training alone: what an evaluation counts begins anew with its audit.
        done += sum(
            self._seconds[name] * event.done / event.total
            for name, event in running.items()
            if event.total and event.label == "training"
        )
        texts = [f"{len(self._ended)} of {len(self._seconds)} tasks"]
        texts += [f"{name} {event.done}/{event.total}" for name, event in list(running.items())[:_SHOWN]]
        texts += [f"{len(running) - _SHOWN} more"] if len(running) > _SHOWN else []
        total = int(sum(self._seconds.values()))
        detail = ", ".join(texts)
        self._progress(ProgressEvent("benchmark", int(done), total, "estimated seconds of work", detail))


class Interrupted(KeyboardInterrupt):
    """A plan was stopped from outside; ``str()`` says how to go on."""


def run_plan(
    tasks: Sequence[BenchmarkTask],
    executor: Executor,
    display: BenchmarkProgress,
    record: Callable[[Sequence[TaskOutcome]], None],
) -> list[TaskOutcome]:
    """Do all tasks; gives what became of each, in their order.

    Args:
        tasks: each after those that it needs.
        executor: does them.
        display: shows how far it is.
        record: keeps the outcomes, after every task.

    Raises:
        SchedulerLost: the cluster is gone; what it did is on disk.
        Interrupted: stopped by Ctrl-C, after the tasks of this machine have saved what they had.
    """
    outcomes: dict[str, TaskOutcome] = {}
    waiting = {task.name: task for task in tasks}
    running: dict[Future[dict[str, Any]], tuple[BenchmarkTask, int]] = {}

    def end(outcome: TaskOutcome) -> None:
        outcomes[outcome.name] = outcome
        record([outcomes[task.name] for task in tasks if task.name in outcomes])
        display.on_outcome(outcome)

    try:
        while waiting or running:
            ready = [task for task in waiting.values() if all(name in outcomes for name in task.after)]
            for task in ready:
                del waiting[task.name]
                lost = [name for name in task.after if outcomes[name].status not in ("done", "skipped")]
                if lost and (task.kind != "report" or len(lost) == len(task.after)):
                    end(TaskOutcome(task.name, "not run", f"it needs {lost[0]}"))
                elif is_trained(task):  # known at once, and without another process
                    end(_finished_before(task))
                else:
                    running[executor.submit(task)] = task, steps_trained(task)
            done, _ = wait(running, _REFRESH_SECONDS, FIRST_COMPLETED)
            for future in done:
                task, began = running.pop(future)
                outcome = _outcome(task, future)
                if outcome is None and steps_trained(task) > began:
                    running[executor.submit(task)] = task, steps_trained(task)
                else:
                    end(outcome or TaskOutcome(task.name, "failed", "its worker was lost again and again"))
            display.show()
    except KeyboardInterrupt:
        executor.interrupt()
        raise Interrupted(
            f"Stopped; {len(outcomes)} of {len(tasks)} tasks are done. The same command goes on from there."
        ) from None
    return [outcomes[task.name] for task in tasks]


def _finished_before(task: BenchmarkTask) -> TaskOutcome:
    try:
        return perform(task, silent)
    except SrbenchError as error:
        return TaskOutcome(task.name, "failed", str(error))


def _outcome(task: BenchmarkTask, future: Future[dict[str, Any]]) -> TaskOutcome | None:
    """What became of a task; None where its worker was lost."""
    try:
        return TaskOutcome(**future.result())
    except WorkerLost:
        return None
    except SchedulerLost as error:
        raise SchedulerLost(
            f"The scheduler of the cluster is gone ({error}). Nothing that was done is lost: start it again "
            "and repeat the command."
        ) from error
    except Exception as error:  # of the cluster: another version of srbench there, a full disk
        return TaskOutcome(task.name, "failed", f"{type(error).__name__}: {error}")


def run_into(
    benchmark: ExpandedPlan,
    expected: WorkEstimate,
    destination: Destination,
    text: bytes,
    file: str,
    workers: int,
    scheduler: str | None,
    jobs: int | None,
    progress: ProgressCallback,
) -> list[TaskOutcome]:
    """Record a plan, then do its tasks here or on a cluster; gives what became of each.

    Args:
        benchmark: the tasks.
        expected: what they take.
        destination: where they write.
        text: of the plan.
        file: its name.
        workers: tasks at a time, of this machine.
        scheduler: address of a Dask scheduler.
        jobs: Slurm jobs to start.
        progress: shows how far it is.
    """
    record_plan(destination.results, text, file)
    folder = plan_folder(destination.results, destination.plan_sha256)
    is_here = scheduler is None and jobs is None
    cores = {"workers": max(1, (os.cpu_count() or 1) // workers)} if is_here and workers > 1 else {}
    tasks = [
        replace(
            task,
            log=str(folder / "logs" / f"{unique_name(task.name)}.log"),
            command=tuple(sys.argv),
            options={**task.options, "options": {**cores, **task.options["options"]}}
            if task.kind in ("baselines", "evaluate", "part")
            else task.options,
        )
        for task in benchmark.tasks
    ]
    display = BenchmarkProgress(tasks, expected, progress)
    progress(f"Logs of the tasks: {folder / 'logs'}")
    chosen = (
        local_executor(workers, display.on_event)
        if is_here
        else cluster_executor(scheduler, jobs or 1, display.on_event, progress)
    )
    with chosen as executor:
        progress(f"{len(tasks)} tasks on {executor.described}")
        return run_plan(
            tasks, executor, display, functools.partial(_write_outcomes, folder / "outcomes.json")
        )


def _write_outcomes(path: Path, outcomes: Sequence[TaskOutcome]) -> None:
    """What became of the tasks so far, for whoever comes later."""
    content = {"written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    write_text(
        path, json.dumps({**content, "tasks": [asdict(outcome) for outcome in outcomes]}, indent=1) + "\n"
    )
