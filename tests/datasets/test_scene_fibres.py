"""Fibres: the truth against brute force and against what an analyst measures in the micrograph."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.special import i0, i1

from srbench.datasets.synthetic.draws import RandomStream
from srbench.datasets.synthetic.geometry import (
    FineGrid,
    b_spline,
    coverage,
    crossings,
    lengths_inside,
    von_mises,
)
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene

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
                y, x = fibre.at(bead.along)
                if not 20 < min(y, x) < max(y, x) < SIZE - 21:
                    continue
                drawn = alone(scene, fibre).layers(GRID).distance
                row, column = np.searchsorted(GRID.axis, [y, x])
                assert drawn[row, column] == pytest.approx(-bead.width / 2, abs=0.5)
                found += 1
    assert found >= 5


def profiles(image, entry, reach):
    """Grey levels across the fibre at the vertices where the truth says it is clear, and their offsets."""
    line = np.array(entry["line"])
    offsets = np.arange(-reach, reach + 0.01, 0.1)
    for first, last in entry["clear"]:
        for vertex in range(max(first, 1), min(last + 1, len(line) - 1)):
            along = line[vertex + 1] - line[vertex - 1]
            normal = np.array([along[1], -along[0]]) / np.hypot(*along)
            points = line[vertex] + offsets[:, None] * normal
            if inside(points).all():
                yield offsets, ndimage.map_coordinates(image, points.T, order=1)


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
    image = mat._bare[0].astype(float)
    errors = []
    for entry in mat.truth()["fibres"]:
        if entry["small"]:
            continue
        widths = [threshold_width(*p) for p in profiles(image, entry, entry["width"] / 2 + 3)]
        if len(widths) >= 3:
            errors.append(np.median(widths) - entry["width"])
    assert len(errors) >= 2
    assert 0 < np.median(errors) < 1.5
    assert np.abs(errors - np.median(errors)).max() < 0.8


def test_listed_lengths_are_those_in_the_image(mat):
    for entry in mat.truth()["fibres"]:
        expected = 0.02 * inside(dense(entry["line"])).sum()
        assert entry["length"] == pytest.approx(expected, abs=0.15)


def test_visible_share_and_order_are_those_of_a_painter(mat):
    """Each fibre drawn alone, laid over the earlier ones."""
    top = np.full((SIZE * 3, SIZE * 3), -1)
    masks = [GRID.interior(alone(mat.scene, f).layers(GRID).distance) < 0 for f in mat.scene.fibres]
    for number, mask in enumerate(masks):
        top[mask] = number
    entries = {entry["number"]: entry for entry in mat.truth()["fibres"]}
    shown = [number for number, mask in enumerate(masks) if mask.any()]
    assert [mat.scene.fibres[number].number for number in shown] == list(entries)
    for number in shown:
        share = (top == number).sum() / masks[number].sum()
        assert entries[mat.scene.fibres[number].number]["visible"] == pytest.approx(share, abs=1e-6)


def test_the_upper_fibre_hides_the_lower_one_where_they_cross(mat):
    fibres = {fibre.number: fibre for fibre in mat.scene.fibres}
    for crossing in mat.truth()["crossings"][:8]:
        over, under = fibres[crossing["over"]], fibres[crossing["under"]]
        both = alone(mat.scene, under, over).layers(GRID)
        row, column = np.searchsorted(GRID.axis, [crossing["y"], crossing["x"]])
        expected = mat.scene.mat.emission * over.brightness
        assert both.emission[row, column] == pytest.approx(expected)
        assert mat.scene.fibres.index(over) > mat.scene.fibres.index(under)


def test_a_fibre_shades_what_lies_below_and_only_that(mat):
    upper, lower = mat.scene.fibres[-1], mat.scene.fibres[0]
    both = alone(mat.scene, lower, upper).layers(GRID).depth
    single = alone(mat.scene, lower).layers(GRID).depth
    beside = alone(mat.scene, upper).layers(GRID).distance
    reach = mat.scene.mat.shade_length
    assert (both[(beside > 0.2) & (beside < 1)] > single[(beside > 0.2) & (beside < 1)]).all()
    assert (both[beside > reach] == single[beside > reach]).all()


def test_crossings_are_all_crossings(mat):
    truth = mat.truth()
    large = [entry for entry in truth["fibres"] if not entry["small"]]
    listed = {}
    for crossing in truth["crossings"]:
        listed.setdefault(frozenset((crossing["over"], crossing["under"])), []).append(crossing)
    for i, one in enumerate(large):
        for other in large[:i]:
            a, b = dense(one["line"], 0.5), dense(other["line"], 0.5)
            gaps = np.hypot(*(a[:, None] - b[None]).T).T
            place = a[np.argmin(gaps.min(axis=1))]
            near = listed.get(frozenset((one["number"], other["number"])), [])
            for crossing in near:
                point = [crossing["y"], crossing["x"]]
                assert np.hypot(*(a - point).T).min() < 0.4
                assert np.hypot(*(b - point).T).min() < 0.4
            if gaps.min() > 0.75:
                assert not near
            elif 3 < min(place) < max(place) < SIZE - 4 and gaps.min() < 0.05:
                assert near


def test_orientation_is_the_length_by_direction(mat):
    orientation = mat.truth()["orientation"]
    counts = np.zeros(18)
    for entry in mat.truth()["fibres"]:
        if not entry["small"]:
            points = dense(entry["line"], 0.1)
            step = np.diff(points, axis=0)[inside(points[:-1])]
            counts += np.histogram(np.degrees(np.arctan2(*step.T)) % 180, 18, (0, 180))[0]
    assert sum(orientation["shares"]) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(orientation["shares"], counts / counts.sum(), atol=0.01)


def test_border_and_defect_flags(mat):
    for entry in mat.truth()["fibres"]:
        line, half = np.array(entry["line"]), entry["width"] / 2
        leaves = (line - half < -0.5).any() or (line + half > SIZE - 0.5).any()
        assert entry["border"] == leaves
        assert entry["defective"] == any(inside(np.array([b["y"], b["x"]])) for b in entry["beads"])


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


# The curves below the fibres


def test_a_spline_through_collinear_control_points_is_straight():
    line = b_spline(np.stack([np.arange(6.0) * 9, np.arange(6.0) * 12], axis=1))
    np.testing.assert_allclose(line[:, 0] * 4, line[:, 1] * 3, atol=1e-3)
    np.testing.assert_allclose(line[[0, -1]], [[9, 12], [36, 48]], atol=1e-4)


def test_a_spline_has_the_curvature_of_its_control_circle():
    turn = np.radians(np.arange(0, 360, 10))
    line = b_spline(100 * np.stack([np.sin(turn), np.cos(turn)], axis=1))
    radii = np.hypot(*line.T)
    # A uniform cubic B-spline of a circle is one of radius (2 + cos(step)) / 3.
    np.testing.assert_allclose(radii, 100 * (2 + math.cos(math.radians(10))) / 3, rtol=1e-4)


def test_clipped_lengths_of_a_known_line():
    line = np.array([[-10.5, 4.0], [20.5, 4.0], [20.5, 40.0]])
    np.testing.assert_allclose(lengths_inside(line, 16), [16, 0])


def test_crossings_of_known_lines():
    one, other = np.array([[0.0, 0.0], [10.0, 10.0]]), np.array([[0.0, 10.0], [10.0, 0.0]])
    assert crossings(one, other) == [(5.0, 5.0)]
    assert crossings(one, one + np.array([0, 1])) == []
    assert crossings(one, other + np.array([0, 30])) == []


@pytest.mark.parametrize("kappa", [0.5, 4.0, 40.0])
def test_angles_have_the_concentration_asked_for(kappa):
    """The mean resultant length of a von Mises distribution is I1(kappa) / I0(kappa)."""
    stream = RandomStream(3, 1)
    angles = np.radians([von_mises(stream, 70, kappa) for _ in range(4000)])
    mean = np.exp(1j * angles).mean()
    assert abs(mean) == pytest.approx(i1(kappa) / i0(kappa), abs=0.03)
    assert np.degrees(np.angle(mean)) == pytest.approx(70, abs=5)
