"""What the training loop costs over a bare loop, and how fast it is beside BasicSR's: a line a network.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--rounds N] [--steps N] [NAME ...]

where basicsr is importable (extra ``basicsr``); without it only the bare loop is compared. The three take
turns in one process, blocks of a few steps each, and the median of the ratios of neighbouring blocks counts.
Times are processor times: other jobs on the machine count little.

Ours is ``srbench.train``'s loop as it is: crops are cut, LR is made, gradients are checked, weights averaged
where the recipe says so; validation and checkpoints are left out. The bare loop does forward passes, losses,
backward passes and steps of the same networks on one batch that lies ready. BasicSR's are its own model
classes (``SRModel``, ``SRGANModel``), networks and losses, fed with one batch that lies ready. All three keep
freed memory as a training on a CPU does (``kept_memory``), which BasicSR by itself does not; a variable of
glibc, such as ``MALLOC_TRIM_THRESHOLD_=67108864``, switches that off for all.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from srbench import models
from srbench.config import TrainConfig, TrainSettings, apply
from srbench.datasets import degrade
from srbench.datasets.base import DatasetCard, Micrograph, MicrographSet
from srbench.metrics import basicsr as second_opinion
from srbench.models.recipe import Batch, LossInputs
from srbench.training.data import CropReader
from srbench.training.distributed import Processes
from srbench.training.loop import Loop, Task
from srbench.training.reproducibility import repeatable
from srbench.training.signals import StopRequest
from srbench.training.stage import build_optimiser
from srbench.training.state import NonFiniteGuard, TrainingState
from srbench.utils.image import Pixels
from srbench.utils.memory import kept_memory

SCALE, PATCH, CHANNELS = 4, 128, 3
ENDLESS = 10**6


@dataclass(frozen=True)
class Case:
    """A variant, the index of the stage of its recipe that is timed, crops in a batch, BasicSR's options."""

    model: str
    variant: str
    stage: int
    batch: int
    basicsr: dict[str, Any] = field(default_factory=dict)


ADAM = {"type": "Adam", "lr": 1e-4, "betas": [0.9, 0.99]}
L1 = {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
MSRRESNET = {
    "type": "MSRResNet",
    "num_in_ch": 3,
    "num_out_ch": 3,
    "num_feat": 64,
    "num_block": 16,
    "upscale": SCALE,
}
EDSR = {
    "type": "EDSR",
    "num_in_ch": 3,
    "num_out_ch": 3,
    "num_feat": 64,
    "num_block": 16,
    "upscale": SCALE,
    "img_range": 255.0,
}
CASES = {
    "edsr-tiny": Case("edsr", "tiny", 0, 16),
    "edsr-baseline": Case(
        "edsr", "baseline", 0, 4, {"model_type": "SRModel", "network_g": EDSR, "train": {"pixel_opt": L1}}
    ),
    "msrresnet": Case(
        "srgan",
        "msrresnet",
        0,
        4,
        {
            "model_type": "SRModel",
            "network_g": MSRRESNET,
            "train": {"ema_decay": 0.999, "pixel_opt": L1},
        },
    ),
    "msrresnet-gan": Case(
        "srgan",
        "msrresnet",
        1,
        4,
        {
            "model_type": "SRGANModel",
            "network_g": MSRRESNET,
            "network_d": {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 64},
            "train": {
                "ema_decay": 0.999,
                "optim_d": ADAM,
                "pixel_opt": {**L1, "loss_weight": 1.01},
                "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 5e-3},
            },
        },
    ),
}


class Noise(MicrographSet):
    """Eight pictures of noise in memory."""

    name = "noise"
    card = DatasetCard("noise", "Noise", "synthetic", "a measurement", "CC0-1.0")
    images = tuple(Micrograph(str(index), str(index), "", "train", 512, 512) for index in range(8))

    def pixels(self, image_id: str) -> Pixels:
        return np.random.default_rng(int(image_id)).integers(0, 256, (512, 512), dtype=np.uint8)

    @property
    def fingerprint(self) -> str:
        return "noise"


class Enough(Exception):
    """All rounds are done."""


class BlockLoop(Loop):
    """The loop, which gives the turn away after every block of steps."""

    turn: Callable[[], bool]
    steps: int

    def _boundary(self) -> None:
        if self._state.total_step % self.steps == 0 and self.turn():
            raise Enough


def recipe_of(case: Case) -> tuple[models.SRModel, Any]:
    model = models.create(case.model, scale=SCALE, channels=CHANNELS, variant=case.variant)
    recipe = model.recipe("paper")
    stage = recipe.stages[case.stage]
    overrides = (
        f"stages.{stage.name}.iterations={ENDLESS}",
        f"stages.{stage.name}.batch={case.batch}",
        *((f"stages.{stage.name}.patch={PATCH}",) if stage.patch != PATCH else ()),
    )
    config = TrainConfig.of({"model": case.model, "dataset": "noise", "scale": SCALE}, overrides=overrides)
    whole = apply(config, recipe)
    return model, type(whole)((whole.stages[case.stage],), whole.source)


def ours(case: Case, steps: int) -> BlockLoop:
    model, recipe = recipe_of(case)
    processes, data, bicubic = Processes(torch.device("cpu")), Noise(), degrade.get("bicubic")
    reader = CropReader(data, data.images, bicubic, SCALE, 0)
    settings = TrainSettings(prefetch=0, validate_every=ENDLESS, checkpoint_every=ENDLESS)
    state = TrainingState(model.network, recipe, 0, NonFiniteGuard(3))
    task = Task(model, recipe, reader, bicubic, None, settings, False, processes)
    loop = BlockLoop(task, state, None, print, StopRequest())  # type: ignore[arg-type]
    loop.steps = steps
    return loop


def bare(case: Case) -> Callable[[], None]:
    """Forward, loss, backward, step; discriminators as in BasicSR: the two backward passes in turn."""
    model, recipe = recipe_of(case)
    (stage,) = recipe.stages
    state = TrainingState(model.network, recipe, 0, NonFiniteGuard(3))
    network = model.network.train()
    discriminators = {entry.spec.name: entry.network for entry in state.stage_discriminators()}
    optimiser = build_optimiser(stage.optimiser, list(network.parameters()))
    hr = torch.rand(stage.batch, CHANNELS, stage.patch, stage.patch)
    batch = Batch(F.avg_pool2d(hr, SCALE), hr, SCALE)

    def step() -> None:
        for learner in state.stage_discriminators():
            learner.freeze(True)
        optimiser.zero_grad()
        outputs = stage.forward(network, batch)
        inputs = LossInputs(batch, outputs, discriminators)
        sum(term.loss(inputs) * term.weight_at(state.progress) for term in stage.terms).backward()  # type: ignore[union-attr]
        optimiser.step()
        detached = LossInputs(batch, {name: out.detach() for name, out in outputs.items()}, discriminators)
        for learner in state.stage_discriminators():
            learner.freeze(False)
            learner.optimiser.zero_grad()
            learner.spec.loss(learner.network, detached).backward()
            learner.optimiser.step()

    return step


def basicsr(case: Case) -> Callable[[], None]:
    build_model = second_opinion.load("basicsr.models").build_model
    train = {
        "optim_g": dict(ADAM),
        "scheduler": {"type": "MultiStepLR", "milestones": [ENDLESS], "gamma": 0.5},
    }
    options = {
        "num_gpu": 0,
        "is_train": True,
        "dist": False,
        "rank": 0,
        "path": {},
        **case.basicsr,
        "train": {**train, **case.basicsr["train"]},
    }
    model = build_model(options)
    hr = torch.rand(case.batch, CHANNELS, PATCH, PATCH)
    batch = {"lq": F.avg_pool2d(hr, SCALE), "gt": hr}
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        model.update_learning_rate(done, warmup_iter=-1)
        model.feed_data(batch)
        model.optimize_parameters(done)

    return step


def timed(step: Callable[[], None], steps: int) -> float:
    start = time.process_time()
    for _ in range(steps):
        step()
    return (time.process_time() - start) / steps


def measure(case: Case, rounds: int, steps: int, against: dict[str, Callable[[], None]]) -> str:
    """Milliseconds of our step, and the times of the others over it."""
    loop = ours(case, steps)
    times: dict[str, list[float]] = {name: [] for name in ("ours", *against)}
    start = 0.0

    def turn() -> bool:
        nonlocal start
        times["ours"].append((time.process_time() - start) / steps)
        for name, step in against.items():
            times[name].append(timed(step, steps))
        start = time.process_time()
        return len(times["ours"]) > rounds

    loop.turn = turn
    start = time.process_time()
    with contextlib.suppress(Enough):
        loop.run()
    # The first block of each warms up.
    own = times["ours"][1:]
    ratios = {
        name: [other / mine for other, mine in zip(times[name][1:], own, strict=True)] for name in against
    }
    words = [f"{statistics.median(own) * 1e3:8.1f} ms"]
    for name, values in ratios.items():
        low, high = np.quantile(values, (0.25, 0.75))
        words.append(f"{name} / ours {statistics.median(values):.3f} ({low:.3f} to {high:.3f})")
    return ", ".join(words)


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(CASES))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    with repeatable(True, torch.get_num_threads()), kept_memory():
        for name in options.names:
            case = CASES[name]
            against = {"bare": bare(case)}
            if case.basicsr and second_opinion.available():
                against["basicsr"] = basicsr(case)
            print(f"{name:<15} {measure(case, options.rounds, options.steps, against)}", flush=True)


if __name__ == "__main__":
    main()
