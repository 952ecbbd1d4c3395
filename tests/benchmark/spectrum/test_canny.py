"""Canny's edges against scikit-image's, and thresholds that come from the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage import data
from skimage.feature import canny as skimage_canny

from srbench.evaluation.functional.canny import FLOOR, SIGMA, Gradient, canny, gradient, thresholds

RIM = 8
"""Borders are mirrored here; scikit-image renormalises the kernel there."""


def edges_of(image: NDArray[np.float64], sigma: float = SIGMA) -> tuple[NDArray[np.bool_], float, float]:
    found = gradient(torch.from_numpy(image)[None], sigma)
    lower, upper = thresholds(found)
    return canny(found, lower, upper)[0].numpy(), float(lower), float(upper)


def micrographs() -> dict[str, NDArray[np.float64]]:
    generator = np.random.default_rng(0)
    return {
        "photograph": data.camera()[100:357, 60:301] / 255.0,
        "coins": data.coins()[:200, :223] / 255.0,
        "noise": generator.random((120, 90)),
    }


@pytest.mark.parametrize("sigma", [1.0, SIGMA, 1.5])
@pytest.mark.parametrize("name", ["photograph", "coins", "noise"])
def test_edges_are_those_of_scikit_image_away_from_the_border(name: str, sigma: float) -> None:
    """Identical but for chains that a pixel at the border or a tie makes or breaks: below 0.4%."""
    image = micrographs()[name]
    ours, lower, upper = edges_of(image, sigma)
    theirs = skimage_canny(image, sigma=sigma, low_threshold=8 * lower, high_threshold=8 * upper)
    inside = (slice(RIM, -RIM), slice(RIM, -RIM))
    assert ours.sum() > 200
    assert (ours != theirs)[inside].sum() <= 0.004 * theirs.sum()
    assert (ours != theirs).sum() <= 0.05 * theirs.sum()


def test_the_particles_too(constructed: Any) -> None:
    ours, lower, upper = edges_of(constructed.images["truth"])
    theirs = skimage_canny(
        constructed.images["truth"], sigma=SIGMA, low_threshold=8 * lower, high_threshold=8 * upper
    )
    inside = (slice(RIM, -RIM), slice(RIM, -RIM))
    assert (ours != theirs)[inside].sum() <= 0.001 * theirs.sum()


@pytest.mark.parametrize("slope", [0.01, -0.03])
def test_gradient_of_a_ramp_is_its_slope(slope: float) -> None:
    y, x = np.mgrid[:40, :50]
    found = gradient(torch.from_numpy(slope * x + 2 * slope * y)[None])
    np.testing.assert_allclose(found.x[0, 8:-8, 8:-8], slope, atol=1e-12)
    np.testing.assert_allclose(found.y[0, 8:-8, 8:-8], 2 * slope, atol=1e-12)


def test_thresholds_are_a_quantile_of_the_reference_and_half_of_it() -> None:
    image = torch.from_numpy(micrographs()["photograph"])[None]
    found = gradient(image)
    lower, upper = thresholds(found)
    below = (found.magnitude < upper[:, None, None]).double().mean()
    assert float(below) == pytest.approx(0.93, abs=1e-4) and float(lower) == float(upper) / 2


def test_rounding_to_eight_bits_makes_no_edges() -> None:
    """A slow ramp in steps of one grey level: the floor of the threshold lies above the steps."""
    ramp = np.floor(np.tile(np.linspace(100, 110, 200), (60, 1)) + 0.5) / 255.0
    ours, _, upper = edges_of(ramp)
    assert upper == FLOOR and not ours.any()


def test_weak_chains_stay_only_where_they_lead_to_a_strong_pixel() -> None:
    step = np.zeros((60, 60))
    step[:, 30:] = np.linspace(0.1, 1.0, 60)[:, None]
    step[10:20, 5:12] = 0.15
    found = gradient(torch.from_numpy(step)[None])
    lower, upper = torch.tensor([0.02], dtype=torch.float64), torch.tensor([0.2], dtype=torch.float64)
    edges = canny(found, lower, upper)[0].numpy()
    alone = canny(found, lower, lower)[0].numpy()
    assert edges[5:55, 28:32].any(axis=1).all() and alone[5:55, 28:32].any(axis=1).all()
    assert not edges[:, :20].any() and alone[:, :20].any()


def test_batches_float32_and_constant_images() -> None:
    photograph = torch.from_numpy(micrographs()["photograph"])
    batch = torch.stack([photograph, photograph.flip(0), torch.full_like(photograph, 0.5)])
    found = gradient(batch)
    lower, upper = thresholds(found)
    edges = canny(found, lower, upper)
    for index in range(3):
        single = gradient(batch[index : index + 1])
        np.testing.assert_array_equal(canny(single, *thresholds(single))[0], edges[index])
    assert not bool(edges[2].any())
    single = gradient(batch.float())
    assert single.x.dtype == torch.float32
    different = (canny(single, *thresholds(single)) != edges).sum()
    assert int(different) < 0.002 * int(edges.sum())


def test_no_edges_at_the_rim_even_where_the_gradient_is_largest() -> None:
    magnitude = torch.zeros(1, 6, 6, dtype=torch.float64)
    magnitude[0, 0] = 1.0
    found = canny(
        Gradient(magnitude, torch.zeros_like(magnitude), magnitude), magnitude[0, 0, :1], magnitude[0, 0, :1]
    )
    assert not bool(found.any())
