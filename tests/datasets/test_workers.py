"""The process pool: results in order, little read ahead, failures raised, no process left behind."""

import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from srbench.datasets.interface import DatasetError
from srbench.datasets.workers import ProcessPool


def numbered(count, seen=None, fail_at=None):
    for number in range(count):
        if number == fail_at:
            raise DatasetError("the archive is damaged")
        if seen is not None:
            seen.append(number)
        yield number, bytes([number]) * (1 + 40_000 * (number % 5))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order(count):
    with ProcessPool(zlib.crc32, count) as pool:
        results = list(pool.map(numbered(40)))
    assert results == [(number, zlib.crc32(data)) for number, data in numbered(40)]


@pytest.mark.parametrize("count", [1, 2])
def test_inputs_are_read_only_a_little_ahead(count):
    seen = []
    with ProcessPool(zlib.crc32, count) as pool:
        for number, _ in pool.map(numbered(60, seen)):
            assert len(seen) <= number + pool.ahead <= number + 6


@pytest.mark.parametrize("count", [1, 2])
def test_what_came_before_a_failure_is_given_first(count):
    results = []
    with ProcessPool(zlib.crc32, count) as pool, pytest.raises(DatasetError, match="damaged"):
        for number, _ in pool.map(numbered(60, fail_at=23)):
            results.append(number)
    assert results == list(range(23))


@pytest.mark.parametrize("count", [1, 2])
def test_an_exception_in_a_process_is_raised_here(count):
    with ProcessPool(bytes.decode, count) as pool:
        assert list(pool.map([(0, b"fine")])) == [(0, "fine")]
        with pytest.raises(UnicodeDecodeError):
            list(pool.map([(0, b"\xff")]))
        assert list(pool.map([(0, b"still there")])) == [(0, "still there")]


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_dead_process_raises_whatever_is_on_the_way(size):
    with ProcessPool(zlib.crc32, 2) as pool:
        assert list(pool.map([(0, b"x")])) == [(0, zlib.crc32(b"x"))]
        for process in list(pool._executor._processes.values()):
            os.kill(process.pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(DatasetError, match="died"):
                list(pool.map((number, bytes(size)) for number in range(40)))


def test_processes_end_when_they_are_not_needed():
    with ProcessPool(zlib.crc32, 2) as pool:
        list(pool.map(numbered(40)))
        processes = list(pool._executor._processes.values())
    assert processes and [process.exitcode for process in processes] == [0] * len(processes)


KILLED = """
import os, signal, zlib
from srbench.datasets.workers import ProcessPool
if __name__ == "__main__":
    with ProcessPool(zlib.crc32, 2) as pool:
        list(pool.map([(n, b"x") for n in range(40)]))
        print(*pool._executor._processes, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_end_with_one_that_is_killed(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as killed:
        pids = killed.stdout.readline().split()
        killed.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(map(is_running, pids)):
        time.sleep(0.1)
    assert pids and not any(map(is_running, pids))


def is_running(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
