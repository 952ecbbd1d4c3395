"""Ways to other processes, shared memory and the machine: open without isolation, else closed."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import system_attacks
from helpers.landlock import has_landlock
from helpers.sandbox_stage import Stage, with_victim

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_landlock(), reason="this kernel offers no Landlock"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the calls are numbered as on x86-64"),
]
NAMES = tuple(system_attacks.ATTACKS)


@pytest.fixture(scope="module")
def machine(stage: Stage) -> Iterator[Stage]:
    with with_victim(stage):
        yield stage


@pytest.mark.parametrize("mode", ["on", "off"])
def test_the_kernel_refuses_what_works_without_isolation(machine: Stage, mode: str) -> None:
    process = machine.run(NAMES, mode, hook=False, file=Path(system_attacks.__file__))
    worked = {name for name, attack in process.attacks.items() if attack.got}
    if mode == "on":
        assert process.level == "kernel" and "seccomp" in process.mechanism
        assert worked == set()
    else:
        assert set(NAMES) - worked <= system_attacks.SOME_SYSTEMS
        assert len(worked) > len(NAMES) // 2
    assert os.getpgid(int(machine.variables["SRBENCH_TEST_VICTIM"]))  # it lives
