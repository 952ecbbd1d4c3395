"""How long all weight-free metrics take for one image: run it, it prints seconds of processor time a scene.

``OMP_NUM_THREADS=1 python tests/benchmark/bench_all_metrics.py [kind ...]``

Scenes of 1024 x 624 with their truth and a second acquisition, so that nearly every metric has a value;
bicubic x4 is scored. Processor time, on one thread: a busy machine changes little.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from srbench import models
from srbench.datasets import degrade
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene
from srbench.evaluation import lr_cache
from srbench.evaluation.metrics import registry
from srbench.evaluation.metrics.registry import Case
from srbench.evaluation.protocol import named
from srbench.evaluation.scoring import measure

HEIGHT, WIDTH, SCALE, ROUNDS = 624, 1024, 4, 3


def case_of(kind: str) -> Case:
    """Bicubic interpolation of a scene's LR beside everything that an evaluation knows of it."""
    scene = SyntheticScene(kind, 0, WIDTH)
    hr = scene.pixels()[:HEIGHT]
    bicubic = degrade.get("bicubic")
    lr = lr_cache.lr_image(hr, bicubic, SCALE)
    enlarged = models.create("bicubic", scale=SCALE).infer(torch.from_numpy(lr)[None, None] / 255.0)
    noise = np.random.default_rng(0).normal(0.0, 8.0, hr.shape)

    def expected(plane: np.ndarray) -> np.ndarray:
        planes = torch.from_numpy(plane)[None, None]
        return bicubic.expected(planes, SCALE, lr_cache.position_of(kind))[0, 0].numpy()

    return named("sem-grey").case(
        (enlarged[0, 0] * 255.0).round().to(torch.uint8).numpy(),
        hr,
        lr,
        SCALE,
        degrade=expected,
        truth=scene.truth(),
        clean=True,
        second=np.clip(hr + noise, 0, 255).astype(np.uint8),
        category=kind,
    )


def report(kind: str) -> None:
    """One line: the fastest round, and what takes most of it."""
    metrics = [m for m in registry.list_metrics() if m.default and m.of_images and m.family != "perceptual"]
    case = case_of(kind)
    rounds = []
    for _ in range(ROUNDS):
        case.memo.clear()
        times, values = {}, 0
        for metric in metrics:
            start = time.process_time()
            values += not measure(metric, case)[1]
            times[metric.name] = time.process_time() - start
        rounds.append((sum(times.values()), values, times))
    total, values, times = min(rounds, key=lambda one: one[0])
    slowest = sorted(times, key=times.__getitem__, reverse=True)[:4]
    told = ", ".join(f"{name} {times[name] * 1e3:.0f} ms" for name in slowest)
    print(f"{kind:<12} {total:.2f} s  {values} of {len(metrics)} have a value; most: {told}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for kind in sys.argv[1:] or [str(getattr(one, "name", one)) for one in scene_kinds()]:
        report(kind)
