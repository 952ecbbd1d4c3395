"""Which images of a user's folder are scored, how the store names them, what is kept of how it was read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import srbench
from helpers.fake_set import FakeSet
from helpers.loading import registered
from srbench import datasets
from srbench.checks import contamination
from srbench.config import EvaluationConfig
from srbench.datasets import DatasetError, ReadingOptions
from srbench.evaluation.context import choose_split
from srbench.reporting.blocks import collect
from srbench.store import ScoreStore
from srbench.utils.errors import SrbenchError
from srbench.weights import WeightsHeader


def user_set(count: int = 4) -> FakeSet:
    """A folder without split folders; hash splits left one group in test."""
    data = FakeSet(count, name="folder:/data/mine")
    data.card = replace(data.card, kind="user")
    data.images = tuple(
        replace(image, split="test" if image.group == "g0" else "train") for image in data.images
    )
    data.has_splits = False
    return data


def header(**fields: Any) -> WeightsHeader:
    return WeightsHeader("vdsr", "paper", 4, 1, **fields)


def chosen(data: FakeSet, *headers: WeightsHeader, **options: Any) -> tuple[str, str]:
    return choose_split(data, EvaluationConfig.of(options), headers)


def test_a_folder_without_splits_is_scored_whole_unless_a_model_was_trained_on_it() -> None:
    data = user_set()
    whole = (
        "all",
        "4 images: all, the folder has no split folders and no model here was trained on it",
    )
    assert chosen(data) == whole
    assert chosen(data, header(dataset="sem", data="1" * 64), header()) == whole
    for trained in (
        header(dataset="folder:/elsewhere", data=data.fingerprint),
        header(dataset="folder:/data/mine", data="1" * 64),
        header(dataset="folder:/data/../data/mine/"),  # as earlier versions stored it
    ):
        split, reason = chosen(data, trained)
        assert split == "test" and reason.startswith("2 images: ") and "vdsr was trained on" in reason
    assert chosen(data, split="train")[0] == "train"
    data.has_splits = True
    assert chosen(data)[0] == "test"
    assert chosen(FakeSet())[0] == "test"
    assert chosen(user_set(1))[1].startswith("1 image: ")


def test_a_limit_is_part_of_the_splits_name() -> None:
    data = user_set()
    split, reason = chosen(data, limit=2)
    assert split == "all-limit2" and reason.startswith("2 images: the first of 4")
    assert [image.group for image in data.split(split)] == ["g0", "g0"] or len(data.split(split)) == 2
    assert chosen(data, limit=4)[0] == chosen(data, limit=9)[0] == "all"
    assert chosen(data, limit=1, split="test")[0] == "test-limit1"
    with pytest.raises(DatasetError, match="no images in split 'val'"):
        chosen(data, limit=1, split="val")
    with pytest.raises(SrbenchError):
        chosen(data, limit=0)


def test_a_limit_changes_nothing_of_what_weights_may_have_seen(tmp_path: Path) -> None:
    data = user_set()
    trained = header(dataset="folder:/data/mine", data=data.fingerprint)
    for split, status in (("all", "failed"), ("all-limit2", "failed"), ("test-limit1", "passed")):
        assert contamination.check(data, split, trained, cache=tmp_path).status == status
    # Hash splits of a folder that is scored whole divide nothing.
    data.store["sub/2"] = data.store["sub/0"]
    assert contamination.check(data, "all", None, cache=tmp_path / "b").status == "passed"
    assert contamination.check(data, "test", None, cache=tmp_path / "b").status == "failed"


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_limited_runs_stand_apart_in_store_comparison_and_report(tmp_path: Path) -> None:
    data, options = user_set(), {"scale": 4, "results": tmp_path / "results", "metrics": ["psnr"]}
    with registered("fake_models"):
        whole = srbench.evaluate(["bicubic", "fake_smooth"], dataset=data, **options)
        some = srbench.evaluate(["bicubic", "fake_smooth"], dataset=data, limit=2, **options)
        assert "4 images: all" in whole.text() and "2 images: the first of 4" in some.text()
        counts = ScoreStore(options["results"]).scores().query("metric == 'psnr'").groupby("split")["image"]
        assert counts.nunique().to_dict() == {"all": 4, "all-limit2": 2}
        compared = srbench.compare("bicubic", "fake_smooth", split="all-limit2", results=options["results"])
        assert compared.n_images == 2
    blocks = collect(ScoreStore(options["results"]))
    assert {block.key.split for block in blocks} == {"all", "all-limit2"} and len(blocks) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("workers_here")
def test_what_the_user_says_of_the_files_is_kept_and_scored_again_when_it_changes(tmp_path: Path) -> None:
    data = user_set(2)
    data.skipped = {"a.txt": "not an image"}
    data.notes = {
        "sub/0": "databar cut: rows 60 to 66 dropped",
        "sub/1": "databar cut: rows 61 to 69 dropped",
    }
    options = {"dataset": data, "scale": 4, "results": tmp_path, "metrics": ["psnr"]}
    said: list[Any] = []
    srbench.evaluate("bicubic", progress=said.append, **options)
    remarks = ["databar cut: 2 images", "pixel size unknown: 2 images", "1 file skipped: not an image (1)"]
    assert [f"Note: {remark}" for remark in remarks] == [
        line for line in said if str(line).startswith("Note")
    ]
    (stored,) = [m for m in ScoreStore(tmp_path).manifests() if m.key.model == "bicubic"]
    assert stored.data["remarks"] == remarks and stored.data["reading"] == {}
    assert stored.data["selection"].startswith("2 images: all")

    def scored() -> int:
        return len(srbench.evaluate("bicubic", **options).scored)

    assert scored() == 0
    data.reading = ReadingOptions(pixel_size_nm=5.0, measure=("lines",))
    assert scored() == 2 and scored() == 0  # the model and the control
    (stored,) = [m for m in ScoreStore(tmp_path).manifests() if m.key.model == "bicubic"]
    assert stored.data["reading"]["measure"] == ["lines"]
    data.reading = ReadingOptions()
    assert scored() == 2


def test_options_of_reading_need_a_folder_to_read(tmp_path: Path) -> None:
    reading = ReadingOptions(bits=12)
    with pytest.raises(SrbenchError, match="name it"):
        srbench.evaluate("all", results=tmp_path, reading=reading)
    with pytest.raises(SrbenchError, match=r"datasets\.open"):
        srbench.evaluate("bicubic", dataset=user_set(), results=tmp_path, reading=reading)
    with pytest.raises(DatasetError, match="folders of your own"):
        srbench.evaluate("bicubic", dataset="sem_synthetic", results=tmp_path, reading=reading)
    assert datasets.full_name("folder:/data/mine/") == "folder:/data/mine"
