"""How fast the metrics are: run it, it prints milliseconds, and ratios to BasicSR and pyiqa where they are.

``python benchmarks/metrics.py [pairs] [rounds]``

PSNR and SSIM of a folder of 1024 x 624 PNG pairs, read from disk each time, by ours, BasicSR's and pyiqa's
code in turns on one thread; the spread is that of the rounds. Then the arithmetic alone, image sizes apart,
and every default metric of one pair.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from srbench.evaluation.scorer import measure
from srbench.metrics import basicsr as second_opinion
from srbench.metrics import pyiqa as pyiqa_metrics
from srbench.metrics import registry
from srbench.metrics.fidelity import psnr, ssim
from srbench.metrics.protocol import named

SIZES = ((128, 128), (480, 640), (624, 1024), (2048, 2048))
SHAPE = (624, 1024)
Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Values = list[tuple[float, float]]


def pair(shape: tuple[int, int], seed: int) -> tuple[Bytes, Bytes]:
    """A smooth image with grain, and the same with errors of twenty grey levels."""
    generator = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(generator.normal(0, 600, shape), (0, 0), 4.0)
    hr = np.clip(128 + smooth + generator.normal(0, 6, shape), 0, 255)
    sr = np.clip(hr + generator.normal(0, 20, shape), 0, 255)
    return np.round(sr).astype(np.uint8), np.round(hr).astype(np.uint8)


def read(folder: Path) -> Iterable[tuple[Bytes, Bytes]]:
    """Every pair of the folder, decoded by OpenCV."""
    for path in sorted(folder.glob("*_sr.png")):
        hr = path.with_name(path.name.replace("_sr", "_hr"))
        yield cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), cv2.imread(str(hr), cv2.IMREAD_GRAYSCALE)


def ours(folder: Path) -> Values:
    """What an evaluation computes: planes of float64, one after the other."""
    planes = ((sr / 255.0, hr / 255.0) for sr, hr in read(folder))
    return [(psnr(sr, hr), ssim(sr, hr)) for sr, hr in planes]


def basicsr_pair(sr: np.ndarray, hr: np.ndarray) -> tuple[float, float]:
    """BasicSR's PSNR and SSIM of planes in 0..255."""
    metrics = second_opinion.load("basicsr.metrics")
    return (
        metrics.calculate_psnr(sr, hr, crop_border=0),
        metrics.calculate_ssim(sr, hr, crop_border=0),
    )


def basicsr(folder: Path) -> Values:
    """BasicSR's calculate_psnr and calculate_ssim on the 0..255 scale it expects."""
    planes = ((sr.astype(np.float64), hr.astype(np.float64)) for sr, hr in read(folder))
    return [basicsr_pair(sr, hr) for sr, hr in planes]


def pyiqa(folder: Path) -> Values:
    """pyiqa's psnr and ssim on one grey channel, float32 in [0, 1]; its SSIM computes in float64."""
    networks = [pyiqa_metrics.network(name) for name in ("psnr", "ssim")]
    tensors = (tuple(torch.from_numpy(p)[None, None] / 255.0 for p in images) for images in read(folder))
    return [tuple(float(network(*images)) for network in networks) for images in tensors]


def contestants() -> dict[str, Callable[[Path], Values]]:
    """Those that can run here."""
    found = {"ours": ours}
    if second_opinion.available():
        second_opinion.load("basicsr.metrics")
        found["basicsr"] = basicsr
    if pyiqa_metrics.available():
        pyiqa_metrics.network("ssim")
        found["pyiqa"] = pyiqa
    return found


def race(pairs: int, rounds: int) -> None:
    """All contestants in turns, so that a busy machine is busy for all of them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index in range(pairs):
            for kind, image in zip(("sr", "hr"), pair(SHAPE, index), strict=True):
                cv2.imwrite(str(folder / f"{index:03d}_{kind}.png"), image)
        times: dict[str, list[float]] = {}
        values: dict[str, Values] = {}
        for turn in range(rounds + 1):
            for who, run in contestants().items():
                start = time.perf_counter()
                values[who] = run(folder)
                if turn:  # the first warms up
                    times.setdefault(who, []).append(time.perf_counter() - start)
    print(
        f"PSNR and SSIM of {pairs} pairs of {SHAPE[1]} x {SHAPE[0]}, PNG decoding included, {rounds} rounds"
    )
    for who in times:
        print(f"  {who:<20}{describe(times, who, pairs)}  {differences(values, who)}")


def describe(times: dict[str, list[float]], who: str, pairs: int) -> str:
    """Milliseconds a pair, and how many times as long as ours, round by round."""
    ratios = sorted(other / own for other, own in zip(times[who], times["ours"], strict=True))
    middle = statistics.median(times[who]) / pairs * 1e3
    return (
        f"{middle:8.1f} ms a pair  x {statistics.median(ratios):5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def differences(values: dict[str, Values], who: str) -> str:
    """Largest differences from ours."""
    gaps = np.abs(np.array(values[who]) - np.array(values["ours"])).max(axis=0)
    return f"PSNR within {gaps[0]:.1e} dB, SSIM within {gaps[1]:.1e}"


def best_milliseconds(function: Callable[[], object], repetitions: int) -> float:
    """Shortest of several runs."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def arithmetic(repetitions: int) -> None:
    """PSNR and SSIM of planes in memory."""
    print("PSNR + SSIM in memory, ms")
    for shape in SIZES:
        sr, hr = (image.astype(np.float64) for image in pair(shape, 0))
        runs: dict[str, Callable[[], object]] = {
            "ours": lambda sr=sr, hr=hr: (psnr(sr, hr, 255.0), ssim(sr, hr, 255.0)),
        }
        if second_opinion.available():
            runs["basicsr"] = lambda sr=sr, hr=hr: basicsr_pair(sr, hr)
        found = "  ".join(f"{who} {best_milliseconds(run, repetitions):8.2f}" for who, run in runs.items())
        print(f"  {shape[1]:>4} x {shape[0]:<5}{found}")


def every_default_metric(repetitions: int) -> None:
    """Each default metric of one pair, nothing shared with the others."""
    sr, hr = pair(SHAPE, 0)
    lr = cv2.resize(hr, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    print(f"every default metric of one pair of {SHAPE[1]} x {SHAPE[0]}, ms")
    for metric in registry.list_metrics():
        if metric.default and metric.per_image and not metric.needs():
            case = named("sem-grey").case(
                sr, hr, lr, 4, degrade=_binned, lr_variance=lambda plane: plane / 60.0 + 1e-4, clean=True
            )
            value, reason = measure(metric, case)

            def once(metric: registry.Metric = metric, case: registry.Case = case) -> None:
                case.cache.clear()
                measure(metric, case)

            print(
                f"  {metric.name:<20}{best_milliseconds(once, repetitions):8.2f}  {reason or f'{value:.4f}'}"
            )


def _binned(plane: registry.Plane) -> registry.Plane:
    result: registry.Plane = cv2.resize(plane, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return result


def main() -> None:
    """Print the three tables."""
    pairs, rounds = (int(text) for text in (sys.argv[1:] + ["6", "5"][len(sys.argv) - 1 :]))
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    race(pairs, rounds)
    arithmetic(rounds)
    every_default_metric(rounds)


if __name__ == "__main__":
    main()
