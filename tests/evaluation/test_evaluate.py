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
import pytest
import torch

import srbench
from helpers.evaluations import FAILING, Finished, run_worker_here, save_gain
from helpers.fake_set import FakeSet
from helpers.loading import HELPERS, registered
from srbench import datasets, models
from srbench.config import EvaluationConfig
from srbench.datasets import DatasetError, degrade
from srbench.datasets import lr_images as lr_cache
from srbench.datasets.images.databar import has_databar
from srbench.evaluation import context as context_module
from srbench.evaluation.context import EvaluationContext
from srbench.evaluation.evaluate import EvaluationSummary
from srbench.evaluation.messages import ImageDone, WorkerJob
from srbench.evaluation.scorer import Scorer, choose_metrics
from srbench.metrics.protocol import named
from srbench.models import ModelError
from srbench.store import CONTROL, REFERENCES, ScoreStore
from srbench.utils.errors import SrbenchError


@pytest.fixture(scope="module", autouse=True)
def _fakes() -> Iterator[None]:
    with registered("fake_models"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def labels(summary: EvaluationSummary) -> list[str]:
    """The models scored, without the rows that the harness makes itself."""
    return [outcome.label for outcome in summary.scored if outcome.model not in REFERENCES]


# One stored evaluation, with a process a model.


@pytest.mark.slow
def test_what_fails_is_recorded_and_the_others_are_scored(finished: Finished) -> None:
    summary, scored = finished.summary, [*REFERENCES, "bicubic", "fake_smooth", "fake_learned"]
    assert [outcome.model for outcome in summary.failed] == list(FAILING)
    assert [outcome.model for outcome in summary.scored] == [*scored, "fake_learned", "fake_leaky"]
    assert [outcome.model for outcome in summary.missing] == ["vdsr"]
    assert set(finished.store.scores()["model"]) == {*scored, "fake_leaky"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("fake_crash", "exit code 7"),
        ("fake_crash", "about to end"),  # its last words
        ("fake_killed", "killed by SIGKILL"),
        ("fake_nan", "gave NaN"),
        ("fake_raises", "RuntimeError: size mismatch in layer 3"),
        ("fake_small", "at scale 4 it must give 4 times that"),
        ("vdsr", "srbench train vdsr --dataset fake --scale 4"),
    ],
)
def test_the_reason_why_there_is_no_score_is_stored(finished: Finished, model: str, reason: str) -> None:
    stored = finished.manifest(model)
    assert stored.status == ("missing" if model == "vdsr" else "failed")
    assert reason in stored.reason
    assert reason in next(outcome.detail for outcome in finished.summary.outcomes if outcome.model == model)


@pytest.mark.slow
def test_the_summary_prints_the_conditions_a_line_a_model_and_the_totals(finished: Finished) -> None:
    lines = finished.summary.text().splitlines()
    protocol = finished.manifest("fake_smooth").key.protocol
    assert protocol.startswith("sem-grey-")
    assert lines[0] == f"fake, test, x4, LR by bicubic@1, protocol {protocol} (default for synthetic scenes)"
    assert lines[-1].startswith(
        "7 scored, 0 skipped, 5 failed, 1 missing, 3 not ranked because a guard failed; scores in "
    )
    assert len([line for line in lines if not line.startswith(" ")]) == 2 + 13 + 1
    assert [line.split()[1] for line in lines if line.startswith(" ")] == [
        *["lossless_output"] * 3,  # no numbers, a wrong size, half of the brightness
        "hr_access",
    ]


@pytest.mark.slow
def test_rows_cover_every_image_and_metric(finished: Finished) -> None:
    table = finished.scores("fake_smooth")
    images = table[table["image"] != ""]
    assert images.groupby("metric")["image"].nunique().loc[["psnr", "ssim", "lr_psnr"]].tolist() == [5, 5, 5]
    psnr = images[images["metric"] == "psnr"]
    assert psnr["value"].between(10, 40).all() and (psnr["reason"] == "").all()
    assert set(psnr["group"]) == {"g0", "g1", "g2"} and set(psnr["category"]) == {"a", "b"}
    lpips = images[images["metric"] == "lpips-alex-0.1"]  # its weights are not on this machine
    assert len(lpips) == 5 and lpips["value"].isna().all()
    assert lpips["reason"].str.contains("alexnet-owt-7be5be79.pth").all()


@pytest.mark.slow
def test_psnr_is_what_an_independent_computation_gives(finished: Finished) -> None:
    """Nearest enlargement of the LR image, written out here once more."""
    from skimage.metrics import peak_signal_noise_ratio

    data = FakeSet(ceiling=True)
    table = finished.scores("fake_smooth")
    stored = table[table["metric"] == "psnr"].set_index("image")["value"]
    degradation = degrade.get("bicubic")
    for image, value in stored.items():
        hr = data.pixels(str(image))
        hr = hr[: hr.shape[0] // 4 * 4, : hr.shape[1] // 4 * 4]
        levels = degradation(torch.from_numpy(hr / 255.0)[None, None], 4).clamp(0, 1)[0, 0] * 255
        sr = (levels + 0.5).floor().numpy().repeat(4, 0).repeat(4, 1).astype(np.uint8)
        expected = peak_signal_noise_ratio(hr[4:-4, 4:-4], sr[4:-4, 4:-4], data_range=255)
        assert value == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_cost_rows_have_no_image(finished: Finished) -> None:
    table = finished.scores("fake_smooth")
    costs = table[table["image"] == ""].set_index("metric")["value"]
    assert costs["params"] == 1 and costs["gmacs_per_mpx"] == 0
    assert costs["seconds_per_mpx"] > 0 and costs["peak_mb_per_mpx"] > 0
    assert (finished.scores("noise_ceiling")["image"] != "").all()


@pytest.mark.slow
def test_the_noise_ceiling_is_a_row_like_any_other(finished: Finished) -> None:
    assert finished.manifest("noise_ceiling").card["title"] == "Noise ceiling"
    table = finished.scores("noise_ceiling")
    psnr = table[table["metric"] == "psnr"].set_index("image")
    assert psnr["value"].drop("sub/0").between(28, 36).all()  # noise of 6 levels is 32.6 dB
    assert np.isnan(psnr.loc["sub/0", "value"])
    assert "no second acquisition" in str(psnr.loc["sub/0", "reason"])


@pytest.mark.slow
def test_the_manifest_says_how_the_numbers_came_about(finished: Finished) -> None:
    stored = finished.manifest("fake_smooth")
    assert stored.data["images"] == 5 and stored.data["groups"] == 3
    assert len(stored.data["lr_sha256"]) == 64 and stored.data["skipped"] == {"broken.png": "truncated"}
    assert stored.protocol["id"] == stored.key.protocol and stored.protocol["border"] == "scale"
    assert stored.device["type"] == "cpu" and stored.device["precision"] == "float32"
    tiling = dict(stored.cost["tiling"])
    assert tiling.pop("smallest_tile") > 0
    assert tiling == {"most_tiles": 1, "halo": 0, "exact": True, "retries": 0}
    assert stored.card["leaking"] is False and stored.versions["torch"] and stored.versions["srbench"]
    assert stored.data["kind"] == "synthetic" and stored.data["licence"] == "CC0-1.0"
    assert stored.data["terms"] == "cite us" and stored.data["channels"] == 1
    assert stored.data["fingerprint"] == stored.key.data


@pytest.mark.slow
def test_previews_cover_the_categories_and_come_with_hr_and_lr(finished: Finished) -> None:
    store, stored = finished.store, finished.manifest("fake_smooth")
    assert list(stored.previews) == ["sub/0", "sub/1", "sub/2"]
    for image in stored.previews:
        assert store.preview(stored.key, image) is not None
        assert store.reference(stored.data["reference_id"], image, "hr") is not None
        assert store.reference(stored.data["reference_id"], image, "lr") is not None


@pytest.mark.slow
def test_each_trained_seed_is_a_row_with_its_own_weights(finished: Finished) -> None:
    assert labels(finished.summary)[2:4] == ["fake_learned only seed 0", "fake_learned only seed 1"]
    table = finished.scores("fake_learned")
    means = table[table["metric"] == "psnr"].groupby("seed")["value"].mean()
    assert means[0] > means[1] + 5  # the weights were really used
    assert all(len(digest) == 64 for digest in table["weights"].unique())
    assert "a note" in finished.manifest("fake_learned").notes


@pytest.mark.slow
def test_an_oracle_gives_hr_and_is_flagged(finished: Finished) -> None:
    stored = finished.manifest("fake_leaky")
    assert stored.card["leaking"] is True
    assert [guard["guard"] for guard in stored.guards if guard["status"] == "failed"] == ["hr_access"]
    table = finished.scores("fake_leaky")
    assert list(table["value"][table["metric"] == "psnr"]) == [100.0] * 5


# What needs no process of its own.


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return {"dataset": FakeSet(2), "scale": 4, "runs": tmp_path, "results": tmp_path / "results"}


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_once_there_are_weights_the_record_that_they_lack_goes(options: dict[str, Any]) -> None:
    assert srbench.evaluate(["fake_learned"], metrics=["psnr"], **options).missing
    save_gain(options["runs"], 1.0, 0)
    assert srbench.evaluate(["fake_learned"], metrics=["psnr"], **options).scored
    assert {stored.status for stored in ScoreStore(options["results"]).manifests()} == {"complete"}
    again = srbench.evaluate(["fake_learned"], metrics=["psnr"], **options)
    assert len(again.skipped) == 1 + 1 and not again.scored


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_what_is_scored_stays_whatever_comes_after(options: dict[str, Any]) -> None:
    srbench.evaluate("fake_smooth", metrics=["psnr"], **options)
    assert srbench.evaluate("fake_smooth", metrics=["psnr"], **options).skipped
    assert srbench.evaluate("fake_smooth", metrics=["ssim"], **options).scored
    store = ScoreStore(options["results"])
    table = store.scores()
    assert set(table[table["image"] != ""]["metric"]) == {"psnr", "ssim"}
    summary = srbench.evaluate("fake_smooth", force=True, device="cuda:99", metrics=["psnr"], **options)
    assert [outcome.model for outcome in summary.failed] == ["fake_smooth"]
    assert {stored.status for stored in store.manifests()} == {"complete"}


def test_a_leaking_variant_runs_only_when_it_is_asked_for(options: dict[str, Any]) -> None:
    save_gain(options["runs"], 1.0, 0, "oracle", "fake_leaky")
    with pytest.raises(SrbenchError, match="--oracle"):
        srbench.evaluate(["fake_leaky"], variant="oracle", **options)


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_given_weights_are_used(options: dict[str, Any]) -> None:
    path = save_gain(options["runs"], 0.5, 3)
    summary = srbench.evaluate(["fake_learned"], weights=path, metrics=["psnr"], **options)
    assert labels(summary) == ["fake_learned only seed 3"]
    path.write_bytes(b"\x00" * 40)
    damaged = srbench.evaluate(["fake_learned"], weights=path, metrics=["psnr"], **options)
    assert "not a whole safetensors file" in damaged.failed[0].detail


@pytest.mark.parametrize(("names", "words"), [(["fake_learned", "vdsr"], "2 models"), ("all", "--all")])
def test_given_weights_belong_to_one_model(options: dict[str, Any], names: Any, words: str) -> None:
    path = save_gain(options["runs"], 0.5, 3)
    with pytest.raises(SrbenchError, match=words):
        srbench.evaluate(names, weights=path, **options)
    with pytest.raises(SrbenchError, match="No weights file"):
        srbench.evaluate(["fake_learned"], weights=path.with_name("no.pth"), **options)


@pytest.mark.parametrize(
    ("name", "changed", "error", "words"),
    [
        ("fake_smoth", {}, ModelError, "fake_smooth"),
        ("fake_smooth", {"scale": 3}, ModelError, "x2, x4"),
        ("fake_learned", {"variant": "huge"}, ModelError, "huge"),
        ("fake_smooth", {"split": "train"}, DatasetError, r"train 0, val 0, test 2"),
        ("fake_smooth", {"metrics": ["psnrr"]}, SrbenchError, "psnr"),
        ("fake_smooth", {"protocol": "sem-gray"}, SrbenchError, "sem-grey"),
    ],
)
def test_bad_requests_are_refused_before_anything_runs(
    options: dict[str, Any], name: str, changed: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        srbench.evaluate([name], **{**options, **changed})
    assert not options["results"].exists()


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_a_databar_or_too_few_pixels_are_said_and_the_other_images_scored(tmp_path: Path) -> None:
    data = FakeSet(3, name="barred", side=200)
    data.card = replace(data.card, kind="real")
    barred = data.store["sub/1"].copy()
    barred[-40:] = 250
    data.store["sub/1"] = barred
    data.store["sub/2"] = data.store["sub/2"][:9, :9]
    srbench.evaluate("fake_smooth", dataset=data, scale=4, results=tmp_path, metrics=["psnr"])
    table = ScoreStore(tmp_path).scores()
    table = table[table["model"] == "fake_smooth"]
    psnr = table[table["metric"] == "psnr"].set_index("image")
    assert np.isnan(psnr.loc["sub/1", "value"]) and "databar" in str(psnr.loc["sub/1", "reason"])
    assert np.isnan(psnr.loc["sub/2", "value"]) and "too few at scale 4" in str(psnr.loc["sub/2", "reason"])
    assert psnr.loc["sub/0", "value"] > 10


@pytest.mark.slow
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
        (folder / f"{message.index}.raw").read_bytes()
        for message in run_worker_here(job, folder)
        if isinstance(message, ImageDone)
    ]


@pytest.mark.slow
def test_noise_in_the_place_of_the_references_changes_no_output(tmp_path: Path) -> None:
    data = FakeSet(2, name="swap")
    degradation = degrade.get("bicubic")
    cache = lr_cache.prepare(data, data.images, degradation, 4, tmp_path / "lr", lambda event: None)
    before = run_models_on(cache, tmp_path / "first")
    generator = np.random.default_rng(0)
    for image, pixels in data.store.items():
        data.store[image] = generator.integers(0, 256, pixels.shape).astype(np.uint8)
    again = lr_cache.prepare(data, data.images, degradation, 4, tmp_path / "lr", lambda event: None)
    assert again.sha256 == cache.sha256
    assert run_models_on(again, tmp_path / "second") == before


@pytest.mark.slow
def test_a_worker_is_told_no_name_and_no_place_of_the_references(tmp_path: Path) -> None:
    jobs: list[WorkerJob] = []

    def record(job: WorkerJob, *_: Any) -> Iterator[Any]:
        jobs.append(job)
        return iter(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("srbench.evaluation.worker_client.run_worker", record)
        srbench.evaluate("fake_smooth", dataset=FakeSet(2), scale=4, results=tmp_path, metrics=["psnr"])
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
    monkeypatch.setattr(context_module, "HR_CACHE_BYTES", 0)
    context = EvaluationContext.create(FakeSet(1, name="large"), EvaluationConfig(results=tmp_path), 4)
    (image,) = context.images
    assert context.hr(image) is not context.hr(image)


def test_lr_images_are_made_once_hashed_and_made_again_when_damaged(tmp_path: Path) -> None:
    data = FakeSet(3, name="cache")
    degradation = degrade.get("bicubic")
    steps: list[int] = []

    def prepare() -> lr_cache.LrCache:
        return lr_cache.prepare(
            data, data.images, degradation, 4, tmp_path, lambda event: steps.append(event.done)
        )

    first = prepare()
    assert steps == [1, 2, 3]
    assert prepare() == first and steps == [1, 2, 3]
    content = first.file.read_bytes()
    first.file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert prepare() == first and steps == [1, 2, 3] * 2
    assert first.file.read_bytes() == content
    assert not list(tmp_path.glob(".partial*"))
    lr = first.pixels(first.entries[1])
    assert lr.dtype == np.uint8 and lr.shape == (17, 18)


@pytest.mark.slow
def test_a_model_that_hangs_is_ended(tmp_path: Path) -> None:
    summary = srbench.evaluate("fake_hangs", dataset=FakeSet(1), scale=4, results=tmp_path, timeout=3.0)
    assert "no sign of life for 3 s" in summary.failed[0].detail


@pytest.mark.slow
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
    assert {stored.key.model for stored in store.manifests()} == {CONTROL, "fake_smooth"}
    assert set(store.scores()["model"]) == {CONTROL, "fake_smooth"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "1 scored, 2 skipped, 0 failed, 0 missing" in done.stdout
    assert {stored.key.model for stored in store.manifests()} == {CONTROL, "fake_smooth", "fake_slow"}
    assert {stored.status for stored in store.manifests()} == {"complete"}
