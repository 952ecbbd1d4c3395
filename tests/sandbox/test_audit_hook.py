"""The hook of the interpreter: what counts as asking for a hidden place, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from srbench.sandbox.audit_hook import MOST, AuditHook


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    hidden, free = (tmp_path / "real").resolve() / "data", (tmp_path / "real").resolve() / "free"
    for folder in (hidden / "sub", free):
        folder.mkdir(parents=True)
    (hidden / "hr.png").write_bytes(b"hr")
    (hidden / "weights.pth").write_bytes(b"w")
    return hidden, free


def tell(watch: AuditHook, event: str, *arguments: object) -> bool:
    """Whether the hook refuses; called directly, for a hook cannot be taken out of the test process."""
    try:
        watch._hear(event, arguments)
    except PermissionError:
        return True
    return False


def test_only_hidden_places_are_refused_and_counted(places: tuple[Path, Path]) -> None:
    hidden, free = places
    watch = AuditHook([hidden / "weights.pth", free], [hidden])
    assert tell(watch, "open", str(hidden / "hr.png"), "r", 0)
    assert tell(watch, "open", bytes(hidden / "hr.png"), "r", 0)
    assert tell(watch, "open", hidden / "sub" / ".." / "hr.png", "r", 0)
    assert tell(watch, "os.scandir", str(hidden))
    for path in (hidden / "weights.pth", free / "x", hidden.parent, hidden.with_name("data2")):
        assert not tell(watch, "open", str(path), "r", 0), path
    assert not tell(watch, "os.listdir", hidden.parent)
    assert watch.attempts == [str(hidden / "hr.png"), str(hidden)]


def test_links_relative_paths_and_renames_lead_to_the_place(
    places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, free = places
    (free / "link").symlink_to(hidden)
    monkeypatch.chdir(free)
    watch = AuditHook([free], [hidden])
    assert tell(watch, "open", "link/hr.png", "r", 0)
    assert tell(watch, "open", "../data/hr.png", "r", 0)
    assert tell(watch, "os.rename", "../data", "mine", -1, -1)
    assert tell(watch, "os.link", "x", "../data/y", -1, -1)
    assert not tell(watch, "os.rename", "a", "b", -1, -1)


def test_what_is_no_path_is_no_attempt(places: tuple[Path, Path]) -> None:
    watch = AuditHook([], [places[0]], alone=True)
    for path in (3, None, "", ":memory:", "a\0b"):
        assert not tell(watch, "open", path, "r", 0)
    assert not tell(watch, "ctypes.dlopen", None) and not tell(watch, "import", "os", None)
    assert watch.attempts == []


def test_closed_places_are_refused_and_nobody_is_blamed(places: tuple[Path, Path]) -> None:
    hidden, free = places
    watch = AuditHook([free], [hidden], [free.parent])
    assert tell(watch, "open", str(free.parent / "other"), "r", 0)
    assert not tell(watch, "open", str(free / "mine"), "r", 0)
    assert watch.attempts == []


def test_a_program_that_is_told_of_a_hidden_place_is_counted(places: tuple[Path, Path]) -> None:
    hidden, _ = places
    beside = AuditHook([], [hidden])
    assert not tell(beside, "subprocess.Popen", "cat", ["cat", str(hidden / "hr.png")], None, None)
    assert not tell(beside, "os.system", f"cat {hidden}/hr.png".encode())
    assert not tell(beside, "os.system", b"gcc kernel.c")
    assert beside.attempts == [str(hidden)]


def test_alone_it_lets_no_program_start_and_no_network_be_used(places: tuple[Path, Path]) -> None:
    alone = AuditHook([], [places[0]], alone=True)
    assert tell(alone, "subprocess.Popen", "uname", ["uname", "-p"], None, None)
    assert tell(alone, "socket.connect", object(), ("127.0.0.1", 80))
    assert not tell(AuditHook([], [places[0]]), "socket.connect", object(), ("127.0.0.1", 80))
    assert alone.attempts == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc here")
def test_the_files_and_the_memory_of_the_parent_are_hidden(places: tuple[Path, Path]) -> None:
    watch = AuditHook([Path("/proc")], [places[0]])
    parent = Path("/proc") / str(os.getppid())
    assert tell(watch, "open", parent / "mem", "rb", 0)
    assert tell(watch, "os.listdir", parent / "fd")
    for honest in ("/proc/self/maps", "/proc/cpuinfo", str(parent / "stat"), f"/proc/{os.getpid()}/fd"):
        assert not tell(watch, "open", honest, "r", 0), honest


def test_no_more_than_a_screenful_is_kept(places: tuple[Path, Path]) -> None:
    hidden, _ = places
    watch = AuditHook([], [hidden])
    for number in range(3 * MOST):
        assert tell(watch, "open", str(hidden / f"{number}.png"), "r", 0)
    assert watch.attempts == [str(hidden / f"{number}.png") for number in range(MOST)]
    watch.forget()
    assert watch.attempts == []
