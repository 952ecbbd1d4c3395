"""Weights that come with the package: whole, as recorded, and taken where there are no better ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import srbench
from helpers.homes import with_scenes
from helpers.shipped import entry, find, instead
from srbench import models, weights
from srbench.cli.app import cli
from srbench.config import EvaluationConfig
from srbench.datasets.images.resize import resize
from srbench.evaluation.jobs import EvaluationRequest, resolve
from srbench.utils.errors import SrbenchError
from srbench.utils.files import sha256_file
from srbench.weights import WeightsHeader

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Path]:
    """Two networks at x2, the recommended one not the best in validation, and one at x3."""
    folder = tmp_path / "shipped"
    entries = [
        entry(folder, "edsr", 0.4, recommended=True),
        entry(folder, "vdsr", 0.6),
        entry(folder, "vdsr", 0.2, scale=3, recommended=True),
    ]
    with instead(folder, entries):
        yield folder


def trained(home: Path, name: str, budget: str, gain: float | None = None, model: str = "vdsr") -> Path:
    """A finished run of the user's."""
    path = home / "runs" / name / "weights.safetensors"
    header = WeightsHeader(model, "tiny", 2, 1, "mine", 0, budget)
    weights.save(path, models.create(model, scale=2, variant="tiny").network.state_dict(), header)
    if gain is not None:
        path.with_name("manifest.json").write_text(
            f'{{"progress": {{"metrics": {{"gain_over_bicubic": {gain}}}}}}}'
        )
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "field.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (12, 14), dtype=np.uint8))
    return path


# What is really in the package.


def test_every_file_is_what_its_entry_says() -> None:
    entries = weights.shipped()
    files = {path.name for path in find.SHIPPED.glob("*.safetensors")}
    assert files == {item.file for item in entries} and entries
    for item in entries:
        path = find.SHIPPED / item.file
        header = weights.read_header(path)
        assert header is not None and sha256_file(path) == item.sha256
        facts = (header.model, header.variant, header.scale, header.dataset, header.data, header.degradation)
        assert facts == (
            *(item.model, item.variant, item.scale, item.trained_on, item.data),
            item.degradation,
        )
        assert (header.budget, header.seed) == (item.budget, item.seed) and item.budget != "smoke"
        assert item.licence == "CC0-1.0" and item.summary and len(item.data) == 64
        assert item.scale in models.card(item.model).scales
        assert not item.recommended or item.gain > 0
    assert sum(path.stat().st_size for path in find.SHIPPED.iterdir()) < 5e6


@pytest.mark.slow
def test_they_load_into_their_networks() -> None:
    for item in weights.shipped():
        model = models.create(item.model, scale=item.scale, variant=item.variant)
        weights.load(model, find.SHIPPED / item.file)
        assert torch.isfinite(model.infer(torch.rand(1, 1, 24, 24))).all()


@pytest.mark.slow
def test_on_a_fresh_machine_images_get_better_than_bicubic_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn scenes, which none of the networks was trained on."""
    monkeypatch.setenv("SRBENCH_HOME", str(with_scenes(tmp_path / "fresh")))
    data = srbench.datasets.open("sem_synthetic:small")
    truth = {f"{number}.png": data.pixels(scene.id) for number, scene in enumerate(data.split("test")[:3])}
    (tmp_path / "in").mkdir()
    for name, hr in truth.items():
        smaller = tuple(side // 4 for side in hr.shape)
        lr = resize(torch.from_numpy(hr / 255.0)[None, None], smaller)[0, 0].numpy().clip(0, 1)
        cv2.imwrite(str(tmp_path / "in" / name), np.floor(lr * 255 + 0.5).astype(np.uint8))
    psnr = []
    for model in (None, "bicubic"):
        outcome = srbench.infer(model, tmp_path / "in", out=tmp_path / "out", scale=4, tell=lambda _: None)
        images = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in sorted(outcome.written)]
        errors = [(sr / 1.0 - hr)[4:-4, 4:-4] for sr, hr in zip(images, truth.values(), strict=True)]
        psnr.append(np.mean([10 * np.log10(255**2 / np.mean(error**2)) for error in errors]))
    assert psnr[0] > psnr[1] + 0.2, psnr


# What is taken, and what is said.


def test_without_a_model_the_recommended_one_of_the_scale_is_taken(
    box: Path, home: Path, image: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(cli, ["infer", str(image), "--out", str(tmp_path / "a")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "a" / "field_edsr_x2.png").is_file()
    for words in ("edsr-x2.safetensors", "sem_open", "laptop", "+0.40 dB", "edsr did well.", "CC0-1.0"):
        assert words in done.output
    assert "vdsr-x2.safetensors" in done.output and "vdsr-x3" not in done.output  # passed over
    done = CliRunner().invoke(cli, ["infer", str(image.parent), "--scale", "3", "--out", str(tmp_path / "b")])
    assert done.exit_code == 0 and (tmp_path / "b" / "field_vdsr_x3.png").is_file()
    with pytest.raises(SrbenchError, match="x2, x3"):
        srbench.infer(image, out=tmp_path / "c", scale=4)
    denoiser = replace(entry(box, "vdsr", 9.0, scale=1, recommended=True), task="denoise")
    entries = [denoiser, *weights.shipped()]
    with instead(box, entries):  # without a scale an image is enlarged
        assert srbench.infer(image, out=tmp_path / "c").written[0].name == "field_edsr_x2.png"
    assert [path.name for path in srbench.infer([image], out=tmp_path / "d").written] == ["field_edsr_x2.png"]


def test_a_model_without_weights_of_the_users_takes_the_shipped_ones(
    box: Path, home: Path, image: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    srbench.infer("vdsr", image, out=tmp_path / "a", scale=2, tell=said.append)
    assert "vdsr-x2.safetensors" in said[0] and "shipped" in said[0]
    own = trained(home, "mine", "smoke")
    said.clear()
    srbench.infer("vdsr", image, out=tmp_path / "b", scale=2, tell=said.append)
    assert str(own) in said[0] and "vdsr-x2.safetensors" in said[1]
    assert "smoke" in said[2]  # it says so when it enlarges
    said.clear()
    srbench.infer(None, image, out=tmp_path / "c", weights=own, tell=said.append)
    assert any("smoke" in line and "bicubic" in line for line in said)
    named = srbench.infer(None, image, out=tmp_path / "d", weights="vdsr-x3.safetensors", tell=said.append)
    assert named.written[0].name == "field_vdsr_x3.png"


def request(**options: Any) -> EvaluationRequest:
    return EvaluationRequest(EvaluationConfig.of({"scale": 2, **options}), "sem_open")


def test_eval_takes_them_where_the_user_has_none_of_a_model(box: Path, home: Path) -> None:
    (job,) = resolve(["vdsr"], request())
    assert job.weights == box / "vdsr-x2.safetensors" and job.gain == 0.6 and not job.missing
    assert any("shipped" in note for note in job.notes) and "vdsr-x2.safetensors" in job.remarks[0]
    assert job.describe_weights()["gain_over_bicubic"] == 0.6
    own = trained(home, "mine", "smoke")
    (job,) = resolve(["vdsr"], request())
    assert job.weights == own and "vdsr-x2.safetensors" in job.remarks[0]
    assert not any("shipped" in note for note in job.notes)
    (job,) = resolve(["vdsr"], request(variant="paper"))
    assert job.missing
    assert {job.model for job in resolve("all", request()) if job.weights} == {"edsr", "vdsr"}


def test_budget_then_gain_decide_never_the_path(home: Path, tmp_path: Path, nothing_shipped: None) -> None:
    order = [("d", "paper", -1.0), ("c", "short", None), ("b", "laptop", 0.5), ("a", "laptop", 0.3)]
    order += [("0", "laptop", None), ("1", "smoke", 2.0)]
    for name, budget, gain in reversed(order):
        trained(home, name, budget, gain)
    ranked = weights.candidates("vdsr", scale=2)
    assert [file.path.parent.name for file in ranked] == [name for name, _, _ in order]
    (best,) = weights.find("vdsr", scale=2)
    assert best.path.parent.name == "d"
    (job,) = resolve(["vdsr"], request())
    assert job.weights == best.path
    assert all(str(file.path) in job.remarks[0] for file in ranked[1:])  # every one passed over is named
    trained(home, "other", "laptop", 0.1, model="edsr")
    assert len(weights.candidates()) == len(order) + 1


def test_a_damaged_one_is_named_and_never_loaded(box: Path, image: Path, tmp_path: Path) -> None:
    path = box / "edsr-x2.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(weights.DamagedWeights, match="Install srbench again"):
        weights.load(models.create("edsr", scale=2, variant="tiny"), path)
    (line,) = weights.left_out()
    assert str(path) in line
    assert weights.find("edsr", scale=2) == [] and len(weights.find("vdsr", scale=2)) == 1
    said: list[str] = []
    srbench.infer("vdsr", image, out=tmp_path / "out", scale=2, tell=said.append)
    assert said[0] == line
    (box / find.INDEX).write_text('[{"file": 3}]')
    find.shipped.cache_clear()
    with pytest.raises(SrbenchError, match="Install srbench again"):
        weights.shipped()


def test_the_list_shows_them_first_with_what_they_learned_from(box: Path, home: Path) -> None:
    own = trained(home, "mine", "laptop", 0.1)
    shown = CliRunner().invoke(cli, ["weights", "list", "vdsr"]).output
    places = [
        shown.index(text) for text in ("vdsr-x2.saf", "vdsr-x3.saf", "trained here", "vdsr_model_epoch")
    ]
    assert places == sorted(places)
    for words in ("trained on", "size", "score", "+0.60 dB", "sem_open", "photographs"):
        assert words in shown
    listed = CliRunner().invoke(cli, ["weights", "list", "--json"]).output
    assert listed.index("edsr-x2") < listed.index(str(own)) < listed.index("edsr_baseline")


def test_entries_survive_their_file(box: Path) -> None:
    assert [asdict(item)["recommended"] for item in weights.shipped()] == [True, False, True]
    (item,) = [file for file in weights.candidates("edsr") if file.shipped]
    assert item.shipped == weights.shipped()[0] and item.gain == 0.4
