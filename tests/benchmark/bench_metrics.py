"""How fast PSNR and SSIM are beside BasicSR's: run it, it prints ratios (below 1 is faster than BasicSR).

``python tests/benchmark/bench_metrics.py [repetitions]`` where basicsr is importable (extra ``basicsr``).
Both are given the same grey images on one thread; the best of the repetitions counts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import cv2
import numpy as np

from srbench import basicsr_adapter
from srbench.evaluation.metrics.psnr import psnr_of
from srbench.evaluation.metrics.ssim import ssim_of

SIZES = ((128, 128), (480, 640), (624, 1024), (2048, 2048))


def best_seconds(function: Callable[[], float], repetitions: int) -> float:
    """Shortest of several runs."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print a line an image size."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    cv2.setNumThreads(1)
    basicsr_adapter.load("basicsr.metrics")
    generator = np.random.default_rng(0)
    print("size         ours ms  basicsr ms  ratio  difference of PSNR, SSIM")
    for shape in SIZES:
        hr = generator.integers(0, 256, shape).astype(np.float64)
        sr = np.clip(hr + generator.normal(0, 20, shape), 0, 255).round()

        def ours(sr: np.ndarray = sr, hr: np.ndarray = hr) -> float:
            return psnr_of(sr, hr, 255.0) + ssim_of(sr, hr, 255.0)

        def theirs(sr: np.ndarray = sr, hr: np.ndarray = hr) -> float:
            return basicsr_adapter.psnr(sr, hr) + basicsr_adapter.ssim(sr, hr)

        own, other = best_seconds(ours, repetitions), best_seconds(theirs, repetitions)
        difference = (
            (psnr_of(sr, hr, 255.0) - basicsr_adapter.psnr(sr, hr)),
            (ssim_of(sr, hr, 255.0) - basicsr_adapter.ssim(sr, hr)),
        )
        size = f"{shape[0]}x{shape[1]}"
        print(
            f"{size:<11} {own * 1e3:8.2f} {other * 1e3:11.2f} {own / other:6.2f}  "
            f"{difference[0]:.1e}, {difference[1]:.1e}"
        )


if __name__ == "__main__":
    main()
