"""Cells, films, devices and powders: leaving a feature out leaves the rest of the truth as it is."""

import pytest

from srbench.datasets.synthetic.draws import RandomStream
from srbench.datasets.synthetic.scene import scene_kinds

KINDS = ("biological", "films", "mems", "powder")


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_out_a_feature_changes_nothing_else_in_the_truth(kind):
    for index in (3, 5):
        scene = scene_kinds()[kind].sample(RandomStream(77, scene_kinds()[kind].code, index), 192)
        features = scene.truth()["small_features"]
        for number in (0, len(features) - 1):
            lacking = scene.without(number).truth()
            assert lacking["small_features"] == features[:number] + features[number + 1 :]
            assert untouched(lacking) == untouched(scene.truth())


def untouched(truth):
    """What a small feature has no part in."""
    own = {"small_features", "pinholes", "particles", "lattice"}
    kept = {name: value for name, value in truth.items() if name not in own}
    fingers = [{**finger, "notched": None} for finger in truth.get("fingers", ())]
    return {**kept, "fingers": fingers}
