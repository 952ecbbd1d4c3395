"""Weights: what is saved is found and loaded; what is wrong is recognised; nothing from a file is run."""

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
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


def test_what_luma_a_network_learned_from_is_told_by_who_trained_it(tmp_path: Path) -> None:
    model = tiny()
    assert not model.studio_luma
    torch.save(model.network.state_dict(), tmp_path / "published.pth")
    weights.save(tmp_path / "ours.safetensors", model.network.state_dict(), HEADER)
    for name, studio in (("published.pth", True), ("ours.safetensors", False), ("published.pth", True)):
        weights.load(model, tmp_path / name)
        assert model.studio_luma == studio
    colour = models.create("vdsr", scale=4, variant="tiny", channels=3)
    torch.save(colour.network.state_dict(), tmp_path / "colour.pth")
    weights.load(colour, tmp_path / "colour.pth")
    weights.load(model, tmp_path / "colour.pth", rgb_to_grey=True)
    assert not colour.studio_luma and not model.studio_luma


def test_averaged_weights_win_over_raw_ones(tmp_path: Path) -> None:
    model, path = tiny(), tmp_path / "w.pth"
    averaged, raw = random_state(model), tiny().network.state_dict()
    torch.save({"params": raw, "params_ema": averaged}, path)
    weights.load(model, path)
    assert_holds(model, averaged)


State = dict[str, torch.Tensor]


def below(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


OTHERS: State = {f"{index}.weight": torch.zeros(3, 3) for index in range(40)}
LAYOUTS: dict[str, Callable[[State], Any]] = {
    "lightning": lambda state: {
        "state_dict": below("model.", state),
        "epoch": 3,
        "hyper_parameters": {"lr": 1},
    },
    "lightning with others": lambda state: {
        "state_dict": below("generator.", state)
        | below("discriminator.", OTHERS)
        | below("loss.vgg.", OTHERS)
    },
    "two prefixes": lambda state: below("module.model.", state),
    "two prefixes with others": lambda state: below("module.net.", state) | below("module.loss.", OTHERS),
    "kair": lambda state: below("netE.", state),
    "a name of its own": lambda state: {"net_g": state, "net_d": OTHERS},
    "names within a name": lambda state: {"model": {"D": OTHERS, "G": state}, "step": torch.ones(())},
    "averaged in a name": lambda state: {"ema_model": below("ema_model.module.", state), "step": 1},
    "averaged beside": lambda state: {
        "model": {name: tensor + 1 for name, tensor in state.items()},
        "my_ema": state,
    },
    "averaged below": lambda state: (
        below("online_model.", {name: tensor + 1 for name, tensor in state.items()})
        | below("ema_model.", state)
        | {"initted": torch.ones(()), "step": torch.ones(())}
    ),
    "with its optimiser": lambda state: {
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(9)}}, "param_groups": [{"lr": 1e-4}]},
        "weights": below("_orig_mod.module.", state),
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_network_is_taken_out_of_what_it_is_saved_in(tmp_path: Path, layout: str) -> None:
    model, path = tiny(), tmp_path / "w.ckpt"
    state = random_state(model)
    torch.save(LAYOUTS[layout](state), path)
    weights.load(model, path)
    assert_holds(model, state)
    assert weights.identify(path, model="vdsr", scale=4).network == ("vdsr", "tiny", 4, 1)


@pytest.mark.slow
def test_what_fits_nothing_is_named_as_it_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    torch.save({"state_dict": below("generator.", OTHERS)}, path)
    for refused in (lambda: weights.load(tiny(), path), lambda: weights.identify(path, model="vdsr")):
        with pytest.raises(SrbenchError, match=r"'generator\.0\.weight'"):
            refused()
    torch.save({"epoch": 3, "args": {"lr": 1.0}}, path)
    with pytest.raises(SrbenchError, match=r"no tensors.*'epoch', 'args'"):
        weights.load(tiny(), path)


def test_files_are_told_by_what_is_in_them(tmp_path: Path) -> None:
    model = tiny()
    state = random_state(model)
    weights.save(tmp_path / "w.safetensors", state, HEADER)
    torch.save(state, tmp_path / "w.pth")
    (tmp_path / "w.safetensors").rename(tmp_path / "renamed.pth")
    (tmp_path / "w.pth").rename(tmp_path / "renamed.safetensors")
    for name in ("renamed.pth", "renamed.safetensors"):
        weights.load(model, tmp_path / name)
        assert_holds(model, state)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_weights_in_a_folder_of_any_name_load_and_are_found_as_printed(tmp_path: Path) -> None:
    model, run = tiny(), tmp_path / os.fsdecode(b"pr\xe9cieux")
    state = random_state(model)
    weights.save(run / "weights.safetensors", state, HEADER)
    for path in (run, tmp_path / r"pr\xe9cieux", tmp_path / r"pr\xe9cieux" / "weights.safetensors"):
        assert weights.locate(path) == run / "weights.safetensors"
    assert weights.load(model, weights.locate(run)).header == HEADER
    assert_holds(model, state)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_refused_by_its_name(tmp_path: Path) -> None:
    """The lines that the refusal names make a file that loads."""
    model, path = tiny(), tmp_path / "traced.pt"
    model.network.load_state_dict(random_state(model))
    torch.jit.save(torch.jit.trace(model.network.eval(), torch.zeros(1, 1, 8, 8)), path)
    with warnings.catch_warnings(), pytest.raises(SrbenchError, match="TorchScript") as error:
        warnings.simplefilter("error")
        weights.load(tiny(), path)
    lines = str(error.value).partition(":\n  ")[2].replace("\n  ", "\n")
    exec(lines, {})
    loaded = tiny()
    weights.load(loaded, tmp_path / "traced-tensors.pth")
    assert_holds(loaded, random_state(model))


def test_another_archive_is_no_damaged_torch_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", kernel=np.zeros(3))
    (tmp_path / "w.npz").rename(tmp_path / "w.pth")
    with pytest.raises(SrbenchError, match=r"kernel\.npy") as error:
        weights.load(tiny(), tmp_path / "w.pth")
    assert not isinstance(error.value, weights.DamagedWeights)


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


def test_what_weights_learned_from() -> None:
    """The set by name or by content, those that they started from, and each that was joined."""
    parent = weights.Ancestor("0123", "p", replace(HEADER, dataset="sem", data="aa"))
    header = replace(HEADER, dataset="elsewhere", data="bb", lineage=(parent,))
    assert header.is_trained_on("sem", "other") and header.is_trained_on("renamed", "aa")
    assert header.is_trained_on("elsewhere", "") and not header.is_trained_on("third", "cc")
    joined = replace(HEADER, dataset="joined:sem_synthetic:small+sem_open", data="dd")
    assert joined.is_trained_on("sem_open", "cc") and joined.is_trained_on("sem_synthetic:small", "")
    assert not joined.is_trained_on("sem_synthetic", "") and not joined.is_trained_on("kriss", "")
