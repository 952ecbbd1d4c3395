"""Interrupted runs: killed, stopped, resumed; and runs that must not be resumed."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from helpers.training_worker import launch
from srbench.training import TrainingInterrupted
from srbench.utils.errors import DatasetError, SrbenchError

NOISY = "train.degradation=sem_pixel:dose=40,jitter=0.3"
EVERY = ("train.log_every=1", "train.checkpoint_every=3", "train.validate_every=4")


class Stopper:
    """A progress callback that sends this process a signal when a run has come to a step."""

    def __init__(self, step: int, number: int = signal.SIGINT) -> None:
        self.step, self.number = step, number

    def __call__(self, event) -> None:
        if not isinstance(event, str) and event.done == self.step:
            signal.raise_signal(self.number)


def logged_steps(folder: Path) -> list[int]:
    path = folder / "log.jsonl"
    if not path.is_file():
        return []
    lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
    return [row["step"] for row in map(json.loads, lines) if row["kind"] == "train"]


def run_until(step: int, folder: Path, *words: str, world: int = 1) -> list[BaseProcess]:
    """Start a run and come back when it has logged a step."""
    processes = launch("slow_gan", folder, *EVERY, *words, world=world)
    while processes[0].is_alive() and max(logged_steps(folder), default=0) < step:
        time.sleep(0.005)
    return processes


def ended(processes: list[BaseProcess]) -> list[int | None]:
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


@pytest.mark.slow
@pytest.mark.parametrize(("world", "kills", "extra"), [(1, 3, ()), (2, 2, ()), (1, 2, (NOISY,))])
def test_killed_at_random_steps_the_run_ends_with_the_same_bytes(tmp_path, world, kills, extra):
    """40 steps, two stages, a discriminator, averaged weights, dropout; SIGKILL again and again."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert ended(launch("slow_gan", straight, *EVERY, *extra, world=world)) == [0] * world
    steps = sorted(random.Random(time.time_ns()).sample(range(2, 38), kills))
    for step in steps:
        processes = run_until(step, killed, "--resume", *extra, world=world)
        for process in processes:
            process.kill()
        assert ended(processes) == [-signal.SIGKILL] * world, f"over before it could be killed at {step}"
    assert ended(launch("slow_gan", killed, *EVERY, "--resume", *extra, world=world)) == [0] * world
    for name in ("weights.safetensors", "best.safetensors"):
        assert (killed / name).read_bytes() == (straight / name).read_bytes(), f"{name}, killed at {steps}"
    assert logged_steps(killed) == logged_steps(straight) == list(range(1, 41))
    assert not list(killed.glob(".*.tmp"))
    assert len(json.loads((killed / "manifest.json").read_text())["sessions"]) >= 2


@pytest.mark.slow
@pytest.mark.parametrize(("number", "world"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGTERM, 2)])
def test_a_stopped_process_saves_and_exits_with_130(tmp_path, number, world):
    folder = tmp_path / "run"
    processes = run_until(7, folder, world=world)
    # One of the processes is enough: they agree at the next boundary.
    os.kill(processes[-1].pid, number)
    assert ended(processes) == [130] * world
    message = Path(f"{folder}.rank0").read_text()
    assert f"everything is saved in {folder}" in message and "--resume" in message
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)["state"]["total_step"]
    assert saved == max(logged_steps(folder)) >= 7
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"


@pytest.mark.slow
def test_on_recorded_pairs_a_resumed_run_ends_with_the_same_bytes(train, tmp_path):
    """Scale and degradation are those of the pairs, where none are named; another choice trains otherwise."""
    pairs = {"dataset": "paired", "scale": None}
    straight = train("tiny_sr", *EVERY, out=tmp_path / "straight", **pairs)
    assert (straight.config.scale, straight.config.degradation) == (2, "recorded")
    with pytest.raises(TrainingInterrupted):
        train("tiny_sr", *EVERY, out=tmp_path / "stopped", progress=Stopper(5), **pairs)
    resumed = train("tiny_sr", *EVERY, out=tmp_path / "stopped", resume=True, **pairs)
    assert resumed.weights.read_bytes() == straight.weights.read_bytes()
    assert resumed.best == straight.best
    made = train("tiny_sr", *EVERY, out=tmp_path / "made", degradation="bicubic", **pairs)
    assert made.weights.read_bytes() != straight.weights.read_bytes()
    with pytest.raises(DatasetError, match="--scale 2"):
        train("tiny_sr", out=tmp_path / "other", dataset="paired", scale=4)


@pytest.mark.parametrize(
    ("model", "step"),
    [
        pytest.param("tiny_sr", 5, id="regression"),
        *(pytest.param("tiny_gan", step, marks=pytest.mark.slow) for step in (1, 7, 8, 9, 14)),
    ],
)
def test_stopped_at_any_step_and_resumed_the_weights_are_the_same(train, tmp_path, model, step):
    """Before, at and after the end of the first stage (8 steps)."""
    straight = train(model, *EVERY, out=tmp_path / "straight")
    with pytest.raises(TrainingInterrupted, match=f"after step {step} of"):
        train(model, *EVERY, out=tmp_path / "stopped", progress=Stopper(step))
    resumed = train(model, *EVERY, out=tmp_path / "stopped", resume=True)
    assert resumed.weights.read_bytes() == straight.weights.read_bytes()
    assert resumed.best == straight.best and resumed.iterations == straight.iterations
    logs = [(result.folder / "log.jsonl").read_text() for result in (straight, resumed)]
    rows = [[json.loads(line) for line in text.splitlines()] for text in logs]
    for row in (*rows[0], *rows[1]):
        row.pop("images_per_second", None)
    assert rows[0] == rows[1]


@pytest.mark.slow
@pytest.mark.parametrize(("pixels", "step"), [("mapped", 8), ("device", 3), ("device", 12)])
def test_with_noise_a_resumed_run_draws_what_it_would_have_drawn(train, tmp_path, step, pixels):
    straight = train("tiny_gan", *EVERY, NOISY, out=tmp_path / "straight")
    with pytest.raises(TrainingInterrupted):
        train("tiny_gan", *EVERY, NOISY, out=tmp_path / "run", progress=Stopper(step))
    elsewhere = (f"train.pixels={pixels}", "train.prefetch=5")
    resumed = train("tiny_gan", *EVERY, NOISY, *elsewhere, out=tmp_path / "run", resume=True)
    assert resumed.weights.read_bytes() == straight.weights.read_bytes()
    assert resumed.best == straight.best


@pytest.mark.slow
@pytest.mark.parametrize(
    ("now", "line"),
    [
        (("train.degradation=sem_pixel:dose=41,jitter=0.3",), "dose=40,jitter=0.3@.', is .*dose=41"),
        ((), "sem_pixel:dose=40.*is 'bicubic@1'"),
    ],
)
def test_another_degradation_is_refused(train, tmp_path, now, line):
    with pytest.raises(TrainingInterrupted):
        train("tiny_sr", *EVERY, NOISY, out=tmp_path / "run", progress=Stopper(4))
    with pytest.raises(SrbenchError, match=f"degradation: was '.*{line}"):
        train("tiny_sr", *EVERY, *now, out=tmp_path / "run", resume=True)


@pytest.mark.slow
def test_the_callers_signal_handlers_come_back(train):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingInterrupted) as raised:
        train("tiny_sr", *EVERY, progress=Stopper(3, signal.SIGTERM))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert raised.value.step == 3 and raised.value.exit_code == 130


@pytest.mark.slow
def test_an_interrupted_run_is_not_started_over_by_accident(train):
    with pytest.raises(TrainingInterrupted):
        train("tiny_sr", *EVERY, progress=Stopper(4))
    with pytest.raises(SrbenchError, match=r"interrupted run \(last noted at step 4\)\. Add --resume"):
        train("tiny_sr", *EVERY)


@pytest.mark.slow
def test_resume_without_anything_to_resume_starts(train):
    assert train("tiny_sr", resume=True).iterations == 8


@pytest.mark.slow
def test_other_settings_are_refused_with_the_differences(train, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        train("tiny_gan", *EVERY, out=out, progress=Stopper(4))
    before = (out / "checkpoint.pt").read_bytes()
    with pytest.raises(SrbenchError) as raised:
        train("tiny_gan", *EVERY, "train.lr=5e-4", out=out, resume=True, dataset="textures:salted", seed=2)
    message = str(raised.value)
    assert "stages.pixel.optimiser.lr: was 0.001, is 0.0005" in message
    assert "seed: was 0, is 2" in message
    assert "dataset: was 'textures', is 'textures:salted'" in message and "\n  data: was '" in message
    assert "--out FOLDER" in message
    assert (out / "checkpoint.pt").read_bytes() == before


@pytest.mark.slow
def test_harmless_settings_may_change(train, tmp_path):
    straight = train("tiny_gan", *EVERY, out=tmp_path / "straight")
    with pytest.raises(TrainingInterrupted):
        train("tiny_gan", *EVERY, out=tmp_path / "run", progress=Stopper(4))
    changed = ("train.log_every=2", "train.checkpoint_every=50", "train.validate_every=4", "train.prefetch=0")
    resumed = train("tiny_gan", *changed, out=tmp_path / "run", resume=True)
    assert resumed.weights.read_bytes() == straight.weights.read_bytes()


@pytest.mark.slow
def test_a_damaged_checkpoint_names_the_one_before_and_that_one_works(train, tmp_path):
    out = tmp_path / "run"
    straight = train("tiny_sr", *EVERY, out=tmp_path / "straight")
    with pytest.raises(TrainingInterrupted):
        train("tiny_sr", *EVERY, out=out, progress=Stopper(7))
    path = out / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(SrbenchError, match="of step 6, is whole: go on with it by renaming"):
        train("tiny_sr", *EVERY, out=out, resume=True)
    (out / "checkpoint.previous.pt").replace(path)
    resumed = train("tiny_sr", *EVERY, out=out, resume=True)
    assert resumed.weights.read_bytes() == straight.weights.read_bytes()


@pytest.mark.slow
def test_a_run_that_died_before_its_first_checkpoint_starts_again(train, tmp_path):
    out = tmp_path / "run"
    train("tiny_sr", out=out)
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps({**manifest, "status": "running"}))
    (out / "checkpoint.pt").unlink()
    assert train("tiny_sr", out=out).iterations == 8


@pytest.mark.gpu
def test_on_cuda_a_stopped_run_ends_with_the_same_bytes(train, tmp_path):
    straight = train("tiny_gan", *EVERY, out=tmp_path / "straight", device="cuda")
    with pytest.raises(TrainingInterrupted):
        train("tiny_gan", *EVERY, out=tmp_path / "stopped", device="cuda", progress=Stopper(9))
    resumed = train("tiny_gan", *EVERY, out=tmp_path / "stopped", device="cuda", resume=True)
    assert resumed.weights.read_bytes() == straight.weights.read_bytes()
