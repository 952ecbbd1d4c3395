"""What version 0.1.0 left behind: its runs go on, its weights load, its scores come out again.

The files and how they were made: tests/fixtures/v0_1/README.md.
"""

from __future__ import annotations

import functools
import hashlib
import json
import lzma
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from helpers.homes import with_scenes
from srbench import models, weights
from srbench.cli.app import cli
from srbench.metrics.registry import list_metrics
from srbench.training import train
from srbench.training.manifest import describe, differences

FIXTURES = Path(__file__).parents[1] / "fixtures" / "v0_1"
DATASET = "sem_synthetic:small"
SPEED = {"seconds_per_mpx", "peak_mb_per_mpx"}
"""Scores that depend on the machine."""
MEAN, DEVIATION = 0.48815301060894856, 0.28170523925628826
"""Of the output of edsr_tiny.safetensors for the probe image."""
DIGEST = "2071d8ba7a3c109b26a25538ca1f2f5d5329c1faaca9309e3848bf5d4f7eb768"


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A home of its own for the module; one thread, as the fixtures had."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRBENCH_HOME", str(with_scenes(tmp_path_factory.mktemp("home"))))
        yield
    torch.set_num_threads(threads)


def resumed(model: str, folder: Path) -> dict[str, torch.Tensor]:
    """The final weights of a copy of an interrupted run."""
    shutil.copytree(FIXTURES / f"interrupted_{model}", folder)
    packed = folder / "checkpoint.pt.xz"
    if packed.is_file():
        (folder / "checkpoint.pt").write_bytes(lzma.decompress(packed.read_bytes()))
        packed.unlink()
    started = torch.load(folder / "checkpoint.pt", weights_only=True)["state"]["total_step"]
    result = train(
        model,
        dataset=DATASET,
        scale=4,
        variant="tiny",
        budget="smoke",
        seed=3,
        device="cpu",
        config=folder / "config.yaml",
        out=folder,
        resume=True,
    )
    assert result is not None and result.iterations == 8 > started
    return load_file(result.weights)


def alike(tensor: torch.Tensor, before: torch.Tensor) -> bool:
    """Equal up to the order in which another processor adds."""
    return tensor.shape == before.shape and torch.allclose(
        tensor.double(), before.double(), rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_an_interrupted_regression_ends_with_the_same_weights(tmp_path):
    state = resumed("vdsr", tmp_path / "run")
    expected = load_file(FIXTURES / "vdsr_resumed.safetensors")
    assert state.keys() == expected.keys()
    assert all(alike(state[name], expected[name]) for name in expected)
    interrupted = torch.load(FIXTURES / "interrupted_vdsr" / "checkpoint.pt", weights_only=True)
    before = interrupted["state"]["network"]
    assert not all(alike(state[name], before[name]) for name in before), "nothing was learned after it"


@pytest.mark.slow
def test_an_interrupted_gan_ends_with_the_same_weights(tmp_path):
    """In its second stage: discriminator, both optimisers and the averaged weights go on."""
    state = resumed("srgan", tmp_path / "run")
    expected = json.loads((FIXTURES / "srgan_resumed.json").read_text())["tensors"]
    assert state.keys() == expected.keys()
    for name, values in expected.items():
        tensor = state[name].double()
        assert tensor.norm().item() == pytest.approx(values["norm"], rel=1e-4, abs=1e-6), name
        assert tensor.sum().item() == pytest.approx(values["sum"], rel=1e-3, abs=1e-4), name
        assert tensor.flatten()[:4].tolist() == pytest.approx(values["first"], rel=1e-3, abs=1e-6), name


def stored_recipes() -> dict[str, dict]:
    with lzma.open(FIXTURES / "recipes.json.xz", "rt") as file:
        return json.load(file)


def test_a_run_with_another_recipe_is_refused():
    """The identity is compared, not ignored."""
    recipes = stored_recipes()
    tiny = recipes["srgan tiny smoke none"]
    for other in ("srgan srresnet smoke none", "esrgan tiny smoke none", "srgan tiny short none"):
        assert differences({"recipe": tiny}, {"recipe": recipes[other]}), other


@functools.cache
def imagenet(name: str) -> dict[str, torch.Tensor]:
    """An ImageNet network's state without its numbers."""
    import timm
    import torchvision

    with torch.device("meta"):
        if name.startswith("efficientnet"):
            return timm.create_model(name).state_dict()
        return getattr(torchvision.models, name)().state_dict()


@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name.endswith(" tiny") else [pytest.mark.slow])
        for name in sorted({entry.rsplit(" ", 2)[0] for entry in stored_recipes()})
    ],
)
def test_every_interrupted_run_finds_its_recipe(name):
    """The identities of all trainable models and variants, as runs of 0.1.0 stored them."""
    model, variant = name.split()
    card = models.card(model)
    scale = 4 if 4 in card.scales else card.scales[0]
    with torch.device("meta"):
        created = models.create(model, scale=scale, channels=card.channels[0], variant=variant)
        for entry, before in stored_recipes().items():
            *network, budget, pretrained = entry.split()
            if network == name.split():
                source = imagenet if pretrained == "imagenet" else lambda name: None
                now = describe(created.recipe(budget, source))
                assert differences({"recipe": before}, {"recipe": now}) == [], entry


@pytest.mark.slow
def test_weights_load_and_infer_the_same():
    path = FIXTURES / "edsr_tiny.safetensors"
    header = weights.read_header(path)
    assert header is not None
    assert (header.network, header.dataset, header.budget, header.iterations) == (
        ("edsr", "tiny", 4, 1),
        DATASET,
        "smoke",
        150,
    )
    assert weights.identify(path).network == header.network
    model = models.create("edsr", scale=4, channels=1, variant="tiny")
    weights.load(model, path)
    state = load_file(path)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.network.state_dict().items())
    lr = (torch.arange(24 * 20).reshape(1, 1, 24, 20) * 37 % 256) / 255
    sr = model.infer(lr)
    assert sr.shape == (1, 1, 96, 80)
    assert sr.double().mean().item() == pytest.approx(MEAN, rel=1e-5)
    assert sr.double().std().item() == pytest.approx(DEVIATION, rel=1e-5)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """One folder for all, so that the rows of reference are scored once."""
    return tmp_path_factory.mktemp("results")


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
@pytest.mark.parametrize(
    "words",
    [("bicubic",), ("back_projection",), ("edsr", "--weights", str(FIXTURES / "edsr_tiny.safetensors"))],
    ids=lambda words: words[0],
)
def test_scores_are_those_of_before(results, words):
    """In every metric stored under the same id then and now; one that counts its version up has another."""
    before = pd.read_parquet(FIXTURES / "scores.parquet")
    names = [metric.name for metric in list_metrics() if metric.id in set(before.metric) - SPEED]
    chosen = [argument for name in names for argument in ("--metric", name)]
    command = ["eval", *words, "--dataset", DATASET, "--scale", "4", "--device", "cpu", "--previews", "0"]
    done = CliRunner().invoke(cli, [*command, *chosen, "--results", str(results)])
    assert done.exit_code == 0, done.output
    now = pd.concat([pd.read_parquet(path) for path in results.glob("runs/*/scores.parquet")])
    key = ["model", "variant", "weights", "image", "metric", "protocol"]
    both = before[before.model == words[0]].merge(now, on=key, suffixes=("_before", "_now"))
    both = both[~both.metric.isin(SPEED)]
    shared = set(both.metric)
    assert {"psnr", "ssim", "params"} <= shared and len(shared) >= 20, sorted(shared)
    assert both.groupby("metric").size().min() >= 20
    off = both[~np.isclose(both.value_now, both.value_before, rtol=1e-6, atol=1e-6, equal_nan=True)]
    assert off.empty, off[["image", "metric", "value_before", "value_now"]].to_string()


def test_the_fixtures_are_those_of_the_day():
    """A changed fixture would prove nothing."""
    digest = hashlib.sha256()
    for path in sorted(FIXTURES.rglob("*")):
        if path.is_file() and path.suffix != ".md":
            digest.update(path.relative_to(FIXTURES).as_posix().encode() + path.read_bytes())
    assert digest.hexdigest() == DIGEST
