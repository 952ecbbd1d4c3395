"""``srbench export``: other programs read the files and get what ``SRModel.infer`` gives."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from srbench import weights
from srbench.cli.app import cli
from srbench.inference import export as exporting
from srbench.inference import graphs
from srbench.inference.export import export
from srbench.inference.graphs import WholeModel, compared, graph
from srbench.models import SRModel, create
from srbench.models.baselines.esrgan import ESRGANConfig, RRDBNet
from srbench.models.baselines.swinir import SwinIRConfig, build_swinir
from srbench.utils.errors import ModelError, SrbenchError, StorageError
from srbench.utils.files import sha256_file
from srbench.weights.io import header_of

torch.set_num_threads(1)

needs_onnxruntime = pytest.mark.skipif(
    not all(map(graphs.importlib.util.find_spec, ("onnx", "onnxruntime"))),  # type: ignore[attr-defined]
    reason="the onnxruntime extra is not installed",
)


def drawn(name: str, scale: int = 2, variant: str = "tiny") -> SRModel:
    """A network whose zero layers have numbers too, so that each of its layers shows in the output."""
    torch.manual_seed(1)
    model = create(name, scale=scale, variant=variant)
    for parameter in model.network.eval().requires_grad_(False).parameters():
        if parameter.ndim > 1 and not parameter.any():
            parameter.normal_(std=0.02)
    return model


def saved(model: SRModel, path: Path) -> Path:
    weights.save(path, model.network.state_dict(), header_of(model))
    return path


def silent(_: str) -> None: ...


@needs_onnxruntime
@pytest.mark.parametrize("name", ["edsr", "swinir", "vdsr", pytest.param("hmanet", marks=pytest.mark.slow)])
def test_onnx_runtime_gives_what_torch_gives_on_sizes_it_was_not_made_with(name: str) -> None:
    import onnxruntime

    model = drawn(name)
    content, differences = graph(model, {}, "onnx")
    assert max(differences.values()) <= 1e-5
    running = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for shape in ((1, 1, 3, 2), (3, 1, 17, 29)):
        lr = np.random.default_rng(0).random(shape, np.float32)
        (sr,) = running.run(None, {"lr": lr})
        assert sr.shape == (*shape[:2], 2 * shape[2], 2 * shape[3])
        np.testing.assert_allclose(sr, model.infer(torch.from_numpy(lr)).numpy(), atol=1e-5)


@needs_onnxruntime
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["srgan", "esrgan", "spsr", "lapsrn", "swift_srgan", "csm_sr", "cascade", "bicubic"]
)
def test_the_other_networks_can_be_exported(name: str) -> None:
    model = drawn(name, 2, "matlab" if name == "bicubic" else "tiny")
    assert max(graph(model, {}, "onnx")[1].values()) <= 1e-5


@pytest.mark.parametrize("name", ["edsr", "swinir"])
def test_torchscript_gives_what_torch_gives(name: str, tmp_path: Path) -> None:
    model = drawn(name)
    written = export(
        name,
        weights=saved(model, tmp_path / "w.safetensors"),
        out=tmp_path / "a.pt",
        file_format="torchscript",
        tell=silent,
    )
    extra = {"metadata.json": ""}
    loaded: Any = torch.jit.load(written.path, _extra_files=extra)  # type: ignore[no-untyped-call]
    assert json.loads(extra["metadata.json"]) == dict(written.metadata)
    lr = torch.rand(2, 1, 9, 21)
    torch.testing.assert_close(loaded(lr), model.infer(lr), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("multiple", "sides"), [(8, (3, 40)), (8, (9, 16)), (4, (5, 7)), (1, (3, 3))])
def test_padding_by_indices_is_padding(multiple: int, sides: tuple[int, int]) -> None:
    model = replace(drawn("nearest", 2, "matlab"), network=Sees(multiple))
    lr = torch.rand(1, 1, *sides)
    assert torch.equal(WholeModel(model)(lr), model.infer(lr))


class Sees(nn.Module):
    """A network whose every output depends on what the image was padded with."""

    def __init__(self, size_multiple: int) -> None:
        super().__init__()
        self.size_multiple = size_multiple

    def forward(self, lr: Tensor) -> Tensor:
        weighted = lr * torch.linspace(0, 1, lr.shape[-1]) * torch.linspace(0, 1, lr.shape[-2])[:, None]
        return (lr + weighted.mean()).repeat_interleave(2, -1).repeat_interleave(2, -2)


@needs_onnxruntime
def test_the_command_writes_what_is_known_of_shipped_weights(tmp_path: Path) -> None:
    import onnx

    out = tmp_path / "edsr.onnx"
    result = CliRunner().invoke(cli, ["export", "edsr", "--scale", "4", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert str(out) in result.output
    stored = onnx.load(out)
    facts = {entry.key: entry.value for entry in stored.metadata_props}
    entry = next(entry for entry in weights.shipped() if entry.model == "edsr" and entry.scale == 4)
    assert (facts["model"], facts["variant"], facts["scale"], facts["channels"]) == ("edsr", "tiny", "4", "1")
    assert facts["weights_sha256"] == entry.sha256 and facts["licence"] == entry.licence
    assert entry.trained_on in facts["trained_on"] and facts["degradation"] == entry.degradation
    (entered,) = stored.graph.input
    open_sides = [dimension.dim_param for dimension in entered.type.tensor_type.shape.dim]
    assert [bool(name) for name in open_sides] == [True, False, True, True]
    before = sha256_file(out)
    again = CliRunner().invoke(cli, ["export", "edsr", "--scale", "4", "--out", str(out)])
    assert isinstance(again.exception, SrbenchError) and sha256_file(out) == before
    forced = CliRunner().invoke(cli, ["export", "edsr", "--scale", "4", "--out", str(out), "--force"])
    assert forced.exit_code == 0 and sha256_file(out) == before  # the same file, byte for byte
    assert [path.name for path in tmp_path.iterdir()] == ["edsr.onnx"]


@pytest.mark.parametrize(
    ("name", "changes", "error"),
    [
        ("a.onnx", {"file_format": "torchscript"}, SrbenchError),
        ("folder.pt", {}, SrbenchError),
        ("nowhere/a.pt", {}, SrbenchError),
        ("a.pt", {"file_format": "tflite"}, SrbenchError),
        ("a.pt", {"model": "no_such_model"}, ModelError),
        ("a.pt", {"model": "total_variation", "scale": 1}, ModelError),
        ("a.pt", {"weights": "none.safetensors"}, SrbenchError),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(
    name: str, changes: dict[str, Any], error: type[Exception], tmp_path: Path
) -> None:
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(error):
        export(
            **{
                "model": "edsr",
                "out": tmp_path / name,
                "file_format": "torchscript",
                "tell": silent,
                **changes,
            }
        )
    assert [path.name for path in tmp_path.iterdir()] == ["folder.pt"]


def test_a_network_that_says_why_it_cannot_be_exported(tmp_path: Path) -> None:
    model = create("dsrvae", scale=2, variant="tiny")
    file = saved(model, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=model.not_exported[:20]):
        export(None, weights=file, out=tmp_path / "a.pt", file_format="torchscript", tell=silent)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


class Fixed(nn.Module):
    """A network that gives images of 40 x 56, as it was traced, twice their values."""

    def forward(self, lr: Tensor) -> Tensor:
        gain = 2.0 if tuple(map(int, lr.shape[-2:])) == (40, 56) else 1.0
        return (gain * lr).repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_a_graph_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = replace(drawn("nearest", 2, "matlab"), network=Fixed())
    monkeypatch.setattr(exporting, "load_model", lambda *_, **__: exporting.LoadedModel(fixed))
    out = tmp_path / "a.pt"
    out.write_bytes(b"what was there")
    with pytest.raises(ModelError):
        export("nearest", out=out, file_format="torchscript", force=True, tell=silent)
    assert out.read_bytes() == b"what was there" and list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    "wrong", [lambda sr: sr[:1], lambda sr: sr[..., 1:], lambda sr: 1 / 0, lambda sr: torch.nan * sr]
)
def test_one_image_of_two_another_size_an_error_and_nan_are_differences(wrong: Any) -> None:
    model = drawn("nearest", 2, "matlab")
    assert max(compared(model, model.infer).values()) == 0
    with pytest.raises(ModelError):
        compared(model, lambda lr: wrong(model.infer(lr)))


def test_a_file_that_cannot_be_written_is_known_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self").exists():
        pytest.skip("needs a folder that not even root can write to")
    monkeypatch.setattr(exporting, "graph", lambda *_: pytest.fail("it began to work"))
    with pytest.raises(StorageError, match="--out"):
        export("nearest", out="/proc/a.pt", file_format="torchscript", tell=silent)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs.importlib.util, "find_spec", lambda _: None)  # type: ignore[attr-defined]
    for file_format, extra in (
        ("onnx", "onnxruntime"),
        ("bioimageio", "bioimageio"),
        ("spandrel", "spandrel"),
    ):
        with pytest.raises(SrbenchError, match=rf"srbench\[{extra}\]"):
            ending = exporting.ENDINGS[file_format][0]  # type: ignore[index]
            export("nearest", out=tmp_path / f"a{ending}", file_format=file_format, tell=silent)  # type: ignore[arg-type]


NETWORKS = {
    "esrgan": (4, lambda: RRDBNet(4, 1, ESRGANConfig(1, 8, 32))),
    "swinir": (2, lambda: build_swinir(2, (0.0,), SwinIRConfig(24, (2,), 4, "pixelshuffledirect"))),
}
"""Networks of layouts that spandrel knows, small."""


@pytest.mark.parametrize("name", NETWORKS)
def test_spandrel_reads_the_file_and_gives_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spandrel = pytest.importorskip("spandrel", reason="the spandrel extra is not installed")
    scale, build = NETWORKS[name]
    model = replace(create(name, scale=scale), network=build().eval())
    monkeypatch.setattr(exporting, "load_model", lambda *_, **__: exporting.LoadedModel(model))
    out = tmp_path / "w.safetensors"
    export(name, out=out, file_format="spandrel", tell=silent)
    theirs = spandrel.ModelLoader(device="cpu").load_from_file(out)
    assert (theirs.architecture.id.lower(), theirs.scale, theirs.input_channels) == (name, scale, 1)
    lr = torch.rand(1, 1, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(theirs(lr).clamp(0, 1), model.infer(lr), atol=1e-5, rtol=0)
    ours = weights.read_header(out)
    assert ours is not None and ours.model == name


def test_spandrel_does_not_know_the_others(tmp_path: Path) -> None:
    pytest.importorskip("spandrel", reason="the spandrel extra is not installed")
    with pytest.raises(ModelError):
        export("edsr", scale=4, out=tmp_path / "a.safetensors", file_format="spandrel", tell=silent)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@needs_onnxruntime
def test_the_package_of_the_model_zoo_passes_its_validator_and_takes_grey_levels(tmp_path: Path) -> None:
    core = pytest.importorskip("bioimageio.core", reason="the bioimageio extra is not installed")
    from bioimageio.core.digest_spec import create_sample_for_model

    written = export(
        "edsr", scale=4, out=tmp_path / "edsr.zip", file_format="bioimageio", bits=10, tell=silent
    )
    assert core.test_description(written.path).status == "passed"
    described = core.load_model_description(written.path)
    assert str(described.license) == "CC0-1.0" and described.weights.onnx and described.weights.torchscript
    recorded = np.random.default_rng(0).integers(0, 1024, (1, 1, 19, 33)).astype(np.uint16)
    sample = create_sample_for_model(described, inputs={"lr": recorded})
    sr = core.predict(model=described, inputs=sample).members["sr"].data.to_numpy()
    model = create("edsr", scale=4, variant="tiny")
    weights.load(model, next(e for e in weights.candidates("edsr", scale=4) if e.shipped).path)
    expected = 1023 * model.infer(torch.from_numpy(recorded.astype(np.float32) / 1023)).numpy()
    np.testing.assert_allclose(sr, expected, atol=0.02)
    with zipfile.ZipFile(io.BytesIO(written.path.read_bytes())) as archive:
        assert {"README.md", "cover.png", "weights.onnx", "weights.pt"} <= set(archive.namelist())


@needs_onnxruntime
def test_a_package_of_own_weights_needs_authors_and_a_licence(tmp_path: Path) -> None:
    pytest.importorskip("bioimageio.core", reason="the bioimageio extra is not installed")
    file = saved(drawn("edsr"), tmp_path / "w.safetensors")
    for given in ({}, {"authors": ["A"]}, {"licence": "CC-BY-4.0"}):
        with pytest.raises(SrbenchError, match="--author"):
            export(None, weights=file, out=tmp_path / "a.zip", file_format="bioimageio", tell=silent, **given)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
