"""Weights: what is saved is found and loaded; what is wrong is recognised; nothing from a file is run."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from srbench import models, weights
from srbench.utils.errors import SrbenchError
from srbench.utils.files import sha256_file
from srbench.weights import WeightsHeader
from srbench.weights import imagenet as pretrained

pytestmark = pytest.mark.usefixtures("few_models")

HEADER = WeightsHeader("vdsr", "tiny", 4, 1, "sem_synthetic", 7, "smoke", 10, "ff", ("a note",), "0.1.0")


def tiny() -> models.SRModel:
    return models.create("vdsr", scale=4, variant="tiny")


def random_state(model: models.SRModel) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(tensor.shape, generator=generator).to(tensor.dtype)
        for name, tensor in model.network.state_dict().items()
    }


def assert_holds(model: models.SRModel, state: dict[str, torch.Tensor]) -> None:
    for name, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_safetensors_round_trip(tmp_path: Path) -> None:
    model, path = tiny(), tmp_path / "w.safetensors"
    state = random_state(model)
    weights.save(path, state, HEADER)
    assert weights.read_header(path) == HEADER
    assert weights.load(model, path).header == HEADER
    assert_holds(model, state)


@pytest.mark.parametrize("wrapper", [None, "params", "params_ema", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_layouts_of_the_field(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    model, path = tiny(), tmp_path / "w.pth"
    state = random_state(model)
    content = {prefix + name: tensor for name, tensor in state.items()}
    torch.save({wrapper: content, "epoch": 3} if wrapper else content, path)
    assert weights.load(model, path).header is None
    assert_holds(model, state)


def test_averaged_weights_win_over_raw_ones(tmp_path: Path) -> None:
    model, path = tiny(), tmp_path / "w.pth"
    averaged, raw = random_state(model), tiny().network.state_dict()
    torch.save({"params": raw, "params_ema": averaged}, path)
    weights.load(model, path)
    assert_holds(model, averaged)


@pytest.mark.slow
def test_weights_of_another_network_are_recognised(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    other = models.create("edsr", scale=2, variant="baseline", channels=3)
    weights.save(path, other.network.state_dict(), WeightsHeader("edsr", "baseline", 2, 3))
    with pytest.raises(
        SrbenchError, match=r"holds edsr variant baseline, x2, 3 channels, not vdsr variant tiny"
    ):
        weights.load(tiny(), path)
    torch.save(other.network.state_dict(), path.with_suffix(".pth"))
    with pytest.raises(SrbenchError, match=r"looks like edsr variant baseline, x2, 3 channels"):
        weights.load(tiny(), path.with_suffix(".pth"))


@pytest.mark.parametrize("change", [{"scale": 2}, {"variant": "paper"}, {"model": "edsr"}, {"channels": 3}])
def test_the_header_counts_where_the_shapes_agree(tmp_path: Path, change: dict[str, Any]) -> None:
    """VDSR has the same tensors at every magnification; weights for another one must not slip in."""
    path = tmp_path / "w.safetensors"
    weights.save(path, tiny().network.state_dict(), replace(HEADER, **change))
    with pytest.raises(SrbenchError, match=r"holds .* not vdsr variant tiny, x4, 1 channel\."):
        weights.load(tiny(), path)


def test_weights_of_a_foreign_network_are_recognised_by_spandrel(tmp_path: Path) -> None:
    pytest.importorskip("spandrel", reason="the spandrel extra is not installed")
    from spandrel.architectures.SwinIR import SwinIR

    path = tmp_path / "w.pth"
    network = SwinIR(
        embed_dim=24, depths=[2, 2], num_heads=[2, 2], window_size=8, upscale=2, upsampler="pixelshuffle"
    )
    torch.save(network.state_dict(), path)
    with pytest.raises(SrbenchError, match=r"looks like SwinIR \(recognised by spandrel\)"):
        weights.load(tiny(), path)


def test_a_file_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, witness = tmp_path / "evil.pth", tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(witness),)

    torch.save({"params": Evil()}, path)
    with pytest.raises(SrbenchError, match="refused"):
        weights.load(tiny(), path)
    torch.save(torch.nn.Linear(2, 2), path)
    with pytest.raises(SrbenchError, match="state_dict"):
        weights.load(tiny(), path)
    assert not witness.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("keep", [0, 7, 200, 0.9])
def test_truncated_files_are_named(tmp_path: Path, name: str, keep: float) -> None:
    whole, path = tmp_path / f"whole-{name}", tmp_path / name
    model = tiny()
    if name.endswith("pth"):
        torch.save(model.network.state_dict(), whole)
    else:
        weights.save(whole, model.network.state_dict(), HEADER)
    content = whole.read_bytes()
    path.write_bytes(content[: int(keep if keep >= 1 or keep == 0 else keep * len(content))])
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    with pytest.raises(SrbenchError, match=str(path)):
        weights.load(model, path)
    assert_holds(model, before)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SrbenchError, match="No weights file"):
        weights.load(tiny(), tmp_path / "none.pth")


def test_find_prefers_budget_then_age(tmp_path: Path) -> None:
    state = tiny().network.state_dict()
    for age, (folder, header) in enumerate(
        {
            "old-short": replace(HEADER, budget="short"),
            "new-smoke": HEADER,
            "newer-short": replace(HEADER, budget="short"),
            "other-seed": replace(HEADER, seed=8),
            "other-scale": replace(HEADER, scale=2),
            "other-data": replace(HEADER, dataset="sem_open"),
        }.items()
    ):
        path = tmp_path / folder / "weights.safetensors"
        weights.save(path, state, header)
        os.utime(path, (1000 + age, 1000 + age))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "weights.safetensors").write_bytes(b"half")
    found = weights.find("vdsr", scale=4, dataset="sem_synthetic", runs=tmp_path)
    assert {entry.path.parent.name for entry in found} == {"newer-short", "other-seed"}
    assert all(entry.sha256 == sha256_file(entry.path) for entry in found)
    assert len(weights.find("vdsr", scale=4, runs=tmp_path)) == 3
    assert weights.find("vdsr", scale=4, variant="paper", runs=tmp_path) == []


def test_pretrained_is_hash_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert pretrained.pretrained("vgg19") is None
    assert "vgg19-dcbb9e9d.pth" in pretrained.describe("vgg19")
    path = tmp_path / "weights" / "vgg19-dcbb9e9d.pth"
    path.parent.mkdir()
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(SrbenchError, match="not what its name says"):
        pretrained.pretrained("vgg19")
    entry = replace(pretrained.FILES["vgg19"], file=f"vgg19-{sha256_file(path)[:8]}.pth")
    monkeypatch.setattr(pretrained, "FILES", {"vgg19": entry})
    path.rename(path.with_name(entry.file))
    state = pretrained.pretrained("vgg19")
    assert state is not None and list(state) == ["features.0.weight"]


def test_unknown_pretrained_network() -> None:
    with pytest.raises(SrbenchError, match="did you mean 'mobilenet_v2'"):
        pretrained.pretrained("mobilnet_v2")
