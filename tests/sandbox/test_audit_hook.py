"""The hook of the interpreter: what counts as asking for a hidden path, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from srbench.sandbox.audit_hook import MOST, AuditHook


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    hidden, free = (tmp_path / "real").resolve() / "data", (tmp_path / "real").resolve() / "free"
    for folder in (hidden / "sub", free):
        folder.mkdir(parents=True)
    (hidden / "hr.png").write_bytes(b"hr")
    (hidden / "weights.pth").write_bytes(b"w")
    return hidden, free


def refuses(hook: AuditHook, event: str, *arguments: object) -> bool:
    """Whether the hook refuses; called directly, for a hook cannot be taken out of the test process."""
    try:
        hook._check(event, arguments)
    except PermissionError:
        return True
    return False


def test_only_hidden_paths_are_refused_and_counted(folders: tuple[Path, Path]) -> None:
    hidden, free = folders
    hook = AuditHook([hidden / "weights.pth", free], [hidden])
    assert refuses(hook, "open", str(hidden / "hr.png"), "r", 0)
    assert refuses(hook, "open", bytes(hidden / "hr.png"), "r", 0)
    assert refuses(hook, "open", hidden / "sub" / ".." / "hr.png", "r", 0)
    assert refuses(hook, "os.scandir", str(hidden))
    for path in (hidden / "weights.pth", free / "x", hidden.parent, hidden.with_name("data2")):
        assert not refuses(hook, "open", str(path), "r", 0), path
    assert not refuses(hook, "os.listdir", hidden.parent)
    assert hook.attempts == [str(hidden / "hr.png"), str(hidden)]


def test_links_relative_paths_and_renames_lead_to_the_hidden_path(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, free = folders
    (free / "link").symlink_to(hidden)
    monkeypatch.chdir(free)
    hook = AuditHook([free], [hidden])
    assert refuses(hook, "open", "link/hr.png", "r", 0)
    assert refuses(hook, "open", "../data/hr.png", "r", 0)
    assert refuses(hook, "os.rename", "../data", "mine", -1, -1)
    assert refuses(hook, "os.link", "x", "../data/y", -1, -1)
    assert not refuses(hook, "os.rename", "a", "b", -1, -1)


def test_what_is_no_path_is_no_attempt(folders: tuple[Path, Path]) -> None:
    hook = AuditHook([], [folders[0]], alone=True)
    for path in (3, None, "", ":memory:", "a\0b"):
        assert not refuses(hook, "open", path, "r", 0)
    assert not refuses(hook, "ctypes.dlopen", None) and not refuses(hook, "import", "os", None)
    assert hook.attempts == []


def test_closed_paths_are_refused_and_nobody_is_blamed(folders: tuple[Path, Path]) -> None:
    hidden, free = folders
    hook = AuditHook([free], [hidden], [free.parent])
    assert refuses(hook, "open", str(free.parent / "other"), "r", 0)
    assert not refuses(hook, "open", str(free / "mine"), "r", 0)
    assert hook.attempts == []


def test_a_program_that_names_a_hidden_path_is_counted(folders: tuple[Path, Path]) -> None:
    hidden, _ = folders
    beside = AuditHook([], [hidden])
    assert not refuses(beside, "subprocess.Popen", "cat", ["cat", str(hidden / "hr.png")], None, None)
    assert not refuses(beside, "os.system", f"cat {hidden}/hr.png".encode())
    assert not refuses(beside, "os.system", b"gcc kernel.c")
    assert beside.attempts == [str(hidden)]


def test_alone_it_lets_no_program_start_and_no_network_be_used(folders: tuple[Path, Path]) -> None:
    alone = AuditHook([], [folders[0]], alone=True)
    assert refuses(alone, "subprocess.Popen", "uname", ["uname", "-p"], None, None)
    assert refuses(alone, "socket.connect", object(), ("127.0.0.1", 80))
    assert not refuses(AuditHook([], [folders[0]]), "socket.connect", object(), ("127.0.0.1", 80))
    assert alone.attempts == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc here")
def test_the_files_and_the_memory_of_the_parent_are_hidden(folders: tuple[Path, Path]) -> None:
    hook = AuditHook([Path("/proc")], [folders[0]])
    parent = Path("/proc") / str(os.getppid())
    assert refuses(hook, "open", parent / "mem", "rb", 0)
    assert refuses(hook, "os.listdir", parent / "fd")
    for honest in ("/proc/self/maps", "/proc/cpuinfo", str(parent / "stat"), f"/proc/{os.getpid()}/fd"):
        assert not refuses(hook, "open", honest, "r", 0), honest


def test_no_more_than_a_screenful_is_kept(folders: tuple[Path, Path]) -> None:
    hidden, _ = folders
    hook = AuditHook([], [hidden])
    for number in range(3 * MOST):
        assert refuses(hook, "open", str(hidden / f"{number}.png"), "r", 0)
    assert hook.attempts == [str(hidden / f"{number}.png") for number in range(MOST)]
    hook.forget()
    assert hook.attempts == []
