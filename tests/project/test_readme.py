"""What the README shows, works."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
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


def docs_blocks() -> list[str]:
    text = (Path(__file__).parents[2] / "docs" / "adding_a_model.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.S)


def plugged_in(folder: Path, group: str, name: str, source: str, code: str, **variables: str) -> str:
    """Output of ``code`` where the source is installed as a plug-in of this entry-point group."""
    (folder / f"{name}_plugin.py").write_text(source)
    metadata = folder / f"{name}_plugin-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}_plugin\n")
    environment = {**os.environ, "PYTHONPATH": str(folder), **variables}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd="/", env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_model_of_the_docs_is_one_file_and_nothing_else(tmp_path: Path) -> None:
    code = (
        "import sys; from srbench.cli import main; "
        "sys.argv = ['srbench', 'models', 'show', 'fsrcnn', '--json']; main()"
    )
    shown = json.loads(plugged_in(tmp_path, "srbench.models", "fsrcnn", docs_blocks()[0], code))
    assert shown["module"] == "fsrcnn_plugin" and shown["sizes"]["paper"]["scale"] == "x4"
    # as the tests of models demand of a file of this repository
    assert shown["summary"].endswith(".") and shown["variants"][-1] == "tiny"
    assert shown["publication"] and shown["authors"].count(",") == 3


@pytest.mark.slow
def test_the_dataset_of_the_docs_is_scored(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    generator = np.random.default_rng(0)
    for specimen in "abc":
        for number in range(2):
            pixels = generator.integers(0, 256, (64, 72)).astype(np.uint8)
            assert cv2.imwrite(str(images / f"{specimen}-{number}.png"), pixels)
    code = (
        "import srbench; "
        "summary = srbench.evaluate('bicubic', dataset='lab', scale=4, metrics=['psnr'], previews=0); "
        "print(len(summary.failed), srbench.datasets.open('lab').images[0].group)"
    )
    variables = {"LAB_SEM": str(images), "SRBENCH_HOME": str(tmp_path / "home")}
    printed = plugged_in(tmp_path, "srbench.datasets", "lab", docs_blocks()[1], code, **variables)
    assert printed.split() == ["0", "a"]


@pytest.mark.slow
def test_the_metric_of_the_docs_is_a_plug_in(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from srbench.metrics import registry; Case = registry.Case; "
        "dark, bright = np.zeros((8, 8)), np.full((8, 8), 2 / 255); "
        "case = Case(bright, dark, bright, dark, dark, 2); "
        "print(registry.get('brightness_shift').compute(case))"
    )
    printed = plugged_in(tmp_path, "srbench.metrics", "brightness_shift", docs_blocks()[2], code)
    assert float(printed) == pytest.approx(2.0)
