"""``--weights`` on the command line: whose they are is told from the file, or asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import srbench
from helpers.homes import with_scenes
from srbench import models, weights
from srbench.cli.app import cli
from srbench.config import EvaluationConfig
from srbench.evaluation.jobs import EvaluationRequest, resolve, resolve_scale
from srbench.inference.predict import infer
from srbench.store import ScoreStore
from srbench.utils.errors import SrbenchError
from srbench.utils.files import sha256_file
from srbench.weights import WeightsHeader

torch.set_num_threads(1)


def request(scale: int | None, **options: Any) -> EvaluationRequest:
    return EvaluationRequest(EvaluationConfig.of({"scale": scale, **options}), "sem")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = with_scenes(tmp_path / "home")
    monkeypatch.setenv("SRBENCH_HOME", str(home))
    return home


def saved(path: Path, name: str, *, scale: int = 2, channels: int = 1, variant: str = "tiny") -> Path:
    torch.manual_seed(0)
    made = models.create(name, scale=scale, channels=channels, variant=variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(made.network.state_dict(), path)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "field.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (12, 14), dtype=np.uint8))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_eval_of_a_colour_file_alone(tmp_path: Path) -> None:
    """Model, variant, scale and channels come from the tensors; converted or not, two rows of one file."""
    path = saved(tmp_path / "net_g.pth", "edsr", channels=3)
    options = (
        "--weights",
        path,
        "--dataset",
        "sem_synthetic:small",
        "--split",
        "val",
        "--metric",
        "psnr",
        "--device",
        "cpu",
    )
    results = tmp_path / "results"
    for conversion in ((), ("--rgb-to-grey",)):
        done = run("eval", *options, *conversion, "--results", results)
        assert done.exit_code == 0, done.output
    rows = [one for one in ScoreStore(results).manifests() if one.key.model == "edsr"]
    assert {(one.key.variant, one.key.scale, one.weights["sha256"]) for one in rows} == {
        ("tiny", 2, sha256_file(path))
    }
    assert len({one.key.weights for one in rows}) == 2
    (converted,) = [one for one in rows if one.notes]
    assert "converted from colour to grey" in converted.notes[0]
    table = ScoreStore(results).scores()
    means = table[(table["metric"] == "psnr") & (table["model"] == "edsr")].groupby("weights")["value"].mean()
    assert float(means.max() - means.min()) < 0.05  # the same network, up to borders and rounding


@pytest.mark.slow
def test_a_named_model_takes_variant_and_channels_from_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", "srgan", scale=4, channels=3, variant="msrresnet")
    (job,) = resolve(["srgan"], request(4, weights=path))
    assert (job.variant, job.channels, job.rgb_to_grey) == ("msrresnet", 3, False)
    (job,) = resolve(["srgan"], request(None, weights=path, rgb_to_grey=True))
    assert (job.channels, job.rgb_to_grey, job.scale) == (1, True, 4)
    assert job.weights_id != job.sha256 and len(job.weights_id) == 64


@pytest.mark.slow
def test_the_scale_of_the_file_counts_unless_typed(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", "edsr", scale=3)
    wanted = request(None, weights=path)
    assert resolve_scale(resolve([], wanted), wanted) == 3
    with pytest.raises(SrbenchError, match="holds edsr variant tiny, x3, 1 channel, not edsr, x2"):
        resolve(["edsr"], request(2, weights=path))
    assert resolve_scale(resolve(["bicubic"], request(None)), request(None)) == 4
    # What needs no weights is scored beside the model that they belong to, at their scale.
    jobs = resolve(["bicubic", "edsr"], wanted)
    assert [(job.model, job.weights) for job in jobs] == [("bicubic", None), ("edsr", path)]
    assert resolve_scale(jobs, wanted) == 3
    folder = path.rename(path.with_name("weights.safetensors")).parent
    assert resolve([], request(None, weights=folder))[0].model == "edsr"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("eval", "bicubic", "--weights", "edsr.pth"), "bicubic needs no weights"),
        (("eval", "--all", "--weights", "edsr.pth"), "One weights file belongs to one model"),
        (("eval", "edsr", "vdsr", "--weights", "edsr.pth"), "One weights file belongs to one model"),
        (("eval", "--weights", "none.pth"), "No weights file at"),
        (("eval", "--weights", "vdsr.pth"), "say it with --scale"),
        (("eval", "srgan", "--weights", "edsr.pth"), "looks like edsr variant tiny, x2, 1 channel"),
        (("eval", "edsrr", "--weights", "edsr.pth"), "did you mean 'edsr'"),
    ],
)
def test_errors_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(models, "model_names", lambda: ["edsr", "srgan", "vdsr"])
    saved(tmp_path / "edsr.pth", "edsr")
    saved(tmp_path / "vdsr.pth", "vdsr")
    done = run(*arguments, "--dataset", "sem_synthetic:small")
    assert done.exit_code != 0 and words in str(done.exception), done.exception


def test_eval_needs_a_model_or_a_file() -> None:
    done = run("eval", "--dataset", "sem_synthetic:small")
    assert done.exit_code == 2 and "--weights FILE" in done.output


@pytest.mark.slow
def test_infer_with_a_file_alone(tmp_path: Path, image: Path) -> None:
    path = saved(tmp_path / "w.pth", "edsr", channels=3)
    done = run("infer", "--weights", path, image, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "edsr variant tiny, x2, 3 channels" in done.output
    alone = cv2.imread(str(tmp_path / "out" / "field_edsr_x2.png"), cv2.IMREAD_UNCHANGED)
    done = run("infer", "edsr", image, "--weights", path, "--rgb-to-grey", "--out", tmp_path / "grey")
    assert done.exit_code == 0 and "converted from colour to grey" in done.output, done.output
    grey = cv2.imread(str(tmp_path / "grey" / "field_edsr_x2.png"), cv2.IMREAD_UNCHANGED)
    assert alone is not None and grey is not None and alone.shape == (24, 28)
    assert int(np.abs(alone.astype(int) - grey).max()) <= 1


def test_infer_tells_a_model_from_an_image(tmp_path: Path, image: Path) -> None:
    path = saved(tmp_path / "w.pth", "edsr")
    wrong = run("infer", "edssr", image, "--weights", path, "--out", tmp_path / "out")
    assert "did you mean 'edsr'" in str(wrong.exception)
    assert run("infer", "--weights", path, "--out", tmp_path / "out").exit_code == 2
    assert run("infer", "edsr", "--out", tmp_path / "out").exit_code == 2
    assert "needs no weights" in str(
        run("infer", "bicubic", image, "--weights", path, "--out", tmp_path).exception
    )


@pytest.mark.slow
def test_a_fetched_file_needs_no_folder(tmp_path: Path, home: Path, image: Path) -> None:
    saved(home / "weights" / "published.pth", "edsr")
    done = run("infer", "--weights", "published.pth", image, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output


def trained(home: Path, variant: str, budget: str, seed: int = 0) -> None:
    path = home / "runs" / f"{variant}-{budget}-{seed}" / "weights.safetensors"
    state = models.create("edsr", scale=4, variant=variant).network.state_dict()
    weights.save(path, state, WeightsHeader("edsr", variant, 4, 1, "sem", seed, budget))


@pytest.mark.slow
def test_the_longest_training_is_preferred_then_the_models_default_variant(
    home: Path, image: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    trained(home, "tiny", "short")
    infer("edsr", [image], out=tmp_path / "a", tell=said.append)
    assert "(tiny, trained on sem, budget short" in said[0]
    trained(home, "baseline", "smoke", seed=1)
    trained(home, "baseline", "short", seed=2)
    said.clear()
    infer("edsr", [image], out=tmp_path / "b", tell=said.append)
    assert "(baseline, trained on sem, budget short, seed 2)" in said[0]
    trained(home, "tiny", "paper", seed=3)
    said.clear()
    infer("edsr", [image], out=tmp_path / "c", tell=said.append)
    assert "(tiny, trained on sem, budget paper, seed 3)" in said[0]
    assert all(f"{name}/weights.safetensors" in said[1] for name in ("baseline-smoke-1", "tiny-short-0"))


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_api_takes_a_file_alone(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", "edsr", scale=4)
    summary = srbench.evaluate(
        (),
        weights=path,
        dataset="sem_synthetic:small",
        split="val",
        metrics=["psnr"],
        results=tmp_path / "results",
    )
    assert [one.label for one in summary.scored if one.model == "edsr"] == ["edsr tiny"]
