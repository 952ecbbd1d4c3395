"""Whatever a worker does ends as "this model failed", soon, and leaves no process and no file behind."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from helpers import worker_attacks
from helpers.landlock import has_landlock
from srbench.config import EvaluationConfig
from srbench.evaluation import worker_client
from srbench.evaluation.jobs import Job
from srbench.evaluation.messages import Finished
from srbench.evaluation.worker_client import InferenceRequest, WorkerClient, WorkerFailed, scratch_folder
from srbench.sandbox import process

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the attacks are written for Linux"),
    pytest.mark.skipif(not has_landlock(), reason="this kernel offers no Landlock"),
]
TWO = ((0, 4, 4, 1), (16, 4, 4, 1))


def left(file: Path) -> list[int]:
    """Of the processes named in the file, those that still run."""
    running = []
    for pid in map(int, file.read_text().split()) if file.exists() else ():
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                running.append(pid)
        except psutil.NoSuchProcess:
            continue
    return running


@pytest.mark.parametrize("name", worker_attacks.ATTACKS)
def test_it_ends_as_a_failure_of_this_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = worker_attacks.PRELUDE + worker_attacks.ATTACKS[name]
    start = "import sys; sys.path = [entry for entry in sys.path if entry]\n"
    monkeypatch.setattr(worker_client, "_START", start + program)
    for module in (worker_client, process):
        monkeypatch.setattr(module, "_GRACE", 0.5)
    monkeypatch.setattr(worker_client, "_START_UP", 5.0 if "start" not in name else 0.5)
    (tmp_path / "lr.bin").write_bytes(bytes(32))
    client = WorkerClient(
        4, EvaluationConfig(timeout=5.0 if name == "many_processes" else 0.7), (tmp_path / "hidden",)
    )
    begin, failure, messages = time.monotonic(), None, []
    with scratch_folder() as folder:
        try:
            request = InferenceRequest(tmp_path / "lr.bin", TWO)
            messages = list(client.run(Job("theirs", "only"), request, Path(folder)))
        except WorkerFailed as error:
            failure = error
        assert left(Path(folder, "children")) == []
    assert time.monotonic() - begin < 20
    if name in worker_attacks.HARMLESS:
        assert failure is None and isinstance(messages[-1], Finished)
    else:
        assert failure is not None and worker_attacks.REASONS.get(name, "") in str(failure)
        assert len(str(failure)) < 10_000
        assert all(line.isprintable() for line in str(failure).splitlines())
    assert not Path(folder).exists()


def test_there_are_as_many_kinds_as_were_tried_on_srbench() -> None:
    from helpers import sandbox_attacks, system_attacks

    assert len({*sandbox_attacks.ATTACKS, *system_attacks.ATTACKS, *worker_attacks.ATTACKS}) >= 55
