"""Near-duplicates: found however the field was shown again, and only then; the same groups everywhere."""

import os
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import nffa_archives
from srbench.datasets import near_duplicates
from srbench.datasets.near_duplicates import agreement, cluster, descriptor, thumbnail
from srbench.utils.errors import DatasetError

REAL = Path(os.environ.get("SRBENCH_TEST_SEM_OPEN", "no such folder"))
HEIGHT, WIDTH = 624, 1020


@pytest.fixture(scope="module")
def scenes():
    return [nffa_archives.scene(seed, HEIGHT, WIDTH) for seed in range(12)]


def grouped(images, **options):
    descriptors = np.array([descriptor(image) for image in images])
    return cluster(descriptors, lambda index: thumbnail(images[index]), threads=1, **options)


def further(grey):
    """Repetitions beside those of the builder."""
    rows, columns = HEIGHT // 20, WIDTH // 20
    return {
        "corner": grey[rows:, columns:],
        "moved": grey[20:, 20:],
        "cut higher": grey[:504],
        "enlarged": cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
        "16 bit": grey.astype(np.uint16) * 200,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *nffa_archives.near_duplicates(np.zeros((80, 80), np.uint8)),
        *further(np.zeros((HEIGHT, WIDTH), np.uint8)),
    ],
)
def test_repetitions_are_found_and_different_fields_are_not_merged(scenes, name):
    again = [
        {**nffa_archives.near_duplicates(grey, seed), **further(grey)}[name]
        for seed, grey in enumerate(scenes[:5])
    ]
    found = grouped([*scenes, *again])
    assert found.labels.tolist() == [*range(12), *range(5)]
    assert found.largest == 2 and found.agreeing == 5 and not found.tightened


@pytest.mark.slow
def test_featureless_frames_are_not_merged():
    generator = np.random.default_rng(0)
    down, right = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    frames = []
    for _ in range(20):
        a, b, c = generator.normal(0, 15, 3)
        light = 128 + a * right + b * down - abs(c) * (right**2 + down**2)
        frames.append(np.clip(light + generator.normal(0, 8, light.shape), 0, 255).astype(np.uint8))
    assert grouped(frames).largest == 1
    # The same noise again is the same frame.
    assert grouped([*frames, nffa_archives.near_duplicates(frames[3])["jpeg 95"]]).labels[-1] == 3


def test_frames_without_anything_and_tiny_ones_stay_alone():
    flat = np.full((HEIGHT, WIDTH), 90, np.uint8)
    slope = np.broadcast_to(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, WIDTH))
    tiny = nffa_archives.scene(1, 60, 60)
    assert not descriptor(flat).any()
    assert grouped([flat, flat, tiny, tiny]).labels.tolist() == [0, 1, 2, 3]
    assert abs(agreement(thumbnail(slope), thumbnail(slope[::-1]))) <= 1
    assert agreement(thumbnail(flat), thumbnail(flat)) == 0


@pytest.mark.parametrize("shape", [(7, 100), (100, 11), (50, 50, 3)])
def test_too_small_or_coloured(shape):
    with pytest.raises(DatasetError, match="8x12"):
        descriptor(np.zeros(shape, np.uint8))


@pytest.mark.slow
def test_agreement_is_the_correlation_of_the_overlap_at_the_best_shift(scenes):
    whole = thumbnail(scenes[0])
    for down, right in ((0, 0), (3, -5), (-8, 8)):
        moved = np.roll(whole, (-down, -right), (0, 1))
        rows = slice(max(-down, 0), whole.shape[0] - max(down, 0))
        columns = slice(max(-right, 0), whole.shape[1] - max(right, 0))
        part = np.zeros_like(whole)
        part[rows, columns] = moved[rows, columns]
        assert agreement(whole, part) == pytest.approx(agreement(part, whole), abs=1e-6)
        assert agreement(whole, part) > 0.99
    assert agreement(whole, -whole) < 0.3


@pytest.mark.slow
@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_products_of_descriptors_are_exact(seed):
    generator = np.random.default_rng(seed)
    images = [generator.integers(0, 256, (48, 64), dtype=np.uint8) for _ in range(2)]
    one, other = (descriptor(image) for image in images)
    exact = int((one.astype(np.int64) * other).sum())
    for order in (slice(None), slice(None, None, -1)):
        assert int(one[order].astype(np.float32) @ other[order].astype(np.float32)) == exact
    assert abs(np.linalg.norm(one.astype(float)) - 4000) < 10


@pytest.mark.slow
def test_candidates_do_not_depend_on_tiles(scenes, monkeypatch):
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(90, 96))
    vectors[45:] = vectors[:45] + generator.normal(size=(45, 96)) * generator.random((45, 1)) * 2
    vectors = np.rint(vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * 4000).astype(np.int16)
    unit = vectors / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    cosine = unit @ unit.T
    expected = {(i, j) for i in range(90) for j in range(i + 1, 90) if cosine[i, j] >= 0.4}
    assert 10 < len(expected) < 500
    for tile in (7, 32, 1024):
        monkeypatch.setattr(near_duplicates, "_TILE", tile)
        events = []
        found = list(near_duplicates._candidates(vectors, events.append))
        assert len(found) == len(expected) and set(found) == expected
        assert events[-1].done == events[-1].total == 90


def chain(length):
    """Fields each of which is much like the one before, and little like those further away."""
    generator = np.random.default_rng(4)
    patterns = [nffa_archives.scene(seed, 312, 510).astype(float) for seed in range(16)]
    weights = [generator.normal(size=16)]
    for _ in range(length - 1):
        weights.append(0.82 * weights[-1] + 0.57 * generator.normal(size=16))
    mixed = [sum(w * p for w, p in zip(row, patterns, strict=True)) for row in weights]
    return [
        np.clip(128 + (image - image.mean()) / image.std() * 35, 0, 255).astype(np.uint8) for image in mixed
    ]


@pytest.mark.slow
def test_chains_are_broken_up_at_higher_thresholds():
    images = chain(60)
    loose = grouped(images, most=60)
    assert loose.largest > 30 and not loose.tightened
    tight = grouped(images, most=12)
    assert tight.largest < loose.largest
    before, threshold, after = tight.tightened[0]
    assert (before, threshold) == (loose.largest, 0.75) and after > 1
    # What was grouped apart is not joined by tightening.
    for label in set(tight.labels.tolist()):
        assert len(set(loose.labels[tight.labels == label].tolist())) == 1


@pytest.mark.slow
def test_a_large_group_of_true_repetitions_stays_whole(scenes):
    images = [scenes[0]] * 30 + scenes[1:5]
    found = grouped(images, most=10)
    assert found.largest == 30 and [item[2] for item in found.tightened] == [1, 1]


@pytest.mark.slow
def test_threads_do_not_change_the_groups(scenes):
    images = [*scenes[:6], *(nffa_archives.near_duplicates(grey, 1)["gamma"] for grey in scenes[:6])]
    descriptors = np.array([descriptor(image) for image in images])
    labels = [
        cluster(descriptors, lambda index: thumbnail(images[index]), threads=threads).labels.tolist()
        for threads in (1, 3)
    ]
    assert labels[0] == labels[1]


@pytest.mark.slow
def test_groups_do_not_depend_on_the_order(scenes):
    images = [*scenes[:8], *(nffa_archives.near_duplicates(grey, 1)["shift"] for grey in scenes[:8])]
    order = np.random.default_rng(0).permutation(16)
    straight, mixed = grouped(images).labels, grouped([images[index] for index in order]).labels
    pairs = {(i, j) for i in range(16) for j in range(16) if straight[i] == straight[j]}
    assert pairs == {(order[i], order[j]) for i in range(16) for j in range(16) if mixed[i] == mixed[j]}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_square_of_the_images():
    def peak(count):
        vectors = np.random.default_rng(0).normal(size=(count, 96))
        vectors = np.rint(vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * 4000).astype(np.int16)
        blank = np.zeros((66, 115), np.float32)
        tracemalloc.start()
        cluster(vectors, lambda index: blank, threads=1)
        value = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return value

    # All pairs of 6,000 in float32 would be 144 MB.
    assert peak(6000) < peak(1500) + (8 << 20)


@pytest.mark.slow
@pytest.mark.skipif(
    not REAL.is_dir(), reason="set SRBENCH_TEST_SEM_OPEN to the folder of the real micrographs"
)
def test_real_micrographs_only_the_known_twins_are_grouped():
    paths = sorted(REAL.glob("*/images/*.png"))
    images = [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths]
    images = [
        grey[:1024] if "lungcells" in str(path) else grey for path, grey in zip(paths, images, strict=True)
    ]
    labels = grouped(images).labels.tolist()
    together = [
        (paths[label].name, paths[index].name) for index, label in enumerate(labels) if label != index
    ]
    name = "CS_epithelial_macrophage_5KV_1200x_ETD_HV_s5.0_10.5WD"
    assert together == [(f"{name}.png", f"{name}_001.png")]
