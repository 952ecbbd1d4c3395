"""Other programs in place of torch: the same pixels, in tiles too, and the record says who computed them."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import srbench
from helpers.evaluations import workers_here
from srbench.inference import backends, graphs
from srbench.inference.backends import TOLERANCE, CompiledNetwork, device_for, with_backend
from srbench.inference.predict import infer
from srbench.inference.tiling import Tiler
from srbench.models import SRModel, create
from srbench.store import ScoreStore
from srbench.utils.errors import ModelError, SrbenchError

torch.set_num_threads(1)


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest) -> str:
    for package in (request.param, "onnx"):
        pytest.importorskip(package, reason=f"the {request.param} extra is not installed")
    return str(request.param)


def drawn(name: str) -> SRModel:
    torch.manual_seed(1)
    model = create(name, scale=2, variant="tiny")
    for parameter in model.network.eval().requires_grad_(False).parameters():
        if parameter.ndim > 1 and not parameter.any():
            parameter.normal_(std=0.02)
    return model


@pytest.mark.parametrize("name", ["edsr", "swinir"])
def test_a_backend_gives_what_torch_gives_in_tiles_too(name: str, backend: str) -> None:
    model = drawn(name)
    compiled = with_backend(model, backend)
    assert isinstance(compiled.network, CompiledNetwork)
    assert (compiled.size_multiple, compiled.receptive_radius) == (
        model.size_multiple,
        model.receptive_radius,
    )
    lr = torch.rand(1, 1, 41, 70)
    whole = model.infer(lr)
    assert float((compiled.infer(lr) - whole).abs().max()) <= TOLERANCE
    tiled = Tiler(compiled, tile=24)(lr)
    assert tiled.tiles > 1 and tiled.exact
    assert float((tiled.sr - whole).abs().max()) <= TOLERANCE
    assert compiled.infer(lr.double()).dtype == torch.float64


def test_memory_is_planned_by_the_network_of_torch(backend: str) -> None:
    model = drawn("edsr")
    compiled = with_backend(model, backend)
    assert type(copy.deepcopy(compiled.network)) is type(model.network)
    assert Tiler(compiled).tiling(300, 500) == Tiler(model).tiling(300, 500)


def test_memory_that_runs_out_makes_tiles_smaller() -> None:
    model = drawn("edsr")

    def run(lr: np.ndarray) -> np.ndarray:
        if lr.shape[-1] > 40:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 123")
        return model.network(torch.from_numpy(lr)).numpy()  # type: ignore[no-any-return]

    compiled = SRModel(CompiledNetwork(model.network, run), model.card, 2, 1, "tiny", model.recipe_factory)
    lr = torch.rand(1, 1, 48, 48)
    result = Tiler(compiled)(lr)
    assert result.retries > 0
    torch.testing.assert_close(result.sr, model.infer(lr), atol=1e-6, rtol=0)


def test_what_a_backend_cannot_run_is_refused(backend: str) -> None:
    with pytest.raises(ModelError):
        with_backend(create("dsrvae", scale=2, variant="tiny"), backend)
    with pytest.raises(ModelError):
        with_backend(create("gaussian", scale=1), backend)


def test_a_backend_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx", reason="the onnxruntime extra is not installed")
    model = drawn("edsr")
    wrong = lambda lr: model.network(torch.from_numpy(lr)).numpy() + 2e-3  # noqa: E731
    monkeypatch.setattr(backends, "_onnxruntime", lambda _: wrong)
    with pytest.raises(ModelError):
        with_backend(model, "onnxruntime")


def test_torch_is_left_alone_and_others_need_the_cpu_and_their_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = drawn("edsr")
    assert with_backend(model, "torch") is model and backends.described("torch") == ""
    assert device_for("torch", "cpu") == torch.device("cpu")
    for name, device in (("tensorrt", "cpu"), ("openvino", "cuda")):
        with pytest.raises(SrbenchError):
            device_for(name, device)
    monkeypatch.setattr(graphs.importlib.util, "find_spec", lambda _: None)  # type: ignore[attr-defined]
    with pytest.raises(SrbenchError, match=r"srbench\[openvino\]"):
        device_for("openvino", "auto")


def test_files_and_their_record(backend: str, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 44), np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    results = {}
    for name in ("torch", backend):
        outcome = infer(
            "edsr",
            tmp_path / "a.png",
            scale=4,
            out=tmp_path / name,
            backend=name,
            tell=lambda _: None,  # type: ignore[arg-type]
        )
        results[name] = Image.open(outcome.written[0])
    ours, theirs = (np.asarray(result).astype(int) for result in results.values())
    assert abs(ours - theirs).max() <= 1
    assert any(backends.described(backend) in str(text) for text in results[backend].info.values())
    assert not any(backend in str(text) for text in results["torch"].info.values())


@pytest.mark.slow
def test_an_evaluation_says_what_ran_the_network(backend: str, tmp_path: Path) -> None:
    with workers_here():
        summary = srbench.evaluate(
            ["edsr", "dsrvae"],
            dataset="sem_synthetic:demo",
            scale=4,
            limit=1,
            metrics=["psnr"],
            backend=backend,
            results=tmp_path,
        )
    assert any(outcome.model == "edsr" for outcome in summary.scored)
    manifest = next(m for m in ScoreStore(tmp_path).manifests() if m.key.model == "edsr")
    assert backends.described(backend) in manifest.device["name"]
    assert manifest.versions[backend] == backends.described(backend).split()[1]
