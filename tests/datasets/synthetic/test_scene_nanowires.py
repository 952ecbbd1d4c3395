"""Nanowires: the truth against closed forms, a painter, and widths and angles measured in the picture."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from srbench.datasets.synthetic.geometry import FineGrid, coverage, distance_to_curve
from srbench.datasets.synthetic.rng import RandomStream
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene

pytestmark = pytest.mark.slow

SIZE = 192
GRID = FineGrid(SIZE)


@pytest.fixture(scope="module", params=range(4))
def growth(request):
    return SyntheticScene("nanowires", 3000 + request.param, SIZE)


def alone(scene, *wires):
    return replace(scene, wires=wires)


def within(entry, border=0.0):
    ends = np.array([entry["base"], entry["tip"]])
    return ((ends > border) & (ends < SIZE - 1 - border)).all()


def mask_of(scene, wire):
    """Where the wire alone is drawn, droplet left out."""
    return GRID.interior(alone(scene, replace(wire, cap=0.0)).layers(GRID).distance) < 0


def test_a_wire_covers_its_trapezium_and_round_ends(growth):
    checked = 0
    for wire, entry in zip(growth.scene.wires, growth.truth()["wires"], strict=True):
        if not within(entry, 6):
            continue
        layers = alone(growth.scene, replace(wire, cap=0.0)).layers(GRID)
        area = coverage(layers.distance, GRID.step).sum() * GRID.step**2
        base, tip = entry["base_width"], entry["tip_width"]
        length = math.dist(entry["base"], entry["tip"])
        expected = (base + tip) / 2 * length + math.pi / 8 * (base**2 + tip**2)
        assert area == pytest.approx(expected, rel=0.01, abs=0.2)
        checked += 1
    assert checked >= 3


def test_place_and_direction_are_those_of_the_drawn_shape(growth):
    """Centroid and principal axis of each lone wire's area."""
    for wire in growth.scene.wires:
        entry = {"base": (wire.y, wire.x), "tip": wire.tip}
        if wire.type == "stub" or not within(entry, 6):
            continue
        points = np.argwhere(mask_of(growth.scene, wire)) / 3 - 1 / 3
        turn = math.radians(wire.angle)
        axis = np.array([math.sin(turn), math.cos(turn)])
        offset = points.mean(axis=0) - entry["base"]
        assert abs(offset[0] * axis[1] - offset[1] * axis[0]) < 0.1
        values, vectors = np.linalg.eigh(np.cov(points.T))
        assert abs(vectors[:, 1] @ axis) > math.cos(math.radians(0.4))
        np.testing.assert_allclose(np.array(entry["base"]) + wire.length * axis, entry["tip"], atol=2e-4)
        assert values[1] > values[0]


def test_the_half_width_is_linear_from_foot_to_tip(growth):
    for wire in [w for w in growth.scene.wires if w.type == "wire"][:6]:
        drawn = alone(growth.scene, replace(wire, cap=0.0)).layers(GRID).distance
        for share in (0.2, 0.5, 0.8):
            point = np.array(wire.at(share * wire.length))
            if not ((point > 0) & (point < SIZE - 1)).all():
                continue
            index = (point + 8.5) * 3 - 0.5
            # Interpolation between points flattens the ridge along the axis.
            found = -ndimage.map_coordinates(drawn, index[:, None], order=1)[0]
            expected = (wire.base_width + share * (wire.tip_width - wire.base_width)) / 2
            assert expected - 0.2 < found < expected + 0.01


def test_widths_measured_in_the_micrograph_are_the_truth(growth):
    """Threshold widths across wires that lie free: too wide by the same bit, that of the bright edge."""
    image = growth._unpatched[0].astype(float)
    errors = [
        measured_width(image, wire, share) - wire_width(wire, share)
        for wire in growth.scene.wires
        for share in (0.5, 0.6, 0.7, 0.8)
        if wire.type == "wire" and is_clear(growth.scene.wires, wire, share)
    ]
    assert len(errors) >= 4
    assert 0 < np.median(errors) < 1.6
    assert np.percentile(np.abs(errors - np.median(errors)), 80) < 0.5


def wire_width(wire, share):
    return wire.base_width + share * (wire.tip_width - wire.base_width)


def across(wire, share, reach):
    turn, offsets = math.radians(wire.angle), np.arange(-reach, reach + 0.01, 0.1)
    normal = np.array([math.cos(turn), -math.sin(turn)])
    return offsets, np.array(wire.at(share * wire.length)) + offsets[:, None] * normal


def is_clear(wires, wire, share):
    offsets, points = across(wire, share, wire.base_width / 2 + 6)
    if not ((points > 0) & (points < SIZE - 1)).all():
        return False
    y, x = wire.at(share * wire.length)
    reach = offsets[-1]
    return all(
        distance_to_curve(y, x, other.axis) > reach + max(other.base_width, other.cap) / 2
        for other in wires
        if other is not wire
    )


def measured_width(image, wire, share):
    offsets, points = across(wire, share, wire.base_width / 2 + 4)
    grey = ndimage.map_coordinates(image, points.T, order=1)
    level = (grey.max() + np.median(np.sort(grey)[:20])) / 2
    above = np.flatnonzero(grey > level)
    return offsets[above[-1]] - offsets[above[0]]


def test_droplets_sit_on_the_tips(growth):
    scene = growth.scene
    caps = [f for f in growth.truth()["small_features"] if f["type"] == "cap"]
    drawn = scene.layers(GRID).emission
    for feature in caps:
        row, column = np.searchsorted(GRID.axis, [feature["y"], feature["x"]])
        assert drawn[row, column] == pytest.approx(scene.growth.droplet)


def test_some_scenes_have_droplets_and_all_have_thin_wires_or_stubs():
    types = []
    for index in range(12):
        scene = scene_kinds()["nanowires"].sample(RandomStream(5, 4, index), SIZE)
        types.append({f["type"] for f in scene.truth()["small_features"]})
        assert types[-1] & {"thin wire", "stub"}
    assert sum("cap" in found for found in types) >= 5


@settings(max_examples=12, deadline=None)
@given(index=st.integers(0, 10**6), size=st.sampled_from([192, 384]))
def test_sizes_and_numbers_are_in_their_ranges(index, size):
    scene = scene_kinds()["nanowires"].sample(RandomStream(5, 4, index), size)
    wires = [wire for wire in scene.wires if wire.type == "wire"]
    assert 20 * size / 384 - 1 <= len(wires) <= 80 * size / 384 + 1
    assert all(3 <= wire.base_width <= 10 and 2 <= wire.tip_width <= wire.base_width for wire in wires)
    assert all(60 <= wire.length <= 300 for wire in wires)
    assert all(2 <= w.base_width <= 3 for w in scene.wires if w.type == "thin wire")
    assert all(2 <= w.base_width <= 6 and w.length <= 12 for w in scene.wires if w.type == "stub")


def test_standing_wires_are_seen_from_the_far_to_the_near_and_lying_ones_are_not_sorted():
    styles = []
    for index in range(10):
        scene = scene_kinds()["nanowires"].sample(RandomStream(5, 4, index), SIZE)
        feet = [wire.y for wire in scene.wires if wire.type == "wire"]
        assert (feet == sorted(feet)) == scene.growth.standing
        styles.append(scene.growth.standing)
    assert len(set(styles)) == 2
