"""Objects, holes, Betti numbers and matching against OpenCV, closed forms and brute force."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from skimage.draw import disk
from skimage.measure import euler_number, label
from skimage.morphology import remove_small_objects

from helpers.drawn_scenes import draw_discs
from srbench.metrics.segmentation import (
    SMALLEST,
    Agreement,
    agreement,
    betti_numbers,
    cleaned,
    find_objects,
    match,
    match_points,
)


def blobs(seed: int, threshold: float = 0.1, size: int = 90) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 2.0) > threshold


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_objects_are_those_of_opencv(seed: int) -> None:
    mask = blobs(seed)
    found = find_objects(mask)
    count, labels, table, centres = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    assert len(found) == count - 1
    for number in range(1, count):
        index = found.labels[labels == number][0] - 1
        left, top, width, height, area = table[number]
        assert np.array_equal(found.labels == index + 1, labels == number)
        assert found.areas[index] == area
        assert found.centres[index] == pytest.approx(centres[number][::-1])
        assert found.diameters[index] == pytest.approx(2 * np.sqrt(area / np.pi))
        assert found.border[index] == (min(top, left) == 0 or max(top + height, left + width) == 90)
        moments = cv2.moments((labels == number).astype(np.uint8), binaryImage=True)
        # Pixels are squares, not points: each adds its own second moment.
        squared = (moments["mu20"] / area + 1 / 12) * (moments["mu02"] / area + 1 / 12)
        squared -= (moments["mu11"] / area) ** 2
        assert found.fill[index] == pytest.approx(area / (4 * np.pi * np.sqrt(squared)))


@pytest.mark.parametrize("seed", range(6))
def test_euler_characteristic(seed: int) -> None:
    mask = np.random.default_rng(seed).uniform(size=(40, 50)) < 0.2 + 0.1 * seed
    components, holes = betti_numbers(mask)
    assert components == cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1
    assert components - holes == euler_number(mask, connectivity=2)


def test_rings_have_holes() -> None:
    mask = np.zeros((100, 200), dtype=bool)
    for column in (30, 90, 160):
        mask[disk((50, column), 20)] = True
        mask[disk((50, column), 10)] = False
    mask[48:53, 156:161] = True  # an island within the last ring
    assert betti_numbers(mask) == (4, 3)
    mask[:, 90] = False  # cuts the second ring in two
    assert betti_numbers(mask) == (5, 2)


def test_nothing_and_everything() -> None:
    empty = np.zeros((40, 40), dtype=bool)
    assert betti_numbers(empty) == (0, 0)
    assert betti_numbers(~empty) == (1, 0)
    assert len(find_objects(empty)) == 0
    assert cleaned(~empty).all() and not cleaned(empty).any()


@pytest.mark.parametrize("seed", range(4))
def test_cleaning_removes_what_scikit_image_would(seed: int) -> None:
    mask = blobs(seed) ^ (np.random.default_rng(seed).uniform(size=(90, 90)) < 0.03)
    solid = remove_small_objects(label(mask, connectivity=2), max_size=SMALLEST - 1) > 0
    ground = label(np.pad(~solid, 1, constant_values=True), connectivity=1)
    filled = ~(remove_small_objects(ground, max_size=SMALLEST - 1) > 0)[1:-1, 1:-1]
    outside = ground[1:-1, 1:-1] == ground[0, 0]
    assert np.array_equal(cleaned(mask), filled & ~outside)


def test_fill_tells_one_disc_from_two() -> None:
    single, pair, bar = (np.zeros((120, 120), dtype=bool) for _ in range(3))
    single[disk((60, 60), 20)] = True
    pair[disk((60, 35), 20)] = True
    pair[disk((60, 74), 20)] = True  # they overlap by less than a pixel
    bar[20:100, 40:60] = True
    assert find_objects(single).fill[0] == pytest.approx(1.0, abs=0.005)
    assert find_objects(pair).fill[0] == pytest.approx(0.894, abs=0.02)
    assert find_objects(bar).fill[0] == pytest.approx(3 / np.pi, abs=0.005)


@pytest.mark.parametrize("seed", range(30))
def test_matching_is_the_best_of_all(seed: int) -> None:
    generator = np.random.default_rng(seed)
    one, other = generator.uniform(0, 12, (4, 2)), generator.uniform(0, 12, (5, 2))
    limits = generator.uniform(2, 6, 4)
    found = match_points(one, limits, other)
    distance = np.linalg.norm(one[:, None] - other[None], axis=2)
    best = (0, 0.0)
    for columns in itertools.permutations(range(5), 4):
        allowed = [k for k in range(4) if distance[k, columns[k]] < limits[k]]
        for size in range(len(allowed) + 1):
            for some in itertools.combinations(allowed, size):
                best = max(best, (size, -sum(distance[k, columns[k]] for k in some)))
    assert len(set(found[:, 0])) == len(set(found[:, 1])) == len(found)
    assert (distance[found[:, 0], found[:, 1]] < limits[found[:, 0]]).all()
    assert (len(found), -distance[found[:, 0], found[:, 1]].sum()) == pytest.approx(best)


def test_nothing_matches_nothing() -> None:
    points, none = np.ones((3, 2)), np.zeros((0, 2))
    assert match_points(none, np.zeros(0), points).shape == (0, 2)
    assert match_points(points, np.ones(3), none).shape == (0, 2)
    assert match_points(points, np.ones(3), points + 9).shape == (0, 2)


@pytest.mark.slow
def test_many_objects_are_matched_with_themselves() -> None:
    discs = [(y, x, 4.0) for y in range(8, 600, 14) for x in range(8, 600, 14)]
    found = find_objects(draw_discs(discs, 608) > 0.5)
    pairs = match(found, found)
    assert len(pairs) == len(found) == 43 * 43
    assert np.array_equal(pairs[:, 0], pairs[:, 1])


def test_counts_by_hand() -> None:
    both = [(60, 60, 10), (60, 120, 10), (60, 180, 10)]
    reference = find_objects(draw_discs([*both, (150, 60, 10)], 256) > 0.5)
    found = find_objects(draw_discs([(60, 63, 10), *both[1:], (200, 200, 8), (150, 66, 10)], 256) > 0.5)
    # 3 px is within half a radius, 6 px is not.
    assert agreement(reference, found) == Agreement(matched=3, deleted=1, invented=2)
    assert agreement(reference, found).precision == pytest.approx(3 / 5)
    assert agreement(reference, found).recall == pytest.approx(3 / 4)
    assert agreement(reference, found).f1 == pytest.approx(2 * 3 / (2 * 3 + 1 + 2))


def test_two_objects_never_share_a_partner() -> None:
    reference = find_objects(draw_discs([(60, 60, 16)], 128) > 0.5)
    found = find_objects(draw_discs([(60, 56, 3.4), (60, 64, 3.4)], 128) > 0.5)
    assert agreement(reference, found) == Agreement(matched=1, deleted=0, invented=1)


def test_the_border_is_no_evidence() -> None:
    inside, cut = [(60, 60, 10)], [(60, 60, 10), (100, 8, 10)]
    whole = [(60, 60, 10), (100, 12, 10)]
    reference, alone, other = (find_objects(draw_discs(d, 128) > 0.5) for d in (cut, inside, whole))
    assert reference.border.sum() == 1 and not other.border.any()
    assert agreement(reference, alone) == agreement(alone, reference) == Agreement(1, 0, 0)
    # In one image it touches the border, in the other it does not: neither lost nor invented.
    assert agreement(reference, other) == agreement(other, reference) == Agreement(1, 0, 0)


def test_no_objects_at_all() -> None:
    nothing = find_objects(np.zeros((40, 40), dtype=bool))
    some = find_objects(np.pad(np.ones((8, 8), dtype=bool), 10))
    assert (agreement(some, nothing).precision, agreement(some, nothing).recall) == (0.0, 0.0)
    assert agreement(nothing, some).f1 == 0.0
