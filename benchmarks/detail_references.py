"""How near do noisy references come to the truth in recovered, invented and gained detail? Two tables.

``OMP_NUM_THREADS=1 python benchmarks/detail_references.py [scenes]``

Scenes of the test split of ``sem_synthetic``, kinds in turn, as three beams see them, in three doses.
Results at x4: LR interpolated, sharpened, the truth blurred, and that with texture of random phases; at
magnification 1: LR, LR smoothed, and the two of the truth. Each is held to the truth and to a noisy
reference: ``two`` recordings beside an LR recorded at an eighth of the dose; ``two, LR of one``, made from
the first; ``rows``, a single one; ``rows, moved``, onto LR by half a pixel of order 3; and ``rows, slow
detector``, its noise correlated along the rows. Errors are noisy less true values, of G in logarithms (0.05:
5 %), mean and standard deviation over scenes, beams and results; ``same rings`` compares with the truth where
the reference shows detail, ``all rings`` with the whole band.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from srbench import datasets
from srbench.datasets import degrade
from srbench.datasets.images.resize import resize_by
from srbench.datasets.lr_images import lr_image
from srbench.datasets.synthetic.imaging import acquire
from srbench.datasets.synthetic.rng import RandomStream
from srbench.evaluation.context import over_categories
from srbench.evaluation.reference_rows import random_texture
from srbench.metrics.protocol import named
from srbench.metrics.registry import Case, MetricUnavailable
from srbench.metrics.spectrum import (
    BandSplit,
    Detail,
    band_split,
    carried_by_lr,
    cut_off_of,
    held_to,
    sums_of,
)

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]

BEAMS = (0.0, 1.0, 1.5)
"""Standard deviations in pixels, on top of what the scenes have."""
DOSES = (50.0, 200.0, 1000.0)
SIDE = 288
BICUBIC = degrade.get("bicubic")


def rounded(plane: Plane) -> Pixels:
    """[0, 255] to 8 bits."""
    return np.floor(np.clip(plane, 0.0, 255.0) + 0.5).astype(np.uint8)


def blurred(pixels: Pixels, sigma: float) -> Pixels:
    """Under a Gaussian."""
    return rounded(ndimage.gaussian_filter(pixels.astype(np.float64), sigma)) if sigma else pixels


def moved(pixels: Pixels, by: float) -> Pixels:
    """Resampled, down and to the right."""
    return rounded(ndimage.shift(pixels.astype(np.float64), (by, by), order=3, mode="mirror"))


def slow_detector(truth: Pixels, recording: Pixels) -> Pixels:
    """A recording with its noise, of the same variance, smeared over neighbours in a row."""
    kernel = np.array([0.2, 0.5, 1.0, 0.5, 0.2])
    noise = ndimage.convolve1d(recording.astype(np.float64) - truth, kernel / np.linalg.norm(kernel), axis=1)
    return rounded(truth + noise)


def results(truth: Pixels, lr: Pixels, scale: int, name: str) -> dict[str, Pixels]:
    """What a model might give."""
    grid = max(scale, 2)
    texture = random_texture(truth, lr_image(truth, BICUBIC, grid), grid, name, strength=0.7)
    large = resize_by(torch.from_numpy(lr.astype(np.float64))[None], scale)[0].numpy() if scale > 1 else lr
    changed = (
        {"sharpened": rounded(large + 1.5 * (large - ndimage.gaussian_filter(large, 2.0)))}
        if scale > 1
        else {"smoothed": blurred(lr, 1.0)}
    )
    blur = blurred(truth, 1.0)
    return {
        "LR": rounded(large.astype(np.float64)),
        **changed,
        "blur": blur,
        "inventing": rounded(0.5 * blur + 0.5 * texture.astype(np.float64)),
    }


def references(truth: Pixels, dose: float, scene: int) -> dict[str, dict[str, Any]]:
    """What stands beside a result."""

    def recorded(pixels: Pixels, number: int) -> Pixels:
        return acquire(pixels, RandomStream(14, scene, number), dose)

    first, second, beside = recorded(truth, 0), recorded(truth, 1), recorded(moved(truth, -0.5), 2)
    alone = {"lr_recorded": True}
    return {
        "two": {"hr": first, "second": second, **alone},
        "two, LR of one": {"hr": first, "second": second},
        "rows": {"hr": first, **alone},
        "rows, moved": {"hr": moved(beside, 0.5), "as_recorded": beside, **alone},
        "rows, slow detector": {"hr": slow_detector(truth, first), **alone},
    }


def apart(noisy: Case, true: Case) -> list[float]:
    """Errors of R, H and log G over the same rings and over all, and of the FRC cut-off."""
    sums, detail = held_to(noisy)
    above, _ = carried_by_lr(noisy)
    seen = band_split(sums, above, detail)
    truth = sums_of(true, "sr", "hr")
    assert detail is not None
    same = band_split(truth, above, Detail(truth.power_b, detail.shown))
    whole = band_split(truth, carried_by_lr(true)[0])

    def error(true_split: BandSplit) -> list[float]:
        gain = seen.gained / true_split.gained
        return [
            seen.recovered - true_split.recovered,
            seen.hallucinated - true_split.hallucinated,
            math.log(gain) if gain > 0 else math.nan,
        ]

    return [*error(same), *error(whole), (cut_off_of(noisy) - cut_off_of(true)) * 2.0 * true.scale]


def main(count: int) -> None:
    """Both tables."""
    scenes = datasets.open("sem_synthetic")
    images = over_categories(scenes.split("test"), count)
    protocol = named("sem-grey")
    for scale in (4, 1):
        errors: dict[tuple[str, float], list[list[float]]] = defaultdict(list)
        at_one: dict[str, list[list[float]]] = defaultdict(list)
        for number, image in enumerate(images):
            sharp = np.asarray(scenes.pixels(image.id), dtype=np.uint8)[:SIDE, :SIDE]
            for beam in BEAMS:
                truth = blurred(sharp, beam)
                for dose in DOSES:
                    stream = RandomStream(14, number, 3)
                    for name, reference in references(truth, dose, number).items():
                        source = truth if "lr_recorded" in reference else reference["hr"]
                        lr = lr_image(source, BICUBIC, scale) if scale > 1 else source
                        if scale == 1 or "lr_recorded" in reference:
                            lr = acquire(lr, stream, dose / 8.0 * scale**2)
                        for result, sr in results(truth, lr, scale, image.id).items():
                            noisy = protocol.case(sr=sr, lr=lr, scale=scale, **reference)
                            true = protocol.case(sr, truth, lr, scale, clean=True)
                            try:
                                errors[name, dose].append(apart(noisy, true))
                            except MetricUnavailable:
                                errors[name, dose].append([math.nan] * 7)
                            if scale == 1 and name == "two":
                                sums = sums_of(true, "sr", "hr")
                                splits = (band_split(sums, f) for f in (0.0, carried_by_lr(true)[0]))
                                at_one[result].append([v for s in splits for v in vars(s).values()])
        print(f"\nMagnification {scale}, {len(images)} scenes of {SIDE} x {SIDE} px")
        print("| reference | dose | given | R, same rings | H | G | R, all rings | H | G | FRC cut-off |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for (name, dose), rows in errors.items():
            table = np.array(rows)
            table[~np.isfinite(table).all(1)] = math.nan
            given = np.isfinite(table[:, 0]).mean()
            cells = zip(np.nanmean(table, 0), np.nanstd(table, 0), strict=True)
            words = " | ".join(f"{mean:+.3f} ± {spread:.3f}" for mean, spread in cells)
            print(f"| {name} | {dose:g} | {given:.0%} | {words} |")
        for result, values in at_one.items():
            print(f"{result}: R, H, G over all rings, above LR: {np.round(np.nanmean(values, 0), 3)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 24)
