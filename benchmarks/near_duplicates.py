"""How well near-duplicates are found: recall for each kind of repetition, and false merges. Prints a table.

    OMP_NUM_THREADS=1 python benchmarks/near_duplicates.py FOLDER_OF_SEM_OPEN

Every real micrograph, brought to 1020x624 pixels, is given once more in each of the ways of
``nffa_archives.near_duplicates`` and some more. Recall counts the repetitions that are grouped with their
original when all originals and all repetitions of this kind are one set; a false merge is a group with two
different originals. To the originals come 60 featureless frames (noise under uneven light) and 60 gratings.
"""

import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers import nffa_archives
from srbench.datasets.near_duplicates import CANDIDATE, SAME, agreement, cluster, descriptor, thumbnail

HEIGHT, WIDTH = 624, 1020
# Shows the same field as its neighbour in the list of files.
KNOWN_TWIN = "CS_epithelial_macrophage_5KV_1200x_ETD_HV_s5.0_10.5WD_001.png"


def fields(root):
    """The real micrographs as frames of one size, each enlarged if it is smaller."""
    for path in sorted(root.glob("*/images/*.png")):
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        grey = grey[:1024] if "lungcells" in str(path) else grey
        factor = max(WIDTH / grey.shape[1], HEIGHT / grey.shape[0], 1)
        size = (int(np.ceil(grey.shape[1] * factor)), int(np.ceil(grey.shape[0] * factor)))
        grey = grey if factor == 1 else cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC)
        top, left = (grey.shape[0] - HEIGHT) // 2, (grey.shape[1] - WIDTH) // 2
        if path.name != KNOWN_TWIN:
            yield np.ascontiguousarray(grey[top : top + HEIGHT, left : left + WIDTH])


def repetitions(grey, seed):
    """Name to the same field again."""
    rows, columns = HEIGHT // 20, WIDTH // 20
    moved = grey[3:, 2:]
    exported = nffa_archives.jpeg(np.clip(moved * 0.8 + 20, 0, 255).astype(np.uint8), 70)
    return {
        **nffa_archives.near_duplicates(grey, seed),
        "crop 5 % at a corner": grey[rows:, columns:],
        "stage moved 20 px": grey[20:, 20:],
        "stage moved 40 px": grey[40:, 40:],
        "cut 120 rows higher": grey[:504],
        "twice the pixels": cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
        "moved, paler, jpeg 70": cv2.imdecode(np.frombuffer(exported, np.uint8), cv2.IMREAD_GRAYSCALE),
    }


def featureless(count):
    """Noise under uneven light: as alike as different frames can be without showing anything."""
    generator = np.random.default_rng(0)
    down, right = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    for _ in range(count):
        a, b, c = generator.normal(0, 15, 3)
        light = 128 + a * right + b * down - abs(c) * (right**2 + down**2)
        yield np.clip(light + generator.normal(0, 8, light.shape), 0, 255).astype(np.uint8)


def gratings(count):
    """Lines of different pitch and direction."""
    generator = np.random.default_rng(1)
    down, right = np.mgrid[:HEIGHT, :WIDTH]
    for _ in range(count):
        pitch, angle, phase = generator.uniform(16, 90), generator.uniform(0, np.pi), generator.uniform(0, 6)
        wave = np.sin((right * np.cos(angle) + down * np.sin(angle)) * 2 * np.pi / pitch + phase)
        lines = 128 + 40 * np.sign(wave) + generator.normal(0, 8, wave.shape)
        yield np.clip(lines, 0, 255).astype(np.uint8)


def grouped(images):
    described = np.array([descriptor(image) for image in images])
    return cluster(described, lambda index: thumbnail(images[index]), most=len(images))


def false_pairs(labels, originals):
    """Pairs of different originals that share a group."""
    members = labels[:originals]
    return sum(int((members[index + 1 :] == members[index]).sum()) for index in range(originals))


def main():
    originals = list(fields(Path(sys.argv[1])))
    count = len(originals)
    start = time.perf_counter()
    thumbnails = [thumbnail(image) for image in originals]
    scores = [agreement(thumbnails[i], thumbnails[j]) for i in range(count) for j in range(i)]
    seconds = time.perf_counter() - start
    described = np.array([descriptor(image) for image in originals], dtype=np.float64)
    described /= np.linalg.norm(described, axis=1, keepdims=True)
    cosines = (described @ described.T)[np.triu_indices(count, 1)]
    print(f"{count} originals, {len(scores):,} pairs; candidates >= {CANDIDATE}, same field >= {SAME}")
    print(f"different originals: cosine >= {CANDIDATE} in {np.mean(cosines >= CANDIDATE):.2%} of the pairs")
    print(f"different originals: agreement max {max(scores):.2f}, 99.9 % {np.quantile(scores, 0.999):.2f}")
    print(f"{seconds / len(scores) * 1e3:.2f} ms a pair")
    varied = [repetitions(image, seed) for seed, image in enumerate(originals)]
    print(f"{'repetition':24s} recall  lowest agreement  false pairs")
    for name in varied[0]:
        again = [variants[name] for variants in varied]
        found = grouped(originals + again)
        same = np.mean(found.labels[count:] == found.labels[:count])
        lowest = min(agreement(a, thumbnail(b)) for a, b in zip(thumbnails, again, strict=True))
        print(f"{name:24s} {same:6.1%}  {lowest:16.2f}  {false_pairs(found.labels, count):11d}")
    for name, others in (("featureless", list(featureless(60))), ("gratings", list(gratings(60)))):
        found = grouped(others)
        print(f"60 {name}: {false_pairs(found.labels, 60)} of 1,770 pairs merged, largest {found.largest}")


if __name__ == "__main__":
    main()
