"""What ``srbench agree`` catches and what it cannot: rates on synthetic scenes, two noisy recordings each.

``OMP_NUM_THREADS=1 python benchmarks/agreement.py [scenes] [dose]`` (x4, ``sem_pixel``; kinds in turn).
Honest rows are bicubic interpolation and the shipped network. Liars add texture as strong as the true fine
detail, the same to both recordings (systematic) or from the noise of each. Guessers draw the undecidable
lamellae of each scene, whose phase no LR image holds: always in one phase, or in a phase by the noise.
Printed are the share of scenes called driven by noise, the median figures, and the share of patches that the
map marks.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from srbench import datasets
from srbench.datasets import degrade
from srbench.datasets.degrade import LrPosition, noise_key
from srbench.datasets.lr_images import lr_image
from srbench.datasets.synthetic.ambiguous import AmbiguousPatch
from srbench.measuring.agreement import compared
from srbench.measuring.calibration import Enlargement
from srbench.measuring.scans import ScanPair
from srbench.reporting.crops import STEPS
from srbench.utils.image import Pixels, Plane, to_grey

SCALE = 4


@dataclass(frozen=True)
class Player(Enlargement):
    """A model, and what it adds to its result."""

    kind: str = "honest"
    hr: Any = None
    patch: AmbiguousPatch | None = None

    def __call__(self, pixels: Pixels) -> Plane:
        """The result, ``(4H, 4W)``."""
        result = super().__call__(pixels)
        generator = np.random.default_rng(int(pixels.sum(dtype=np.int64)) if "noise" in self.kind else 7)
        if self.kind.startswith("texture"):
            fine = np.fft.rfft2(to_grey(self.hr))
            frequency = np.hypot(np.fft.fftfreq(result.shape[0])[:, None], np.fft.rfftfreq(result.shape[1]))
            turned = np.abs(fine) * np.exp(2j * np.pi * generator.random(fine.shape))
            result = result + np.fft.irfft2(np.where(frequency > 0.5 / SCALE, turned, 0.0), result.shape)
        if self.kind.startswith("lamellae") and self.patch is not None:
            phase = generator.choice((-1, 1)) if "noise" in self.kind else 1
            result[self.patch.window] += phase * self.patch.texture() / 255.0
        return result


def main() -> None:
    """Print the table."""
    count, dose = (int(value) for value in (*sys.argv[1:], "12", "60")[:2])
    suite = datasets.open("sem_synthetic")
    by_kind: dict[str, list[str]] = {}
    for image in suite.split("test"):
        by_kind.setdefault(image.category, []).append(image.id)
    names = [name for row in zip(*by_kind.values(), strict=True) for name in row][:count]
    way = degrade.get(f"sem_pixel:dose={dose}")
    rows: dict[str, list[tuple[float, ...]]] = {}
    for name in names:
        hr = suite.pixels(name)
        patches = [AmbiguousPatch(**patch) for patch in suite.truth(name)["ambiguous"]]
        patch = next((patch for patch in patches if patch.scale == SCALE), None)
        scans = [lr_image(hr, way, SCALE, LrPosition.whole(noise_key(name, take))) for take in (0, 1)]
        for model in ("bicubic", "edsr"):
            loaded = Enlargement.of(model, scale=SCALE).loaded
            kinds = ["honest"]
            if model == "bicubic":
                kinds += ["texture, the same", "texture by noise", "lamellae, the same", "lamellae by noise"]
            for kind in kinds:
                player = Player(loaded, "cpu", kind, hr, patch)
                field, drawn = compared(name, ScanPair(*scans, (0.0, 0.0)), player, [])
                marked = np.nan if patch is None else float((drawn.unlike[patch.window] > STEPS[1]).mean())
                rows.setdefault(f"{model}, {kind}", []).append(
                    (
                        field.verdict == "driven by noise",
                        field.repeated,
                        field.permitted,
                        field.amount,
                        marked > 0.25,
                    )
                )
    print(f"{len(names)} scenes, dose {dose}")
    for row, values in rows.items():
        driven, repeated, permitted, amount, marked = np.array(values, dtype=float).T
        medians = [float(np.median(part)) for part in (repeated, permitted, amount)]
        print(
            f"{row:30} driven {driven.mean():5.2f}  repeats {medians[0]:5.2f}  permitted {medians[1]:5.2f}  "
            f"x interpolation {medians[2]:6.1f}  patch marked {np.nanmean(marked):5.2f}"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
