"""``srbench run`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from srbench.cli.run import run
from srbench.utils.errors import SrbenchError

PLAN = (
    "models: [bicubic, vdsr]\nvariants: tiny\nbudgets: [smoke, laptop]\ndatasets: sem_synthetic:small\n"
    "evaluation: {limit: 3}\n"
)


@pytest.mark.slow
def test_a_dry_run_names_tasks_and_cost_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    arguments = [str(tmp_path / "plan.yaml"), "--dry-run", "--out", str(tmp_path / "out"), "--device", "cpu"]
    printed = CliRunner().invoke(run, [*arguments, "--json", "--workers", "2"], catch_exceptions=False)
    content = json.loads(printed.stdout)
    tasks = {task["task"]: task for task in content["tasks"]}
    laptop = next(task for name, task in tasks.items() if name.startswith("train") and "laptop" in name)
    smoke = next(task for name, task in tasks.items() if name.startswith("train") and "smoke" in name)
    assert laptop["multiply_adds"] == 2e13 and 0 < smoke["multiply_adds"] < 2e13
    assert laptop["seconds"] > smoke["seconds"] and content["basis"]
    assert max(task["seconds"] for task in tasks.values()) < content["seconds"]
    assert len(tasks) == 2 + 1 + 2 + 1 and not (tmp_path / "out").exists()
    table = CliRunner().invoke(run, arguments, catch_exceptions=False)
    assert all(name in table.stdout for name in tasks)


def test_places_exclude_one_another_and_a_wrong_plan_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("model: vdsr\n")
    path = str(tmp_path / "plan.yaml")
    assert CliRunner().invoke(run, [path, "--workers", "2", "--slurm", "3"]).exit_code == 2
    failed = CliRunner().invoke(run, [path, "--out", str(tmp_path / "out")])
    assert isinstance(failed.exception, SrbenchError) and "'models'" in str(failed.exception)
    assert not (tmp_path / "out").exists()
