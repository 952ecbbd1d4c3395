"""Cells and shells: outlines, areas, z-order and lattices against brute force and the micrograph."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from srbench.datasets.synthetic.biological import Cell
from srbench.datasets.synthetic.draws import RandomStream
from srbench.datasets.synthetic.geometry import FineGrid, coverage
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene

SIZE = 192
GRID = FineGrid(SIZE)
FINER = 6


def drawn(index, size=SIZE):
    return scene_kinds()["biological"].sample(RandomStream(77, 0, index), size)


@pytest.fixture(scope="module", params=range(6))
def specimen(request):
    return drawn(request.param)


@pytest.fixture(scope="module")
def shells():
    """Specimens with a shell."""
    return [scene for scene in map(drawn, range(10)) if scene.lattice]


def outline(cell, count=20001):
    """Points of the superellipse by its parametric form."""
    t = np.linspace(0, 2 * np.pi, count)
    u = cell.major / 2 * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / cell.exponent)
    v = cell.minor / 2 * np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / cell.exponent)
    turn = math.radians(cell.angle)
    return cell.y + u * math.sin(turn) + v * math.cos(turn), cell.x + u * math.cos(turn) - v * math.sin(turn)


cells = st.builds(
    Cell,
    y=st.just(50.0),
    x=st.just(60.0),
    major=st.floats(20, 120),
    minor=st.floats(15, 60),
    exponent=st.floats(1.8, 3),
    angle=st.floats(0, 180),
    relief=st.just(0.5),
    brightness=st.just(1.0),
    wrinkles=st.just(()),
)


@settings(max_examples=40, deadline=None)
@given(cells)
def test_the_outline_has_no_distance_and_the_stated_box_and_area(cell):
    y, x = outline(cell)
    assert np.abs(cell.distance(y, x)).max() < 1e-4
    assert cell.box == pytest.approx((y.min(), x.min(), y.max(), x.max()), abs=2e-3)
    shoelace = np.abs((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2
    assert cell.area == pytest.approx(shoelace, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(cells, st.integers(500, 4500), st.floats(-0.6, 0.6))
def test_distance_near_the_outline_is_that_along_the_normal(cell, at, gap):
    y, x = outline(cell)
    along = np.array([y[at + 1] - y[at - 1], x[at + 1] - x[at - 1]])
    normal = np.array([-along[1], along[0]]) / np.hypot(*along)
    outwards = normal * np.sign(normal @ (y[at] - cell.y, x[at] - cell.x))
    place = np.array([y[at], x[at]]) + gap * outwards
    assert cell.distance(np.array(place[0]), np.array(place[1])) == pytest.approx(gap, abs=0.06)


def test_a_cell_covers_its_area(specimen):
    big = FineGrid(2 * SIZE)
    for cell in specimen.cells:
        moved = replace(cell, y=SIZE + 0.3, x=SIZE - 0.4)
        share = coverage(moved.distance(big.axis[:, None], big.axis[None]), big.step)
        assert share.sum() * big.step**2 == pytest.approx(cell.area, rel=1e-3)


def label_map(scene):
    """Number of the cell on top by the inequality of the superellipse, in order; -1 on the ground."""
    axis = (np.arange(SIZE * FINER) + 0.5) / FINER - 0.5
    top = np.full((axis.size, axis.size), -1)
    for number, cell in enumerate(scene.cells):
        turn = math.radians(cell.angle)
        y, x = axis[:, None] - cell.y, axis[None] - cell.x
        u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
        n = cell.exponent
        top[np.abs(2 * u / cell.major) ** n + np.abs(2 * v / cell.minor) ** n < 1] = number
    return top


def test_visible_areas_are_those_of_painting_in_order(specimen):
    counts = np.bincount(label_map(specimen).ravel() + 1, minlength=len(specimen.cells) + 1)[1:] / FINER**2
    for entry, found in zip(specimen.truth()["cells"], counts, strict=True):
        assert entry["visible_area"] == pytest.approx(found, rel=2e-3, abs=2)
        if entry["border"] is False:
            assert entry["visible_area"] <= entry["area"]


def test_the_cell_on_top_is_the_one_that_is_drawn(specimen):
    layers = replace(specimen, specks=(), feet=(), lattice=None).layers(GRID)
    top = label_map(specimen)[FINER // 6 :: FINER // 3, FINER // 6 :: FINER // 3][: 3 * SIZE, : 3 * SIZE]
    for number, cell in enumerate(specimen.cells):
        inner = ndimage.distance_transform_edt(np.pad(top == number, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(inner.argmax(), inner.shape)
        if inner[row, column] < 6:
            continue
        row, column = row + 24, column + 24
        place = np.array([[GRID.axis[row]]]), np.array([[GRID.axis[column]]])
        assert layers.distance[row, column] == pytest.approx(cell.distance(*place)[0, 0], abs=1e-9)
        assert layers.height[row, column] == pytest.approx(cell.height(*place)[0, 0], abs=1e-9)


def test_wrinkles_are_six_cosines(specimen):
    y, x = np.linspace(-20, 20, 9)[:, None], np.linspace(-30, 30, 7)[None]
    for cell in specimen.cells:
        assert len(cell.wrinkles) == 6
        for wrinkle in cell.wrinkles:
            turn = math.radians(wrinkle.angle)
            along = x * math.cos(turn) + y * math.sin(turn)
            expected = wrinkle.amplitude * np.cos(2 * np.pi * (along / wrinkle.wavelength + wrinkle.phase))
            np.testing.assert_allclose(wrinkle.wave(y, x), expected, atol=1e-12)


# The lattice


def test_pores_lie_on_the_lattice_and_the_missing_ones_are_the_gaps(shells):
    for scene in shells:
        truth = scene.truth()["lattice"]
        first, second = map(np.array, truth["vectors"])
        assert np.hypot(*first) == pytest.approx(truth["pitch"], abs=1e-3)
        assert np.hypot(*second) == pytest.approx(truth["pitch"], abs=1e-3)
        assert first @ second == pytest.approx(truth["pitch"] ** 2 / 2, abs=0.01)
        for pore in (*truth["pores"], *truth["missing"]):
            place = np.array(truth["origin"]) + pore["i"] * first + pore["j"] * second
            np.testing.assert_allclose((pore["y"], pore["x"]), place, atol=1e-3)
        assert truth["count"] == len(truth["pores"])
        names = {(pore["i"], pore["j"]) for pore in (*truth["pores"], *truth["missing"])}
        assert len(names) == len(truth["pores"]) + len(truth["missing"])


def test_every_pore_is_an_opening_of_its_area_and_the_missing_ones_are_closed(shells):
    checked = 0
    for scene in shells:
        distance = replace(scene, specks=()).layers(GRID).distance
        labels, _ = ndimage.label(distance > 0)
        for pore in scene.lattice.pores:
            if not 6 < min(pore.y, pore.x) < max(pore.y, pore.x) < SIZE - 7:
                continue
            row, column = (GRID.span(at, at + 0.34).start for at in (pore.y, pore.x))
            mask = labels == labels[row, column]
            assert mask.sum() / 9 == pytest.approx(math.pi / 4 * pore.diameter**2, rel=0.1)
            found = [GRID.axis[values].mean() for values in np.nonzero(mask)]
            np.testing.assert_allclose(found, (pore.y, pore.x), atol=0.12)
            checked += 1
            if checked % 60 == 0:
                break
        for _, _, y, x in scene.lattice.missing:
            if 2 < min(y, x) < max(y, x) < SIZE - 3:
                assert distance[GRID.span(y, y + 0.34).start, GRID.span(x, x + 0.34).start] < 0
    assert checked > 100


def test_the_pitch_is_that_of_the_micrograph():
    """The Fourier amplitude at the reciprocal vectors, scaled by s, is greatest at s = 1."""
    checked = 0
    for index in range(3000, 3012):
        scene = SyntheticScene("biological", index, SIZE)
        lattice = scene.scene.lattice
        if lattice is None or len(lattice.pores) < 40:
            continue
        pixels = scene.pixels().astype(float)
        y, x = np.indices(pixels.shape)
        body = scene.scene.cells[-1].distance(y.astype(float), x.astype(float)) < -lattice.pitch
        values = np.where(body, pixels - pixels[body].mean(), 0)
        (ay, ax), (by, bx) = lattice.first, lattice.second
        area = ay * bx - ax * by
        scales = np.linspace(0.94, 1.06, 121)
        for ky, kx in ((bx / area, -by / area), (-ax / area, ay / area)):
            waves = [np.abs((values * np.exp(-2j * np.pi * s * (ky * y + kx * x))).sum()) for s in scales]
            assert scales[np.argmax(waves)] == pytest.approx(1, abs=0.015)
        checked += 1
    assert checked >= 2


def test_pores_are_darker_than_the_shell_between_them():
    checked = 0
    for index in range(3000, 3012):
        scene = SyntheticScene("biological", index, SIZE)
        lattice = scene.scene.lattice
        if lattice is None:
            continue
        pixels = ndimage.gaussian_filter(scene.pixels().astype(float), 0.7)
        for pore in lattice.pores:
            between = np.add((pore.y, pore.x), np.add(lattice.first, lattice.second) / 3)
            if min(*between, pore.y, pore.x) > 4 and max(*between, pore.y, pore.x) < SIZE - 5:
                here, there = (
                    pixels[round(pore.y), round(pore.x)],
                    pixels[tuple(np.round(between).astype(int))],
                )
                checked += 1
                assert here < there - 10
    assert checked > 100


@pytest.mark.parametrize("size", [192, 384])
def test_numbers_and_sizes_are_in_range(size):
    styles = set()
    for index in range(16):
        truth = drawn(index, size).truth()
        styles.add(truth["style"])
        soft = [cell for cell in truth["cells"] if not cell["shell"]]
        assert (3 <= len(soft) <= 8) if truth["style"] != "diatom" else not soft
        assert (truth["lattice"] is None) == (truth["style"] == "cells")
        if truth["lattice"]:
            assert 10 <= truth["lattice"]["pitch"] <= 18
            assert all(4 <= pore["diameter"] <= 9 for pore in truth["lattice"]["pores"])
        for foot in truth["feet"]:
            assert all(2 <= width <= 6 for width in foot["widths"])
    assert styles == {"cells", "diatom", "both"}


def test_vesicles_lie_on_cells_and_granules_and_pits_beside_them(specimen):
    for speck in specimen.specks:
        place = np.asarray(speck.y), np.asarray(speck.x)
        walls = [float(cell.distance(*place)) for cell in specimen.cells]
        assert (min(walls) < 0) == (speck.type == "vesicle")
        assert min(abs(wall) for wall in walls) > speck.diameter / 2


def test_leaving_out_a_pore_closes_it(shells):
    scene = next(
        scene for scene in shells if any(f["type"] == "pore" for f in scene.truth()["small_features"])
    )
    features = scene.truth()["small_features"]
    number = next(n for n, feature in enumerate(features) if feature["type"] == "pore")
    lacking = scene.without(number).truth()["lattice"]
    assert lacking["count"] == scene.truth()["lattice"]["count"] - 1
    assert features[number]["y"] not in {pore["y"] for pore in lacking["pores"]}
