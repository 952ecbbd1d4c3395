"""Full disks: which one, how much is free and needed, and what was there is unchanged."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from srbench.utils.errors import StorageError
from srbench.utils.files import check_space, temporary_folder, write_bytes

pytestmark = pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch):
    """No file of this process may be larger than 10,000 bytes: the kernel refuses, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


def test_what_does_not_fit_is_refused_and_nothing_changes(tmp_path: Path, small_files: None) -> None:
    write_bytes(tmp_path / "a", b"before")
    with pytest.raises(StorageError, match=r"10\.0 kB \(ulimit -f\)"):
        write_bytes(tmp_path / "a", bytes(20_000))
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"before"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_what_is_free(tmp_path: Path, monkeypatch, code: int) -> None:
    def full(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as raised:
        write_bytes(tmp_path / "a", b"x")
    mount = re.search(r"mounted at (\S+) has \d.* free", str(raised.value))
    assert mount and Path(mount[1]).is_mount() and mount[1] in map(str, [tmp_path, *tmp_path.parents])
    assert list(tmp_path.iterdir()) == []


def test_too_little_space_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 999_999))
    check_space(tmp_path / "not" / "there", 999_999, "It")
    with pytest.raises(
        StorageError, match=r"It will take about 1\.0 MB in .*mounted at .* has 1,000\.0 kB free"
    ):
        check_space(tmp_path / "not" / "there", 1_000_000, "It")
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_for_temporary_files_says_how_to_move_it(
    tmp_path: Path, monkeypatch, small_files
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(StorageError, match="TMPDIR"), temporary_folder("test") as folder:
        (folder / "file").write_bytes(bytes(20_000))
    with pytest.raises(PermissionError), temporary_folder("test"):
        raise PermissionError("of something else")
    assert list(tmp_path.iterdir()) == []


POOL = """
import resource, signal, sys, tempfile
from pathlib import Path
from srbench.utils.errors import SrbenchError
from srbench.utils.parallel import ProcessPool

def enlarge(data):
    return data * 4000

if __name__ == "__main__":
    folder, argument = Path(sys.argv[1]), {"large": bytes(20_000), "small": b"small"}[sys.argv[2]]
    tempfile.tempdir = str(folder)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
    try:
        with ProcessPool(enlarge, 2) as pool:
            list(pool.map([(0, argument)]))
    except SrbenchError as error:
        print("TMPDIR" in str(error), list(folder.iterdir()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["large", "small"])
def test_a_pool_whose_files_do_not_fit_says_so(tmp_path: Path, argument: str) -> None:
    """Where the argument is written, or in a worker, whose result is larger.

    In a process of its own: the limit would hold for everything that a test process has open.
    """
    (tmp_path / "pool.py").write_text(POOL)
    (tmp_path / "files").mkdir()
    command = [sys.executable, str(tmp_path / "pool.py"), str(tmp_path / "files"), argument]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["True", "[]"], done.stderr
