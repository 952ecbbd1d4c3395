"""Limits of memory: control groups of both versions, nested, in a container, and those of the process."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from srbench.utils import memory

Groups = Callable[..., None]
GB = 10**9


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Groups:
    """``groups(line, root, kind, {"a/b": {"memory.max": 1}})``: what /proc says, files below the mount."""
    monkeypatch.setattr(memory, "_PROC", tmp_path / "proc")

    def write(line: str, root: str, kind: str, files: dict[str, dict[str, object]]) -> None:
        mount = tmp_path / "sys fs"
        for folder, content in files.items():
            (mount / folder).mkdir(parents=True, exist_ok=True)
            for name, value in content.items():
                (mount / folder / name).write_text(f"{value}\n")
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "cgroup").write_text(f"12:cpu:/elsewhere\n{line}\n")
        point = str(mount).replace(" ", "\\040")
        options = "rw" if kind == "cgroup2" else "rw,memory"
        mounts = (
            f"31 23 0:28 / / rw - ext4 /dev/vda rw\n35 31 0:32 {root} {point} rw - {kind} {kind} {options}\n"
        )
        (tmp_path / "proc" / "mountinfo").write_text(mounts)

    return write


def level(limit: object, used: int, cached: int = 0) -> dict[str, object]:
    return {"memory.max": limit, "memory.current": used, "memory.stat": f"anon 5\ninactive_file {cached}"}


def level_of_version_1(limit: int, used: int, hierarchical: int = 2**63 - 4096) -> dict[str, object]:
    statistics = f"cache 1\nhierarchical_memory_limit {hierarchical}\ntotal_inactive_file 10"
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": statistics}


@pytest.mark.parametrize(
    ("line", "root", "kind", "files", "left"),
    [
        ("0::/a/b", "/", "cgroup2", {"a/b": level(100, 30), "a": level("max", 50)}, 70),
        ("0::/a/b", "/", "cgroup2", {"a/b": level(100, 30), "a": level(90, 50)}, 40),
        ("0::/a/b", "/", "cgroup2", {"a/b": level("max", 30), "a": level(90, 50, 20)}, 60),
        ("0::/a", "/", "cgroup2", {"a": {**level(100, 30), "memory.high": 80}}, 50),
        ("0::/a", "/", "cgroup2", {"a": level(100, 130)}, 0),
        # In a container: its own group is the root, whatever it is called from the outside.
        ("0::/", "/", "cgroup2", {"": level(100, 30)}, 70),
        ("0::/docker/1/in", "/docker/1", "cgroup2", {"": level(100, 30), "in": level(50, 1)}, 49),
        ("0::/docker/1", "/", "cgroup2", {"": level(100, 30)}, 70),
        (
            "4:memory:/a/b",
            "/",
            "cgroup",
            {"a/b": level_of_version_1(100, 30), "a": level_of_version_1(70, 40)},
            40,
        ),
        ("4:cpu,memory:/a", "/", "cgroup", {"a": level_of_version_1(2**63 - 4096, 30, hierarchical=50)}, 30),
    ],
)
def test_the_smallest_limit_of_all_levels_counts(
    groups: Groups, line: str, root: str, kind: str, files: dict[str, dict[str, object]], left: int
) -> None:
    groups(line, root, kind, files)
    assert memory.available_memory() == left


@pytest.mark.parametrize(
    "files", [{"a": level("max", 30)}, {"a": level_of_version_1(2**63 - 4096, 1)}, {"": {}}]
)
def test_without_a_limit_it_is_that_of_the_machine(
    groups: Groups, files: dict[str, dict[str, object]]
) -> None:
    groups("0::/a", "/", "cgroup2", files)
    assert memory.available_memory() > 0.5 * psutil.virtual_memory().available


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_process_is_what_the_kernel_holds_it_to(limit: str) -> None:
    """What is said to be left can nearly be had, and a little more cannot."""
    script = f"""
import resource, mmap
from srbench.utils.memory import available_memory
resource.setrlimit(resource.{limit}, (600_000_000, -1))
left = available_memory()
def fits(size):
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE).close()
        return True
    except OSError:
        return False
print(left, fits(left - 20_000_000), fits(left + 1_000_000))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")
    left, less, more = done.stdout.split()
    assert int(left) < 600_000_000 and (less, more) == ("True", "False")


FAULTS = """
import ctypes, resource
from contextlib import nullcontext
from srbench.utils.memory import kept_memory
def faults(context):
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    with context:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(8):
            block = libc.malloc(64 << 20)
            ctypes.memset(ctypes.c_void_p(block), 1, 64 << 20)
            libc.free(ctypes.c_void_p(block))
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(nullcontext()), faults(kept_memory()))
with kept_memory():
    with kept_memory():
        pass
    print(faults(nullcontext()))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
import psutil
print(psutil.Process().memory_info().rss >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_kept_memory_is_fetched_once_and_given_back_at_the_end() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", FAULTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    numbers = [int(word) for word in done.stdout.split()]
    assert numbers[1] < 0.3 * numbers[0]
    assert numbers[2] < 0.3 * numbers[0]  # a block inside has ended
    assert numbers[4] < numbers[3] - 40  # MB: the 64 are no longer held
    chosen = subprocess.run(
        command, env={**environment, "MALLOC_TRIM_THRESHOLD_": "131072"}, capture_output=True, text=True
    )
    by_the_user = [int(word) for word in chosen.stdout.split()]
    assert by_the_user[1] > 0.7 * by_the_user[0]
