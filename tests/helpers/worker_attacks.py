"""Workers that misbehave: each is a program that speaks to the harness as a worker does, and then does harm.

``ATTACKS`` maps a name to the program. It is run confined, with two images of 4 x 4 pixels to enlarge by 4.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from srbench.config import EvaluationConfig
from srbench.evaluation import worker_client
from srbench.evaluation.jobs import Job
from srbench.sandbox import process

PRELUDE = """
import ctypes, json, os, signal, sys, time
from pathlib import Path
def say(event, **content):
    os.write(1, (json.dumps({"event": event, **content}) + "\\n").encode())
def wait():
    os.read(0, 1)
def confined():
    say("confined", isolation={"level": "kernel", "mechanism": "test", "words": "test"})
def ready(**more):
    device = {"type": "cpu", "name": "", "precision": "float32", "layout": "", "threads": 1, "torch": ""}
    cost = {"params": 1, "gmacs_per_mpx": 1, "peak_mb_per_mpx": 1}
    say("ready", **{"device": device, "notes": [], "cost": cost, **more})
def image(index, **more):
    say("image", **{"index": index, "tiling": TILING, **more})
def write(index, content=bytes(256)):
    Path(f"{index}.raw").write_bytes(content)
def started():
    confined(); ready(); say("warm", channel_spread=None)
def rest():
    write(1); wait(); image(1); say("finished", peak_bytes=1, attempts=[]); sys.stdin.read()
def child(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    with open("children", "a") as file:
        file.write(f"{pid}\\n")
TILING = {"tiles": 1, "tile": 4, "halo": 0, "exact": True, "retries": 0}
from srbench.sandbox import apply
apply.apply_policy_file(Path(apply.POLICY_FILE).absolute())
"""

ATTACKS = {
    # It ends, or does not.
    "ends_at_once": "os._exit(0)",
    "ends_halfway": "started(); write(0); wait(); image(0); os._exit(7)",
    "crashes": "started(); os.kill(os.getpid(), signal.SIGSEGV)",
    "hangs_at_start": "time.sleep(60)",
    "hangs_at_an_image": "started(); time.sleep(60)",
    "ignores_signals_and_hangs": (
        "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; started(); time.sleep(60)"
    ),
    "stops_itself": "started(); os.kill(os.getpid(), signal.SIGSTOP)",
    "stops_its_group": "started(); os.kill(0, signal.SIGSTOP)",
    "closes_its_output_and_hangs": "started(); os.close(1); os.close(2); time.sleep(60)",
    "closes_everything_and_hangs": "os.closerange(0, 100); time.sleep(60)",
    "spins": "started()\nwhile True: pass",
    # It leaves processes.
    "leaves_a_child": "started(); child(lambda: time.sleep(60)); os._exit(0)",
    "leaves_a_daemon": """
def work():
    os.setsid()
    child(lambda: time.sleep(60))
child(work); started(); os._exit(0)""",
    "leaves_a_child_with_its_pipes_that_ignores_signals": """
def work():
    [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]
    time.sleep(60)
started(); child(work); write(0); wait(); image(0); rest()""",
    "many_processes": """
started()
for _ in range(400): child(lambda: time.sleep(60))
time.sleep(60)""",
    # It writes without end.
    "line_without_end": "confined()\nwhile True: os.write(1, b'x' * 65536)",
    "lines_without_end": "confined()\nwhile True: os.write(1, b'{}\\n' * 10000)",
    "empty_lines_without_end": "started()\nwhile True: os.write(1, b'\\n' * 65536)",
    "errors_without_end": "started()\nwhile True: os.write(2, b'x' * 65536)",
    "escapes_in_its_last_words": "started(); os.write(2, b'\\x1b[2J\\x1b]0;owned\\x07\\xff'); os._exit(1)",
    # It says what it should not.
    "no_message": "os.write(1, b'hello\\n'); time.sleep(60)",
    "no_text": "os.write(1, b'\\xff\\xfe\\x00\\n'); time.sleep(60)",
    "no_number": 'confined(); os.write(1, b\'{"event": "warm", "channel_spread": NaN}\\n\'); time.sleep(60)',
    "deep_nesting": "os.write(1, b'[' * 200000 + b']' * 200000 + b'\\n'); time.sleep(60)",
    "digits": (
        "confined(); "
        "os.write(1, b'{\"event\": \"warm\", \"channel_spread\": ' + b'9' * 500000 + b'}\\n'); time.sleep(60)"
    ),
    "unknown_keys": "confined(); ready(rank=1); time.sleep(60)",
    "negative_cost": (
        "confined(); ready(cost={'params': -1, 'gmacs_per_mpx': 1, 'peak_mb_per_mpx': 1}); time.sleep(60)"
    ),
    "no_cost": "confined(); ready(cost=None); time.sleep(60)",
    "surrogates_in_notes": "confined(); ready(notes=['\\ud800'], rank=1); time.sleep(60)",
    "forged_isolation": "confined(); confined(); time.sleep(60)",
    "ready_twice": (
        "confined(); ready(); "
        "ready(cost={'params': 0, 'gmacs_per_mpx': 0, 'peak_mb_per_mpx': 0}); time.sleep(60)"
    ),
    "ready_before_confined": "ready(); time.sleep(60)",
    "warm_twice": "started(); say('warm', channel_spread=None); time.sleep(60)",
    "finished_at_once": "started(); say('finished', peak_bytes=1, attempts=[]); time.sleep(60)",
    "ahead_of_its_turn": "started(); write(0); write(1); image(0); image(1); time.sleep(60)",
    "an_image_twice": "started(); write(0); wait(); image(0); wait(); image(0); time.sleep(60)",
    "an_image_that_there_is_not": "started(); wait(); image(5); time.sleep(60)",
    "an_image_too_many": (
        "started(); write(0); wait(); image(0); write(1); wait(); image(1); image(2); time.sleep(60)"
    ),
    # It hands back what is no image.
    "no_file": "started(); wait(); image(0); time.sleep(60)",
    "a_link": "started(); Path('0.raw').symlink_to('/etc/passwd'); wait(); image(0); time.sleep(60)",
    "a_link_to_a_device": (
        "started(); Path('0.raw').symlink_to('/dev/zero'); wait(); image(0); time.sleep(60)"
    ),
    "a_pipe": "started(); os.mkfifo('0.raw'); wait(); image(0); time.sleep(60)",
    "a_folder": "started(); os.mkdir('0.raw'); wait(); image(0); time.sleep(60)",
    "a_huge_file": "started(); write(0); os.truncate('0.raw', 1 << 32); wait(); image(0); time.sleep(60)",
    "a_file_above_the_limit": "started(); write(0); os.truncate('0.raw', 1 << 40)",
    "a_short_file": "started(); write(0, b'x'); wait(); image(0); time.sleep(60)",
    "an_object_array": """
import pickle
header = b"\\x93NUMPY\\x01\\x00v\\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
started(); write(0, header + pickle.dumps(print)); wait(); image(0); time.sleep(60)""",
    "its_folder_replaced": """
here = Path.cwd()
started(); here.rename(here.with_name(here.name + "-away")); wait(); image(0); time.sleep(60)""",
    # It leaves what is hard to remove.
    "nested_folders": "for _ in range(300): os.mkdir('d'); os.chdir('d')\nos._exit(1)",
    "closed_folders": "os.makedirs('a/b'); Path('a/b/c').touch(); os.mkdir('shut', 0)\nos._exit(1)",
    "odd_names": "open(b'\\xff\\x1b[2J', 'w'); os.symlink('/', 'root'); os.mkfifo('pipe')\nos._exit(1)",
}

REASONS = {
    "many_processes": "processes",
    "leaves_a_child": "exit code 0",
    "leaves_a_daemon": "exit code 0",
    "escapes_in_its_last_words": "exit code 1",
    "closes_its_output_and_hangs": "did not end",
    "stops_itself": "no sign of life",
}
"""A word of the reason, where another one would be misleading."""

HARMLESS = {
    "leaves_a_child_with_its_pipes_that_ignores_signals": "it finished, and what it left is ended",
}
"""What is no failure of the model."""


@dataclass(frozen=True)
class Outcome:
    """How a worker's run ended: the failure of this model or None, what it left, and how long it took."""

    failure: worker_client.WorkerFailed | None
    last: str
    processes: list[int]
    files: list[Path]
    seconds: float


def attempt(name: str, folder: Path) -> Outcome:
    """Run a worker of ``ATTACKS``, as an evaluation would, with short limits.

    Args:
        name: of the attack.
        folder: an empty one.
    """
    (folder / "lr.bin").write_bytes(bytes(32))
    request = worker_client.InferenceRequest(folder / "lr.bin", ((0, 4, 4, 1), (16, 4, 4, 1)))
    config = EvaluationConfig(timeout=5.0 if name == "many_processes" else 0.7)
    client = worker_client.WorkerClient(4, config, (folder / "hidden",))
    begin, failure, last = time.monotonic(), None, ""
    with pytest.MonkeyPatch.context() as patch:
        start = "import sys; sys.path = [entry for entry in sys.path if entry]\n"
        patch.setattr(worker_client, "_START", start + PRELUDE + ATTACKS[name])
        patch.setattr(worker_client, "_START_UP", 0.7 if "at_start" in name else 5.0)
        for module in (worker_client, process):
            patch.setattr(module, "_GRACE", 0.5)
        with worker_client.scratch_folder() as scratch:
            try:
                for message in client.run(Job("theirs", "only"), request, Path(scratch)):
                    last = type(message).__name__
            except worker_client.WorkerFailed as error:
                failure = error
            processes = _running(Path(scratch, "children"))
    files = [Path(scratch)] if Path(scratch).exists() else []
    return Outcome(failure, last, processes, files, time.monotonic() - begin)


def _running(file: Path) -> list[int]:
    """Of the processes named in the file, those that still run."""
    running = []
    for pid in map(int, file.read_text().split()) if file.exists() else ():
        try:
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                running.append(pid)
        except psutil.NoSuchProcess:
            continue
    return running
