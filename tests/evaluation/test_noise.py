"""Evaluation on noisy LR images: one noise for everybody, what is compared with it, and magnification 1."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import srbench
from helpers.fake_set import FakeSet, PairedSet
from srbench.config import EvaluationConfig
from srbench.datasets import DatasetError, degrade
from srbench.datasets import lr_images as lr_cache
from srbench.evaluation.context import EvaluationContext
from srbench.evaluation.scorer import Scorer
from srbench.metrics import registry
from srbench.metrics.protocol import named
from srbench.metrics.registry import Case, MetricUnavailable
from srbench.store import ScoreStore

NOISY = "sem_pixel:dose=40,jitter=0.3"


prepare = functools.partial(lr_cache.prepare, progress=lambda event: None)


def lr_of(data: Any, images: Any, folder: Path, degradation: str, scale: int = 4) -> dict[str, Any]:
    cache = prepare(data, images, degrade.get(degradation), scale, folder)
    return {entry.image: cache.pixels(entry) for entry in cache.entries}


@pytest.mark.slow
def test_noise_belongs_to_the_image_and_not_to_its_place_in_the_list(tmp_path: Path) -> None:
    data = FakeSet(3, name="noisy")
    whole = lr_of(data, data.images, tmp_path, NOISY)
    alone = lr_of(data, data.images[1:2], tmp_path, NOISY)
    assert np.array_equal(whole["sub/1"], alone["sub/1"])
    data.store["sub/0"] = data.store["sub/2"] = data.store["sub/1"]
    same = lr_of(data, data.images[::-1], tmp_path, NOISY)
    assert np.array_equal(same["sub/1"], whole["sub/1"])
    assert not np.array_equal(same["sub/0"], same["sub/2"])  # same scene, another recording


def test_noise_is_that_of_acquisition_zero(tmp_path: Path) -> None:
    import torch

    data = FakeSet(1, name="noisy")
    degradation = degrade.get(NOISY)
    hr = torch.from_numpy(data.store["sub/0"] / 255.0)[None, None]
    expected = degradation(hr[..., :64, :72], 4, degrade.LrPosition.whole(degrade.noise_key("sub/0", 0)))
    levels = degrade.quantise(expected)[0, 0].numpy() * 255.0
    assert np.array_equal(lr_of(data, data.images, tmp_path, NOISY)["sub/0"], levels.round())


def test_every_setting_has_its_own_lr_and_every_spelling_the_same(tmp_path: Path) -> None:
    data = FakeSet(1, name="noisy")
    names = ("sem_pixel:dose=40", "sem_pixel:dose=41", NOISY, "sem_pixel:jitter=0.3,dose=40@1")
    files = [prepare(data, data.images, degrade.get(name), 4, tmp_path).file for name in names]
    assert files[2] == files[3] and len(set(files)) == 3


def case(name: str, protocol: str = "sem-grey", sr: Any = None, scale: int = 4) -> tuple[Case, Any]:
    """The reference scored against itself, or another image against it; and the case's true expectation."""
    data = FakeSet(1, name="noisy", side=240)
    degradation = degrade.get(name)
    held: list[Case] = []
    scorer = Scorer(data, named(protocol), [registry.get("psnr")], degradation, scale)
    image, hr = data.images[0], lr_cache.cut_to_scale(data.pixels(data.images[0].id), scale)
    lr = lr_cache.lr_image(hr, degradation, scale, lr_cache.position_of(image.id))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "srbench.evaluation.scorer.measure", lambda metric, case: (held.append(case), (0.0, ""))[1]
        )
        scorer.scores(image, hr if sr is None else sr, hr, lr)
    return held[0], hr


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["sem-grey", "matlab-y"])
@pytest.mark.parametrize("name", [NOISY, "sem_pixel:dose=40,read=0.05", "bicubic"])
def test_the_truth_is_as_far_from_its_lr_as_the_variance_says(name: str, protocol: str) -> None:
    """Chi square a pixel is 1: within five standard deviations for about four thousand pixels."""
    recorded, _ = case(name, protocol)
    assert recorded.degrade is not None and recorded.lr_variance is not None
    expected = recorded.degrade(recorded.full_hr)
    inside = (expected > 0.25) & (expected < 0.75)  # five sigma from where recordings are clipped
    chi = ((recorded.lr - expected) ** 2 / recorded.lr_variance(expected))[inside]
    assert inside.sum() > 2000
    assert chi.mean() == pytest.approx(1.0, abs=5 * math.sqrt(2.0 / inside.sum()))


@pytest.mark.slow
def test_consistency_compares_with_the_expected_lr_of_the_same_scan() -> None:
    """A scan that is distorted but not noisy is reproduced to within its rounding."""
    recorded, hr = case("sem_pixel:dose=inf,jitter=0.5,vibration=0.5")
    assert registry.get("lr_psnr").compute(recorded) > 55.0
    straight = degrade.get("sem_pixel:dose=inf")
    undistorted = lr_cache.lr_image(hr, straight, 4) / 255.0
    assert 10 * math.log10(1 / np.mean((undistorted - recorded.lr) ** 2)) < 40.0


def test_against_noisy_lr_the_truth_has_chi_square_one_and_no_lr_psnr() -> None:
    recorded, _ = case("sem_pixel:dose=40")
    assert registry.get("lr_chi2").compute(recorded) == pytest.approx(
        1.0, abs=5 * math.sqrt(2.0 / recorded.lr.size)
    )
    with pytest.raises(MetricUnavailable, match=r"counting noise.*lr_chi2"):
        registry.get("lr_psnr").compute(recorded)


def test_of_colour_the_variance_is_not_known() -> None:
    hr = np.zeros((24, 24, 3), np.uint8)
    recorded = named("sem-grey").case(hr, hr, hr[::4, ::4], 4)
    assert recorded.lr_variance is None


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_at_magnification_one_interpolation_is_the_noisy_image_itself(tmp_path: Path) -> None:
    data = FakeSet(2, name="denoise", side=120)
    options: dict[str, Any] = {
        "dataset": data,
        "results": tmp_path,
        "metrics": ["psnr", "lr_psnr", "lr_chi2"],
    }
    summary = srbench.evaluate(["bicubic"], scale=1, degradation="sem_lowdose:dose=30", **options)
    assert [outcome.model for outcome in summary.scored] == ["bicubic"], summary.text()
    table = ScoreStore(tmp_path).scores()
    assert set(table["degradation"]) == {"sem_lowdose:dose=30@1"} and set(table["scale"]) == {1}
    psnr = table[table["metric"] == "psnr"].set_index("image")["value"]
    assert (table["value"][table["metric"] == "lr_chi2"] == 0.0).all()  # all of the noise was copied
    assert table["reason"][table["metric"] == "lr_psnr"].str.contains("copying").all()
    for image in data.images:
        hr = data.pixels(image.id)
        lr = lr_cache.lr_image(hr, degrade.get("sem_lowdose:dose=30"), 1, lr_cache.position_of(image.id))
        error = (lr.astype(float) - hr)[1:-1, 1:-1]
        assert psnr[image.id] == pytest.approx(10 * math.log10(255**2 / np.mean(error**2)), abs=1e-9)
        assert 8.0 < psnr[image.id] < 22.0


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        (
            "sem_lowdose",
            4,
            r"--scale 1, or --degradation with one of: bicubic, ",
        ),
        (
            "bicubic",
            1,
            r"larger --scale, or --degradation .* sem_lowdose",
        ),
        ("sem_lowdose:dose=inf", 1, "nothing is to be restored"),
        ("bicubic_legacy", 1, "nothing is to be restored"),
        ("sem_pixle", 4, "sem_pixel"),
        ("sem_pixel:dos=60", 4, "dose"),
    ],
)
def test_what_has_nothing_to_restore_is_refused_before_any_work(
    tmp_path: Path, name: str, scale: int, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        srbench.evaluate("bicubic", dataset=FakeSet(1), scale=scale, degradation=name, results=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["sem_defocus:dose=inf", "sem_pixel"])
def test_blur_without_magnification_is_a_task(name: str) -> None:
    config = EvaluationConfig(degradation=name)
    assert EvaluationContext.create(FakeSet(1, name="blur"), config, 1).scorer.scale == 1


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here", "nothing_shipped")
def test_settings_reach_rows_manifest_and_what_to_type(tmp_path: Path) -> None:
    data = FakeSet(1, name="denoise")
    summary = srbench.evaluate(
        ["nearest", "vdsr"],
        dataset=data,
        scale=4,
        degradation=NOISY,
        results=tmp_path,
        runs=tmp_path / "none",
        metrics=["psnr"],
    )
    true_id = degrade.get(NOISY).id
    assert f"LR by {true_id}," in summary.text().splitlines()[0]
    store = ScoreStore(tmp_path)
    stored = {manifest.key.model: manifest for manifest in store.manifests()}
    assert {manifest.key.degradation for manifest in stored.values()} == {true_id}
    assert set(store.scores()["degradation"]) == {true_id}
    assert stored["vdsr"].reason.endswith(f"--scale 4 --degradation {NOISY}")
    assert true_id in stored["nearest"].data["reference_id"]
    settings = stored["nearest"].data["lr_settings"]
    assert "dose=40, read=0.01" in settings and "jitter=0.3" in settings  # defaults too
    assert store.reference(stored["nearest"].data["reference_id"], "sub/0", "lr") is not None
    for path in tmp_path.rglob("*"):
        assert not set(':=,"<>|?* ') & set(path.name), path


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_noise_on_recordings_that_are_noisy_themselves_is_said(tmp_path: Path) -> None:
    data = FakeSet(1, name="denoise")
    data.card = replace(data.card, kind="real")
    for name in ("bicubic", NOISY):
        srbench.evaluate(
            "nearest", dataset=data, scale=4, degradation=name, results=tmp_path, previews=0, metrics=["psnr"]
        )
    notes = {stored.key.degradation: " ".join(stored.notes) for stored in ScoreStore(tmp_path).manifests()}
    assert notes["bicubic@1"] == ""
    assert "hold noise themselves" in notes[degrade.get(NOISY).id]


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_recorded_lr_is_what_models_get_unless_another_is_asked_for(tmp_path: Path) -> None:
    data = PairedSet(2, side=120)
    wanted: dict[str, Any] = {"dataset": data, "metrics": ["psnr", "lr_psnr", "lr_chi2"]}
    srbench.evaluate(["bicubic"], results=tmp_path, **wanted)
    srbench.evaluate(["bicubic"], results=tmp_path, degradation="bicubic", scale=2, **wanted)
    table = ScoreStore(tmp_path).scores()
    found = {(row.degradation, row.scale) for row in table.itertuples()}
    assert found == {("recorded@1", 1), ("bicubic@1", 2)}
    rows = table[table["degradation"] == "recorded@1"].set_index(["metric", "image"])
    for image in data.images:
        error = (data.lr(image.id).astype(float) - data.pixels(image.id))[1:-1, 1:-1]
        expected = 10 * math.log10(255**2 / np.mean(error**2))
        assert rows.loc[("psnr", image.id), "value"] == pytest.approx(expected, abs=1e-9)
        for metric in ("lr_psnr", "lr_chi2"):
            assert math.isnan(rows.loc[(metric, image.id), "value"])
            assert "recorded" in rows.loc[(metric, image.id), "reason"]
    for manifest in ScoreStore(tmp_path).manifests():
        if manifest.key.model != "bicubic":
            continue
        (finding,) = [check for check in manifest.guards if check["guard"] == "degradation"]
        assert finding["status"] == "passed"


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (FakeSet(1), {"degradation": "recorded"}, "has no recorded LR images"),
        (PairedSet(1), {"scale": 4}, "--scale 1, or .* --degradation bicubic --scale 4"),
    ],
)
def test_recorded_lr_that_is_not_there_is_refused(
    data: Any, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=message):
        srbench.evaluate("bicubic", dataset=data, results=tmp_path, **options)
