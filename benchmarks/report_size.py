"""Time, memory and page of ``srbench report`` on a made-up store of the size of NFFA.

    OMP_NUM_THREADS=1 python benchmarks/report_size.py [IMAGES [FOLDER]]

Twelve rows (seven networks, four interpolations, the control), twenty metrics, ten categories of unequal
size, eleven groups for twelve images, previews of six images. Seven metrics have no value for a part of the
images, which differs between the rows for two of them. Values are drawn, previews are noise, which no PNG
makes small. The store is made in FOLDER (a temporary one unless given) and kept there; 22,000 images unless
told. What is printed is that of the command's own process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from srbench.checks.integrity import sha256_of_scores
from srbench.metrics import protocol as protocols
from srbench.metrics import registry
from srbench.store import CONTROL, Manifest, RunKey, Score, ScoreStore

PROTOCOL = protocols.named("sem-grey")
REFERENCE = "made-up"
INTERPOLATIONS = ("bicubic", "nearest", "lanczos", "back_projection")
NETWORKS = ("csm_sr", "edsr", "esrgan", "hmanet", "srgan", "swinir", "vdsr")
# Name, share of images without a value, and whether these are other images in each row.
METRICS = (
    *((name, 0.0, False) for name in ("psnr", "ssim", "ms_ssim", "gmsd", "lr_psnr", "lr_chi2")),
    *((name, 0.0, False) for name in ("frc_cutoff", "recovered_hf", "hallucinated_hf", "gained_hf")),
    *((name, 0.0, False) for name in ("psd_distance", "edge_f1", "edge_hallucinated")),
    *((name, 0.5, False) for name in ("object_f1", "small_features_found", "small_features_invented")),
    *((name, 0.8, False) for name in ("diameter_bias_hr", "pore_fraction_bias_hr")),
    *((name, 0.8, True) for name in ("diameter_bias", "pore_fraction_bias")),
)
PREVIEWS, SIDE = 6, 768
NOTHING = "too few objects: a value needs at least five"


def make(folder: Path, images: int) -> None:
    """Write the store."""
    store = ScoreStore(folder)
    generator = np.random.default_rng(0)
    shares = np.arange(1.0, 11.0)
    category = np.repeat(np.arange(10), np.diff(np.rint(np.cumsum([0.0, *shares]) / 55 * images).astype(int)))
    group = np.arange(images) * 11 // 12
    places = [
        (f"nffa/c{kind}/{index:06}.jpg", f"g{number:06}", f"c{kind}")
        for index, (number, kind) in enumerate(zip(group, category, strict=True))
    ]
    scene = {name: generator.normal(0, 2, images) for name, *_ in METRICS}
    absent = {name: generator.random(images) < share for name, share, _ in METRICS}
    hr = [generator.integers(0, 256, (SIDE, SIDE), dtype=np.uint8) for _ in range(PREVIEWS)]
    for (image, *_), pixels in zip(places, hr, strict=False):
        lr = cv2.resize(pixels, (SIDE // 4, SIDE // 4), interpolation=cv2.INTER_AREA)
        store.write_reference(REFERENCE, image, "hr", pixels)
        store.write_reference(REFERENCE, image, "lr", lr)
    for number, model in enumerate((*INTERPOLATIONS, *NETWORKS, CONTROL)):
        trained = model in NETWORKS
        scores = []
        for name, _, apart in METRICS:
            metric = registry.get(name)
            low, high = metric.bounds
            values = 0.1 * number + scene[name] + generator.normal(0, 0.3, images)
            if high == 1.0:
                values = 1 / (1 + np.exp(-values))
            elif low == 0.0:
                values = np.abs(values)
            missing = absent[name] | ((generator.random(images) < 0.02) if apart else False)
            scores += [
                Score(metric.id, np.nan if gone else value, *place, NOTHING if gone else "", 5.0)
                for place, value, gone in zip(places, values.tolist(), missing.tolist(), strict=True)
            ]
        key = RunKey(
            model,
            "tiny" if trained else "matlab",
            f"{number:064x}" if trained else "",
            0 if trained else -1,
            "nffa",
            "d" * 64,
            "all",
            "bicubic@1",
            4,
            PROTOCOL.id,
        )
        manifest = Manifest(
            key,
            "complete",
            created="2026-11-20T10:00:00+00:00",
            versions={"srbench": "0", "torch": "2"},
            data={
                "images": images,
                "reference_id": REFERENCE,
                "lr_sha256": "ab" * 32,
                "fingerprint": "d" * 64,
            },
            protocol=PROTOCOL.describe(),
            weights={"budget": "laptop"} if trained else {},
            card={"title": model, "family": "regression" if trained else "interpolation"},
            outputs={image: f"{number:04x}{index:060x}" for index, (image, *_) in enumerate(places)},
            scores_sha256=sha256_of_scores(scores),
        )
        previews = {
            image: np.asarray(cv2.GaussianBlur(pixels, (0, 0), 0.5 + 0.1 * number))
            for (image, *_), pixels in zip(places, hr, strict=False)
        }
        store.write_run(manifest, scores, previews)


def main() -> None:
    """Make the store where there is none, run the command once and print."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 22_000
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else temporary)
        if not (folder / "runs").is_dir():
            make(folder, images)
        start = time.perf_counter()
        command = [sys.executable, "-m", "srbench", "report", "--results", str(folder)]
        subprocess.run(command, check=True, env={**os.environ, "SRBENCH_HOME": str(folder / "home")})
        wall = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (folder / "report" / "report.html").stat().st_size
        print(
            f"12 rows x {images:,} images x {len(METRICS)} metrics: {wall:.1f} s, "
            f"{used.ru_utime + used.ru_stime:.1f} s of processor time, "
            f"peak {used.ru_maxrss / 2**20:.2f} GiB, page {page / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    main()
