"""Every way to HR that we know of: open without isolation, closed with it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import sandbox_attacks
from srbench.sandbox import linux as linux_means
from srbench.sandbox.linux import Unavailable


def _has_landlock() -> bool:
    try:
        return linux_means.landlock_version() > 0 and platform.machine() in linux_means.ARCHITECTURES
    except Unavailable:
        return False


OF_ROOT = ("raw_disk", "kernel_memory")
NAMES = [name for name in sandbox_attacks.CHEATS if name not in OF_ROOT]
needs_landlock = pytest.mark.skipif(not _has_landlock(), reason="this kernel offers no Landlock")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the cheats are written for Linux")
pytestmark = linux


@needs_landlock
@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_alone_refuses(stage: Any, name: str) -> None:
    told = stage.try_cheat(name, "on", deaf=True)
    assert told.level == "kernel" and told.mechanism.startswith("landlock-")
    assert not told.got, "HR was read"


@needs_landlock
@pytest.mark.parametrize("name", NAMES)
def test_with_the_hook_what_goes_through_python_is_recorded(stage: Any, name: str) -> None:
    told = stage.try_cheat(name, "on")
    assert told.level == "kernel" and not told.got
    assert bool(told.attempts) == (name not in sandbox_attacks.UNSEEN), told.attempts


@pytest.mark.parametrize("name", NAMES)
def test_the_interpreter_alone_refuses_what_it_hears_of(stage: Any, name: str) -> None:
    told = stage.try_cheat(name, "interpreter")
    assert told.level == "interpreter" and "native code was not stopped" in told.words
    if name not in sandbox_attacks.SOME_SYSTEMS:
        assert bool(told.got) == (name in sandbox_attacks.UNHEARD)
    elif name not in sandbox_attacks.UNHEARD:
        assert not told.got


@pytest.mark.parametrize("name", NAMES)
def test_without_isolation_the_cheat_works_and_that_is_said(stage: Any, name: str) -> None:
    told = stage.try_cheat(name, "off")
    assert told.got or name in sandbox_attacks.SOME_SYSTEMS, told.error
    assert told.level == "none" and "SRBENCH_ISOLATION=off" in told.words and not told.attempts


@needs_landlock
@pytest.mark.skipif(os.geteuid() != 0, reason="only root could read them without isolation")
@pytest.mark.parametrize("name", OF_ROOT)
def test_root_is_confined_too(stage: Any, name: str) -> None:
    assert not stage.try_cheat(name, "on", deaf=True).got


def test_a_refusal_is_an_ordinary_permission_error_that_names_the_file(stage: Any) -> None:
    told = stage.try_cheat("plain_open", "interpreter")
    assert told.error == f"PermissionError: [Errno 13] hidden from models: '{stage.hr}'"
    assert told.attempts == [str(stage.hr)]


@needs_landlock
@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv to give up privileges with")
def test_no_privilege_is_needed(stage: Any) -> None:
    if os.geteuid() == 0:
        before = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
        told = stage.try_cheat("native_open", "on", before=before)
    else:
        told = stage.try_cheat("native_open", "on")
    assert told.level == "kernel" and not told.got


AS_ANOTHER = """
import sys
from pathlib import Path
from srbench.sandbox import SandboxPolicy
from srbench.sandbox import apply as applying
here = Path(sys.argv[1])
assert (here / "hidden" / "hr").read_bytes() == b"pixels"
confinement = SandboxPolicy((), (here / "scratch",), (here / "hidden",))
confined = applying.apply_policy(confinement, [here / "hidden" / "hr"])
(here / "scratch" / "out").write_text("written")
print(confined.isolation.level)
print(open(here / "hidden" / "hr").read())
"""


@pytest.fixture
def package_for_all(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Copies what isolation needs to where every user can read it."""
    import srbench

    source = Path(srbench.__file__).parent

    def copy(folder: Path) -> None:
        for part in ("__init__.py", "errors.py", "evaluation/__init__.py"):
            (folder / "srbench" / part).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / part, folder / "srbench" / part)
        isolation = "evaluation/isolation"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source / isolation, folder / "srbench" / isolation, ignore=ignored)

    return copy


@needs_landlock
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no Python that every user can run")
def test_another_user_is_confined_too(package_for_all: Callable[[Path], None]) -> None:
    version = subprocess.check_output(["/usr/bin/python3", "-V"], text=True).split()[1].split(".")
    if (int(version[0]), int(version[1])) < (3, 10):
        pytest.skip("the system's Python is older than those that srbench runs on")
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package_for_all(folder)
        for part in ("hidden", "scratch"):
            (folder / part).mkdir()
        (folder / "hidden" / "hr").write_bytes(b"pixels")
        os.chown(folder / "scratch", 65534, 65534)
        folder.chmod(0o755)
        done = subprocess.run(
            ["/usr/bin/python3", "-c", AS_ANOTHER, name],
            user=65534,
            group=65534,
            extra_groups=[],
            cwd="/",
            env={"PYTHONPATH": name, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert done.stdout.split() == ["kernel"], done.stderr
        assert "PermissionError" in done.stderr.splitlines()[-1]
        assert (folder / "scratch" / "out").read_text() == "written"
