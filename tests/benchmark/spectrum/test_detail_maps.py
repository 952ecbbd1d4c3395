"""Maps of invented and missing detail: they light up where something was invented or deleted, only there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from srbench.evaluation.functional.detail_maps import hallucination_map, omission_map
from srbench.evaluation.functional.filters import gaussian, mirrored

SCALE = 4
Disc = tuple[float, float, float]


def at(values: torch.Tensor, disc: Disc) -> float:
    return float(values[0, round(disc[0]), round(disc[1])])


def away_from(discs: list[Disc], shape: torch.Size, distance: float) -> torch.Tensor:
    y, x = np.mgrid[: shape[1], : shape[2]]
    far = np.ones(shape[1:], dtype=bool)
    for row, column, radius in discs:
        far &= np.hypot(y - row, x - column) > radius + distance
    return torch.from_numpy(far)[None]


def test_invented_particles_light_up_and_deleted_ones_in_the_companion(constructed: Any) -> None:
    sr, hr = constructed.tensor("swapped"), constructed.tensor("truth")
    invented, omitted = hallucination_map(sr, hr, SCALE), omission_map(sr, hr, SCALE)
    touched = constructed.invented + constructed.deleted
    elsewhere = away_from(touched, sr.shape, 7 * SCALE)
    assert min(at(invented, disc) for disc in constructed.invented) > 2.0
    assert min(at(omitted, disc) for disc in constructed.deleted) > 2.0
    assert max(at(invented, disc) for disc in constructed.deleted) < 0.5
    assert max(at(omitted, disc) for disc in constructed.invented) < 0.5
    assert float(invented[elsewhere].max()) < 0.1 and float(omitted[elsewhere].max()) < 0.1


def test_blur_lights_up_neither(constructed: Any) -> None:
    sr, hr = constructed.tensor("blur"), constructed.tensor("truth")
    assert float(hallucination_map(sr, hr, SCALE).max()) < 0.3
    assert float(omission_map(sr, hr, SCALE).max()) < 1.0
    assert float(omission_map(sr, hr, SCALE).mean()) < 0.2


def test_the_truth_is_dark_and_texture_bright_everywhere(constructed: Any) -> None:
    hr = constructed.tensor("truth")
    assert float(hallucination_map(hr, hr, SCALE).max()) < 0.01
    invented = hallucination_map(constructed.tensor("liar"), hr, SCALE)
    assert float(invented.mean()) == pytest.approx(1.0, abs=0.25)
    assert float((invented > 0.3).double().mean()) > 0.95


def test_interpolation_omits_and_invents_little(constructed: Any) -> None:
    sr, hr = constructed.tensor("bicubic"), constructed.tensor("truth")
    assert float(hallucination_map(sr, hr, SCALE).mean()) < 0.15
    assert float(omission_map(sr, hr, SCALE).mean()) > 0.5


def test_contrast_and_brightness_play_no_part(constructed: Any) -> None:
    hr = constructed.tensor("truth")
    y = torch.linspace(0.0, 0.2, hr.shape[1], dtype=torch.float64)[None, :, None]
    assert float(hallucination_map(0.5 * hr + 0.1 + y, hr, SCALE).max()) < 0.02


def test_inverted_detail_is_invented(constructed: Any) -> None:
    hr = constructed.tensor("truth")
    found = hallucination_map(1.0 - hr, hr, SCALE)
    assert float(found.mean()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("shape", [(1, 96, 96), (2, 41, 60), (1, 20, 33)])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_any_size_and_scale_and_batches(shape: tuple[int, int, int], scale: int) -> None:
    generator = torch.Generator().manual_seed(0)
    sr, hr = (torch.rand(shape, dtype=torch.float64, generator=generator) for _ in "ab")
    found = hallucination_map(sr, hr, scale)
    assert found.shape == shape and float(found.min()) >= 0.0
    np.testing.assert_allclose(hallucination_map(sr[:1], hr[:1], scale), found[:1], rtol=1e-9)
    single = hallucination_map(sr.float(), hr.float(), scale)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, found, rtol=1e-3, atol=1e-3)


def test_white_noise_against_white_noise_has_about_unit_power() -> None:
    generator = torch.Generator().manual_seed(0)
    sr, hr = (0.1 * torch.randn(1, 200, 200, dtype=torch.float64, generator=generator) for _ in "ab")
    assert float(hallucination_map(sr, hr, 4).mean()) == pytest.approx(1.0, abs=0.1)


def test_no_detail_is_finer_than_lr_at_magnification_one() -> None:
    with pytest.raises(ValueError, match="found 1"):
        hallucination_map(torch.zeros(1, 8, 8), torch.zeros(1, 8, 8), 1)


def test_gaussian_equals_scipy() -> None:
    from scipy import ndimage

    image = np.random.default_rng(0).random((23, 40))
    for sigma in (0.7, 1.2, 6.0):
        ours = gaussian(torch.from_numpy(image)[None], sigma)[0]
        np.testing.assert_allclose(ours, ndimage.gaussian_filter(image, sigma), atol=1e-12)


def test_mirroring_goes_on_where_the_margin_is_larger_than_the_image() -> None:
    row = torch.arange(3.0)[None, None]
    np.testing.assert_array_equal(mirrored(row, 7, 2)[0, 0], np.pad(np.arange(3.0), 7, mode="symmetric"))
    assert math.isclose(float(gaussian(row, 5.0).mean()), 1.0, rel_tol=1e-6)
