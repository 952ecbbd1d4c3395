"""Cheats from end to end: evaluated like any model, caught by the check meant for them, and not ranked.

An honest model, and what tries to reach beyond its process, have a process of their own as always; the
others run here, since what gives them away is in their pixels.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from helpers.homes import with_scenes
from helpers.loading import HELPERS, load, models_as_before
from srbench import datasets, models, weights
from srbench.checks import CheckResult
from srbench.datasets import MicrographSet, degrade
from srbench.datasets import lr_images as lr_cache
from srbench.evaluation.evaluate import EvaluationSummary, evaluate
from srbench.models.csm_sr.released.network import RELEASED_CONFIGS, ReleasedConfig
from srbench.store import Manifest, ScoreStore
from srbench.weights.io import header_of

SCALE = 4
pytestmark = pytest.mark.slow

fakes: Any = load("fake_set")


@pytest.fixture(scope="module")
def scenes() -> MicrographSet:
    return datasets.open("sem_synthetic:small")


@pytest.fixture(scope="module")
def cheats(tmp_path_factory: pytest.TempPathFactory, scenes: MicrographSet) -> Iterator[ModuleType]:
    """The cheats in a folder of their own, with what they remember beside them."""
    folder = tmp_path_factory.mktemp("cheats")
    shutil.copy(HELPERS / "memorising_models.py", folder)
    with models_as_before(), pytest.MonkeyPatch.context() as patch:
        module = load("memorising_models", folder)
        fake = fakes.FakeSet(6, name="cheated")
        bicubic = degrade.get("bicubic")
        memory = {}
        for data in (fake, scenes):
            for image in data.split("test"):
                hr = lr_cache.cut_to_scale(data.pixels(image.id), SCALE)
                memory[module.key_of(lr_cache.lr_image(hr, bicubic, SCALE))] = hr
        np.savez(folder / "memory.npz", **memory)
        patch.setenv("SRBENCH_HOME", str(with_scenes(tmp_path_factory.mktemp("home"))))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield module


def evaluated(
    name: str, data: MicrographSet, results: Path, **options: Any
) -> tuple[EvaluationSummary, Manifest]:
    summary = evaluate(name, dataset=data, scale=SCALE, results=results, metrics=["psnr"], **options)
    stored = ScoreStore(results).manifests()
    return summary, next(one for one in stored if one.key.model == name)


def status(manifest: Manifest) -> dict[str, str]:
    return {one.guard: one.status for one in map(CheckResult.from_json, manifest.guards)}


def broken(manifest: Manifest) -> list[str]:
    return [one["guard"] for one in manifest.guards if one["status"] == "failed"]


def test_an_honest_model_passes_them_all(cheats: ModuleType, tmp_path: Path) -> None:
    data = fakes.FakeSet(6, name="cheated")
    summary, run = evaluated("bicubic", data, tmp_path, audit=True)
    assert not summary.caught and broken(run) == []
    assert status(run)["determinism"] == status(run)["memorisation"] == "passed"
    again, _ = evaluated("bicubic", data, tmp_path, audit=True)
    assert "audited" not in again.text() and again.skipped


@pytest.mark.usefixtures("workers_here")
def test_a_table_of_the_test_set_is_caught_by_changed_images(cheats: ModuleType, tmp_path: Path) -> None:
    data = fakes.FakeSet(6, name="cheated")
    summary, run = evaluated("cheat_table", data, tmp_path)
    assert not summary.caught, "without the audit nobody asked"
    summary, run = evaluated("cheat_table", data, tmp_path, audit=True)
    assert broken(run) == ["memorisation"]
    assert "FAILED" in summary.text() and "not ranked" in summary.text()


@pytest.mark.usefixtures("workers_here")
def test_a_trace_of_hr_is_caught_by_undecidable_detail(
    cheats: ModuleType, scenes: MicrographSet, tmp_path: Path
) -> None:
    _, run = evaluated("cheat_leans", scenes, tmp_path)
    assert broken(run) == ["memorisation"]
    assert "prefers the right one" in next(one["detail"] for one in run.guards if one["status"] == "failed")


@pytest.mark.usefixtures("workers_here")
def test_answers_by_number_are_caught_by_another_order(cheats: ModuleType, tmp_path: Path) -> None:
    _, run = evaluated("cheat_counts", fakes.FakeSet(6, name="cheated"), tmp_path, audit=True)
    assert "determinism" in broken(run) and "hr_access" not in broken(run)


@pytest.mark.usefixtures("workers_here")
def test_jpeg_is_caught_by_its_blocks(cheats: ModuleType, tmp_path: Path) -> None:
    _, run = evaluated("cheat_jpeg", fakes.FakeSet(6, name="large", side=130), tmp_path)
    assert broken(run) == ["lossless_output"]


@pytest.mark.usefixtures("workers_here")
def test_exchanged_colours_are_caught(cheats: ModuleType, tmp_path: Path) -> None:
    _, run = evaluated("cheat_swaps", fakes.ColourSet(6), tmp_path)
    assert broken(run) == ["lossless_output"]


def test_hr_on_disk_is_out_of_reach_and_the_attempt_is_told(
    cheats: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = fakes.FakeSet(3, name="cheated")
    folder = tmp_path / "hr"
    folder.mkdir()
    for image, pixels in data.store.items():
        np.save(folder / image.replace("/", "-"), lr_cache.cut_to_scale(pixels, SCALE))
    data.hr_paths = lambda: (folder,)
    monkeypatch.setenv("SRBENCH_TEST_HR", str(folder))
    results = tmp_path / "results"
    _, run = evaluated("cheat_on_disk", data, results)
    assert broken(run) == ["hr_access"] and str(folder) in run.guards[0]["detail"]
    _, honest = evaluated("bicubic", data, results)
    assert run.outputs == honest.outputs, "it got nothing"
    monkeypatch.setenv("SRBENCH_ISOLATION", "off")
    _, free = evaluated("cheat_on_disk", data, results, force=True)
    assert free.outputs != honest.outputs, "the cheat works where nothing stops it"
    assert status(free)["hr_access"] == "unchecked"
    monkeypatch.delenv("SRBENCH_ISOLATION")
    _, audited = evaluated("cheat_on_disk", data, results, audit=True)
    assert {"hr_access", "determinism"} <= set(broken(audited)), "the scores belong to other pixels"


def test_no_name_reaches_a_model(cheats: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = fakes.FakeSet(3, name="cheated")
    monkeypatch.setenv("SRBENCH_TEST_HR", str(tmp_path))
    monkeypatch.setenv("SRBENCH_TEST_NAMES", ",".join(image.id for image in data.images))
    results = tmp_path / "results"
    _, run = evaluated("cheat_by_name", data, results)
    _, honest = evaluated("bicubic", data, results)
    assert run.outputs == honest.outputs


@pytest.mark.usefixtures("workers_here")
def test_an_oracle_is_caught_by_noise_in_the_place_of_hr(cheats: ModuleType, tmp_path: Path) -> None:
    data = fakes.FakeSet(2, name="oracle")
    summary, run = evaluated("cheat_oracle", data, tmp_path, variant="oracle", oracle=True, audit=True)
    assert broken(run) == ["hr_access"]
    detail = run.guards[0]["detail"]
    assert "given the HR image" in detail and "2 of 2 outputs are others" in detail
    assert not summary.caught, "it was asked for as what it is"
    assert "guard hr_access FAILED" in summary.text()


@pytest.mark.usefixtures("workers_here")
def test_the_published_test_script_of_csm_sr_is_an_oracle(
    cheats: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of the ground truth go into its generator, a narrow one, as in the authors' test.py."""
    narrow = ReleasedConfig(depth=1, blocks=2, layers=2, growth=4, width=16, conditioned=True)
    monkeypatch.setitem(RELEASED_CONFIGS, "released", narrow)
    model = models.create("csm_sr", scale=SCALE, channels=1, variant="oracle")
    path = tmp_path / "oracle.safetensors"
    weights.save(path, model.network.state_dict(), header_of(model))
    data = fakes.FakeSet(1, name="oracle", side=40)
    _, run = evaluated("csm_sr", data, tmp_path / "results", weights=path, oracle=True)
    assert status(run)["hr_access"] == "failed"
