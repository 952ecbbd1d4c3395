"""The worker as evaluations start it: cheating models get nothing, honest ones do not notice."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import srbench
from helpers.landlock import has_landlock
from helpers.loading import registered
from srbench import models
from srbench.datasets import DatasetCard, Micrograph, MicrographSet
from srbench.datasets import lr_images as lr_cache
from srbench.evaluation import worker_client
from srbench.evaluation.jobs import Job
from srbench.evaluation.messages import Finished, ImageDone, Isolated, Ready, Warm, WorkerJob
from srbench.evaluation.worker_client import run_worker
from srbench.sandbox import SandboxPolicy, apply, policy_for_job
from srbench.store import ScoreStore
from srbench.utils.image import Pixels

needs_landlock = pytest.mark.skipif(not has_landlock(), reason="this kernel offers no Landlock")


@pytest.fixture(scope="module", autouse=True)
def _thieves() -> Iterator[ModuleType]:
    with registered("sandbox_models") as module:
        yield module


class OnDisk(MicrographSet):
    """Images of which one lies as a file in a folder of the user."""

    def __init__(self, folder: Path) -> None:
        import cv2

        self.name, self.folder, self.skipped = "on_disk", folder, {}
        self.card = DatasetCard("on_disk", "On disk", "synthetic", "", "CC0-1.0")
        self.images = (Micrograph("0", "g", "c", "test", 64, 64),)
        self.hr: Pixels = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
        folder.mkdir()
        assert cv2.imwrite(str(folder / "hr.png"), self.hr)

    @property
    def fingerprint(self) -> str:
        return "0" * 64

    def pixels(self, image_id: str) -> Pixels:
        return self.hr

    def hr_paths(self) -> tuple[Path, ...]:
        return (self.folder,)


class Scene:
    """An evaluation of one model, and all that its worker said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.messages: list[Any] = []
        self.failure: worker_client.WorkerFailed | None = None

    def record(self, *arguments: Any) -> Iterator[Any]:
        try:
            for message in run_worker(*arguments):
                self.messages.append(message)
                yield message
        except worker_client.WorkerFailed as error:
            self.failure = error
            raise

    def evaluate(self, name: str) -> Any:
        return srbench.evaluate(
            name,
            dataset=OnDisk(self.folder / "data"),
            scale=4,
            results=self.folder / "results",
            metrics=["psnr"],
            device="cpu",
        )

    def message(self, kind: type) -> Any:
        return next(message for message in self.messages if isinstance(message, kind))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    evaluation = Scene(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SRBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SRBENCH_TEST_HR", str(tmp_path / "data" / "hr.png"))
    monkeypatch.setenv("SRBENCH_TEST_TEMPORARY", tempfile.gettempdir())
    monkeypatch.setattr("srbench.evaluation.worker_client.run_worker", evaluation.record)
    return evaluation


@pytest.mark.slow
@needs_landlock
def test_a_model_that_tries_everything_gets_nothing_and_is_recorded(scene: Scene) -> None:
    summary = scene.evaluate("fake_thief")
    assert summary.scored, summary.text()
    assert scene.message(Ready).isolation["level"] == "kernel"
    hidden = scene.folder / "data"
    attempts = scene.message(Finished).attempts
    assert {str(hidden), str(hidden / "hr.png")} <= set(attempts)
    assert all(one.startswith((str(hidden), "/proc/")) for one in attempts)


@pytest.mark.slow
def test_the_same_model_without_isolation_gets_everything(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, _thieves: ModuleType
) -> None:
    monkeypatch.setenv(apply.SWITCH, "off")
    summary = scene.evaluate("fake_thief")
    assert f"stole by {', '.join(_thieves.METHODS)}" in summary.failed[0].detail


@pytest.mark.slow
def test_a_refusal_is_in_the_record_of_the_run(scene: Scene) -> None:
    """Whatever this system's means: Python's own call is refused by all of them."""
    summary = scene.evaluate("fake_thief_at_import")
    hr = scene.folder / "data" / "hr.png"
    assert f"PermissionError: [Errno 13] hidden from models: '{hr}'" in summary.failed[0].detail
    manifests = ScoreStore(scene.folder / "results").manifests()
    manifest = next(one for one in manifests if one.key.model == "fake_thief_at_import")
    assert manifest.status == "failed" and str(hr) in manifest.reason
    assert scene.failure is not None and scene.failure.attempts == (str(hr),)


def test_what_a_model_says_of_its_isolation_does_not_count() -> None:
    true = {"level": "none", "mechanism": "", "words": "open"}
    forged = {"level": "kernel", "mechanism": "lies", "words": "closed"}
    ready = Ready({}, ())
    sent = [Isolated(true), Isolated(forged), ready, Warm()]
    assert list(worker_client._with_isolation(iter(sent))) == [replace(ready, isolation=true), Warm()]


def test_the_policy_file_is_gone_before_the_model_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / apply.POLICY_FILE
    file.write_text(apply.policy_json(SandboxPolicy((), (), ()), []))
    monkeypatch.setattr(apply, "apply_policy", lambda *_: "applied")
    apply.apply_policy_file(file)
    assert not file.exists()


HONEST = ("swinir", "csm_sr")
"""One of each kind of code: every other test of an evaluation runs its networks confined too."""


@pytest.mark.slow
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_model_runs_as_before_and_asks_for_nothing_hidden(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = OnDisk(tmp_path / "data")
    degradation = srbench.datasets.degrade.get("bicubic")
    cache = lr_cache.prepare(data, data.images, degradation, 4, tmp_path / "home", lambda event: None)
    free = run(name, cache, tmp_path / "free", None)
    drawing = Path(str(srbench.datasets.__file__)).parent / "synthetic"
    hidden = [tmp_path / "home", tmp_path / "data", drawing]
    confined = run(name, cache, tmp_path / "confined", hidden)
    assert confined["pixels"] == free["pixels"] and confined["attempts"] == []
    assert confined["level"] in ("kernel", "interpreter") and free["level"] == "none"
    assert confined["peak"] == pytest.approx(free["peak"], rel=0.3)


@pytest.mark.gpu
@needs_landlock
def test_a_confined_worker_computes_on_the_gpu(tmp_path: Path) -> None:
    data = OnDisk(tmp_path / "data")
    degradation = srbench.datasets.degrade.get("bicubic")
    cache = lr_cache.prepare(data, data.images, degradation, 4, tmp_path / "home", lambda event: None)
    free = run("vdsr", cache, tmp_path / "free", None, "cuda")
    confined = run("vdsr", cache, tmp_path / "confined", [tmp_path / "home"], "cuda")
    assert confined["level"] == "kernel" and confined["attempts"] == []
    assert confined["pixels"] == free["pixels"]


def run(
    name: str, cache: lr_cache.LrCache, scratch: Path, hidden: list[Path] | None, device: str = "cpu"
) -> dict[str, Any]:
    """The raw outputs of a worker with the smallest variant of a model, and what it said."""
    scratch.mkdir()
    card = models.card(name)
    variant = "tiny" if "tiny" in card.variants else card.variants[0]
    module_file = Job(name, variant, card).source_file()
    job = WorkerJob(
        name,
        variant,
        scale=4,
        channels=1 if 1 in card.channels else 3,
        lr=str(cache.file),
        images=tuple(entry.layout for entry in cache.entries),
        out=str(scratch),
        module=card.module,
        module_file=module_file,
        device=device,
    )
    confinement = None
    if hidden is not None:
        confinement = policy_for_job(
            lr=cache.file, weights=None, module_file=Path(module_file), scratch=scratch, hidden=hidden
        )
    said: dict[str, Any] = {"pixels": []}
    for message in run_worker(job, scratch, 300.0, confinement):
        if isinstance(message, Ready):
            assert message.isolation is not None
            said["level"] = message.isolation["level"]
        elif isinstance(message, ImageDone):
            said["pixels"].append((scratch / f"{message.index}.raw").read_bytes())
        elif isinstance(message, Finished):
            said |= {"attempts": list(message.attempts), "peak": message.peak_bytes}
    return said


def test_nothing_with_threads_is_imported_before_a_worker_is_confined() -> None:
    """NumPy's arithmetic starts a thread a core, and Landlock confines one thread."""
    code = (
        "import sys, srbench.evaluation.worker, srbench.sandbox.apply, srbench.sandbox.ask; "
        "print(sorted({'numpy', 'torch', 'cv2', 'pandas'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
