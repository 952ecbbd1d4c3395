"""Commands killed at random moments, alone or with all their processes, then given again.

Six commands on tiny data: train (with and without ``--resume``), eval, prepare, fetch (from a server here),
infer and report. Each runs once undisturbed; then it is killed one to three times and run to its end, which
must give the same bytes, leave no file that the undisturbed run did not, and no process. Where file systems
can be mounted the same holds after a full disk, its own or that of temporary files, which must be named.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from chaos.part import Part

HANG_SECONDS = 10.0
"""Beyond five times what the undisturbed run took."""

_ORPHAN_SECONDS = 10.0
_RATE = 400_000  # bytes a second that the server sends, so that a download takes a while
_MARK = "SRBENCH_CHAOS"

# One server imports torch; each command is a fork of it, seconds less for each.
_context = multiprocessing.get_context("forkserver")


# --- the commands, each a function of the folder that it works in -------------------------------------------


def train(folder: Path) -> None:
    from helpers.training_fakes import register_fakes
    from srbench import train

    register_fakes()
    every = ("train.log_every=1", "train.checkpoint_every=2", "train.validate_every=4")
    settings = [*every, "train.tensorboard=false", "train.threads=1", "train.prefetch=1"]
    options = {"dataset": "textures", "scale": 2, "device": "cpu", "overrides": settings}
    train("tiny_gan", out=folder / "run", resume=(folder / "run" / "checkpoint.pt").exists(), **options)


def evaluate(folder: Path) -> None:
    from helpers.fake_set import FakeSet
    from srbench import evaluate

    evaluate(
        ["bicubic"],
        dataset=FakeSet(3, side=64),
        scale=2,
        results=folder / "results",
        metrics=["psnr"],
        previews=2,
    )


def prepare(folder: Path) -> None:
    from srbench.datasets.sources.nffa.prepare import ClassArchive, prepare_nffa

    archives = [ClassArchive(tar.stem, tar, "0") for tar in sorted((folder.parent / "given").glob("*.tar"))]
    prepare_nffa(archives, folder / "data", name="sem", version="1", licence="CC-BY-4.0", workers=2)


def fetch(folder: Path) -> None:
    from srbench.datasets.download import Remote, download_all

    remotes = json.loads((folder.parent / "given" / "remotes.json").read_text())
    download_all([Remote(url, folder / "data" / name, sha256) for name, url, sha256 in remotes], workers=2)


def infer(folder: Path) -> None:
    from srbench import infer

    given = folder.parent / "given"
    infer("bicubic", given / "images", out=folder / "out", scale=2, device="cpu", tell=lambda text: None)


def report(folder: Path) -> None:
    from srbench import report

    report(folder.parent / "given" / "results", folder / "report")


@dataclass(frozen=True)
class Command:
    """A command, what of its files must be equal bit for bit, and what the server of its forks imports.

    ``results`` gives paths below its folder, or other names, with their content.
    """

    run: Callable[[Path], None]
    results: Callable[[Path], Mapping[str, str]]
    modules: tuple[str, ...]


def _hashes(*patterns: str) -> Callable[[Path], Mapping[str, str]]:
    def results(folder: Path) -> Mapping[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for pattern in patterns
            for path in sorted(folder.glob(pattern))
        }

    return results


def _learned(folder: Path) -> Mapping[str, str]:
    """The weights, the steps that were logged, and how the manifest says that it ended."""
    lines = (folder / "run" / "log.jsonl").read_text().splitlines()
    steps = [(row["step"], row["kind"]) for row in map(json.loads, lines)]
    manifest = json.loads((folder / "run" / "manifest.json").read_text())
    return {
        **_hashes("run/*.safetensors")(folder),
        "steps": str(steps),
        "manifest": f"{manifest['status']} {manifest['progress']['step']}",
    }


def _scores(folder: Path) -> Mapping[str, str]:
    """The rows of images (those of cost hold seconds), the hashes of the outputs, and the previews."""
    from srbench.store import ScoreStore

    store = ScoreStore(folder / "results")
    rows = store.scores()
    return {
        **_hashes("results/*/*/previews/*.png", "results/references/*/*.png")(folder),
        "rows": rows[rows["image"] != ""].to_csv(index=False),
        "runs": str([(entry.key.run_id, entry.status, dict(entry.outputs)) for entry in store.manifests()]),
        "problems": str(store.problems),
    }


COMMANDS = {
    "fetch": Command(fetch, _hashes("data/*"), ("requests",)),
    "infer": Command(infer, _hashes("out/*"), ("srbench.inference.predict", "srbench.inference.tiling")),
    "prepare": Command(
        prepare, _hashes("data/*.json", "data/*.bin"), ("srbench.datasets.sources.nffa.prepare",)
    ),
    "train": Command(train, _learned, ("srbench.training", "torch._inductor", "helpers.training_fakes")),
    "eval": Command(evaluate, _scores, ("srbench.evaluation.evaluate", "pandas")),
    "report": Command(
        report, _hashes("report/**/*.*"), ("srbench.reporting.leaderboard", "srbench.reporting.page")
    ),
}
_QUICK = ("fetch", "infer", "prepare")
_QUICK_SECONDS = 60.0


# --- what they work on --------------------------------------------------------------------------------------


class _SlowServer(http.server.ThreadingHTTPServer):
    """Serves a folder, slowly, with byte ranges."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _SlowHandler)
        self.folder = folder
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is what this is for."""


class _SlowHandler(http.server.BaseHTTPRequestHandler):
    server: _SlowServer

    def do_GET(self) -> None:
        data = (self.server.folder / self.path.strip("/")).read_bytes()
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        self.send_response(206 if match else 200)
        if match:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", '"1"')
        self.end_headers()
        for at in range(start, len(data), step := _RATE // 50):
            self.wfile.write(data[at : at + step])
            time.sleep(step / _RATE)

    def log_message(self, *arguments: object) -> None:
        """Silent."""


def _draw(random: np.random.Generator, folder: Path, name: str, base: str) -> None:
    """The input of a command, in ``folder / "given"``."""
    import cv2

    from helpers import nffa_archives
    from helpers.fake_set import texture

    given = folder / "given"
    given.mkdir()
    if name == "prepare":
        nffa_archives.build(given, {"Fibres": 6, "Tips": 5}, size=(256, 192), seed=int(random.integers(1000)))
    elif name == "fetch":
        remotes = []
        for number in range(3):
            data = random.bytes(150_000 + 10_000 * number)
            (folder.parent / "served" / f"{number}.tar").write_bytes(data)
            remotes.append((f"{number}.tar", f"{base}/{number}.tar", hashlib.sha256(data).hexdigest()))
        (given / "remotes.json").write_text(json.dumps(remotes))
    elif name == "infer":
        (given / "images").mkdir()
        for number in range(3):
            pixels = texture(int(random.integers(1000)), 64, 64)
            cv2.imwrite(str(given / "images" / f"{number}.png"), pixels)
    elif name == "report":
        shutil.copytree(folder.parent / "eval" / "straight" / "results", given / "results")


# --- running and killing ------------------------------------------------------------------------------------


def _enter(name: str, folder: str) -> None:
    """In the process of a command: a session, a home and a folder for temporary files of its own."""
    os.setsid()
    os.environ.update(_environment(Path(folder)))
    tempfile.tempdir = None
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    outcome = Path(f"{folder}.outcome")
    try:
        COMMANDS[name].run(Path(folder))
    except BaseException:
        outcome.write_text(traceback.format_exc())
    else:
        outcome.write_text("")


def _environment(folder: Path) -> dict[str, str]:
    temporary = Path(f"{folder}.tmp")
    return {"SRBENCH_HOME": str(folder / "home"), "TMPDIR": str(temporary), _MARK: str(folder)}


def _mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True)


def _can_mount(folder: Path) -> bool:
    folder.mkdir()
    try:
        _mount(folder, "size=8192")
    except (OSError, subprocess.CalledProcessError):
        return False
    subprocess.run(["umount", "--lazy", folder], check=True)
    return True


def _start(name: str, folder: Path) -> multiprocessing.process.BaseProcess:
    folder.mkdir(exist_ok=True)
    Path(f"{folder}.tmp").mkdir(exist_ok=True)
    Path(f"{folder}.outcome").unlink(missing_ok=True)
    process = _context.Process(target=_enter, args=(name, str(folder)))
    process.start()
    return process


def _paths(folder: Path) -> set[str]:
    """Every file and folder, in the folder for temporary files too; lock files are no leftovers."""
    roots = (folder, Path(f"{folder}.tmp"))
    paths = {str(path.relative_to(root)) for root in roots for path in root.rglob("*")}
    return {path for path in paths if Path(path).name != ".lock"}


def _descendants(session: int, folder: Path) -> list[psutil.Process]:
    """Processes that a command has started: of its session, or with its mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get(_MARK) == str(folder)
            if process.status() != psutil.STATUS_ZOMBIE and (marked or os.getsid(process.pid) == session):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def _orphans(session: int, folder: Path) -> list[psutil.Process]:
    """Those that are still there after a while; they are ended."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while (alive := _descendants(session, folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in alive:
        process.kill()
    return alive


class _Trial:
    """One command on its input: the undisturbed run, and the killed ones that are compared with it."""

    def __init__(self, name: str, folder: Path, part: Part) -> None:
        self.name, self.folder, self.part = name, folder, part
        self.command = COMMANDS[name]
        straight = folder / "straight"
        start = time.monotonic()
        process = _start(name, straight)
        process.join()
        self.seconds = time.monotonic() - start
        if outcome := self._outcome(straight):
            raise RuntimeError(f"{name} does not run even when it is left alone:\n{outcome}")
        self.results = self.command.results(straight)
        self.paths = _paths(straight)
        self.bytes = sum(path.stat().st_size for path in straight.rglob("*") if path.is_file())
        self.number, self.spent = 0, 0.0

    def kill(self, random: np.random.Generator, deadline: float) -> None:
        """Kill the command one to three times, run it to its end, and count what is wrong."""
        start = time.monotonic()
        folder = self.folder / f"killed{self.number}"
        self.number += 1
        moments = []
        for _ in range(int(random.integers(1, 4))):
            process = _start(self.name, folder)
            assert process.pid is not None
            group, moment = bool(random.random() < 0.5), float(random.uniform(0.02, 1.02)) * self.seconds
            process.join(moment)
            if process.is_alive():
                self._kill(process.pid, group)
                self.part.tried += 1
                moments.append(f"{moment:.2f} s{' (group)' if group else ''}")
            process.join()
            if orphans := _orphans(process.pid, folder):
                self.part.count("orphans", f"{self.name} after {moments}: {[o.cmdline() for o in orphans]}")
            if time.monotonic() > deadline:
                break
        self._compare(folder, f"{self.name}, killed after {', '.join(moments) or 'its end'}")
        shutil.rmtree(folder)
        shutil.rmtree(f"{folder}.tmp")
        self.spent += time.monotonic() - start

    def fill(self, random: np.random.Generator) -> None:
        """Run the command where the disk, or that of temporary files, fills up, then with room enough."""
        start = time.monotonic()
        folder = self.folder / f"full{self.number}"
        self.number += 1
        full = folder if random.random() < 0.7 else Path(f"{folder}.tmp")
        room = int(random.uniform(0.05, 1.1) * self.bytes)
        where = f"{self.name} with {room:,} bytes in {full.name}"
        full.mkdir()
        _mount(full, f"size={max(room, 8192)}")
        try:
            process = _start(self.name, folder)
            process.join(HANG_SECONDS + 5 * self.seconds)
            if process.is_alive():
                self.part.count("hangs over 10 s", where)
                process.kill()
            process.join()
            last = [*self._outcome(folder).strip().splitlines(), ""][-1]
            if last and not (last.startswith("srbench.") and str(full) in last and " free" in last):
                self.part.count("wrong exceptions", f"{where}: {last}")
            self.part.count("full disks")
            _mount(full, "remount,size=64m")
            self._compare(folder, where)
        finally:
            subprocess.run(["umount", "--lazy", full], check=True)
        shutil.rmtree(folder)
        shutil.rmtree(f"{folder}.tmp")
        self.spent += time.monotonic() - start

    def _kill(self, pid: int, group: bool) -> None:
        try:
            # Before it has a group of its own it has no other processes either.
            if group and os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def _compare(self, folder: Path, where: str) -> None:
        process = _start(self.name, folder)
        assert process.pid is not None
        process.join(HANG_SECONDS + 5 * self.seconds)
        if process.is_alive():
            self.part.count("hangs over 10 s", where)
            self._kill(process.pid, group=True)
            process.join()
            return
        if outcome := self._outcome(folder):
            self.part.count("wrong exceptions", f"{where}: {outcome.strip().splitlines()[-1]}")
            return
        results = self.command.results(folder)
        differing = sorted(
            name for name in {**results, **self.results} if results.get(name) != self.results.get(name)
        )
        if differing:
            self.part.count("wrong results", f"{where}: {', '.join(differing)}")
        if leftovers := sorted(_paths(folder) - self.paths):
            self.part.count("leftovers", f"{where}: {', '.join(leftovers)}")
        if orphans := _orphans(process.pid, folder):
            self.part.count("orphans", f"{where}, then to its end: {[o.cmdline() for o in orphans]}")

    def _outcome(self, folder: Path) -> str:
        file = Path(f"{folder}.outcome")
        return file.read_text() if file.exists() else "it ended without a word"


def run(random: np.random.Generator, seconds: float, folder: Path) -> Part:
    """Kill the commands in turns until the time is over; in less than a minute the quick ones only.

    Each has a folder of its own below ``folder``.
    """
    watched = ("wrong exceptions", "hangs over 10 s", "leftovers", "orphans", "wrong results")
    part = Part("kills", counts=dict.fromkeys(watched, 0))
    deadline = time.monotonic() + seconds
    (folder / "served").mkdir()
    mounting = _can_mount(folder / "disk")
    trials: list[_Trial] = []
    names = tuple(COMMANDS) if seconds > _QUICK_SECONDS else _QUICK
    _context.set_forkserver_preload([module for name in names for module in COMMANDS[name].modules])
    first = _context.Process(target=os.getpid)  # the server's own start is not a command's
    first.start()
    first.join()
    with _SlowServer(folder / "served") as server:
        for name in names:
            (folder / name).mkdir()
            _draw(random, folder / name, name, f"http://127.0.0.1:{server.server_port}")
            trials.append(_Trial(name, folder / name, part))
        for trial in trials:  # each once, on a machine however slow
            trial.kill(random, deadline)
        while time.monotonic() < deadline:
            # An equal share of the time: a command that takes long is killed less often.
            trial = min(trials, key=lambda trial: trial.spent)
            if mounting and random.random() < 0.2:
                trial.fill(random)
            else:
                trial.kill(random, deadline)
        server.shutdown()
    return part
