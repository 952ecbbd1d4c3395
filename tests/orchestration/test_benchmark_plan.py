"""What a file of a plan says, and the tasks that it becomes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from srbench.orchestration.benchmark_plan import Combination, combinations, read_plan
from srbench.orchestration.tasks import BenchmarkTask, Destination, expand
from srbench.utils.errors import SrbenchError

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def into(text: str) -> Path:
        path = tmp_path / "plan.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return into


BASE = "models: [bicubic, vdsr, edsr]\nvariants: tiny\ndatasets: sem_synthetic:small\nbudgets: smoke\n"


def expanded(path: Path) -> list[Combination]:
    return combinations(read_plan(path)[0])


def test_a_plan_is_all_combinations_in_the_order_of_the_file(write: Write) -> None:
    chosen = expanded(write(BASE + "scales: [2, 4]\nseeds: [0, 1]\ndegradations: [bicubic, area]\n"))
    assert len(chosen) == (1 + 2 * 2) * 2 * 2
    assert chosen[0] == Combination("bicubic", None, None, None, "sem_synthetic:small", 2, "bicubic")
    assert chosen[4] == Combination("vdsr", "tiny", "smoke", 0, "sem_synthetic:small", 2, "bicubic")
    assert [entry.seed for entry in chosen if entry.model == "edsr"] == [0, 0, 0, 0, 1, 1, 1, 1]


def test_what_is_not_said_has_its_default(write: Write) -> None:
    (only,) = expanded(write("models: vdsr\ndatasets: sem_synthetic:small\n"))
    assert only == Combination("vdsr", "paper", "short", 0, "sem_synthetic:small", 4, "bicubic")


def test_exclude_and_include(write: Write) -> None:
    text = (
        BASE
        + "seeds: [0, 1]\nexclude: [{models: edsr, seeds: 1}]\n"
        + "include: [{models: [edsr, vdsr], seeds: [0, 7]}]\n"
    )
    chosen = [(entry.model, entry.seed) for entry in expanded(write(text))]
    # what is there already is not there twice
    assert chosen == [("bicubic", None), ("vdsr", 0), ("vdsr", 1), ("edsr", 0), ("edsr", 7), ("vdsr", 7)]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (BASE + "sedes: 1\n", ("'seeds'", "line 5")),
        (BASE + "include: [{model: edsr}]\n", ("'models'",)),
        (BASE + "evaluation: {audits: true}\n", ("'audit'", "evaluation.audits")),
        (BASE + "train: {itertions: 3}\n", ("'iterations'",)),
        (BASE + "seeds: many\n", ("seeds", "many")),
        (BASE + "exclude: [{models: edsr, seeds: 3}]\n", ("edsr",)),
        (BASE + "scales: 8\n", ("x8",)),
        (BASE.replace("edsr", "esdr"), ("'edsr'",)),
        (BASE.replace("tiny", "tinny"), ("'tiny'",)),
        (BASE + "degradations: bicubbic\n", ("'bicubic'",)),
        (BASE.replace("sem_synthetic", "sem_syntetic"), ("'sem_synthetic'",)),
        ("models: edsr\n", ("datasets",)),
        ("title: nothing\n", ("models",)),
        ("- edsr\n", ("list",)),
        ("models: [edsr\n", ("line",)),
    ],
)
def test_what_is_wrong_is_named_with_the_nearest_name(
    write: Write, text: str, named: tuple[str, ...]
) -> None:
    with pytest.raises(SrbenchError) as refused:
        expanded(write(text))
    assert all(word in str(refused.value) for word in named)


def destination(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "runs", tmp_path / "results", "cpu", "0" * 64)


def test_each_training_is_scored_after_it_and_after_the_baselines(write: Write, tmp_path: Path) -> None:
    text = BASE + "seeds: [0, 1]\nevaluation: {datasets: [sem_synthetic:small, sem_synthetic], limit: 2}\n"
    benchmark = expand(read_plan(write(text))[0], destination(tmp_path))
    kinds = [task.kind for task in benchmark.tasks]
    assert (kinds.count("train"), kinds.count("baselines"), kinds.count("evaluate")) == (4, 2, 8)
    assert kinds[-1] == "report" and len(benchmark.tasks[-1].after) == 10
    before: set[str] = set()
    for task in benchmark.tasks:
        assert set(task.after) <= before
        before.add(task.name)
    assert len(before) == len(benchmark.tasks)
    of_edsr = next(task for task in benchmark.tasks if task.kind == "evaluate" and "edsr" in task.name)
    training = next(task for task in benchmark.tasks if task.name == of_edsr.after[0])
    assert Path(of_edsr.options["options"]["weights"]).parent == Path(training.options["out"])
    assert benchmark.images[of_edsr.name] == 2
    # what was trained on is never scored
    assert of_edsr.options["options"]["split"] == "test"
    assert benchmark.trainings[training.name].plan_sha256 == "0" * 64


def test_a_larger_set_is_scored_in_parts_that_are_joined(write: Write, tmp_path: Path) -> None:
    def tasks_of(images: int) -> dict[str, BenchmarkTask]:
        section = f"evaluation: {{limit: 5, images_a_part: {images}}}\n"
        benchmark = expand(read_plan(write(BASE + section))[0], destination(tmp_path))
        assert list(benchmark.images) == [
            t.name for t in benchmark.tasks if t.kind not in ("train", "report")
        ]
        rows = sum(benchmark.images.values())
        assert 3 * 5 <= rows <= 3 * 6  # bicubic, vdsr and edsr
        assert {t.kind for t in benchmark.tasks} >= {"train", "baselines", "evaluate", "report"}
        return {task.name: task for task in benchmark.tasks}

    assert "part" not in {task.kind for task in tasks_of(5).values()}
    tasks = tasks_of(2)
    before: set[str] = set()
    for task in tasks.values():
        assert set(task.after) <= before
        before.add(task.name)
    whole = [task for task in tasks.values() if task.kind in ("baselines", "evaluate")]
    assert tasks["report"].after == tuple(task.name for task in whole)
    for joined in whole:
        assert joined.options["options"]["part"] == (0, 3)
        parts = [tasks[name] for name in joined.after if tasks[name].kind == "part"]
        assert [part.options["options"]["part"] for part in parts] == [(1, 3), (2, 3), (3, 3)]
        # LR images, made by the first part of what needs no training, are there when others need them
        first = "baselines" if joined.kind == "evaluate" else "part"
        assert all([tasks[name].kind for name in part.after][-1] == first for part in parts[1:])
    with pytest.raises(SrbenchError, match="images_a_part"):
        tasks_of(0)


def test_settings_reach_every_training_and_wrong_ones_are_refused(write: Write, tmp_path: Path) -> None:
    path = write(BASE + "train: {lr: 1e-4, batch: 2}\n")
    benchmark = expand(read_plan(path)[0], destination(tmp_path))
    assert {(run.train.lr, run.train.batch) for run in benchmark.trainings.values()} == {(1e-4, 2)}
    path = write(BASE.replace("smoke", "laptop") + "train: {iterations: 3}\n")
    with pytest.raises(SrbenchError, match="laptop"):
        expand(read_plan(path)[0], destination(tmp_path))
    path = write(BASE + "evaluation: {metrics: [pnsr]}\n")
    with pytest.raises(SrbenchError, match="'psnr'"):
        expand(read_plan(path)[0], destination(tmp_path))
