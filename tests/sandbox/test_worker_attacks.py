"""Whatever a worker does ends as "this model failed", soon, and leaves no process and no file behind."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from helpers import sandbox_attacks, system_attacks, worker_attacks
from helpers.landlock import has_landlock


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the attacks are written for Linux")
@pytest.mark.skipif(not has_landlock(), reason="this kernel offers no Landlock")
@pytest.mark.parametrize("name", worker_attacks.ATTACKS)
def test_it_ends_as_a_failure_of_this_model(name: str, tmp_path: Path) -> None:
    outcome = worker_attacks.attempt(name, tmp_path)
    assert outcome.seconds < 20 and not outcome.processes and not outcome.files
    if name in worker_attacks.HARMLESS:
        assert outcome.failure is None and outcome.last == "Finished"
    else:
        reason = str(outcome.failure or "")
        assert reason and worker_attacks.REASONS.get(name, "") in reason
        assert len(reason) < 10_000 and all(line.isprintable() for line in reason.splitlines())


def test_there_are_as_many_kinds_as_were_tried_on_srbench() -> None:
    kinds = {*sandbox_attacks.ATTACKS, *system_attacks.ATTACKS, *worker_attacks.ATTACKS}
    assert len(kinds) >= 55
