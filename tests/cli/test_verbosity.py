"""``--quiet`` leaves results and errors, ``--verbose`` adds a log of what is done."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.command_line import Result, Srbench
from srbench.utils import progress


@pytest.fixture
def enlarge(srbench: Srbench, tmp_path: Path) -> Srbench:
    """``srbench [options] infer`` on a good image and a broken one."""
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(np.arange(900, dtype=np.uint8).reshape(30, 30)).save(folder / "good.png")
    (folder / "broken.png").write_bytes(b"\x89PNG not really")

    def run(*options: str) -> Result:
        out = ("--out", str(tmp_path / "out"), "--scale", "2", "--force")
        return srbench(*options, "infer", "bicubic", str(folder), *out)

    return run


def test_quiet_takes_progress_and_remarks_and_nothing_else(enlarge: Srbench) -> None:
    loud, quiet = enlarge(), enlarge("--quiet")
    assert loud.returncode == quiet.returncode == 1
    assert loud.stdout == quiet.stdout != ""
    (line,) = quiet.stderr.splitlines()
    assert line.startswith("skipped ") and "broken.png" in line
    assert line in loud.stderr.splitlines()
    kinds = {"infer", "bit depth", "pixel size unknown"}
    assert kinds <= {text.partition(":")[0] for text in loud.stderr.splitlines()}
    assert kinds <= {text.partition(":")[0] for text in enlarge().stderr.splitlines()}  # only that command


def test_errors_stay(srbench: Srbench) -> None:
    done = srbench("-q", "report")
    assert done.returncode == 1 and done.stderr.startswith("Error: ") and not progress.is_hidden()


def test_verbose_logs_files_read_and_written(enlarge: Srbench, tmp_path: Path) -> None:
    usual, verbose = enlarge(), enlarge("-v")
    assert (verbose.stdout, verbose.returncode) == (usual.stdout, usual.returncode)
    log = [line for line in verbose.stderr.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    read = [line[9:] for line in log if line[9:].startswith("Read: ")]
    assert set(read) == {f"Read: {tmp_path / 'in' / 'good.png'}"}
    written = [line[9:] for line in log if line[9:].startswith("Written: ")]
    assert written == [f"Written: {tmp_path / 'out' / 'good_bicubic_x2.png'}"]
    assert "pixel size unknown: 1 image" in verbose.stderr.splitlines()
    assert not {line[9:] for line in log} & {line[9:] for line in usual.stderr.splitlines()}
    assert logging.getLogger("srbench").handlers == []


@pytest.mark.slow
def test_verbose_logs_weights(srbench: Srbench, tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "a.png")
    done = srbench("--verbose", "infer", "a.png", "--scale", "2", "--out", "out")
    (line,) = [line[9:] for line in done.stderr.splitlines() if line[9:].startswith("Weights: ")]
    assert "edsr-tiny-" in line and line.endswith("edsr variant tiny, x2, 1 channel")


def test_both_at_once_are_a_mistake(srbench: Srbench) -> None:
    assert srbench("-q", "-v", "models", "list").returncode == 2
