"""spandrel behind ``eval --weights``: other people's networks are rebuilt, run, scored and reported."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from srbench import models
from srbench.config import EvaluationConfig
from srbench.evaluation.jobs import EvaluationRequest, resolve, resolve_scale
from srbench.inference.profiling import measured_radius
from srbench.utils.errors import SrbenchError
from srbench.weights import spandrel as spandrel_adapter

torch.set_num_threads(1)


def request(scale: int | None, **options: Any) -> EvaluationRequest:
    return EvaluationRequest(EvaluationConfig.of({"scale": scale, **options}), "sem")


class Unsupported(Exception):
    """As spandrel's own."""


class Picky(nn.Module):
    """Takes squares of at least 16 pixels whose side is a multiple of 4, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        assert height == width and height % 4 == 0 and height >= 16, tuple(lr.shape)
        return self.gain * lr.repeat_interleave(3, 2).repeat_interleave(3, 3)


class Requirements:
    """As spandrel's SizeRequirements(minimum=16, multiple_of=4, square=True)."""

    multiple_of = 4

    @staticmethod
    def get_padding(width: int, height: int) -> tuple[int, int]:
        side = -(-max(16, width, height) // 4) * 4
        return side - width, side - height


def descriptor(**changes: Any) -> Any:
    found = {
        "model": Picky(),
        "architecture": SimpleNamespace(id="SwinIR", name="SwinIR"),
        "tags": ["Large", "8w"],
        "purpose": "SR",
        "scale": 3,
        "input_channels": 3,
        "output_channels": 3,
        "size_requirements": Requirements(),
    }
    return SimpleNamespace(**{**found, **changes})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A spandrel that knows one network; ``fake.answer`` is what it gives back or raises."""

    class Loader:
        def __init__(self, device: str) -> None:
            assert device == "cpu"

        def load_from_state_dict(self, state: dict[str, Tensor]) -> Any:
            if isinstance(module.answer, Exception):
                raise module.answer
            return module.answer

    module = SimpleNamespace(
        ModelLoader=Loader, UnsupportedModelError=Unsupported, answer=descriptor(), __spec__=object()
    )
    monkeypatch.setitem(sys.modules, "spandrel", module)
    monkeypatch.setattr(spandrel_adapter.importlib.metadata, "version", lambda name: "0.0")
    return module


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.save({"params": {"gain": torch.ones(1), "strange": torch.ones(2)}}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_the_card_says_what_is_known(fake: Any, path: Path) -> None:
    model = spandrel_adapter.load(path)
    card = model.card
    assert (card.name, card.title, card.family, card.year) == ("spandrel-swinir", "SwinIR", "attention", 2021)
    assert (card.licence, card.trainable, card.scales) == ("unknown", False, (3,))
    assert (model.variant, model.scale, model.channels, model.size_multiple) == ("large-8w", 3, 3, 4)
    fake.answer = descriptor(architecture=SimpleNamespace(id="Brand New++", name="Brand New"), tags=[])
    card = spandrel_adapter.load(path).card
    assert (card.name, card.family, card.variants, card.year) == (
        "spandrel-brand-new",
        "regression",
        ("default",),
        0,
    )


@pytest.mark.parametrize("size", [(5, 9), (16, 16), (17, 30)])
def test_sizes_a_network_cannot_take_are_padded_and_cropped(
    fake: Any, path: Path, size: tuple[int, int]
) -> None:
    lr = torch.rand(1, 1, *size)
    sr = spandrel_adapter.load(path).infer(lr)
    torch.testing.assert_close(sr, lr.repeat_interleave(3, 2).repeat_interleave(3, 3))


def test_how_far_it_looks_can_be_measured(fake: Any, path: Path) -> None:
    assert measured_radius(spandrel_adapter.load(path)) == 0


@pytest.mark.usefixtures("few_models")
def test_a_file_alone_becomes_a_job(fake: Any, path: Path) -> None:
    (job,) = resolve([], request(None, weights=path))
    assert job.foreign and job.card is not None and job.card.name == "spandrel-swinir"
    assert (job.variant, job.channels, job.notes) == (
        "large-8w",
        3,
        ("network built by spandrel 0.0 from the weights",),
    )
    assert resolve_scale([job], request(None, weights=path)) == 3
    for typed in ({"scale": 4}, {"scale": 3, "variant": "small"}):
        with pytest.raises(SrbenchError, match="Leave out what contradicts it"):
            resolve([], request(**{"scale": None, "weights": path, **typed}))


@pytest.mark.usefixtures("few_models")
def test_conversion_to_grey_is_refused_not_ignored(fake: Any, path: Path) -> None:
    with pytest.raises(SrbenchError, match="Leave --rgb-to-grey out"):
        resolve([], request(None, weights=path, rgb_to_grey=True))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"purpose": "Restoration", "scale": 1}, "SwinIR for Restoration, x1, 3 to 3 channels"),
        ({"purpose": "Inpainting"}, "for Inpainting"),
        ({"input_channels": 4, "output_channels": 4}, "4 to 4 channels"),
    ],
)
def test_what_does_not_enlarge_images_is_refused(
    fake: Any, path: Path, change: dict[str, Any], words: str
) -> None:
    fake.answer = descriptor(**change)
    with pytest.raises(SrbenchError, match=words):
        spandrel_adapter.load(path)


def test_spandrel_not_knowing_and_failing_are_told_apart(fake: Any, path: Path) -> None:
    fake.answer = Unsupported()
    with pytest.raises(
        SrbenchError, match=r"no architecture that srbench or spandrel knows \(2 tensors, 'gain'"
    ):
        spandrel_adapter.load(path)
    fake.answer = ZeroDivisionError("ratio")
    with pytest.raises(
        SrbenchError, match=r"cannot be rebuilt from its tensors \(ZeroDivisionError: ratio\)"
    ):
        spandrel_adapter.load(path)


@pytest.mark.slow
def test_without_the_extra_the_command_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spandrel_adapter.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SrbenchError, match=r'pip install "srbench\[spandrel\]"'):
        resolve([], request(None, weights=path))


def real(path: Path, name: str) -> Path:
    """A small network of spandrel's own with weights that keep images in range."""
    pytest.importorskip("spandrel", reason="the spandrel extra is not installed")
    torch.manual_seed(0)
    if name == "SwinIR":
        from spandrel.architectures.SwinIR import SwinIR

        network: Any = SwinIR(
            embed_dim=24, depths=[2], num_heads=[2], window_size=8, upscale=2, upsampler="pixelshuffledirect"
        )
    else:
        from spandrel.architectures.ESRGAN import ESRGAN

        network = ESRGAN(in_nc=3, out_nc=3, num_filters=8, num_blocks=1, scale=2)
    torch.save({"params_ema": network.state_dict()}, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SwinIR", "ESRGAN"])
def test_spandrels_own_answer_is_ours(tmp_path: Path, name: str) -> None:
    path = real(tmp_path / "w.pth", name)
    from spandrel import ModelLoader

    model = spandrel_adapter.load(path)
    assert model.card.name == f"spandrel-{name.lower()}" and model.scale == 2
    lr = torch.rand(1, 3, 19, 24)
    expected = ModelLoader(device="cpu").load_from_file(path)(lr)
    torch.testing.assert_close(model.infer(lr)[..., :16, :], expected[..., :16, :], rtol=0, atol=2e-3)
    assert model.infer(lr).shape == expected.shape


@pytest.mark.slow
def test_a_row_is_scored_and_reported(tmp_path: Path) -> None:
    """In the worker's own process, then in the leaderboard."""
    path = real(tmp_path / "w.pth", "SwinIR")
    import srbench
    from srbench.store import ScoreStore

    summary = srbench.evaluate(
        (), weights=path, dataset="sem_synthetic:small", metrics=["psnr"], results=tmp_path / "results"
    )
    assert not summary.failed, summary.text()
    stored = {one.key.model: one for one in ScoreStore(tmp_path / "results").manifests()}
    manifest = stored["spandrel-swinir"]
    assert manifest.key.scale == 2 and manifest.card["licence"] == "unknown"
    assert any("spandrel" in remark for remark in manifest.notes)
    page = srbench.report(tmp_path / "results", tmp_path / "report").page
    assert "SwinIR" in page.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("few_models")
def test_registered_networks_come_first(tmp_path: Path) -> None:
    """A file that a network of srbench fits is run by it, though spandrel may know it too."""
    torch.save(
        models.create("esrgan", scale=4, channels=3, variant="tiny").network.state_dict(), tmp_path / "w.pth"
    )
    (job,) = resolve([], request(None, weights=tmp_path / "w.pth"))
    assert (job.model, job.variant, job.foreign) == ("esrgan", "tiny", False)
