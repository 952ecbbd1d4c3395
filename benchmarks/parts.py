"""What it costs to score a set in parts: processor time against an undivided run, bytes on disk, the join.

    OMP_NUM_THREADS=1 python benchmarks/parts.py [IMAGES [PARTS]]

Bicubic x4 and the control on made-up images of 96 px, 400 in 4 parts unless told, with all metrics in one
process. Rows must be equal; seconds of processor time are those of this process and the models' processes.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

import srbench
from srbench.store import ScoreStore


def write_images(folder: Path, count: int) -> None:
    """Blobs with noise."""
    generator = np.random.default_rng(0)
    for index in range(count):
        pixels = cv2.GaussianBlur(generator.normal(128, 400, (96, 96)), (0, 0), 3)
        pixels += generator.normal(0, 4, pixels.shape)
        cv2.imwrite(str(folder / f"{index:05}.png"), np.clip(pixels, 0, 255).astype(np.uint8))


def seconds() -> float:
    """Of processors, so far."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Score undivided, in parts, and join."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    with tempfile.TemporaryDirectory() as temporary:
        base = Path(temporary)
        os.environ["SRBENCH_HOME"] = str(base / "home")
        (base / "images").mkdir()
        write_images(base / "images", images)

        def evaluate(into: str, **options: Any) -> float:
            begin, start = time.monotonic(), seconds()
            srbench.evaluate(
                "bicubic", dataset=base / "images", scale=4, results=base / into, workers=1, **options
            )
            print(
                f"{into} {options}: {seconds() - start:.1f} s of processors, {time.monotonic() - begin:.0f} s"
            )
            return seconds() - start

        evaluate("warm", limit=1)
        whole = evaluate("whole")
        in_parts = sum(evaluate("parts", part=(number, count)) for number in range(1, count + 1))
        files = [path for path in (base / "parts" / "parts").glob("*/runs/bicubic*/**/*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        join = evaluate("parts", part=(0, count))
        tables = [ScoreStore(base / name).scores() for name in ("whole", "parts")]
        tables = [table[table["metric"] != "seconds_per_mpx"].reset_index(drop=True) for table in tables]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
    print(f"{len(tables[0])} rows equal; {size / images / 1e3:.2f} kB an image of bicubic in parts")
    print(f"processors: {whole:.1f} s whole, {in_parts:.1f} s in {count} parts, {join:.1f} s to join")


if __name__ == "__main__":
    main()
