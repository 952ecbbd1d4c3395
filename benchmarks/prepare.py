"""How fast NFFA tars become a pack, and what memory and disk 21,169 images need. Prints a few lines.

    OMP_NUM_THREADS=1 python benchmarks/prepare.py [FOLDER_OF_SEM_OPEN]

1. A tar of 1024x768 JPEG files, quality 90, most with a bar, made from the real micrographs (from generated
   scenes without the folder): images a second of processor time, of the decoder alone, and with 1 and with 2
   workers of all processes together and of the one that reads and writes, without what the start takes, and
   a second by the clock. Other jobs on the same cores change the former less. The bound is what the
   processor times of 1 and 2 workers allow two free cores.
2. Near-duplicates among 21,000 random descriptors: time and memory.
3. A tar of 21,169 tiny frames of noise: the journal, the index and the memory of as many records.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers import nffa_archives
from srbench.datasets import near_duplicates
from srbench.datasets.images.archives import members
from srbench.datasets.sources.nffa.prepare import ClassArchive, prepare_nffa

IMAGES = 21_169
FEW, TIMED = 64, 960


def peak():
    """MiB this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fields(root):
    """1024x768 parts of the real micrographs, each enlarged if it is smaller."""
    generator = np.random.default_rng(0)
    paths = sorted(root.glob("*/images/*.png"))
    for number in range(TIMED):
        grey = cv2.imread(str(paths[number % len(paths)]), cv2.IMREAD_GRAYSCALE)[:1024]
        factor = max(1030 / grey.shape[1], 774 / grey.shape[0], 1)
        grey = cv2.resize(grey, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        top, left = (
            int(generator.integers(grey.shape[axis] - side + 1)) for axis, side in ((0, 768), (1, 1024))
        )
        yield np.ascontiguousarray(grey[top : top + 768, left : left + 1024])


def realistic(root, few, many):
    """Two tars of frames as in the real set; returns the mean size of a file."""
    greys = fields(root) if root else (nffa_archives.scene(seed) for seed in range(TIMED))
    frames = {}
    for number, grey in enumerate(greys):
        image = nffa_archives.with_bar(grey, top=640 + number % 50) if number % 5 else grey
        frames[nffa_archives.member_name("Particles", number)] = nffa_archives.jpeg(image, 90)
    nffa_archives.write_tar(few, dict(list(frames.items())[:FEW]))
    nffa_archives.write_tar(many, frames)
    return sum(map(len, frames.values())) / len(frames)


def tiny(path):
    generator = np.random.default_rng(1)
    frames = (generator.integers(0, 256, (64, 72), dtype=np.uint8) for _ in range(IMAGES))
    nffa_archives.write_tar(
        path,
        {
            nffa_archives.member_name("Powder", n): nffa_archives.jpeg(frame, 60)
            for n, frame in enumerate(frames)
        },
    )


def processor_seconds():
    """Of this process, and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return np.array([usage.ru_utime + usage.ru_stime for usage in usages])


def decoded(path):
    """Seconds that the decoder alone takes for all files."""
    files = [member.data for member in members(path)]
    start = time.process_time()
    for data in files:
        simplejpeg.decode_jpeg(data, colorspace="RGB")
    return time.process_time() - start


def prepared(path, category, folder, workers):
    """Seconds until the tar is packed, with the largest journal and index on the way."""
    largest = [0]

    def watch(event):
        if not isinstance(event, str) and event.unit == "images":
            journal = folder / ".staging" / category / "journal"
            largest[0] = max(largest[0], journal.stat().st_size)

    start = time.perf_counter()
    archive = ClassArchive(category, path, "0")
    report = prepare_nffa(
        [archive], folder, name="sem", version="1", licence="CC-BY-4.0", workers=workers, progress=watch
    )
    seconds = time.perf_counter() - start
    (index,) = folder.glob("index-*.json")
    return seconds, report, largest[0] / 1e6, index.stat().st_size / 1e6


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        few, many = work / "few.tar", work / "many.tar"
        size = realistic(root, few, many)
        print(f"{TIMED} frames of 1024x768, {size / 1000:.0f} kB each; {peak():.0f} MiB before")
        print(f"decoder alone: {TIMED / decoded(many):.0f} images a second of processor time")
        further, totals, clock = TIMED - FEW, [], []
        for workers in (1, 2):
            moments, passed = [processor_seconds()], []
            for tar in (few, many):
                seconds, report, _, _ = prepared(tar, "Particles", work / f"{tar.stem}{workers}", workers)
                moments.append(processor_seconds())
                passed.append(seconds)
            main, others = np.diff(moments, 2, axis=0)[0]
            totals.append(main + others)
            clock.append(passed[1] - passed[0])
            print(
                f"{workers} worker(s): {further / totals[-1]:.0f} images a second of processor time, "
                f"{further / main:.0f} of the main process; {further / clock[-1]:.0f} by the clock, "
                f"{report.images} packed"
            )
        print(
            f"two workers on two free cores: at most {2 * totals[0] / totals[1]:.2f} times as fast as one; "
            f"by the clock {clock[0] / clock[1]:.2f}"
        )
        before = peak()
        vectors = np.random.default_rng(0).normal(size=(21_000, near_duplicates.DIMENSIONS))
        vectors = np.rint(vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * 4000).astype(np.int16)
        blank = np.random.default_rng(0).normal(size=(66, 115)).astype(np.float32)
        start = time.perf_counter()
        found = near_duplicates.cluster(vectors, lambda index: np.roll(blank, index))
        print(
            f"21,000 descriptors: {time.perf_counter() - start:.1f} s, {found.candidates:,} candidates, "
            f"peak {peak():.0f} MiB ({before:.0f} before)"
        )
        tiny(work / "Powder.tar")
        before = peak()
        seconds, report, journal, index = prepared(work / "Powder.tar", "Powder", work / "tiny", 2)
        print(
            f"{report.images:,} records in {seconds:.0f} s: journal {journal:.1f} MB, index {index:.1f} MB, "
            f"peak {peak():.0f} MiB ({before:.0f} before)"
        )


if __name__ == "__main__":
    main()
