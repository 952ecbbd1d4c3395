"""sem_pixel fitted to pairs: known settings come back, and what cannot be told is said."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter

from helpers.fake_set import FakeSet
from srbench.cli.app import cli
from srbench.datasets import degrade
from srbench.datasets import open as open_dataset
from srbench.datasets.lr_images import cut_to_scale, lr_image, position_of
from srbench.measuring.scan_fit import FittedDegradation, FittedSetting, fit_degradation
from srbench.utils.errors import DatasetError
from srbench.utils.image import Pixels


def field(seed: int, side: int) -> Pixels:
    """Grains of many grey levels with fine edges and flat tops."""
    draw = np.random.default_rng(seed)
    rough = gaussian_filter(draw.normal(size=(side, side)), 1.2 + seed % 3)
    steps = np.floor(4.0 * rough / rough.std()) / 4.0
    grey = 0.42 + 0.16 * gaussian_filter(steps, 0.5) + 0.02 * (seed % 4)
    return np.asarray(np.round(np.clip(grey, 0.02, 0.98) * 255), dtype=np.uint8)


class Scans(FakeSet):
    """LR made from a truth, whose noisy recordings (or itself) are the references."""

    def __init__(
        self,
        made_by: str,
        scale: int,
        *,
        reference: str = "",
        repeated: bool = False,
        count: int = 6,
        truth: Callable[[int, int], Pixels] = field,
    ) -> None:
        super().__init__(count, name="scans", side=66)
        self.recorded_scale = scale
        images, self.store, self.scans, self.again = [], {}, {}, {}
        for number, image in enumerate(self.images):
            hr = truth(number, 128 * scale)
            self.scans[image.id] = lr_image(hr, degrade.get(made_by), scale, position_of(image.id))
            recordings = [
                lr_image(hr, degrade.get(reference), 1, position_of(f"{image.id} {which}"))
                if reference
                else hr
                for which in ("first", "second")
            ]
            self.store[image.id], self.again[image.id] = recordings
            images.append(replace(image, group=image.id, height=hr.shape[0], width=hr.shape[1]))
        self.images = tuple(images)
        self.repeated = repeated

    def lr(self, image_id: str) -> Pixels:
        return self.scans[image_id]

    def second(self, image_id: str) -> Pixels | None:
        return self.again[image_id] if self.repeated else None


def fitted(scans: Scans, **options: Any) -> tuple[FittedDegradation, dict[str, FittedSetting]]:
    result = fit_degradation(scans, scans.images, **options)
    return result, {setting.name: setting for setting in result.settings}


@pytest.mark.parametrize(
    ("made_by", "scale"),
    [
        ("sem_pixel:dose=20,spot=0.5", 1),
        ("sem_pixel:dose=200,gain=0.8,offset=0.08,read=0.03,spot=0.7", 1),
        ("sem_pixel:dose=60,spot=0.35", 2),
        ("sem_pixel:dose=800,gain=1.1,offset=-0.05,read=0.005,spot=0.6", 2),
    ],
)
def test_known_settings_lie_within_their_intervals(made_by: str, scale: int) -> None:
    result, settings = fitted(Scans(made_by, scale))
    known = degrade.get(made_by).settings
    for name in ("spot", "dose", "read", "gain", "offset"):
        assert settings[name].low - 1e-9 <= known[name] <= settings[name].high + 1e-9, (name, settings[name])
    assert settings["spot"].value == pytest.approx(known["spot"], rel=0.06)
    assert settings["dose"].value == pytest.approx(known["dose"], rel=0.12)
    assert settings["gain"].value == pytest.approx(known["gain"], rel=0.03)
    assert settings["offset"].value == pytest.approx(known["offset"], abs=0.015)
    way = degrade.get(result.degradation)
    assert way.name == "sem_pixel" and way.settings["dose"] == pytest.approx(settings["dose"].value, rel=0.01)
    assert [level.fitted for level in result.noise] == pytest.approx(
        [level.measured for level in result.noise], rel=0.15
    )
    assert [band.power for band in result.detail] == pytest.approx([1.0] * len(result.detail), abs=0.05)


@pytest.mark.parametrize(("repeated", "scale"), [(True, 1), (False, 1), (False, 2)])
def test_noise_of_the_reference_is_not_taken_for_that_of_lr(repeated: bool, scale: int) -> None:
    scans = Scans(
        "sem_pixel:dose=60,spot=0.5",
        scale,
        reference="sem_lowdose:dose=240,read=0.01",
        repeated=repeated,
        count=8,
    )
    _, settings = fitted(scans)
    assert settings["dose"].value == pytest.approx(60, rel=0.1)
    assert settings["spot"].value == pytest.approx(0.5, abs=0.05)
    assert settings["gain"].value == pytest.approx(1.0, abs=0.03)


def test_a_smaller_pedestal_is_fitted_where_dark_pixels_ask_for_it() -> None:
    result, settings = fitted(Scans("sem_pixel:dose=80,pedestal=0,read=0,spot=0.5", 1))
    assert settings["pedestal"].value == pytest.approx(0.0, abs=0.03) and settings["pedestal"].why
    assert settings["dose"].value == pytest.approx(80, rel=0.05)
    assert degrade.get(result.degradation).settings["read"] == 0


def test_lr_without_noise_has_an_infinite_dose() -> None:
    result, settings = fitted(Scans("sem_pixel:dose=inf,spot=0.5", 2))
    assert settings["dose"].value == math.inf
    assert degrade.get(result.degradation).settings["dose"] == math.inf
    assert settings["spot"].value == pytest.approx(0.5, abs=0.01)


def test_clipping_at_black_and_white_is_not_taken_for_less_noise() -> None:
    scans = Scans("sem_pixel:dose=60,gain=2,offset=-0.2,spot=0.5", 1)
    assert np.mean([np.isin(lr, (0, 255)).mean() for lr in scans.scans.values()]) > 0.1
    _, settings = fitted(scans)
    for name, known in (("dose", 60), ("gain", 2), ("offset", -0.2)):
        assert settings[name].low <= known <= settings[name].high
    assert settings["dose"].value == pytest.approx(60, rel=0.1)


def test_a_constant_noise_gives_a_lower_end_of_the_dose() -> None:
    result, settings = fitted(Scans("sem_pixel:dose=3000,read=0.05,spot=0.5", 1))
    assert settings["dose"].low < 3000 and settings["dose"].high == math.inf and settings["dose"].why
    assert settings["read"].value == pytest.approx(0.05, rel=0.1) and result.degradation


def flat(seed: int, side: int) -> Pixels:
    return np.full((side, side), 110 + seed, dtype=np.uint8)


def saturated(seed: int, side: int) -> Pixels:
    return np.where(field(seed, side) > 108, 255, 0).astype(np.uint8)


def test_a_flat_field_tells_nothing_and_says_so() -> None:
    result, settings = fitted(Scans("sem_pixel:dose=60", 1, truth=flat, count=1))
    assert result.degradation == "" and not result.detail
    assert all(math.isnan(settings[name].value) and settings[name].why for name in ("spot", "dose", "gain"))
    assert result.remarks


def test_saturated_references_are_refused_by_name() -> None:
    with pytest.raises(DatasetError, match="saturated"):
        fitted(Scans("sem_pixel:dose=60", 1, truth=saturated, count=2))


def test_inverted_contrast_is_not_fitted() -> None:
    scans = Scans("sem_pixel:dose=60", 1, count=2)
    scans.scans = {image: 255 - lr for image, lr in scans.scans.items()}
    result, settings = fitted(scans)
    assert (
        result.degradation == "" and math.isnan(settings["gain"].value) and math.isnan(settings["spot"].value)
    )


def test_one_field_gets_values_without_intervals() -> None:
    result, settings = fitted(Scans("sem_pixel:dose=60,spot=0.5", 1, count=1))
    assert result.degradation and math.isnan(settings["dose"].low) and math.isnan(settings["spot"].high)
    assert settings["dose"].value == pytest.approx(60, rel=0.2)
    assert result.n_groups == 1 and result.remarks


def test_a_set_without_recorded_lr_is_refused() -> None:
    plain = FakeSet()
    with pytest.raises(DatasetError, match="pairs"):
        fit_degradation(plain, plain.images)


@pytest.mark.slow
def test_what_fit_prints_for_a_folder_of_pairs_can_be_typed(tmp_path: Path) -> None:
    made_by, scenes = (
        degrade.get("sem_pixel:dose=60,gain=0.9,offset=0.05,spot=0.5"),
        open_dataset("sem_synthetic:small"),
    )
    for number, image in enumerate(scenes.images[::4][:5]):
        hr = cut_to_scale(scenes.pixels(image.id), 2)
        for folder, pixels in (("hr", hr), ("lr", lr_image(hr, made_by, 2, position_of(image.id)))):
            (tmp_path / "pairs" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "pairs" / folder / f"{number}.png"), pixels)
    shown = CliRunner().invoke(cli, ["degradations", "fit", f"pairs:{tmp_path / 'pairs'}", "--json"])
    assert shown.exit_code == 0, shown.output
    content = json.loads(shown.stdout)
    values = {setting["name"]: setting for setting in content["settings"]}
    for name in ("spot", "dose", "gain", "offset"):
        assert values[name]["low"] <= made_by.settings[name] <= values[name]["high"], values[name]
    assert f"{degrade.get(content['degradation']).id}" == f"{content['degradation']}@1"
    again = CliRunner().invoke(cli, ["degradations", "fit", f"pairs:{tmp_path / 'pairs'}", "--limit", "1"])
    assert again.exit_code == 0 and "--degradation sem_pixel:" in again.stdout
