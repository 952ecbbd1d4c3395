"""The means of each system: versions of Landlock; what a job may read."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from srbench.sandbox import apply, linux
from srbench.sandbox.linux import Unavailable
from srbench.sandbox.policy import SandboxPolicy, policy_for_job
from srbench.utils.errors import SrbenchError


@pytest.mark.parametrize(
    ("version", "rights", "tcp", "scoped", "size"),
    [
        (1, 13, False, False, 8),
        (2, 14, False, False, 8),
        (3, 15, False, False, 8),
        (4, 15, True, False, 16),
        (5, 16, True, False, 16),
        (6, 16, True, True, 24),
        (9, 16, True, True, 24),
    ],
)
def test_an_older_landlock_is_asked_only_for_what_it_knows(
    version: int, rights: int, tcp: bool, scoped: bool, size: int
) -> None:
    """Rights by version: Documentation/userspace-api/landlock.rst, "Previous limitations"."""
    can = linux.landlock_rights(version)
    assert can.files == 2**rights - 1 and (can.tcp, can.scoped, can.size) == (tcp, scoped, size)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted under /proc")
def test_a_process_with_threads_is_not_confined_half(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(linux, "landlock_version", lambda: 7)
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(Unavailable, match="threads run already"):
            linux.restrict_files([], [], [])
    finally:
        done.set()
        thread.join()


def test_the_switch_is_spelt_right_or_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(apply.SWITCH, "no")
    with (
        pytest.raises(SrbenchError, match="must be on, interpreter or off, found 'no'"),
        apply.policy_file(tmp_path, SandboxPolicy((), (), ())),
    ):
        pass


def test_nothing_asked_for_is_no_isolation(tmp_path: Path) -> None:
    with apply.policy_file(tmp_path, None):
        assert not (tmp_path / apply.POLICY_FILE).exists()
    sandbox = apply.apply_policy_file(tmp_path / apply.POLICY_FILE)
    assert sandbox.isolation.level == "none" and "no confinement was asked for" in sandbox.isolation.words


def job(folder: Path, module_file: Path | None, hidden: list[Path]) -> SandboxPolicy:
    return policy_for_job(
        lr=folder / "lr.bin", weights=None, module_file=module_file, scratch=folder / "s", hidden=hidden
    )


def test_a_job_may_read_its_files_and_the_package_of_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/elsewhere")
    (tmp_path / "theirs" / "nets").mkdir(parents=True)
    for package in ("theirs", "theirs/nets"):
        (tmp_path / package / "__init__.py").touch()
    module = tmp_path / "theirs" / "nets" / "model.py"
    policy = job(tmp_path, module, [tmp_path / "home"])
    assert policy.readable == (tmp_path / "lr.bin", module, tmp_path / "theirs")
    assert policy.closed == (Path("/elsewhere"),)
    assert SandboxPolicy.from_json(policy.to_json()) == policy


def test_of_a_model_beside_the_data_only_its_file_can_be_read(tmp_path: Path) -> None:
    for folder in (tmp_path / "data", tmp_path / "data" / "sub"):
        policy = job(tmp_path, folder / "model.py", [tmp_path / "data"])
        assert policy.readable == (tmp_path / "lr.bin", folder / "model.py")


def test_a_script_in_the_home_folder_does_not_open_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    for folder in (tmp_path / "me", tmp_path):
        policy = job(tmp_path, folder / "model.py", [])
        assert policy.readable == (tmp_path / "lr.bin", folder / "model.py")
    assert tmp_path / "me" / "project" in job(tmp_path, tmp_path / "me" / "project" / "m.py", []).readable


def test_the_software_is_this_interpreter_and_never_a_whole_disk() -> None:
    import numpy

    import srbench

    software = apply.software()
    everything = (*software.always, *software.unless_hidden)
    for file in (numpy.__file__, srbench.__file__, platform.__file__):
        assert any(folder in Path(file).resolve().parents for folder in everything), file
    assert Path("/") not in everything and Path("/dev") not in (*everything, *software.devices)
    assert Path("/tmp") not in everything and Path.home() not in software.always
