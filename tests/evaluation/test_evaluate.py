"""Evaluation as a user meets it: failures recorded, work kept, LR only, nothing counted twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import srbench
from helpers.loading import HELPERS, load, models_as_before
from srbench import datasets, models, weights
from srbench.config import EvaluationConfig
from srbench.datasets import DatasetError, degrade
from srbench.datasets import lr_images as lr_cache
from srbench.datasets.images.databar import has_databar
from srbench.evaluation import context as setting
from srbench.evaluation.context import EvaluationContext
from srbench.evaluation.evaluate import EvaluationSummary
from srbench.evaluation.messages import ImageDone, WorkerJob
from srbench.evaluation.scorer import Scorer, choose_metrics
from srbench.evaluation.worker_client import run_worker
from srbench.metrics.protocol import named
from srbench.models import ModelError
from srbench.statistics import leaderboard as statistics
from srbench.store import CONTROL, REFERENCES, Manifest, ScoreStore
from srbench.utils.errors import SrbenchError

FAILING = ("fake_crash", "fake_killed", "fake_nan", "fake_raises", "fake_small")


FakeSet: Any = load("fake_set").FakeSet


@pytest.fixture(scope="module", autouse=True)
def _fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    with models_as_before(), pytest.MonkeyPatch.context() as patch:
        load("fake_models")
        patch.setenv("SRBENCH_HOME", str(home))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[EvaluationSummary, ScoreStore]:
    """One evaluation in which most models fail."""
    results = tmp_path_factory.mktemp("results")
    summary = srbench.evaluate(
        [*FAILING, "fake_smooth", "fake_learned"],
        dataset=FakeSet(ceiling=True),
        scale=4,
        results=results,
        previews=3,
    )
    return summary, ScoreStore(results)


def labels(summary: EvaluationSummary) -> list[str]:
    """The models scored, without the rows that the harness makes itself."""
    return [one.label for one in summary.scored if one.model not in REFERENCES]


def manifest(store: ScoreStore, model: str) -> Manifest:
    return next(one for one in store.manifests() if one.key.model == model)


def scores(store: ScoreStore, model: str) -> pd.DataFrame:
    table = store.scores()
    return table[table["model"] == model]


def test_what_fails_is_recorded_and_the_others_are_scored(
    evaluated: tuple[EvaluationSummary, ScoreStore],
) -> None:
    summary, store = evaluated
    assert [one.model for one in summary.failed] == list(FAILING)
    assert [one.model for one in summary.scored] == [*REFERENCES, "fake_smooth"]
    assert [one.model for one in summary.missing] == ["fake_learned"]
    assert set(store.scores()["model"]) == {*REFERENCES, "fake_smooth"}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("fake_crash", "exit code 7"),
        ("fake_killed", "killed by SIGKILL"),
        ("fake_nan", "gave NaN"),
        ("fake_raises", "RuntimeError: size mismatch in layer 3"),
        ("fake_small", "at scale 4 it must give 4 times that"),
    ],
)
def test_the_reason_of_a_failure_is_kept(
    evaluated: tuple[EvaluationSummary, ScoreStore], model: str, reason: str
) -> None:
    summary, store = evaluated
    assert manifest(store, model).status == "failed"
    assert reason in manifest(store, model).reason
    assert reason in next(one.detail for one in summary.failed if one.model == model)


def test_last_words_of_a_crash_are_kept(evaluated: tuple[EvaluationSummary, ScoreStore]) -> None:
    assert "about to end" in manifest(evaluated[1], "fake_crash").reason


def test_a_model_that_hangs_is_ended(tmp_path: Path) -> None:
    summary = srbench.evaluate("fake_hangs", dataset=FakeSet(1), scale=4, results=tmp_path, timeout=3.0)
    assert "no sign of life for 3 s" in summary.failed[0].detail


def test_a_model_without_weights_says_what_to_type(evaluated: tuple[EvaluationSummary, ScoreStore]) -> None:
    found = manifest(evaluated[1], "fake_learned")
    assert found.status == "missing"
    assert "srbench train fake_learned --dataset fake --scale 4" in found.reason


def test_the_summary_prints_a_line_a_model(evaluated: tuple[EvaluationSummary, ScoreStore]) -> None:
    text = evaluated[0].text()
    assert text.splitlines()[-1].startswith(
        "3 scored, 0 skipped, 5 failed, 1 missing, 2 not ranked because a guard failed; scores in "
    )
    assert len([line for line in text.splitlines() if not line.startswith(" ")]) == 11
    assert [line.split(" FAILED")[0] for line in text.splitlines() if line.startswith(" ")] == [
        "    guard lossless_output",
        "    guard lossless_output",
    ]


def test_the_summary_begins_with_what_the_numbers_mean(
    evaluated: tuple[EvaluationSummary, ScoreStore],
) -> None:
    summary, store = evaluated
    protocol = manifest(store, "fake_smooth").key.protocol
    assert summary.text().splitlines()[0] == (
        f"fake, test, x4, LR by bicubic@1, protocol {protocol} (default for synthetic scenes)"
    )
    assert protocol.startswith("sem-grey-")


def test_rows_cover_every_image_and_metric(evaluated: tuple[EvaluationSummary, ScoreStore]) -> None:
    table = scores(evaluated[1], "fake_smooth")
    images = table[table["image"] != ""]
    assert images.groupby("metric")["image"].nunique().loc[["psnr", "ssim", "lr_psnr"]].tolist() == [5, 5, 5]
    finite = images[images["metric"] == "psnr"]
    assert finite["value"].between(10, 40).all() and (finite["reason"] == "").all()
    assert set(finite["group"]) == {"g0", "g1", "g2"} and set(finite["category"]) == {"a", "b"}


def test_a_metric_without_its_weights_is_missing_with_the_reason(
    evaluated: tuple[EvaluationSummary, ScoreStore],
) -> None:
    table = scores(evaluated[1], "fake_smooth")
    lpips = table[table["metric"] == "lpips-alex-0.1"]
    assert len(lpips) == 5 and lpips["value"].isna().all()
    assert lpips["reason"].str.contains("alexnet-owt-7be5be79.pth").all()


def test_psnr_is_what_an_independent_computation_gives(
    evaluated: tuple[EvaluationSummary, ScoreStore],
) -> None:
    """Nearest enlargement of the LR image, written out here once more."""
    from skimage.metrics import peak_signal_noise_ratio

    data = FakeSet(ceiling=True)
    table = scores(evaluated[1], "fake_smooth")
    stored = table[table["metric"] == "psnr"].set_index("image")["value"]
    degradation = srbench.datasets.degrade.get("bicubic")
    for image, value in stored.items():
        hr = data.pixels(str(image))
        hr = hr[: hr.shape[0] // 4 * 4, : hr.shape[1] // 4 * 4]
        lr = (
            (degradation(torch.from_numpy(hr / 255.0)[None, None], 4).clamp(0, 1)[0, 0] * 255 + 0.5)
            .floor()
            .numpy()
        )
        sr = lr.repeat(4, 0).repeat(4, 1).astype(np.uint8)
        expected = peak_signal_noise_ratio(hr[4:-4, 4:-4], sr[4:-4, 4:-4], data_range=255)
        assert value == pytest.approx(expected, abs=0.02)


def test_cost_rows_have_no_image(evaluated: tuple[EvaluationSummary, ScoreStore]) -> None:
    found = statistics.costs(scores(evaluated[1], "fake_smooth")).iloc[0]
    assert found["params"] == 1 and found["gmacs_per_mpx"] == 0
    assert found["seconds_per_mpx"] > 0 and found["peak_mb_per_mpx"] > 0
    assert statistics.costs(scores(evaluated[1], "noise_ceiling")).empty


def test_the_noise_ceiling_is_a_row_of_its_own(evaluated: tuple[EvaluationSummary, ScoreStore]) -> None:
    assert manifest(evaluated[1], "noise_ceiling").card["title"] == "Noise ceiling"
    table = scores(evaluated[1], "noise_ceiling")
    psnr = table[table["metric"] == "psnr"].set_index("image")
    assert psnr["value"].drop("sub/0").between(28, 36).all()  # noise of 6 levels is 32.6 dB
    assert np.isnan(psnr.loc["sub/0", "value"])
    assert "no second acquisition" in str(psnr.loc["sub/0", "reason"])


def test_the_manifest_says_how_the_numbers_came_about(
    evaluated: tuple[EvaluationSummary, ScoreStore],
) -> None:
    found = manifest(evaluated[1], "fake_smooth")
    assert found.data["images"] == 5 and found.data["groups"] == 3
    assert len(found.data["lr_sha256"]) == 64 and found.data["skipped"] == {"broken.png": "truncated"}
    assert found.protocol["id"] == found.key.protocol and found.protocol["border"] == "scale"
    assert found.device["type"] == "cpu" and found.device["precision"] == "float32"
    assert found.cost["tiling"] == {
        "most_tiles": 1,
        "smallest_tile": found.cost["tiling"]["smallest_tile"],
        "halo": 0,
        "exact": True,
        "retries": 0,
    }
    assert found.card["leaking"] is False and found.versions["torch"]
    assert found.data["kind"] == "synthetic" and found.data["licence"] == "CC0-1.0"
    assert found.data["terms"] == "cite us" and found.data["channels"] == 1
    assert found.data["fingerprint"] == found.key.data


def test_previews_cover_the_categories_and_come_with_hr_and_lr(
    evaluated: tuple[EvaluationSummary, ScoreStore],
) -> None:
    _, store = evaluated
    found = manifest(store, "fake_smooth")
    assert list(found.previews) == ["sub/0", "sub/1", "sub/2"]
    for image in found.previews:
        assert store.preview(found.key, image) is not None
        for kind in ("hr", "lr"):
            assert store.reference(found.data["reference_id"], image, kind) is not None  # type: ignore[arg-type]


def train(folder: Path, gain: float, seed: int, variant: str = "only", model: str = "fake_learned") -> Path:
    """A trained run on disk."""
    path = folder / f"{model}-{variant}-fake-x4-smoke-s{seed}" / "weights.safetensors"
    header = weights.WeightsHeader(
        model, variant, 4, 1, dataset="fake", seed=seed, budget="smoke", notes=("a note",)
    )
    weights.save(path, {"gain": torch.tensor([gain])}, header)
    return path


def test_trained_weights_are_found_and_each_seed_is_a_row(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dataset": FakeSet(2), "scale": 4, "results": tmp_path / "results"}
    store = ScoreStore(tmp_path / "results")
    assert srbench.evaluate(["fake_learned"], runs=tmp_path, **options).missing
    train(tmp_path, 1.0, 0)
    train(tmp_path, 0.5, 1)
    summary = srbench.evaluate(["fake_learned"], runs=tmp_path, metrics=["psnr"], **options)
    assert labels(summary) == ["fake_learned only seed 0", "fake_learned only seed 1"]
    table = scores(store, "fake_learned")
    means = table[table["metric"] == "psnr"].groupby("seed")["value"].mean()
    assert means[0] > means[1] + 5  # the weights were really used
    assert all(len(name) == 64 for name in table["weights"].unique())
    assert {one.status for one in store.manifests()} == {"complete"}  # the note that weights lack is gone
    assert "a note" in manifest(store, "fake_learned").notes
    again = srbench.evaluate(["fake_learned"], runs=tmp_path, metrics=["psnr"], **options)
    assert len(again.skipped) == 2 + 1 and not again.scored


def test_another_metric_is_added_and_what_was_there_stays(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dataset": FakeSet(2), "scale": 4, "results": tmp_path}
    srbench.evaluate("fake_smooth", metrics=["psnr"], **options)
    assert srbench.evaluate("fake_smooth", metrics=["psnr"], **options).skipped
    assert srbench.evaluate("fake_smooth", metrics=["ssim"], **options).scored
    table = ScoreStore(tmp_path).scores()
    assert set(table[table["image"] != ""]["metric"]) == {"psnr", "ssim"}


def test_a_failure_does_not_replace_an_earlier_complete_run(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dataset": FakeSet(2), "scale": 4, "results": tmp_path, "metrics": ["psnr"]}
    srbench.evaluate("fake_smooth", **options)
    summary = srbench.evaluate("fake_smooth", force=True, device="cuda:99", **options)
    assert "no CUDA device" in summary.failed[0].detail or summary.failed
    assert manifest(ScoreStore(tmp_path), "fake_smooth").status == "complete"


def test_a_leaking_variant_runs_only_when_asked_for_and_is_flagged(tmp_path: Path) -> None:
    train(tmp_path, 1.0, 0, "oracle", "fake_leaky")
    options: dict[str, Any] = {
        "dataset": FakeSet(2),
        "scale": 4,
        "runs": tmp_path,
        "results": tmp_path / "results",
        "metrics": ["psnr"],
    }
    assert srbench.evaluate(["fake_leaky"], **options).missing
    with pytest.raises(SrbenchError, match="never ranked, add --oracle"):
        srbench.evaluate(["fake_leaky"], variant="oracle", **options)
    assert srbench.evaluate(["fake_leaky"], oracle=True, **options).scored
    found = [one for one in ScoreStore(tmp_path / "results").manifests() if one.status == "complete"]
    found = [one for one in found if one.key.model not in REFERENCES]
    assert [one.card["leaking"] for one in found] == [True]
    assert [one["guard"] for one in found[0].guards if one["status"] == "failed"] == ["hr_access"]
    scores = ScoreStore(tmp_path / "results").scores([found[0].key])
    assert list(scores["value"][scores["metric"].str.startswith("psnr")]) == [100.0, 100.0]


def test_given_weights_are_used_and_belong_to_one_model(tmp_path: Path) -> None:
    path = train(tmp_path, 0.5, 3)
    options: dict[str, Any] = {"dataset": FakeSet(2), "scale": 4, "results": tmp_path / "results"}
    summary = srbench.evaluate(["fake_learned"], weights=path, metrics=["psnr"], **options)
    assert labels(summary) == ["fake_learned only seed 3"]
    with pytest.raises(SrbenchError, match="One weights file belongs to one model, found 2 models"):
        srbench.evaluate(["fake_learned", "fake_smooth"], weights=path, **options)
    with pytest.raises(SrbenchError, match="found --all"):
        srbench.evaluate("all", weights=path, **options)
    with pytest.raises(SrbenchError, match="No weights file"):
        srbench.evaluate(["fake_learned"], weights=tmp_path / "no.pth", **options)


def test_damaged_weights_fail_alone(tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(b"\x00" * 40)
    summary = srbench.evaluate(
        ["fake_learned"], dataset=FakeSet(2), scale=4, weights=path, results=tmp_path / "results"
    )
    assert "not a whole safetensors file" in summary.failed[0].detail


def test_bad_requests_are_refused_before_anything_runs(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dataset": FakeSet(2), "scale": 4, "results": tmp_path}
    with pytest.raises(ModelError, match="did you mean 'fake_smooth'"):
        srbench.evaluate(["fake_smoth"], **options)
    with pytest.raises(ModelError, match=r"no scale x3. It offers: x2, x4"):
        srbench.evaluate(["fake_smooth"], **{**options, "scale": 3})
    with pytest.raises(ModelError, match="no variant 'huge'"):
        srbench.evaluate(["fake_learned"], variant="huge", **options)
    with pytest.raises(DatasetError, match=r"no images in split 'train' \(train 0, val 0, test 2\)"):
        srbench.evaluate(["fake_smooth"], split="train", **options)
    with pytest.raises(SrbenchError, match="did you mean 'psnr'"):
        srbench.evaluate(["fake_smooth"], metrics=["psnrr"], **options)
    with pytest.raises(SrbenchError, match="did you mean 'sem-grey'"):
        srbench.evaluate(["fake_smooth"], protocol="sem-gray", **options)
    assert not list(tmp_path.iterdir())


def test_a_databar_or_too_few_pixels_are_said_and_the_other_images_scored(tmp_path: Path) -> None:
    data = FakeSet(3, name="barred", side=200)
    data.card = replace(data.card, kind="real")
    barred = data.store["sub/1"].copy()
    barred[-40:] = 250
    data.store["sub/1"] = barred
    data.store["sub/2"] = data.store["sub/2"][:9, :9]
    srbench.evaluate("fake_smooth", dataset=data, scale=4, results=tmp_path, metrics=["psnr"])
    table = scores(ScoreStore(tmp_path), "fake_smooth")
    psnr = table[table["metric"] == "psnr"].set_index("image")
    assert np.isnan(psnr.loc["sub/1", "value"]) and "databar" in str(psnr.loc["sub/1", "reason"])
    assert np.isnan(psnr.loc["sub/2", "value"]) and "too few at scale 4" in str(psnr.loc["sub/2", "reason"])
    assert psnr.loc["sub/0", "value"] > 10


def test_a_drawn_scene_with_a_dark_smooth_ground_is_no_micrograph_with_a_databar() -> None:
    """Noise-free rows can be as smooth as a bar's; this scene looks to the detector as if it had one."""
    data = datasets.open("sem_synthetic")
    (image,) = [image for image in data.images if image.id == "patterned-0019"]
    pixels = data.pixels(image.id)
    assert has_databar(pixels)
    scorer = Scorer(data, named("sem-grey"), choose_metrics(["psnr"]), degrade.get("bicubic"), 4)
    (score,) = scorer.scores(image, pixels, pixels, np.zeros((96, 96), np.uint8))
    assert score.value == 100.0


def run_models_on(cache: lr_cache.LrCache, folder: Path) -> list[bytes]:
    """The raw SR files a worker writes from an LR pack."""
    folder.mkdir()
    job = WorkerJob(
        "bicubic",
        models.card("bicubic").variants[0],
        scale=4,
        channels=1,
        lr=str(cache.file),
        images=tuple(entry.layout for entry in cache.entries),
        out=str(folder),
        device="cpu",
    )
    return [
        (folder / f"{message.index}.npy").read_bytes()
        for message in run_worker(job, folder, 120.0)
        if isinstance(message, ImageDone)
    ]


def test_noise_in_the_place_of_the_references_changes_no_output(tmp_path: Path) -> None:
    data = FakeSet(2, name="swap")
    degradation = srbench.datasets.degrade.get("bicubic")
    cache = lr_cache.prepare(data, data.images, degradation, 4, tmp_path / "lr", lambda event: None)
    before = run_models_on(cache, tmp_path / "first")
    generator = np.random.default_rng(0)
    for image, pixels in data.store.items():
        data.store[image] = generator.integers(0, 256, pixels.shape).astype(np.uint8)
    again = lr_cache.prepare(data, data.images, degradation, 4, tmp_path / "lr", lambda event: None)
    assert again.sha256 == cache.sha256
    assert run_models_on(again, tmp_path / "second") == before


def test_a_worker_is_told_no_name_and_no_place_of_the_references(tmp_path: Path) -> None:
    jobs: list[WorkerJob] = []

    def listen(job: WorkerJob, *_: Any) -> Iterator[Any]:
        jobs.append(job)
        return iter(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("srbench.evaluation.worker_client.run_worker", listen)
        srbench.evaluate("fake_smooth", dataset=FakeSet(2), scale=4, results=tmp_path)
    assert not {"dataset", "split", "ids"} & set(vars(jobs[0])) and jobs[0].hr is None
    assert "sub/" not in jobs[0].to_json()


def test_a_reference_is_read_once_for_all_models(tmp_path: Path) -> None:
    class Counted(FakeSet):  # type: ignore[misc]
        def pixels(self, image_id: str) -> Any:
            reads.append(image_id)
            return super().pixels(image_id)

    reads: list[str] = []
    config = EvaluationConfig(results=tmp_path)
    data = Counted(2, name="counted")
    context = EvaluationContext.create(data, config, 4)
    reads.clear()  # making LR and looking for its errors read HR too
    for _ in range(3):
        for image in data.images:
            assert np.array_equal(context.hr(image.id), lr_cache.cut_to_scale(data.store[image.id], 4))
    assert reads == [image.id for image in data.images]


def test_references_beyond_the_cache_are_read_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(setting, "HR_CACHE_BYTES", 0)
    context = EvaluationContext.create(FakeSet(1, name="large"), EvaluationConfig(results=tmp_path), 4)
    (image,) = context.images
    assert context.hr(image) is not context.hr(image)


def test_lr_images_are_made_once_hashed_and_made_again_when_damaged(tmp_path: Path) -> None:
    data = FakeSet(3, name="cache")
    degradation = srbench.datasets.degrade.get("bicubic")
    made: list[int] = []

    def prepare() -> lr_cache.LrCache:
        return lr_cache.prepare(
            data, data.images, degradation, 4, tmp_path, lambda event: made.append(event.done)
        )

    first = prepare()
    assert made == [1, 2, 3]
    assert prepare() == first and made == [1, 2, 3]
    content = first.file.read_bytes()
    first.file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert prepare() == first and made == [1, 2, 3] * 2
    assert first.file.read_bytes() == content
    assert not list(tmp_path.glob(".partial*"))
    lr = first.pixels(first.methods[1])
    assert lr.dtype == np.uint8 and lr.shape == (17, 18)


def test_a_worker_started_from_a_checkout_imports_the_installed_package(tmp_path: Path) -> None:
    for name in ("models", "datasets", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('shadowed')")
    data = FakeSet(1, name="shadow")
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        summary = srbench.evaluate("nearest", dataset=data, scale=4, results=tmp_path / "r", metrics=["psnr"])
    finally:
        os.chdir(here)
    assert summary.scored, summary.text()


SCRIPT = """
import importlib.util, sys
from pathlib import Path
for name in ("fake_models", "fake_set"):
    spec = importlib.util.spec_from_file_location(name, Path(sys.argv[1]) / f"{name}.py")
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
import srbench
summary = srbench.evaluate(["fake_smooth", "fake_slow"], dataset=sys.modules["fake_set"].FakeSet(3), scale=4,
                           results=Path(sys.argv[2]), metrics=["psnr"])
print(summary.text())
"""


@pytest.mark.slow
def test_a_killed_evaluation_leaves_nothing_half_and_goes_on_where_it_was(tmp_path: Path) -> None:
    script, results, sign = tmp_path / "run.py", tmp_path / "results", tmp_path / "sign"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(HELPERS), str(results)]
    environment = {**os.environ, "SRBENCH_HOME": str(tmp_path / "home")}
    # The slow model gives its sign outside its own folder.
    first = {**environment, "SRBENCH_TEST_SIGN": str(sign), "SRBENCH_ISOLATION": "off"}
    process = subprocess.Popen(command, env=first, cwd=tmp_path)
    deadline = time.monotonic() + 240
    while not sign.exists() and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before the slow model began"
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for orphan in sign.read_text().split():
        os.kill(int(orphan), signal.SIGKILL)
    store = ScoreStore(results)
    assert {one.key.model for one in store.manifests()} == {CONTROL, "fake_smooth"}
    assert set(store.scores()["model"]) == {CONTROL, "fake_smooth"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "1 scored, 2 skipped, 0 failed, 0 missing" in done.stdout
    assert {one.key.model for one in store.manifests()} == {CONTROL, "fake_smooth", "fake_slow"}
    assert {one.status for one in store.manifests()} == {"complete"}
