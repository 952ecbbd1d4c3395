"""Lamellae that LR cannot hold: both phases give one LR, and only the HR image tells them apart."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from srbench.datasets import degrade
from srbench.datasets.synthetic.ambiguous import SCALES, AmbiguousPatch, insert, opposite_phase
from srbench.datasets.synthetic.rng import RandomStream
from srbench.datasets.synthetic.suite import SyntheticScene

SEEDS = range(10)


def scenery(seed, size=192):
    """A smooth grey image with edges and fine noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    waves = np.sin(rows / random.uniform(9, 30)) + np.sin(columns / random.uniform(9, 30) + 1)
    blocks = random.integers(-30, 30, (8, 8)).repeat(size // 8, axis=0).repeat(size // 8, axis=1)
    return np.clip(120 + 20 * waves + blocks + random.normal(0, 2, (size, size)), 0, 255).astype(np.uint8)


def lr(image, degradation, scale):
    hr = torch.from_numpy(image.astype(np.float64) / 255)[None, None]
    return degrade.quantise(degrade.get(degradation)(hr, scale)).numpy()


def correlation(image, patch):
    """Of what the image shows at the patch with the lamellae in phase 1."""
    texture = patch.texture()
    return float((image[patch.window].astype(float) * texture).sum() / (texture * texture).sum())


@functools.cache
def inserted(seed):
    return insert(scenery(seed), RandomStream(9, seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_both_phases_give_the_same_lr_bit_for_bit_and_the_hr_image_tells_them_apart(seed):
    image, patches = inserted(seed)
    assert {patch.scale for patch in patches} == set(SCALES)
    for patch in patches:
        other = opposite_phase(image, patch)
        assert np.sign(correlation(image, patch)) == patch.phase
        assert np.sign(correlation(other, patch)) == -patch.phase
        for degradation in ("bicubic", "area"):
            assert np.array_equal(lr(image, degradation, patch.scale), lr(other, degradation, patch.scale))


@pytest.mark.slow
def test_the_opposite_of_the_opposite_is_the_image():
    image, patches = inserted(3)
    for patch in patches:
        assert np.array_equal(
            opposite_phase(opposite_phase(image, patch), replace(patch, phase=-patch.phase)), image
        )


@pytest.mark.slow
def test_without_the_adjustment_the_two_phases_would_differ_in_lr():
    """The single grey levels moved around a patch are needed: this is what they are for."""
    bare = scenery(5)
    _, patches = inserted(5)
    differences = 0
    for patch in patches:
        raw = bare.astype(np.int64)
        raw[patch.window] += patch.phase * patch.texture()
        image = raw.astype(np.uint8)
        differences += int(
            (
                lr(image, "bicubic", patch.scale) != lr(opposite_phase(image, patch), "bicubic", patch.scale)
            ).sum()
        )
    assert differences > 0


@pytest.mark.slow
def test_little_else_is_touched():
    bare = scenery(8)
    image, patches = inserted(8)
    change = np.abs(image.astype(int) - bare)
    outside = np.ones(bare.shape, dtype=bool)
    for patch in patches:
        outside[patch.window] = False
        assert change[patch.window].max() <= patch.contrast + 4
    assert change[outside].max() <= 4
    assert (change[outside] > 0).mean() < 0.01


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_texture_vanishes_in_every_lr_pixel(scale, axis):
    texture = AmbiguousPatch(scale, 0, 0, 12 * scale, scale, axis, 12, 1).texture()
    sums = texture.reshape(12, scale, 12, scale).sum(axis=(1, 3))
    assert not sums.any()
    assert np.abs(texture).max() >= 10
    along = 0 if axis == "rows" else 1
    assert np.abs(np.diff(texture, axis=along)).sum() > 4 * np.abs(np.diff(texture, axis=1 - along)).sum()


@pytest.mark.slow
def test_the_phase_is_a_coin():
    phases = [patch.phase for seed in SEEDS for patch in inserted(seed)[1]]
    assert 0.3 < np.mean(np.asarray(phases) > 0) < 0.7


@pytest.mark.slow
def test_patches_keep_clear_of_each_other_and_of_the_border():
    for seed in SEEDS:
        image, patches = inserted(seed)
        taken = np.zeros(image.shape, dtype=int)
        for patch in patches:
            assert patch.top % patch.scale == patch.left % patch.scale == 0
            assert min(patch.top, patch.left) >= 2 * patch.scale
            assert max(patch.top, patch.left) + patch.side <= len(image) - 2 * patch.scale
            taken[
                patch.top - 8 : patch.top + patch.side + 8, patch.left - 8 : patch.left + patch.side + 8
            ] += 1
        assert taken.max() == 1


@pytest.mark.slow
def test_an_image_without_grey_has_no_room():
    black_and_white = (np.indices((192, 192)).sum(axis=0) // 6 % 2 * 255).astype(np.uint8)
    image, patches = insert(black_and_white, RandomStream(9, 0))
    assert patches == ()
    assert np.array_equal(image, black_and_white)


@pytest.mark.slow
def test_inserting_is_repeatable():
    first, second = inserted(4), insert(scenery(4), RandomStream(9, 4))
    assert np.array_equal(first[0], second[0])
    assert first[1] == second[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["particles", "patterned", "porous"])
def test_scenes_have_an_opposite_phase_at_every_scale(kind):
    scene = SyntheticScene(kind, 1000, 192)
    truth = scene.truth()["ambiguous"]
    assert sorted(patch["scale"] for patch in truth) == [2, 3, 4]
    for patch in truth:
        other = opposite_phase(scene.pixels(), AmbiguousPatch(**patch))
        assert np.array_equal(
            lr(scene.pixels(), "bicubic", patch["scale"]), lr(other, "bicubic", patch["scale"])
        )
        assert np.sign(correlation(scene.pixels(), AmbiguousPatch(**patch))) == patch["phase"]
