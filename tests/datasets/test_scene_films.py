"""Films: roughness, cracks and pinholes against spectra, brute force and the micrograph."""

import math
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy import ndimage

from srbench.datasets.synthetic.draws import RandomStream, gaussian_field
from srbench.datasets.synthetic.films import self_affine_spectrum
from srbench.datasets.synthetic.geometry import FineGrid, coverage
from srbench.datasets.synthetic.scene import scene_kinds
from srbench.datasets.synthetic.suite import SyntheticScene

SIZE = 192
GRID = FineGrid(SIZE)


def drawn(index, size=SIZE):
    return scene_kinds()["films"].sample(RandomStream(77, 2, index), size)


@pytest.fixture(scope="module")
def cracked():
    """Scenes with cracks."""
    return [film for film in map(drawn, range(14)) if film.cracks]


def bare(film):
    return replace(film, nodules=(), cracks=(), specks=())


def inside(points):
    return ((points > -0.5) & (points < SIZE - 0.5)).all(axis=-1)


# Roughness


@pytest.mark.parametrize("index", range(5))
def test_realised_rms_is_that_of_the_drawn_relief(index):
    film = drawn(index)
    height = bare(film).layers(GRID).height[24:-24, 24:-24]
    roughness = film.truth()["roughness"]
    assert roughness["realised_rms"] == pytest.approx(height.std(), abs=1e-4)
    # The image is a part of the drawn field, and only a few correlation lengths wide.
    assert 0.5 * roughness["rms"] < roughness["realised_rms"] < 1.5 * roughness["rms"]
    assert film.surface.std() == pytest.approx(roughness["rms"], rel=1e-6)


@pytest.mark.parametrize(("xi", "hurst"), [(6.0, 0.4), (15.0, 0.7), (40.0, 0.9)])
def test_the_relief_has_the_spectrum_of_a_self_affine_surface(xi, hurst):
    """Periodogram of many fields, ring by ring, over 1 / (1 + (2 pi f xi)^2)^(1 + H): constant."""
    side, power = 192, 0
    for seed in range(24):
        field = gaussian_field(RandomStream(5, seed), side, 1.0, self_affine_spectrum(xi, hurst))
        power = power + np.abs(np.fft.fft2(field)) ** 2
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    expected = 1 / (1 + (2 * np.pi * frequency * xi) ** 2) ** (1 + hurst)
    rings = [
        (frequency >= low) & (frequency < low + 0.05) & (frequency > 0) for low in np.arange(0, 0.45, 0.05)
    ]
    ratios = [(power[ring] / expected[ring]).mean() for ring in rings]
    np.testing.assert_allclose(ratios / np.mean(ratios), 1, atol=0.12)


@pytest.mark.parametrize("size", [192, 384])
def test_roughness_cracks_and_specks_are_in_range(size):
    styles, cracks = set(), set()
    for index in range(12):
        truth = drawn(index, size).truth()
        roughness = truth["roughness"]
        assert 0.5 <= roughness["rms"] <= 3
        assert 6 <= roughness["xi"] <= 40
        assert 0.4 <= roughness["hurst"] <= 0.9
        assert all(2.0 <= width <= 6.0 for crack in truth["cracks"] for width in crack["widths"])
        assert len(truth["pinholes"]) + len(truth["particles"]) == len(truth["small_features"])
        styles.add(truth["style"])
        cracks.add(len(truth["cracks"]))
    assert styles == {"smooth", "rough", "nodular"}
    assert cracks == {0, 1, 2, 3}


# Cracks


def test_length_is_that_of_many_points_along_the_centre_line(cracked):
    for film in cracked:
        for crack in film.truth()["cracks"]:
            line = np.array(crack["centre_line"])
            pieces = []
            for start, end in pairwise(line):
                steps = np.linspace(0, 1, 4001)[:-1, None] + 1 / 8000
                pieces.append(inside(start + steps * (end - start)).mean() * np.hypot(*(end - start)))
            assert crack["length"] == pytest.approx(sum(pieces), abs=0.02)
            widths = np.array(crack["widths"])[inside(line)]
            assert crack["mean_width"] == pytest.approx(widths.mean() if widths.size else 0, abs=1e-3)


def test_width_is_the_gap_between_the_edges_across_the_centre_line(cracked):
    """Sub-pixel edges of the drawn film along the normals in the middle of each straight piece."""
    checked = 0
    for film in cracked[:5]:
        for crack in film.cracks:
            distance = replace(film, cracks=(crack,)).crack_distance(GRID)
            for (start, end), widths in zip(pairwise(crack.points), pairwise(crack.widths), strict=True):
                middle, along = (np.add(start, end) / 2, np.subtract(end, start))
                normal = np.array([along[1], -along[0]]) / np.hypot(*along)
                t = np.arange(-8, 8, 0.02)
                line = middle + t[:, None] * normal
                if np.hypot(*along) < 6 or not inside(line).all():
                    continue
                fine = ((line + 8.5) * 3 - 0.5).T
                profile = ndimage.map_coordinates(distance, fine, order=1)
                near = np.flatnonzero(profile < 0)
                near = near[np.abs(t[near]) < 4]
                assert near.size * 0.02 == pytest.approx(np.mean(widths), abs=0.25)
                checked += 1
    assert checked > 20


def test_a_crack_takes_its_width_times_its_length_out_of_the_film(cracked):
    for film in cracked:
        for crack in film.cracks:
            alone = replace(bare(film), cracks=(crack,))
            area = GRID.interior(coverage(-alone.layers(GRID).distance, GRID.step)).sum() / 9
            length, width = crack.length(SIZE), crack.mean_width(SIZE)
            if length > 60:
                assert area == pytest.approx(length * width, rel=0.06, abs=14)


def test_cracks_look_dark_along_their_centre_lines(cracked):
    for index in range(3000, 3008):
        scene = SyntheticScene("films", index, SIZE)
        pixels = scene.pixels().astype(float)
        for crack in scene.truth()["cracks"]:
            wide = [p for p, w in zip(crack["centre_line"], crack["widths"], strict=True) if w > 2.6]
            places = np.array([p for p in wide if min(p) > 1 and max(p) < SIZE - 2])
            if len(places) > 4:
                values = pixels[tuple(np.round(places).astype(int).T)]
                assert np.median(values) < np.percentile(pixels, 6)


def test_a_crack_that_meets_an_older_one_ends_there():
    from srbench.datasets.synthetic.geometry import crossings

    meetings = 0
    for index in range(30):
        lines = [np.array(crack.points) for crack in drawn(index).cracks]
        for older, newer in combinations(lines, 2):
            for place in crossings(older, newer):
                ends = min(math.dist(place, newer[0]), math.dist(place, newer[-1]))
                # A branch may cross its host once more within its first few pieces.
                assert ends < 45
                meetings += 1
    assert meetings >= 5


# Pinholes, particles, nodules


def test_pinholes_open_their_area_and_particles_cover_theirs():
    for index in range(4):
        film = drawn(index)
        layers = replace(film, nodules=(), cracks=()).layers(GRID)
        holes, _ = ndimage.label(layers.distance > 0)
        for speck in film.specks:
            row, column = (GRID.span(at, at + 0.34).start for at in (speck.y, speck.x))
            offset = math.hypot(GRID.axis[row] - speck.y, GRID.axis[column] - speck.x)
            expected = speck.diameter / 2 - offset
            sign = 1 if speck.type == "pinhole" else -1
            assert layers.distance[row, column] == pytest.approx(sign * expected, abs=1e-3)
            if speck.type == "pinhole":
                found = (holes == holes[row, column]).sum() / 9
                assert found == pytest.approx(math.pi / 4 * speck.diameter**2, rel=0.15, abs=0.6)


def test_specks_keep_clear_of_cracks(cracked):
    for film in cracked:
        for speck in film.specks:
            points = [
                np.linspace(start, end, 60) for crack in film.cracks for start, end in pairwise(crack.points)
            ]
            gap = np.hypot(*(np.vstack(points) - (speck.y, speck.x)).T).min()
            assert gap > speck.diameter / 2 + 3


def test_pinholes_are_dark_and_particles_bright():
    for index in range(3000, 3004):
        scene = SyntheticScene("films", index, SIZE)
        truth, pixels = scene.truth(), ndimage.gaussian_filter(scene.pixels().astype(float), 0.5)
        middle = np.median(pixels)
        for name, sign in (("pinholes", -1), ("particles", 1)):
            large = [speck for speck in truth[name] if speck["diameter"] > 3.5]
            values = [pixels[round(speck["y"]), round(speck["x"])] for speck in large]
            assert not values or sign * (np.median(values) - middle) > 0


def test_nodules_cover_the_film_at_their_pitch():
    found = [film for film in map(drawn, range(20)) if film.nodules]
    for film in found:
        truth = film.truth()["nodules"]
        expected = SIZE**2 / (math.sqrt(0.75) * truth["pitch"] ** 2)
        assert truth["count"] == pytest.approx(expected, rel=0.06)
        caps = replace(film, cracks=(), specks=()).layers(GRID).height - film.surface
        assert (GRID.interior(caps) > 0).mean() > 0.98
        points = np.array([(n.y, n.x) for n in film.nodules])
        heights = [
            caps[GRID.span(y, y + 0.4).start, GRID.span(x, x + 0.4).start] for y, x in points[inside(points)]
        ]
        own = [film.coating.relief * n.radius for n in film.nodules if inside(np.array([n.y, n.x]))]
        assert (np.array(heights) >= np.array(own) - 0.1).all()
    assert len(found) >= 2
