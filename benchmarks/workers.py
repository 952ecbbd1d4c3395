"""How much faster an evaluation is with several processes, whether its rows are the same, and their memory.

``python benchmarks/workers.py [--workers 2] [--rounds 3] [--images 24] [--dataset sem_synthetic]`` scores
``bicubic`` with all default metrics: with one process and with several in turns, so that whatever else the
machine does falls on both. Printed for each round are seconds of wall time and of processor time, in the
end the ratio of the fastest rounds, how many values differ, and the largest resident size of a process.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import threading
import time
from pathlib import Path

import psutil

import srbench
from srbench.store import ScoreStore


class PeakOfProcesses(threading.Thread):
    """Watches the processes of pools that this one starts; ``peak`` is the largest resident size of one."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.ended = threading.Event()

    def run(self) -> None:
        """Look ten times a second."""
        while not self.ended.wait(0.1):
            for child in psutil.Process().children():
                try:
                    if "spawn_main" in " ".join(child.cmdline()):
                        self.peak = max(self.peak, child.memory_info().rss)
                except psutil.Error:
                    continue


def measured(folder: Path, workers: int, dataset: str, images: int) -> tuple[float, float]:
    """Seconds of wall time and of processor time of one evaluation."""
    before = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    start = time.monotonic()
    srbench.evaluate(
        "bicubic", dataset=dataset, scale=4, results=folder, limit=images, workers=workers, force=True
    )
    wall = time.monotonic() - start
    after = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    spent = sum(b.ru_utime + b.ru_stime - a.ru_utime - a.ru_stime for a, b in zip(before, after, strict=True))
    return wall, spent


def differing(first: Path, second: Path) -> tuple[int, int]:
    """Values stored by both, and how many of them differ in a bit; how long a model took is left out."""
    rows = [ScoreStore(folder).scores() for folder in (first, second)]
    old, new = (table[table["metric"] != "seconds_per_mpx"]["value"].to_numpy() for table in rows)
    return len(old), int((old.view("u8") != new.view("u8")).sum())


def main() -> None:
    """Measure in turns and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--dataset", default="sem_synthetic")
    given = parser.parse_args()
    watcher = PeakOfProcesses()
    watcher.start()
    with tempfile.TemporaryDirectory() as temporary:
        folders = {workers: Path(temporary, str(workers)) for workers in (1, given.workers)}
        measured(folders[1], 1, given.dataset, given.images)  # draws the scenes and imports
        walls: dict[int, list[float]] = {workers: [] for workers in folders}
        for _ in range(given.rounds):
            for workers, folder in folders.items():
                wall, spent = measured(folder, workers, given.dataset, given.images)
                walls[workers].append(wall)
                print(f"{workers} processes: {wall:.1f} s, {spent:.1f} s of processor time", flush=True)
        values, different = differing(*folders.values())
    watcher.ended.set()
    ratio = min(walls[1]) / min(walls[given.workers])
    print(f"{ratio:.2f} times as fast; {different} of {values} values differ")
    print(f"{watcher.peak / 1e6:.0f} MB a process")


if __name__ == "__main__":
    main()
