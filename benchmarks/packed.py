"""How much faster a training crop from a pack is than decoding a PNG and cropping it. Prints the ratio.

    OMP_NUM_THREADS=1 python benchmarks/packed.py [FOLDER WITH PNG FILES]

Without a folder it uses 24 generated pictures of 1024x768 pixels. One thread, files in the page cache.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from srbench.datasets.base import DatasetCard, Micrograph
from srbench.datasets.packed.format import PackedSet
from srbench.datasets.packed.writer import packing
from srbench.utils.image import Pixels

SIZE = 192
CARD = DatasetCard("bench", "Bench", "user", "a measurement", "none")


def generated(folder: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:768, :1024]
    paths = []
    for index in range(24):
        scene = (
            128 + 60 * np.sin(rows / (5 + index)) * np.cos(columns / 11) + generator.normal(0, 6, rows.shape)
        )
        paths.append(folder / f"{index}.png")
        cv2.imwrite(str(paths[-1]), np.clip(scene, 0, 255).astype(np.uint8))
    return paths


def decoded(path: Path) -> Pixels:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)


def packed(folder: Path, paths: Sequence[Path]) -> PackedSet:
    images = []
    with packing(folder, name="bench", version="1") as writer:
        for path in paths:
            pixels = decoded(path)
            writer.add(path.stem, pixels)
            images.append(Micrograph(path.stem, path.stem, "", "train", *pixels.shape))
        writer.finish(images)
    return PackedSet(folder, CARD)


def crops_a_second(read: Callable[[int], Pixels], seconds: float) -> float:
    """Random crops copied into a training batch, as a loader does."""
    generator = np.random.default_rng(1)
    batch = np.empty((16, SIZE, SIZE), np.uint8)
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        pixels = read(int(generator.integers(1 << 30)))
        top = int(generator.integers(pixels.shape[0] - SIZE + 1))
        left = int(generator.integers(pixels.shape[1] - SIZE + 1))
        batch[count % 16] = pixels[top : top + SIZE, left : left + SIZE]
        count += 1
    return count / seconds


def main() -> None:
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as work:
        given = sorted(Path(sys.argv[1]).rglob("images/*.png")) if len(sys.argv) > 1 else []
        paths = given or generated(Path(work))
        dataset = packed(Path(work) / "pack", paths)
        names = [path.stem for path in paths]
        fast = crops_a_second(lambda draw: dataset.pixels(names[draw % len(names)]), 3.0)
        slow = crops_a_second(lambda draw: decoded(paths[draw % len(paths)]), 6.0)
    print(f"{len(paths)} images, {SIZE}x{SIZE} crops, one thread")
    print(f"pack: {fast:,.0f} crops/s; decode and crop: {slow:,.0f} crops/s; ratio {fast / slow:,.0f}")


if __name__ == "__main__":
    main()
