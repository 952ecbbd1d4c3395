"""Every way to HR that we know of: open without isolation, closed with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import sandbox_attacks
from helpers.landlock import has_landlock

OF_ROOT = ("raw_disk", "kernel_memory")
NAMES = tuple(name for name in sandbox_attacks.ATTACKS if name not in OF_ROOT)
needs_landlock = pytest.mark.skipif(not has_landlock(), reason="this kernel offers no Landlock")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the attacks are written for Linux")
pytestmark = [linux, pytest.mark.slow]


@needs_landlock
@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_alone_refuses(stage: Any, name: str) -> None:
    process = stage.run(NAMES, "on", hook=False)
    assert process.level == "kernel" and process.mechanism.startswith("landlock-")
    assert not process.attacks[name].got, "HR was read"


@needs_landlock
@pytest.mark.parametrize("name", NAMES)
def test_with_the_hook_what_goes_through_python_is_recorded(stage: Any, name: str) -> None:
    process = stage.run(NAMES, "on")
    attack = process.attacks[name]
    assert process.level == "kernel" and not attack.got
    assert bool(attack.attempts) == (name not in sandbox_attacks.UNSEEN), attack.attempts


@pytest.mark.parametrize("name", NAMES)
def test_the_interpreter_alone_refuses_what_python_is_told_of(stage: Any, name: str) -> None:
    process = stage.run(NAMES, "interpreter")
    assert process.level == "interpreter" and "native code was not stopped" in process.words
    if name not in sandbox_attacks.SOME_SYSTEMS:
        assert bool(process.attacks[name].got) == (name in sandbox_attacks.NATIVE)
    elif name not in sandbox_attacks.NATIVE:
        assert not process.attacks[name].got


@pytest.mark.parametrize("name", NAMES)
def test_without_isolation_the_attack_works_and_that_is_said(stage: Any, name: str) -> None:
    process = stage.run(NAMES, "off")
    attack = process.attacks[name]
    assert attack.got or name in sandbox_attacks.SOME_SYSTEMS, attack.error
    assert process.level == "none" and "SRBENCH_ISOLATION=off" in process.words and not attack.attempts


@needs_landlock
@pytest.mark.skipif(os.geteuid() != 0, reason="only root could read them without isolation")
def test_root_is_confined_too(stage: Any) -> None:
    process = stage.run(OF_ROOT, "on", hook=False)
    assert not any(attack.got for attack in process.attacks.values())


def test_a_refusal_is_an_ordinary_permission_error_that_names_the_file(stage: Any) -> None:
    attack = stage.run(NAMES, "interpreter").attacks["plain_open"]
    assert attack.error == f"PermissionError: [Errno 13] hidden from models: '{stage.hr}'"
    assert attack.attempts == [str(stage.hr)]


@needs_landlock
@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv to give up privileges with")
def test_no_privilege_is_needed(stage: Any) -> None:
    before = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
    process = stage.run(("native_open",), "on", before=before)
    assert process.level == "kernel" and not process.attacks["native_open"].got


AS_ANOTHER = """
import sys
from pathlib import Path
from srbench.sandbox import SandboxPolicy, apply
here = Path(sys.argv[1])
assert (here / "hidden" / "hr").read_bytes() == b"pixels"
policy = SandboxPolicy((), (here / "scratch",), (here / "hidden",))
sandbox = apply.apply_policy(policy, [here / "hidden" / "hr"])
(here / "scratch" / "out").write_text("written")
print(sandbox.isolation.level)
print(open(here / "hidden" / "hr").read())
"""


@pytest.fixture
def package_for_all(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """Copies what the sandbox needs to where every user can read it."""
    import srbench

    source = Path(srbench.__file__).parent

    def copy(folder: Path) -> None:
        (folder / "srbench" / "utils").mkdir(parents=True)
        for part in ("__init__.py", "version.py", "utils/__init__.py", "utils/errors.py"):
            shutil.copy(source / part, folder / "srbench" / part)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source / "sandbox", folder / "srbench" / "sandbox", ignore=ignored)

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
