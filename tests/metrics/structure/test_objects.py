"""Objects, holes, Betti numbers and matching against OpenCV, closed forms and brute force."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage.draw import disk
from skimage.measure import euler_number, label
from skimage.morphology import area_opening

from helpers.drawn_scenes import draw_discs, make_case
from srbench import datasets
from srbench.metrics.registry import MetricUnavailable
from srbench.metrics.segmentation import (
    NECK,
    SMALLEST,
    Agreement,
    agreement,
    betti_numbers,
    cleaned,
    find_objects,
    hand_objects,
    match,
    match_points,
    objects,
    split_touching,
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
    solid = area_opening(mask, SMALLEST, connectivity=2)
    ground = np.pad(~solid, 1, constant_values=True)
    filled = ~area_opening(ground, SMALLEST, connectivity=1)[1:-1, 1:-1]
    ground = label(ground, connectivity=1)
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


# Objects that touch


def chain(radii: list[float], overlap: float = 0.0) -> list[tuple[float, float, float]]:
    """Discs in a row, each touching the next or overlapping it by some pixels."""
    x, discs = 30.0 + radii[0], []
    for radius, after in itertools.pairwise([*radii, 0.0]):
        discs.append((100.0, x, radius))
        x += radius + after - overlap
    return discs


@pytest.mark.parametrize(
    ("radii", "overlap"), [([12, 12], 1), ([20, 9, 14], 1), ([9, 9, 9, 9], 2), ([30, 20], 3)]
)
def test_discs_that_touch_are_told_apart(radii: list[float], overlap: float) -> None:
    discs = chain(radii, overlap)
    mask = draw_discs(discs, 256) > 0.5
    assert len(find_objects(mask)) == 1
    found = find_objects(mask, NECK)
    order = np.argsort(found.centres[:, 1])
    assert found.centres[order, 1] == pytest.approx([x for _, x, _ in discs], abs=1.5)
    assert found.diameters[order] / 2 == pytest.approx(radii, abs=1.0)
    # Not a pixel is lost or added.
    assert np.array_equal(found.labels > 0, mask)


def ellipse(length: float, width: float, angle: float) -> np.ndarray:
    y, x = np.mgrid[:200, :200] - 99.5
    turn = np.radians(angle)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    return (2 * u / length) ** 2 + (2 * v / width) ** 2 < 1


@pytest.mark.parametrize("angle", [0, 30, 77])
@pytest.mark.parametrize(("length", "width"), [(20, 20), (150, 20), (60, 50), (150, 150), (40, 6)])
def test_single_objects_stay_whole(length: float, width: float, angle: float) -> None:
    mask = ellipse(length, width, angle)
    assert len(find_objects(mask, NECK)) == 1
    rim = ellipse(length + 3, width + 3, angle) & (np.random.default_rng(1).random((200, 200)) < 0.4)
    ragged = split_touching(find_objects(cleaned(mask | rim)))
    assert len(ragged) == 1


def test_a_neck_is_measured_by_the_narrower_part() -> None:
    """Discs of radius 20 and 30 joined by a bar; its half width less 2.5 px is held against 17.5 px."""
    bodies = draw_discs([(100, 60, 20), (100, 140, 30)], 200) > 0.5
    for half, expected in ((6, 2), (12, 2), (16, 1)):
        mask = bodies.copy()
        mask[100 - half : 101 + half, 60:140] = True
        assert len(find_objects(mask, NECK)) == expected
        assert len(find_objects(mask)) == 1


@pytest.mark.slow
def test_particles_of_scenes_are_split_as_the_truth_says() -> None:
    """Of 24 noisy scans: touching particles told apart, single ones left whole, before and after."""
    counts = np.zeros((2, 2, 2), dtype=int)
    scenes = datasets.open("sem_synthetic:small")
    for image in scenes.images:
        if image.category != "particles":
            continue
        listed = [p for p in scenes.truth(image.id)["particles"] if p["diameter"] >= 10 and not p["border"]]
        case = make_case(*[scenes.acquisition(image.id, 0) / 255.0] * 2, scale=1, category="particles")
        for split in (False, True):
            found = objects(replace(case, split_touching=split, cache={}))[0]
            for touching in (False, True):
                some = [p for p in listed if p["touching"] is touching]
                centres = np.array([(p["y"] - 1, p["x"] - 1) for p in some]).reshape(-1, 2)
                pairs = match_points(centres, np.array([p["diameter"] / 4 for p in some]), found.centres)
                counts[int(touching), int(split)] += (len(pairs), len(some))
    (single, single_split), (touching, touching_split) = counts[:, :, 0] / counts[:, :, 1]
    assert touching < 0.25 and touching_split > 0.6
    assert single_split >= single and single_split > 0.95


# Objects drawn by hand


def test_numbers_of_a_mask_are_objects_and_one_number_is_split() -> None:
    discs = chain([14, 14, 14], 1)
    alone = [(170.0, 60.0, 10.0), (170.0, 100.0, 1.5)]  # the last of 7 pixels is no object
    one = (draw_discs([*discs, *alone], 220) > 0.5).astype(np.uint8)
    many = sum(
        np.where(draw_discs([disc], 220) > 0.5, number, 0)
        for number, disc in enumerate([*discs, *alone], start=1)
    ).astype(np.uint16)
    image = draw_discs(discs, 220)
    assert (many > 0).sum() == one.sum()
    for mask, split, count in ((many, True, 4), (many, False, 4), (one, True, 4), (one, False, 2)):
        case = make_case(image, image, scale=4, mask=mask[4:-4, 4:-4], split_touching=split)
        assert len(hand_objects(case)) == count
    by_number = hand_objects(make_case(image, image, mask=many[4:-4, 4:-4]))
    assert np.sort(by_number.diameters)[1:] == pytest.approx([28, 28, 28], abs=0.7)
    with pytest.raises(MetricUnavailable):
        hand_objects(make_case(image, image))


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
