"""Short, seeded parts of ``benchmarks/chaos.py``: damaged files, and commands that are killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPT = BENCHMARKS / "chaos.py"
TRIED = {"images": 150, "configurations": 60, "archives": 150}


@pytest.fixture
def chaos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / "home"))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "chaos":
            del sys.modules[name]


def module(name: str) -> ModuleType:
    import importlib

    return importlib.import_module(f"chaos.{name}")


@pytest.mark.slow
@pytest.mark.usefixtures("chaos")
@pytest.mark.parametrize("name", TRIED)
def test_damaged_files_end_in_documented_errors(name: str, tmp_path: Path) -> None:
    part = module(name)
    inputs = part.inputs(np.random.default_rng(1), tmp_path, bombs=False)
    for what, path in islice(inputs, TRIED[name]):
        assert part.check(path) == "", what


@pytest.mark.slow
@pytest.mark.usefixtures("chaos")
@pytest.mark.filterwarnings("ignore")
def test_damaged_weights_end_in_documented_errors(tmp_path: Path) -> None:
    part = module("weights")
    for what, path in islice(part.inputs(np.random.default_rng(1), tmp_path, bombs=False), 200):
        assert part.check_reading(path) == "", what


@pytest.mark.slow
@pytest.mark.usefixtures("chaos")
def test_a_child_that_hangs_dies_or_grows_is_counted_and_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded, part = module("bounded"), module("part").Part("x")
    monkeypatch.setattr(bounded, "HANG_SECONDS", 1.0)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "misbehaving.py").write_text(
        "import os, time\n"
        "def check(path):\n"
        "    if path.name == 'hang': time.sleep(60)\n"
        "    if path.name == 'die': os._exit(3)\n"
        "    if path.name == 'raise': raise KeyError('x')\n"
        "    return 'no' if path.name == 'wrong' else ''\n"
    )
    import importlib

    check = importlib.import_module("misbehaving").check
    names = ("good", "hang", "die", "raise", "wrong", "good")
    paths = []
    for number, name in enumerate(names):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / name).write_bytes(b"")
        paths.append((name, tmp_path / str(number) / name))
    bounded.run_bounded(part, check, iter(paths), 60.0)
    assert part.tried == 6
    counts = (part.counts["hangs over 10 s"], part.counts["wrong exceptions"], part.counts["wrong results"])
    assert counts == (1, 2, 1)


def line_of(part: str, minutes: float, folder: Path) -> dict[str, str]:
    """The line of a part: column to what stands there; the exit code is 0."""
    command = [
        sys.executable,
        str(SCRIPT),
        "--minutes",
        str(minutes),
        "--only",
        part,
        "--folder",
        str(folder),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(folder.iterdir()) == []
    header, values = (
        [cell.strip() for cell in line.split("  ") if cell] for line in done.stdout.splitlines()[1:3]
    )
    return dict(zip(header, values, strict=False))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_commands_end_with_the_same_bytes_and_leave_nothing(tmp_path: Path) -> None:
    counts = line_of("kills", 0.08, tmp_path)
    assert int(counts["tried"]) > 0
    assert {counts[name] for name in ("leftovers", "orphans", "wrong results", "wrong exceptions")} == {"0"}
