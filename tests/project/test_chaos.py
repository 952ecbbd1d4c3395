"""A short run of ``benchmarks/chaos.py``, seeded: nothing that must be zero is counted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


def chaos(part: str, minutes: float, folder: Path) -> dict[str, str]:
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
    counts = chaos("kills", 0.3, tmp_path)
    assert int(counts["tried"]) > 0
    assert {counts[name] for name in ("leftovers", "orphans", "wrong results", "wrong exceptions")} == {"0"}
