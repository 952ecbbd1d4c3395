"""How long all weight-free metrics take for one image, and by how much their values differ between versions.

``OMP_NUM_THREADS=1 python benchmarks/all_metrics.py [kind ...]`` prints seconds of processor time:
scenes of 1024 x 624 with their truth and a second acquisition, so that nearly every metric has a value;
bicubic x4 is scored on one thread, so that a busy machine changes little.

``... all_metrics.py values OUT.json [FOLDER]`` writes every value of bicubic x4 on scenes of
``sem_synthetic:small`` and on the PNG files of a folder; ``... differ A.json B.json`` prints the largest
differences of two such files, written by two versions of srbench.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from srbench import datasets, models
from srbench.datasets import degrade
from srbench.datasets import lr_images as lr_cache
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene
from srbench.evaluation.scorer import measure
from srbench.metrics import registry
from srbench.metrics.protocol import named
from srbench.metrics.registry import Case, Metric
from srbench.utils.image import to_uint8

HEIGHT, WIDTH, SCALE, ROUNDS = 624, 1024, 4, 3


def case_of(kind: str) -> Case:
    """Bicubic interpolation of a scene's LR beside everything that an evaluation knows of it."""
    scene = SyntheticScene(kind, 0, WIDTH)
    return bicubic_case(kind, scene.pixels()[:HEIGHT], kind, scene.truth())


def bicubic_case(name: str, hr: np.ndarray, category: str, truth: Mapping[str, Any] | None) -> Case:
    """Bicubic interpolation beside a second acquisition; without a truth the reference counts as noisy."""
    bicubic = degrade.get("bicubic")
    lr = lr_cache.lr_image(hr, bicubic, SCALE)
    enlarged = models.create("bicubic", scale=SCALE).infer(torch.from_numpy(lr)[None, None] / 255.0)
    noise = np.random.default_rng(0).normal(0.0, 8.0, hr.shape)

    def expected(plane: np.ndarray) -> np.ndarray:
        planes = torch.from_numpy(plane)[None, None]
        return bicubic.expected(planes, SCALE, lr_cache.position_of(name))[0, 0].numpy()

    return named("sem-grey").case(
        (enlarged[0, 0] * 255.0).round().to(torch.uint8).numpy(),
        hr,
        lr,
        SCALE,
        degrade=expected,
        truth=truth,
        clean=truth is not None,
        second=np.clip(hr + noise, 0, 255).astype(np.uint8),
        category=category,
        pixel_size_nm=2.0,
    )


def weight_free(default: bool) -> list[Metric]:
    """Metrics without weights: all, or the default ones."""
    listed = [m for m in registry.list_metrics() if m.per_image and m.family != "perceptual"]
    return [m for m in listed if m.default or not (default or m.name.startswith("basicsr"))]


def report(kind: str) -> None:
    """One line: the fastest round, and what takes most of it."""
    metrics = weight_free(default=True)
    case = case_of(kind)
    rounds = []
    for _ in range(ROUNDS):
        case.cache.clear()
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


def values(out: str, folder: str = "") -> None:
    """Write every value of every weight-free metric."""
    micrographs = datasets.open("sem_synthetic:small")
    images = list(micrographs.images)[:48]
    cases = [(i.id, i.category, micrographs.pixels(i.id), micrographs.truth(i.id)) for i in images]
    files = sorted(Path(folder).rglob("*.png")) if folder else []
    for file in files[:: max(1, len(files) // 30)][:30]:
        grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        height, width = (min(side, 512) // SCALE * SCALE for side in grey.shape)
        top, left = (grey.shape[0] - height) // 2, (grey.shape[1] - width) // 2
        cases.append((file.name, "", grey[top : top + height, left : left + width], None))
    rows = {}
    for name, category, pixels, truth in cases:
        hr = to_uint8(pixels)
        hr = hr[: hr.shape[0] // SCALE * SCALE, : hr.shape[1] // SCALE * SCALE]
        case = bicubic_case(name, hr, category, truth)
        rows[name] = {metric.id: measure(metric, case)[0] for metric in weight_free(default=False)}
    Path(out).write_text(json.dumps(rows))


def differ(first: str, second: str) -> None:
    """Largest and median difference of each metric, where the largest exceeds 1e-6."""
    old, new = (json.loads(Path(path).read_text()) for path in (first, second))
    names = {name.partition("@")[0]: name for name in next(iter(new.values()))}
    for stored in next(iter(old.values())):
        name = stored.partition("@")[0]
        pairs = np.array([(old[image][stored], new[image][names[name]]) for image in old])
        flips = int((np.isnan(pairs[:, 0]) != np.isnan(pairs[:, 1])).sum())
        gaps = np.abs(pairs[:, 0] - pairs[:, 1])[~np.isnan(pairs).any(1)]
        if flips or (len(gaps) and gaps.max() > 1e-6):
            spread = f"median {np.median(gaps):.1e}, largest {gaps.max():.1e}"
            print(f"{name:<26} {len(gaps):3d} values, {spread}, {flips} with a value in one version only")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] in (["values"], ["differ"]):
        {"values": values, "differ": differ}[sys.argv[1]](*sys.argv[2:])
        sys.exit()
    for kind in sys.argv[1:] or [str(getattr(one, "name", one)) for one in scene_kinds()]:
        report(kind)
