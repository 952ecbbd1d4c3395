"""Ways to other processes, shared memory and the machine: open without isolation, else closed."""

from __future__ import annotations

import ctypes
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers import system_attacks
from helpers.landlock import has_landlock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not has_landlock(), reason="this kernel offers no Landlock"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the calls are numbered as on x86-64"),
]
NAMES = tuple(system_attacks.ATTACKS)


@pytest.fixture(scope="module")
def machine(stage: Any) -> Iterator[Any]:
    """A process that sleeps, a file in /dev/shm and a System V segment beside the hidden HR image."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = secrets.randbelow(1 << 30) + 1
    segment = libc.shmget(key, 4096, 0o1600)
    assert segment >= 0
    libc.shmat.restype = ctypes.c_void_p
    ctypes.memmove(libc.shmat(segment, None, 0), b"secret", 6)
    shared = Path("/dev/shm", f"srbench-test-{key}")
    shared.write_bytes(b"secret")
    command = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    victim = subprocess.Popen(command, start_new_session=True)
    stage.variables.update(
        SRBENCH_TEST_VICTIM=str(victim.pid), SRBENCH_TEST_SHARED=shared.name, SRBENCH_TEST_KEY=str(key)
    )
    try:
        yield stage
    finally:
        victim.kill()
        victim.wait()
        shared.unlink()
        libc.shmctl(segment, 0, None)
        # Left by the attacks that work without isolation.
        for call, arguments in ((libc.semctl, (0, 0)), (libc.msgctl, (0, None))):
            make = libc.semget if call is libc.semctl else libc.msgget
            identifier = make(key, 1, 0) if call is libc.semctl else make(key, 0)
            if identifier >= 0:
                call(identifier, *arguments)


@pytest.mark.parametrize("mode", ["on", "off"])
def test_the_kernel_refuses_what_works_without_isolation(machine: Any, mode: str) -> None:
    process = machine.run(NAMES, mode, hook=False, file=Path(system_attacks.__file__))
    worked = {name for name, attack in process.attacks.items() if attack.got}
    if mode == "on":
        assert process.level == "kernel" and "seccomp" in process.mechanism
        assert worked == set()
    else:
        assert set(NAMES) - worked <= system_attacks.SOME_SYSTEMS
        assert len(worked) > len(NAMES) // 2
    assert os.getpgid(int(machine.variables["SRBENCH_TEST_VICTIM"]))  # it lives
