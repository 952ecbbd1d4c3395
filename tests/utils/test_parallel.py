"""Workers: results in order, little read ahead, failures told; nothing waits for a process that is gone."""

import os
import signal
import zlib

import pytest

from srbench.utils.errors import DatasetError
from srbench.utils.parallel import in_order, processes


def numbered(count, seen=None, fail_at=None):
    for number in range(count):
        if number == fail_at:
            raise DatasetError("the archive is damaged")
        if seen is not None:
            seen.append(number)
        yield number, bytes([number]) * (1 + 40_000 * (number % 5))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_order(count):
    with processes(zlib.crc32, count) as workers:
        found = list(in_order(workers, numbered(40)))
    assert found == [(number, zlib.crc32(data)) for number, data in numbered(40)]


@pytest.mark.parametrize("count", [1, 2])
def test_inputs_are_read_only_a_little_ahead(count):
    seen = []
    with processes(zlib.crc32, count) as workers:
        for number, _ in in_order(workers, numbered(60, seen)):
            assert len(seen) <= number + workers.most <= number + 6


@pytest.mark.parametrize("count", [1, 2])
def test_what_came_before_a_failure_is_given_first(count):
    found = []
    with processes(zlib.crc32, count) as workers, pytest.raises(DatasetError, match="damaged"):
        for number, _ in in_order(workers, numbered(60, fail_at=23)):
            found.append(number)
    assert found == list(range(23))


def test_an_exception_in_a_process_is_raised_here():
    with processes(bytes.decode, 2) as workers:
        assert workers.submit(b"fine").result() == "fine"
        with pytest.raises(RuntimeError, match="UnicodeDecodeError in a worker process"):
            workers.submit(b"\xff").result()
        assert workers.submit(b"still there").result() == "still there"


@pytest.mark.parametrize("size", [10, 5_000_000])
def test_dead_processes_are_told_whatever_is_on_the_way(size):
    with processes(zlib.crc32, 2) as workers:
        assert workers.submit(b"x").result() == zlib.crc32(b"x")
        for process in workers._processes:
            os.kill(process.pid, signal.SIGKILL)
        for _ in range(4):
            with pytest.raises(DatasetError, match="died"):
                workers.submit(bytes(size)).result()


def test_processes_end_when_they_are_not_needed():
    with processes(zlib.crc32, 2) as workers:
        started = list(workers._processes)
        assert all(process.is_alive() for process in started)
    assert [process.exitcode for process in started] == [0, 0]
