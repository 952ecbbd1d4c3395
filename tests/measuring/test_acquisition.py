"""How images were recorded, found from the images alone: known dose, spot and resolution are recovered."""

from __future__ import annotations

import math

import numpy as np
import pytest

from helpers.drawn_scenes import draw_discs, place_discs
from srbench.datasets import degrade
from srbench.datasets.degrade.noise import DoseNoise
from srbench.datasets.images.raw import BadImage
from srbench.datasets.lr_images import lr_image, position_of
from srbench.datasets.synthetic.numbered import NumberedScenes
from srbench.measuring.acquisition import (
    EquivalentSetting,
    NoiseModel,
    RecordedImage,
    equivalent,
    examine,
    fit_noise,
)
from srbench.utils.image import Pixels

SIDE = 240


def discs(seed: int, dose: float, spot: float, pedestal: float = 0.15) -> Pixels:
    """Discs on a slope of grey, recorded with counted electrons."""
    drawn = draw_discs(place_discs(seed, np.linspace(8.0, 20.0, 12), SIDE), SIDE)
    slope = 0.2 * np.linspace(0.0, 1.0, SIDE)[None, :]
    way = degrade.get(f"sem_pixel:dose={dose:g},pedestal={pedestal:g},spot={spot:g}")
    hr = np.floor(255 * np.clip(drawn + slope - 0.1, 0, 1) + 0.5).astype(np.uint8)
    return lr_image(hr, way, 1, position_of(str(seed)))


@pytest.mark.parametrize("dose", [8.0, 30.0, 150.0])
@pytest.mark.parametrize("pedestal", [0.0, 0.15])
def test_known_dose_is_recovered_although_noise_is_clipped(dose: float, pedestal: float) -> None:
    images = [examine(discs(seed, dose, 0.8, pedestal)) for seed in (1, 2)]
    noise = fit_noise(images)
    # At dose 8 a fifth of the pixels is black or white.
    for grey in (0.2, 0.5, 0.8):
        true = NoiseModel(dose, pedestal, 0.01).variance(grey)
        assert noise.variance(grey) == pytest.approx(true, rel=0.1)
    assert noise.dose == pytest.approx(dose, rel=0.2)


def test_the_noise_model_is_that_of_the_degradation() -> None:
    import torch

    grey = torch.tensor([[[[0.1, 0.6]]]], dtype=torch.float64)
    theirs = DoseNoise(25.0, 0.02, 0.3).variance(grey, position_of("x")).flatten().tolist()
    assert [NoiseModel(25.0, 0.3, 0.02).variance(value) for value in (0.1, 0.6)] == pytest.approx(theirs)


def test_noise_alike_along_lines_counts_for_more() -> None:
    generator = np.random.default_rng(1)
    white = generator.standard_normal((SIDE, SIDE + 1))
    alike = (white[:, 1:] + white[:, :-1]) / math.sqrt(2.0)
    ratios = []
    for noise in (white[:, 1:], alike):
        drawn = draw_discs(place_discs(1, np.linspace(8.0, 20.0, 12), SIDE), SIDE)
        pixels = np.floor(255 * np.clip(drawn + 0.05 * noise, 0, 1) + 0.5).astype(np.uint8)
        image = examine(pixels)
        assert np.median(image.variance) == pytest.approx(0.05**2, rel=0.1)
        ratios.append(image.alike)
    # Neighbours averaged and scaled up: twice the power at the coarsest frequencies, none at the finest.
    assert ratios[0] == pytest.approx(1.0, abs=0.1)
    assert 1.5 < ratios[1] < 2.0


def test_resolution_follows_dose_and_blur_and_white_noise_resolves_nothing() -> None:
    sharp, noisy = (examine(discs(1, dose, 0.6)).resolution.px for dose in (1000.0, 5.0))
    assert examine(discs(1, 1000.0, 0.6)).resolution.limited
    assert sharp == pytest.approx(4.0, abs=0.2) and noisy > 1.5 * sharp
    blurred = examine(discs(1, 1000.0, 3.0)).resolution
    assert not blurred.limited and blurred.px > 6.0
    noise = np.random.default_rng(2).integers(60, 190, (SIDE, SIDE)).astype(np.uint8)
    assert examine(noise).resolution.px > SIDE / 4


@pytest.mark.parametrize(
    "pixels", [np.full((200, 200), 7, np.uint8), np.zeros((64, 300), np.uint8) + np.arange(300) // 2]
)
def test_what_tells_nothing_is_refused(pixels: Pixels) -> None:
    with pytest.raises(BadImage):
        examine(pixels.astype(np.uint8))


def test_an_image_scanned_again_has_the_noise_that_was_found() -> None:
    noise = NoiseModel(40.0, 0.1, 0.02)
    setting = EquivalentSetting(noise, 1.5, 0.4, (40.0, 40.0), 1.0, 1.0, 1.0, at_limit=False)
    scanned = setting.scan_again(np.full((300, 300), 0.5), 4.0, seed=3) / 255.0 - 0.5
    more = NoiseModel(160.0, 0.1, 0.02)
    assert scanned.var() == pytest.approx(more.variance(0.5) / 1.5, rel=0.05)
    assert (scanned[:, 1:] * scanned[:, :-1]).mean() / scanned.var() == pytest.approx(0.4, abs=0.03)
    assert (scanned[1:] * scanned[:-1]).mean() / scanned.var() == pytest.approx(0.0, abs=0.03)


@pytest.mark.slow
def test_known_spot_is_recovered_on_scenes(scenes: NumberedScenes) -> None:
    """Contrast and spot of images that are scenes themselves, at two magnifications."""
    for spot, scale, error in ((0.8, 1, 0.2), (1.8, 1, 0.2), (1.2, 2, 0.3)):
        way = degrade.get(f"sem_pixel:dose=60,spot={spot:g}")
        images: list[RecordedImage] = [
            examine(lr_image(scenes.pixels(scene.id), way, scale, position_of(scene.id)))
            for scene in scenes.images
        ]
        setting: EquivalentSetting = equivalent(images, scenes)
        fitted = degrade.get(setting.degradation(scale)).settings
        assert fitted["spot"] == pytest.approx(spot, abs=error)
        assert setting.noise.dose == pytest.approx(60.0, rel=0.3)
        assert not setting.at_limit
        if scale == 1:
            assert setting.contrast == pytest.approx(1.0, abs=0.05)


@pytest.fixture(scope="module")
def scenes() -> NumberedScenes:
    return NumberedScenes("particles", 2, 216)
