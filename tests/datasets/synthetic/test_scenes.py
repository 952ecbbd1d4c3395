"""The truth of each kind of scene against what is really drawn, measured independently."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage import filters, measure

from srbench.datasets.synthetic.geometry import FineGrid, area_average, coverage
from srbench.datasets.synthetic.kinds.patterned import LineScene
from srbench.datasets.synthetic.rng import RandomStream
from srbench.datasets.synthetic.scene import register_scene, scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene

SIZE = 192
GRID = FineGrid(SIZE)


@pytest.fixture(scope="module", params=range(4))
def particles(request):
    return SyntheticScene("particles", 300 + request.param, SIZE)


def gratings(first, count):
    """The first scenes of the kind that are lines and spaces; the others are arrays of dots."""
    scenes = (SyntheticScene("patterned", index, SIZE) for index in itertools.count(first))
    return list(itertools.islice((s for s in scenes if isinstance(s.scene, LineScene)), count))


@pytest.fixture(scope="module", params=range(4))
def patterned(request):
    return gratings(300, 4)[request.param]


@pytest.fixture(scope="module", params=range(3))
def porous(request):
    return SyntheticScene("porous", 300 + request.param, SIZE)


def drawn_share(scene):
    """Area share of the features in every pixel of the image, before any optics."""
    distance = scene.scene.layers(GRID).distance
    return area_average(GRID.interior(coverage(distance, GRID.step)))


def at(image, spot):
    return image[round(spot["y"]), round(spot["x"])]


# Particles


@pytest.mark.slow
def test_every_particle_is_drawn_with_its_diameter(particles):
    share = drawn_share(particles)
    alone = [p for p in particles.truth()["particles"] if not p["touching"] and not p["border"]]
    labels = measure.label(share > 0, connectivity=2)
    assert len(alone) > 10
    for particle in alone:
        # A fine particle may lie close enough to a neighbour to share a label: the label's area then differs.
        region = labels == at(labels, particle)
        if at(labels, particle) in labels_at_border(labels):
            continue
        expected = (
            math.pi
            / 4
            * sum(p["diameter"] ** 2 for p in particles.truth()["particles"] if at_inside(region, p))
        )
        assert share[region].sum() == pytest.approx(expected, rel=0.01, abs=0.15)


def at_inside(region, particle):
    y, x = round(particle["y"]), round(particle["x"])
    return 0 <= y < SIZE and 0 <= x < SIZE and bool(region[y, x])


@pytest.mark.slow
def test_there_are_as_many_particles_as_the_truth_lists(particles):
    fine = GRID.interior(particles.scene.layers(GRID).distance) < 0
    listed = [p for p in particles.truth()["particles"] if not p["border"]]
    inner = measure.label(fine, connectivity=1)
    centres = {int(inner[round((p["y"] + 0.5) * 3 - 0.5), round((p["x"] + 0.5) * 3 - 0.5)]) for p in listed}
    assert 0 not in centres
    touching = sum(p["touching"] for p in listed)
    assert len(listed) - touching <= len(centres) <= len(listed)
    assert not set(np.unique(inner)) - centres - {0} - labels_at_border(inner)


def labels_at_border(labels):
    return set(np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])).tolist())


@pytest.mark.slow
def test_particles_do_not_overlap(particles):
    drawn = drawn_share(particles).sum()
    inside = [p for p in particles.truth()["particles"] if not p["border"]]
    alone = math.pi / 4 * sum(p["diameter"] ** 2 for p in inside)
    assert drawn > 0.985 * alone


@pytest.mark.slow
def test_fine_particles_have_half_to_one_and_a_half_lr_pixels_at_x4(particles):
    small = particles.truth()["small_features"]
    assert len(small) >= 8
    assert all(2.0 <= p["diameter"] <= 6.0 for p in small)


@pytest.mark.slow
def test_some_particles_touch_and_most_do_not():
    entries = [
        p
        for index in range(8)
        for p in SyntheticScene("particles", index, SIZE).truth()["particles"]
        if p["diameter"] >= 8
    ]
    assert 0.1 < np.mean([p["touching"] for p in entries]) < 0.45


@pytest.mark.slow
def test_diameters_are_log_normal_with_the_habits_spread():
    scene = SyntheticScene("particles", 1, 768)
    habit = scene.scene.habit
    logs = np.log([p["diameter"] for p in scene.truth()["particles"] if p["diameter"] >= 8])
    assert len(logs) > 150
    # The bounds of 8 to 64 px cut both tails, and the largest find no room more often.
    assert math.exp(np.median(logs)) == pytest.approx(habit.median, rel=0.2)
    assert math.exp(logs.std()) == pytest.approx(habit.gsd, rel=0.2)


@pytest.mark.slow
def test_particles_are_brighter_than_the_ground_and_brightest_at_the_rim(particles):
    pixels = particles.pixels().astype(float)
    share = drawn_share(particles)
    inside = ndimage.distance_transform_edt(share > 0.5)
    assert pixels[share == 1].mean() > pixels[share == 0].mean() + 20
    assert pixels[(inside > 0.5) & (inside <= 2.5)].mean() > pixels[inside > 5].mean()


# Lines


@pytest.mark.slow
def test_line_widths_are_those_of_the_truth(patterned):
    """Area of each line, row by row, from the drawn shares: no optics, no threshold."""
    share = drawn_share_without_spots(patterned)
    lines = [line for line in patterned.truth()["lines"] if line["complete"]]
    assert len(lines) >= 2
    for line in lines:
        left, right = np.array(line["left"]), np.array(line["right"])
        first, last = int(left.min()) - 1, int(right.max()) + 2
        widths = share[:, max(first, 0) : last + 1].sum(axis=1)
        np.testing.assert_allclose(widths, right - left, atol=0.02)


def drawn_share_without_spots(patterned):
    bare = replace(patterned.scene, spots=())
    return area_average(GRID.interior(coverage(bare.layers(GRID).distance, GRID.step)))


def threshold_edges(pixels, lines):
    """Outermost 50 % crossings of each line, sub-pixel, of a CD-SEM image with bright edges."""
    for line in lines:
        left, right = np.array(line["left"]), np.array(line["right"])
        for row in range(SIZE):
            low, high = int(left[row]) - 4, int(right[row]) + 5
            profile = pixels[row, max(low, 0) : high + 1].astype(float)
            level = (profile.min() + profile.max()) / 2
            above = np.flatnonzero(profile > level)
            first, last = above[0], above[-1]
            if first == 0 or last == len(profile) - 1:
                continue
            rise = (level - profile[first - 1]) / (profile[first] - profile[first - 1])
            fall = (profile[last] - level) / (profile[last] - profile[last + 1])
            yield left[row], right[row], max(low, 0) + first - 1 + rise, max(low, 0) + last + fall


@pytest.mark.slow
def test_threshold_cd_of_the_micrograph_is_the_truth_within_its_sidewalls(patterned):
    """The outer 50 % crossings lie on the sloping sides: too wide by less than one sidewall in all."""
    lines = [line for line in patterned.truth()["lines"] if line["complete"] and not line["defective"]]
    found = np.array(list(threshold_edges(patterned.pixels(), lines)))
    assert len(found) > SIZE
    bias = (found[:, 3] - found[:, 2]) - (found[:, 1] - found[:, 0])
    sidewall = patterned.scene.grating.sidewall
    assert 0 < np.median(bias) < sidewall
    assert np.median(np.abs(found[:, 2] - found[:, 0])) < sidewall / 2 + 0.1
    assert np.median(np.abs(found[:, 3] - found[:, 1])) < sidewall / 2 + 0.1


@pytest.mark.slow
def test_measured_roughness_follows_the_true_edges(patterned):
    lines = [line for line in patterned.truth()["lines"] if line["complete"] and not line["defective"]]
    found = np.array(list(threshold_edges(patterned.pixels(), lines)))
    left_error = found[:, 2] - found[:, 0]
    near = np.abs(left_error - np.median(left_error)) < 2
    assert near.mean() > 0.9
    sigma = patterned.scene.grating.sigma
    assert left_error[near].std() < max(0.75 * sigma, 0.35)


@pytest.mark.slow
def test_pitch_and_edges_of_the_truth_agree_with_the_design(patterned):
    truth, design = patterned.truth(), patterned.scene.grating
    edges = [(np.array(line["left"]), np.array(line["right"])) for line in truth["lines"]]
    tolerance = 4 * design.sigma * math.sqrt(design.xi / SIZE) + 0.05
    centres = np.array([(left + right).mean() / 2 for left, right in edges])
    np.testing.assert_allclose(np.diff(centres), truth["pitch"], atol=2 * tolerance)
    assert np.mean([right - left for left, right in edges]) == pytest.approx(truth["cd"], abs=tolerance)


@pytest.mark.slow
def test_breaks_bridges_and_residues_are_where_the_truth_says(patterned):
    with_spots, without = drawn_share(patterned), drawn_share_without_spots(patterned)
    spots = patterned.truth()["small_features"]
    assert {"residue"} <= {spot["type"] for spot in spots}
    for spot in spots:
        before, after = at(without, spot), at(with_spots, spot)
        assert (before, after) == (
            (1, pytest.approx(0, abs=0.6)) if spot["type"] == "break" else (0, pytest.approx(1, abs=0.6))
        )
        assert 2.0 <= spot["length"] <= 6.0


@pytest.mark.slow
def test_defective_lines_are_flagged():
    flagged = {"break": 0, "bridge": 0}
    for scene in gratings(0, 6):
        present = [k for k in range(len(scene.scene.left)) if scene.scene._line(k)]
        broken = set()
        for spot in scene.scene.spots:
            if spot.type != "residue":
                flagged[spot.type] += 1
                broken |= {spot.line} if spot.type == "break" else {spot.line, spot.line + 1}
        lines = zip(present, scene.truth()["lines"], strict=True)
        assert {number for number, line in lines if line["defective"]} == broken & set(present)
    assert min(flagged.values()) > 0


# Sponges


@pytest.mark.slow
def test_pore_fraction_is_that_of_the_label_map_and_near_the_target(porous):
    truth = porous.truth()
    share = porous.scene.pore_share()
    assert truth["fraction"] == pytest.approx(1 - drawn_share(porous).mean(), abs=1e-5)
    assert truth["fraction"] == pytest.approx((share >= 0.5).mean(), abs=0.005)
    holes = sum(math.pi / 4 * p["diameter"] ** 2 for p in truth["small_features"]) / SIZE**2
    assert truth["fraction"] - holes == pytest.approx(porous.scene.sponge.fraction, abs=0.004)


@pytest.mark.slow
def test_pinholes_are_separate_pores_in_the_solid(porous):
    share = porous.scene.pore_share()
    pinholes = porous.truth()["small_features"]
    assert len(pinholes) >= 5
    large = [hole for hole in pinholes if hole["diameter"] > 3]
    labels = measure.label(share >= 0.5, connectivity=2)
    assert 0 not in {at(labels, hole) for hole in large}
    assert len({at(labels, hole) for hole in large}) == len(large)
    for hole in large:
        region = ndimage.binary_dilation(labels == at(labels, hole), np.ones((3, 3)))
        assert share[region].sum() == pytest.approx(math.pi / 4 * hole["diameter"] ** 2, rel=0.05, abs=0.3)


@pytest.mark.slow
def test_an_analyst_finds_the_pores_in_the_micrograph(porous):
    """Otsu's threshold, as anyone would use it, agrees with the label map."""
    pixels = porous.pixels()
    dark = pixels < filters.threshold_otsu(pixels)
    truth = porous.scene.pore_share() >= 0.5
    assert 2 * (dark & truth).sum() / (dark.sum() + truth.sum()) > 0.85


@pytest.mark.slow
def test_deeper_pores_are_darker(porous):
    pixels = porous.pixels().astype(float)
    depth = area_average(GRID.interior(porous.scene.layers(GRID).depth))
    spacing = porous.scene.sponge.layer_distance
    means = [pixels[np.abs(depth - n * spacing) < 0.2 * spacing].mean() for n in (0, 1, 2, 3)]
    assert means == sorted(means, reverse=True)
    assert means[0] > means[1] + 30


# All kinds


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["particles", "patterned", "porous"])
def test_every_scene_uses_the_grey_scale_without_clipping_it_away(kind):
    for index in range(3):
        pixels = SyntheticScene(kind, index, SIZE).pixels()
        assert np.percentile(pixels, 0.5) < 25
        assert np.percentile(pixels, 99.5) > 225
        assert ((pixels == 0) | (pixels == 255)).mean() < 0.01


def test_kinds_are_found_by_reading_the_package():
    assert {name: kind.code for name, kind in scene_kinds().items()} == {
        "biological": 0,
        "fibres": 1,
        "films": 2,
        "mems": 3,
        "nanowires": 4,
        "particles": 5,
        "patterned": 6,
        "porous": 7,
        "powder": 8,
        "tips": 9,
    }


def test_a_new_kind_cannot_take_the_seeds_of_another():
    from srbench.utils.errors import DatasetError

    def sponges(stream, size):
        return scene_kinds()["porous"].sample(stream, size)

    with pytest.raises(DatasetError, match="clashes with 'porous'"):
        register_scene(code=7)(sponges)


def test_a_scene_depends_on_nothing_but_its_numbers():
    kind = scene_kinds()["particles"]
    assert kind.sample(RandomStream(1, 5, 0, 0), SIZE) == kind.sample(RandomStream(1, 5, 0, 0), SIZE)
