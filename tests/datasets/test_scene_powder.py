"""Powders: outlines, areas, z-order and facets against brute force and independent rasterisation."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage.draw import polygon2mask

from srbench.datasets.synthetic.draws import RandomStream
from srbench.datasets.synthetic.geometry import (
    FineGrid,
    area_average,
    convex_distance,
    convex_hull,
    coverage,
    polygon_centroid,
    rounded_area,
    sides,
)
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene

SIZE = 192
GRID = FineGrid(SIZE)
FINER = 8
"""Points to an HR pixel in the rasterisation that checks the scene's own."""


def drawn(index, size=SIZE):
    return scene_kinds()["powder"].sample(RandomStream(77, 8, index), size)


@pytest.fixture(scope="module", params=range(4))
def pile(request):
    return drawn(request.param)


def raster(vertices, rounding):
    """Mask of an outline in a window of its own, the window's corner in HR pixels."""
    vertices = np.array(vertices)
    low = np.floor(vertices.min(axis=0) - rounding - 2)
    shape = np.ceil((vertices.max(axis=0) + rounding + 2 - low) * FINER).astype(int)
    core = polygon2mask(tuple(shape), (vertices - low) * FINER - 0.5)
    return ndimage.distance_transform_edt(~core) <= rounding * FINER + 0.5, low


def rim(vertices, count=4000):
    """Points along a polygon."""
    corners = np.array([*vertices, vertices[0]])
    t = np.linspace(0, 1, count // len(vertices), endpoint=False)[:, None]
    return np.vstack([a + t * (b - a) for a, b in pairwise(corners)])


def brute_distance(y, x, grain):
    """Signed distance of one point, by very many points of the outline's core and a winding test."""
    corners = np.array(grain.vertices) - (y, x)
    turns = [a[1] * b[0] - a[0] * b[1] for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True)]
    gap = np.hypot(*(rim(grain.vertices) - (y, x)).T).min()
    return (-gap if min(turns) > 0 else gap) - grain.rounding


# Polygons


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), min_size=4, max_size=12, unique=True))
def test_hulls_and_their_areas_are_those_of_qhull(points):
    if np.linalg.matrix_rank(np.array(points[1:]) - points[0]) < 2:
        return
    hull = convex_hull([(float(y), float(x)) for y, x in points])
    known = ConvexHull(np.array(points))
    assert set(hull) == {tuple(map(float, points[n])) for n in known.vertices}
    assert rounded_area(hull, 0.0) == pytest.approx(known.volume)
    around = known.area
    assert rounded_area(hull, 2.0) == pytest.approx(known.volume + 2 * around + 4 * math.pi)


def test_the_centroid_is_that_of_the_mask(pile):
    for grain in pile.grains[:12]:
        mask, low = raster(grain.vertices, 0.0)
        found = (np.argwhere(mask).mean(axis=0) + 0.5) / FINER + low
        np.testing.assert_allclose(polygon_centroid(grain.vertices), found, atol=0.15)


def test_distances_are_exact_inside_and_near_the_outline(pile):
    generator = np.random.default_rng(3)
    for grain in pile.grains[:15]:
        top, left, bottom, right = grain.box
        y = generator.uniform(top - 1, bottom + 1, (12, 1))
        x = generator.uniform(left - 1, right + 1, (1, 12))
        distance = grain.distance(y, x)
        exact = np.array([[brute_distance(a, b, grain) for b in x[0]] for a in y[:, 0]])
        near = exact < 0.9
        np.testing.assert_allclose(distance[near], exact[near], atol=0.03)
        assert (distance[~near] > 0.7).all()
        assert (distance[~near] <= exact[~near] + 0.03).all()


def test_distances_of_a_square_in_closed_form():
    square = [(0.0, 0.0), (0.0, 4.0), (4.0, 4.0), (4.0, 0.0)]
    y, x = np.array([[2.0], [-3.0], [7.0]]), np.array([[2.0, -4.0]])
    np.testing.assert_allclose(convex_distance(y, x, square, 9.0), [[-2, 4], [3, 5], [3, 5]])


# Grains


def test_areas_are_those_of_an_independent_rasterisation(pile):
    for grain in pile.grains[:40]:
        mask, _ = raster(grain.vertices, grain.rounding)
        assert grain.area == pytest.approx(mask.sum() / FINER**2, rel=0.02, abs=1.0)
        assert grain.diameter == pytest.approx(math.sqrt(4 * grain.area / math.pi), abs=1e-3)
    axis = np.arange(-90, 300, 0.1)
    share = coverage(pile.grains[0].distance(axis[:, None], axis[None]), 0.1)
    assert pile.grains[0].area == pytest.approx(share.sum() * 0.01, rel=2e-3)


def label_map(grains):
    """Number of the grain on top, painted in order at ``FINER`` points to a pixel; -1 on the ground."""
    top = np.full((SIZE * FINER, SIZE * FINER), -1)
    for number, grain in enumerate(grains):
        mask, low = raster(grain.vertices, grain.rounding)
        rows, columns = np.nonzero(mask)
        rows, columns = (
            (values + round((corner + 0.5) * FINER))
            for values, corner in zip((rows, columns), low, strict=True)
        )
        inside = (rows >= 0) & (columns >= 0) & (rows < top.shape[0]) & (columns < top.shape[1])
        top[rows[inside], columns[inside]] = number
    return top


def test_visible_areas_are_those_of_painting_in_order(pile):
    entries = pile.truth()["grains"]
    counts = np.bincount(label_map(pile.grains).ravel() + 1, minlength=len(pile.grains) + 1)[1:] / FINER**2
    vertices = [[list(corner) for corner in grain.vertices] for grain in pile.grains]
    numbers = [vertices.index(entry["vertices"]) for entry in entries]
    for entry, number in zip(entries, numbers, strict=True):
        perimeter = math.pi * entry["feret"]
        assert entry["visible_area"] == pytest.approx(counts[number], abs=0.5 + 0.04 * perimeter)
        assert entry["visible_area"] <= entry["area"]
        assert entry["visible"] == (entry["visible_area"] >= 10)
    truth = pile.truth()
    assert truth["coverage"] == pytest.approx(counts.sum() / SIZE**2, abs=0.01)
    assert truth["count"] == len(entries)
    assert truth["count_visible"] == pytest.approx((counts >= 10).sum(), abs=4)
    assert set(np.flatnonzero(counts > 1)) <= set(numbers)


def test_the_grain_on_top_is_the_one_that_is_drawn(pile):
    """Well inside what is visible of a grain, the map of distances is that to its own outline."""
    bare = replace(pile, fines=())
    layers = bare.layers(GRID)
    top = label_map(bare.grains)
    checked = 0
    for number, place in enumerate(ndimage.find_objects(top + 1)):
        if place is None:
            continue
        grain = bare.grains[number]
        inner = ndimage.distance_transform_edt(np.pad(top[place] == number, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(inner.argmax(), inner.shape)
        if inner[row, column] < 1.5 * FINER:
            continue
        y, x = ((at + part.start + 0.5) / FINER - 0.5 for at, part in zip((row, column), place, strict=True))
        rows, columns = GRID.span(y, y + 0.34).start, GRID.span(x, x + 0.34).start
        expected = brute_distance(GRID.axis[rows], GRID.axis[columns], grain)
        assert layers.distance[rows, columns] == pytest.approx(expected, abs=0.05)
        assert layers.depth[rows, columns] >= grain.depth - 1e-9
        checked += 1
    assert checked > 20


def test_facets_rise_with_their_slopes(pile):
    """The height is the lowest of the planes through the outline's sides and the top plane."""
    generator = np.random.default_rng(5)
    for grain in pile.grains[:20]:
        (y, x) = np.array(grain.centre) + generator.uniform(-3, 3, 2)
        planes = [grain.top[0] + grain.top[1] * (y - grain.centre[0]) + grain.top[2] * (x - grain.centre[1])]
        for ((y0, x0), (y1, x1)), slope in zip(sides(grain.vertices), grain.slopes, strict=True):
            inset = ((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)) / math.hypot(y1 - y0, x1 - x0)
            planes.append(slope * (inset + grain.rounding))
        height, ridge = grain.facets(np.array([[y]]), np.array([[x]]))
        assert height[0, 0] == pytest.approx(max(min(planes), 0), abs=1e-9)
        assert ridge[0, 0] == pytest.approx(np.diff(np.sort(planes))[0], abs=1e-9)


@pytest.mark.parametrize("size", [192, 384])
def test_sizes_and_numbers_are_in_range(size):
    for index in range(4):
        truth = drawn(index, size).truth()
        assert 100 <= truth["batch"]["density"] <= 400
        assert all(9.999 <= grain["feret"] <= 60.001 for grain in truth["grains"])
        assert all(grain["diameter"] <= grain["feret"] for grain in truth["grains"])
        expected = truth["batch"]["density"] * (size / 384) ** 2
        assert 0.6 * expected < truth["count"] < 2.2 * expected
        assert [grain["z"] for grain in truth["grains"]] == list(range(truth["count"]))


def test_all_outlines_are_convex_and_run_in_one_sense(pile):
    for grain in (*pile.grains, *pile.fines):
        corners = np.array(grain.vertices)
        steps = np.roll(corners, -1, axis=0) - corners
        following = np.roll(steps, -1, axis=0)
        assert (steps[:, 1] * following[:, 0] - steps[:, 0] * following[:, 1] > 0).all()


def test_fines_lie_on_top_with_their_area(pile):
    """What a fine changes in the map of distances is its own outline."""
    layers = pile.layers(GRID)
    features = pile.truth()["small_features"]
    assert len(features) >= 8
    for fine, feature in zip(pile.fines, features, strict=True):
        assert 2.0 <= feature["diameter"] <= 6.0
        y, x = np.arange(-4, 4.01, 0.05)[:, None], np.arange(-4, 4.01, 0.05)[None]
        share = coverage(fine.distance(feature["y"] + y, feature["x"] + x), 0.05)
        assert share.sum() * 0.05**2 == pytest.approx(math.pi / 4 * feature["diameter"] ** 2, rel=0.01)
        row, column = (GRID.span(at, at + 0.34).start for at in (feature["y"], feature["x"]))
        expected = brute_distance(GRID.axis[row], GRID.axis[column], fine)
        assert layers.distance[row, column] == pytest.approx(expected, abs=0.05)


def test_grains_stand_out_from_the_ground():
    for index in range(2):
        scene = SyntheticScene("powder", 3000 + index, SIZE)
        share = area_average(GRID.interior(coverage(scene.scene.layers(GRID).distance, GRID.step)))
        pixels = scene.pixels().astype(float)
        assert pixels[share == 1].mean() > pixels[share == 0].mean() + 40
