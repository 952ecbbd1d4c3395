"""The process pool: results in order, little read ahead, failures raised, no process left behind."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import psutil
import pytest

from srbench.datasets.sources.nffa.b2share import parse_id
from srbench.utils.errors import DatasetError
from srbench.utils.parallel import ProcessPool


def numbered(count, seen=None, fail_at=None):
    for number in range(count):
        if number == fail_at:
            raise DatasetError("the archive is damaged")
        if seen is not None:
            seen.append(number)
        yield number, bytes([number]) * (1 + 40_000 * (number % 5))


GROUPS = [(1, 1), (1, 4), *(pytest.param(2, most, marks=pytest.mark.slow) for most in (1, 4))]


@pytest.mark.parametrize(("count", "at_once"), GROUPS)
def test_results_come_in_order_and_inputs_are_read_only_a_little_ahead(count, at_once):
    seen, results = [], []
    with ProcessPool(zlib.crc32, count, at_once=at_once) as pool:
        for number, result in pool.map(numbered(60, seen)):
            assert len(seen) <= number + pool.ahead <= number + (3 if count == 1 else 6 * at_once)
            results.append((number, result))
        processes = [] if pool._executor is None else list(pool._executor._processes.values())
    assert results == [(number, zlib.crc32(data)) for number, data in numbered(60)]
    assert [process.exitcode for process in processes] == [0] * (count if count > 1 else 0)


@pytest.mark.parametrize(("count", "at_once"), GROUPS)
def test_what_came_before_a_failure_is_given_first(count, at_once):
    results = []
    with (
        ProcessPool(zlib.crc32, count, at_once=at_once) as pool,
        pytest.raises(DatasetError, match="damaged"),
    ):
        for number, _ in pool.map(numbered(60, fail_at=23)):
            results.append(number)
    assert results == list(range(23))


@pytest.mark.slow
def test_an_exception_in_a_process_is_raised_here_and_no_file_is_left(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ProcessPool(bytes.decode, 2) as pool:
        assert list(pool.map([(0, b"fine")])) == [(0, "fine")]
        with pytest.raises(RuntimeError, match="UnicodeDecodeError"):
            list(pool.map([(0, b"\xff")]))
        assert list(pool.map([(0, b"still there")])) == [(0, "still there")]
    with ProcessPool(parse_id, 2) as pool, pytest.raises(DatasetError, match="no record"):
        list(pool.map([(0, "?")]))
    assert list(tmp_path.iterdir()) == []


def exchanged(folder):
    """Files that carry inputs and results."""
    return sum(path.name.isdecimal() for path in folder.iterdir())


@pytest.mark.slow
def test_an_interrupt_does_not_wait_for_what_is_in_work():
    with pytest.raises(KeyboardInterrupt), ProcessPool(time.sleep, 2) as pool:
        for seconds, _ in pool.map([(0.0, 0.0), *[(60.0, 60.0)] * 5]):
            processes = list(pool._executor._processes.values())
            begin = time.monotonic()
            assert seconds == 0.0
            raise KeyboardInterrupt
    assert time.monotonic() - begin < 10.0
    assert not any(process.is_alive() for process in processes)


@pytest.mark.slow
def test_a_few_files_serve_all_inputs_whatever_is_longer(tmp_path):
    """Also after inputs whose results nobody has fetched, which processes may still be writing."""
    sizes = [3_000_000, 10, 200_000, 0, 1_000_000] * 12
    with ProcessPool(bytes, 2, tmp_path) as pool:
        abandoned = pool.map((number, b"a" * size) for number, size in enumerate(sizes))
        assert next(abandoned) == (0, b"a" * sizes[0])
        abandoned.close()
        (folder,) = tmp_path.iterdir()
        left = exchanged(folder)
        results, files = [], []
        for result in pool.map((number, b"b" * size) for number, size in enumerate(sizes)):
            results.append(result)
            files.append(exchanged(folder))
        assert left < pool.ahead and max(files) <= left + pool.ahead
        assert exchanged(folder) == left
    assert results == [(number, b"b" * size) for number, size in enumerate(sizes)]


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 5_000_000])
def test_dead_processes_raise_whatever_is_on_the_way(size):
    with ProcessPool(bytes, 2) as pool:
        assert list(pool.map([(0, b"x")])) == [(0, b"x")]
        results = pool.map((number, bytes(size)) for number in range(40))
        next(results)
        for process in list(pool._executor._processes.values()):
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(DatasetError, match="died"):
            list(results)
        with pytest.raises(DatasetError, match="died"):
            list(pool.map([(0, bytes(size))]))


KILLED = """
import os, signal, zlib
from srbench.utils.parallel import ProcessPool
if __name__ == "__main__":
    with ProcessPool(zlib.crc32, 2) as pool:
        list(pool.map([(n, b"x") for n in range(40)]))
        print(*pool._executor._processes, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_processes_and_files_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    with subprocess.Popen(
        [sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        parent.wait()
    _, alive = psutil.wait_procs(alive, timeout=20)
    assert len(pids) == 2 and alive == []
    assert list(Path(tmp_path / "tmp").iterdir()) == []


WITHOUT_A_GUARD = """
import os, sys, zlib
from srbench.utils.parallel import ProcessPool
print("begun", __file__ == sys.modules["__main__"].__file__, flush=True)
before = dict(os.environ)
with ProcessPool(zlib.crc32, 2) as pool:
    print([value for _, value in pool.map([(n, b"x") for n in range(3)])])
with ProcessPool(os.getenv, 2) as pool:
    print({value for _, value in pool.map([(0, "OMP_NUM_THREADS")])})
print(before == dict(os.environ) and bool(__file__))
"""


@pytest.mark.slow
def test_a_script_without_a_guard_runs_once_and_its_processes_have_a_thread_each(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WITHOUT_A_GUARD)
    environment = {**os.environ, "OMP_NUM_THREADS": "7"}
    done = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.splitlines() == ["begun True", str([zlib.crc32(b"x")] * 3), "{'1'}", "True"]
