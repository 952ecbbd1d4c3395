"""Attacks on the sandbox: blocked, ended as the failure of that model, or succeeded.

The tables are those of the tests (``tests/helpers/{sandbox,system,worker}_attacks.py``): the first two run
confined in one process, the kernel alone against them; the third as workers, in random order.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np

from chaos.part import Part

HANG = 10.0


def run(random: np.random.Generator, seconds: float, folder: Path) -> Part:
    """Every attack once, and those of workers again as long as there is time."""
    from helpers import sandbox_attacks, system_attacks, worker_attacks
    from helpers.sandbox_stage import prepared, with_victim

    watched = ("succeeded", "hangs over 10 s", "orphans", "leftovers", "blocked", "failures of that model")
    part = Part("attacks", counts=dict.fromkeys(watched, 0))
    deadline = time.monotonic() + seconds
    with prepared(folder) as stage, with_victim(stage):
        for module in (sandbox_attacks, system_attacks):
            process = stage.run(tuple(module.ATTACKS), "on", hook=False, file=Path(str(module.__file__)))
            for name, attack in process.attacks.items():
                part.tried += 1
                part.count("succeeded" if attack.got else "blocked", name if attack.got else "")
    names = list(worker_attacks.ATTACKS)
    for turn in itertools.count():
        for name in random.permutation(names):
            if turn and time.monotonic() > deadline:
                return part
            place = folder / f"{turn}-{name}"
            place.mkdir()
            _count(part, name, worker_attacks.attempt(name, place), name in worker_attacks.HARMLESS)
    return part


def _count(part: Part, name: str, outcome: object, harmless: bool) -> None:
    from helpers.worker_attacks import Outcome

    assert isinstance(outcome, Outcome)
    part.tried += 1
    failed = outcome.failure is not None
    if failed == harmless:
        part.count("succeeded", f"{name}: {outcome.failure}")
    else:
        part.count("blocked" if harmless else "failures of that model")
    if outcome.seconds > HANG:
        part.count("hangs over 10 s", f"{name}: {outcome.seconds:.0f} s")
    if outcome.processes:
        part.count("orphans", f"{name}: {outcome.processes}")
    if outcome.files:
        part.count("leftovers", f"{name}: {outcome.files}")
