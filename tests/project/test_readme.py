"""What the README shows, works."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from srbench.cli.app import cli

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_every_command_in_the_readme_exists() -> None:
    commands = {" ".join(path) for path in command_paths()}
    shown = set(
        re.findall(r"srbench ((?:data|models|datasets) \w+|train|infer|eval|report|doctor|demo)\b", README)
    )
    assert shown and shown <= commands | {"data import", "data fetch"}


def command_paths() -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = []
    for name, command in cli.commands.items():
        nested = getattr(command, "commands", None)
        paths += [(name, inner) for inner in nested] if nested else [(name,)]
    return paths


def test_every_command_has_help() -> None:
    for path in command_paths():
        outcome = CliRunner().invoke(cli, [*path, "--help"])
        assert outcome.exit_code == 0 and "Usage:" in outcome.output, path


@pytest.mark.slow
def test_the_one_file_model_of_the_readme_trains_a_step(tmp_path: Path) -> None:
    """The code block is taken as printed, registered through a plug-in module, and run."""
    block = re.search(r"```python\n(# models/baselines/mine.py.*?)```", README, re.S)
    assert block is not None
    (tmp_path / "mine_plugin.py").write_text(block.group(1))
    code = (
        "import mine_plugin, torch; from srbench.models import create; "
        "model = create('mine', scale=4); print(tuple(model.infer(torch.rand(1, 1, 9, 7)).shape)); "
        "print(model.recipe('smoke').stages[0].name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.split("\n")[:2] == ["(1, 1, 36, 28)", "regression"]


@pytest.mark.slow
def test_the_model_of_the_docs_is_one_file_and_nothing_else(tmp_path: Path) -> None:
    """As printed, installed as a plug-in through its entry point, then shown by the command line."""
    text = (Path(__file__).parents[2] / "docs" / "adding_a_model.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, re.S)
    assert block is not None
    (tmp_path / "fsrcnn_plugin.py").write_text(block.group(1))
    metadata = tmp_path / "fsrcnn_plugin-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fsrcnn-plugin\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[srbench.models]\nfsrcnn = fsrcnn_plugin\n")
    code = (
        "import sys; from srbench.cli import main; "
        "sys.argv = ['srbench', 'models', 'show', 'fsrcnn', '--json']; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", env=environment
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["module"] == "fsrcnn_plugin" and shown["sizes"]["paper"]["scale"] == "x4"
