"""Photographs through the whole evaluation: colour to those that see it, luma to the others, Y scored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import srbench
from helpers.evaluations import workers_here
from helpers.fake_set import ColourSet
from helpers.loading import registered
from srbench import weights
from srbench.datasets import degrade
from srbench.datasets import lr_images as lr_cache
from srbench.metrics.protocol import named
from srbench.models import create
from srbench.store import ScoreStore

SCALE = 4
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _fakes() -> Iterator[None]:
    with registered("fake_models"), workers_here():
        yield


def cubic(x: Any) -> Any:
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0))


def imresize_matrix(old: int, new: int) -> Any:
    """MATLAB's ``contributions`` (bicubic, antialiased) as a dense matrix, written out once more."""
    stretch = max(old / new, 1.0)
    centre = np.arange(1, new + 1) * old / new + 0.5 * (1 - old / new)
    taps = np.floor(centre - 2 * stretch)[:, None] + np.arange(int(np.ceil(4 * stretch)) + 2)
    share = cubic((centre[:, None] - taps) / stretch)
    share /= share.sum(1, keepdims=True)
    mirror = np.concatenate([np.arange(old), np.arange(old)[::-1]])
    matrix = np.zeros((new, old))
    for row in range(new):
        np.add.at(matrix[row], mirror[np.mod(taps[row].astype(int) - 1, 2 * old)], share[row])
    return matrix


def imresize(image: Any, factor: float) -> Any:
    """``(H, W)`` or ``(H, W, 3)`` of any range."""
    rows = imresize_matrix(image.shape[0], round(image.shape[0] * factor))
    columns = imresize_matrix(image.shape[1], round(image.shape[1] * factor))
    return np.einsum("ij,jk...,lk->il...", rows, image, columns)


def eight_bits(image: Any) -> Any:
    return np.floor(image.clip(0, 255) + 0.5)


def luma(rgb: Any) -> Any:
    """BasicSR's Y, 16 to 235, of colours from 0 to 255; of a plane of full-range luma too."""
    if rgb.ndim == 2:
        return 16 + 219 * rgb / 255
    return 16 + (65.481 * rgb[..., 0] + 128.553 * rgb[..., 1] + 24.966 * rgb[..., 2]) / 255


def psnr_y(sr: Any, hr: Any) -> float:
    error = (luma(sr) - luma(hr))[SCALE:-SCALE, SCALE:-SCALE]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def reference(data: Any, image: str) -> Any:
    hr = data.pixels(image)
    return hr[: hr.shape[0] // SCALE * SCALE, : hr.shape[1] // SCALE * SCALE].astype(np.float64)


def save(runs: Path, name: str, channels: int, variant: str = "tiny", dataset: str = "photos") -> Any:
    """Weights on disk; the model they were taken from."""
    torch.manual_seed(channels)
    model = create(name, scale=SCALE, channels=channels, variant=variant)
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.ndim > 1 and not parameter.any():
                parameter.normal_(std=0.02)  # what starts at zero would hide the layers behind it
    header = weights.WeightsHeader(name, variant, SCALE, channels, dataset=dataset, seed=channels)
    weights.save(runs / f"{name}-{channels}" / "weights.safetensors", model.network.state_dict(), header)
    return model


def scored(results: Path, model: str, metric: str = "psnr", seed: int | None = None) -> Any:
    table = ScoreStore(results).scores()
    chosen = (table["model"] == model) & (table["metric"] == metric)
    if seed is not None:
        chosen &= table["seed"] == seed
    return table[chosen].set_index("image")["value"]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[int, Any], Path, Any]:
    """Bicubic, and VDSR once for colour and once for one channel."""
    folder = tmp_path_factory.mktemp("colour")
    data = ColourSet()
    networks = {channels: save(folder / "runs", "vdsr", channels) for channels in (1, 3)}
    summary = srbench.evaluate(
        ["bicubic", "vdsr"], dataset=data, scale=SCALE, runs=folder / "runs", results=folder / "r", previews=3
    )
    return data, networks, folder / "r", summary


def test_colour_is_scored_by_luma_as_published_tables_are(evaluated: Any) -> None:
    _, _, results, summary = evaluated
    assert len(summary.scored) == 3 + 1, summary.text()  # and the control
    protocol = named("matlab-y").for_colour().id
    assert summary.text().splitlines()[0].endswith(f"protocol {protocol} (default for photographs)")
    assert set(ScoreStore(results).scores()["protocol"]) == {protocol}


def test_the_bicubic_row_is_what_matlab_and_basicsr_would_give(evaluated: Any) -> None:
    data, _, results, _ = evaluated
    stored = scored(results, "bicubic")
    assert len(stored) == 3
    for image, value in stored.items():
        hr = reference(data, image)
        sr = eight_bits(imresize(eight_bits(imresize(hr, 1 / SCALE)), SCALE))
        assert value == pytest.approx(psnr_y(sr, hr), abs=0.002)


def test_a_network_for_colour_is_given_red_green_and_blue(evaluated: Any) -> None:
    data, networks, results, _ = evaluated
    stored = scored(results, "vdsr", seed=3)
    for image in data.images[:2]:
        hr = reference(data, image.id)
        lr = lr_cache.lr_image(hr.astype(np.uint8), degrade.get("bicubic"), SCALE)
        sr = networks[3].infer(torch.from_numpy(lr / 255.0).float().permute(2, 0, 1)[None])
        colours = eight_bits(sr[0].permute(1, 2, 0).double().numpy() * 255)
        assert stored[image.id] == pytest.approx(psnr_y(colours, hr), abs=0.002)
        swapped = psnr_y(colours[..., ::-1], hr)
        assert abs(stored[image.id] - swapped) > 0.1  # the order of the colours would be seen


def test_a_network_for_one_channel_is_given_unrounded_luma(evaluated: Any) -> None:
    data, networks, results, _ = evaluated
    stored = scored(results, "vdsr", seed=1)
    for image in data.images[:2]:
        hr = reference(data, image.id)
        lr = lr_cache.lr_image(hr.astype(np.uint8), degrade.get("bicubic"), SCALE) / 255.0
        plane = lr @ np.array([0.299, 0.587, 0.114])
        sr = networks[1].infer(torch.from_numpy(plane).float()[None, None])[0, 0].double().numpy()
        assert stored[image.id] == pytest.approx(psnr_y(eight_bits(sr * 255), hr), abs=0.002)


def test_published_weights_for_one_channel_are_given_matlabs_luma(tmp_path: Path) -> None:
    """16 + 219 x luma of colour images, full range of grey ones, and the answer scored in the same units."""
    torch.manual_seed(0)
    model = create("vdsr", scale=SCALE, variant="paper")
    with torch.no_grad():
        model.network.output.weight.normal_(std=0.2)  # type: ignore[union-attr, operator]
    torch.save(model.network.state_dict(), tmp_path / "published.pth")
    data = ColourSet(2, name="small photos", side=30)
    summary = srbench.evaluate(
        "vdsr",
        dataset=data,
        weights=tmp_path / "published.pth",
        scale=SCALE,
        results=tmp_path / "r",
        metrics=["psnr"],
        previews=0,
    )
    assert len(summary.scored) == 2, summary.text()
    stored = scored(tmp_path / "r", "vdsr")
    for image in data.images:
        hr = reference(data, image.id)
        lr = lr_cache.lr_image(hr.astype(np.uint8), degrade.get("bicubic"), SCALE)
        plane = lr / 255.0 if lr.ndim == 2 else luma(lr.astype(float)) / 255.0
        answer = model.infer(torch.from_numpy(plane).float()[None, None])[0, 0].double().numpy()
        sr = 255 * answer if lr.ndim == 2 else (255 * answer - 16) * 255 / 219
        # Rounded in full range, as everything that is scored.
        assert stored[image.id] == pytest.approx(psnr_y(eight_bits(sr), hr), abs=0.002)
    (manifest,) = [one for one in ScoreStore(tmp_path / "r").manifests() if one.key.model == "vdsr"]
    assert any("16 + 219 x luma" in note for note in manifest.notes)


def test_a_grey_image_among_colours_is_scored_like_any_other(evaluated: Any) -> None:
    data, _, results, _ = evaluated
    grey = data.images[-1].id
    assert data.pixels(grey).ndim == 2
    hr = reference(data, grey)
    sr = eight_bits(imresize(eight_bits(imresize(hr, 1 / SCALE)), SCALE))
    assert scored(results, "bicubic")[grey] == pytest.approx(psnr_y(sr, hr), abs=0.002)
    assert all(np.isfinite(scored(results, "vdsr", seed=seed)[grey]) for seed in (1, 3))


def test_the_manifest_tells_kind_and_channels(evaluated: Any) -> None:
    _, _, results, _ = evaluated
    for manifest in ScoreStore(results).manifests():
        assert manifest.data["kind"] == "photographs" and manifest.data["channels"] == 3
        assert manifest.protocol["channel"] == "y-of-rgb"


def test_previews_show_the_luma_that_is_scored(evaluated: Any) -> None:
    data, _, results, _ = evaluated
    store = ScoreStore(results)
    for manifest in store.manifests():
        for image in manifest.previews:
            paths = [
                store.preview(manifest.key, image),
                store.reference(manifest.data["reference_id"], image, "hr"),
                store.reference(manifest.data["reference_id"], image, "lr"),
            ]
            pixels = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths]
            assert all(plane.ndim == 2 for plane in pixels) and pixels[0].shape == pixels[1].shape
            hr = reference(data, image)
            grey = hr if hr.ndim == 2 else hr @ np.array([0.299, 0.587, 0.114])
            assert np.abs(pixels[1] - grey).max() <= 0.5 + 1e-9


def test_tiles_of_colour_equal_the_whole(evaluated: Any, tmp_path: Path) -> None:
    data, _, results, _ = evaluated
    runs = results.parent / "runs"
    options: dict[str, Any] = {"dataset": data, "scale": SCALE, "runs": runs, "metrics": ["psnr"]}
    srbench.evaluate("vdsr", results=tmp_path, tile=8, previews=0, **options)
    tiled = {
        stored.key.seed: stored.cost["tiling"]
        for stored in ScoreStore(tmp_path).manifests()
        if stored.key.model == "vdsr"
    }
    assert all(tiling["most_tiles"] > 1 and tiling["exact"] for tiling in tiled.values())
    for seed in (1, 3):
        whole, parts = scored(results, "vdsr", seed=seed), scored(tmp_path, "vdsr", seed=seed)
        assert np.abs(whole - parts).max() < 0.002


def test_the_grey_protocol_can_be_asked_for(tmp_path: Path) -> None:
    data = ColourSet(2)
    summary = srbench.evaluate(
        "nearest", dataset=data, scale=SCALE, protocol="sem-grey", results=tmp_path, metrics=["psnr"]
    )
    assert summary.conditions.splitlines()[0].endswith(named("sem-grey").id)
    lr = eight_bits(imresize(reference(data, "sub/0"), 1 / SCALE))
    shares = np.array([0.299, 0.587, 0.114])
    sr, hr = (
        np.floor(rgb @ shares + 0.5) for rgb in (lr.repeat(4, 0).repeat(4, 1), reference(data, "sub/0"))
    )
    error = (sr - hr)[SCALE:-SCALE, SCALE:-SCALE]
    expected = 10 * np.log10(255**2 / np.mean(error**2))
    assert scored(tmp_path, "nearest")["sub/0"] == pytest.approx(expected, abs=0.002)


def test_a_leaking_variant_is_handed_hr_in_colour(tmp_path: Path) -> None:
    """Its answer is the HR image: exact in colour, to within a rounded luma in one channel."""
    for channels in (1, 3):
        save(tmp_path / "runs", "fake_leaky", channels, "oracle")
    srbench.evaluate(
        "fake_leaky",
        dataset=ColourSet(2),
        scale=SCALE,
        oracle=True,
        runs=tmp_path / "runs",
        results=tmp_path / "r",
        metrics=["psnr"],
    )
    assert list(scored(tmp_path / "r", "fake_leaky", seed=3)) == [100.0, 100.0]
    luma_only = scored(tmp_path / "r", "fake_leaky", seed=1)
    assert 55.0 < luma_only["sub/0"] < 65.0 and luma_only["sub/1"] == 100.0


def test_a_photograph_with_a_dark_strip_is_no_micrograph_with_a_databar(tmp_path: Path) -> None:
    data = ColourSet(1, side=200)
    assert data.images[0].channels == 1
    strip = data.store["sub/0"].copy()
    strip[-40:] = 250
    data.store["sub/0"] = strip
    options: dict[str, Any] = {"scale": SCALE, "metrics": ["psnr"], "previews": 0}
    srbench.evaluate("nearest", dataset=data, results=tmp_path / "photos", **options)
    assert np.isfinite(scored(tmp_path / "photos", "nearest")["sub/0"])
    data.card = replace(data.card, kind="real")
    srbench.evaluate("nearest", dataset=data, results=tmp_path / "sem", **options)
    assert np.isnan(scored(tmp_path / "sem", "nearest")["sub/0"])


def test_colour_lr_survives_the_cache(tmp_path: Path) -> None:
    data = ColourSet(2)
    arguments = (data, data.images, degrade.get("bicubic"), SCALE, tmp_path, lambda event: None)
    for _ in ("prepared", "read"):
        cache = lr_cache.prepare(*arguments)
        assert [entry.channels for entry in cache.entries] == [3, 1]
        for entry in cache.entries:
            expected = eight_bits(imresize(reference(data, entry.image), 1 / SCALE))
            assert np.array_equal(cache.pixels(entry), expected)


def test_networks_of_every_family_take_colour(tmp_path: Path) -> None:
    names = ["vdsr", "srgan", "swinir", "dsrvae", "csm_sr"]
    for name in names:
        save(tmp_path / "runs", name, 3)
    save(tmp_path / "runs", names[0], 1)
    data = ColourSet(2)
    summary = srbench.evaluate(
        names, dataset=data, scale=SCALE, runs=tmp_path / "runs", results=tmp_path / "r", metrics=["psnr"]
    )
    assert len(summary.scored) == len(names) + 1 + 1, summary.text()  # two seeds of one, and the control
    table = ScoreStore(tmp_path / "r").scores()
    values = table[table["metric"] == "psnr"]
    assert len(values) == 2 * (len(names) + 2) and values["value"].between(3.0, 60.0).all()
