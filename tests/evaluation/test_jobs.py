"""Names and weights on disk to what is run; nothing here starts a worker."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import srbench
from srbench import datasets, models, weights
from srbench.config import EvaluationConfig
from srbench.evaluation import evaluate as runner
from srbench.evaluation.jobs import EvaluationRequest, resolve
from srbench.models import create
from srbench.utils.errors import SrbenchError

pytestmark = pytest.mark.usefixtures("nothing_shipped")


def request(scale: int | None, dataset: str, channels: int = 1, **options: Any) -> EvaluationRequest:
    return EvaluationRequest(EvaluationConfig.of({"scale": scale, **options}), dataset, channels)


def save(
    runs: Path,
    variant: str,
    dataset: str,
    seed: int,
    budget: str = "smoke",
    degradation: str = "",
    parent: str = "",
) -> None:
    started = weights.WeightsHeader("vdsr", variant, 4, 1, dataset=parent, data="aa")
    header = weights.WeightsHeader(
        "vdsr",
        variant,
        4,
        1,
        dataset=dataset,
        seed=seed,
        budget=budget,
        degradation=degradation,
        lineage=(weights.Ancestor("0123", parent, started),) if parent else (),
    )
    path = runs / f"{variant}-{dataset}-{seed}-{budget}-{parent}" / "weights.safetensors"
    weights.save(path, create("vdsr", scale=4, variant="tiny").network.state_dict(), header)


def test_all_are_those_that_offer_the_scale(tmp_path: Path) -> None:
    jobs = resolve("all", request(8, "sem", runs=tmp_path))
    offering = {name for name in models.model_names() if 8 in models.card(name).scales}
    assert {job.model for job in jobs} == offering
    assert {"nearest", "bicubic"} <= offering


def test_at_magnification_one_interpolation_is_one_row_unless_named(tmp_path: Path) -> None:
    conditions = request(1, "sem", runs=tmp_path)
    rows = [job.card for job in resolve("all", conditions) if not job.missing]
    assert [card.name for card in rows if card and card.family == "interpolation"] == ["bicubic"]
    assert [job.model for job in resolve(["nearest", "lanczos"], conditions)] == ["nearest", "lanczos"]


def test_what_has_no_weights_is_built_for_the_channels_of_the_images(tmp_path: Path) -> None:
    for channels in (1, 3):
        conditions = request(4, "photos", runs=tmp_path, channels=channels)
        assert [job.channels for job in resolve(["bicubic", "vdsr"], conditions)] == [channels] * 2
    save(tmp_path, "tiny", "photos", 0)  # weights know their channels: these are for one
    (trained,) = resolve(["vdsr"], request(4, "photos", runs=tmp_path, channels=3))
    assert trained.channels == 1 and not trained.missing


def test_what_to_type_names_the_degradation(tmp_path: Path) -> None:
    (job,) = resolve("vdsr", request(2, "sem", runs=tmp_path, degradation="sem_pixel:dose=20,jitter=0.3"))
    assert job.missing.endswith("--dataset sem --scale 2 --degradation sem_pixel:dose=20,jitter=0.3")


def test_a_file_that_does_not_import_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_card = models.card

    def card(name: str) -> Any:
        if name == "vdsr":
            raise ImportError("no module named magic")
        return real_card(name)

    monkeypatch.setattr(models, "card", card)
    jobs = {job.model: job for job in resolve("all", request(4, "sem", runs=tmp_path))}
    assert jobs["vdsr"].failure == "ImportError: no module named magic"
    assert not jobs["bicubic"].failure and not jobs["bicubic"].missing


def test_weights_trained_on_this_dataset_come_first(tmp_path: Path) -> None:
    save(tmp_path, "tiny", "other", 0)
    elsewhere = resolve(["vdsr"], request(4, "sem", runs=tmp_path))
    assert [job.notes for job in elsewhere] == [("trained on other",)]
    save(tmp_path, "tiny", "sem", 0)
    save(tmp_path, "tiny", "sem", 1)
    trained_here = resolve(["vdsr"], request(4, "sem", runs=tmp_path))
    assert sorted(job.seed for job in trained_here) == [0, 1] and all(job.notes == () for job in trained_here)
    assert {job.header.dataset for job in trained_here if job.header} == {"sem"}


def test_fine_tuned_weights_stand_beside_those_trained_from_nothing(tmp_path: Path) -> None:
    save(tmp_path, "tiny", "sem", 0)
    save(tmp_path, "tiny", "sem", 0, parent="photos")
    save(tmp_path, "tiny", "elsewhere", 0, parent="sem")
    jobs = resolve("vdsr", request(4, "sem", runs=tmp_path))
    assert {job.header.lineage[0].name if job.header.lineage else "" for job in jobs} == {"", "photos"}
    (tuned,) = (job for job in jobs if job.header.lineage)
    stored = json.loads(json.dumps(tuned.describe_weights()))
    assert stored["lineage"][0]["header"]["dataset"] == "photos"
    assert all("lineage" not in job.describe_weights() for job in jobs if job is not tuned)


def test_weights_trained_on_the_same_kind_of_lr_come_first(tmp_path: Path) -> None:
    save(tmp_path, "tiny", "sem", 0, degradation="sem_pixel:dose=20@1")
    conditions = request(4, "sem", runs=tmp_path)
    (other,) = resolve(["vdsr"], conditions)
    assert other.notes == ("trained on LR made by sem_pixel:dose=20@1",)
    save(tmp_path, "tiny", "sem", 1, degradation="bicubic@1")
    (same_lr,) = resolve(["vdsr"], conditions)
    assert (same_lr.seed, same_lr.notes) == (1, ())
    (noisy,) = resolve(["vdsr"], request(4, "sem", runs=tmp_path, degradation="sem_pixel:dose=20.0"))
    assert (noisy.seed, noisy.notes) == (0, ())


def test_weights_that_do_not_say_how_their_lr_was_made_fit_every_evaluation(tmp_path: Path) -> None:
    save(tmp_path, "tiny", "sem", 0)
    (job,) = resolve(["vdsr"], request(4, "sem", runs=tmp_path, degradation="area"))
    assert job.notes == ()


def test_the_command_for_what_is_missing_names_variant_and_scale(tmp_path: Path) -> None:
    (job,) = resolve("vdsr", request(3, "sem", variant="tiny", runs=tmp_path))
    assert job.missing.endswith("srbench train vdsr --dataset sem --scale 3 --variant tiny")


def test_interpolations_keep_their_own_variant(tmp_path: Path) -> None:
    (job,) = resolve(["bicubic"], request(4, "sem", variant="tiny", runs=tmp_path))
    assert job.variant == models.card("bicubic").variants[0] and not job.missing


def test_repeated_names_are_run_once(tmp_path: Path) -> None:
    assert len(resolve(["bicubic", "bicubic"], request(4, "sem", runs=tmp_path))) == 1


@pytest.mark.slow
def test_foreign_weights_carry_no_seed(tmp_path: Path) -> None:
    path = tmp_path / "foreign.pth"
    torch.save(create("vdsr", scale=4, variant="tiny").network.state_dict(), path)
    (job,) = resolve(["vdsr"], request(4, "sem", variant="tiny", weights=path))
    assert job.seed == -1 and len(job.sha256) == 64 and job.describe_weights()["file"] == str(path)


class Sets:
    """Datasets as the registry sees them: name to kind and state; those that evaluate() went to are kept."""

    def __init__(self, patch: pytest.MonkeyPatch, **states: tuple[str, str]) -> None:
        self.evaluated: list[str] = []
        cards = [SimpleNamespace(name=name, kind=kind) for name, (kind, _) in states.items()]
        patch.setattr(datasets, "list_datasets", lambda: cards)
        patch.setattr(
            datasets, "source", lambda name: SimpleNamespace(state=lambda: self.state(states[name][1]))
        )
        patch.setattr(
            datasets,
            "open",
            lambda name: SimpleNamespace(
                name=name,
                images=(SimpleNamespace(split="test"),),
                recorded_scale=1 if name == "scans" else None,
            ),
        )
        patch.setattr(runner, "evaluate_on", self.evaluate_on)

    def state(self, state: str) -> SimpleNamespace:
        if state == "damaged":
            raise datasets.DatasetError("damaged")
        return SimpleNamespace(state=state)

    def evaluate_on(self, micrographs: Any, *_: Any) -> runner.EvaluationSummary:
        self.evaluated.append(micrographs.name)
        outcome = runner.Outcome("bicubic matlab", "bicubic", "scored", f"on {micrographs.name}")
        return runner.EvaluationSummary(Path("results"), (outcome,), f"{micrographs.name}, test, x4")


def test_all_models_without_a_dataset_run_on_every_sem_set_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = Sets(
        monkeypatch,
        sem=("real", "ready"),
        sem_open=("real", "embedded"),
        other=("real", "absent"),
        half=("real", "downloaded"),
        broken=("real", "damaged"),
        set5=("photographs", "ready"),
        sem_synthetic=("synthetic", "embedded"),
    )
    remarks: list[Any] = []
    summary = srbench.evaluate("all", progress=remarks.append)
    assert sets.evaluated == ["sem", "sem_open"] and "sem, sem_open" in str(remarks[0])
    assert [outcome.detail for outcome in summary.scored] == ["on sem", "on sem_open"]
    assert "sem, test, x4" in summary.text() and "sem_open, test, x4" in summary.text()


def test_sets_of_pairs_are_left_out_where_another_scale_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    for options, evaluated in (
        ({}, ["scans", "sem"]),
        ({"scale": 1}, ["scans", "sem"]),
        ({"scale": 4}, ["sem"]),
        ({"scale": 4, "degradation": "bicubic"}, ["scans", "sem"]),
    ):
        sets = Sets(monkeypatch, scans=("real", "ready"), sem=("real", "ready"))
        srbench.evaluate("all", **options)
        assert sets.evaluated == evaluated


def test_without_micrographs_on_disk_they_run_on_drawn_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = Sets(monkeypatch, sem=("real", "absent"), set5=("photographs", "ready"))
    srbench.evaluate("all")
    assert sets.evaluated == ["sem_synthetic"]
    sets = Sets(monkeypatch, sem=("real", "ready"))
    srbench.evaluate("all", split="val")  # which this set does not have
    assert sets.evaluated == ["sem_synthetic"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "dataset"),
        ({"dataset": "sem_synthetic", "sclae": 4}, "did you mean 'scale'"),
        ({"dataset": "sem_synthetic", "scale": "large", "previews": -1}, "scale"),
        ({"dataset": "sem_synthetic", "scale": "large", "previews": -1}, "previews"),
    ],
)
def test_wrong_options_are_all_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SrbenchError, match=words):
        srbench.evaluate("bicubic", **options)


def test_paths_may_be_texts() -> None:
    config = EvaluationConfig.of({"results": "a/b", "runs": Path("c"), "metrics": ["psnr"]})
    assert config.results == Path("a/b") and config.runs == Path("c") and config.metrics == ("psnr",)


def test_the_public_names_are_listed() -> None:
    verbs = {"train", "evaluate", "score", "infer", "compare", "load_scores", "report"}
    packages = {"models", "datasets", "metrics", "weights"}
    assert verbs | packages | {"__version__"} == set(dir(srbench))
    assert all(callable(getattr(srbench, name)) for name in verbs)
    assert all(getattr(srbench, name).__name__.rpartition(".")[2] == name for name in packages)
