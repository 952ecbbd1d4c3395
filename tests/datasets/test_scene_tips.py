"""Tips: apex circle, flanks and angles fitted to what is drawn and to what is seen."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import measure

from srbench.datasets.synthetic.draws import RandomStream
from srbench.datasets.synthetic.geometry import FineGrid, area_average, coverage
from srbench.datasets.synthetic.imaging import automatic_window, grey_levels
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene

SIZE = 192
GRID = FineGrid(SIZE)


@pytest.fixture(scope="module", params=range(6))
def tip(request):
    return SyntheticScene("tips", 3000 + request.param, SIZE)


def outline(scene):
    """Points (y, x) of the outline in HR pixels, by marching squares, without what sticks to it."""
    distance = replace(scene, bumps=()).layers(GRID).distance
    lines = [line for line in measure.find_contours(distance, 0.0) if len(line) > 50]
    return np.concatenate(lines) / 3 + 1 / 6 - 8.5


def in_axes(scene, points):
    """Coordinates along and across the axis of the truth."""
    turn = math.radians(scene.probe.axis_angle)
    offset = points - np.array([scene.probe.y, scene.probe.x])
    along = offset @ [math.sin(turn), math.cos(turn)]
    return along, offset @ [math.cos(turn), -math.sin(turn)]


def fitted_circle(points):
    """Centre (y, x) and radius by least squares (Kasa 1976)."""
    system = np.column_stack([points, np.ones(len(points))])
    a, b, c = np.linalg.lstsq(system, np.square(points).sum(axis=1), rcond=None)[0]
    return np.array([a / 2, b / 2]), math.sqrt(c + a * a / 4 + b * b / 4)


def fitted_line(points):
    """Unit normal and offset by total least squares."""
    middle = points.mean(axis=0)
    normal = np.linalg.svd(points - middle)[2][1]
    return normal, float(normal @ middle)


def test_the_apex_is_a_circle_of_the_listed_radius(tip):
    truth, points = tip.truth(), outline(tip.scene)
    radius, centre = truth["apex_radius"], np.array(truth["apex_centre"])
    along, across = in_axes(tip.scene, points)
    # The arc ends where the flanks touch it.
    arc = (along < -radius * math.sin(math.radians(truth["half_angle"]))) & (np.abs(across) <= radius)
    found, size = fitted_circle(points[arc])
    np.testing.assert_allclose(found, centre, atol=0.12)
    assert size == pytest.approx(radius, abs=0.12)
    assert np.hypot(*(np.array(truth["apex"]) - centre)) == pytest.approx(radius, abs=2e-4)
    assert np.hypot(*(points - np.array(truth["apex"])).T).min() < 0.2


def flank_points(scene, flank, points):
    """Outline points beside the stretch between the flank's ends, in the image and off its other parts."""
    start, end = np.array(flank["from"]), np.array(flank["to"])
    length = np.hypot(*(end - start))
    along = (points - start) @ (end - start) / length
    near = np.abs(points @ flank["normal"] - flank["offset"]) < 1.5
    shown = ((points > -0.5) & (points < SIZE - 0.5)).all(axis=1)
    return points[near & shown & (along > 1) & (along < length - 1)]


def test_the_outline_follows_both_flanks_to_their_ends(tip):
    points = outline(tip.scene)
    for flank in tip.truth()["flanks"]:
        beside = flank_points(tip.scene, flank, points)
        assert np.hypot(*np.ptp(beside, axis=0)) > 25
        assert np.abs(beside @ flank["normal"] - flank["offset"]).max() < 0.06
        np.testing.assert_allclose(np.hypot(*flank["normal"]), 1, atol=1e-6)
        for end in (flank["from"], flank["to"]):
            assert np.dot(end, flank["normal"]) == pytest.approx(flank["offset"], abs=1e-3)


def test_angles_are_those_between_fitted_flanks(tip):
    truth, points = tip.truth(), outline(tip.scene)
    normals = []
    for flank in truth["flanks"]:
        normal, _ = fitted_line(flank_points(tip.scene, flank, points))
        normals.append(normal * np.sign(normal @ flank["normal"]))
    between = math.degrees(math.acos(float(np.clip(normals[0] @ normals[1], -1, 1))))
    assert 180 - between == pytest.approx(truth["full_angle"], abs=0.15)
    assert truth["full_angle"] == pytest.approx(2 * truth["half_angle"], abs=1e-3)
    apart = -(normals[0] + normals[1])
    axis = math.degrees(math.atan2(apart[0], apart[1])) % 360
    assert abs((axis - truth["axis_angle"] + 180) % 360 - 180) < 0.15


def seen_outline(tip):
    """The outline by threshold in the noise-free micrograph of the bare tip."""
    bare = replace(tip.scene, bumps=())
    signal = tip._signal(bare)
    image = grey_levels(signal, automatic_window(signal, bare.optics)).astype(float)
    body = area_average(GRID.interior(coverage(bare.layers(GRID).distance, GRID.step)))
    level = (image[body > 0.9].mean() + np.median(image[body == 0])) / 2
    return np.concatenate([line for line in measure.find_contours(image, level) if len(line) > 40])


def test_the_angle_measured_in_the_micrograph_is_the_truth(tip):
    points, normals = seen_outline(tip), []
    for flank in tip.truth()["flanks"]:
        moved = {**flank, "offset": flank["offset"] + 0.4}
        beside = flank_points(tip.scene, moved, points)
        assert len(beside) > 20
        normal, offset = fitted_line(beside)
        turn = np.sign(normal @ flank["normal"])
        normals.append(normal * turn)
        assert -0.7 < offset * turn - flank["offset"] < 1.4
    between = math.degrees(math.acos(float(np.clip(normals[0] @ normals[1], -1, 1))))
    assert 180 - between == pytest.approx(tip.truth()["full_angle"], abs=1.5)


def test_the_apex_is_bright_and_the_background_dark(tip):
    image = tip._bare[0].astype(float)
    body = area_average(GRID.interior(coverage(tip.scene.layers(GRID).distance, GRID.step)))
    y, x = (round(value) for value in tip.truth()["apex_centre"])
    assert image[y - 1 : y + 2, x - 1 : x + 2].max() > np.percentile(image[body > 0.9], 60)
    assert image[body > 0.9].mean() > np.median(image[body == 0]) + 40


def test_asperities_stick_out_of_the_flanks_and_dirt_lies_on_the_body(tip):
    bare = replace(tip.scene, bumps=()).layers(GRID).distance
    full = tip.scene.layers(GRID).distance
    types = [feature["type"] for feature in tip.truth()["features"]]
    assert {"asperity", "dirt"} >= set(types)
    assert types.count("asperity") >= 2
    for feature in tip.truth()["features"]:
        apart = np.hypot(GRID.axis[:, None] - feature["y"], GRID.axis[None, :] - feature["x"])
        inside = apart < feature["diameter"] / 2 - 0.2
        assert (full[inside] < 0).all()
        outside_share = (bare[inside] > 0).mean()
        assert outside_share > 0.15 if feature["type"] == "asperity" else outside_share == 0


def test_the_apex_itself_is_clean(tip):
    truth = tip.truth()
    for feature in truth["features"]:
        apart = math.hypot(feature["y"] - truth["apex_centre"][0], feature["x"] - truth["apex_centre"][1])
        assert apart > truth["apex_radius"] + feature["diameter"] / 2 + 1


@settings(max_examples=25, deadline=None)
@given(index=st.integers(0, 10**6), size=st.sampled_from([192, 384]))
def test_sizes_and_angles_are_in_their_ranges(index, size):
    truth = scene_kinds()["tips"].sample(RandomStream(5, 9, index), size).truth()
    assert 1 <= truth["apex_radius"] <= 8
    assert 8 <= truth["half_angle"] <= 25
    assert all(8 < value < size - 9 for value in truth["apex"])
    for flank in truth["flanks"]:
        length = math.hypot(flank["to"][0] - flank["from"][0], flank["to"][1] - flank["from"][1])
        assert length > 0.12 * size


def test_all_styles_occur():
    styles = [scene_kinds()["tips"].sample(RandomStream(5, 9, i), SIZE).probe.style for i in range(40)]
    assert min(styles.count(style) for style in ("cone", "pyramid", "wire")) >= 5
