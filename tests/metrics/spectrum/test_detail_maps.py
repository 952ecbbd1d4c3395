"""Maps of invented and missing detail: they light up where something was invented or deleted, only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from srbench.metrics.detail_maps import hallucination_map, maps_in, omission_map
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Plane

SCALE = 4
Disc = tuple[float, float, float]


def at(values: Plane, disc: Disc) -> float:
    return float(values[round(disc[0]), round(disc[1])])


def away_from(discs: list[Disc], shape: tuple[int, ...], distance: float) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    far = np.ones(shape, dtype=bool)
    for row, column, radius in discs:
        far &= np.hypot(y - row, x - column) > radius + distance
    return far


@pytest.mark.slow
def test_invented_particles_light_up_and_deleted_ones_in_the_companion(constructed: Any) -> None:
    sr, hr = constructed.images["swapped"], constructed.images["truth"]
    invented, omitted = hallucination_map(sr, hr, SCALE), omission_map(sr, hr, SCALE)
    touched = constructed.invented + constructed.deleted
    elsewhere = away_from(touched, sr.shape, 7 * SCALE)
    assert min(at(invented, disc) for disc in constructed.invented) > 2.0
    assert min(at(omitted, disc) for disc in constructed.deleted) > 2.0
    assert max(at(invented, disc) for disc in constructed.deleted) < 0.5
    assert max(at(omitted, disc) for disc in constructed.invented) < 0.5
    assert float(invented[elsewhere].max()) < 0.1 and float(omitted[elsewhere].max()) < 0.1


@pytest.mark.slow
def test_blur_lights_up_neither(constructed: Any) -> None:
    sr, hr = constructed.images["blur"], constructed.images["truth"]
    assert float(hallucination_map(sr, hr, SCALE).max()) < 0.3
    assert float(omission_map(sr, hr, SCALE).max()) < 1.0
    assert float(omission_map(sr, hr, SCALE).mean()) < 0.2


@pytest.mark.slow
def test_the_truth_is_dark_and_texture_bright_everywhere(constructed: Any) -> None:
    hr = constructed.images["truth"]
    assert float(hallucination_map(hr, hr, SCALE).max()) < 0.01
    invented = hallucination_map(constructed.images["liar"], hr, SCALE)
    assert float(invented.mean()) == pytest.approx(1.0, abs=0.25)
    assert float((invented > 0.3).mean()) > 0.95


@pytest.mark.slow
def test_interpolation_omits_and_invents_little(constructed: Any) -> None:
    sr, hr = constructed.images["bicubic"], constructed.images["truth"]
    assert float(hallucination_map(sr, hr, SCALE).mean()) < 0.15
    assert float(omission_map(sr, hr, SCALE).mean()) > 0.5


@pytest.mark.slow
def test_contrast_and_brightness_play_no_part(constructed: Any) -> None:
    hr = constructed.images["truth"]
    y = np.linspace(0.0, 0.2, hr.shape[0])[:, None]
    assert float(hallucination_map(0.5 * hr + 0.1 + y, hr, SCALE).max()) < 0.02


@pytest.mark.slow
def test_inverted_detail_is_invented(constructed: Any) -> None:
    hr = constructed.images["truth"]
    found = hallucination_map(1.0 - hr, hr, SCALE)
    assert float(found.mean()) == pytest.approx(1.0, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(96, 96), (41, 60), (20, 33)])
@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_any_size_and_scale(shape: tuple[int, int], scale: int) -> None:
    sr, hr = np.random.default_rng(0).random((2, *shape))
    result = hallucination_map(sr, hr, scale)
    assert result.shape == shape and result.min() >= 0.0
    single = hallucination_map(sr.astype(np.float32), hr.astype(np.float32), scale)
    np.testing.assert_allclose(single, result, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_white_noise_against_white_noise_has_about_unit_power() -> None:
    sr, hr = 0.1 * np.random.default_rng(0).normal(size=(2, 200, 200))
    assert hallucination_map(sr, hr, 4).mean() == pytest.approx(1.0, abs=0.1)


def test_no_detail_is_finer_than_lr_at_magnification_one() -> None:
    with pytest.raises(SrbenchError, match="found 1"):
        hallucination_map(np.zeros((8, 8)), np.zeros((8, 8)), 1)


@pytest.mark.parametrize("rows", [slice(0, 9), slice(30, 45), slice(50, 64)])
def test_a_part_of_a_map_is_that_of_the_whole(rows: slice) -> None:
    generator = np.random.default_rng(0)
    hr = generator.random((64, 80))
    sr = 0.8 * hr + 0.2 * generator.random(hr.shape)
    window = rows, slice(70, 80)
    (invented, omitted), everything = maps_in(sr, hr, 2, [window, (slice(None), slice(None))])
    assert invented == pytest.approx(hallucination_map(sr, hr, 2)[window], abs=1e-12)
    assert omitted == pytest.approx(omission_map(sr, hr, 2)[window], abs=1e-12)
    assert np.array_equal(everything[0], hallucination_map(sr, hr, 2))
