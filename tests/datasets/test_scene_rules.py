"""Rules for cells, films, devices and powders: JSON truth, the same everywhere, honest pairs."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from srbench.datasets.synthetic.draws import Draws
from srbench.datasets.synthetic.geometry import FineGrid
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene, scene_hashes, truth_text

KINDS = ("biological", "films", "mems", "powder")
CODES = (0, 2, 3, 8)
SIZE = 192
GRID = FineGrid(SIZE)
MAPS = ("emission", "height", "distance", "depth", "grain", "roughness")
REACH = 30
"""HR pixels from a feature's middle beyond which leaving it out changes no map."""


def drawn(kind, index, size=SIZE):
    return scene_kinds()[kind].draw(Draws(77, scene_kinds()[kind].code, index), size)


def test_kinds_have_their_codes():
    assert tuple(scene_kinds()[kind].code for kind in KINDS) == CODES


@pytest.mark.parametrize("size", [192, 384])
@pytest.mark.parametrize("kind", KINDS)
def test_truth_is_json_without_nan_and_its_features_are_small(kind, size):
    for index in range(4):
        truth = drawn(kind, index, size).truth()
        assert json.loads(truth_text(truth)) == truth
        assert truth["style"]
        assert len(truth["small_features"]) >= 5 * (size // 192)
        for feature in truth["small_features"]:
            assert 2.0 <= feature["diameter"] <= 6.0
            assert min(feature["y"], feature["x"]) > 0
            assert max(feature["y"], feature["x"]) < size - 1


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_out_a_feature_changes_the_maps_around_it_and_nothing_else_in_the_truth(kind):
    for index in (3, 5):
        scene = drawn(kind, index)
        before, features = scene.layers(GRID), scene.truth()["small_features"]
        for number in (0, len(features) - 1):
            lacking = scene.without(number)
            after = lacking.layers(GRID)
            changed = np.any([getattr(before, name) != getattr(after, name) for name in MAPS], axis=0)
            feature = features[number]
            apart = np.hypot(GRID.axis[:, None] - feature["y"], GRID.axis[None] - feature["x"])
            assert changed[apart < 1].any()
            assert not changed[apart > REACH].any()
            assert lacking.truth()["small_features"] == features[:number] + features[number + 1 :]
            assert untouched(lacking.truth()) == untouched(scene.truth())


def untouched(truth):
    """What a small feature has no part in."""
    own = {"small_features", "pinholes", "particles", "lattice"}
    kept = {name: value for name, value in truth.items() if name not in own}
    fingers = [{**finger, "notched": None} for finger in truth.get("fingers", ())]
    return {**kept, "fingers": fingers}


@pytest.mark.parametrize("kind", KINDS)
def test_the_pair_differs_where_the_feature_is_and_along_its_rows(kind):
    scene = SyntheticScene(kind, 2001, SIZE)
    rows, columns = np.indices((SIZE, SIZE))
    for number, feature in list(enumerate(scene.truth()["small_features"]))[:4]:
        changed = np.abs(scene.pixels().astype(int) - scene.pixels_without(number))
        far = np.hypot(rows - feature["y"], columns - feature["x"]) > REACH + 5
        # Where the specimen charges, what a feature leaves behind trails along the rows scanned with it.
        trail = (np.abs(rows - feature["y"]) < REACH + 5) & (scene.scene.optics.charging > 0)
        assert changed[~far].max() >= 8
        assert changed[far & ~trail].max() == 0
        assert changed[far].max() <= 15


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_no_feature_beyond_the_last(kind):
    scene = drawn(kind, 0)
    with pytest.raises(IndexError):
        scene.without(len(scene.truth()["small_features"]))


@pytest.mark.parametrize("kind", KINDS)
def test_contrast_and_brightness_are_those_of_the_optics_and_vary(kind):
    images = []
    for index in range(2000, 2005):
        scene = SyntheticScene(kind, index, SIZE)
        pixels, optics = scene.pixels(), scene.scene.optics
        assert np.percentile(pixels, 0.5) == pytest.approx(255 * optics.black, abs=6)
        assert np.percentile(pixels, 99.5) == pytest.approx(255 * optics.white, abs=6)
        assert ((pixels == 0) | (pixels == 255)).mean() < 0.01
        images.append(pixels)
    assert np.std([image.mean() for image in images]) > 5


HASHES = """
import json
from srbench.datasets.synthetic.suite import SyntheticScene, scene_hashes
kinds = ("biological", "films", "mems", "powder")
print(json.dumps({kind: scene_hashes(SyntheticScene(kind, 2006, 192)) for kind in kinds}))
"""


def test_a_processor_without_vector_units_gives_the_same_scenes(tmp_path):
    """A fresh process that uses none of numpy's processor-specific loops."""
    features = np._core._multiarray_umath.__cpu_dispatch__ if hasattr(np, "_core") else []
    environment = {**os.environ, "NPY_DISABLE_CPU_FEATURES": " ".join(features), "PYTHONHASHSEED": "7"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HASHES],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    for kind, found in json.loads(run.stdout).items():
        assert found == scene_hashes(SyntheticScene(kind, 2006, SIZE))
        assert found != scene_hashes(SyntheticScene(kind, 2007, SIZE))
