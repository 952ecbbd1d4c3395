"""What a degradation costs beside bicubic: one 1024x624 image at x4, and 16 crops of 48x48 LR pixels.

    OMP_NUM_THREADS=1 python benchmarks/degrade.py [--device cuda] [NAME ...]

Prints milliseconds (the fastest of 15 runs; crops with the surroundings that they depend on) and the ratio to
bicubic.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from srbench.datasets import degrade
from srbench.datasets.degrade import Degradation, LrPosition

SCALE, LR_SIDE, BATCH, RUNS = 4, 48, 16, 15
NAMES = (
    *(name for name in degrade.names() if degrade.get(name).scales is None),
    "sem_pixel:dose=inf",
    "sem_pixel:dose=20",
    "sem_pixel:dose=600",
    "sem_pixel:jitter=0.3",
    "sem_pixel:drift=2",
    "sem_pixel:astigmatism=1.3",
    "sem_pixel:charging=0.2",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    yardstick = costs(degrade.get("bicubic"), arguments.device)
    print(f"{'':32}{'image':>9}{'ratio':>8}{'batch':>9}{'ratio':>8}")
    for name in arguments.names:
        image, batch = costs(degrade.get(name), arguments.device)
        print(f"{name:32}{image:7.2f}ms{image / yardstick[0]:8.1f}{batch:7.2f}ms{batch / yardstick[1]:8.1f}")


def costs(degradation: Degradation, device: str) -> tuple[float, float]:
    """Milliseconds for the image and for the batch."""
    side = LR_SIDE * SCALE + 2 * degradation.context(SCALE)
    sizes = torch.full((BATCH, 2), 256)
    origins = torch.full((BATCH, 2), 20 - degradation.reach)
    crops = LrPosition(torch.arange(BATCH), origins, sizes).to(device)
    whole = LrPosition.whole(1, device=device)
    image, batch = levels(1, 624, 1024).to(device), levels(BATCH, side, side).to(device)
    return (
        fastest(lambda: degradation(image, SCALE, whole), device),
        fastest(lambda: degradation(batch, SCALE, crops), device),
    )


def levels(count: int, height: int, width: int) -> Tensor:
    """8-bit pixels as a loader hands them over."""
    return torch.randint(0, 256, (count, 1, height, width)) / 255.0


def fastest(run: Callable[[], object], device: str) -> float:
    """Milliseconds of the fastest run, the device waited for."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


if __name__ == "__main__":
    main()
