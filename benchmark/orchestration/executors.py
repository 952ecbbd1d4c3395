"""Where tasks are done: by processes of this machine, or by the workers of a Dask cluster."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from srbench.orchestration.task_process import Description, TaskProcess
from srbench.utils.errors import SrbenchError
from srbench.utils.paths import home
from srbench.utils.progress import ProgressCallback, ProgressEvent

if TYPE_CHECKING:
    from srbench.orchestration.tasks import BenchmarkTask

OnEvent = Callable[[str, ProgressEvent], None]
"""Takes the name of a task and what happens to it; called from other threads."""
_EXTRA = "a Dask cluster needs the extra: pip install 'srbench[cluster]'"
_CONNECT_SECONDS = 30


@dataclass(frozen=True)
class Executor:
    """What does the tasks.

    Attributes:
        submit: begins a task; the result are the fields of its ``TaskOutcome``.
        workers: how many tasks are done at a time, as far as is known.
        described: in words.
        interrupt: asks tasks of this machine to save and stop.
    """

    submit: Callable[[BenchmarkTask], Future[dict[str, Any]]]
    workers: int
    described: str
    interrupt: Callable[[], None]


class WorkerLost(Exception):
    """The machine or process that did a task is gone, several times."""


class SchedulerLost(SrbenchError):
    """Nobody knows any more what became of the tasks."""


@contextmanager
def local_executor(workers: int, on_event: OnEvent) -> Iterator[Executor]:
    """Processes of this machine; each has its share of the cores, and one of the GPUs, if there are any."""
    processes: list[TaskProcess] = []
    thread = threading.local()
    numbers = itertools.count()

    def start() -> None:
        thread.process = TaskProcess(_environment(next(numbers), workers))
        processes.append(thread.process)

    def run(task: BenchmarkTask) -> dict[str, Any]:
        result: dict[str, Any] = thread.process.run(asdict(task), lambda event: on_event(task.name, event))
        return result

    def interrupt() -> None:
        for process in processes:
            process.interrupt()

    threads = ThreadPoolExecutor(workers, initializer=start)
    try:
        yield Executor(
            lambda task: threads.submit(run, task), workers, f"{workers} processes here", interrupt
        )
    finally:
        try:
            threads.shutdown(cancel_futures=True)
        except KeyboardInterrupt:  # they save what they have; asked twice, they stop at once
            interrupt()
            threads.shutdown()
            raise
        for process in processes:
            process.close()


def _environment(number: int, workers: int) -> dict[str, str]:
    import torch

    environment = {"SRBENCH_HOME": str(home())}
    if "OMP_NUM_THREADS" not in os.environ and workers > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    gpus = torch.cuda.device_count()
    if gpus > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[number % gpus]
    return environment


@contextmanager
def cluster_executor(
    scheduler: str | None, jobs: int, on_event: OnEvent, progress: ProgressCallback
) -> Iterator[Executor]:
    """The workers of a Dask cluster; where they offer the resource GPU, each task but the report takes one.

    Args:
        scheduler: address of a running one; None: Slurm starts the workers, as Dask's own settings say.
        jobs: of Slurm.
        on_event: told of what happens to tasks.
        progress: told of waiting.

    Raises:
        SrbenchError: the extra is not installed, or the scheduler does not answer.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise SrbenchError(f"Not installed: {error.name}; {_EXTRA}") from error
    topic = f"srbench-{os.urandom(6).hex()}"
    with ExitStack() as stack:
        address: Any = scheduler
        if scheduler is None:
            address = stack.enter_context(_slurm(jobs))
        try:
            client = stack.enter_context(Client(address, timeout=_CONNECT_SECONDS, set_as_default=False))
        except (OSError, ValueError) as error:
            raise SrbenchError(
                f"No Dask scheduler answers at {scheduler} ({error}). Start one with 'dask scheduler' and "
                "give the address that it prints."
            ) from error

        def on_published(event: tuple[float, Any]) -> None:
            _, message = event
            on_event(message["task"], ProgressEvent(**message["event"]))

        client.subscribe_topic(topic, on_published)
        progress(f"Waiting for the first worker; watch the cluster at {client.dashboard_link}")
        client.wait_for_workers(1)
        known_workers = client.scheduler_info(n_workers=-1)["workers"].values()
        gpu = {"GPU": 1} if any("GPU" in worker["resources"] for worker in known_workers) else None
        threads = sum(worker["nthreads"] for worker in known_workers)
        described = f"the cluster at {client.scheduler.address}"

        def submit(task: BenchmarkTask) -> Future[dict[str, Any]]:
            resources = gpu if task.kind != "report" else None
            executor = client.get_executor(pure=False, resources=resources)
            return _translated(executor.submit(run_on_worker, json.dumps(asdict(task)), topic, str(home())))

        yield Executor(submit, threads, described, lambda: None)


@contextmanager
def _slurm(jobs: int) -> Iterator[Any]:
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise SrbenchError(f"Not installed: {error.name}; {_EXTRA}") from error
    try:
        cluster = SLURMCluster()
    except (ValueError, RuntimeError, OSError) as error:
        raise SrbenchError(
            f"Dask cannot start Slurm jobs ({error}). What a job is, is said in ~/.config/dask/jobqueue.yaml "
            "(docs/scale.md has an example)."
        ) from error
    with cluster:
        cluster.scale(jobs=jobs)
        yield cluster


def _translated(future: Future[dict[str, Any]]) -> Future[dict[str, Any]]:
    """The same result, with the errors of this module in place of Dask's."""
    from distributed.scheduler import KilledWorker

    result: Future[dict[str, Any]] = Future()

    def finish(done: Future[dict[str, Any]]) -> None:
        try:
            result.set_result(done.result())
        except KilledWorker as error:
            result.set_exception(
                WorkerLost(f"the worker was lost while it did this task ({error.last_worker})")
            )
        except (CancelledError, OSError) as error:
            result.set_exception(SchedulerLost(str(error)))
        except Exception as error:
            result.set_exception(error)

    future.add_done_callback(finish)
    return result


_of_thread = threading.local()
"""The process of each thread of a Dask worker: torch is loaded once, not for every task."""


def run_on_worker(text: str, topic: str, srbench_home: str) -> dict[str, Any]:
    """On a Dask worker: do a task in a process beside it, which ends when the worker does.

    Args:
        text: the task as JSON.
        topic: where events are published.
        srbench_home: of whoever runs the plan; it must be on a path that all machines share.
    """
    from distributed import get_worker

    task: Description = json.loads(text)
    worker = get_worker()
    processes: dict[str, TaskProcess] = _of_thread.__dict__.setdefault("processes", {})
    if srbench_home not in processes:
        processes[srbench_home] = TaskProcess({"SRBENCH_HOME": srbench_home})
    return processes[srbench_home].run(
        task, lambda event: worker.log_event(topic, {"task": task["name"], "event": asdict(event)})
    )
