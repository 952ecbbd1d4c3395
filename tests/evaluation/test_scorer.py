"""What a score row says of its image."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from helpers.fake_set import FakeSet
from srbench.datasets import degrade
from srbench.evaluation.scorer import Scorer, choose_metrics
from srbench.metrics.protocol import named


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
