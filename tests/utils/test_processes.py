"""A process that ends with its parent, however busy it is and however the parent ended."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

# Native code that never lets another thread of Python run.
CHILD = """
import ctypes
from srbench.utils.processes import end_with_parent
end_with_parent()
print("ready", flush=True)
ctypes.PyDLL(None).sleep(60)
"""
PARENT = """
import os, signal, subprocess, sys
with subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True) as child:
    child.stdout.readline()
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "child",
    [
        pytest.param(CHILD, marks=pytest.mark.skipif(sys.platform != "linux", reason="of Linux")),
        CHILD.replace("ctypes.PyDLL(None).sleep(60)", "import time; time.sleep(60)"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_ends_with_its_parent(child: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, child], stdout=subprocess.PIPE, text=True, cwd="/"
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        alive = [psutil.Process(pid)] if psutil.pid_exists(pid) else []
    assert psutil.wait_procs(alive, timeout=10)[1] == []
