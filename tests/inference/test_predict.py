"""Images and files in, super-resolved images out: types, channels, names, and what cannot be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from srbench import weights
from srbench.datasets.images.resize import resize_by
from srbench.inference.predict import infer, super_resolve
from srbench.models import ModelCard, SRModel, create
from srbench.models.recipe import default_recipe
from srbench.utils.errors import SrbenchError

torch.set_num_threads(1)


class Repeat(nn.Module):
    """Repeats pixels; with three channels it also swaps red and blue, so that we see it got colour."""

    receptive_radius = 0

    def forward(self, lr: Tensor) -> Tensor:
        sr = lr.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return sr.flip(1) if lr.shape[1] == 3 else sr


def model(channels: int = 1) -> SRModel:
    card = ModelCard("repeat", "Repeat", "interpolation", "", 2026, (2,), ("only",))
    return SRModel(Repeat(), card, 2, channels, "only", default_recipe)


def pixels(dtype: Any, *shape: int) -> Any:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 9), (7, 9, 3), (1, 1)])
def test_every_value_survives_a_network_that_only_repeats(dtype: Any, shape: tuple[int, ...]) -> None:
    image = pixels(dtype, *shape)
    sr = super_resolve(model(), image)
    assert sr.dtype == dtype
    assert np.array_equal(sr, image.repeat(2, 0).repeat(2, 1))


def test_a_colour_network_sees_the_channels_together() -> None:
    image = pixels(np.uint8, 6, 5, 3)
    assert np.array_equal(super_resolve(model(3), image), image[..., ::-1].repeat(2, 0).repeat(2, 1))


def test_grey_stays_grey_in_three_equal_channels() -> None:
    image = np.repeat(pixels(np.uint8, 20, 18)[..., None], 3, axis=2)
    sr = super_resolve(create("bicubic", scale=2), image)
    assert np.array_equal(sr[..., 0], sr[..., 1]) and np.array_equal(sr[..., 0], sr[..., 2])
    assert np.array_equal(sr[..., 0], super_resolve(create("bicubic", scale=2), image[..., 0]))


class Darker(nn.Module):
    """Halves 8-bit levels of [0, 1] images and repeats them: no affine map commutes with it."""

    receptive_radius = 0
    studio_luma = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, lr: Tensor) -> Tensor:
        self.seen.append(lr)
        return 0.5 * lr.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_published_luma_networks_get_matlabs_luma_and_chroma_is_bicubic() -> None:
    """Against MATLAB's rgb2ycbcr written out, and its inverse; grey images stay in full range."""
    network = Darker()
    luma_model = replace(model(), network=network)
    image = pixels(np.uint8, 7, 6, 3) // 4 + 90
    to_ycbcr = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]])
    ycbcr = image / 255.0 @ to_ycbcr.T + [16, 128, 128]
    sr = super_resolve(luma_model, image)
    (seen,) = network.seen
    np.testing.assert_allclose(255 * seen[0, 0].numpy(), ycbcr[..., 0], atol=0.01)
    enlarged = resize_by(torch.from_numpy(ycbcr).permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0).numpy()
    enlarged[..., 0] = 0.5 * ycbcr[..., 0].repeat(2, 0).repeat(2, 1)
    expected = 255 * (enlarged - [16, 128, 128]) @ np.linalg.inv(to_ycbcr).T
    assert np.abs(sr - expected.clip(0, 255)).max() <= 0.6
    for grey in (image[..., 0], np.repeat(image[..., :1], 3, axis=2)):
        network.seen.clear()
        super_resolve(luma_model, grey)
        np.testing.assert_allclose(255 * network.seen[0][0, 0].numpy(), image[..., 0], atol=1e-4)


def test_transparency_is_kept_and_enlarged() -> None:
    image = pixels(np.uint8, 8, 8, 4)
    image[..., 3] = 255
    sr = super_resolve(model(), image)
    assert sr.shape == (16, 16, 4) and (sr[..., 3] == 255).all()


def test_tiles_change_nothing() -> None:
    image = pixels(np.uint8, 50, 37)
    bicubic = create("bicubic", scale=2)
    whole, tiled = super_resolve(bicubic, image), super_resolve(bicubic, image, tile=16)
    assert np.abs(whole.astype(int) - tiled.astype(int)).max() <= 1  # float rounding next to a half
    assert (whole != tiled).mean() < 1e-3


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)])
def test_other_pixels_are_refused(bad: Any) -> None:
    with pytest.raises(SrbenchError, match=r"Expected 8 or 16 bit pixels"):
        super_resolve(model(), bad)


def write(path: Path, image: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def test_files_are_written_and_a_bad_one_is_skipped_with_its_reason(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a" / "x.png", pixels(np.uint8, 20, 24))
    write(tmp_path / "in" / "b" / "x.tif", pixels(np.uint16, 16, 16))
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG not really")
    said: list[str] = []
    outcome = infer("bicubic", [tmp_path / "in"], out=tmp_path / "out", scale=2, tell=said.append)
    names = [path.relative_to(tmp_path / "out").as_posix() for path in outcome.written]
    assert names == ["a/x_bicubic_x2.png", "b/x_bicubic_x2.tif"]
    assert list(outcome.skipped) == [tmp_path / "in" / "broken.png"]
    eight, sixteen = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in outcome.written)
    assert eight is not None and (eight.dtype, eight.shape) == (np.uint8, (40, 48))
    assert sixteen is not None and (sixteen.dtype, sixteen.shape) == (np.uint16, (32, 32))
    assert not said


def test_a_missing_file_is_skipped_not_fatal(tmp_path: Path) -> None:
    good = write(tmp_path / "good.png", pixels(np.uint8, 20, 20))
    outcome = infer("nearest", [tmp_path / "no.png", good], out=tmp_path, scale=2)
    assert len(outcome.written) == 1 and "no.png" in outcome.skipped[tmp_path / "no.png"]


@pytest.mark.usefixtures("nothing_shipped")
def test_a_network_without_weights_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    with pytest.raises(SrbenchError, match=r"srbench train vdsr --dataset NAME --scale 4"):
        infer("vdsr", [tmp_path], out=tmp_path)


@pytest.mark.slow
def test_scale_and_variant_come_from_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    image = write(tmp_path / "a.png", pixels(np.uint8, 12, 12))
    network = create("vdsr", scale=3, variant="tiny")
    path = tmp_path / "w.safetensors"
    header = weights.WeightsHeader("vdsr", "tiny", 3, 1, dataset="d", seed=0, budget="smoke")
    weights.save(path, network.network.state_dict(), header)
    outcome = infer("vdsr", [image], out=tmp_path / "out", weights=path)
    assert outcome.written[0].name == "a_vdsr_x3.png"
    sr = cv2.imread(str(outcome.written[0]), cv2.IMREAD_UNCHANGED)
    assert sr is not None and np.array_equal(sr, super_resolve(network, cv2.imread(str(image), 0)))


@pytest.mark.slow
def test_the_best_trained_weights_are_found_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    image = write(tmp_path / "a.png", pixels(np.uint8, 12, 12))
    state = create("vdsr", scale=4, variant="tiny").network.state_dict()
    for budget, dataset in (("smoke", "d1"), ("short", "d2")):
        header = weights.WeightsHeader("vdsr", "tiny", 4, 1, dataset=dataset, seed=0, budget=budget)
        weights.save(tmp_path / "runs" / budget / "weights.safetensors", state, header)
    said: list[str] = []
    infer("vdsr", [image], out=tmp_path / "out", tell=said.append)
    assert "budget short" in said[0] and "smoke" in said[1]
