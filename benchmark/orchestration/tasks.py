"""The tasks of a plan: trainings, what they are scored on, and the report, each repeatable without harm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from srbench import datasets, plugins
from srbench.config import EvaluationConfig, TrainConfig
from srbench.datasets.base import RECORDED
from srbench.evaluation.context import choose_split
from srbench.evaluation.evaluate import EvaluationSummary, evaluate
from srbench.evaluation.scorer import choose_metrics
from srbench.metrics.protocol import named
from srbench.orchestration.benchmark_plan import BenchmarkPlan, Combination, combinations
from srbench.reporting import report
from srbench.training import train
from srbench.training.run_folder import RunFolder
from srbench.training.train import check_config, folder_name
from srbench.utils.errors import DatasetError, SrbenchError
from srbench.utils.progress import ProgressCallback, count_of
from srbench.weights.find import WEIGHTS

Kind = Literal["train", "baselines", "evaluate", "part", "report"]
TaskStatus = Literal["done", "skipped", "failed", "interrupted", "not run"]


@dataclass(frozen=True)
class BenchmarkTask:
    """Something to do in one process; plain values, to be sent to it.

    Attributes:
        name: unique in the plan.
        kind: what is done: ``baselines`` makes the LR images and scores what is not trained, ``part`` scores
            some images for one of these or for ``evaluate``, which then joins them.
        after: names of the tasks that come before it.
        options: arguments of what is called.
        data: fingerprint of its dataset where the plan was read; another one is refused.
        log: file for all that it says.
        command: the command line that manifests name.
    """

    name: str
    kind: Kind
    after: tuple[str, ...]
    options: Mapping[str, Any]
    data: str = ""
    log: str = ""
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskOutcome:
    """What became of a task.

    Attributes:
        status: ``skipped`` where everything had been done before, ``not run`` where what it needs failed.
        detail: how much was done, or the reason.
        seconds: it took.
        guards: findings of failed guards, one line each.
    """

    name: str
    status: TaskStatus
    detail: str
    seconds: float = 0.0
    guards: tuple[str, ...] = ()


@dataclass(frozen=True)
class Destination:
    """Where a plan is run into.

    Attributes:
        runs: folder of the trainings.
        results: folder of the score store.
        device: as ``srbench train --device`` takes it.
        plan_sha256: of the text of the plan.
    """

    runs: Path
    results: Path
    device: str
    plan_sha256: str


@dataclass(frozen=True)
class ExpandedPlan:
    """The tasks of a plan, each after those that it needs.

    Attributes:
        tasks: in an order in which they could be done one by one.
        trainings: settings of the trainings by the name of their task.
        images: how many images each evaluation scores, by the name of its task.
    """

    tasks: tuple[BenchmarkTask, ...]
    trainings: Mapping[str, TrainConfig]
    images: Mapping[str, int]


@dataclass
class _Conditions:
    """Under what several networks are scored: a dataset, a degradation and a scale."""

    dataset: str
    degradation: str
    scale: int
    baselines: list[str] = field(default_factory=list)
    trained: dict[str, Path] = field(default_factory=dict)

    @property
    def described(self) -> str:
        return f"{self.dataset} {self.degradation} x{self.scale}"


def expand(benchmark: BenchmarkPlan, destination: Destination) -> ExpandedPlan:
    """The tasks of a plan. Opens its datasets.

    Raises:
        SrbenchError, ModelError, DatasetError: what a combination cannot be, or a dataset that is not on
            this disk.
    """
    trainings: dict[str, TrainConfig] = {}
    tasks: list[BenchmarkTask] = []
    scored: dict[tuple[str, str, int], _Conditions] = {}
    chosen = combinations(benchmark)
    opened = {name: datasets.open(name) for name in dict.fromkeys(_datasets(benchmark, chosen))}
    fingerprints = {name: micrographs.fingerprint for name, micrographs in opened.items()}
    for combination in chosen:
        folder = None
        if plugins.card(combination.model).trainable:
            config = _training(combination, benchmark, destination)
            folder = destination.runs / folder_name(config)
            name = f"train {folder.name}"
            trainings[name] = config
            tasks.append(
                BenchmarkTask(
                    name,
                    "train",
                    (),
                    {
                        "config": config.model_dump(mode="json"),
                        "out": str(folder),
                        "device": destination.device,
                    },
                    fingerprints[combination.dataset],
                )
            )
        for dataset in _evaluated_on(benchmark, combination):
            degradation = combination.degradation
            if dataset != combination.dataset and degradation == RECORDED:
                degradation = datasets.default_degradation(dataset)
            key = dataset, degradation, combination.scale
            conditions = scored.setdefault(key, _Conditions(*key))
            if folder is None:
                conditions.baselines.append(combination.model)
            else:
                conditions.trained[f"train {folder.name}"] = folder
    images: dict[str, int] = {}
    scorings: list[str] = []
    trained_on = {config.dataset for config in trainings.values()}
    for conditions in scored.values():
        options: dict[str, Any] = {
            **benchmark.evaluation.model_dump(exclude_none=True, exclude={"datasets", "images_a_part"}),
            "scale": conditions.scale,
            "degradation": conditions.degradation,
            "results": str(destination.results),
            "device": destination.device,
            "plan_sha256": destination.plan_sha256,
        }
        if conditions.dataset in trained_on:
            options.setdefault("split", "test")
        data = fingerprints[conditions.dataset]
        first = f"baselines {conditions.described}"
        arguments = {"dataset": conditions.dataset, "options": options, "models": conditions.baselines}
        whole = [BenchmarkTask(first, "baselines", (), arguments, data)]
        for training, folder in conditions.trained.items():
            name = f"evaluate {folder.name} on {conditions.described}"
            with_weights = {**options, "weights": str(folder / WEIGHTS)}
            arguments = {"dataset": conditions.dataset, "options": with_weights, "models": []}
            whole.append(BenchmarkTask(name, "evaluate", (training, first), arguments, data))
        scoring, micrographs = EvaluationConfig.of(options), opened[conditions.dataset]
        choose_metrics(scoring.metrics)
        if scoring.protocol is not None:
            named(scoring.protocol)
        count = len(micrographs.split(choose_split(micrographs, scoring, ())[0]))
        parts = -(-count // benchmark.evaluation.images_a_part)
        EvaluationConfig.of({**options, "part": (0, parts)})  # not more than there may be
        for task in whole:
            *divided, joined = _in_parts(task, parts)
            rows = len(conditions.baselines) if task.kind == "baselines" else 1
            images |= {part.name: rows * -(-count // parts) for part in divided}
            images[joined.name] = 0 if divided else rows * count
            tasks += [*divided, joined]
            scorings.append(joined.name)
    tasks.append(BenchmarkTask("report", "report", tuple(scorings), {"results": str(destination.results)}))
    return ExpandedPlan(tuple(tasks), trainings, images)


def _in_parts(task: BenchmarkTask, count: int) -> list[BenchmarkTask]:
    """So many parts of a scoring, and the scoring itself, which joins them; it alone for one part."""
    if count == 1:
        return [task]

    def with_part(number: int) -> dict[str, Any]:
        return {**task.options, "options": {**task.options["options"], "part": (number, count)}}

    names = [f"{task.name}, part {number} of {count}" for number in range(1, count + 1)]
    parts = []
    for number, name in enumerate(names, 1):
        # LR images are made once: where nothing has made them yet the first part does.
        after = task.after or (names[:1] if number > 1 else ())
        parts.append(BenchmarkTask(name, "part", tuple(after), with_part(number), task.data))
    return [*parts, replace(task, after=(*task.after, *names), options=with_part(0))]


def _datasets(benchmark: BenchmarkPlan, chosen: Iterable[Combination]) -> Iterable[str]:
    for combination in chosen:
        yield combination.dataset
        yield from _evaluated_on(benchmark, combination)


def _evaluated_on(benchmark: BenchmarkPlan, combination: Combination) -> Sequence[str]:
    named = benchmark.evaluation.datasets
    return (combination.dataset,) if named is None else [datasets.source(name).full_name for name in named]


def _training(combination: Combination, benchmark: BenchmarkPlan, destination: Destination) -> TrainConfig:
    options = {**asdict(combination), "plan_sha256": destination.plan_sha256}
    of_plan = benchmark.model_dump(include={"train", "stages"}, exclude_unset=True)
    return check_config(TrainConfig.of({**options, **of_plan}))[0]


def perform(task: BenchmarkTask, progress: ProgressCallback) -> TaskOutcome:
    """Do a task in this process; what has been done before is not done again.

    Raises:
        SrbenchError: it failed; says why.
        TrainingInterrupted: stopped from outside, after saving.
    """
    if task.kind == "report":
        page = report(task.options["results"], progress=progress).page
        return TaskOutcome(task.name, "done", str(page))
    if task.kind == "train":
        return _train(task, progress)
    options = task.options
    micrographs = datasets.open(options["dataset"], progress=progress)
    _check_data(task, micrographs.fingerprint)
    summary = evaluate(options["models"], dataset=micrographs, progress=progress, **options["options"])
    return _scored(task, summary)


def is_trained(task: BenchmarkTask) -> bool:
    """Whether a training has been finished; whether by these settings :func:`perform` says."""
    return task.kind == "train" and RunFolder(Path(task.options["out"])).state == "complete"


def steps_trained(task: BenchmarkTask) -> int:
    """Updates noted in the manifest of an unfinished training; 0 of anything else."""
    manifest = RunFolder(Path(task.options["out"])).manifest if task.kind == "train" else None
    reached = manifest.get("progress") if manifest else None
    step = reached.get("step") if isinstance(reached, dict) else None
    return step if isinstance(step, int) else 0


def _train(task: BenchmarkTask, progress: ProgressCallback) -> TaskOutcome:
    config = TrainConfig.model_validate(task.options["config"])
    before = is_trained(task)
    if before:
        stored = RunFolder(Path(task.options["out"])).manifest or {}
        _check_data(task, str(stored.get("dataset", {}).get("fingerprint")))
    else:
        _check_data(task, datasets.open(config.dataset, progress=progress).fingerprint)
    device, out = task.options["device"], task.options["out"]
    result = train(config=config, out=out, resume=True, device=device, progress=progress)
    if result is None:
        raise SrbenchError("A task of a plan is one process; torchrun is for a single training.")
    detail = f"{result.iterations} iterations in {result.seconds:.0f} s"
    return TaskOutcome(task.name, "skipped" if before else "done", detail)


def _check_data(task: BenchmarkTask, fingerprint: str) -> None:
    if fingerprint != task.data:
        raise DatasetError(
            f"The data are not those of the plan: fingerprint {fingerprint[:12]} where the plan was read "
            f"with {task.data[:12]}. Let all machines read one folder (SRBENCH_HOME on a shared path), or, "
            "if this was trained on other data earlier, remove its folder."
        )


def _scored(task: BenchmarkTask, summary: EvaluationSummary) -> TaskOutcome:
    guards = tuple(
        f"{outcome.label}: {guard['guard']}: {guard['detail']}"
        for outcome in summary.caught
        for guard in outcome.failed_guards
    )
    wrong = [*summary.failed, *summary.missing]
    if wrong:
        reasons = "; ".join(f"{outcome.label}: {outcome.detail}" for outcome in wrong)
        return TaskOutcome(task.name, "failed", reasons, guards=guards)
    if not summary.scored:
        return TaskOutcome(task.name, "skipped", "already scored", guards=guards)
    detail = f"{count_of(len(summary.scored), 'row')} scored; {summary.scored[-1].detail}"
    return TaskOutcome(task.name, "done", detail, guards=guards)
