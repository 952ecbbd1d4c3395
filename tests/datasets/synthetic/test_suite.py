"""The registered dataset: published hashes, determinism, splits, errors."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import srbench.datasets
from helpers import synthetic_tools
from helpers.synthetic_tools import SUITES, contact_sheet
from srbench.datasets import DatasetError
from srbench.datasets.sources import sem_synthetic
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene, scene_hashes
from srbench.utils.files import pixel_hash

FIRST = ["particles-1000", "patterned-1000", "porous-1000"]


@pytest.fixture(scope="module")
def small():
    return srbench.datasets.open("sem_synthetic:small")


@pytest.fixture(scope="module")
def default():
    return srbench.datasets.open("sem_synthetic")


def test_suites_are_what_their_specs_say():
    for name, spec in SUITES.items():
        opened = srbench.datasets.open(f"sem_synthetic:{name}")
        kinds = len(spec.kinds or scene_kinds())
        assert [len(opened.split(split)) for split in ("train", "val", "test")] == [
            kinds * spec.train,
            kinds * spec.val,
            kinds * spec.test,
        ]
        for image in opened.images:
            assert image.height == image.width == spec.size
            assert image.height % 24 == 0


FROZEN = {
    "default": (
        "7ee4094cf2517a8310092974a0903119c3d60aff85b215b9ac4623628b9417e4",
        "415fcdbf6ba9f3a801136580022e935e98ab35ee50a6a5fce892a00e6b79905c",
    ),
    "small": (
        "a68b72b89d0d693dde024584223bc0f3b74a4cd47e31c2222e0a25149dec2adf",
        "32729c3c24bdd5049946af179651a3116fa955d766061ee04669bb0866f15fb3",
    ),
    "demo": (
        "bb80609f786a06aecd1b549def483670f5f138e2ca5af468d72f6829eb0933f9",
        "59cfe3119569320cae60e0638cb869f544596816a3578e1e675dd4752d8bff35",
    ),
}
"""sha256 over the published hashes of all noise-free images, and of their first acquisitions, by id."""


@pytest.mark.parametrize("name", FROZEN)
def test_the_published_pixels_have_not_changed(name):
    """Hashes of truth may be published anew; those of pixels and acquisitions never are under one version."""
    images = sem_synthetic._published()["suites"][name]["images"]
    for what, expected in zip(("pixels", "acquisition"), FROZEN[name], strict=True):
        rows = [[image_id, images[image_id][what]] for image_id in sorted(images)]
        assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == expected


def test_every_scene_is_its_own_group_and_the_kind_is_its_category(default):
    assert len({image.group for image in default.images}) == len(default)
    assert {image.category for image in default.images} == set(scene_kinds())
    assert [image.id for image in default.images] == sorted(image.id for image in default.images)
    assert all(image.has_truth for image in default.images)


def test_no_scene_is_in_two_suites_and_all_published_pixels_differ():
    opened = [srbench.datasets.open(f"sem_synthetic:{name}") for name in SUITES]
    ids = [image.id for one in opened for image in one.images]
    hashes = [entry["pixels"] for one in opened for entry in one._entries.values()]
    assert len(set(hashes)) == len(hashes) == len(ids) == len(set(ids))


@pytest.mark.slow
@pytest.mark.parametrize("image_id", FIRST)
def test_generated_scene_equals_the_published_hashes(small, image_id):
    kind, index = image_id.split("-")
    found = scene_hashes(SyntheticScene(kind, int(index), 192))
    assert found == {name: small._entries[image_id][name] for name in found}


@pytest.mark.slow
@pytest.mark.parametrize("image_id", ["particles-0000", "patterned-0000", "porous-0000"])
def test_generated_scene_of_the_default_suite_equals_the_published_hash(default, image_id):
    assert pixel_hash(default.pixels(image_id)) == default._entries[image_id]["pixels"]


@pytest.mark.slow
def test_scenes_of_every_kind_split_and_suite_equal_the_published_hashes(default, small):
    """A part of what ``srbench data verify sem_synthetic`` does in a minute or two.

    Of the default suite, whose scenes are four times as large, a third: the splits in turn over the kinds.
    """
    for opened in (default, small):
        chosen = {(image.category, image.split): image.id for image in opened.images}
        assert len(chosen) == 30
        ids = [image_id for _, image_id in sorted(chosen.items())]
        rows = [ids[first : first + 3] for first in range(0, 30, 3)]
        checked = ids if opened is small else [row[number % 3] for number, row in enumerate(rows)]
        wrong = {image_id: sem_synthetic.differences(opened, image_id) for image_id in checked}
        assert not any(wrong.values()), wrong


HASHES_OF_FIRST = """
import json
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene, scene_hashes
print(json.dumps({kind: scene_hashes(SyntheticScene(kind, 1000, 192)) for kind in scene_kinds()}))
"""


@pytest.mark.slow
def test_a_processor_without_vector_units_gives_the_same_scenes(small, tmp_path):
    """A fresh process that uses none of numpy's processor-specific loops."""
    features = np._core._multiarray_umath.__cpu_dispatch__ if hasattr(np, "_core") else []
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(features), "PYTHONHASHSEED": "7"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HASHES_OF_FIRST],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    hashes = json.loads(run.stdout)
    assert set(hashes) == set(scene_kinds())
    for kind, found in hashes.items():
        entry = small._entries[f"{kind}-1000"]
        assert found == {name: entry[name] for name in found}


@pytest.mark.slow
def test_the_global_random_state_plays_no_part(small):
    np.random.seed(1)
    kind, index = FIRST[0].split("-")
    assert pixel_hash(SyntheticScene(kind, int(index), 192).pixels()) == small._entries[FIRST[0]]["pixels"]


def test_opening_and_fingerprinting_generate_nothing(monkeypatch):
    monkeypatch.setattr(SyntheticScene, "__init__", lambda *_: pytest.fail("a scene was generated"))
    opened = srbench.datasets.open("sem_synthetic")
    assert len(opened.fingerprint) == 64
    assert opened.fingerprint == srbench.datasets.open("sem_synthetic").fingerprint


@pytest.mark.parametrize("field", ["pixels", "split"])
def test_fingerprint_depends_on_every_hash_and_split(field, small, monkeypatch):
    published = json.loads(json.dumps(sem_synthetic._published()))
    published["suites"]["small"]["images"][FIRST[1]][field] = "test" if field == "split" else "0" * 64
    monkeypatch.setattr(sem_synthetic, "_published", lambda: published)
    assert srbench.datasets.open("sem_synthetic:small").fingerprint != small.fingerprint


@pytest.mark.slow
def test_pixels_that_are_not_as_published_are_refused_with_the_cure(monkeypatch):
    published = json.loads(json.dumps(sem_synthetic._published()))
    published["suites"]["small"]["images"][FIRST[0]]["pixels"] = "0" * 64
    monkeypatch.setattr(sem_synthetic, "_published", lambda: published)
    opened = srbench.datasets.open("sem_synthetic:small")
    with pytest.raises(DatasetError, match=r"Install those versions: pip install numpy==\d"):
        opened.pixels(FIRST[0])
    assert opened.pixels(FIRST[1]).shape == (192, 192)


@pytest.mark.slow
def test_verify_names_what_is_wrong(monkeypatch):
    published = json.loads(json.dumps(sem_synthetic._published()))
    images = published["suites"]["small"]["images"]
    published["suites"] = {"small": {"size": 192, "images": {name: images[name] for name in FIRST}}}
    images[FIRST[1]]["truth"] = "0" * 64
    monkeypatch.setattr(sem_synthetic, "_published", lambda: published)
    report = srbench.datasets.source("sem_synthetic").verify()
    assert report.problems == {f"small/{FIRST[1]}": "truth not as published"}


@pytest.mark.slow
def test_pixels_are_generated_once_and_cannot_be_changed(small):
    pixels = small.pixels(FIRST[2])
    assert small.pixels(FIRST[2]) is pixels
    assert pixels.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0] = 0


@pytest.mark.slow
def test_truth_is_json_and_a_fresh_copy(small):
    truth = small.truth(FIRST[1])
    truth["lines"].clear()
    again = small.truth(FIRST[1])
    assert again["lines"]
    assert json.loads(json.dumps(again)) == again
    assert {"kind", "coordinates", "small_features", "ambiguous"} <= set(again)


@pytest.mark.slow
def test_truth_does_not_depend_on_whether_pixels_came_first():
    fresh = srbench.datasets.open("sem_synthetic:small")
    before = fresh.truth(FIRST[2])
    fresh.pixels(FIRST[2])
    other = srbench.datasets.open("sem_synthetic:small")
    other.pixels(FIRST[2])
    assert before == fresh.truth(FIRST[2]) == other.truth(FIRST[2])


@pytest.mark.slow
def test_acquisitions_are_repeatable_and_independent(small):
    clean = small.pixels(FIRST[0]).astype(float)
    first, second = small.acquisition(FIRST[0], 0), small.acquisition(FIRST[0], 1)
    assert np.array_equal(first, small.acquisition(FIRST[0], 0))
    middle = (clean > 60) & (clean < 190)  # away from the ends of the scale, where noise is clipped
    correlation = np.corrcoef((first - clean)[middle], (second - clean)[middle])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(middle.sum())
    assert 20 < -10 * np.log10(((first - clean) ** 2).mean() / 255**2) < 27


@pytest.mark.slow
def test_an_opened_suite_survives_pickling(small):
    """Data-loader workers started by spawn get a copy."""
    copy = pickle.loads(pickle.dumps(small))
    assert np.array_equal(copy.pixels(FIRST[0]), small.pixels(FIRST[0]))


def test_errors_name_what_there_is(small):
    with pytest.raises(DatasetError, match="default, demo, small"):
        srbench.datasets.open("sem_synthetic:huge")
    with pytest.raises(DatasetError, match="did you mean 'particles-1000'"):
        small.pixels("particle-1000")
    with pytest.raises(DatasetError, match="numbered from 0"):
        small.acquisition(FIRST[0], -1)


def test_it_needs_nothing_on_disk(small):
    state = srbench.datasets.source("sem_synthetic").state()
    assert (state.state, state.images) == ("embedded", 210)
    assert small.skipped == {}


@pytest.mark.slow
def test_contact_sheet_shows_scenes_and_scans(tmp_path, monkeypatch):
    grey = SyntheticScene("films", 0, 192).pixels().repeat(2, 0).repeat(2, 1)
    monkeypatch.setattr(
        synthetic_tools,
        "SyntheticScene",
        lambda kind, index, size: SimpleNamespace(kind=scene_kinds()[kind], index=index, pixels=lambda: grey),
    )
    sheet = contact_sheet()
    assert sheet.dtype == np.uint8
    assert sheet.shape == (4 * 222, 5 * 204)
    with pytest.raises(DatasetError, match="uhcs0357"):
        contact_sheet(tmp_path)
