"""Several processes under torchrun give what one gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers import training_worker
from helpers.training_worker import launch
from srbench.training.distributed import Processes, choose_device, join
from srbench.utils.errors import SrbenchError


def torchrun(folder: Path, model: str, *words: str) -> subprocess.CompletedProcess:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *(str(training_worker.__file__), model, str(folder), *words),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("train.degradation=sem_pixel:dose=40,jitter=0.3",)])
def test_two_processes_learn_what_one_learns(train, tmp_path, words):
    """Gradient descent in float64 with a discriminator, clipping and averaging: equal but for rounding."""
    alone = train("shared_sr", *words, out=tmp_path / "alone")
    done = torchrun(tmp_path / "together", "shared_sr", *words)
    assert done.returncode == 0, done.stderr
    said = [Path(f"{tmp_path / 'together'}.rank{rank}").read_text() for rank in (0, 1)]
    assert said == ["finished", "helped"]
    one, two = load_file(alone.weights), load_file(tmp_path / "together" / "weights.safetensors")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-10, atol=1e-12)
    states = [
        torch.load(folder / "checkpoint.pt", weights_only=True)["state"]
        for folder in (alone.folder, tmp_path / "together")
    ]
    discriminators = [state["critics"]["discriminator"]["network"] for state in states]
    for name, tensor in discriminators[0].items():
        torch.testing.assert_close(discriminators[1][name], tensor, rtol=1e-9, atol=1e-12)
    assert states[1]["metrics"]["psnr"] == pytest.approx(states[0]["metrics"]["psnr"], abs=1e-9)
    manifest = json.loads((tmp_path / "together" / "manifest.json").read_text())
    assert manifest["sessions"][0]["device"]["processes"] == 2


@pytest.mark.slow
def test_a_run_may_go_on_with_fewer_processes(train, progress, tmp_path):
    folder = tmp_path / "run"
    every = ("train.checkpoint_every=5", "train.validate_every=5")
    for process in (processes := launch("tiny_gan", folder, *every, world=2)):
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    content = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert not torch.equal(content["random"][0]["torch"], content["random"][1]["torch"])
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "status": "interrupted"}))
    assert train("tiny_gan", *every, out=folder, resume=True).iterations == 15
    assert any("had 2 processes and goes on with 1" in note for note in progress.messages)


def test_one_process_has_nothing_to_share():
    alone = Processes(torch.device("cpu"))
    tensor = torch.tensor([1.0, 2.0])
    alone.average([tensor])
    assert alone.main and alone.gather(3) == [3] and alone.from_main("x") == "x" and alone.any(True)
    assert tensor.tolist() == [1.0, 2.0] and alone.share([1, 2, 3]) == [1, 2, 3]
    assert Processes(torch.device("cpu"), 1, 2).share([1, 2, 3]) == [2]
    with join("cpu") as processes:
        assert processes == alone


def test_devices_by_name():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(SrbenchError, match="not a device"):
        choose_device("gpu0")
