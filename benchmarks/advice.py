"""Does the setting that is fitted on fast scans predict how wrong measurements on them are?

``OMP_NUM_THREADS=1 python benchmarks/advice.py [fields] [scenes]``: fits ``sem_pixel`` on fast scans of
``kriss``, records synthetic particles by that setting twice (at the fitted dose and without noise), and
prints by size the error of a diameter, fast against slow, as predicted (median, and half width of its
conformal 90 % interval) and as measured on fields of ``kriss``, and how many of the latter lie inside.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from srbench import datasets
from srbench.datasets import degrade
from srbench.datasets.lr_images import lr_image
from srbench.datasets.synthetic.numbered import NumberedScenes
from srbench.measuring.acquisition import EquivalentSetting, equivalent, examine
from srbench.measuring.calibration import SINGLE, Enlargement, field_errors, kind_of
from srbench.statistics.conformal import bin_of, calibrate
from srbench.utils.image import Pixels

NM = 5.828


class SlowScans(NumberedScenes):
    """Scenes as a slow scan shows them: blurred by the spot, without noise; their geometry is not used."""

    def __init__(self, count: int, setting: EquivalentSetting) -> None:
        super().__init__("particles", count)
        spot = setting.degradation(1).rpartition("spot=")[2]
        self._way = degrade.get(f"sem_pixel:dose=inf,spot={spot}")
        self._slow: dict[str, Pixels] = {}

    def pixels(self, image_id: str) -> Pixels:
        """Blurred."""
        if image_id not in self._slow:
            self._slow[image_id] = lr_image(super().pixels(image_id), self._way, 1)
        return self._slow[image_id]


def main() -> None:
    """Print the table."""
    fields, scenes = (int(value) for value in (*sys.argv[1:], "12", "12")[:2])
    kriss, kind = datasets.open("kriss"), kind_of("particles")
    test = kriss.split("test")
    chosen = test[:: max(len(test) // fields, 1)][:fields]
    recorded = [examine(kriss.lr(image.id)) for image in chosen]
    setting = equivalent(recorded, NumberedScenes("particles", 6))
    resolutions = sorted(item.resolution.px * NM for item in recorded)
    print(f"{len(chosen)} fields: {setting.degradation(1)}, dose {setting.noise.dose:.3g}, {setting.doses}")
    print(f"resolution {np.median(resolutions):.1f} nm ({resolutions[0]:.1f} to {resolutions[-1]:.1f})")
    slow = SlowScans(scenes, setting)
    images = [replace(image, has_truth=False) for image in slow.images]
    noise: Mapping[str, str] = dict(
        part.split("=") for part in setting.degradation(1).partition(":")[2].split(",")
    )
    fast = degrade.get("sem_lowdose:" + ",".join(f"{n}={noise[n]}" for n in ("dose", "pedestal", "read")))
    for model in ("none", "gaussian", "vdsr"):
        enlargement = Enlargement.of(model, scale=1)
        there = field_errors(slow, images, kind, enlargement, fast)
        here = field_errors(kriss, chosen, kind, enlargement, degrade.get("recorded"))
        predicted, measured = (some.quantities[SINGLE].arrays for some in (there, here))
        parts = calibrate(predicted)
        number = bin_of(measured.measured, np.array([parts[0].low, *(part.high for part in parts)]))
        print(
            f"{model}: lost, predicted {there.counts.lost / there.counts.reference:.2f}, measured "
            f"{here.counts.lost / here.counts.reference:.2f}"
        )
        for index, part in enumerate(parts):
            errors = measured.errors[number == index]
            inside = np.abs(errors - part.correction) <= part.half_width
            low, high, middle, half = (
                value * NM for value in (part.low, part.high, part.correction, part.half_width)
            )
            print(
                f"  {low:4.0f} to {high:4.0f} nm: predicted {middle:+5.1f} +- {half:4.1f}, measured "
                f"{np.median(errors) * NM:+5.1f}, {inside.mean():.2f} of {len(errors)} inside"
            )


if __name__ == "__main__":
    main()
