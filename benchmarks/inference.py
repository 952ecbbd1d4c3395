"""What each measure of CPU inference gains: memory kept, decisions shared, channels last, smaller tiles.

``OMP_NUM_THREADS=1 python benchmarks/inference.py MODEL:VARIANT:SIDE ... [--rounds 3]`` enlarges noise of
SIDE x SIDE pixels x4 three times with ``super_resolve``, each way in a process of its own and all ways in
turns, so that whatever else the machine does falls on all. Printed are seconds of processor time of the first
and of the last image (the fastest round), and the largest resident size of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import ExitStack
from unittest.mock import patch

import numpy as np

SYSTEM = {"MALLOC_MMAP_MAX_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""What the C library does by itself; that they are set keeps srbench from changing it."""
WAYS = {
    "as before": ("plain", "apart", "large", "system"),
    "memory kept": ("plain", "apart", "large"),
    "and decisions shared": ("plain", "large"),
    "and channels last": ("large",),
    "and smaller tiles": (),
}


def run(spec: str, settings: list[str]) -> None:
    """In a process of its own: seconds of each image and the peak, as JSON."""
    from srbench import models
    from srbench.inference import tiling
    from srbench.inference.predict import super_resolve

    name, variant, side = spec.split(":")
    model = models.create(name, scale=4, channels=1, variant=variant)
    model.network.eval().requires_grad_(False)
    pixels = np.random.default_rng(0).integers(0, 256, (int(side), int(side)), dtype=np.uint8)
    seconds = []
    with ExitStack() as stack:
        if "plain" in settings:
            stack.enter_context(patch.object(tiling, "_laid_out", lambda lr: lr))
        if "large" in settings:
            stack.enter_context(patch.object(tiling, "MORE_PIXELS", 0.0))
        for _ in range(3):
            if "apart" in settings:
                tiling._needs.clear()
            start = time.process_time()
            super_resolve(model, pixels)
            seconds.append(time.process_time() - start)
    print(json.dumps([*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3]))


def main() -> None:
    """Measure all ways in turns and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("specs", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for spec in given.specs:
        rows: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for _ in range(given.rounds):
            for way, settings in WAYS.items():
                environment = {**os.environ, **(SYSTEM if "system" in settings else {})}
                command = [sys.executable, __file__, "--way", spec, *settings]
                done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
                rows[way].append(json.loads(done.stdout))
        best = {way: np.min(some, axis=0) for way, some in rows.items()}
        before = best["as before"]
        for way, (first, _, last, peak) in best.items():
            ratio = f"{before[2] / last:.2f} times as fast"
            print(f"{spec} {way}: first {first:.2f} s, last {last:.2f} s, {ratio}, {peak:.0f} MB", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--way"]:
        run(sys.argv[2], sys.argv[3:])
    else:
        main()
