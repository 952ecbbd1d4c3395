"""Temporary files of dead processes are removed; those of living ones, of other hosts and of users stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from srbench.utils import leftovers, processes
from srbench.utils.files import atomic_write, write_text
from srbench.utils.leftovers import remove_leftovers, temporary_name
from srbench.utils.processes import ProcessId, this_process

WRITER = """
import sys, time
from pathlib import Path
from srbench.utils.leftovers import temporary_name
folder = Path(sys.argv[1])
(folder / temporary_name("scores.parquet")).write_text("half")
(folder / temporary_name("run") / "previews").mkdir(parents=True)
print("written", flush=True)
time.sleep(60)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def name_of(owner: ProcessId, stem: str = "a") -> str:
    return f".{stem}.{owner.host}-{owner.pid}-{owner.start:x}-0123.tmp"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    def begin() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd="/")
        assert process.stdout is not None and process.stdout.readline() == "written\n"
        return process

    with begin() as first, begin() as second:
        before = names(tmp_path)
        remove_leftovers(tmp_path)
        assert names(tmp_path) == before and len(before) == 4
        first.kill()
        first.wait()
        remove_leftovers(tmp_path)
        assert len(names(tmp_path)) == 2 and all(f"-{second.pid}-" in name for name in names(tmp_path))
        second.send_signal(signal.SIGKILL)
    # The next writer is enough.
    write_text(tmp_path / "scores.parquet", "whole")
    assert names(tmp_path) == {"scores.parquet"}


def test_a_number_that_another_process_has_now_is_told_from_the_first(tmp_path: Path) -> None:
    mine = this_process()
    earlier = ProcessId(mine.host, mine.pid, mine.start - 1)
    assert earlier.has_ended and not mine.has_ended
    for owner in (mine, earlier):
        (tmp_path / name_of(owner)).touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == {name_of(mine)}


def test_files_of_another_host_stay_for_days(tmp_path: Path) -> None:
    other = ProcessId("0" * 6, 2**22 + 1, 7)
    for stem, days in (("new", 1), ("old", 30)):
        path = tmp_path / name_of(other, stem)
        path.touch()
        os.utime(path, (path.stat().st_mtime - days * 86400,) * 2)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == {name_of(other, "new")}


def test_files_of_users_and_what_links_lead_to_stay(tmp_path: Path) -> None:
    dead = ProcessId(processes.this_host(), 2**22 + 1, 7)
    precious, folder = tmp_path / "precious", tmp_path / "folder"
    precious.mkdir()
    folder.mkdir()
    (precious / "file").write_text("mine")
    kept = {"a.tmp", ".a.tmp", ".lock", ".a.b.tmp", f"{name_of(dead)}.tif", name_of(dead)[1:]}
    for name in kept:
        (folder / name).touch()
    (folder / name_of(dead)).symlink_to(precious)
    remove_leftovers(folder)
    assert names(folder) == kept and (precious / "file").read_text() == "mine"


def test_temporary_names_are_short_and_different(tmp_path: Path) -> None:
    made = {temporary_name("é" * 250) for _ in range(20)}
    assert len(made) == 20 and all(len(os.fsencode(name)) <= 160 for name in made)
    long = tmp_path / ("x" * 255)
    with atomic_write(long) as file:
        assert not leftovers.is_leftover(Path(file.name))
        file.write(b"whole")
    assert long.read_bytes() == b"whole" and names(tmp_path) == {long.name}
