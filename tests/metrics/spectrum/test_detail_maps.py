"""Maps of invented and missing detail: they light up where something was invented or deleted, only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from srbench.metrics import detail_maps
from srbench.metrics.detail_maps import hallucination_map, maps_in, omission_map, unmeasured_detail
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
    with pytest.raises(SrbenchError, match="found 1"):
        unmeasured_detail(np.zeros((8, 8)), 1)


def test_a_reference_without_detail_explains_nothing() -> None:
    """Then the map of invented detail is all detail, in units of the variance of rounding to 8 bits."""
    sr = np.random.default_rng(0).random((60, 70))
    power = hallucination_map(sr, np.full_like(sr, 0.3), 3) / (12 * 255.0**2)
    assert unmeasured_detail(sr, 3) == pytest.approx(np.sqrt(power), rel=1e-9)


@pytest.mark.parametrize(("cycles", "share"), [(0.04, 0.0), (0.25, 1.0), (0.45, 1.0)])
def test_a_wave_is_unmeasured_above_the_nyquist_frequency_of_lr(cycles: float, share: float) -> None:
    """Cycles per SR pixel; LR carries 1/8 at x4. A wave has its amplitude over root 2 as root mean square."""
    sr = 100 + 20 * np.sin(2 * np.pi * cycles * np.arange(160))[:, None] * np.ones(160)
    middle = unmeasured_detail(sr, 4)[60:-60, 60:-60]
    np.testing.assert_allclose(middle, share * 20 / np.sqrt(2), atol=0.3)


def test_blocks_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    sr = np.random.default_rng(0).random((150, 260))
    whole = unmeasured_detail(sr, 2)
    counted: list[int] = []
    monkeypatch.setattr(detail_maps, "BLOCK", 40)
    in_blocks = unmeasured_detail(sr, 2, counted.append)
    assert len(counted) == 8 and sum(counted) == sr.size
    assert np.abs(in_blocks - whole)[40:-40, 40:-40].max() < 0.005 * whole.max()
    assert np.abs(in_blocks - whole).max() < 0.05 * whole.max()


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
