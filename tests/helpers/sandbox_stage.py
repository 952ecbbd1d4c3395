"""A hidden HR image, and processes that are confined as workers are, without what makes workers slow."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import secrets
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

from helpers.loading import HELPERS
from srbench.sandbox import apply
from srbench.sandbox.policy import policy_for_job

ATTACKS = HELPERS / "sandbox_attacks.py"

RUN = """
import importlib.util, json, os, sys
sys.path = [entry for entry in sys.path if entry]
from pathlib import Path
from srbench.sandbox import apply
file, names, without_hook = sys.argv[1], sys.argv[2].split(","), sys.argv[3:] == ["without_hook"]
if without_hook:
    apply.AuditHook.install = lambda hook: None
sandbox = apply.apply_policy_file(Path("confinement.json"))
spec = importlib.util.spec_from_file_location("attacks", file)
attacks = importlib.util.module_from_spec(spec)
sys.modules["attacks"] = attacks
spec.loader.exec_module(attacks)
scratch, results = Path.cwd(), {}
for name in names:
    Path(scratch, name).mkdir()
    os.chdir(scratch / name)
    if sandbox.hook:
        sandbox.hook.forget()
    try:
        got, error = attacks.ATTACKS[name](), ""
    except BaseException as problem:
        got, error = b"", f"{type(problem).__name__}: {problem}"
    results[name] = {"got": got.hex(), "error": error, "attempts": sandbox.attempts()}
print(json.dumps({**sandbox.isolation.to_json(), "attacks": results}))
"""


@dataclass(frozen=True)
class Attack:
    """What an attack got, why it got nothing, and what was recorded of it."""

    got: str
    error: str
    attempts: list[str]


@dataclass(frozen=True)
class AttackedProcess:
    """The isolation that a process says it has, and how each attack went in it."""

    level: str
    mechanism: str
    words: str
    attacks: dict[str, Attack]


@dataclass
class Stage:
    """A hidden folder with an HR image, and servers that would give it away."""

    folder: Path
    hidden: Path
    variables: dict[str, str]

    @property
    def hr(self) -> Path:
        return self.hidden / "hr.png"

    @functools.cache  # noqa: B019 - one stage a session
    def run(
        self,
        names: tuple[str, ...],
        mode: str,
        *,
        hook: bool = True,
        before: Sequence[str] = (),
        file: Path = ATTACKS,
    ) -> AttackedProcess:
        """Run attacks one after the other in one process.

        Args:
            names: of the attacks.
            mode: of the isolation: ``on``, ``interpreter`` or ``off``.
            hook: False leaves the kernel alone, without the interpreter's hook.
            before: a command that runs the process.
            file: that has the attacks.
        """
        scratch = Path(tempfile.mkdtemp(dir=self.folder))
        import srbench.datasets

        policy = policy_for_job(
            lr=self.hidden / "cache" / "lr.bin",
            weights=None,
            module_file=file,
            scratch=scratch,
            hidden=[self.hidden, Path(srbench.datasets.__file__).parent / "synthetic"],
        )
        arguments = [str(file), ",".join(names), *([] if hook else ["without_hook"])]
        with apply.canary_files(policy) as (extended, canaries):
            (scratch / apply.POLICY_FILE).write_text(apply.policy_json(extended, canaries))
            done = subprocess.run(
                [*before, sys.executable, "-c", RUN, *arguments],
                cwd=scratch,
                env={**os.environ, **self.variables, apply.SWITCH: mode},
                capture_output=True,
                text=True,
                timeout=120,
            )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout.splitlines()[-1])
        attacks = {name: Attack(**result) for name, result in said.pop("attacks").items()}
        return AttackedProcess(**said, attacks=attacks)

    def __hash__(self) -> int:
        return id(self)


class _Answer(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"the answer")


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[dict[str, str]]:
    """Two that give the answer away, and the variables that say where they are."""
    path = folder / "s"
    network = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Answer)
    local = socketserver.ThreadingUnixStreamServer(str(path), _Answer)
    for server in (network, local):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield {"SRBENCH_TEST_PORT": str(network.server_address[1]), "SRBENCH_TEST_SOCKET": str(path)}
    finally:
        for server in (network, local):
            server.shutdown()
            server.server_close()


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[Stage]:
    """A stage below this folder, with servers and with something in this process's memory."""
    hidden = folder / "home"
    (hidden / "cache").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    assert cv2.imwrite(str(hidden / "hr.png"), pixels)
    (hidden / "cache" / "lr.bin").write_bytes(pixels[::4, ::4].tobytes())
    (hidden / "cache" / "index.json").write_text("{}")
    memory = ctypes.create_string_buffer(b"what the harness holds in memory", 64)
    variables = {
        "SRBENCH_TEST_HR": str(hidden / "hr.png"),
        "SRBENCH_TEST_TEMPORARY": tempfile.gettempdir(),
        "SRBENCH_TEST_ADDRESS": str(ctypes.addressof(memory)),
    }
    with servers(folder) as where:
        yield Stage(folder, hidden, {**where, **variables})


@contextlib.contextmanager
def with_victim(stage: Stage) -> Iterator[Stage]:
    """Beside it a process that sleeps, a file in /dev/shm and a System V segment; gone afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = secrets.randbelow(1 << 30) + 1
    segment = libc.shmget(key, 4096, 0o1600)
    assert segment >= 0
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(segment, None, 0)
    ctypes.memmove(address, b"secret", 6)
    shared = Path("/dev/shm", f"srbench-test-{key}")
    shared.write_bytes(b"secret")
    command = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
    victim = subprocess.Popen(command, start_new_session=True)
    stage.variables.update(
        SRBENCH_TEST_VICTIM=str(victim.pid), SRBENCH_TEST_SHARED=shared.name, SRBENCH_TEST_KEY=str(key)
    )
    try:
        yield stage
    finally:
        victim.kill()
        victim.wait()
        shared.unlink()
        libc.shmdt(ctypes.c_void_p(address))
        libc.shmctl(segment, 0, None)
        # Left by the attacks that work without isolation.
        if (semaphores := libc.semget(key, 1, 0)) >= 0:
            libc.semctl(semaphores, 0, 0)
        if (messages := libc.msgget(key, 0)) >= 0:
            libc.msgctl(messages, 0, None)
