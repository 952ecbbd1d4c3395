"""What a score row says of its image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from helpers.fake_set import FakeSet
from srbench.datasets import degrade
from srbench.evaluation.scorer import Scorer, choose_metrics
from srbench.metrics.protocol import named
from srbench.metrics.spectrum import REFERENCE_NOISE
from srbench.utils.image import Pixels


@pytest.mark.parametrize("pixel_size", [5.828, None])
def test_the_pixel_size_of_the_image_stands_in_every_row(pixel_size: float | None) -> None:
    data = FakeSet(1, side=64)
    scorer = Scorer(data, named("sem-grey"), choose_metrics(["psnr", "shift"]), degrade.get("bicubic"), 4)
    image = replace(data.images[0], pixel_size_nm=pixel_size)
    pixels = data.pixels(image.id)[:, :64]
    scored = scorer.scores(image, pixels, pixels, np.zeros((16, 16), np.uint8))
    rows = [*scored, *scorer.without_value(image, "why")]
    assert len(rows) == 4
    for row in rows:
        assert row.pixel_size_nm == pixel_size or (pixel_size is None and math.isnan(row.pixel_size_nm))
    # In pixels whatever the pixel size is.
    assert [row.value for row in scored] == [100.0, 0.0]


class RealSet(FakeSet):
    """Recordings: each with a second one where ``repeated``."""

    def __init__(self, repeated: bool) -> None:
        super().__init__(1, side=120)
        self.card = replace(self.card, kind="real")
        self.clean = {
            name: gaussian_filter(pixels.astype(float), 1.5) * 2.0 - 128.0
            for name, pixels in self.store.items()
        }
        self.store = {name: self.scan(name, 0) for name in self.clean}
        self.repeated = repeated

    def scan(self, image_id: str, number: int) -> Pixels:
        noise = np.random.default_rng(number).normal(0, 4, self.clean[image_id].shape)
        return (self.clean[image_id] + noise).round().clip(0, 255).astype(np.uint8)

    def second(self, image_id: str) -> Pixels | None:
        return self.scan(image_id, 1) if self.repeated else None


@pytest.mark.parametrize(
    ("repeated", "recorded", "noted"), [(True, False, "second"), (False, True, "rows"), (False, False, "")]
)
def test_what_is_done_about_the_noise_of_a_reference_is_noted(
    repeated: bool, recorded: bool, noted: str
) -> None:
    data = RealSet(repeated)
    degradation = degrade.get("recorded" if recorded else "bicubic")
    scorer = Scorer(data, named("sem-grey"), choose_metrics(["psnr", "gained_hf"]), degradation, 2)
    image = data.images[0]
    hr = data.pixels(image.id)
    psnr, gained = scorer.scores(image, data.scan(image.id, 5), hr, np.zeros((60, 63), np.uint8))
    assert list(scorer.notes) == ([REFERENCE_NOISE[noted]] if noted else [])
    assert math.isfinite(psnr.value) and math.isfinite(gained.value) == bool(noted)
