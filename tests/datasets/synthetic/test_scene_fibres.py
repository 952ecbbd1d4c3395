"""Fibres: the truth against brute force and against what an analyst measures in the micrograph."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from srbench.datasets.synthetic.geometry import (
    FineGrid,
    arc_lengths,
    coverage,
    distance_to_curve,
)
from srbench.datasets.synthetic.rng import RandomStream
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene

pytestmark = pytest.mark.slow

SIZE = 192
GRID = FineGrid(SIZE)


@pytest.fixture(scope="module", params=range(3))
def mat(request):
    return SyntheticScene("fibres", 3000 + request.param, SIZE)


def alone(scene, *fibres):
    return replace(scene, fibres=fibres, debris=())


def dense(line, step=0.02):
    """Points along a polyline, ``step`` HR pixels apart."""
    line = np.array(line)
    arcs = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    at = np.append(np.arange(0, arcs[-1], step), arcs[-1])
    return np.stack([np.interp(at, arcs, line[:, axis]) for axis in (0, 1)], axis=1)


def inside(points):
    return ((points > -0.5) & (points < SIZE - 0.5)).all(axis=-1)


def test_drawn_distances_are_those_of_brute_force(mat):
    """At random points, against the nearest of very many points of the centre line."""
    generator = np.random.default_rng(1)
    for fibre in [f for f in mat.scene.fibres if not f.beads][:4]:
        drawn = alone(mat.scene, fibre).layers(GRID).distance
        points = dense(fibre.line)
        picked = np.argwhere(drawn < 5)
        for row, column in picked[generator.integers(0, len(picked), 60)]:
            gap = np.hypot(*(points - [GRID.axis[row], GRID.axis[column]]).T).min()
            assert drawn[row, column] == pytest.approx(gap - fibre.width / 2, abs=0.011)


def test_a_fibril_covers_width_times_length_and_its_round_ends(mat):
    for fibril in [f for f in mat.scene.fibres if f.small]:
        points = dense(fibril.line)
        if not inside(points + 4).all() or not inside(points - 4).all():
            continue
        drawn = alone(mat.scene, fibril).layers(GRID).distance
        area = coverage(drawn, GRID.step).sum() * GRID.step**2
        length = 0.02 * len(points)
        assert area == pytest.approx(fibril.width * length + math.pi / 4 * fibril.width**2, rel=0.02, abs=0.3)


def test_beads_are_as_wide_as_listed():
    found = 0
    for index in range(40):
        scene = scene_kinds()["fibres"].sample(RandomStream(9, 1, index), SIZE)
        for fibre in scene.fibres:
            for bead in fibre.beads:
                curve = fibre.curve
                y, x = (np.interp(bead.along, arc_lengths(curve), curve[:, axis]) for axis in (0, 1))
                if not 20 < min(y, x) < max(y, x) < SIZE - 21:
                    continue
                drawn = alone(scene, fibre).layers(GRID).distance
                row, column = np.searchsorted(GRID.axis, [y, x])
                assert drawn[row, column] == pytest.approx(-bead.width / 2, abs=0.5)
                found += 1
    assert found >= 5


def profiles(image, truth, number):
    """Grey levels across fibre ``number`` of the truth and their offsets, where nothing lies on it."""
    entry = truth["fibres"][number]
    line, half = np.array(entry["line"]), entry["width"] / 2
    beads = [(bead["along"], bead["length"] / 2 + 2) for bead in entry["beads"]]
    debris = [spot for spot in truth["small_features"] if spot["type"] == "debris"]
    offsets = np.arange(-half - 3, half + 3.01, 0.1)
    for vertex, arc in enumerate(arc_lengths(line)[1:-1], start=1):
        y, x = line[vertex]
        covered = any(
            distance_to_curve(y, x, np.array(other["line"])) < half + widest(other) / 2 + 3
            for other in truth["fibres"][number + 1 :]
        )
        dirty = any(math.hypot(s["y"] - y, s["x"] - x) < half + s["diameter"] / 2 + 3 for s in debris)
        if covered or dirty or any(abs(arc - along) < reach for along, reach in beads):
            continue
        along = line[vertex + 1] - line[vertex - 1]
        normal = np.array([along[1], -along[0]]) / np.hypot(*along)
        points = line[vertex] + offsets[:, None] * normal
        if inside(points).all():
            yield offsets, ndimage.map_coordinates(image, points.T, order=1)


def widest(entry):
    return max([entry["width"], *(bead["width"] for bead in entry["beads"])])


def threshold_width(offsets, grey):
    """Distance of the outermost 50 % crossings, each between its edge's peak and the least value outside."""
    middle, edges = len(offsets) // 2, []
    for side in (slice(middle, None), slice(middle, None, -1)):
        profile, at = grey[side], np.abs(offsets[side])
        peak = int(np.argmax(profile))
        low = profile[peak:].min()
        level = (profile[peak] + low) / 2
        beyond = peak + int(np.argmax(profile[peak:] < level))
        edges.append(at[beyond])
    return sum(edges)


def test_widths_measured_in_the_micrograph_are_the_truth(mat):
    """At clear places. The spot blurs the narrow bright edge outwards: all are too wide by the same bit."""
    image, truth = mat._unpatched[0].astype(float), mat.truth()
    errors = []
    for number, entry in enumerate(truth["fibres"]):
        if entry["small"]:
            continue
        widths = [threshold_width(*p) for p in profiles(image, truth, number)]
        if len(widths) >= 3:
            errors.append(np.median(widths) - entry["width"])
    assert len(errors) >= 2
    assert 0 < np.median(errors) < 1.5
    assert np.abs(errors - np.median(errors)).max() < 0.8


def test_a_fibre_shades_what_lies_below_and_only_that(mat):
    upper, lower = mat.scene.fibres[-1], mat.scene.fibres[0]
    both = alone(mat.scene, lower, upper).layers(GRID).depth
    single = alone(mat.scene, lower).layers(GRID).depth
    beside = alone(mat.scene, upper).layers(GRID).distance
    reach = mat.scene.mat.shade_length
    assert (both[(beside > 0.2) & (beside < 1)] > single[(beside > 0.2) & (beside < 1)]).all()
    assert (both[beside > reach] == single[beside > reach]).all()


@settings(max_examples=10, deadline=None)
@given(index=st.integers(0, 10**6), size=st.sampled_from([192, 384]))
def test_widths_and_numbers_are_in_their_ranges(index, size):
    scene = scene_kinds()["fibres"].sample(RandomStream(5, 1, index), size)
    large = [f for f in scene.fibres if not f.small]
    assert 0.8 * 15 * size / 384 - 2 <= len(large) <= 40 * size / 384 + 1
    assert all(6 <= f.width <= 24 for f in large)
    assert all(2 <= f.width <= 6 for f in scene.fibres if f.small)
    assert len({f.number for f in scene.fibres}) == len(scene.fibres)
    assert all(f.depth >= 0 for f in scene.fibres)


def test_all_styles_occur():
    styles = [scene_kinds()["fibres"].sample(RandomStream(5, 1, i), 192).mat.style for i in range(40)]
    assert min(styles.count(s) for s in ("electrospun", "wool", "glass")) >= 5
