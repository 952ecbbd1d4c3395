"""Does what ``srbench advise`` finds on fast scans predict how wrong measurements on them are?

``OMP_NUM_THREADS=1 python benchmarks/advice.py [fields]``: fits noise and blur on fast scans of ``kriss``
(test split), scans them again as ``advise`` does, and prints by size the change of a diameter as predicted
and as measured, fast against slow: median, and what 90 % of the single changes are nearer to it than; how
many of the measured ones lie within the predicted ones; and the share of particles that is lost. Beside it
what synthetic particles predict, blurred and noisy by the equivalent ``sem_pixel``.
"""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from srbench import datasets
from srbench.datasets import degrade
from srbench.datasets.lr_images import lr_image
from srbench.datasets.synthetic.numbered import NumberedScenes
from srbench.measuring.acquisition import equivalent, examine
from srbench.measuring.advice import DENOISER
from srbench.measuring.calibration import Enlargement, kind_of
from srbench.measuring.features import Features, partners
from srbench.metrics.registry import MetricUnavailable
from srbench.utils.image import Pixels, Plane, to_grey

NM = 5.828
EDGES = (10.0, 14.0, 21.0, 60.0)
Changes = tuple[list[NDArray[np.float64]], int, int]


def add(changes: Changes, reference: Features, seen: Features) -> Changes:
    """Sizes of the reference and changes of the items in both; items in both, and in the reference."""
    pairs = partners(reference, seen)
    pairs = pairs[reference.counted[pairs[:, 0]] & seen.counted[pairs[:, 1]]]
    sizes = reference.sizes[pairs[:, 0]]
    rows = np.stack([sizes, seen.sizes[pairs[:, 1]] - sizes], axis=1)
    return [*changes[0], rows], changes[1] + len(pairs), changes[2] + len(reference)


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    kriss, kind = datasets.open("kriss"), kind_of("particles")
    test = kriss.split("test")
    chosen = test[:: max(len(test) // count, 1)][:count]
    recorded = [examine(kriss.lr(image.id)) for image in chosen]
    scenes = NumberedScenes("particles", 6)
    setting = equivalent(recorded, scenes)
    resolutions = np.array([item.resolution.px for item in recorded]) * NM
    print(f"{len(chosen)} fields: {setting}")
    print(f"{setting.degradation(1)}; resolution {np.median(resolutions):.1f} nm, {resolutions.round(1)}")
    models = {name: Enlargement.of(name, scale=1) for name in ("none", "gaussian", "vdsr", DENOISER)}
    spot = setting.degradation(1).rpartition("spot=")[2]
    blurred = degrade.get(f"sem_pixel:dose=inf,spot={spot}")
    pairs: dict[str, list[tuple[Plane, Pixels]]] = {"again": [], "scenes": [], "measured": []}
    for seed, image in enumerate(chosen):
        fast = kriss.lr(image.id)
        clean = models[DENOISER](fast)
        pairs["again"].append((clean, setting.scan_again(clean, 1.0, seed)))
        pairs["measured"].append((to_grey(kriss.pixels(image.id)), fast))
    for seed, scene in enumerate(scenes.images):
        slow = to_grey(lr_image(scenes.pixels(scene.id), blurred, 1))
        pairs["scenes"].append((slow, setting.scan_again(slow, setting.contrast**2, seed)))
    for name in ("none", "gaussian", "vdsr"):
        outcomes: dict[str, Changes] = {}
        for way, images in pairs.items():
            changes: Changes = ([], 0, 0)
            for reference, scan in images:
                try:
                    changes = add(changes, kind.find(reference, 0.0), kind.find(models[name](scan), 0.0))
                except MetricUnavailable as reason:
                    print(f"{way}, {name}: {reason}")
            outcomes[way] = changes
        print(name, {way: f"lost {1 - both / there:.2f}" for way, (_, both, there) in outcomes.items()})
        for low, high in pairwise(EDGES):
            cells = {}
            for way, (rows, _, _) in outcomes.items():
                sizes, change = np.concatenate(rows).T
                part = change[(sizes >= low) & (sizes < high)] * NM
                middle = float(np.median(part))
                cells[way] = (part, middle, float(np.quantile(np.abs(part - middle), 0.9)))
            measured = cells["measured"][0]
            text = [f"{way} {middle:+.1f} +- {half:.1f}" for way, (_, middle, half) in cells.items()]
            inside = [
                f"{way} {(np.abs(measured - middle) <= half).mean():.2f}"
                for way, (_, middle, half) in cells.items()
                if way != "measured"
            ]
            sizes_nm = f"{low * NM:.0f} to {high * NM:.0f} nm"
            print(f"  {sizes_nm}, {len(measured)}: {', '.join(text)}; inside: {', '.join(inside)}")


if __name__ == "__main__":
    main()
