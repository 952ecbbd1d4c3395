"""What all kinds of scenes have in common: truth, repeatability, small features, contrast."""

import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.counterfactual import pixels_without, scene_without
from srbench.datasets.synthetic.geometry import FineGrid
from srbench.datasets.synthetic.rng import RandomStream
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene, scene_hashes, truth_text

pytestmark = pytest.mark.slow

KINDS = tuple(scene_kinds())
SIZE = 192
MAPS = ("emission", "height", "distance", "depth", "grain", "roughness")
REACH = 40
"""HR pixels from a feature's middle beyond which leaving it out changes nothing."""


def drawn(kind, index, size=SIZE):
    return scene_kinds()[kind].sample(RandomStream(77, scene_kinds()[kind].code, index), size)


@functools.cache
def numbered(kind, index):
    return SyntheticScene(kind, index, SIZE)


@pytest.mark.parametrize("size", [192, 384])
@pytest.mark.parametrize("kind", KINDS)
def test_truth_is_json_without_nan_and_its_features_are_small(kind, size):
    for index in range(2):
        truth = drawn(kind, index, size).truth()
        assert json.loads(truth_text(truth)) == truth
        for feature in truth["small_features"]:
            assert 2.0 <= feature.get("diameter", feature.get("length")) <= 6.0
            assert min(feature["y"], feature["x"]) > -3.5
            assert max(feature["y"], feature["x"]) < size + 2.5


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=4, deadline=None)
@given(index=st.integers(0, 10**6))
def test_every_scene_has_several_small_features_apart_from_each_other(kind, index):
    features = drawn(kind, index).truth()["small_features"]
    assert len(features) >= 3
    places = np.array([(feature["y"], feature["x"]) for feature in features])
    apart = np.hypot(*(places[:, None] - places[None]).T)
    assert apart[~np.eye(len(places), dtype=bool)].min() > 3


@pytest.mark.parametrize("kind", KINDS)
def test_equal_numbers_give_equal_bytes_and_other_numbers_another_scene(kind):
    assert truth_text(drawn(kind, 4).truth()) == truth_text(drawn(kind, 4).truth())
    hashes = scene_hashes(numbered(kind, 2000))
    assert scene_hashes(SyntheticScene(kind, 2000, SIZE)) == hashes
    assert not set(scene_hashes(numbered(kind, 2001)).values()) & set(hashes.values())


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_out_a_feature_changes_the_maps_around_it_and_nowhere_else(kind):
    grid, scene = FineGrid(SIZE), drawn(kind, 0)
    features = scene.truth()["small_features"]
    with_it = scene.layers(grid)
    for number in range(0, len(features), max(1, len(features) // 3)):
        lacking = scene_without(scene, number)
        without_it = lacking.layers(grid)
        changed = np.any([getattr(with_it, name) != getattr(without_it, name) for name in MAPS], axis=0)
        far, near = distance_ranges(grid, features[number])
        assert not changed[far].any()
        assert changed[near].any()
        left = lacking.truth()["small_features"]
        assert left == features[:number] + features[number + 1 :]


def distance_ranges(grid, feature):
    apart = np.hypot(grid.axis[:, None] - feature["y"], grid.axis[None, :] - feature["x"])
    return apart > REACH, apart < 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_feature_leaves_a_trace_around_it_and_along_its_rows_only(kind):
    """All leave a trace, and most can be seen."""
    traces = []
    for index, numbers in ((2002, (0, 1, 2, -1)), (2003, (0, -1))):
        scene = numbered(kind, index)
        features, pixels = scene.truth()["small_features"], scene.pixels().astype(int)
        for number in numbers:
            feature = features[number]
            changed = np.abs(pixels - pixels_without(scene, number).astype(int))
            rows, columns = np.indices(changed.shape)
            far = np.hypot(rows - feature["y"], columns - feature["x"]) > REACH + 5
            # Where the specimen charges, what a feature leaves behind trails along the rows scanned with it.
            trail = (np.abs(rows - feature["y"]) < REACH + 5) & (scene.scene.optics.charging > 0)
            traces.append(changed.max())
            assert changed[far & ~trail].max() == 0
            assert changed[far].max() <= 25
    assert min(traces) >= 8
    assert np.median(traces) >= 20


@pytest.mark.parametrize("kind", KINDS)
def test_contrast_and_brightness_are_those_of_the_optics(kind):
    for index in range(2000, 2004):
        scene = numbered(kind, index)
        pixels, optics = scene.pixels(), scene.scene.optics
        assert np.percentile(pixels, 0.5) == pytest.approx(255 * optics.black, abs=6)
        assert np.percentile(pixels, 99.5) == pytest.approx(255 * optics.white, abs=6)
        assert ((pixels == 0) | (pixels == 255)).mean() < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_scenes_of_a_kind_differ_in_contrast_and_brightness(kind):
    images = [numbered(kind, index).pixels() for index in range(2000, 2006)]
    assert np.std([image.mean() for image in images]) > 3
    assert np.std([image.std() for image in images]) > 2
