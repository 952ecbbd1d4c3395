"""Does the table tell a sharp liar from an honest blur where SSIM does not? Run it, it prints a table.

``OMP_NUM_THREADS=1 python benchmarks/liar.py [scenes] [strength]``

Scenes of the test split of ``sem_synthetic``, kinds in turn, at x4. The liar is the control
``random_texture``, of full strength unless said otherwise (0.35: SSIM near bicubic's). The blur is HR under a
Gaussian that is chosen for each scene so that its SSIM is that of the liar, or the nearest there is
where not even a flat image is as low: all that it shows is true and in its place. Bicubic is printed beside
them. Differences are means over scenes of liar minus blur with 95 % bootstrap intervals, of biases without
their signs; ``*`` where the interval excludes zero.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from srbench import datasets
from srbench.datasets import Micrograph, degrade
from srbench.datasets.images.resize import resize_by
from srbench.datasets.lr_images import cut_to_scale, lr_image, position_of
from srbench.evaluation.context import over_categories
from srbench.evaluation.reference_rows import random_texture
from srbench.evaluation.scorer import Scorer
from srbench.metrics import fidelity, registry
from srbench.metrics.protocol import named
from srbench.statistics.bootstrap import cluster
from srbench.statistics.interval import interval

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Values = dict[str, dict[str, list[float]]]

METRICS = (
    *("psnr", "ssim", "gmsd", "ms_ssim", "lr_psnr", "recovered_hf", "hallucinated_hf", "gained_hf"),
    *("frc_cutoff", "psd_distance", "edge_f1", "edge_hallucinated", "edge_omitted", "edge_recovered"),
    *("edge_displacement", "small_features_found", "small_features_invented", "sub_lr_features_found"),
    *("object_f1", "objects_invented", "objects_deleted", "mask_dice", "phase_fraction_error", "s2_error"),
    *("diameter_bias", "diameter_w1", "cd_bias", "ler_bias", "lwr_bias", "pore_fraction_bias"),
)
PLAYERS = ("bicubic", "liar", "blur")
ROUNDS = 24
SCALE = 4


def rounded(image: np.ndarray[Any, Any]) -> Pixels:
    """[0, 1] to 8 bits."""
    return np.floor(np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def ssim(sr: Pixels, hr: Pixels, scale: int) -> float:
    """As the protocol computes it: 8 bits, border cut."""
    cut = (slice(scale, -scale), slice(scale, -scale))
    return fidelity.ssim(sr[cut] / 255.0, hr[cut] / 255.0)


def blurred(hr: Pixels, sigma: float) -> Pixels:
    """HR under a Gaussian of ``sigma`` pixels."""
    return rounded(cv2.GaussianBlur(hr / 255.0, (0, 0), sigma, borderType=cv2.BORDER_REFLECT))


def blur_with_ssim(hr: Pixels, wanted: float, scale: int) -> tuple[Pixels, float]:
    """The blurred HR whose SSIM is ``wanted``, and its sigma, by bisection."""
    low, high = 0.05, 60.0
    for _ in range(ROUNDS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if ssim(blurred(hr, middle), hr, scale) > wanted else (low, middle)
    return blurred(hr, high), high


def players(
    hr: Pixels, lr: Pixels, scale: int, image_id: str, strength: float
) -> tuple[Mapping[str, Pixels], float]:
    """The three images by name, and the sigma of the blur."""
    bicubic = resize_by(torch.from_numpy(lr / 255.0), scale).numpy()
    liar = random_texture(hr, lr, scale, image_id, strength=strength)
    blur, sigma = blur_with_ssim(hr, ssim(liar, hr, scale), scale)
    return {"bicubic": rounded(bicubic), "liar": liar, "blur": blur}, sigma


def measured(
    images: Sequence[Micrograph], scorer: Scorer, strength: float = 1.0
) -> tuple[Values, list[float]]:
    """Metric to player to one value a scene, biases without their signs, and the sigmas."""
    values: Values = {metric.name: {name: [] for name in PLAYERS} for metric in scorer.metrics}
    sigmas = []
    for image in images:
        hr = np.asarray(cut_to_scale(scorer.micrographs.pixels(image.id), scorer.scale), np.uint8)
        lr = lr_image(hr, scorer.degradation, scorer.scale, position_of(image.id))
        found, sigma = players(hr, lr, scorer.scale, image.id, strength)
        sigmas.append(sigma)
        for name, sr in found.items():
            for metric, score in zip(scorer.metrics, scorer.scores(image, sr, hr, lr), strict=True):
                signless = metric.direction == "none" and metric.name != "gained_hf"
                values[metric.name][name].append(abs(score.value) if signless else score.value)
    return values, sigmas


def difference(
    values: Mapping[str, list[float]], images: Sequence[Micrograph]
) -> tuple[float, float, float, int]:
    """Mean of liar minus blur over the scenes where both have a value, its interval, and their number."""
    gaps = np.array(values["liar"]) - np.array(values["blur"])
    clusters = cluster(gaps, [image.group for image in images], [image.category for image in images])
    low, high, _ = interval(clusters)
    return clusters.mean, low, high, clusters.images


def scorer_of(dataset: str, scale: int, metrics: Sequence[str] = METRICS) -> Scorer:
    """Scores scenes of a suite under the protocol for micrographs, LR by bicubic."""
    chosen = [registry.get(name) for name in metrics]
    return Scorer(datasets.open(dataset), named("sem-grey"), chosen, degrade.get("bicubic"), scale)


def _mean(values: Sequence[float]) -> str:
    known = [value for value in values if not np.isnan(value)]
    return f"{np.mean(known):.3f}" if known else ""


def main(count: int = 20, strength: float = 1.0) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    scorer = scorer_of("sem_synthetic", SCALE)
    images = over_categories(scorer.micrographs.split("test"), count)
    values, sigmas = measured(images, scorer, strength)
    spread = f"{np.median(sigmas):.1f} px (from {min(sigmas):.1f} to {max(sigmas):.1f})"
    print(f"{len(images)} scenes, x{SCALE}, texture of strength {strength:g}; blur of median {spread}\n")
    print("| metric | better | bicubic | liar | blur | liar - blur | scenes |")
    print("|---|---|---:|---:|---:|---|---:|")
    for metric in scorer.metrics:
        row = values[metric.name]
        mean, low, high, scenes = difference(row, images)
        apart = "*" if low > 0 or high < 0 else ""
        gap = f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]{apart}" if scenes else ""
        means = " | ".join(_mean(row[name]) for name in PLAYERS)
        print(f"| {metric.title} | {metric.direction} | {means} | {gap} | {scenes} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *map(float, sys.argv[2:3]))
