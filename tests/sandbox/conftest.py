"""A hidden HR image, and a process that is confined as a worker is, without what makes workers slow."""

from __future__ import annotations

import ctypes
import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.loading import HELPERS
from srbench.sandbox import apply as applying
from srbench.sandbox.policy import SandboxPolicy, policy_for_job

RUN = """
import sys; sys.path = [entry for entry in sys.path if entry]
import importlib.util, json
from pathlib import Path
from srbench.sandbox import apply as applying
if sys.argv[3:] == ["deaf"]:
    applying.AuditHook.install = lambda watch: None
confined = applying.apply_policy_file(Path("confinement.json"))
spec = importlib.util.spec_from_file_location("cheats", sys.argv[1])
cheats = importlib.util.module_from_spec(spec)
sys.modules["cheats"] = cheats
spec.loader.exec_module(cheats)
try:
    got, error = cheats.CHEATS[sys.argv[2]](), ""
except BaseException as found:
    got, error = b"", f"{type(found).__name__}: {found}"
attempts = confined.attempts()
print(json.dumps({"got": got.hex(), "error": error, "attempts": attempts, **confined.isolation.to_json()}))
"""


@dataclass(frozen=True)
class Told:
    """What a confined process said: its strength, what a cheat got, and what was heard of it."""

    level: str
    mechanism: str
    words: str
    got: str
    error: str
    attempts: list[str]


@dataclass
class Stage:
    """A hidden folder with an HR image, a scratch folder, and servers that would tell."""

    hidden: Path
    scratch: Path
    variables: dict[str, str]

    @property
    def hr(self) -> Path:
        return self.hidden / "hr.png"

    def confinement(self) -> SandboxPolicy:
        return policy_for_job(
            lr=self.hidden / "cache" / "lr.bin",
            weights=None,
            module_file=HELPERS / "sandbox_attacks.py",
            scratch=self.scratch,
            hidden=[self.hidden, _drawing_code()],
        )

    def try_cheat(self, name: str, mode: str, *, deaf: bool = False, before: Sequence[str] = ()) -> Told:
        """Run a cheat in a process of its own.

        Args:
            name: of the cheat.
            mode: of the isolation.
            deaf: without the interpreter's hook, so that the kernel is alone.
            before: a command that runs the process.
        """
        with applying.canary_files(self.confinement()) as (guarded, tried):
            (self.scratch / applying.POLICY_FILE).write_text(applying.policy_json(guarded, tried))
            done = subprocess.run(
                [
                    *before,
                    sys.executable,
                    "-c",
                    RUN,
                    str(HELPERS / "sandbox_attacks.py"),
                    name,
                    *(["deaf"] if deaf else []),
                ],
                cwd=self.scratch,
                env={**os.environ, **self.variables, applying.SWITCH: mode},
                capture_output=True,
                text=True,
                timeout=60,
            )
        assert done.returncode == 0, done.stderr
        return Told(**json.loads(done.stdout.splitlines()[-1]))


def _drawing_code() -> Path:
    import srbench.datasets

    return Path(srbench.datasets.__file__).parent / "synthetic"


class _Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"the answer")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    place = tmp_path_factory.mktemp("service") / "s"
    network = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Answer)
    local = socketserver.ThreadingUnixStreamServer(str(place), _Answer)
    for one in (network, local):
        threading.Thread(target=one.serve_forever, daemon=True).start()
    yield {"SRBENCH_TEST_PORT": str(network.server_address[1]), "SRBENCH_TEST_SOCKET": str(place)}
    for one in (network, local):
        one.shutdown()
        one.server_close()


@pytest.fixture
def stage(servers: dict[str, str], tmp_path: Path) -> Iterator[Stage]:
    hidden, scratch = tmp_path / "home", tmp_path / "scratch"
    (hidden / "cache").mkdir(parents=True)
    scratch.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert cv2.imwrite(str(hidden / "hr.png"), pixels)
    (hidden / "cache" / "lr.bin").write_bytes(pixels[::4, ::4].tobytes())
    (hidden / "cache" / "index.json").write_text("{}")
    kept = ctypes.create_string_buffer(b"what the harness holds in memory", 64)
    variables = {
        "SRBENCH_TEST_HR": str(hidden / "hr.png"),
        "SRBENCH_TEST_TEMPORARY": tempfile.gettempdir(),
        "SRBENCH_TEST_ADDRESS": str(ctypes.addressof(kept)),
    }
    yield Stage(hidden, scratch, {**servers, **variables})
