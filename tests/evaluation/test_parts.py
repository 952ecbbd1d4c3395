"""A run that is scored in parts is the run that one process stores; what befalls a part befalls the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import srbench
from helpers.evaluations import run_worker_here
from helpers.fake_set import FakeSet
from helpers.loading import registered
from srbench.config import EvaluationConfig
from srbench.evaluation.evaluate import EvaluationSummary
from srbench.evaluation.messages import Finished, ImageDone, Message, Ready, Warm, WorkerJob
from srbench.evaluation.parts import images_of_part
from srbench.evaluation.worker_client import WorkerFailed
from srbench.store import Manifest, ScoreStore
from srbench.utils.errors import SrbenchError
from srbench.utils.image import Pixels

MEASURED = ("wall_seconds", "inference_seconds", "peak_mb")
Evaluate = Callable[..., EvaluationSummary]


@pytest.fixture(autouse=True)
def _fake_models() -> Iterator[None]:
    with registered("fake_models"):
        yield


def rows(store: ScoreStore) -> pd.DataFrame:
    table = store.scores()
    return table[table["metric"] != "seconds_per_mpx"].reset_index(drop=True)


def said(manifest: Manifest) -> dict[str, Any]:
    """What a manifest says but when it was made, how long that took, and the hash that covers the time."""
    content = asdict(manifest)
    for name in ("created", "command", "scores_sha256"):
        del content[name]
    content["cost"] = {name: value for name, value in manifest.cost.items() if name not in MEASURED}
    return content


def parts_in(results: Path) -> list[Path]:
    return list((results / "parts").glob("*"))


def assert_same(results: Path, expected: Path) -> None:
    """Rows, manifests and previews bit for bit, in their order."""
    store, undivided = ScoreStore(results), ScoreStore(expected)
    pd.testing.assert_frame_equal(rows(store), rows(undivided), check_exact=True)
    assert [said(manifest) for manifest in store.manifests()] == [
        said(manifest) for manifest in undivided.manifests()
    ]
    previews = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.png")}
        for folder in (results, expected)
    ]
    assert previews[0] == previews[1] and previews[0]


class Scenes(FakeSet):
    """Six images and one with too few pixels; one has no second acquisition. All have two truths.

    Only those of the first have one LR image, and only the first is looked at.
    """

    def __init__(self) -> None:
        super().__init__(7, ceiling=True)
        self.store["sub/2"] = self.store["sub/2"][:9, :9]

    def opposite_phase(self, image_id: str, scale: int) -> Pixels:
        return np.roll(self.store[image_id], 0 if image_id == "sub/0" else scale, axis=1)


LR_HEIGHTS = {f"sub/{index}": (66 + 3 * index) // 4 for index in (0, 1, 3, 4, 5, 6)}


@pytest.fixture
def evaluate(tmp_path: Path, workers_here: None) -> Evaluate:
    """Of one model, into a folder."""
    data = Scenes()

    def of_part(part: tuple[int, int] | None, folder: str = "parts", **options: Any) -> EvaluationSummary:
        options = {"metrics": ["psnr"], **options}
        return srbench.evaluate(
            "fake_smooth", dataset=data, scale=4, results=tmp_path / folder, part=part, **options
        )

    return of_part


@pytest.mark.slow
def test_joined_parts_are_the_run_of_one_process(evaluate: Evaluate, tmp_path: Path) -> None:
    every: dict[str, Any] = {"metrics": None, "audit": True}
    assert not evaluate(None, "whole", **every).failed
    for number in (2, 1, 3):
        part = evaluate((number, 3), **every)
        assert len(part.scored) == 3 and not ScoreStore(tmp_path / "parts").manifests()
    assert len(parts_in(tmp_path / "parts")) == 3 * 3
    assert len(evaluate((2, 3), **every).skipped) == 3
    assert len(evaluate((0, 3), **every).scored) == 3 and parts_in(tmp_path / "parts") == []
    assert_same(tmp_path / "parts", tmp_path / "whole")
    assert len(rows(ScoreStore(tmp_path / "parts"))["metric"].unique()) > 40
    guards = guards_of(tmp_path / "parts")
    assert guards["determinism"]["status"] == "passed"
    assert "preferred a phase in 5 scenes" in guards["memorisation"]["detail"]
    assert len(evaluate((1, 3), **every).skipped) == 3 and parts_in(tmp_path / "parts") == []


def model_of(results: Path) -> Manifest:
    return next(m for m in ScoreStore(results).manifests() if m.key.model == "fake_smooth")


def guards_of(results: Path) -> dict[str, dict[str, str]]:
    return {guard["guard"]: dict(guard) for guard in model_of(results).guards}


@pytest.mark.slow
def test_what_one_worker_shows_counts_for_the_run(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two images a part: what is said of one of the second part is not said in the others."""
    kernel = {"level": "kernel", "mechanism": "", "words": "It could not read HR."}
    is_open, tries, differs = False, False, False

    def worker(job: WorkerJob, scratch: Path, *_: Any) -> Iterator[Message]:
        heights = [height for _, height, _, _ in job.images]
        is_second = LR_HEIGHTS["sub/4"] in heights
        for message in run_worker_here(job, scratch):
            if isinstance(message, Ready):
                isolation = message.isolation if is_open and is_second else kernel
                threads = 1 + (differs and is_second)
                message = replace(message, isolation=isolation, device={**message.device, "threads": threads})
            elif isinstance(message, Warm):  # of the first image, as the worker does
                message = replace(message, channel_spread=heights[0] / 10)
            elif isinstance(message, Finished) and tries and is_second:
                message = replace(message, attempts=("/hr/a.png", "/hr/b.png"))
            yield message

    def of_both(folder: str) -> dict[str, dict[str, str]]:
        evaluate(None, f"{folder} whole")
        evaluate((0, 3), folder)
        assert_same(tmp_path / folder, tmp_path / f"{folder} whole")
        return guards_of(tmp_path / folder)

    monkeypatch.setattr("srbench.evaluation.worker_client.run_worker", worker)
    guards = of_both("confined")
    assert guards["hr_access"]["status"] == "passed"
    assert "differ by 1.6 grey levels" in guards["lossless_output"]["detail"]
    is_open = True
    assert of_both("open")["hr_access"]["status"] == "unchecked"
    tries = True
    guards = of_both("tries")
    assert guards["hr_access"]["status"] == "failed" and "/hr/a.png" in guards["hr_access"]["detail"]
    differs = True
    evaluate((0, 3), "differs")
    stored = model_of(tmp_path / "differs")
    assert stored.device["threads"] == 1
    assert [note for note in stored.notes if "threads: 1; " in note and "threads: 2)" in note]


@pytest.mark.slow
def test_a_model_that_fails_in_one_part_fails(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worker(job: WorkerJob, scratch: Path, *_: Any) -> Iterator[Message]:
        yield from run_worker_here(job, scratch)
        if LR_HEIGHTS["sub/6"] in (height for _, height, _, _ in job.images):  # in the last part
            raise WorkerFailed("it was killed", ("/hr/a.png",), bad_output=True)

    monkeypatch.setattr("srbench.evaluation.worker_client.run_worker", worker)
    assert evaluate(None, "whole").failed
    assert not evaluate((1, 3)).failed and not evaluate((2, 3)).failed
    assert [outcome.detail for outcome in evaluate((3, 3)).failed] == ["it was killed"]
    assert said(model_of(tmp_path / "parts")) == said(model_of(tmp_path / "whole"))
    assert guards_of(tmp_path / "parts")["hr_access"]["status"] == "failed"
    # the parts that did not fail wait for the one that did
    assert evaluate((0, 3)).failed and evaluate((1, 3)).skipped
    monkeypatch.setattr("srbench.evaluation.worker_client.run_worker", run_worker_here)
    assert len(evaluate((0, 3)).scored) == 1 and parts_in(tmp_path / "parts") == []


@pytest.mark.slow
def test_only_the_part_that_was_killed_or_damaged_is_scored_again(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enlarged: list[int] = []
    killed_at = LR_HEIGHTS["sub/4"]

    def worker(job: WorkerJob, scratch: Path, *_: Any) -> Iterator[Message]:
        for message in run_worker_here(job, scratch):
            if isinstance(message, ImageDone):
                enlarged.append(job.images[message.index][1])
                if enlarged[-1] == killed_at:
                    raise KeyboardInterrupt
            yield message

    def images() -> list[str]:
        """Those enlarged since."""
        names = {height: name for name, height in LR_HEIGHTS.items()}
        since = [names[height] for height in enlarged]
        enlarged.clear()
        return since

    monkeypatch.setattr("srbench.evaluation.worker_client.run_worker", worker)
    with pytest.raises(KeyboardInterrupt):
        evaluate((0, 3))
    assert images() == ["sub/0", "sub/1", "sub/3", "sub/4"]
    killed_at = 0
    for number in (1, 2, 3):
        evaluate((number, 3))
    assert images() == ["sub/3", "sub/4", "sub/5", "sub/6"]
    damaged, *_ = (tmp_path / "parts" / "parts").rglob("fake_smooth*/scores.parquet")
    table = pd.read_parquet(damaged)
    table["value"] += 0.5
    table.to_parquet(damaged)
    evaluate((0, 3))
    assert sorted(images()) == sorted(table["image"])
    evaluate(None, "whole")
    assert_same(tmp_path / "parts", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("other", [{"metrics": ["ssim"]}, {"plan_sha256": "0" * 64}, {"previews": 1}])
def test_parts_made_under_other_conditions_are_not_taken(
    evaluate: Evaluate, tmp_path: Path, other: dict[str, Any]
) -> None:
    evaluate((1, 2), **other)
    assert evaluate((1, 2)).scored
    assert evaluate((1, 2), **other).skipped
    assert evaluate((0, 2)).scored and parts_in(tmp_path / "parts") == []


def test_every_image_is_in_one_part_and_the_first_part_has_the_first() -> None:
    for images in range(12):
        for count in range(1, 15):
            slices = [images_of_part(images, number, count) for number in range(1, count + 1)]
            sizes = [len(range(images)[part]) for part in slices]
            assert np.concatenate([range(images)[part] for part in slices]).tolist() == list(range(images))
            assert max(sizes) - min(sizes) <= 1 and (images == 0 or sizes[0] > 0)


@pytest.mark.parametrize("part", [(4, 3), (-1, 3), (0, 0), (1, 10**30), (1,), "1/3"])
def test_a_part_that_cannot_be_is_refused(part: Any) -> None:
    with pytest.raises(SrbenchError, match="part"):
        EvaluationConfig.of({"part": part})
