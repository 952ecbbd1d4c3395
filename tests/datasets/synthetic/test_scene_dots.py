"""Arrays of dots and holes: diameters, places, lattice and gaps against what is drawn and what is seen."""

import functools
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import filters, measure

from srbench.datasets.synthetic.geometry import FineGrid, area_average, coverage
from srbench.datasets.synthetic.kinds.patterned import DotScene, LineScene
from srbench.datasets.synthetic.rng import RandomStream
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene

pytestmark = pytest.mark.slow

SIZE = 192
GRID = FineGrid(SIZE)


@functools.cache
def arrays(first, count):
    """The first scenes of the kind that are arrays; the others are lines and spaces."""
    scenes = (SyntheticScene("patterned", index, SIZE) for index in itertools.count(first))
    return list(itertools.islice((s for s in scenes if isinstance(s.scene, DotScene)), count))


@pytest.fixture(scope="module", params=range(6))
def array(request):
    return arrays(3000, 6)[request.param]


def share_of(scene):
    """Area share of the dots or holes in each pixel, residues left out."""
    return area_average(GRID.interior(coverage(scene.scene.outlines(GRID)[0], GRID.step)))


def test_every_dot_is_drawn_with_its_diameter_at_its_place(array):
    share, truth = share_of(array), array.truth()
    labels = measure.label(share > 0, connectivity=2)
    whole = [dot for dot in truth["dots"] if not dot["border"]]
    assert len(whole) >= 5
    rows, columns = np.indices(share.shape)
    for dot in whole:
        region = labels == labels[round(dot["y"]), round(dot["x"])]
        weight = np.where(region, share, 0)
        area = weight.sum()
        assert 2 * math.sqrt(area / math.pi) == pytest.approx(dot["diameter"], rel=0.02, abs=0.05)
        # The outline's roughness moves the centroid a little; its centre is what was drawn.
        sigma = array.scene.process.edge_sigma
        assert (weight * rows).sum() / area == pytest.approx(dot["y"], abs=0.05 + 0.5 * sigma)
        assert (weight * columns).sum() / area == pytest.approx(dot["x"], abs=0.05 + 0.5 * sigma)


def test_there_are_as_many_dots_as_the_truth_lists(array):
    fine = GRID.interior(array.scene.outlines(GRID)[0]) < 0
    labels, count = measure.label(fine, connectivity=1, return_num=True)
    at_border = set(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]).tolist()) - {0}
    truth = array.truth()
    whole = [dot for dot in truth["dots"] if not dot["border"]]
    assert count - len(at_border) <= len(truth["dots"])
    assert count - len(at_border) >= len(whole)
    for dot in whole:
        assert labels[round((dot["y"] + 0.5) * 3 - 0.5), round((dot["x"] + 0.5) * 3 - 0.5)] > 0


def test_half_dots_are_half_as_large_and_flagged(array):
    design = array.scene.process.cd
    types = {(dot.y, dot.x): dot.type for dot in array.scene.sites}
    for dot in array.truth()["dots"]:
        kind, ratio = types[dot["y"], dot["x"]], dot["diameter"] / design
        assert dot["defective"] == (kind != "regular")
        if kind != "extra":
            low, high = (0.3, 0.7) if kind == "half" else (0.8, 1.2)
            assert low < ratio < high


def test_diameters_measured_in_the_micrograph_are_the_truth(array):
    """Otsu's threshold on the noise-free image, filled; the same bias, of the bright rim, for all dots."""
    image, truth = array._unpatched[0].astype(float), array.truth()
    holes = truth["style"] == "holes"
    errors = []
    for dot in truth["dots"]:
        half = int(dot["diameter"] / 2 + 5)
        y, x = round(dot["y"]), round(dot["x"])
        if dot["defective"] or not half < min(y, x) < max(y, x) < SIZE - 1 - half:
            continue
        patch = image[y - half : y + half + 1, x - half : x + half + 1]
        dark = patch < filters.threshold_otsu(patch)
        region = dark if holes else ~dark
        labels = measure.label(region, connectivity=1)
        own = labels == labels[half, half] if holes else ring_filled(labels, half)
        errors.append(2 * math.sqrt(own.sum() / math.pi) - dot["diameter"])
    assert len(errors) >= 4
    assert abs(np.median(errors)) < 2.5
    assert np.percentile(np.abs(errors - np.median(errors)), 70) < 0.9


def ring_filled(labels, half):
    """The bright rim around the middle, with what it encloses."""
    outside = measure.label(labels == 0, connectivity=1)
    border = set(np.concatenate([outside[0], outside[-1], outside[:, 0], outside[:, -1]]).tolist()) - {0}
    filled = ~np.isin(outside, list(border))
    components = measure.label(filled, connectivity=1)
    return components == components[half, half]


def test_holes_are_dark_and_dots_bright_at_their_rims(array):
    image, outline = array._unpatched[0].astype(float), array.scene.outlines(GRID)[0]
    distance = area_average(GRID.interior(outline))
    inside, rim, far = distance < -2, np.abs(distance) < 1, distance > 4
    if array.truth()["style"] == "holes":
        assert image[inside].mean() < image[far].mean() - 40
    else:
        assert image[rim].mean() > image[far].mean() + 30
        assert image[inside].mean() > image[far].mean()


def test_between_two_dots_no_line_is_drawn(array):
    """Distances add up smoothly: nowhere outside does the slope jump, as the nearer dot changes."""
    outline = array.scene.outlines(GRID)[0]
    outside = (outline > 4.5) & (outline < 9)
    bend = np.abs(np.diff(outline, 2, axis=0))[:, 1:-1][outside[1:-1, 1:-1]]
    assert bend.size > 0
    assert bend.max() < 0.5 * GRID.step


@settings(max_examples=25, deadline=None)
@given(index=st.integers(0, 10**6), size=st.sampled_from([192, 384]))
def test_sizes_are_in_their_ranges(index, size):
    scene = scene_kinds()["patterned"].sample(RandomStream(5, 6, index), size)
    if isinstance(scene, LineScene):
        assert 16 <= scene.grating.pitch <= 80
        assert 6 <= scene.grating.cd <= 40
    else:
        assert 16 <= scene.lattice.pitch <= 80
        assert 6 <= scene.process.cd <= min(40, 0.63 * scene.lattice.pitch)
        assert sum(not dot["border"] for dot in scene.truth()["dots"]) >= 5


def test_half_of_the_patterns_are_lines_and_both_lattices_occur():
    scenes = [scene_kinds()["patterned"].sample(RandomStream(5, 6, i), SIZE) for i in range(60)]
    styles = [scene.truth()["style"] for scene in scenes]
    assert 18 <= styles.count("lines") <= 42
    assert min(styles.count("dots"), styles.count("holes")) >= 6
    assert {s.lattice.type for s in scenes if isinstance(s, DotScene)} == {"square", "hexagonal"}
