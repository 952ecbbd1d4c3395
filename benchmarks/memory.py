"""Memory and time for one large micrograph, as ``srbench infer`` runs it (tiles chosen by memory).

``python benchmarks/memory.py MODEL VARIANT SCALE HEIGHT WIDTH`` prints the plan, the peak resident
size of the whole process and the seconds. Weights are random: they change neither. The image is noise.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch

from srbench import models
from srbench.inference import device as memory
from srbench.inference.predict import super_resolve
from srbench.inference.tiling import Tiler


def main() -> None:
    """Run once and print."""
    name, variant = sys.argv[1:3]
    scale, height, width = map(int, sys.argv[3:6])
    torch.set_num_threads(2)
    model = models.create(name, scale=scale, variant=variant)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    print("tiling:", Tiler(model, output="uint8").tiling(height, width))
    start = time.perf_counter()
    sr = super_resolve(model, pixels)
    seconds = time.perf_counter() - start
    print(f"{name} {variant} x{scale}: {height}x{width} -> {sr.shape[0]}x{sr.shape[1]}")
    print(f"peak resident {memory.peak_resident_bytes() / 1e9:.2f} GB, {seconds:.0f} s")


if __name__ == "__main__":
    main()
